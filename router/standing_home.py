"""Where clients stand, kept in step with a ledger and beside it on the disk.

The snapshot is derived: deleting it costs a slower start and nothing else. It bears the terms it was folded under,
the sum of its bytes and that of the code that folded them; when any of these differs it is made anew from the log.
The service's sealing child keeps it at each seal, as it keeps the ledger's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import msgspec

from ledger import manifest as manifests
from ledger.disk import REAL, Disk, publish
from ledger.events import DriftAlarmed, Event, PolicySet
from ledger.home import Home
from ledger.manifest import Position
from ledger.store import keep_snapshot
from router.standing import Standings, Terms, check_alarm, check_policy
from router.standing_folds import apply

_FOLDING = (
    "standing",
    "standing_folds",
    "tallies",
    "aggregates",
    "gains",
    "costs",
    "pace",
    "forecast",
    "policy",
    "output_bounds",
    "drift",
    "drift_folds",
)
_decoder = msgspec.json.Decoder(Standings)


class Follower:
    """A fold of the ledger's events; see ledger.store.Fold. `after` is told of each event once it is folded."""

    def __init__(self, standings: Standings, after: Callable[[Event], object] = lambda _: None) -> None:
        self.standings, self.after = standings, after

    @property
    def position(self) -> int:
        """The sequence of the last event folded."""
        return self.standings.position

    @position.setter
    def position(self, sequence: int) -> None:
        self.standings.position = sequence

    def check(self, event: Event) -> None:
        """Refuse a policy that could not be in force, and an alarm the log does not raise. Errors: InvalidInput, Conflict."""
        if isinstance(event, PolicySet):
            check_policy(self.standings.terms, event)
        elif isinstance(event, DriftAlarmed):
            check_alarm(self.standings, event)

    def apply(self, event: Event) -> None:
        """Fold one event in."""
        apply(self.standings, event)
        self.after(event)


def path_of(home: Home) -> Path:
    """Where the snapshot lies."""
    return home.path / "standings.json"


def replay(events: Iterable[Event], terms: Terms) -> Standings:
    """Where clients stand after these events."""
    standings = Standings(terms)
    for event in events:
        apply(standings, event)
    return standings


def dump(standings: Standings) -> bytes:
    """A digest line, then JSON; the same standings give the same bytes."""
    body = msgspec.json.encode(standings)
    return b"%b %b\n%b" % (hashlib.sha256(body).hexdigest().encode(), _code().encode(), body)


def load(home: Home, terms: Terms | None = None) -> Standings | None:
    """What was kept, or None when there is none, it is damaged, or it was folded by other code or under other terms."""
    try:
        first, _, body = path_of(home).read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    if first != b"%b %b" % (hashlib.sha256(body).hexdigest().encode(), _code().encode()):
        return None
    try:
        found = _decoder.decode(body)
    except (msgspec.DecodeError, ValueError):  # ValueError: a policy that this code refuses
        return None
    return found if terms in (None, found.terms) else None


def store(home: Home, standings: Standings, disk: Disk = REAL) -> None:
    """Keep them, whole or not at all."""
    publish(disk, path_of(home), dump(standings))


def keep(home: Home, disk: Disk, events: Iterable[Event], position: Position) -> None:
    """At a seal: keep the ledger's own state, then where clients stand; see ledger.store.keep_snapshot.

    Shapes: without a snapshot under known terms there is nothing to go on from; the next service makes one.
    """
    sealed = list(events)
    keep_snapshot(home, disk, sealed, position)
    standings = load(home)
    if standings is None or standings.position >= position.sequence:
        return
    if sealed and (sealed[0].sequence or 0) > standings.position + 1:
        from ledger.segments import read_sealed  # noqa: PLC0415 - the service never loads what reads segments

        sealed = list(read_sealed(home, manifests.load(home, disk), after=standings.position))
    for event in sealed:
        if (event.sequence or 0) > standings.position:
            apply(standings, event)
    store(home, standings, disk)


@cache
def _code() -> str:
    """The sum of the code that folds: other code may fold otherwise, and replay is the judge."""
    here = Path(__file__).parent
    return hashlib.sha256(b"".join((here / f"{name}.py").read_bytes() for name in _FOLDING)).hexdigest()
