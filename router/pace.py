"""The price of a dollar: what quality one more dollar of budget would buy.

For a sample of recent tickets every arm has an expected quality and cost. Starting every ticket on its
cheapest arm, the steps to better arms are sorted by quality gained per extra dollar; taken until the budget
per ticket is used, the ratio at the cut is the shadow price lambda. A ticket takes a step when its ratio
is above lambda, so every dollar buys the same quality at the margin.

How many tickets share the budget is not known. A dollar kept is worth lambda as it will turn out, so a dollar
spent must buy the mean of lambda over what may come: not lambda at the mean, which spends too little before
a lean month and too much before a busy one.
"""

from __future__ import annotations

import math
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


def expected_price(curve: Curve, usd: float, volumes: Sequence[float], beside_usd: float = 0.0) -> float:
    """The mean shadow price when this much money meets one of these equally likely numbers of tickets.

    A volume that the money cannot serve at all counts as the best step's price, not as the worth of an answer:
    that no ticket stays without one is the reserve's part, and would be paid for twice. When the median volume
    cannot be served, no step is worth it and the answer's worth is returned. Shapes: `volumes` rise, at least one.
    Units: `beside_usd` is what a ticket costs beside its answer, like sorting it.
    """
    if usd / volumes[len(volumes) // 2] - beside_usd <= curve.base_usd:
        return curve.answer_ratio
    if not curve.ratios:
        return 0.0
    best = curve.ratios[0]
    return math.fsum(min(shadow_price(curve, usd / volume - beside_usd), best) for volume in volumes) / len(volumes)


def target_price(curve: Curve, target_quality: float) -> float | None:
    """The highest lambda at which the sample's mean quality reaches a target; None when no lambda does."""
    wanted = target_quality - curve.base_quality
    if wanted <= 0.0:
        return curve.answer_ratio
    cut = bisect_left(curve.quality, wanted)
    return curve.ratios[cut] if cut < len(curve.ratios) else None


def _ratio(low: Offer, high: Offer) -> float:
    return (high[0] - low[0]) / max(high[1] - low[1], 1e-12)
