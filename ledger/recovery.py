"""How a writer starts on a home: what is there is checked, made durable, and never appended to.

Start twice, crash in between, start again: each step leaves a home that this same function reads the
same way. A new journal file always; the last one that holds anything is copied first, its good
lines only, since after a failed fsync the page cache may show bytes the disk never got, and the
next event's hash must not follow one of those.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ledger import manifest as manifests
from ledger import tail
from ledger.disk import TEMPORARY, Disk, discard, write_all
from ledger.errors import Damage
from ledger.home import Home
from ledger.manifest import Manifest, Position
from ledger.tail import FileEnd, Take

PARQUET = ".parquet"

Fold = Callable[[Manifest], Take]


@dataclass(frozen=True, slots=True, kw_only=True)
class Torn:
    """A warning: bytes of a write that never finished were left out. Units: bytes."""

    path: Path
    offset: int
    length: int

    def __str__(self) -> str:
        return (
            f"{self.path} ended in {self.length} bytes of a write that never finished, from byte {self.offset} on. "
            "They were left out; nobody was told that they were written."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """Where the next writer goes on. Shapes: `next_file` does not exist yet; `unsealed` are the closed files before it."""

    manifest: Manifest
    position: Position
    next_file: int
    unsealed: tuple[int, ...]
    unsealed_events: int
    warnings: tuple[Torn, ...]


def recover(home: Home, disk: Disk, *, fold: Fold, now: datetime) -> Recovered:
    """Check the unsealed events, handing each to what `fold` returned, in order, and leave a home safe to go on from.

    The caller holds the lock. Shapes: `fold` is called once, with the manifest in force; the sealed events, which a
    snapshot or `segments.read_sealed` has, are its business.
    Errors: Damage naming file and offset, and then nothing was changed; OSError.
    """
    disk.make_dir(home.journal)
    disk.make_dir(home.events)
    for directory in (home.path, home.journal, home.events):
        disk.sync_dir(directory)  # names a killed process gave are seen, and may not be durable yet
    if not _has_manifest(home, disk):
        begin(home, disk, now=now)
    manifest = manifests.load(home, disk)
    found = tail.tail_numbers(home, disk, manifest)
    _refuse_older_manifest(home, disk, manifest, found[-1])
    position, ends = tail.read_tail(home, disk, manifest, fold(manifest))
    _remove_temporaries(home, disk)
    if ends:
        _copy_good_lines(disk, tail.path_of(home, ends[-1][0]), ends[-1][1])
    return Recovered(
        manifest=manifest,
        position=position,
        next_file=found[-1] + 1,
        unsealed=found,
        unsealed_events=sum(end.events for _, end in ends),
        warnings=tuple(
            Torn(path=tail.path_of(home, number), offset=end.good_bytes, length=end.torn_bytes)
            for number, end in ends
            if end.torn_bytes
        ),
    )


def begin(home: Home, disk: Disk, *, now: datetime) -> None:
    """Write the first manifest of a home, after its first, empty journal file.

    In this order a manifest without a journal file is never a beginning but a loss.
    Errors: Damage when events are there already, so that the manifest must have been lost.
    """
    has_events = any(disk.size(tail.path_of(home, number)) for number in tail.numbers(home, disk))
    if has_events or any(True for _ in segment_paths(home, disk)):
        raise Damage(home.manifest, "the file is missing, and there are events beside it")
    if not tail.numbers(home, disk):
        new_file(home, disk, 0)
    manifests.store(home, disk, Manifest(source=f"homes/{secrets.token_hex(4)}", published_at=now))


def new_file(home: Home, disk: Disk, number: int) -> None:
    """Make an empty journal file, durably; a file of this number that is there must be empty too.

    Errors: Damage when it is not, since nobody may append to what it did not begin.
    """
    path = tail.path_of(home, number)
    try:
        handle = disk.create(path)
    except FileExistsError:
        if disk.size(path):
            raise Damage(path, "a new journal file was to be made here, and this one holds something") from None
    else:
        disk.close(handle)
    disk.sync_file(path)
    disk.sync_dir(home.journal)


def segment_paths(home: Home, disk: Disk) -> tuple[str, ...]:
    """Every Parquet file under HOME/events, listed or not. Shapes: relative to HOME, sorted."""
    return tuple(
        f"{home.events.name}/{month}/{name}"
        for month in disk.list(home.events)
        for name in disk.list(home.events / month)
        if name.endswith(PARQUET)
    )


def file_range(path: str) -> tuple[int, int] | None:
    """The journal files a segment's name says it holds, both ends included; None for a foreign name."""
    first, _, last = path.rpartition("/")[2].removesuffix(PARQUET).partition("-")
    return (int(first), int(last)) if first.isdecimal() and last.isdecimal() else None


def _has_manifest(home: Home, disk: Disk) -> bool:
    return home.manifest.name in disk.list(home.path)


def _refuse_older_manifest(home: Home, disk: Disk, manifest: Manifest, last_file: int) -> None:
    """A segment of files that are neither sealed nor there shows that a later manifest was in force."""
    for path in segment_paths(home, disk):
        files = file_range(path)
        if files is not None and files[1] > max(last_file, manifest.sealed_up_to):
            raise Damage(
                home.manifest, f"it seals up to file {manifest.sealed_up_to} and is older than {path} beside it"
            )


def _remove_temporaries(home: Home, disk: Disk) -> None:
    months = tuple(home.events / month for month in disk.list(home.events))
    for directory in (home.path, home.journal, *months):
        for name in disk.list(directory):
            if name.endswith(TEMPORARY) or name.endswith(TEMPORARY + ".wal"):
                discard(disk, directory / name)


def _copy_good_lines(disk: Disk, path: Path, end: FileEnd) -> None:
    """Put the file's good lines into a fresh file of the same name, block by block."""
    temporary = path.with_name(path.name + TEMPORARY)
    handle = disk.create(temporary)
    try:
        for offset in range(0, end.good_bytes, tail.BLOCK_BYTES):
            write_all(disk, handle, disk.read(path, offset, min(tail.BLOCK_BYTES, end.good_bytes - offset)))
        if not end.is_terminated:
            write_all(disk, handle, b"\n")
        disk.sync(handle)
    finally:
        disk.close(handle)
    disk.rename(temporary, path)
    disk.sync_dir(path.parent)
