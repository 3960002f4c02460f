"""The month beside others: the one before, the one after, and when the freelancer's hours are paid for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal

from ledger.money import ZERO, round_half_up
from reports.facts import HoursRow, MonthFacts
from reports.figures import Z95, divided, mean, root, share, variance
from reports.model import Day, Forecast, Previous, Totals, Verdict
from reports.worked import Work, WorkLine

Z80 = Decimal("1.281551565544600")  # two-sided 80 % of the normal distribution
LEAST_DAYS = 14
MONTHS_AT_MOST = 1200  # a hundred years to break even is never


def previous(facts: MonthFacts, totals: Totals) -> Previous | None:
    """The month before, when anything was spent in it."""
    first = first_of(facts.period.name, -1)
    row = next((row for row in facts.months if row.period == f"{first:%Y-%m}"), None)
    if row is None:
        return None
    spend, edits = facts.currency.line(row.spend), facts.previous
    return Previous(
        first_day=first,
        spend=spend,
        spend_change=share(totals.spend - spend, spend),
        edit_rate=None if edits is None else mean(edits.ratio_sum, int(edits.measured)),
        verdict=_verdict(facts),
    )


def _verdict(facts: MonthFacts) -> Verdict | None:
    """Whether the edit rate moved: only when the 95 % interval of the difference leaves out zero. Source: two normal means."""
    rows = [row for _, row in facts.quality]
    now = (
        sum((r.ratio_sum for r in rows), ZERO),
        sum((r.ratio_squares for r in rows), ZERO),
        sum(int(r.measured) for r in rows),
    )
    before = facts.previous
    if before is None or now[2] < 2 or before.measured < 2:
        return None
    then = (before.ratio_sum, before.ratio_squares, int(before.measured))
    difference = divided(now[0], Decimal(now[2])) - divided(then[0], Decimal(then[2]))
    error = root(sum((divided(variance(*one), Decimal(one[2])) for one in (now, then)), ZERO))
    if abs(difference) <= Z95 * error:
        return "held"
    return "fell" if difference < 0 else "rose"


def first_of(period: str, months: int = 0) -> dt.date:
    """The first day of a month, or of one so many months later."""
    count = int(period[:4]) * 12 + int(period[5:]) - 1 + months
    return dt.date(count // 12, count % 12 + 1, 1)


def forecast(facts: MonthFacts, days: Sequence[Day]) -> Forecast | None:
    """The next month's spend, from the mean weekday and weekend of this one; None below two weeks of days.

    Source: sum of k days of each kind, variance k s² + k² s² / n: the days' own spread and what is not known of their mean.
    """
    last = None if facts.as_of is None else facts.as_of.date()
    seen = [day for day in days if facts.closed or (last is not None and day.date <= last)]
    kinds = [
        [Decimal(day.cost_usd) for day in seen if (day.date.weekday() >= 5) is weekend] for weekend in (False, True)
    ]
    if len(seen) < LEAST_DAYS or min(map(len, kinds)) < 2 or not any(any(kind) for kind in kinds):
        return None
    first = first_of(facts.period.name, 1)
    following = first_of(facts.period.name, 2)
    dates = [first + dt.timedelta(days=n) for n in range((following - first).days)]
    amount = spread = ZERO
    for weekend, costs in zip((False, True), kinds, strict=True):
        ahead, count = sum((date.weekday() >= 5) is weekend for date in dates), len(costs)
        s2 = variance(sum(costs, ZERO), sum((cost * cost for cost in costs), ZERO), count)
        amount += ahead * divided(sum(costs, ZERO), Decimal(count))
        spread += ahead * s2 + ahead * ahead * divided(s2, Decimal(count))
    reach = Z80 * root(spread)
    return Forecast(
        first_day=first,
        spend=facts.currency.line(amount),
        low=facts.currency.line(max(amount - reach, ZERO)),
        high=facts.currency.line(amount + reach),
        days_seen=len(seen),
    )


def work(facts: MonthFacts, totals: Totals) -> Work | None:
    """The freelancer's hours and their payback; None when none were logged."""
    if not facts.hours:
        return None
    lines = tuple(_work_line(row, facts.currency.places) for row in facts.hours)
    fees = [line.fee for line in lines]
    fee = None if None in fees else sum((one for one in fees if one is not None), ZERO)
    earlier = sum((row.saved or ZERO for row in facts.months if row.period < facts.period.name), ZERO)
    saved = None if totals.saved is None else totals.saved + facts.currency.line(earlier)
    verdict, break_even = _payback(facts, totals.saved, saved, fee)
    return Work(
        lines=lines,
        hours=sum((line.hours for line in lines), ZERO),
        fee=fee,
        saved=saved,
        verdict=verdict,  # type: ignore[arg-type]  # one of the four
        break_even=break_even,
    )


def _work_line(row: HoursRow, places: int) -> WorkLine:
    hours = Decimal(f"{row.hours.normalize():f}")
    rate = None if row.rate is None else round_half_up(row.rate, places)
    fee = None if row.rate is None else round_half_up(row.hours * row.rate, places)
    return WorkLine(activity=row.activity, hours=hours, rate=rate, fee=fee)


def _payback(
    facts: MonthFacts, this_month: Decimal | None, saved: Decimal | None, fee: Decimal | None
) -> tuple[str, dt.date | None]:
    if saved is None or fee is None or this_month is None:
        return "unknown", None
    if saved >= fee:
        return "reached", _reached(facts, fee)
    if this_month <= 0:
        return "never", None
    months = int((divided(fee - saved, this_month)).to_integral_value(ROUND_CEILING))
    return ("expected", first_of(facts.period.name, months)) if months <= MONTHS_AT_MOST else ("never", None)


def _reached(facts: MonthFacts, fee: Decimal) -> dt.date:
    """The first month in which everything saved so far covers the fee; this one at the latest."""
    total = ZERO
    for row in facts.months:
        total += row.saved or ZERO
        if facts.currency.line(total) >= fee:
            return first_of(row.period)
    return first_of(facts.period.name)
