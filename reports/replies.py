"""How fast a month's replies came and when they began: quantiles that are exact and need no sort.

A quantile is a value that occurred (nearest rank). It is found in two reads: the first counts replies by hundredths of a second,
which says in which hundredth the rank lies; the second counts the values inside those few hundredths, by the microsecond.
Memory is that of the counts, whether there are a thousand replies or a hundred million.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from ledger.budgets import zone
from reports.facts import LatencyRow, lane_key
from reports.warehouse import Row, Warehouse

PERCENTS = (50, 95)
QUARTER_S = 900  # of the query's counts by beginning; no zone's hour is cut by it
_ALL = (None, None)  # the lane of all lanes
_Lane = tuple[str | None, str | None]
_Of = tuple[str, _Lane]
_Pair = tuple[Decimal | None, Decimal | None]


class Replies(NamedTuple):
    """Latency by lane; quantiles over all replies in the order of PERCENTS, seconds; the busiest local hour and its replies."""

    latency: tuple[LatencyRow, ...]
    durations: _Pair
    first_chunks: _Pair
    busiest: tuple[dt.datetime, int] | None


def located(counts: Mapping[Any, int], percent: int) -> tuple[Any, int]:
    """The place in which a quantile lies, and its rank there, counted from 1.

    Shapes: `counts` is not empty and its places can be ordered. Source: nearest rank, as DuckDB's quantile_disc.

    >>> located({10: 2, 11: 1, 15: 1}, 50), located({10: 2, 11: 1, 15: 1}, 95)
    ((10, 2), (15, 1))
    """
    rank = max(-(-sum(counts.values()) * percent // 100), 1)
    for place in sorted(counts):
        if rank <= counts[place]:
            return place, rank
        rank -= counts[place]
    raise AssertionError("a rank is at most the number of values")


def read_replies(warehouse: Warehouse, zone_name: str, **who: Any) -> Replies:
    """All of it, in two reads. Errors: as the warehouse's."""
    found = warehouse.rows("replies", **who)
    counts, simulated = _counts(found)
    at = {(of, percent): located(places, percent) for of, places in counts.items() for percent in PERCENTS}
    wanted = {
        what: sorted({place for (of, _), (place, _) in at.items() if of[0] == what})
        for what in ("duration", "first_chunk")
    }
    exact = (
        warehouse.rows("exact", durations=wanted["duration"], first_chunks=wanted["first_chunk"], **who) if at else ()
    )
    values = _values(exact)

    def pair(of: _Of) -> _Pair:
        p50, p95 = (_value(values[of], *at[of, percent]) if of in counts else None for percent in PERCENTS)
        return p50, p95

    lanes = sorted((lane for what, lane in counts if what == "duration" and lane != _ALL), key=_order)
    return Replies(
        latency=tuple(LatencyRow(lane_key(*lane), *_both(pair(("duration", lane))), simulated[lane]) for lane in lanes),
        durations=pair(("duration", _ALL)),
        first_chunks=pair(("first_chunk", _ALL)),
        busiest=_busiest(found, zone_name),
    )


def _both(pair: _Pair) -> tuple[Decimal, Decimal]:
    p50, p95 = pair
    if p50 is None or p95 is None:
        raise AssertionError("a lane has a reply")
    return p50, p95


def _order(lane: _Lane) -> tuple[bool, str, str]:
    """Arms by name, then models that were called directly."""
    return lane[1] is None, lane[1] or "", lane[0] or ""


def _counts(found: Iterable[Row]) -> tuple[dict[_Of, Counter[int]], Counter[_Lane]]:
    """Replies by hundredth, of each lane and of all, and how many of each lane were simulated."""
    counts: dict[_Of, Counter[int]] = {}
    simulated: Counter[_Lane] = Counter()
    for what, direct, arm, source, place, replies in found:
        if what != "quarter" and place is not None:
            for lane in {(direct, arm), _ALL}:
                counts.setdefault((what, lane), Counter())[place] += replies
            simulated[direct, arm] += replies if source == "simulated" else 0
    return counts, simulated


def _values(exact: Iterable[Row]) -> dict[_Of, Counter[Decimal]]:
    """How often each value occurred, by what it is of."""
    found: dict[_Of, Counter[Decimal]] = {}
    for what, direct, arm, value, replies in exact:
        if value is not None:
            for lane in {(direct, arm), _ALL}:
                found.setdefault((what, lane), Counter())[value] += replies
    return found


def _value(values: Mapping[Decimal, int], place: int, rank: int) -> Decimal:
    """The value of a rank inside its hundredth of a second."""
    inside = (value for value in sorted(values) if int(float(value) * 100) == place)
    for value in inside:
        if rank <= values[value]:
            return value
        rank -= values[value]
    raise AssertionError("both reads see the same replies")


def _added(counts: Iterable[tuple[Any, int]]) -> Counter[Any]:
    total: Counter[Any] = Counter()
    for place, count in counts:
        total[place] += count
    return total


def _busiest(found: Iterable[Row], zone_name: str) -> tuple[dt.datetime, int] | None:
    """The local hour, without an offset, in which most replies began; of equal ones the first."""
    local = zone(zone_name)
    hours = _added(
        (dt.datetime.fromtimestamp(row[4] * QUARTER_S, local).replace(minute=0, tzinfo=None), row[5])
        for row in found
        if row[0] == "quarter"
    )
    return min(hours.items(), key=lambda item: (-item[1], item[0]), default=None)
