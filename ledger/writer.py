"""The one writer of a home, put together: lock, recovery, journal, and the keeper that turns its files over.

Nobody may append to a file that the published views do not list, so opening waits for a first publish;
later files are prepared and published ahead, while the present one fills, and appends never wait for it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol, Self

from ledger.disk import REAL, Disk
from ledger.errors import HomeNotWritable, LedgerError, WriteFailed
from ledger.home import Home
from ledger.journal import Journal, Limits, Pending
from ledger.lock import HomeLock
from ledger.manifest import Position
from ledger.recovery import Fold, Recovered, Torn, new_file, recover
from ledger.sealer import Ahead, Answer, Command, Inline, Sealer

RETRY_S = 5.0
TICK_S = 60.0  # how often files in their grace are looked at when nothing else happens
SCRUB_S = 3600.0  # how often an idle service publishes, which scrubs segments; see scrub.TURNS_A_DAY
WORTH_SEALING_FILES = 32  # a short command leaves its few events in the journal until this many files wait
WORTH_SEALING_EVENTS = 20_000
SWITCH_S = 0.0001  # the writer's thread waits at most so long for the interpreter; Python's 5 ms would be twenty syncs
TIMEOUT_S = 120.0  # for a first publish, or a seal somebody waits for

Clock = Callable[[], datetime]
OnFailure = Callable[[WriteFailed], None]
OnTrouble = Callable[[str], None]


class NotSealed(LedgerError):
    """A seal that was asked for and did not come about; the events are safe in the journal."""

    def __init__(self, home: Home, why: str) -> None:
        super().__init__(
            f"{home.path} could not be sealed: {why}. Its events are safe in the journal; see halfpenny verify."
        )


def now_utc() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class Preparer(Protocol):
    """What beginning needs of a Keeper."""

    on_prepared: Callable[[int], None] | None

    def want(self, *, seal_up_to: int = -1, prepare: int | None = None) -> None: ...

    def wait_prepared(self, number: int) -> str | None: ...


class Keeper:
    """A thread that keeps what is wanted true: files sealed up to here, that one prepared; after trouble it asks again."""

    def __init__(self, make: Callable[[], Sealer], *, limits: Limits, on_trouble: OnTrouble | None) -> None:
        self._make, self._limits, self._on_trouble = make, limits, on_trouble
        self._changed = threading.Condition()
        self._sealed = self._wanted = -1
        self._prepare: int | None = None
        self._waiting = 0
        self._is_closing = self._is_stuck = False  # stuck: the last command did not do what it was for
        self.on_prepared: Callable[[int], None] | None = None
        self.trouble: str | None = None
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def want(self, *, seal_up_to: int = -1, prepare: int | None = None) -> None:
        """Say what is to be the case; returns at once."""
        with self._changed:
            self._wanted = max(self._wanted, seal_up_to)
            self._prepare = prepare if prepare is not None else self._prepare
            self._is_stuck = False
            self._changed.notify_all()

    def wait_prepared(self, number: int) -> str | None:
        """Want this file prepared and wait for it; None, or the trouble that came instead."""
        self.want(prepare=number)
        with self._changed:
            self._changed.wait_for(lambda: self._prepare is None or self._is_stuck, TIMEOUT_S)
            return None if self._prepare is None else self.trouble or f"it did not happen in {TIMEOUT_S:.0f} seconds"

    def wait_sealed(self, number: int) -> str | None:
        """Want files sealed up to `number` and wait for it; None, or the trouble that came instead."""
        self.want(seal_up_to=number)
        with self._changed:
            self._changed.wait_for(lambda: self._sealed >= number or self._is_stuck, TIMEOUT_S)
            return None if self._sealed >= number else self.trouble or f"it did not happen in {TIMEOUT_S:.0f} seconds"

    def close(self) -> None:
        """Finish the command in hand and stop."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        sealer = self._make()
        try:
            while (command := self._next()) is not None:
                self._done(command, _answer(sealer, command))
        finally:
            sealer.close()

    def _next(self) -> Command | None:
        with self._changed:
            if self._is_stuck:
                self._changed.wait_for(lambda: self._is_closing or not self._is_stuck, RETRY_S)
            else:
                is_watching = self._waiting or self.trouble is not None
                tick = min(TICK_S, self._limits.grace_seconds) if is_watching else SCRUB_S
                self._changed.wait_for(self._has_work, tick)
            if self._is_closing:
                return None
            # The next file first and by itself: a seal takes a second, in which the present file would outgrow its limit.
            due = self._wanted if self._prepare is None else -1
            return Command(seal_up_to=due, prepare=self._prepare, grace_seconds=self._limits.grace_seconds)

    def _has_work(self) -> bool:
        return self._is_closing or self._wanted > self._sealed or self._prepare is not None

    def _done(self, command: Command, answer: Answer) -> None:
        with self._changed:
            is_new = answer.trouble is not None and answer.trouble != self.trouble
            self.trouble, self._waiting = answer.trouble, answer.waiting
            self._sealed = max(self._sealed, answer.sealed_up_to, command.seal_up_to if answer.trouble is None else -1)
            if answer.prepared is not None and answer.prepared == self._prepare:
                self._prepare = None
            is_prepared = command.prepare is None or command.prepare == answer.prepared
            self._is_stuck = not is_prepared or command.seal_up_to > self._sealed
            self._changed.notify_all()
        if answer.prepared is not None and self.on_prepared is not None:
            self.on_prepared(answer.prepared)
        if is_new and self._on_trouble is not None and answer.trouble is not None:
            self._on_trouble(answer.trouble)


