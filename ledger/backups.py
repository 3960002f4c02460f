"""A copy of a home that is a consistent prefix of its log, made while a service writes; and the way back.

Segments never change and are copied with their SHA-256 compared; of the journal's tail only whole, checked lines are taken, so
a copy ends between two events. Secrets stay out unless asked for; what is derived is made anew. Both ways the
result appears by rename, verified, where nothing was before.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ledger import manifest as manifests
from ledger import tail
from ledger.disk import REAL, publish
from ledger.errors import Conflict, Damage, HomeNotWritable, NotFound
from ledger.home import CONFIG_NAME, Home

if TYPE_CHECKING:
    from collections.abc import Callable

    from ledger.manifest import Manifest, Position, Segment

TRIES = 5  # a segment can be compacted away while it is copied; the next manifest has its events elsewhere
BLOCK = 1 << 20
TAR = ".tar"
_STAGED = ".partial"
_DIRECTORY_MODE = 0o700


@dataclass(frozen=True, slots=True)
class Backup:
    """What was copied: every event up to `sequence`, whose hash is `last_hash`."""

    path: Path
    sequence: int
    last_hash: str
    has_keys: bool


def backup(home: Home, target: Path, *, with_keys: bool = False) -> Backup:
    """Copy a home to a directory, or into a file that ends in .tar.

    Errors: Conflict when something is there; Damage when a file is not what was written; HomeNotWritable for the target.
    """
    if target.exists():
        raise Conflict(f"{target} exists already. A backup is never written over; choose another name.")
    with staged_beside(target) as staged:
        copy = Home(staged / "home" if target.suffix == TAR else staged)
        copy.path.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
        end = _copied(home, copy)
        for directory in (home.reports, home.heads, home.carried, *((home.keys,) if with_keys else ())):
            if directory.is_dir():
                shutil.copytree(
                    directory, copy.path / directory.name, ignore=shutil.ignore_patterns("*.tmp", ".*", "content")
                )
        shutil.copyfile(home.config, copy.config)
        _verify(copy)
        sync_all(copy.path)
        if target.suffix == TAR:
            packed = staged / "home.tar"
            with tarfile.open(packed, "w") as tar:
                tar.add(copy.path, arcname=".")
            REAL.sync_file(packed)
            packed.chmod(0o600)
            os.rename(packed, target)
        else:
            os.rename(staged, target)
        REAL.sync_dir(target.parent)
    return Backup(target, end.sequence, end.hash.hex(), with_keys)


def restore(source: Path, target: Path, clock: Callable[[], datetime], *, keys: Path | None = None) -> Backup:
    """Make a home out of a backup where none is, verified, its views published anew; `keys` is where the secrets were kept.

    Shapes: no event is appended; the first start goes on from the backup's last event.
    Errors: NotFound, Conflict when something is at the target, Damage, HomeNotWritable.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Conflict(f"{target} is not empty. A home is never written over; choose another directory.")
    if not source.exists():
        raise NotFound("backup", str(source), "Name the directory or the .tar file that halfpenny backup wrote.")
    with staged_beside(target) as staged:
        if source.is_dir():
            shutil.copytree(source, staged, dirs_exist_ok=True)
        else:
            _unpack(source, staged)
        copy = Home(staged)
        if not copy.config.is_file() or not copy.manifest.is_file():
            raise NotFound(
                "backup", str(source), f"It has no {CONFIG_NAME} and manifest.json; name what halfpenny backup wrote."
            )
        if keys is not None:
            shutil.copytree(keys, copy.keys, dirs_exist_ok=True)
        for directory in (copy.path, copy.journal, copy.events, copy.reports, copy.keys):
            directory.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
            directory.chmod(_DIRECTORY_MODE)
        _verify(copy)
        sync_all(copy.path)
        if target.exists():
            target.rmdir()
        os.rename(staged, target)
        REAL.sync_dir(target.parent)
    home = Home(target.absolute())
    from ledger.store import rebuild  # noqa: PLC0415

    sequence = rebuild(home, clock)
    return Backup(target, sequence, "", (home.keys / "pepper").is_file())


def _copied(home: Home, copy: Home) -> Position:
    for directory in (copy.journal, copy.events):
        directory.mkdir(mode=_DIRECTORY_MODE)
    for left in reversed(range(TRIES)):
        manifest = manifests.load(home, REAL)
        try:
            for segment in manifest.files:
                copy_segment(home, copy, segment)
            return _copy_tail(home, copy, manifest)
        except FileNotFoundError as missing:
            if not left or manifests.load(home, REAL).generation == manifest.generation:
                raise Damage(missing.filename, "the file is missing") from None
    raise AssertionError("the last try returns or raises")


def copy_segment(home: Home, copy: Home, segment: Segment) -> None:
    """Copy a segment to the same path in another home, its SHA-256 compared. Errors: Damage; FileNotFoundError."""
    target, running = copy.path / segment.path, sha256()
    if target.exists():
        return  # of an earlier try
    target.parent.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
    part = target.with_name(target.name + _STAGED)
    with (home.path / segment.path).open("rb") as source, part.open("wb") as file:
        while block := source.read(BLOCK):
            running.update(block)
            file.write(block)
    if running.hexdigest() != segment.sha256:
        raise Damage(
            home.path / segment.path, f"its SHA-256 is {running.hexdigest()}, the manifest says {segment.sha256}"
        )
    part.rename(target)


def _copy_tail(home: Home, copy: Home, manifest: Manifest) -> Position:
    """The whole lines of the journal files that are not sealed, and then the manifest that goes with them."""
    listed = manifest.listed
    for path in copy.events.glob("*/*"):
        if str(path.relative_to(copy.path)) not in listed:
            path.unlink()  # of an earlier try
    for path in copy.journal.iterdir():
        path.unlink()
    position, numbers = manifest.end, tail.tail_numbers(home, REAL, manifest)
    readable = tail.readable(home, REAL, numbers)
    for number in readable:
        path = tail.path_of(home, number)
        end = tail.read_file(
            REAL, path, start=position, source=manifest.source, take=lambda _: None, may_be_torn=number == readable[-1]
        )
        position = end.position
        content = REAL.read(path, 0, end.good_bytes)
        tail.path_of(copy, number).write_bytes(content if end.is_terminated else content + b"\n")
    if not readable:
        tail.path_of(copy, numbers[0]).touch()
    publish(REAL, copy.manifest, manifests.written(msgspec.structs.replace(manifest, replaced=())))
    return position


def _verify(copy: Home) -> None:
    from ledger.verify import verify  # noqa: PLC0415

    found = verify(copy)
    if not found.is_ok:
        raise Damage(copy.path / found.findings[0].path, str(found.findings[0]))


@contextmanager
def staged_beside(target: Path) -> Iterator[Path]:
    """A directory beside the target to build in, gone at the end whatever happened."""
    staged = target.absolute().with_name(f".{target.name}{_STAGED}")
    try:
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(mode=_DIRECTORY_MODE, parents=True)
        yield staged
    except OSError as refused:
        raise HomeNotWritable(target, str(refused.strerror or refused)) from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _unpack(source: Path, target: Path) -> None:
    try:
        with tarfile.open(source) as tar:
            tar.extractall(target, filter="data")
    except tarfile.TarError as refused:
        raise Damage(source, f"it cannot be unpacked ({refused})") from None


def sync_all(directory: Path) -> None:
    """Make everything in a directory durable, names and contents."""
    for path in (*directory.rglob("*"), directory):
        (REAL.sync_dir if path.is_dir() else REAL.sync_file)(path)
