"""What came after a month was closed: facts its report does not have.

They stay out of the closed report for good. They belong to the adjustments of the next month, from the earlier month's
position to the next one's, or to a restatement, which takes them all in.
"""

from __future__ import annotations

from typing import NamedTuple

from reports.facts import LateRow
from reports.warehouse import Warehouse

FOR_EVER = 2**62


class Told(NamedTuple):
    """A month was closed, or told anew, at `sequence`: it is made of the events up to `up_to`."""

    period: str
    is_again: bool
    sequence: int
    up_to: int


def late_facts(
    warehouse: Warehouse, client: str, period: str, after: int, up_to: int = FOR_EVER
) -> tuple[LateRow, ...]:
    """Facts of a month recorded after one position, up to another and including it."""
    rows = warehouse.rows("late", client=client, period=period, after=after, up_to=up_to)
    return tuple(LateRow(period, *row) for row in rows)


def adjustments(warehouse: Warehouse, client: str, period: str, up_to: int = FOR_EVER) -> tuple[LateRow, ...]:
    """What a month has to make good of all closed months before it, for an open month up to a position.

    Shapes: late facts of earlier months, recorded after the last close before this month's own and up to that; those a
    restatement took in before it are not among them. So every late fact is one month's adjustment, and a later
    restatement of an earlier month changes nothing in a month that is closed.
    """
    told = [Told._make(row) for row in warehouse.rows("closings", client=client)]
    closed = {one.period: one.up_to for one in told if not one.is_again}
    up_to = closed.get(period, up_to)
    earlier = sorted(month for month in closed if month < period)
    since = max((closed[month] for month in earlier), default=0)
    found: list[LateRow] = []
    for month in earlier:
        restated = [one for one in told if one.is_again and one.period == month]
        taken_in = restated[-1].up_to if restated and restated[-1].sequence <= up_to else 0
        found += late_facts(warehouse, client, month, max(since, taken_in), up_to)
    return tuple(found)
