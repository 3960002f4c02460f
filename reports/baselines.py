"""What the old bot would have cost, by every method there is, and the most conservative of them.

`repriced` is a sum over this month's own calls, so there is nothing to estimate in it but how many tokens the old model would have
made of the same tickets. `history` and `shadow` are measured elsewhere, on old bills or on tickets run again, and carry intervals.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from ledger.money import TOKENS_PER_PRICE, ZERO, round_half_up
from reports.facts import HistoryRow, MonthFacts, ShadowRow, SpendRow
from reports.figures import SHARE_PLACES, divided, ratio_of_sums
from reports.model import Line, Method, Price

CACHE_DISCOUNT = Decimal("0.5")  # GPT-4o's cached input at its maker's list price, as a share of the full one
LEAST_SHADOWS = 10  # tickets; below it the interval says nothing
LEAST_WEEKS = 4  # of old bills; below it no interval is given


def methods(facts: MonthFacts, lines: tuple[Line, ...]) -> tuple[Method, ...]:
    """Every method whose facts exist, repriced first. Shapes: none without a baseline."""
    if facts.baseline is None:
        return ()
    found = (_repriced(facts, lines), _history(facts, facts.baseline), _shadow(facts, facts.baseline))
    return tuple(one for one in found if one is not None)


def headline(found: tuple[Method, ...]) -> Method | None:
    """The lowest of them; of equal ones the first."""
    return min(found, key=lambda one: one.amount) if found else None


def _repriced(facts: MonthFacts, lines: tuple[Line, ...]) -> Method:
    """The same tokens at the baseline's prices, as the bill prints them, and what a cache discount does to them.

    Shapes: `discounted` at the baseline's own cached rate or, where it grants none, at the maker's; `undiscounted` at the full one.
    """
    compared = facts.compared
    amount = sum((line.baseline for line in lines if line.baseline is not None), ZERO)
    read = sum(row.cache_read for row in compared)
    discounted = undiscounted = None
    if facts.baseline is not None and read:
        exact = sum((row.baseline or ZERO for row in compared), ZERO)
        full, cached = Decimal(facts.baseline.uncached_input), Decimal(facts.baseline.cache_read)
        is_granted = cached < full
        less = full - cached if is_granted else full * CACHE_DISCOUNT
        other = facts.currency.line(exact + (read if is_granted else -read) * less * TOKENS_PER_PRICE)
        discounted, undiscounted = (amount, other) if is_granted else (other, amount)
    return Method(
        name="repriced",
        amount=amount,
        low=None,
        high=None,
        discounted=discounted,
        undiscounted=undiscounted,
        basis=sum(row.calls if isinstance(row, SpendRow) else row.replies for row in compared),
    )


def _shadow(facts: MonthFacts, baseline: Price) -> Method | None:
    """Replies scaled by what the old model really cost for tickets it answered again; other calls stay repriced.

    Shapes: `factor` is the length and tokeniser factor: real cost over repriced cost of the same tickets.
    """
    pairs = [(row.cost, _at(baseline, row)) for row in facts.shadow]
    ratio = ratio_of_sums(pairs) if len(pairs) >= LEAST_SHADOWS else None
    if ratio is None:
        return None
    compared = facts.compared
    replies = sum((row.baseline or ZERO for row in compared if row.purpose == "generation"), ZERO)
    rest = sum((row.baseline or ZERO for row in compared if row.purpose != "generation"), ZERO)
    middle, low, high = (facts.currency.line(replies * max(factor, ZERO) + rest) for factor in ratio)
    factors = tuple(round_half_up(max(factor, ZERO), SHARE_PLACES) for factor in ratio)
    return Method(name="shadow", amount=middle, low=low, high=high, basis=len(pairs), factor=factors)


def _at(baseline: Price, row: ShadowRow) -> Decimal:
    rates = Decimal(baseline.uncached_input), Decimal(baseline.plain_output)
    return (row.tokens_in * rates[0] + row.tokens_out * rates[1]) * TOKENS_PER_PRICE


def _history(facts: MonthFacts, baseline: Price) -> Method | None:
    """What a ticket cost on the old bills, times the tickets of this month.

    Shapes: days count whose tickets are known; the interval is over calendar weeks, since a weekday is not like a Sunday, and is
    absent below four of them.
    """
    weeks: dict[dt.date, tuple[Decimal, Decimal]] = defaultdict(lambda: (ZERO, ZERO))
    days = [(day, cost, tickets) for day, cost, tickets in _days(facts.history, baseline) if tickets is not None]
    for day, cost, tickets in days:
        monday = day - dt.timedelta(days=day.weekday())
        weeks[monday] = (weeks[monday][0] + cost, weeks[monday][1] + (tickets or ZERO))
    cost, tickets = sum((c for c, _ in weeks.values()), ZERO), sum((t for _, t in weeks.values()), ZERO)
    if not tickets:
        return None
    each = divided(cost, tickets)
    ratio = ratio_of_sums(list(weeks.values())) if len(weeks) >= LEAST_WEEKS else None
    return Method(
        name="history",
        amount=facts.currency.line(each * facts.tickets),
        low=None if ratio is None else facts.currency.line(max(ratio.low, ZERO) * facts.tickets),
        high=None if ratio is None else facts.currency.line(ratio.high * facts.tickets),
        basis=int(round_half_up(tickets, 0)),
        per_ticket=facts.currency.fine(each, 3),
        first_day=days[0][0],
        last_day=days[-1][0],
    )


def _days(rows: Iterable[HistoryRow], baseline: Price) -> list[tuple[dt.date, Decimal, Decimal | None]]:
    """Cost and tickets of each old day, in order. A day with amounts needs no tokens; tokens alone are priced at the baseline."""
    found: dict[dt.date, tuple[Decimal, Decimal | None]] = {}
    for row in sorted(rows, key=lambda row: (row.day, row.kind == "costs")):
        known = found.get(row.day, (ZERO, None))[1]
        tickets = _tickets(row)
        found[row.day] = (_cost(row, baseline), known if tickets is None else tickets)
    return [(day, *found[day]) for day in sorted(found)]


def _tickets(row: HistoryRow) -> Decimal | None:
    """A month's tickets spread over its days, where they were not told by day."""
    if row.tickets is not None:
        return Decimal(row.tickets)
    if row.monthly_tickets is None:
        return None
    return divided(Decimal(row.monthly_tickets), Decimal(calendar.monthrange(row.day.year, row.day.month)[1]))


def _cost(row: HistoryRow, baseline: Price) -> Decimal:
    if row.cost is not None:
        return row.cost
    full, cached, out = map(Decimal, (baseline.uncached_input, baseline.cache_read, baseline.plain_output))
    return ((row.tokens_in - row.cached) * full + row.cached * cached + row.tokens_out * out) * TOKENS_PER_PRICE
