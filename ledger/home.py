"""The home directory: where everything the service owns lies, and its two secrets.

Directories are 0700 and files 0600; a home is made by `create` alone, so that a
mistyped --home is an error and never a new, empty ledger.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from ledger.errors import Conflict, Damage, HomeNotPrivate, HomeNotWritable, NotAHome

CONFIG_NAME = "halfpenny.toml"


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of one home; nothing is touched by making the value. `configured`: another configuration than the home's own."""

    path: Path
    configured: Path | None = None

    @property
    def config(self) -> Path:
        """The configuration file; the one in the home makes a directory a home."""
        return self.configured or self.path / CONFIG_NAME

    def under(self, config: Path | None) -> Home:
        """The same home with the configuration of another file; its own without one."""
        return Home(self.path, config)

    @property
    def journal(self) -> Path:
        """The directory of the append-only files."""
        return self.path / "journal"

    @property
    def events(self) -> Path:
        """The directory of the sealed segments."""
        return self.path / "events"

    @property
    def manifest(self) -> Path:
        """The list of sealed segments, which is the truth about them."""
        return self.path / "manifest.json"

    @property
    def catalog(self) -> Path:
        """The derived DuckDB file with the views."""
        return self.path / "ledger.duckdb"

    @property
    def views(self) -> Path:
        """The derived beginning of every catalog: the shipped views, bound once."""
        return self.path / "views.bin"

    @property
    def snapshot(self) -> Path:
        """The derived state of all folds at the last seal."""
        return self.path / "snapshot.json"

    @property
    def heads(self) -> Path:
        """The directory of signed heads, made to be carried elsewhere."""
        return self.path / "heads"

    @property
    def ids(self) -> Path:
        """The directory of the derived files that know every sealed event's id."""
        return self.path / "ids"

    @property
    def wanted(self) -> Path:
        """The note of a drop that is under way; see ledger/dropping.py."""
        return self.path / "drop.json"

    @property
    def carried(self) -> Path:
        """The directory of what dropped months came to: a truth, since their events are no longer here."""
        return self.path / "carried"

    @property
    def lock(self) -> Path:
        """Locked by the one writer; holds the service's address."""
        return self.path / "LOCK"

    @property
    def reports(self) -> Path:
        """The directory of built reports."""
        return self.path / "reports"

    @property
    def content(self) -> Path:
        """The directory of replies kept for a while; copies, and no part of the ledger."""
        return self.path / "content"

    @property
    def keys(self) -> Path:
        """The directory of secrets, kept out of backups of the rest."""
        return self.path / "keys"

    def pepper(self) -> bytes:
        """The secret that keys are hashed with. Errors: NotAHome, Damage."""
        try:
            return bytes.fromhex(self._secret("pepper"))
        except ValueError:
            raise Damage(self.keys / "pepper", "it is not a number in hex") from None

    def admin_token(self) -> str:
        """The token with which commands write through a running service. Errors: NotAHome."""
        return self._secret("admin.token")

    def _secret(self, name: str) -> str:
        try:
            return (self.keys / name).read_text(encoding="ascii").strip()
        except FileNotFoundError:
            raise NotAHome(self.path, f"keys/{name}") from None
        except PermissionError as refused:
            raise HomeNotWritable(self.path, str(refused.strerror)) from None


def existing(path: Path) -> Home:
    """The home at a path. Errors: NotAHome, HomeNotWritable."""
    home = Home(path.absolute())
    try:
        if not home.config.is_file():
            raise NotAHome(path)
    except PermissionError as refused:
        raise HomeNotWritable(path, str(refused.strerror)) from None
    return home


def open_to_others(home: Home) -> list[Path]:
    """The home's directory, that of its secrets, and the secrets, as far as their group or everybody may use them. Errors: OSError."""
    private = [home.path, *([home.keys] if home.keys.exists() else []), *home.keys.glob("*")]
    return [path for path in private if path.stat().st_mode & 0o077]


def refuse_shared(home: Home) -> None:
    """Refuse a home that is not its user's alone; whoever writes one asks first. Errors: HomeNotPrivate, HomeNotWritable."""
    try:
        for path in open_to_others(home):
            raise HomeNotPrivate(home.path, path, stat.S_IMODE(path.stat().st_mode))
    except OSError as refused:
        raise HomeNotWritable(home.path, str(refused.strerror)) from None


def create(path: Path, config: str) -> Home:
    """Make a home with this configuration text.

    Errors: Conflict when there is one already, or what is left of one, or a directory others use; HomeNotWritable.
    """
    home = Home(path.absolute())
    try:
        if home.config.exists():
            raise Conflict(
                f"{path} is a Halfpenny home already. Use it with --home {path}, or choose another directory."
            )
        if home.journal.is_dir() and any(home.journal.iterdir()):  # new secrets would shut out every key it knows
            raise Conflict(
                f"{path} holds a journal but no {CONFIG_NAME}. Restore that file, or choose another directory."
            )
        if home.path.is_dir() and any(home.path.iterdir()) and home.path.stat().st_mode & 0o077:
            raise Conflict(
                f"{path} is not empty and others may read it; a home is for one user. Choose a new directory."
            )
        for directory in (home.path, home.journal, home.events, home.reports, home.keys):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
        _write_new(home.keys / "pepper", secrets.token_hex(32))
        _write_new(home.keys / "admin.token", f"hp_admin_{secrets.token_urlsafe(32)}")
        _sync(home.keys)
        _write_new(home.config, config)  # last: without it this is no home
        _sync(home.path)
    except OSError as refused:
        raise HomeNotWritable(path, str(refused.strerror)) from None
    return home


def _write_new(path: Path, content: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(content + "\n")
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def key_hash(pepper: bytes, key: str) -> str:
    """What is kept of a bearer key: HMAC-SHA-256 in hex. Keys are random, so no slow hash is needed."""
    raw = key.encode(errors="surrogatepass")  # a header with bytes that are no text is a wrong key, not a crash
    return hmac.digest(pepper, raw, "sha256").hex()


def new_key() -> tuple[str, str]:
    """A fresh bearer key and its id, which is its visible beginning. Shapes: hp_<8 hex>_<43 characters>."""
    key_id = f"hp_{secrets.token_hex(4)}"
    return f"{key_id}_{secrets.token_urlsafe(32)}", key_id
