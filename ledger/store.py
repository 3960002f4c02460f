"""The one door to a home: state and log, opened together, appended to together.

`submit` checks an event against the state, gives it its place in the log and folds it in, in one step without a
pause; so two calls can never pass one budget check. It returns something to wait for: until then the event
counts, and nobody has been told that it is durable.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Protocol, Self

from msgspec.structs import replace
from uuid_utils.compat import uuid7

from ledger import bodies, carried, corrections, ids, snapshots
from ledger import manifest as manifests
from ledger.disk import REAL, Disk, publish
from ledger.errors import InvalidInput, NoLongerHere
from ledger.events import STAMPS, CallCorrected, CallOrphaned, CallReserved, Event, MonthAdjusted
from ledger.home import Home, existing, refuse_shared
from ledger.journal import Limits, Pending
from ledger.manifest import Manifest, Position
from ledger.projections import State, apply, check, replay
from ledger.recovery import Torn
from ledger.sealer import Ahead
from ledger.tail import Take
from ledger.writer import OnFailure, OnTrouble, Writer

_ON_SEALED = "ledger.store:keep_snapshot"


class Fold(Protocol):
    """A state of another room, folded from the same events in the same order as the ledger's own.

    Shapes: `position` is the sequence of the last event it has; whoever folds it is told every later one, once.
    """

    position: int

    def check(self, event: Event) -> None:
        """Say why an event may not follow, as an InvalidInput or Conflict; silent when it may."""

    def apply(self, event: Event) -> None:
        """Fold one event in; only what was checked or recorded comes, so nothing is refused here."""


class Ledger:
    """A home open for writing, and the state folded from all of it, the last submitted event included."""

    def __init__(
        self, writer: Writer, state: State, known: ids.Known, clock: Callable[[], datetime], folds: Sequence[Fold] = ()
    ) -> None:
        """Made by `open`."""
        self._writer, self._known, self._clock, self._folds = writer, known, clock, folds
        self._last: Pending | None = None
        self.state = state

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        clock: Callable[[], datetime],
        ahead: Ahead | None = None,
        limits: Limits | None = None,
        on_failure: OnFailure | None = None,
        on_trouble: OnTrouble | None = None,
        folds: Sequence[Fold] = (),
        on_sealed: str = _ON_SEALED,
    ) -> Self:
        """Take the lock, recover, fold, and end the holds a dead process left open as orphans.

        Shapes: a service seals in the child process it has begun `ahead`; a command does it in place, when there is enough.
        `folds` are brought up from their positions; `on_sealed` names, as module:function, what keeps snapshots.
        Errors: NotAHome, HomeNotPrivate, HomeInUse, HomeNotWritable, Damage.
        """
        home = existing(path)
        refuse_shared(home)
        state, known = State(), ids.Known(home, lambda after: _read_all(home, after))

        def fold(manifest: Manifest) -> Take:
            nonlocal state
            state = sealed_state(home, manifest)
            known.begin(manifest.end.sequence)
            _catch_up(home, manifest, folds)

            def take(event: Event) -> None:
                _apply_once(state, folds, event)
                known.saw(event)

            return take

        writer = Writer.open(
            home,
            fold=fold,
            clock=clock,
            limits=limits,
            ahead=ahead,
            on_sealed=on_sealed,
            on_failure=on_failure,
            on_trouble=on_trouble,
        )
        ledger = cls(writer, state, known, clock, folds)
        ledger.append_now(*ledger.orphans())
        ledger._finish_correction(home)
        return ledger

    @property
    def warnings(self) -> tuple[Torn, ...]:
        """What recovery left out."""
        return self._writer.warnings

    @property
    def source(self) -> str:
        """The writer's name in every event."""
        return self._writer.source

    @property
    def durable(self) -> int:
        """The sequence of the last event that is on the disk."""
        return self._writer.durable.sequence

    @property
    def trouble(self) -> str | None:
        """Why sealing does not get on, or None; appends go on all the same."""
        return self._writer.trouble

    @property
    def backlog(self) -> int:
        """How many events wait for the disk."""
        return self._writer.backlog

    def submit(self, *events: Event) -> Pending:
        """Check, place and fold events: all of them or none. Await the answer, or `wait()` for it, to have them durable.

        Shapes: an event that the log has already, by id and body, is not recorded again and waits for what it was recorded
        with; a reservation is submitted alone, since each must see the holds of those before it.
        Errors: BudgetSpent, Conflict (also for an id that names another fact), NotFound, InvalidInput, and then nothing
        happened; WriteFailed.
        """
        if len(events) == 1:
            return self._submit_one(events[0])
        encoded = [bodies.checked(event) for event in events]
        fresh = self._known.fresh(events, encoded)
        if len(fresh) < len(events):
            events, encoded = tuple(events[index] for index in fresh), [encoded[index] for index in fresh]
            if not events and self._last is not None:
                return self._last  # later than what is repeated, or the same
        if len(events) > 1:
            _refuse_entangled(events)
        for event in events:
            check(self.state, event)
            for fold in self._folds:
                fold.check(event)
        pending = self._writer.submit(encoded)
        if not events:
            return pending
        for event, known in zip(events, fresh.values(), strict=True):
            apply(self.state, event)
            self._known.add(known)
        self.state.position, self._last = pending.last, pending
        for fold in self._folds:
            for event in events:
                fold.apply(event)
            fold.position = pending.last
        return pending

    def _submit_one(self, event: Event) -> Pending:
        """The same for a single event, as all of a call's are: the steps of `submit`, in its order."""
        body = bodies.checked(event)
        known = self._known.fresh_one(event, body)
        if known is None and self._last is not None:
            return self._last
        if known is None:
            return self._writer.submit(())
        check(self.state, event)
        for fold in self._folds:
            fold.check(event)
        self._last = pending = self._writer.submit((body,))
        apply(self.state, event)
        self._known.add(known)
        self.state.position = pending.last
        for fold in self._folds:
            fold.apply(event)
            fold.position = pending.last
        return pending

    async def append(self, *events: Event) -> None:
        """Submit and wait until durable. Errors: as submit; after WriteFailed the process must end."""
        await self.submit(*events)

    def append_now(self, *events: Event) -> None:
        """The same for commands, blocking."""
        if events:
            self.submit(*events).wait()

    def orphans(self) -> tuple[CallOrphaned, ...]:
        """The ends of all holds open now, as recovery states them: nobody is left who knows what became of these calls."""
        now = self._clock()
        return tuple(_orphaned(hold, now) for hold in self.state.holds.values())

    def _finish_correction(self, home: Home) -> None:
        """Record what is missing of a correction that a crash cut short, so that it is there whole; or end it if no price came."""
        head = self.state.corrections.head
        if head is None:
            return
        model = None if head.subject == corrections.BOOK else head.subject.rpartition("@")[0]
        looking = corrections.Repricing(self.state.prices, model)
        for event in takewhile(lambda one: (one.sequence or 0) <= head.up_to_sequence, _read_all(home, 0)):
            looking.take(event)
        found = looking.corrections()
        made = corrections.batch(
            self.state,
            found,
            head_id=head.id,
            now=head.time,
            subject=head.subject,
            up_to=head.up_to_sequence,
            reason=head.reason,
        )
        self.append_now(*(event for event in made if not self._known.has(event.id)))
        if self.state.corrections.head is not None:  # nothing follows it: the price that it was for never came
            ended = {**dict.fromkeys(STAMPS), "id": str(uuid7()), "corrections": 0, "adjustments": 0}
            self.append_now(replace(head, difference_usd="0", **ended))

    def announce(self, url: str) -> None:
        """Say in HOME/LOCK where the service answers."""
        self._writer.lock.announce(url)

    def seal(self) -> None:
        """Seal everything submitted so far, and wait for it. Errors: NotSealed, WriteFailed."""
        self._writer.seal()

    def close(self) -> None:
        """Write what is queued and let the next writer in."""
        self._writer.close()


