"""The weeks of a month, from Monday to Monday in the client's zone, and where ids of call say they begin.

A call's id is a UUIDv7: its first twelve digits are the millisecond in which it was made, so ids in the order of their text
are in the order of time, and an edit's draft can be put into a week without looking the draft up.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from ledger.budgets import Period, zone

WEEKS = 6  # that a month can touch


def week_values(period: Period, zone_name: str) -> dict[str, Any]:
    """The parameters of the queries `strays` and `weeks`.

    Shapes: `monday_0` … `monday_5` dates, `start_1` … `start_5` where they begin, UTC, `id_0` … `id_6` the least ids from the month's
    start, each Monday's, and the month's end on. A month that touches fewer weeks has its end in the places that are left.
    """
    local = zone(zone_name)
    first = period.start.astimezone(local).date()
    monday = first - dt.timedelta(days=first.weekday())
    mondays = [monday + dt.timedelta(weeks=week) for week in range(WEEKS)]
    starts = [dt.datetime(day.year, day.month, day.day, tzinfo=local).astimezone(dt.UTC) for day in mondays[1:]]
    starts = [min(start, period.end) for start in starts]
    ids = [least_id(moment) for moment in (period.start, *starts, period.end)]
    return (
        {f"monday_{week}": day for week, day in enumerate(mondays)}
        | {f"start_{week}": start for week, start in enumerate(starts, 1)}
        | {f"id_{week}": text for week, text in enumerate(ids)}
    )


def least_id(moment: dt.datetime) -> str:
    """What every UUIDv7 of this millisecond begins with, and none before it reaches.

    >>> least_id(dt.datetime(2025, 10, 6, tzinfo=dt.UTC))
    '0199b6ed-5000'
    """
    milliseconds = (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)
    text = f"{milliseconds:012x}"
    return f"{text[:8]}-{text[8:]}"
