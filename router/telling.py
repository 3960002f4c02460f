"""Tells, as events, what the folds found: that a client's split moved, and that something drifted.

An alarm is found by the fold of the fact that completed its evidence and stays due until its event is folded, so one that a
kill kept from being told is told at the next start, and none is told twice.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

import structlog

from ledger import events as e
from router.drift import Alarm
from router.shifts import shift_of
from router.standing import Standing, Standings

# At a start that folds the whole log under other terms or code: what would be news of an older day is no news.
FRESH = timedelta(days=2)
T = TypeVar("T")
_log = structlog.stdlib.get_logger()


def alarmed(standing: Standing, alarm: Alarm, *, event_id: str) -> e.DriftAlarmed:
    """The event that tells of an alarm; it happened when its evidence was complete."""
    return e.DriftAlarmed(
        id=event_id,
        subject=standing.client_id,
        time=alarm.time,
        client_id=standing.client_id,
        drift=alarm.drift,
        period=alarm.period,
        cause_id=alarm.cause_id,
        reason=alarm.reason,
        observations=alarm.observations,
        before=alarm.before,
        after=alarm.after,
        request_model=alarm.request_model,
        response_model=alarm.response_model,
        arm=alarm.arm,
        ticket_class=alarm.ticket_class,
        purpose=alarm.purpose,
        price_id=alarm.price_id,
        previous_price_id=alarm.previous_price_id,
    )


class Teller(Generic[T]):
    """Notes whose figures an event changed, and tells of them once it is folded; `ring` is given each alarm with what `tell` gave."""

    def __init__(
        self,
        standings: Standings,
        tell: Callable[[e.Event], T],
        new_id: Callable[[], str],
        ring: Callable[[e.DriftAlarmed, T], object] = lambda _, __: None,
    ) -> None:
        self._standings, self._tell, self._new_id, self._ring = standings, tell, new_id, ring
        self._looked: dict[str, float] = {}
        self._due: dict[str, datetime] = {}

    def note(self, event: e.Event) -> bool:
        """Take note of an event just folded; whether there is something to look at."""
        standing = self._standings.clients.get(event.client_id or "")
        if standing is None:
            return False
        is_refreshed = self._looked.get(standing.client_id) != standing.state.refreshed_s
        due = standing.drift.due
        if not is_refreshed and not (due and due[-1].time >= event.time - FRESH):
            return False
        self._looked[standing.client_id] = standing.state.refreshed_s
        self._due[standing.client_id] = event.time
        return True

    def look(self) -> None:
        """Tell of every alarm that is due, and of every split that moved since it was told of last."""
        while self._due:
            client_id, moment = self._due.popitem()
            standing = self._standings.clients[client_id]
            self.alarm(standing, moment)
            found = shift_of(standing, event_id=self._new_id(), time=moment)
            if found is not None:
                self._tell(found)

    def alarm(self, standing: Standing, moment: datetime) -> None:
        """Tell of the client's alarms that are due and were found not long before this moment."""
        for alarm in tuple(standing.drift.due):
            if alarm.time >= moment - FRESH:
                event = alarmed(standing, alarm, event_id=self._new_id())
                self._ring(event, self._tell(event))
                _log.warning("drift", client_id=standing.client_id, drift=alarm.drift, reason=alarm.reason)

    def start(self) -> None:
        """Tell of what a stop kept from being told."""
        for standing in self._standings.clients.values():
            self.alarm(standing, datetime.fromtimestamp(standing.last_s, UTC))
