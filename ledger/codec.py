"""An event as one line of the journal, and back.

A line is the event's JSON, then the journal's stamps, then the check sum:

    {"type":…,"id":…,<payload>,"source":…,"sequence":…,"recorded_at":…,"prev":…,"hash":…,"crc":…}

`hash` covers the bytes before `,"prev":` and the previous hash; `crc` covers the bytes before
`,"crc":`. The bytes are a pure function of the values, so a line can be made again out of
its Parquet row and its hash compared (`relined`): sealing loses nothing unseen.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple, Union

import msgspec

from ledger.events import EVENTS, STAMPS, Event

GENESIS = bytes(16)  # what the first event of a source follows
SCHEMA_VERSION = 1  # of the columns (columns.py); in the manifest beside every segment

_encoder = msgspec.json.Encoder()
CURRENT: Mapping[str, type[Event]] = {str(kind.__struct_config__.tag): kind for kind in EVENTS}
OLD: tuple[type[Event], ...] = ()  # versions no longer written, as they were, since segments hold them; none is old yet
WRITTEN: Mapping[str, type[Event]] = {str(kind.__struct_config__.tag): kind for kind in (*EVENTS, *OLD)}

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
UPCASTERS: Mapping[str, Upcaster] = {}  # old tag -> the same fact in the next version; none is old yet


class BadLine(ValueError):
    """A line that is not what the journal wrote; `str()` says why. Whoever reads a file adds its name and offset."""


class Recorded(NamedTuple):
    """One line taken apart: the event with its stamps, and its raw hash, which the next one follows."""

    event: Event
    hash: bytes


@cache
def _decoder() -> msgspec.json.Decoder[Event]:
    """Made when it is wanted: a service starts without, since trusted.py reads its tail."""
    return msgspec.json.Decoder(Union[EVENTS])  # noqa: UP007


def encode(event: Event) -> bytes:
    """The event's JSON without stamps. Shapes: keys in the order of the class, absent fields left out."""
    return _encoder.encode(event)


def stamped(body: bytes, *, source: str, sequence: int, recorded_at: datetime, prev: bytes) -> tuple[bytes, bytes]:
    """The journal line of an encoded event, with its newline, and its hash.

    Shapes: `body` as `encode` gave it; `prev` and the hash 16 raw bytes; `recorded_at` in UTC.
    """
    moment = recorded_at.astimezone(UTC).isoformat(timespec="microseconds")[:-6]
    hashed = b'%b,"source":"%b","sequence":%d,"recorded_at":"%bZ"' % (
        body[:-1],
        source.encode(),
        sequence,
        moment.encode(),
    )
    digest = hashlib.sha256(prev + hashed).digest()[:16]
    checked = b'%b,"prev":"%b","hash":"%b"' % (hashed, prev.hex().encode(), digest.hex().encode())
    return b'%b,"crc":"%08x"}\n' % (checked, zlib.crc32(checked)), digest


def decode(line: bytes) -> Event:
    """The event of one line, in its current version; no check sum is looked at.

    Errors: BadLine for JSON that is no known event.
    """
    try:
        return _decoder().decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as refused:
        return upcast(line, str(refused))


def upcast(line: bytes, why: str = "", upcasters: Mapping[str, Upcaster] = UPCASTERS) -> Event:
    """The event of a line written by an older version, lifted one version at a time.

    Errors: BadLine when it is not an older version either.
    """
    try:
        found = msgspec.json.decode(line, type=dict[str, Any])
        while (tag := str(found.get("type"))) in upcasters:
            found = upcasters[tag](found)
            if found.get("type") == tag:
                raise BadLine(f"the upcaster of {tag} does not lift it")
        if tag not in CURRENT:
            raise BadLine(f"unknown event type {found.get('type')!r}")
        return msgspec.convert(found, CURRENT[tag])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as refused:
        raise BadLine(why or str(refused)) from None


def current(event: Event) -> Event:
    """An event as it was written, lifted to its current version with its stamps; the chain is checked on what was written.

    Errors: BadLine.
    """
    return upcast(encode(event), upcasters=UPCASTERS) if event.__struct_config__.tag in UPCASTERS else event


def read_line(line: bytes) -> Recorded:
    """Take one line apart and check its sums; the caller checks that it follows the one before.

    Shapes: with or without its newline.
    Errors: BadLine.
    """
    line = line.rstrip(b"\n")
    checked, found, crc = line.rpartition(b',"crc":"')
    if not found or crc != b'%08x"}' % zlib.crc32(checked):
        raise BadLine("its check sum does not match")
    hashed, found, sums = checked.rpartition(b',"prev":"')
    prev, between, digest = sums[:-1].partition(b'","hash":"')
    if not found or not between:
        raise BadLine("it has no hash")
    try:
        follows = bytes.fromhex(prev.decode())
    except ValueError:  # also what is no text
        raise BadLine("its prev is not a hash") from None
    actual = hashlib.sha256(follows + hashed).digest()[:16]
    if actual.hex().encode() != digest:
        raise BadLine("its hash does not match")
    return Recorded(decode(line), actual)


def relined(event: Event, prev: bytes) -> tuple[bytes, bytes]:
    """The line an event read back from Parquet had in the journal, and its hash.

    Errors: BadLine when the event has no stamps.
    """
    if event.source is None or event.sequence is None or event.recorded_at is None:
        raise BadLine("it has no source, sequence or recorded_at")
    bare = msgspec.structs.replace(event, **dict.fromkeys(STAMPS))
    return stamped(encode(bare), source=event.source, sequence=event.sequence, recorded_at=event.recorded_at, prev=prev)
