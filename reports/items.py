"""Line items: the month's tokens and money as finely as anybody can check them.

One item is what one bucket of one price cost on one day on one line of the bill, so tokens times rate is its
cost, and the items of a line add up to it. Those of replies from the cache have the tokens that were avoided, no
rate and no cost. report.json holds their digest; lines.parquet, focus.csv and the
workbook hold the items themselves.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from ledger.money import TOKENS_PER_PRICE, ZERO, text
from reports.bill import BUCKETS, kind_of, line_key
from reports.facts import CachedRow, MonthFacts, SpendRow
from reports.model import Price

CACHED = "cached cached"  # the line of replies from the cache: kind and key
UNMEASURED = "unmeasured"  # cost that no count of tokens explains


class ItemKey(NamedTuple):
    """What the calls of one item have in common. Shapes: `line` is kind and key of a line of the bill."""

    date: dt.date
    line: str
    model: str
    request_model: str
    purpose: str
    arm: str
    price_id: str
    bucket: str


class Item(NamedTuple):
    """One line item. Units: rates USD per million tokens, amounts exact USD; the baseline is absent where none is compared."""

    key: ItemKey
    calls: int
    tokens: int
    rate: Decimal | None
    cost: Decimal
    baseline_rate: Decimal | None
    baseline: Decimal | None

    @property
    def is_explained(self) -> bool:
        """Whether tokens times rate is the cost."""
        return self.rate is not None and self.tokens * self.rate * TOKENS_PER_PRICE == self.cost


def items(facts: MonthFacts) -> tuple[Item, ...]:
    """The month's line items in the order of their keys; none without tokens and without cost."""
    rates = {price.price_id: price for price in facts.prices}
    found: dict[tuple[ItemKey, bool], tuple[int, int, Decimal]] = defaultdict(lambda: (0, 0, ZERO))
    for row in facts.spend:
        for bucket, tokens, cost in _parts(row):
            key = (_key(row, bucket), row.baseline is not None)
            calls, held, paid = found[key]
            found[key] = (calls + row.calls, held + tokens, paid + cost)
    for hit in facts.cached:
        for bucket in BUCKETS:
            if avoided := getattr(hit, bucket):
                key = (_hit_key(hit, bucket), hit.baseline is not None)
                found[key] = (0, found[key][1] + avoided, ZERO)
    return tuple(
        _item(key, is_compared, *found[key, is_compared], rates, facts.baseline) for key, is_compared in sorted(found)
    )


def digest(found: tuple[Item, ...]) -> str:
    """SHA-256 over the items, so that two reports over the same facts can be told to be so.

    Shapes: one line `day|line|model|asked|purpose|arm|price|bucket|calls|tokens|usd` each, in order, newline after each.
    """
    lines = (
        "|".join((item.key.date.isoformat(), *item.key[1:], str(item.calls), str(item.tokens), text(item.cost)))
        for item in found
    )
    return hashlib.sha256("".join(line + "\n" for line in lines).encode()).hexdigest()


def _parts(row: SpendRow) -> list[tuple[str, int, Decimal]]:
    """The buckets of a row that have tokens or cost, and what no bucket explains."""
    parts = [(bucket, getattr(row, bucket), getattr(row, f"cost_{bucket}")) for bucket in BUCKETS]
    rest = row.cost - sum((cost for _, _, cost in parts), ZERO)
    return [part for part in (*parts, (UNMEASURED, 0, rest)) if part[1] or part[2]]


def _key(row: SpendRow, bucket: str) -> ItemKey:
    line = f"{kind_of(row)} {line_key(row)[2]}"
    return ItemKey(row.date, line, row.model, row.request_model, row.purpose, row.arm or "", row.price_id, bucket)


def _hit_key(row: CachedRow, bucket: str) -> ItemKey:
    return ItemKey(row.date, CACHED, row.model, row.request_model, row.purpose, row.arm or "", row.price_id, bucket)


def _item(
    key: ItemKey,
    is_compared: bool,
    calls: int,
    tokens: int,
    cost: Decimal,
    prices: Mapping[str, Price],
    baseline: Price | None,
) -> Item:
    then = rate_of(baseline, key.bucket) if is_compared and baseline is not None else None
    return Item(
        key=key,
        calls=calls,
        tokens=tokens,
        rate=None if key.line == CACHED else rate_of(prices.get(key.price_id), key.bucket),
        cost=cost,
        baseline_rate=then,
        baseline=None if then is None else tokens * then * TOKENS_PER_PRICE,
    )


def rate_of(price: Price | None, bucket: str) -> Decimal | None:
    """A bucket's rate; None for what has none. Units: USD per million tokens."""
    return None if price is None or bucket == UNMEASURED else Decimal(getattr(price, bucket))
