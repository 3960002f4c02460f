"""What came after a month was closed: facts its report does not have.

They stay out of the closed report for good. They belong to the adjustments of the next month, from the earlier month's
position to the next one's, or to a restatement, which takes them all in.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from ledger.projections import State
from reports.warehouse import Warehouse

FOR_EVER = 2**62


class LateFacts(NamedTuple):
    """Late facts of one kind in one month. Units: exact USD, zero for what costs nothing."""

    period: str
    kind: str
    facts: int
    cost_usd: Decimal


def late_facts(
    warehouse: Warehouse, client: str, period: str, after: int, up_to: int = FOR_EVER
) -> tuple[LateFacts, ...]:
    """Facts of a month recorded after one position, up to another and including it."""
    rows = warehouse.rows("late", client=client, period=period, after=after, up_to=up_to)
    return tuple(LateFacts(period, *row) for row in rows)


def adjustments(warehouse: Warehouse, state: State, client: str, period: str) -> tuple[LateFacts, ...]:
    """What a month has to make good of all closed months before it.

    Shapes: late facts of earlier months, recorded after the last close before this month's own and up to that; those a
    restatement took in before it are not among them. So every late fact is one month's adjustment, and a later
    restatement of an earlier month changes nothing in a month that is closed.
    """
    own = state.closed.get((client, period))
    up_to = FOR_EVER if own is None else own.up_to_sequence
    earlier = sorted(month for owner, month in state.closed if owner == client and month < period)
    since = max((state.closed[client, month].up_to_sequence for month in earlier), default=0)
    found: list[LateFacts] = []
    for month in earlier:
        restated = state.closings.restated.get((client, month))
        taken_in = 0 if restated is None or (restated.sequence or 0) > up_to else restated.up_to_sequence
        found += late_facts(warehouse, client, month, max(since, taken_in), up_to)
    return tuple(found)
