"""The home directory: made once, whole, and for one user."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ledger.errors import Conflict, Damage, HomeNotPrivate, HomeNotWritable, NotAHome
from ledger.home import Home, create, existing, key_hash, new_key
from ledger.store import Ledger

CONFIG = 'provider = "simulated"'


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_home_is_for_one_user_and_has_its_two_secrets(tmp_path: Path) -> None:
    before = os.umask(0)  # modes are asked for, not left to the caller's umask
    try:
        home = create(tmp_path / "a" / "home", CONFIG)
    finally:
        os.umask(before)

    assert {mode(path) for path in (home.path, home.journal, home.events, home.reports, home.keys)} == {0o700}
    files = sorted(path for path in home.path.rglob("*") if path.is_file())
    assert [path.relative_to(home.path).as_posix() for path in files] == [
        "halfpenny.toml",
        "keys/admin.token",
        "keys/pepper",
    ]
    assert {mode(path) for path in files} == {0o600}
    assert home.config.read_text() == CONFIG + "\n"
    assert len(home.pepper()) == 32
    assert home.admin_token().startswith("hp_admin_")
    assert existing(tmp_path / "a" / "home") == home


def test_the_paths_are_the_contracts(tmp_path: Path) -> None:
    home = Home(tmp_path)

    names = {
        home.config: "halfpenny.toml",
        home.journal: "journal",
        home.events: "events",
        home.manifest: "manifest.json",
        home.catalog: "ledger.duckdb",
        home.lock: "LOCK",
        home.reports: "reports",
        home.keys: "keys",
        home.snapshot: "snapshot.json",
        home.views: "views.bin",
    }
    assert all(path == tmp_path / name for path, name in names.items())
    assert list(tmp_path.iterdir()) == []


def test_two_homes_have_different_secrets(tmp_path: Path) -> None:
    one, other = create(tmp_path / "one", CONFIG), create(tmp_path / "other", CONFIG)

    assert one.pepper() != other.pepper()
    assert one.admin_token() != other.admin_token()


def test_a_mistyped_home_is_an_error_and_never_a_new_ledger(tmp_path: Path) -> None:
    with pytest.raises(NotAHome, match=r"halfpenny\.toml is missing\. Make one with: halfpenny init --home"):
        existing(tmp_path / "hme")

    assert list(tmp_path.iterdir()) == []


def test_a_home_is_made_once(tmp_path: Path) -> None:
    home = create(tmp_path / "home", CONFIG)
    pepper = home.pepper()

    with pytest.raises(Conflict, match="is a Halfpenny home already"):
        create(tmp_path / "home", "other")
    assert (home.pepper(), home.config.read_text()) == (pepper, CONFIG + "\n")


def test_a_home_that_lost_its_configuration_keeps_its_secrets(tmp_path: Path) -> None:
    """`init` over a journal without a configuration once made a new pepper, and every key was shut out."""
    home = create(tmp_path / "home", CONFIG)
    (home.journal / "0000000000.jsonl").write_text("{}\n")
    home.config.unlink()
    pepper = home.pepper()

    with pytest.raises(Conflict, match=r"holds a journal but no halfpenny\.toml"):
        create(home.path, CONFIG)
    assert home.pepper() == pepper


def test_a_making_that_was_cut_short_can_be_made_again(tmp_path: Path) -> None:
    home = create(tmp_path / "home", CONFIG)
    home.config.unlink()

    assert create(home.path, CONFIG).config.is_file()


def test_a_directory_that_others_use_is_not_taken_from_them(tmp_path: Path) -> None:
    """`init --home .` once set any directory, also a shared one, to 0700."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    (shared / "someone.txt").write_text("else's")

    with pytest.raises(Conflict, match="not empty and others may read it"):
        create(shared, CONFIG)
    assert mode(shared) == 0o755
    assert [path.name for path in shared.iterdir()] == ["someone.txt"]

    (shared / "someone.txt").unlink()
    assert mode(create(shared, CONFIG).path) == 0o700


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")

    with pytest.raises(HomeNotWritable, match=r"cannot be written: .*choose another --home"):
        create(tmp_path / "home", CONFIG)
    with pytest.raises(NotAHome):
        existing(tmp_path / "home")


def test_a_directory_that_may_not_be_looked_into_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)  # the tests may run as root, whom no mode keeps out

    with pytest.raises(HomeNotWritable, match="Permission denied"):
        existing(tmp_path)


def test_a_home_restored_without_its_keys_says_so(tmp_path: Path) -> None:
    """It once said that halfpenny.toml was missing, and `init`, which it advised, said that there was one."""
    home = create(tmp_path / "home", CONFIG)
    (home.keys / "pepper").unlink()

    with pytest.raises(NotAHome, match=r"keys/pepper is missing.*restore it from a backup"):
        home.pepper()


@pytest.mark.parametrize("content", ["not hex", "ab c", "ä"])
def test_a_damaged_pepper_is_named(tmp_path: Path, content: str) -> None:
    home = create(tmp_path / "home", CONFIG)
    (home.keys / "pepper").write_text(content, encoding="utf-8")

    with pytest.raises(Damage, match="pepper is damaged: it is not a number in hex"):
        home.pepper()


def test_a_key_is_kept_as_its_hmac_alone() -> None:
    pepper = bytes(range(32))

    assert key_hash(pepper, "hp_3f9c21ab_x") == hmac.new(pepper, b"hp_3f9c21ab_x", hashlib.sha256).hexdigest()
    assert key_hash(pepper, "hp_3f9c21ab_x") != key_hash(bytes(32), "hp_3f9c21ab_x")


def test_a_key_with_bytes_that_are_no_text_is_a_wrong_key_and_no_crash() -> None:
    """An HTTP header may hold any byte; what it decodes to once raised UnicodeEncodeError."""
    found = key_hash(bytes(32), b"hp_\xff\xfe".decode("utf-8", "surrogateescape"))

    assert len(found) == 64
    assert found != key_hash(bytes(32), "hp_")


def test_a_new_key_begins_with_its_id() -> None:
    key, key_id = new_key()
    other, _ = new_key()

    assert key.startswith(key_id + "_")
    assert (len(key_id), len(key)) == (11, 55)  # hp_ and 8 hex digits; _ and 43 characters of 32 random bytes
    assert key != other


@pytest.mark.parametrize(
    ("name", "as_made", "open_to"),
    [(".", 0o700, 0o750), (".", 0o700, 0o701), ("keys", 0o700, 0o720), ("keys/pepper", 0o600, 0o640),
     ("keys/admin.token", 0o600, 0o602)],
)  # fmt: skip
def test_a_home_that_others_may_use_is_not_written(tmp_path: Path, name: str, as_made: int, open_to: int) -> None:
    home = create(tmp_path / "home", CONFIG)
    path = home.path / name
    assert mode(path) == as_made
    path.chmod(open_to)

    with pytest.raises(HomeNotPrivate) as refused:
        Ledger.open(home.path, clock=lambda: datetime.now(UTC))

    assert f"{open_to:04o}" in str(refused.value)
    assert not home.lock.exists()
    subprocess.run(str(refused.value).rpartition("with: ")[2].removesuffix(".").split(), check=True)
    Ledger.open(home.path, clock=lambda: datetime.now(UTC)).close()
