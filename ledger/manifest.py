"""The list of sealed segments: the truth about what is in Parquet, as frozen values.

HOME/manifest.json is one JSON object whose last key is the SHA-256 of everything before it.
Publishing it is the commit point of a seal: a segment that it does not list does not exist,
and a journal file up to `sealed_up_to` is no longer the truth. What it no longer lists is kept
in `replaced` with the moment, so that the readers' grace holds across restarts.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from ledger.disk import Disk, publish
from ledger.errors import Damage
from ledger.home import Home

VERSION = 1
NONE_SEALED = -1  # journal files count from 0
_SUM = b',"sha256":"'
_TAIL = len(_SUM) + 64 + 3  # the sum, its quote, the brace, the newline


class Position(NamedTuple):
    """A point between two events: after `sequence`, whose hash (16 raw bytes) the next event follows."""

    sequence: int
    hash: bytes


BEGINNING = Position(0, bytes(16))  # before the first event of a source


class Segment(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One sealed Parquet file. All ranges include both ends.

    Shapes: `path` relative to HOME; `first_file` and `last_file` are journal file numbers; hashes are 32 hex digits,
    `prev_hash` being what the first event follows. Units: `cost_usd` exact USD, the sum over all rows; `bytes` of the file. `dropped` events
    of its range are no longer here: only ever of the first segment. `min_id` and `max_id` of its events by their bytes, empty where not known.
    """

    path: str
    first_file: int
    last_file: int
    first_sequence: int
    last_sequence: int
    rows: int
    min_time: datetime
    max_time: datetime
    cost_usd: str
    sha256: str
    bytes: int
    schema_version: int
    prev_hash: str
    last_hash: str
    dropped: int = 0
    min_id: str = ""
    max_id: str = ""

    @property
    def end(self) -> Position:
        """The position after its last event."""
        return Position(self.last_sequence, bytes.fromhex(self.last_hash))


class Dropped(Struct, frozen=True, kw_only=True):
    """What left the log, as the `log.dropped` event says; see ledger/dropping.py.

    Shapes: `period` the last month dropped; `sequence`, `hash` (hex) and `recorded_at` those of the last event looked at;
    `state_sha256` of the state after it. Units: `cost_sum` exact USD over all events up to there.
    """

    event_id: str
    period: str
    sequence: int
    hash: str
    recorded_at: datetime
    cost_sum: str
    state_sha256: str

    @property
    def end(self) -> Position:
        """The position after the last event looked at."""
        return Position(self.sequence, bytes.fromhex(self.hash))


class Replaced(Struct, frozen=True):
    """A file no longer listed, and since when; readers may still have it open."""

    path: str
    at: datetime


class Manifest(Struct, frozen=True, kw_only=True):
    """Which segments hold which events. Shapes: `files` in sequence order without a gap; `sealed_up_to` -1 for none.

    With `dropped` the first segment holds what is left of its range.
    """

    source: str
    published_at: datetime
    v: int = VERSION
    generation: int = 0
    sealed_up_to: int = NONE_SEALED
    files: tuple[Segment, ...] = ()
    replaced: tuple[Replaced, ...] = ()
    dropped: Dropped | None = None

    @property
    def end(self) -> Position:
        """The position after the last sealed event."""
        return self.files[-1].end if self.files else BEGINNING

    @property
    def listed(self) -> frozenset[str]:
        """The paths of the segments that are the truth."""
        return frozenset(segment.path for segment in self.files)


def written(manifest: Manifest) -> bytes:
    """The file's bytes; `read` is the way back."""
    body = msgspec.json.encode(manifest)[:-1]
    return b'%b%b%b"}\n' % (body, _SUM, hashlib.sha256(body).hexdigest().encode())


def read(content: bytes, path: Path) -> Manifest:
    """The manifest these bytes say. Errors: Damage naming `path`."""
    body, tail = content[:-_TAIL], content[-_TAIL:]
    if tail != b'%b%b"}\n' % (_SUM, hashlib.sha256(body).hexdigest().encode()):
        raise Damage(path, "its own SHA-256 does not match its content")
    try:
        found = msgspec.json.decode(body + b"}", type=Manifest)
    except msgspec.DecodeError as refused:
        raise Damage(path, f"it is not a manifest ({refused})") from None
    if found.v != VERSION:
        raise Damage(path, f"it is of version {found.v}, this program reads version {VERSION}")
    _check_order(found, path)
    return found


def load(home: Home, disk: Disk) -> Manifest:
    """The manifest in force. Errors: Damage; FileNotFoundError before the first one."""
    return read(disk.read(home.manifest), home.manifest)


def store(home: Home, disk: Disk, manifest: Manifest) -> None:
    """Put a manifest in force, durably: the commit point."""
    publish(disk, home.manifest, written(manifest))


def replacing(
    manifest: Manifest, *, now: datetime, files: tuple[Segment, ...], sealed_up_to: int, left: tuple[str, ...] = ()
) -> Manifest:
    """The next generation, with these segments; what it no longer lists, and the `left` paths, are noted as replaced at `now`."""
    listed = {segment.path for segment in files}
    kept = tuple(entry for entry in manifest.replaced if entry.path not in listed)
    gone = (*left, *(segment.path for segment in manifest.files if segment.path not in listed))
    return msgspec.structs.replace(
        manifest,
        generation=manifest.generation + 1,
        published_at=now,
        sealed_up_to=sealed_up_to,
        files=files,
        replaced=(*kept, *(Replaced(path, now) for path in gone)),
    )


def _check_order(manifest: Manifest, path: Path) -> None:
    """The sum vouches for the bytes; this vouches for whoever wrote them."""
    end, last_file = BEGINNING, NONE_SEALED
    has_gap = tuple(segment.end for segment in manifest.files if segment.dropped)
    if has_gap != (() if manifest.dropped is None else (manifest.dropped.end,)):
        raise Damage(path, "its segments lack other events than it says were dropped")
    for segment in manifest.files:
        follows = segment.first_sequence == end.sequence + 1 and segment.prev_hash == end.hash.hex()
        counted = segment.rows + segment.dropped == segment.last_sequence - segment.first_sequence + 1
        if (
            not follows
            or not counted
            or not last_file < segment.first_file <= segment.last_file <= manifest.sealed_up_to
        ):
            raise Damage(path, f"segment {segment.path} does not follow the one before it")
        end, last_file = segment.end, segment.last_file
