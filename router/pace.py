"""The price of a dollar: what quality one more dollar of budget would buy.

For a sample of recent tickets every arm has an expected quality and cost. Starting every ticket on its
cheapest arm, the steps to better arms are sorted by quality gained per extra dollar; taken until the budget
per ticket is used, the ratio at the cut is the shadow price lambda. A ticket takes a step when its ratio
is above lambda, so every dollar buys the same quality at the margin.

How many tickets share the budget is not known; the mean of what may come is what lambda is made for, and the
reserve for the cheapest arm stands behind it (see aggregates): averaging lambda over volumes as well
guards twice and buys less.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Offer = tuple[float, float]  # expected quality, expected USD of one arm on one ticket


@dataclass(frozen=True, slots=True)
class Curve:
    """Steps beyond the cheapest arm, best first. Amounts are means per sampled ticket."""

    base_usd: float = 0.0
    base_quality: float = 0.0
    ratios: list[float] = field(default_factory=list)  # quality per USD, falling
    spend_usd: list[float] = field(default_factory=list)  # cumulative, rising
    quality: list[float] = field(default_factory=list)  # cumulative, rising

    @property
    def answer_ratio(self) -> float:
        """Quality per USD of answering at all, by the cheapest arm; never below the best step, so no step beats it."""
        return max(self.base_quality / max(self.base_usd, 1e-12), self.ratios[0] if self.ratios else 0.0)


def steps(offers: Sequence[Offer]) -> tuple[Offer, list[tuple[float, float, float]]]:
    """The cheapest offer and the steps up the concave hull: (quality per USD, extra quality, extra USD).

    Of arms that cost the same the better counts; arms that cost more and give no more never appear, so a
    premium arm that is not dearer simply is the start.
    """
    if len(offers) == 2:  # the usual case, and the refresh walks hundreds
        low, high = offers
        if high[1] < low[1] or (high[1] == low[1] and high[0] > low[0]):
            low, high = high, low
        if high[0] <= low[0]:
            return low, []
        gain, extra = high[0] - low[0], high[1] - low[1]
        return low, [(gain / max(extra, 1e-12), gain, extra)]
    ordered = sorted(offers, key=lambda offer: (offer[1], -offer[0]))
    hull = [ordered[0]]
    for offer in ordered[1:]:
        if offer[0] <= hull[-1][0]:
            continue
        while len(hull) > 1 and _ratio(hull[-2], offer) >= _ratio(hull[-2], hull[-1]):
            hull.pop()
        hull.append(offer)
    rise = [(_ratio(low, high), high[0] - low[0], high[1] - low[1]) for low, high in pairwise(hull)]
    return hull[0], rise


def price_curve(sample: Sequence[Sequence[Offer]]) -> Curve:
    """Merge the steps of a sample of tickets, best first. Errors: ValueError for an empty sample."""
    if not sample:
        raise ValueError("a price curve needs at least one ticket")
    base_quality = base_usd = 0.0
    merged: list[tuple[float, float, float]] = []
    for offers in sample:
        start, up = steps(offers)
        base_quality += start[0]
        base_usd += start[1]
        merged.extend(up)
    merged.sort(reverse=True)
    share = 1.0 / len(sample)
    spend, quality = 0.0, 0.0
    curve = Curve(base_usd * share, base_quality * share)
    for ratio, gain, extra in merged:
        spend += extra * share
        quality += gain * share
        curve.ratios.append(ratio)
        curve.spend_usd.append(spend)
        curve.quality.append(quality)
    return curve


def shadow_price(curve: Curve, usd_per_ticket: float) -> float:
    """Quality per USD at the cut when each ticket has this much to spend.

    0 when every step is affordable; the worth of an answer when not even the cheapest arm is.
    """
    spare = usd_per_ticket - curve.base_usd
    if spare <= 0.0:
        return curve.answer_ratio
    cut = bisect_left(curve.spend_usd, spare)
    return curve.ratios[cut] if cut < len(curve.ratios) else 0.0


def target_price(curve: Curve, target_quality: float) -> float | None:
    """The highest lambda at which the sample's mean quality reaches a target; None when no lambda does."""
    wanted = target_quality - curve.base_quality
    if wanted <= 0.0:
        return curve.answer_ratio
    cut = bisect_left(curve.quality, wanted)
    return curve.ratios[cut] if cut < len(curve.ratios) else None


def _ratio(low: Offer, high: Offer) -> float:
    return (high[0] - low[0]) / max(high[1] - low[1], 1e-12)