def _refuse_entangled(events: Iterable[Event]) -> None:
    seen = set()
    for event in events:
        if isinstance(event, CallReserved):
            raise InvalidInput("A reservation is recorded alone: each must see the holds of those before it.")
        if isinstance(event, CallCorrected | MonthAdjusted):
            continue  # none is checked against another
        if (key := (type(event), event.subject, getattr(event, "attempt", None))) in seen:
            raise InvalidInput(f"{event.subject!r} stands twice in one batch. Send the two one after the other.")
        seen.add(key)


def _orphaned(hold: CallReserved, now: datetime) -> CallOrphaned:
    return CallOrphaned(
        id=str(uuid7()),
        subject=hold.subject,
        time=now,
        client_id=hold.client_id,
        attempt=hold.attempt,
        purpose=hold.purpose,
        period=hold.period,
        request_model=hold.request_model,
        provider_name=hold.provider_name,
        key_id=hold.key_id,
        ticket_id=hold.ticket_id,
        arm=hold.arm,
        ticket_class=hold.ticket_class,
        reserved_at=hold.time,
        price_id=hold.price_id,
        hold_usd=hold.hold_usd,
        reason="The process that made this call ended before the call did.",
    )


def _apply_once(state: State, folds: Sequence[Fold], event: Event) -> None:
    """Fold an event wherever a snapshot that ran ahead does not have it."""
    if (event.sequence or 0) > state.position:
        apply(state, event)
    fold_once(folds, event)


def fold_once(folds: Sequence[Fold], event: Event) -> None:
    """Tell each fold an event that it does not have yet."""
    sequence = event.sequence or 0
    for fold in folds:
        if sequence > fold.position:
            fold.apply(event)
            fold.position = sequence


