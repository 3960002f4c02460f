"""What happened in the month, in at most three things, each with what it did to the money.

A day stands out by volume when it wrote far more replies than the median day of its kind, weekday or weekend; by its split
when an arm's share left the month's by more than chance. The three with the largest effect are told.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from statistics import median

from ledger.money import ZERO
from reports.bill import kind_of
from reports.facts import MonthFacts
from reports.figures import divided, root, share
from reports.model import Day, Happening, Lane, Line, PriceChange

AT_MOST = 3
BUSY = Decimal("1.6")  # times the usual day
LEAST_REPLIES = 20  # a day with fewer is no evidence
SIGMAS = Decimal(4)  # thirty days are looked at, so three would find one by chance every other year


def happenings(
    facts: MonthFacts, days: Sequence[Day], lanes: Sequence[Lane], lines: Sequence[Line], changes: Iterable[PriceChange]
) -> tuple[Happening, ...]:
    """The things with the largest effects, those first. Shapes: at most three; amounts printed, in the report's currency."""
    found = [*_volume(facts, days), *_split(facts, lanes), *_failed(lines), *_refused(facts), *_prices(changes)]
    order = {"volume": 0, "price": 1, "split": 2, "failed": 3, "refused": 4}
    return tuple(sorted(found, key=lambda one: (-abs(one.amount), order[one.kind], one.key))[:AT_MOST])


def _volume(facts: MonthFacts, days: Sequence[Day]) -> Iterator[Happening]:
    """The busiest of the days far over their kind's median."""
    found: list[tuple[Decimal, Day, int]] = []
    for is_weekend in (False, True):
        alike = [day for day in days if (day.date.weekday() >= 5) is is_weekend and day.replies]
        usual = int(median(sorted(day.replies for day in alike))) if alike else 0
        costs = median(sorted(Decimal(day.cost_usd) for day in alike)) if alike else ZERO
        busy = [day for day in alike if day.replies >= LEAST_REPLIES and day.replies > BUSY * usual and usual]
        found += [(Decimal(day.cost_usd) - costs, day, usual) for day in busy]
    if found:
        found.sort(key=lambda one: (-one[0], one[1].date))
        extra, day, usual = found[0]
        amount = facts.currency.line(sum((one[0] for one in found), ZERO) if len(found) > 1 else extra)
        yield _happening("volume", "", day.date, len(found) - 1, day.replies, amount, usual=Decimal(usual))


def _split(facts: MonthFacts, lanes: Sequence[Lane]) -> Iterator[Happening]:
    """The days on which the dearer or better arm wrote another share than over the month, told by the lane with the most of it."""
    if len(lanes) < 2:
        return
    replies: dict[tuple[dt.date, str], tuple[int, Decimal]] = defaultdict(lambda: (0, ZERO))
    for row in facts.spend:
        if kind_of(row) == "reply":
            count, cost = replies[row.date, row.arm or row.request_model]
            replies[row.date, row.arm or row.request_model] = (count + row.calls, cost + row.cost)
    lane, rest = lanes[1].key, [one.key for one in lanes if one.key != lanes[1].key]
    days = sorted({day for day, _ in replies})
    mine, others = _added(replies, days, [lane]), _added(replies, days, rest)
    usual = share(mine[0], mine[0] + others[0])
    if usual is None or not mine[0] or not others[0]:
        return
    apart = divided(mine[1], Decimal(mine[0])) - divided(others[1], Decimal(others[0]))
    found = []
    for day in days:
        wrote, count = replies[day, lane][0], sum(replies[day, one][0] for one in (lane, *rest))
        if count >= LEAST_REPLIES and _is_unlike(wrote, count, divided(Decimal(mine[0]), Decimal(mine[0] + others[0]))):
            found.append(((wrote - usual * count) * apart, day, wrote, count))
    if found:
        found.sort(key=lambda one: (-abs(one[0]), one[1]))
        extra, day, wrote, count = found[0]
        amount = facts.currency.line(sum((one[0] for one in found), ZERO) if len(found) > 1 else extra)
        yield _happening("split", lane, day, len(found) - 1, count, amount, usual=usual, part=share(wrote, count))


def _added(
    replies: dict[tuple[dt.date, str], tuple[int, Decimal]], days: Iterable[dt.date], lanes: Sequence[str]
) -> tuple[int, Decimal]:
    parts = [replies[day, lane] for day in days for lane in lanes if (day, lane) in replies]
    return sum(count for count, _ in parts), sum((cost for _, cost in parts), ZERO)


def _is_unlike(hits: int, count: int, usual: Decimal) -> bool:
    """Whether a share is more than so many standard errors from the usual one."""
    error = root(usual * (1 - usual) / count)
    return abs(Decimal(hits) / count - usual) > SIGMAS * error


def _failed(lines: Sequence[Line]) -> Iterator[Happening]:
    found = [line for line in lines if line.kind in ("failed", "estimated")]
    calls, amount = sum(line.calls for line in found), sum((line.spend for line in found), ZERO)
    if calls and amount:
        yield _happening("failed", "", None, 0, calls, amount)


def _refused(facts: MonthFacts) -> Iterator[Happening]:
    count = sum(row.attempts for row in facts.outcomes if row.what == "refused")
    if count:
        yield _happening("refused", "", None, 0, count, facts.currency.line(ZERO))


def _prices(changes: Iterable[PriceChange]) -> Iterator[Happening]:
    for change in changes:
        yield _happening("price", change.model, change.day, 0, 0, change.amount)


def _happening(
    kind: str,
    key: str,
    day: dt.date | None,
    more: int,
    count: int,
    amount: Decimal,
    *,
    usual: Decimal | None = None,
    part: Decimal | None = None,
) -> Happening:
    return Happening(
        kind=kind,  # type: ignore[arg-type]  # one of the five above
        key=key,
        day=day,
        more_days=more,
        count=count,
        usual=usual,
        share=part,
        amount=amount,
    )
