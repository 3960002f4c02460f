"""Which reports are due: pure, so that a month's end in any zone and any outage can be tried.

A month is due once it has ended in the client's own zone and no report of it was issued, once
more when it was closed after a draft, and again when it was restated or held against an invoice. What was missed while the
service was down is caught up, oldest first. What makes it once and only once is the ledger: a
report.issued event takes its month off this list, and building again finds the same revision.
A month is closed by the job once an invoice agrees with it, or on a set day of the next month.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from ledger.budgets import Period, period_named, period_of, zone

MONTHS_AT_MOST = 1200  # a hundred years of catching up


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientMonths:
    """What the ledger says of a client: its zone, its first call (None: none yet), the months closed, and what was issued.

    Shapes: `issued` is the status of the last report of each month, `issued_up_to` the last event it was made of, and
    `stands_at` the last event a closed or restated month is made of; `reconciled` months agree with an invoice;
    `issued_at` and `invoiced_at` are where in the log the last report and the last invoice of a month stand.
    """

    client_id: str
    zone: str
    first_call_at: datetime | None
    closed: frozenset[str] = frozenset()
    issued: Mapping[str, Literal["draft", "final"]] = field(default_factory=dict)
    issued_up_to: Mapping[str, int] = field(default_factory=dict)
    stands_at: Mapping[str, int] = field(default_factory=dict)
    reconciled: frozenset[str] = frozenset()
    issued_at: Mapping[str, int] = field(default_factory=dict)
    invoiced_at: Mapping[str, int] = field(default_factory=dict)


class Due(NamedTuple):
    """One report to build. `why`: the month has ended, it was closed after a draft, told anew, or invoiced after its close."""

    period: str
    client_id: str
    why: Literal["ended", "closed", "restated", "invoiced"]


class Closable(NamedTuple):
    """One month to close. `why`: an invoice agrees with it, or its day has come."""

    period: str
    client_id: str
    why: Literal["reconciled", "final day"]


def due(clients: Iterable[ClientMonths], moment: datetime) -> tuple[Due, ...]:
    """Every report that is due at a moment, oldest month first, then by client."""
    return tuple(sorted(one for client in clients for one in _due(client, moment)))


def _due(client: ClientMonths, moment: datetime) -> Iterable[Due]:
    for month in ended_months(client, moment):
        issued = client.issued.get(month.name)
        if issued is None:
            yield Due(month.name, client.client_id, "ended")
        elif issued == "draft" and month.name in client.closed:
            yield Due(month.name, client.client_id, "closed")
        elif client.stands_at.get(month.name, 0) > client.issued_up_to.get(month.name, 0):
            yield Due(month.name, client.client_id, "restated")
        elif month.name in client.closed and client.invoiced_at.get(month.name, 0) > client.issued_at.get(
            month.name, 0
        ):
            yield Due(month.name, client.client_id, "invoiced")


def closable(clients: Iterable[ClientMonths], moment: datetime, final_day: int | None) -> tuple[Closable, ...]:
    """Every open month that may be closed at a moment, oldest first, then by client.

    Shapes: `final_day` is a day of the following month in the client's zone, 1 to 28; None: only what is reconciled.
    """
    return tuple(sorted(one for client in clients for one in _closable(client, moment, final_day)))


def _closable(client: ClientMonths, moment: datetime, final_day: int | None) -> Iterable[Closable]:
    for month in ended_months(client, moment):
        if month.name in client.closed:
            continue
        if month.name in client.reconciled:
            yield Closable(month.name, client.client_id, "reconciled")
        elif final_day is not None and moment >= _day_after(month, client.zone, final_day):
            yield Closable(month.name, client.client_id, "final day")


def _day_after(month: Period, zone_name: str, day: int) -> datetime:
    """Local midnight of a day of the month after this one, in UTC."""
    name = following(month, zone_name).name
    return datetime(int(name[:4]), int(name[5:]), day, tzinfo=zone(zone_name)).astimezone(UTC)


def ended_months(client: ClientMonths, moment: datetime) -> Iterable[Period]:
    """The client's months from its first call on that are over at this moment, in order."""
    if client.first_call_at is None:
        return
    month = period_of(client.first_call_at, client.zone)
    for _ in range(MONTHS_AT_MOST):
        if month.end > moment:
            return
        yield month
        month = following(month, client.zone)


def following(month: Period, zone_name: str) -> Period:
    """The month after this one; its name is counted, not found through the clock, which jumps."""
    year, number = int(month.name[:4]), int(month.name[5:])
    return period_named(f"{year + number // 12:04d}-{number % 12 + 1:02d}", zone_name)


def next_end(clients: Iterable[ClientMonths], moment: datetime) -> datetime | None:
    """When the next month of any client ends, after this moment; None without a client that has a call."""
    ends = [period_of(moment, client.zone).end for client in clients if client.first_call_at is not None]
    return min(ends, default=None)
