"""What people and judges made of the drafts, by arm and class: discounted means with their intervals.

The policy learns from single ratings (see gains); these are the same ratings for people: how often, how much, how
long, and how sure that is. Older ones fade at the pace of the policy's own memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from router.gains import MEMORY_RATINGS

Z95 = 1.959964  # normal deviations that 95 % stay within
KEEP = 1.0 - 1.0 / MEMORY_RATINGS


@dataclass(slots=True)
class Mean:
    """A discounted mean of values. `count` is all of them, `weight` what they still count for."""

    count: int = 0
    weight: float = 0.0
    weight_squares: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    def take(self, value: float) -> None:
        """Count one value in; those before it fade."""
        self.count += 1
        self.weight = self.weight * KEEP + 1.0
        self.weight_squares = self.weight_squares * KEEP * KEEP + 1.0
        self.total = self.total * KEEP + value
        self.squares = self.squares * KEEP + value * value

    def fade(self, weight: float) -> None:
        """Let all that was counted weigh no more than this many values."""
        share = min(weight / self.weight, 1.0) if self.weight else 1.0
        self.weight *= share
        self.weight_squares *= share * share
        self.total *= share
        self.squares *= share

    @property
    def mean(self) -> float | None:
        """None before the first value: unknown is not zero."""
        return self.total / self.weight if self.weight else None

    def interval(self) -> tuple[float, float] | None:
        """What the mean lies within at 95 %, by the normal approximation; None for fewer than two values."""
        if self.count < 2:
            return None
        mean = self.total / self.weight
        effective = self.weight * self.weight / self.weight_squares
        variance = max(self.squares / self.weight - mean * mean, 0.0) * effective / max(effective - 1.0, 1.0)
        half = Z95 * math.sqrt(variance / effective)
        return mean - half, mean + half

    def as_json(self) -> dict[str, object]:
        """Shapes: {mean, low, high, count, weight}; null where nothing is known."""
        low, high = self.interval() or (None, None)
        shown = {"mean": self.mean, "low": low, "high": high}
        rounded: dict[str, object] = {name: None if value is None else round(value, 6) for name, value in shown.items()}
        return rounded | {"count": self.count, "weight": round(self.weight, 3)}


@dataclass(slots=True)
class Tally:
    """One arm on one class of tickets. Units: `edit_rate` and `touched` shares 0..1, `edit_minutes` minutes a draft."""

    edit_rate: Mean = field(default_factory=Mean)
    touched: Mean = field(default_factory=Mean)
    edit_minutes: Mean = field(default_factory=Mean)
    scores: dict[str, Mean] = field(default_factory=dict)  # by criterion

    def edited(self, ratio: float | None, minutes: float | None, *, is_touched: bool) -> None:
        """A human is done with a draft; what is not known is not counted."""
        self.touched.take(float(is_touched))
        if ratio is not None:
            self.edit_rate.take(ratio)
        if minutes is not None:
            self.edit_minutes.take(minutes)

    def fade(self, weight: float) -> None:
        """The arm has changed: what was counted of it weighs no more than this many drafts."""
        for mean in (self.edit_rate, self.touched, self.edit_minutes, *self.scores.values()):
            mean.fade(weight)

    def scored(self, criterion: str, value: float) -> None:
        """A judgement by a rubric."""
        self.scores.setdefault(criterion, Mean()).take(value)
