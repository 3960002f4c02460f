"""The way from the baseline to the spend: routing, cache, price changes, failed calls, comparison runs.

Exact first, then each effect is printed once and routing takes what is left, so that the printed steps sum exactly.
What a bucket of tokens costs differs from the baseline's by the full price (routing), by the cache discount on both sides (cache) and
by what the price did since the month began (prices). A reply from our own cache cost nothing: all of its baseline is the cache's.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from ledger.budgets import Period, zone
from ledger.money import TOKENS_PER_PRICE, ZERO
from reports.bill import BUCKETS, kind_of
from reports.facts import ListedPrice, MonthFacts, SpendRow
from reports.model import Effect, Line, Price, PriceChange, Step, Totals

EFFECTS: tuple[Effect, ...] = ("routing", "cache", "prices", "failed", "runs")
RUNS = ("judge", "shadow")


class _Rates(NamedTuple):
    """A price's rates by bucket. Units: USD per million tokens."""

    uncached_input: Decimal
    cache_read: Decimal
    cache_write: Decimal
    plain_output: Decimal
    reasoning: Decimal

    def cost(self, row: SpendRow) -> Decimal:
        """The row's tokens at these rates, exact USD."""
        tokens = (getattr(row, bucket) * rate for bucket, rate in zip(BUCKETS, self, strict=True))
        return sum(tokens, ZERO) * TOKENS_PER_PRICE

    def discount(self, row: SpendRow) -> Decimal:
        """What caching took off the row, exact USD; negative where it saved."""
        read = row.cache_read * (self.cache_read - self.uncached_input)
        return (read + row.cache_write * (self.cache_write - self.uncached_input)) * TOKENS_PER_PRICE


def steps(facts: MonthFacts, lines: tuple[Line, ...], totals: Totals) -> tuple[Step, ...]:
    """From the baseline to the spend in printed amounts that sum exactly; effects of nothing are left out, routing never."""
    if totals.baseline is None or facts.baseline is None:
        return ()
    exact = effects(facts)
    printed: dict[str, Decimal] = {name: facts.currency.line(exact[name]) for name in EFFECTS[1:]}
    repriced = sum((line.baseline for line in lines if line.baseline is not None), ZERO)
    printed["measure"] = repriced - totals.baseline
    routing = totals.spend - totals.baseline - sum(printed.values(), ZERO)
    found = {"measure": printed.pop("measure"), "routing": routing} | printed
    return (
        Step(key="baseline", kind="baseline", amount=totals.baseline),
        *(
            Step(key=name, kind="effect", amount=amount)
            for name, amount in found.items()
            if amount or name == "routing"
        ),
        Step(key="spend", kind="spend", amount=totals.spend),
    )


def effects(facts: MonthFacts) -> Mapping[str, Decimal]:
    """Every effect in exact USD; they sum to spend minus repriced baseline."""
    found: dict[str, Decimal] = dict.fromkeys(EFFECTS, ZERO)
    started = _at_start(facts.book, facts.period)
    prices = {price.price_id: _rates(price) for price in facts.prices}
    then = None if facts.baseline is None else _rates(facts.baseline)
    for row in facts.spend:
        difference = row.cost - (row.baseline or ZERO)
        if row.purpose in RUNS:
            found["runs"] += difference
        elif kind_of(row) in ("failed", "estimated") or then is None:
            found["failed"] += difference
        else:
            now = prices[row.price_id]
            before = started.get(row.model, now)
            cache = before.discount(row) - then.discount(row)
            changed = now.cost(row) - before.cost(row)
            found["cache"] += cache
            found["prices"] += changed
            found["routing"] += difference - cache - changed
    found["cache"] -= sum((row.baseline for row in facts.cached if row.baseline is not None), ZERO)
    return found


def price_changes(facts: MonthFacts) -> tuple[PriceChange, ...]:
    """The prices that changed within the month for models that were used, in order of day and model."""
    by_model: dict[str, list[ListedPrice]] = defaultdict(list)
    for price in facts.book:
        by_model[price.model].append(price)
    found = [
        _change(before, after, listed[place + 1 :], facts)
        for listed in by_model.values()
        for place, (before, after) in enumerate(pairwise(listed))
        if facts.period.start < after.valid_from < facts.period.end
    ]
    return tuple(sorted(found, key=lambda change: (change.day, change.model)))


def _change(before: ListedPrice, after: ListedPrice, since: Iterable[ListedPrice], facts: MonthFacts) -> PriceChange:
    ids = {price.price_id for price in since}
    rows = [row for row in facts.spend if row.price_id in ids and row.is_measured]
    amount = sum((_listed(after).cost(row) - _listed(before).cost(row) for row in rows), ZERO)
    return PriceChange(
        model=after.model,
        day=_day(after.valid_from, facts.client.zone),
        input_before=f"{before.uncached_input.normalize():f}",
        output_before=f"{before.plain_output.normalize():f}",
        input_after=f"{after.uncached_input.normalize():f}",
        output_after=f"{after.plain_output.normalize():f}",
        amount=facts.currency.line(amount),
    )


def _day(moment: dt.datetime, zone_name: str) -> dt.date:
    return moment.astimezone(zone(zone_name)).date()


def _at_start(book: Iterable[ListedPrice], period: Period) -> Mapping[str, _Rates]:
    """The rates in force when the month began, by model."""
    return {
        price.model: _listed(price)
        for price in book
        if price.valid_from <= period.start and (price.in_force_to is None or period.start < price.in_force_to)
    }


def _listed(price: ListedPrice) -> _Rates:
    return _Rates(*price[2:7])


def _rates(price: Price) -> _Rates:
    return _Rates(*(Decimal(getattr(price, bucket)) for bucket in BUCKETS))
