"""The append side of the journal: many callers, one thread that writes, one sync for all who wait.

`submit` stamps events and queues their lines under a lock, so that sequence order is submit order; the writer
thread takes all that is queued, does one write and one fdatasync, and wakes the waiters. What a loop submits is
taken when its turn is over: woken for the first event, the thread would fight the loop for the interpreter and write
one event at a time. It runs hardly any Python, so that the callers' work and the disk's go on at once. Nothing is acknowledged before. After any error of
the disk every waiter fails, the journal takes nothing more and the process is to stop: a second fsync may
succeed over lost pages.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from ledger import tail
from ledger.disk import REAL, Disk, write_all
from ledger.errors import WriteFailed
from ledger.home import Home
from ledger.manifest import Position
from ledger.stamping import Chain, moment_of

# Of one turn, and they are written while it goes on: with hundreds of callers the disk works beside the loop.
GROUP_EVENTS = 64
MOMENT_S = 0.001  # events submitted within so long of each other, and written together, have one recorded_at


@dataclass(frozen=True, slots=True)
class Limits:
    """When a journal file is full and how long readers may hold what was replaced. Units: events, seconds.

    Source: reference/storage.md, "Tail cost": a tail of 20,000 events adds a third to a report.
    """

    events: int = 20_000
    seconds: float = 60.0
    grace_seconds: float = 900.0


class _Group:
    """The events of one write, and who waits for it."""

    __slots__ = ("end", "error", "event", "futures", "is_done", "is_due", "is_gathering", "parts")

    def __init__(self) -> None:
        self.parts: list[bytes] = []  # of lines, two each
        self.end = Position(0, b"")
        self.is_gathering = False  # a loop closes it once its turn is over
        self.is_due = False  # closed: the writer may take it
        self.is_done = False
        self.error: str | None = None
        self.event: threading.Event | None = None
        self.futures: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}


class Pending(msgspec.Struct, frozen=True, gc=False, eq=False):
    """Events that have their place in the log and are not durable yet; await it, or `wait()` in a thread.

    Shapes: `first` and `last` are their sequences. Errors: WriteFailed, and then whether they are on the disk is not known.
    """

    # A Struct, since one is made for each event and a class of our own takes three times as long.
    _journal: Journal
    _group: _Group
    first: int
    last: int

    def __await__(self) -> Generator[object, None, None]:
        group = self._group
        if group.is_done:
            return self._over()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        # No lock: a loop's futures are added and woken in its own thread. Adding comes before the second look at
        # is_done, and the writer sets is_done before it looks for loops, so that one of the two sees the other.
        waiting = group.futures.get(loop)
        if waiting is None:
            group.futures[loop] = [future]
        else:
            waiting.append(future)
        if group.is_done:
            future.cancel()  # nobody is going to look at it
            return self._over()
        return future.__await__()

    def _over(self) -> Generator[object, None, None]:
        self._check()
        yield from ()

    def wait(self) -> None:
        """Block until durable."""
        event = self._journal._event(self._group)
        if event is not None:
            event.wait()
        self._check()

    @property
    def is_durable(self) -> bool:
        """Whether waiting would return at once and without an error."""
        return self._group.is_done and self._group.error is None

    def _check(self) -> None:
        if self._group.error is not None:
            raise WriteFailed(self._journal.path, self._group.error)


class Journal:
    """The one writer's end of the log.

    Shapes: `submit` may be called from any thread and any event loop. `on_full(number)` is called from the writer thread
    when file `number` has been left for the next; `on_failure` once, when the disk has refused.
    """

    path: Path
    _number: int
    _handle: int
    _before: int  # the sequence this file's first event follows
    _started: float  # by the monotonic clock; 0 before the first event

    def __init__(
        self,
        home: Home,
        *,
        source: str,
        position: Position,
        number: int,
        clock: Callable[[], datetime],
        limits: Limits | None = None,
        disk: Disk = REAL,
        on_full: Callable[[int], None] | None = None,
        on_failure: Callable[[WriteFailed], None] | None = None,
        is_threaded: bool = True,
    ) -> None:
        """Start on the empty file `number`, which the published catalog lists already.

        Shapes: without a thread of its own, whoever made the journal calls `turn`. Errors: OSError.
        """
        self._home, self._disk, self._limits, self._clock = home, disk, limits or Limits(), clock
        self._chain, self._durable = Chain(source, position), position
        self._moment, self._moment_until = b"", 0.0
        self._on_full, self._on_failure = on_full, on_failure
        self._lock = threading.Lock()
        self._bell = threading.Lock()  # held; a release wakes the writer thread, which a Condition does slower
        self._bell.acquire()
        self._moved = threading.Condition(self._lock)
        self._group = _Group()
        self._error: str | None = None
        self._is_closing = self._is_asleep = self._is_to_leave = False
        self._offered: int | None = None
        self._open(number)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True) if is_threaded else None
        if self._thread is not None:
            self._thread.start()

    @property
    def sequence(self) -> int:
        """Of the last submitted event, durable or not."""
        return self._chain.sequence

    @property
    def durable(self) -> Position:
        """After the last event that is durable."""
        return self._durable

    @property
    def backlog(self) -> int:
        """How many events wait for the next write; whoever takes requests refuses them when it grows."""
        return len(self._group.parts) // 2

    def submit(self, bodies: Sequence[bytes]) -> Pending:
        """Give encoded events their place and queue them, next to each other, in this order.

        Shapes: bodies as `bodies.checked` gives them. Errors: WriteFailed once the disk has refused or after `close`.
        """
        with self._lock:
            if self._error is not None:
                raise WriteFailed(self.path, self._error)
            chain, group = self._chain, self._group
            first = chain.sequence + 1
            if not bodies:
                return Pending(self, _DONE, first, first - 1)  # nothing to wait for
            now = time.monotonic()
            if now >= self._moment_until or not group.parts:
                self._moment, self._moment_until = moment_of(self._clock()), now + MOMENT_S
            chain.stamp(bodies, self._moment, group.parts)
            if not group.is_gathering:
                self._gather(group)
            elif len(group.parts) >= 2 * GROUP_EVENTS and not group.is_due:
                self._ring()
            return Pending(self, group, first, chain.sequence)

    def offer(self, number: int) -> None:
        """Say that the next file is there, empty and listed in the published catalog; the writer moves when it is time."""
        with self._lock:
            self._offered = number
            self._ring()

    def leave(self, timeout: float) -> int:
        """Wait until the events submitted so far lie in files the writer has left; returns the last such file's number.

        Errors: WriteFailed, also when no next file was offered in `timeout` seconds.
        """
        with self._lock:
            number = self._number
            if self._chain.sequence == self._before:
                return number - 1
            self._is_to_leave = True
            self._ring()
            if not self._moved.wait_for(lambda: self._number > number or self._error is not None, timeout):
                raise WriteFailed(self.path, f"no next journal file was ready after {timeout:.0f} seconds")
            if self._error is not None:
                raise WriteFailed(self.path, self._error)
            return number

    def close(self) -> None:
        """Write what is queued, stop the thread, close the file; waiters are woken as ever."""
        with self._lock:
            self._is_closing = True
            self._ring()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._error = self._error or "the journal is closed"

    def _run(self) -> None:
        while self.turn():
            pass

    def turn(self) -> bool:
        """What the thread does over and over: write what is queued, leave a full file; False when that was the last time.

        Shapes: waits for something to do; a journal without a thread is turned when there is something.
        """
        group: _Group | None = None
        try:
            group = self._next_group()
            if group is None:
                self._disk.close(self._handle)
                return False
            if group.parts:
                self._write(group)
            if self._is_full():
                self._move()
        except Exception as refused:  # whatever it was, those who wait must hear of it, and nobody may write on
            self._fail(group, refused)
            return False
        return True

    def _write(self, group: _Group) -> None:
        lines = b"".join(group.parts)
        write_all(self._disk, self._handle, lines)
        self._disk.sync(self._handle)
        self._durable = group.end
        self._started = self._started or time.monotonic()
        self._release(group, None)

    def _next_group(self) -> _Group | None:
        """What is queued, as soon as something is; an empty group when the file's time is up; None at the end."""
        while True:
            with self._lock:
                if self._group.is_due or (self._is_closing and self._group.parts):
                    group, self._group = self._group, _Group()
                    group.end = self._chain.position
                    return group
                if self._is_closing:
                    return None
                if self._is_full():
                    return _Group()
                self._is_asleep = True
                seconds = self._seconds_left()
            if not self._bell.acquire(timeout=-1 if seconds is None else seconds):
                with self._lock:
                    if self._is_asleep:
                        self._is_asleep = False
                    else:
                        self._bell.acquire()  # it rang just now

    def _gather(self, group: _Group) -> None:
        """Have the group written: once the running loop's turn is over, so that all of the turn is one write; without a
        loop now. The lock is held."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._ring()
        else:
            group.is_gathering = True
            loop.call_soon(self._close, group)

    def _close(self, group: _Group) -> None:
        with self._lock:
            if group is self._group:  # else it was written already
                self._ring()

    def _ring(self) -> None:
        """Have what is queued written now: wake the writer thread, if it sleeps; the lock is held."""
        self._group.is_due = bool(self._group.parts)
        if self._is_asleep:
            self._is_asleep = False
            self._bell.release()

    def _seconds_left(self) -> float | None:
        if self._offered is None or self._durable.sequence == self._before:
            return None
        return max(self._started + self._limits.seconds - time.monotonic(), 0.001)

    def _is_full(self) -> bool:
        written = self._durable.sequence - self._before
        if self._offered is None or not written:
            return False
        is_old = time.monotonic() - self._started >= self._limits.seconds
        return self._is_to_leave or is_old or written >= self._limits.events

    def _open(self, number: int) -> None:
        path = tail.path_of(self._home, number)
        if self._disk.size(path):
            raise OSError(f"journal file {number} holds something already")
        self._handle = self._disk.open(path)
        self._number, self.path, self._before, self._started = number, path, self._durable.sequence, 0.0

    def _move(self) -> None:
        with self._lock:
            left, offered, self._offered = self._number, self._offered, None
        if offered is None:
            return
        self._disk.close(self._handle)
        self._open(offered)
        with self._lock:
            self._is_to_leave = False
            self._moved.notify_all()
        if self._on_full is not None:
            self._on_full(left)

    def _release(self, group: _Group, error: str | None) -> None:
        """One wake-up a loop, however many wait in it."""
        with self._lock:
            group.error = error
            group.is_done = True
            if group.event is not None:
                group.event.set()
        for loop, waiting in group.futures.copy().items():
            try:
                loop.call_soon_threadsafe(_wake, waiting, None if error is None else (self.path, error))
            except RuntimeError:
                if not loop.is_closed():  # a closed loop has nobody left to wake
                    raise

    def _fail(self, group: _Group | None, refused: Exception) -> None:
        why = getattr(refused, "strerror", None) or str(refused) or type(refused).__name__
        with self._lock:
            self._error = why
            queued, self._group = self._group, _Group()
            self._moved.notify_all()
        for waiting in (group, queued):
            if waiting is not None and not waiting.is_done:
                self._release(waiting, why)
        if self._on_failure is not None:
            self._on_failure(WriteFailed(self.path, why))

    def _event(self, group: _Group) -> threading.Event | None:
        with self._lock:
            if group.is_done:
                return None
            if group.event is None:
                group.event = threading.Event()
            if group is self._group:
                self._ring()  # a loop that is waited in does not end its turn
            return group.event


_DONE = _Group()
_DONE.is_done = True


def _wake(waiting: list[asyncio.Future[None]], failed: tuple[Path, str] | None) -> None:
    for future in waiting:
        if future.done():  # its task was cancelled
            continue
        if failed is None:
            future.set_result(None)
        else:
            future.set_exception(WriteFailed(*failed))
