"""How sure the saving is: the headline baseline's own interval or, where that is a plain sum, what the days say.

A month's calls repriced are what they are. How much of it is luck is told by its days: would another month of such days have
saved the same share? That is a ratio of sums over days, so busy days count for more.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from msgspec.structs import replace

from ledger.money import round_half_up
from reports.figures import Currency, ratio_of_sums, share
from reports.model import Day, Method, Totals

LEAST_DAYS = 7  # with calls that are compared; below it the days say nothing


def with_interval(totals: Totals, chosen: Method | None, days: Sequence[Day], currency: Currency) -> Totals:
    """The totals with the 95 % interval of what was saved, where one can be had; it always has the saving within it."""
    saved, baseline = totals.saved, totals.baseline
    if chosen is None or saved is None or not baseline or totals.saved_share is None:
        return totals
    if chosen.low is not None and chosen.high is not None:
        ends = [(end - totals.spend, share(end - totals.spend, end)) for end in (chosen.low, chosen.high)]
        interval = "method"
    else:
        pairs = [
            (Decimal(day.baseline_usd) - Decimal(day.cost_usd), Decimal(day.baseline_usd))
            for day in days
            if day.baseline_usd is not None
        ]
        ratio = ratio_of_sums(pairs) if len(pairs) >= LEAST_DAYS else None
        if ratio is None:
            return totals
        ends = [(round_half_up(end * baseline, currency.places), share(end, Decimal(1))) for end in ratio[1:]]
        interval = "days"
    (low, share_low), (high, share_high) = ends
    if share_low is None or share_high is None:
        return totals
    return replace(
        totals,
        saved_low=min(low, saved),
        saved_high=max(high, saved),
        saved_share_low=min(share_low, totals.saved_share),
        saved_share_high=max(share_high, totals.saved_share),
        interval=interval,
    )
