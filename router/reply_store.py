"""Where kept replies lie by default: one SQLite file of the home, read and written by one thread of its own.

The event loop never touches the file. Which replies there are is known in memory, so asking for one that is not there
costs a look into a dictionary; sizes and ages are known there too, so the oldest replies of a shelf go when it holds
too much. A store that fails is no reason to refuse a call: it says so once and holds nothing from then on.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import structlog

Found = TypeVar("Found")

WAITING_AT_MOST = 256  # replies on their way to the disk; more are not kept
_SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
    shelf TEXT NOT NULL, digest BLOB NOT NULL, expires_at REAL NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (shelf, digest)
)"""
_log = structlog.stdlib.get_logger()


class Place(NamedTuple):
    """Where a reply lies: a shelf, which belongs to one client and one use, and the request's digest."""

    shelf: str
    digest: bytes


class Room(NamedTuple):
    """How much a shelf may hold, and for how long. Units: bytes as stored; seconds."""

    bytes_at_most: int
    replies_at_most: int
    ttl_s: float


class ReplyStore(Protocol):
    """A store of replies. It never raises: what cannot be read is not there, what cannot be kept is not kept."""

    async def get(self, place: Place, moment: datetime, /) -> bytes | None: ...

    async def put(self, place: Place, value: Callable[[], bytes], moment: datetime, room: Room, /) -> None: ...

    async def close(self) -> None: ...


class _Entry(NamedTuple):
    size: int
    expires_at: float


class _Shelf:
    """What one shelf holds, the oldest first."""

    def __init__(self) -> None:
        self.entries: dict[bytes, _Entry] = {}
        self.size = 0

    def take(self, digest: bytes, entry: _Entry) -> None:
        self.drop(digest)
        self.entries[digest] = entry
        self.size += entry.size

    def drop(self, digest: bytes) -> None:
        if (entry := self.entries.pop(digest, None)) is not None:
            self.size -= entry.size

    def shed(self, room: Room) -> list[bytes]:
        """Let the oldest go until the rest fits; which those were."""
        gone: list[bytes] = []
        while self.size > room.bytes_at_most or len(self.entries) > room.replies_at_most:
            gone.append(next(iter(self.entries)))
            self.drop(gone[-1])
        return gone


class SqliteStore:
    """The embedded store, opened when it is first asked; without a path it keeps everything in memory, for tests."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="replies")
        self._shelves: dict[str, _Shelf] = {}
        self._connection: sqlite3.Connection | None = None
        self._opening: asyncio.Task[None] | None = None
        self._is_broken = False
        self._waiting = 0

    async def get(self, place: Place, moment: datetime) -> bytes | None:
        """The stored bytes, or None when there are none or they are too old."""
        await self._opened()
        shelf = self._shelves.get(place.shelf)
        entry = None if shelf is None else shelf.entries.get(place.digest)
        if entry is None or entry.expires_at <= moment.timestamp():
            return None
        return await self._in_thread(lambda: self._read(place))

    async def put(self, place: Place, value: Callable[[], bytes], moment: datetime, room: Room) -> None:
        """Keep what `value` makes, which runs in the store's thread; returns once it is kept, or dropped."""
        await self._opened()
        if self._waiting >= WAITING_AT_MOST:
            return
        self._waiting += 1
        try:
            expires_at = moment.timestamp() + room.ttl_s
            size = await self._in_thread(lambda: self._write(place, value(), expires_at, room.bytes_at_most))
        finally:
            self._waiting -= 1
        if size is None:
            return
        shelf = self._shelves.setdefault(place.shelf, _Shelf())
        shelf.take(place.digest, _Entry(size, expires_at))
        if gone := shelf.shed(room):
            await self._in_thread(lambda: self._delete(place.shelf, gone))

    async def close(self) -> None:
        """Write what is under way and close the file."""
        if self._opening is not None:
            await self._opened()
            await asyncio.get_running_loop().run_in_executor(self._thread, self._shut)
        self._thread.shutdown()

    async def _opened(self) -> None:
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._in_thread(self._open))
        if not self._opening.done():
            await asyncio.shield(self._opening)

    async def _in_thread(self, work: Callable[[], Found]) -> Found | None:
        """What `work` gives, or None once the store is broken."""
        if self._is_broken:
            return None
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, OSError) as broke:
            self._is_broken = True
            self._shelves.clear()
            _log.warning("replies_not_kept", error=type(broke).__name__, why=str(broke))
            return None

    def _open(self) -> None:
        if self._path is not None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._connection = self._connected()
        except sqlite3.DatabaseError:
            if self._path is None or not self._path.exists():
                raise
            # Damaged, and nothing but copies: better empty than in the way.
            for end in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + end).unlink(missing_ok=True)
            self._connection = self._connected()

    def _connected(self) -> sqlite3.Connection:
        name = ":memory:"
        if self._path is not None:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite gives its other files the same mode
            name = str(self._path)
        connection = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
        # Not synchronous at each reply: one that a power cut takes is a call made again, or a key that says so.
        for line in ("journal_mode=WAL", "synchronous=NORMAL", "secure_delete=FAST"):
            connection.execute(f"PRAGMA {line}")
        connection.execute(_SCHEMA)
        rows = connection.execute("SELECT shelf, digest, length(value), expires_at FROM replies ORDER BY rowid")
        shelves: dict[str, _Shelf] = {}
        for shelf, digest, size, expires_at in rows:
            shelves.setdefault(shelf, _Shelf()).take(digest, _Entry(size, expires_at))
        self._shelves = shelves
        return connection

    def _read(self, place: Place) -> bytes | None:
        row = self._open_connection.execute(
            "SELECT value FROM replies WHERE shelf = ? AND digest = ?", place
        ).fetchone()
        return None if row is None else row[0]

    def _write(self, place: Place, value: bytes, expires_at: float, at_most: int) -> int | None:
        if len(value) > at_most:
            return None
        self._open_connection.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?)", (*place, expires_at, value))
        return len(value)

    def _delete(self, shelf: str, digests: list[bytes]) -> None:
        rows = [(shelf, digest) for digest in digests]
        self._open_connection.executemany("DELETE FROM replies WHERE shelf = ? AND digest = ?", rows)

    def _shut(self) -> None:
        if self._connection is not None:
            self._connection.close()

    @property
    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.ProgrammingError("the store is not open")
        return self._connection
