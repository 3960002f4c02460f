"""Rolling figures of quality and latency, exact in millionths.

Whole numbers of millionths are summed, never floats, so that a replay gives the
same figures to the last digit whatever was in between.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

WINDOW = 400  # the last drafts and calls a router looks at
MILLION = 1_000_000


def millionths(value: float) -> int:
    """A share or a time of six decimals as a whole number of millionths."""
    return round(value * MILLION)


@dataclass(slots=True)
class EditWindow:
    """What humans did with the drafts of one client, arm and class: all of them, and the last WINDOW.

    Units: ratios in millionths; seconds in microseconds. `measured` counts drafts whose ratio is known.
    """

    drafts: int = 0
    accepted: int = 0
    touched: int = 0
    measured: int = 0
    ratio_sum: int = 0
    timed: int = 0
    seconds_sum: int = 0
    recent_ratios: deque[int] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def take(self, disposition: str, ratio: float | None, seconds: float | None) -> None:
        """Count one draft a human is done with; what is not known is not counted as zero."""
        self.drafts += 1
        self.accepted += disposition in ("as_is", "edited")
        self.touched += disposition != "as_is"
        if ratio is not None:
            self.measured += 1
            self.ratio_sum += millionths(ratio)
            self.recent_ratios.append(millionths(ratio))
        if seconds is not None:
            self.timed += 1
            self.seconds_sum += millionths(seconds)

    @property
    def edit_ratio(self) -> float | None:
        """Mean share of a draft that was changed, over all measured drafts."""
        return self.ratio_sum / self.measured / MILLION if self.measured else None

    @property
    def recent_edit_ratio(self) -> float | None:
        """The same over the last WINDOW drafts."""
        return sum(self.recent_ratios) / len(self.recent_ratios) / MILLION if self.recent_ratios else None

    @property
    def edit_seconds(self) -> float | None:
        """Mean human seconds a draft, over those timed."""
        return self.seconds_sum / self.timed / MILLION if self.timed else None


@dataclass(slots=True)
class LatencyWindow:
    """The durations of the last WINDOW calls of one client and model. Units: microseconds."""

    recent: deque[int] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def take(self, seconds: float) -> None:
        """Add one call."""
        self.recent.append(millionths(seconds))

    def quantile(self, share: float) -> float | None:
        """The duration in seconds that `share` of the window does not exceed; None when empty."""
        if not self.recent:
            return None
        ordered = sorted(self.recent)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] / MILLION
