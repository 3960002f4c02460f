"""Replies from the cache: what they avoided, and what the old bot would have paid for them.

It had no cache, so their tokens count in the baseline as if the call had been made. They are no usage: nothing was called,
nothing was spent, and no line of the bill counts their tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from ledger.money import TOKENS_PER_PRICE, ZERO, text
from reports.bill import BUCKETS
from reports.facts import CachedRow
from reports.figures import Currency
from reports.model import Price
from reports.tokens import FromCache, Tokens

COMPARED = ("classification", "generation", "other")  # the old bot would not have judged nor shadowed


def cached_row(row: tuple[Any, ...], baseline: Price | None) -> CachedRow:
    """A row of the query `hits` with its tokens at the baseline; those of judges and shadow runs have none. Units: exact USD."""
    found = CachedRow._make((*row, None))
    if baseline is None or found.purpose not in COMPARED:
        return found
    usd = sum((getattr(found, bucket) * Decimal(getattr(baseline, bucket)) for bucket in BUCKETS), ZERO)
    return found._replace(baseline=usd * TOKENS_PER_PRICE)


def from_cache(rows: Iterable[CachedRow], currency: Currency) -> FromCache | None:
    """All of them added up, each amount rounded once; None when there is none."""
    found = tuple(rows)
    if not found:
        return None
    compared = [row.baseline for row in found if row.baseline is not None]
    avoided, baseline = sum((row.avoided for row in found), ZERO), sum(compared, ZERO)
    return FromCache(
        replies=sum(row.replies for row in found),
        drafts=sum(row.replies for row in found if row.purpose == "generation"),
        compared=sum(row.replies for row in found if row.baseline is not None),
        tokens=Tokens(**{bucket: sum(getattr(row, bucket) for row in found) for bucket in BUCKETS}),
        avoided_usd=text(avoided),
        avoided=currency.line(avoided),
        baseline_usd=text(baseline) if compared else None,
        baseline=currency.line(baseline) if compared else None,
    )


def drafts_served(found: FromCache | None) -> int:
    """How many replies to tickets came from the cache."""
    return 0 if found is None else found.drafts
