"""What the old bot would have cost, by every method there is, and the most conservative of them."""

from __future__ import annotations

from decimal import Decimal

from ledger.money import TOKENS_PER_PRICE, ZERO
from reports.facts import MonthFacts, ShadowRow
from reports.figures import Z95, divided, root
from reports.model import Line, Method, Price

CACHE_DISCOUNT = Decimal("0.5")  # GPT-4o's cached input at its maker's list price, as a share of the full one


LEAST_SHADOWS = 10  # tickets; below it the interval says nothing


def methods(facts: MonthFacts, lines: tuple[Line, ...]) -> tuple[Method, ...]:
    """Every method whose facts exist, repriced first. Shapes: none without a baseline."""
    if facts.baseline is None:
        return ()
    repriced = _repriced(facts, lines)
    shadow = _shadow(facts, facts.baseline)
    return (repriced,) if shadow is None else (repriced, shadow)


def headline(found: tuple[Method, ...]) -> Method | None:
    """The lowest of them; of equal ones the first."""
    return min(found, key=lambda one: one.amount) if found else None


def _shadow(facts: MonthFacts, baseline: Price) -> Method | None:
    """Replies scaled by what the old model really cost for tickets it answered again; other calls stay repriced.

    Source: ratio of sums over tickets with its 95 % interval, variance of cost - ratio x repriced (Cochran, Sampling Techniques, 6.4).
    """
    pairs = [(row.cost, _at(baseline, row)) for row in facts.shadow]
    count, priced = len(pairs), sum((then for _, then in pairs), ZERO)
    if count < LEAST_SHADOWS or not priced:
        return None
    ratio = divided(sum((cost for cost, _ in pairs), ZERO), priced)
    spread = sum(((cost - ratio * then) ** 2 for cost, then in pairs), ZERO)
    error = divided(root(divided(spread * count, Decimal(count - 1))), priced)
    replies = sum(
        (row.baseline for row in facts.spend if row.baseline is not None and row.purpose == "generation"), ZERO
    )
    rest = sum((row.baseline for row in facts.spend if row.baseline is not None and row.purpose != "generation"), ZERO)
    low, middle, high = (
        facts.currency.line(replies * factor + rest)
        for factor in (max(ratio - Z95 * error, ZERO), ratio, ratio + Z95 * error)
    )
    return Method(name="shadow", amount=middle, low=low, high=high, discounted=None, basis=count)


def _at(baseline: Price, row: ShadowRow) -> Decimal:
    rates = Decimal(baseline.uncached_input), Decimal(baseline.plain_output)
    return (row.tokens_in * rates[0] + row.tokens_out * rates[1]) * TOKENS_PER_PRICE


def _repriced(facts: MonthFacts, lines: tuple[Line, ...]) -> Method:
    """The same tokens at the baseline's prices, as the bill prints them."""
    compared = [row for row in facts.spend if row.baseline is not None]
    amount = sum((line.baseline for line in lines if line.baseline is not None), ZERO)
    read = sum(row.cache_read for row in compared)
    discounted = None
    if facts.baseline is not None and facts.baseline.cache_read == facts.baseline.uncached_input and read:
        exact = sum((row.baseline or ZERO for row in compared), ZERO)
        off = read * Decimal(facts.baseline.uncached_input) * TOKENS_PER_PRICE * CACHE_DISCOUNT
        discounted = facts.currency.line(exact - off)
    return Method(
        name="repriced",
        amount=amount,
        low=None,
        high=None,
        discounted=discounted,
        basis=sum(row.calls for row in compared),
    )