def _catch_up(home: Home, manifest: Manifest, folds: Sequence[Fold]) -> None:
    """Bring folds up to the end of what is sealed. Errors: Damage."""
    behind = min((fold.position for fold in folds), default=manifest.end.sequence)
    if behind < manifest.end.sequence:
        from ledger.segments import read_sealed  # noqa: PLC0415

        for event in read_sealed(home, manifest, after=behind):
            fold_once(folds, event)


def sealed_state(home: Home, manifest: Manifest, disk: Disk = REAL) -> State:
    """The state after all sealed events: the snapshot, and whatever it lacks. Errors: Damage."""
    state = load_snapshot(home, disk) or carried.beginning(home, manifest, disk)
    if state.position >= manifest.end.sequence:
        return state
    # Imported here because reading Parquet takes pyarrow, which a start with a fresh snapshot need not load.
    from ledger.segments import read_sealed  # noqa: PLC0415

    return replay(read_sealed(home, manifest, disk=disk, after=state.position), state)


def read_state(home: Home) -> State:
    """The state of a home that another process may be writing. Errors: Damage."""
    from ledger.segments import read_all  # noqa: PLC0415

    state = load_snapshot(home) or carried.beginning(home, manifests.load(home, REAL))
    return replay(read_all(home, after=state.position), state)


def state_as_of(home: Home, moment: datetime) -> State:
    """The state as it was known at a moment: of the events before the first that was recorded later.

    Errors: NoLongerHere when that lies in what was dropped; Damage.
    """
    from ledger.segments import read_all  # noqa: PLC0415

    manifest = manifests.load(home, REAL)
    if manifest.dropped is not None and moment < manifest.dropped.recorded_at:
        raise NoLongerHere(f"What was known at {moment:%Y-%m-%dT%H:%M:%SZ}", manifest.dropped.period)
    state = carried.beginning(home, manifest)
    later = read_all(home, after=state.position)
    return replay(takewhile(lambda event: event.recorded_at is None or event.recorded_at <= moment, later), state)


def load_snapshot(home: Home, disk: Disk = REAL) -> State | None:
    """The state last kept, or None when there is none that can be taken."""
    try:
        return snapshots.load(disk.read(home.snapshot))
    except FileNotFoundError:
        return None


def _read_all(home: Home, after: int) -> Iterable[Event]:
    # Imported here because it takes pyarrow, which only a rare question needs.
    from ledger.segments import read_all  # noqa: PLC0415

    return read_all(home, after=after)


def keep_snapshot(home: Home, disk: Disk, events: Iterable[Event], position: Position) -> None:
    """Keep the state and the ids at a seal: what was kept last, and the events since.

    Shapes: called after each seal with its events; what was kept before an earlier seal is made up from the segments.
    """
    from ledger.segments import read_sealed  # noqa: PLC0415

    records: list[bytes] = []

    def recorded() -> Iterator[Event]:
        for event in events:
            records.append(ids.record_of(event))
            yield event

    passing = recorded()
    _keep_state(home, disk, passing, position)
    deque(passing, maxlen=0)  # what the state had no need to read
    if ids.known_up_to(home, disk) + len(records) == position.sequence:
        ids.keep(home, records, position.sequence - len(records) + 1, disk)
    else:
        manifest = manifests.load(home, disk)
        ids.make(home, lambda after: read_sealed(home, manifest, disk=disk, after=after), position.sequence, disk)


def _keep_state(home: Home, disk: Disk, events: Iterable[Event], position: Position) -> None:
    from ledger.segments import read_sealed  # noqa: PLC0415

    state = load_snapshot(home, disk) or carried.beginning(home, manifests.load(home, disk), disk)
    waiting = iter(events)
    first = next(waiting, None)
    if first is None or state.position >= position.sequence:
        return
    if state.position + 1 == first.sequence:
        apply(state, first)
        replay(waiting, state)
    else:
        replay(read_sealed(home, manifests.load(home, disk), disk=disk, after=state.position), state)
    publish(disk, home.snapshot, snapshots.dump(state))


def rebuild(home: Home, clock: Callable[[], datetime]) -> int:
    """Make the snapshot and the catalog anew from the events alone; how many events there are.

    Errors: HomeInUse, Damage.
    """
    from ledger.segments import read_sealed  # noqa: PLC0415

    state = State()

    def fold(manifest: Manifest) -> Take:
        nonlocal state
        state = carried.beginning(home, manifest)
        replay(read_sealed(home, manifest, after=state.position), state)
        ids.forget(home)
        ids.make(home, lambda after: read_sealed(home, manifest, after=after), manifest.end.sequence)
        if state.position:
            publish(REAL, home.snapshot, snapshots.dump(state))
        else:
            home.snapshot.unlink(missing_ok=True)
        return lambda event: apply(state, event)

    Writer.open(home, fold=fold, clock=clock, on_sealed=_ON_SEALED).close()
    return state.position
