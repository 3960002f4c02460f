"""A disk in memory that keeps what is durable apart from what is pending, and can be cut off anywhere.

A file's bytes are pending until its sync, a directory's names until its own; a cut keeps any subset of the pending
names, and of each file's pending bytes none, all, a prefix torn at any byte, a tail of zeros where the length
got through and the data did not, or blocks of both. A sync that fails throws away what it was to keep, shows it
to readers all the same, and the next one succeeds: that is what Linux does. Source: reference/reliability.md, section 4.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path, PurePath
from random import Random

from ledger.home import Home

BLOCK = 512
KEPT_ALL, KEPT_NONE = 0.3, 0.3  # of a cut's choices for what is pending; the rest is anything in between


class Content:
    """A file: all bytes a reader sees, how many of them are durable, and which ranges a failed sync threw away."""

    __slots__ = ("data", "durable", "lost")

    def __init__(self, data: bytes = b"", durable: int = 0, lost: tuple[tuple[int, int], ...] = ()) -> None:
        self.data, self.durable, self.lost = data, durable, lost

    def copy(self) -> Content:
        return Content(self.data, self.durable, self.lost)

    def sync(self) -> None:
        self.durable = len(self.data)

    def lose(self) -> None:
        """What a failed sync does: the pages are clean now, and not on the disk."""
        if self.durable < len(self.data):
            self.lost = (*self.lost, (self.durable, len(self.data)))
        self.durable = len(self.data)

    def survivor(self, draw: Random) -> Content:
        """The file after a cut."""
        kept = self.data[: self.durable] + _surviving(self.data[self.durable :], draw)
        for start, end in self.lost:
            # What was thrown away is zeros, or the file's length never grew over it.
            kept = kept[:start] + bytes(end - start) + kept[end:] if draw.random() < 0.5 else kept[:start]
        return Content(kept, len(kept))


def _surviving(pending: bytes, draw: Random) -> bytes:
    choice = draw.random()
    if not pending or choice < KEPT_ALL:
        return pending
    if choice < KEPT_ALL + KEPT_NONE:
        return b""
    length = draw.randrange(len(pending) + 1)
    if choice < 0.85:
        return pending[:length]
    if choice < 0.95:
        return pending[:length] + bytes(draw.randrange(1, 2 * BLOCK))
    blocks = (pending[start : start + BLOCK] for start in range(0, len(pending), BLOCK))
    return b"".join(block if draw.random() < 0.5 else bytes(len(block)) for block in blocks)


class Directory:
    """Names now, names that are durable, and the changes in between, in order."""

    __slots__ = ("durable", "names", "pending")

    def __init__(self) -> None:
        self.names: dict[str, Content | Directory] = {}
        self.durable: dict[str, Content | Directory] = {}
        self.pending: list[tuple[str | None, str | None, Content | Directory]] = []

    def change(self, gone: str | None, come: str | None, what: Content | Directory) -> None:
        """One change of names: a name that comes, goes, or is moved in one step."""
        _apply(self.names, gone, come, what)
        self.pending.append((gone, come, what))

    def sync(self) -> None:
        self.durable = dict(self.names)
        self.pending.clear()

    def copy(self, seen: dict[int, Content | Directory]) -> Directory:
        """The same state, sharing nothing that changes."""
        other = Directory()
        other.names = {name: _copied(what, seen) for name, what in self.names.items()}
        other.durable = {name: _copied(what, seen) for name, what in self.durable.items()}
        other.pending = [(gone, come, _copied(what, seen)) for gone, come, what in self.pending]
        return other

    def survivor(self, draw: Random) -> Directory:
        """The directory and all below it after a cut."""
        names = dict(self.durable)
        choice = draw.random()
        share = 1.0 if choice < KEPT_ALL else 0.0 if choice < KEPT_ALL + KEPT_NONE else draw.random()
        for gone, come, what in self.pending:
            if draw.random() < share:
                _apply(names, gone, come, what)
        other = Directory()
        other.names = {name: what.survivor(draw) for name, what in names.items()}
        other.durable = dict(other.names)
        return other


def _apply(
    names: dict[str, Content | Directory], gone: str | None, come: str | None, what: Content | Directory
) -> None:
    if gone is not None:
        names.pop(gone, None)
    if come is not None:
        names[come] = what


def _copied(what: Content | Directory, seen: dict[int, Content | Directory]) -> Content | Directory:
    if id(what) not in seen:
        seen[id(what)] = what.copy() if isinstance(what, Content) else what.copy(seen)
    return seen[id(what)]


class ModelDisk:
    """The Disk protocol over that. Shapes: all paths lie below the directory that holds `home`.

    `before(verb, path)` is called before each verb that changes anything, where a drill looks at what a cut would leave;
    it may raise the OSError that the verb is to fail with. `draw` decides how many bytes each write takes.
    """

    def __init__(self, home: Home, draw: Random, top: Directory | None = None) -> None:
        self.home, self.root, self.draw, self.top = home, home.path.parent, draw, top or Directory()
        self.before: Callable[[str, PurePath], None] = _nothing
        self.is_short = False
        self._handles: dict[int, Content] = {}

    def cut(self, draw: Random) -> ModelDisk:
        """The disk as it may be found after the power went now."""
        return ModelDisk(self.home, draw, self.top.survivor(draw))

    def killed(self, draw: Random) -> ModelDisk:
        """The disk as the next process finds it when only this one died: all is there, and pending is still pending."""
        return ModelDisk(self.home, draw, self.top.copy({}))

    def create(self, path: Path) -> int:
        self.before("create", path)
        directory, name = self._parent(path)
        if name in directory.names:
            raise FileExistsError(errno.EEXIST, "File exists", str(path))
        content = Content()
        directory.change(None, name, content)
        return self._handle(content)

    def open(self, path: Path) -> int:
        return self._handle(self._file(path))

    def write(self, handle: int, data: bytes | memoryview) -> int:
        content = self._handles[handle]
        taken = bytes(data)
        if self.is_short and self.draw.random() < 0.3:
            taken = taken[: self.draw.randrange(1, len(taken) + 1)]
        try:
            self.before("write", self.root)
        except OSError:
            content.data += taken[: self.draw.randrange(len(taken) + 1)]  # a full disk takes what still fits
            raise
        content.data += taken
        return len(taken)

    def sync(self, handle: int) -> None:
        self._synced(self._handles[handle], "sync", self.root)

    def close(self, handle: int) -> None:
        self._handles.pop(handle, None)

    def sync_file(self, path: Path) -> None:
        self._synced(self._file(path), "sync_file", path)

    def sync_dir(self, path: Path) -> None:
        self.before("sync_dir", path)
        self._directory(path).sync()

    def make_dir(self, path: Path) -> None:
        directory, name = self._parent(path)
        if name not in directory.names:
            self.before("make_dir", path)
            directory.change(None, name, Directory())

    def rename(self, source: Path, target: Path) -> None:
        self.before("rename", target)
        directory, name = self._parent(target)
        if self._parent(source)[0] is not directory:
            raise AssertionError("a rename across directories is not one step after a cut")
        directory.change(source.name, name, self._file(source))

    def unlink(self, path: Path) -> None:
        directory, name = self._parent(path)
        content = self._file(path)
        self.before("unlink", path)
        directory.change(name, None, content)

    def read(self, path: Path, offset: int = 0, size: int = -1) -> bytes:
        data = self._file(path).data
        return data[offset:] if size < 0 else data[offset : offset + size]

    def size(self, path: Path) -> int:
        return len(self._file(path).data)

    def list(self, path: Path) -> tuple[str, ...]:
        try:
            return tuple(sorted(self._directory(path).names))
        except FileNotFoundError:
            return ()

    def local(self, path: Path) -> Path:
        return path

    def put(self, path: Path, data: bytes) -> None:
        """Write a file as a library does that opens it by name: nothing is synced."""
        directory, name = self._parent(path)
        found = directory.names.get(name)
        if isinstance(found, Content):
            raise AssertionError(f"{path} was to be discarded first")
        self.before("put", path)
        directory.change(None, name, Content(data))

    def _synced(self, content: Content, verb: str, path: Path) -> None:
        try:
            self.before(verb, path)
        except OSError:
            content.lose()
            raise
        content.sync()

    def _handle(self, content: Content) -> int:
        handle = max(self._handles, default=2) + 1
        self._handles[handle] = content
        return handle

    def _directory(self, path: Path) -> Directory:
        return self._down(_below(self.root, path), path)

    def _down(self, parts: tuple[str, ...], path: Path) -> Directory:
        found = self.top
        for part in parts:
            below = found.names.get(part)
            if not isinstance(below, Directory):
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
            found = below
        return found

    def _parent(self, path: Path) -> tuple[Directory, str]:
        parts = _below(self.root, path)
        return self._down(parts[:-1], path), parts[-1]

    def _file(self, path: Path) -> Content:
        directory, name = self._parent(path)
        found = directory.names.get(name)
        if not isinstance(found, Content):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return found


@lru_cache(maxsize=4096)
def _below(root: Path, path: Path) -> tuple[str, ...]:
    return path.relative_to(root).parts


def _nothing(verb: str, path: PurePath) -> None:
    return
