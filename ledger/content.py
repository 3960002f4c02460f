"""Texts kept for a few days, each under a key of its own, so that destroying the key destroys the text wherever it was copied.

Nothing of it is in the ledger, and no backup takes it. A text lies in HOME/content/drafts, sealed with AES-256-GCM; its key, one a client
and ticket, in HOME/keys/content. An erased ticket leaves a mark where its key was and never gets a key again.
"""

from __future__ import annotations

import os
import secrets
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from ledger.disk import REAL, discard, publish
from ledger.home import Home

KEY_BYTES, NONCE_BYTES = 32, 12
DRAFTS = "drafts"  # beside whatever else is kept in HOME/content
KEY, TEXT, ERASED = ".key", ".text", ".erased"
_HEAD = struct.Struct(">q")  # when it expires: seconds since 1970, read without the key and sealed with the text
_ALL = "all" + ERASED


def keep(home: Home, client_id: str, ticket_id: str, text: str, *, until: datetime) -> bool:
    """Keep a ticket's text, instead of an earlier one; False when the client or the ticket was erased and nothing is kept."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - loaded by those who keep texts

    keys, texts, name = _places(home, client_id, ticket_id)
    if (keys / _ALL).exists() or (keys / (name + ERASED)).exists():
        return False
    for directory in (keys.parent, keys, home.content, texts.parent, texts):
        REAL.make_dir(directory)
        directory.chmod(0o700)
    key, nonce = secrets.token_bytes(KEY_BYTES), secrets.token_bytes(NONCE_BYTES)
    head = _HEAD.pack(int(until.timestamp()))
    sealed = AESGCM(key).encrypt(nonce, text.encode(errors="surrogatepass"), head + _bound(client_id, ticket_id))
    publish(REAL, keys / (name + KEY), key)
    publish(REAL, texts / (name + TEXT), head + nonce + sealed)
    return True


def kept(home: Home, client_id: str, ticket_id: str, *, now: datetime) -> str | None:
    """The text kept of a ticket; None when there is none, it has expired, was erased, or is not what was kept."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    keys, texts, name = _places(home, client_id, ticket_id)
    try:
        key, content = (keys / (name + KEY)).read_bytes(), (texts / (name + TEXT)).read_bytes()
    except FileNotFoundError:
        return None
    head, rest = content[: _HEAD.size], content[_HEAD.size :]
    if len(head) < _HEAD.size or _expires(head) <= now:
        return None
    try:
        opened = AESGCM(key).decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], head + _bound(client_id, ticket_id))
    except (InvalidTag, ValueError):
        return None
    return opened.decode(errors="surrogatepass")


def erase(home: Home, client_id: str, ticket_id: str | None = None) -> int:
    """Destroy the keys of a client, or of one of its tickets, for good; how many there were. Again is as once."""
    keys, texts, name = _places(home, client_id, ticket_id or "")
    REAL.make_dir(keys.parent)
    REAL.make_dir(keys)
    publish(REAL, keys / (_ALL if ticket_id is None else name + ERASED), b"")  # first, so that no key is made meanwhile
    found = 0
    for key in sorted(keys.glob("*" + KEY)) if ticket_id is None else [keys / (name + KEY)]:
        found += key.exists()
        _destroy(key)
        discard(REAL, texts / (key.name.removesuffix(KEY) + TEXT))
    REAL.sync_dir(keys)
    return found


def expire(home: Home, now: datetime) -> int:
    """Destroy what has expired, and keys without a text; how many texts there were."""
    gone = 0
    for path in _texts(home):
        with path.open("rb") as file:
            head = file.read(_HEAD.size)
        if len(head) < _HEAD.size or _expires(head) <= now:
            _destroy(home.keys / "content" / path.parent.name / (path.name.removesuffix(TEXT) + KEY))
            discard(REAL, path)
            gone += 1
    return gone


def until(now: datetime, days: int) -> datetime:
    """When a text kept now expires."""
    return now + timedelta(days=days)


def _texts(home: Home) -> Iterator[Path]:
    yield from sorted((home.content / DRAFTS).glob(f"*/*{TEXT}")) if (home.content / DRAFTS).is_dir() else ()


def _places(home: Home, client_id: str, ticket_id: str) -> tuple[Path, Path, str]:
    """Where a client's keys and texts are, and what a ticket's are called: never by a name from outside."""
    client, ticket = (sha256(said.encode(errors="surrogatepass")).hexdigest()[:32] for said in (client_id, ticket_id))
    return home.keys / "content" / client, home.content / DRAFTS / client, ticket


def _bound(client_id: str, ticket_id: str) -> bytes:
    return f"{len(client_id)}:{client_id}{ticket_id}".encode(errors="surrogatepass")


def _expires(head: bytes) -> datetime:
    return datetime.fromtimestamp(max(0, min(_HEAD.unpack(head)[0], 2**35)), UTC)


def _destroy(key: Path) -> None:
    """Overwrite, then remove: on a disk that writes in place nothing of it is left, on any other only what it remaps."""
    try:
        with key.open("r+b") as file:
            file.write(bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except FileNotFoundError:
        return
    discard(REAL, key)
