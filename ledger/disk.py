"""The disk, behind twelve plain verbs, so that a model can stand in its place.

Everything the ledger must not lose goes through a Disk: the real one below, or a
model in tests that keeps what is durable apart from what is pending and cuts the
power anywhere. Nothing here retries and nothing here decides: an error is an OSError,
and whoever wrote stops. Libraries that open files by name (DuckDB, pyarrow) are
given `local(path)`; what they wrote becomes durable by `sync_file` and `rename`,
since neither of them calls fsync.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
TEMPORARY = ".tmp"  # the suffix of what is not published yet; recovery removes it


class Disk(Protocol):
    """What the ledger asks of a file system; every verb may raise OSError.

    Shapes: a handle is a number good for `write`, `sync` and `close` only. `write` may take fewer bytes
    than given. A name is durable only after `sync_dir` of its directory, content only after `sync` or `sync_file`.
    """

    def create(self, path: Path) -> int:
        """A handle to a new, empty file. Errors: FileExistsError."""
        ...

    def open(self, path: Path) -> int:
        """A handle that appends to a file that exists."""
        ...

    def write(self, handle: int, data: bytes | memoryview) -> int:
        """Append some of the bytes; returns how many were taken."""
        ...

    def sync(self, handle: int) -> None:
        """Make the content written through this handle durable (fdatasync)."""
        ...

    def close(self, handle: int) -> None:
        """Let go of a handle; makes nothing durable."""
        ...

    def sync_file(self, path: Path) -> None:
        """Make the content of a file durable that somebody else wrote (fsync)."""
        ...

    def sync_dir(self, path: Path) -> None:
        """Make the names in a directory durable."""
        ...

    def make_dir(self, path: Path) -> None:
        """Make one directory if it is not there."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Move a name, replacing what had it."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove a name."""
        ...

    def read(self, path: Path, offset: int = 0, size: int = -1) -> bytes:
        """The bytes from `offset`, at most `size` of them. Errors: FileNotFoundError."""
        ...

    def size(self, path: Path) -> int:
        """The length in bytes. Errors: FileNotFoundError."""
        ...

    def list(self, path: Path) -> tuple[str, ...]:
        """The names in a directory, sorted; none when it is no directory."""
        ...

    def local(self, path: Path) -> Path:
        """Where a library that opens files by itself finds or writes this one."""
        ...


class RealDisk:
    """The operating system's own."""

    def create(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, FILE_MODE)

    def open(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def write(self, handle: int, data: bytes | memoryview) -> int:
        return os.write(handle, data)

    def sync(self, handle: int) -> None:
        os.fdatasync(handle)

    def close(self, handle: int) -> None:
        os.close(handle)

    def sync_file(self, path: Path) -> None:
        _synced(path, os.O_RDONLY)

    def sync_dir(self, path: Path) -> None:
        _synced(path, os.O_RDONLY | os.O_DIRECTORY)

    def make_dir(self, path: Path) -> None:
        path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)

    def rename(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def read(self, path: Path, offset: int = 0, size: int = -1) -> bytes:
        with open(path, "rb") as file:
            if offset:
                file.seek(offset)
            return file.read(size)

    def size(self, path: Path) -> int:
        return os.stat(path).st_size

    def list(self, path: Path) -> tuple[str, ...]:
        try:
            return tuple(sorted(os.listdir(path)))
        except (FileNotFoundError, NotADirectoryError):
            return ()

    def local(self, path: Path) -> Path:
        return path


REAL: Disk = RealDisk()


def write_all(disk: Disk, handle: int, data: bytes) -> None:
    """Append every byte, however few each write takes; makes nothing durable.

    Errors: OSError, also when a write takes nothing at all.
    """
    taken = disk.write(handle, data)
    if taken == len(data):
        return
    rest = memoryview(data)[taken:]
    while rest:
        taken = disk.write(handle, rest)
        if taken <= 0:
            raise OSError(f"a write took none of {len(rest)} bytes")
        rest = rest[taken:]


def publish(disk: Disk, path: Path, content: bytes) -> None:
    """Put `content` at `path`, whole and durable or not at all: temporary file, fsync, rename, fsync of the directory."""
    temporary = path.with_name(path.name + TEMPORARY)
    discard(disk, temporary)
    handle = disk.create(temporary)
    try:
        write_all(disk, handle, content)
        disk.sync(handle)
    finally:
        disk.close(handle)
    disk.rename(temporary, path)
    disk.sync_dir(path.parent)


def adopt(disk: Disk, temporary: Path, path: Path) -> None:
    """Publish a file that a library wrote at `disk.local(temporary)`."""
    disk.sync_file(temporary)
    disk.rename(temporary, path)
    disk.sync_dir(path.parent)


def discard(disk: Disk, path: Path) -> None:
    """Remove a file that may not be there."""
    try:
        disk.unlink(path)
    except FileNotFoundError:
        return


def _synced(path: Path, flags: int) -> None:
    handle = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