def _answer(sealer: Sealer, command: Command) -> Answer:
    try:
        return sealer.run(command)
    except Exception as refused:  # a mistake in the work must not end the keeping in silence
        return Answer(trouble=f"{type(refused).__name__}: {refused}")


class Writer:
    """A home that is open for writing. Shapes: one at a time a home; `submit` from any thread or event loop."""

    def __init__(self, home: Home, *, lock: HomeLock, recovered: Recovered, journal: Journal, keeper: Keeper) -> None:
        """Made by `open`."""
        self.home, self.lock, self._journal, self._keeper = home, lock, journal, keeper
        self.source = recovered.manifest.source
        self.warnings: tuple[Torn, ...] = recovered.warnings

    @classmethod
    def open(
        cls,
        home: Home,
        *,
        fold: Fold,
        clock: Clock = now_utc,
        limits: Limits | None = None,
        ahead: Ahead | None = None,
        on_sealed: str | None = None,
        on_failure: OnFailure | None = None,
        on_trouble: OnTrouble | None = None,
        disk: Disk = REAL,
    ) -> Self:
        """Take the lock, recover, publish the views with a new, empty journal file, and be ready.

        Shapes: `fold` gets the manifest and returns what takes each unsealed event; a service has begun `ahead`, with the lock
        and a child process for DuckDB, and without one the work is done here and `on_sealed`, `module:function`
        (segments.OnSealed), is called; `on_failure` is called once, from the writer thread, when the disk refused, and the
        process is then to end; `on_trouble` says why sealing does not get on.
        Errors: HomeInUse, HomeNotWritable, Damage; and nothing was appended.
        """
        lock, limits = HomeLock(home) if ahead is None else ahead.lock, limits or Limits()
        if ahead is not None:
            sys.setswitchinterval(SWITCH_S)

        def make() -> Sealer:
            return Inline(home, clock=clock, disk=disk, on_sealed=on_sealed) if ahead is None else ahead.child

        # Without a child it imports DuckDB while this thread recovers and folds.
        keeper = Keeper(make, limits=limits, on_trouble=on_trouble)
        try:
            recovered = recover(home, disk, fold=fold, now=clock())
            journal = begun(home, recovered, keeper, clock=clock, limits=limits, on_failure=on_failure, disk=disk)
        except BaseException as refused:
            keeper.close()
            lock.release()
            if isinstance(refused, OSError):
                raise HomeNotWritable(home.path, str(refused)) from None
            raise
        if ahead is not None or _is_worth_sealing(recovered):
            keeper.want(seal_up_to=recovered.next_file - 1)
        return cls(home, lock=lock, recovered=recovered, journal=journal, keeper=keeper)

    @property
    def sequence(self) -> int:
        """Of the last submitted event, durable or not."""
        return self._journal.sequence

    @property
    def durable(self) -> Position:
        """After the last event that is durable."""
        return self._journal.durable

    @property
    def backlog(self) -> int:
        """How many events wait for the next write."""
        return self._journal.backlog

    @property
    def trouble(self) -> str | None:
        """Why sealing or publishing does not get on; None when it does. Appends go on all the same."""
        return self._keeper.trouble

    def submit(self, bodies: Sequence[bytes]) -> Pending:
        """Give checked bodies their place in the log; see Journal.submit. Errors: WriteFailed."""
        return self._journal.submit(bodies)

    def seal(self) -> None:
        """Seal all that was submitted so far, and wait for it. Errors: NotSealed, WriteFailed."""
        trouble = self._keeper.wait_sealed(self._journal.leave(TIMEOUT_S))
        if trouble is not None:
            raise NotSealed(self.home, trouble)

    def close(self) -> None:
        """Write what is queued, stop, and let the next writer in."""
        try:
            self._journal.close()
        finally:
            self._keeper.close()
            self.lock.release()


def begun(
    home: Home,
    recovered: Recovered,
    keeper: Preparer,
    *,
    clock: Clock,
    limits: Limits,
    on_failure: OnFailure | None,
    disk: Disk,
    is_threaded: bool = True,
) -> Journal:
    """The journal on a new file, which is listed before it is written, and the next one ready. Errors: HomeNotWritable, OSError."""
    number = recovered.next_file
    new_file(home, disk, number)
    trouble = keeper.wait_prepared(number + 1)
    if trouble is not None:
        raise HomeNotWritable(home.path, trouble)
    journal = Journal(
        home,
        source=recovered.manifest.source,
        position=recovered.position,
        number=number,
        clock=clock,
        limits=limits,
        disk=disk,
        on_full=lambda left: keeper.want(seal_up_to=left, prepare=left + 2),
        on_failure=on_failure,
        is_threaded=is_threaded,
    )
    keeper.on_prepared = journal.offer
    journal.offer(number + 1)
    return journal


def _is_worth_sealing(recovered: Recovered) -> bool:
    return len(recovered.unsealed) >= WORTH_SEALING_FILES or recovered.unsealed_events >= WORTH_SEALING_EVENTS
