"""Whether what the policies count on is still as it was: served models, latency, prices, the mix of tickets, the classifier.

Each watch compares new facts with its own past and says once that they changed; then it begins anew from the facts since
the change. Latencies and shares are watched by cumulative sums of log likelihood ratios (Page 1954; Lorden 1971): against
a past that is known, the mean number of facts between two false alarms is at least exp(band). Quality has such a sum of
its own, in gains.py. Nothing here knows the clock: the same facts in the same order raise the same alarms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import msgspec

from ledger import events as e
from ledger.envelope import Purpose, TicketClass
from ledger.routing import Drift as Kind

# Alarms that were found and not told yet, and the last ones for people: more at once say nothing more.
KEPT = 50

# Latency in doublings: the sums are sharpest for a change by 1.5, so with a slack of 0.75 a doubling shows within some dozens
# of calls, and hours of the day that take 1.3 times as long do not.
LATENCY_SHIFT = 1.5
LATENCY_MEMORY = 1000.0  # about a week of an arm's calls: a slower change is followed and not told
LATENCY_LEAST = 100  # calls that make a past: their mean is then known to a tenth of their scatter
LATENCY_SD_LEAST = 0.5  # a provider as steady as a clock scatters less than what is worth an alarm
LATENCY_CLIP = 3.0  # deviations: one call that hung is no change
LATENCY_BAND = 14.0  # exp(14): a million calls
# No call of a model is faster; a change below it would be one of our own machine.
FASTEST_S = 0.05


class ShareTest(NamedTuple):
    """How a share is watched. Units: `memory` and `least` in facts; `weight` is how much of a fact each one is worth."""

    odds: float
    least: int
    memory: float
    band: float
    weight: float


# The mix of tickets: odds twice or half what they were, as 35 % turn into 52 or 21. Tickets of a day are alike (a campaign,
# an outage), so a day's share scatters more than coins: each counts for half. A change takes some five hundred tickets to
# show and must not become the past before, hence a month's memory. Days whose odds scatter by a fifth gave two false alarms
# in 400,000 simulated tickets.
MIX = ShareTest(odds=2.0, least=400, memory=8000.0, band=12.0, weight=0.5)
# The classifier against a second opinion: odds of agreeing a third of what they were, as 85 % turn into 65. Eight thousand
# checks between two false alarms, which at one ticket in fifty are years.
AGREEMENT = ShareTest(odds=3.0, least=50, memory=1000.0, band=9.0, weight=1.0)
SHARE_LIMITS = (0.005, 0.995)  # a share that was never seen otherwise is no certainty

# Calls of a model after which a name it has not answered under is new once more.
SERVED_MEMORY = 2000


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """A change that was found, as `drift.alarmed` tells it. Units: as there."""

    drift: Kind
    cause_id: str
    time: datetime
    period: str
    reason: str
    observations: int
    before: float | None = None
    after: float | None = None
    request_model: str | None = None
    response_model: str | None = None
    arm: str | None = None
    ticket_class: TicketClass | None = None
    purpose: Purpose | None = None
    price_id: str | None = None
    previous_price_id: str | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """What is told once: one event may complete the evidence of several changes."""
        return key_of(self)


def key_of(said: Alarm | e.DriftAlarmed) -> tuple[str, ...]:
    """The same of the event that told it."""
    return (said.drift, said.cause_id, said.arm or "", said.request_model or "", said.ticket_class or "")


@dataclass(slots=True)
class Change:
    """What a watch found. Units: the watch's own."""

    before: float
    after: float
    observations: int


@dataclass(slots=True)
class Side:
    """One side of a cumulative sum, and the facts since it last left zero."""

    sum: float = 0.0
    count: int = 0
    total: float = 0.0

    def take(self, evidence: float, value: float) -> None:
        """Add one fact's log likelihood ratio; at zero nothing speaks for a change."""
        found = self.sum + evidence
        if found > 0.0:
            self.sum, self.count, self.total = found, self.count + 1, self.total + value
        elif self.count:
            self.sum, self.count, self.total = 0.0, 0, 0.0


def _before(total: float, weight: float, side: Side) -> float:
    """The past's mean without the facts since the change, of which it took notice until the alarm."""
    if side.count >= weight:
        return total / weight
    return (total - side.total) / (weight - side.count)


@dataclass(slots=True)
class LatencyWatch:
    """Seconds of one model's calls, as logarithms to the base two, against their own discounted past."""

    count: int = 0
    weight: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    slower: Side = field(default_factory=Side)
    faster: Side = field(default_factory=Side)

    @property
    def usual_s(self) -> float | None:
        """The geometric mean, which for latencies is about their median; None before the first."""
        return 2.0 ** (self.total / self.weight) if self.weight else None

    @property
    def sd(self) -> float:
        """Of one call, in doublings."""
        mean = self.total / self.weight
        return max(math.sqrt(max(self.squares / self.weight - mean * mean, 0.0)), LATENCY_SD_LEAST)

    def take(self, seconds: float) -> Change | None:
        """Fold one call in; the change, when it completes the evidence that calls take twice as long.

        Calls that take half as long begin a new past in silence.
        """
        value = math.log2(max(seconds, FASTEST_S))
        if self.count >= LATENCY_LEAST:
            sd = self.sd
            apart = min(max(value - self.total / self.weight, -LATENCY_CLIP * sd), LATENCY_CLIP * sd)
            unit, slower, faster = LATENCY_SHIFT / (sd * sd), self.slower, self.faster
            slower.take(unit * (apart - LATENCY_SHIFT / 2.0), value)
            faster.take(unit * (-apart - LATENCY_SHIFT / 2.0), value)
            if slower.sum >= LATENCY_BAND:
                return self._anew(slower, is_told=True)
            if faster.sum >= LATENCY_BAND:
                return self._anew(faster, is_told=False)
        self._add(value)
        return None

    def _add(self, value: float) -> None:
        keep = 1.0 - 1.0 / LATENCY_MEMORY
        self.count += 1
        self.weight = self.weight * keep + 1.0
        self.total = self.total * keep + value
        self.squares = self.squares * keep + value * value

    def _anew(self, side: Side, *, is_told: bool) -> Change | None:
        before, sd, mean = 2.0 ** _before(self.total, self.weight, side), self.sd, side.total / side.count
        self.count, self.weight, self.total = side.count, float(side.count), side.total
        self.squares = side.count * (mean * mean + sd * sd)
        found = Change(before, 2.0**mean, side.count)
        self.slower, self.faster = Side(), Side()
        return found if is_told else None


@dataclass(slots=True)
class ShareWatch:
    """How often something is so, against its own discounted past."""

    count: int = 0
    weight: float = 0.0
    hits: float = 0.0
    more: Side = field(default_factory=Side)
    less: Side = field(default_factory=Side)

    @property
    def share(self) -> float:
        """The past's share, half a fact of either kind added."""
        return (self.hits + 0.5) / (self.weight + 1.0)

    def take(self, is_so: bool, test: ShareTest) -> Change | None:
        """Fold one fact in; the change, when it completes the evidence that the odds are so many times what they were, or that part."""
        if self.count >= test.least:
            share = min(max(self.share, SHARE_LIMITS[0]), SHARE_LIMITS[1])
            for side, ratio in ((self.more, test.odds), (self.less, 1.0 / test.odds)):
                # With odds r times as high the share is r p / (1 - p + r p).
                scale = 1.0 - share + ratio * share
                side.take(test.weight * math.log((ratio if is_so else 1.0) / scale), float(is_so))
                if side.sum >= test.band:
                    found = Change(_before(self.hits, self.weight, side), side.total / side.count, side.count)
                    self.count, self.weight, self.hits = side.count, float(side.count), side.total
                    self.more, self.less = Side(), Side()
                    return found
        keep = 1.0 - 1.0 / test.memory
        self.count += 1
        self.weight = self.weight * keep + 1.0
        self.hits = self.hits * keep + float(is_so)
        return None


@dataclass(slots=True)
class Drift:
    """All that is watched of one client. Shapes: `served` model -> name it answers under -> the model's call it last did so."""

    calls: dict[str, int] = field(default_factory=dict)
    served: dict[str, dict[str, int]] = field(default_factory=dict)
    latency: dict[str, LatencyWatch] = field(default_factory=dict)  # by "purpose model"
    prices: dict[str, str] = field(default_factory=dict)  # arm -> price in force
    is_complex: ShareWatch = field(default_factory=ShareWatch)
    agrees: ShareWatch = field(default_factory=ShareWatch)
    due: list[Alarm] = field(default_factory=list)  # found, not told
    told: list[Alarm] = field(default_factory=list)
    raised: int = 0

    def raise_(self, alarm: Alarm) -> None:
        """Note an alarm to be told."""
        self.raised += 1
        self.due.append(alarm)
        del self.due[:-KEPT]

    def tell(self, event: e.DriftAlarmed) -> None:
        """An alarm was told."""
        key = key_of(event)
        self.told += [alarm for alarm in self.due if alarm.key == key]
        del self.told[:-KEPT]
        self.due = [alarm for alarm in self.due if alarm.key != key]


def answered_as(drift: Drift, event: e.CallSettled) -> str | None:
    """The name a model answered under until now, when this call came under a new one; None when nothing is new.

    The first name a model answers under is its own, unless it is that of another model: then it is new against what was asked.
    """
    model, name = event.request_model, event.response_model
    if name is None:
        return None
    number = drift.calls[model] = drift.calls.get(model, 0) + 1
    names = drift.served.setdefault(model, {})
    if name in names and number - names[name] <= SERVED_MEMORY:
        names[name] = number
        return None
    latest = max(names, key=lambda known: names[known]) if names else None
    names[name] = number
    if len(names) > KEPT:
        del names[min(names, key=lambda known: names[known])]
    if latest is None and not (event.usage_anomaly or "").startswith("served_"):
        return None
    return latest or model


def timed(drift: Drift, event: e.CallSettled) -> Change | None:
    """A call that went well took so long; the change, when calls of its model and purpose now take twice what they did."""
    kind = f"{event.purpose} {event.request_model}"
    if (watch := drift.latency.get(kind)) is None:
        watch = drift.latency[kind] = LatencyWatch()
    return watch.take(event.duration_s)


def mixed(drift: Drift, ticket_class: TicketClass) -> Change | None:
    """A ticket was sorted; the change, when complex ones come at odds twice or half those of the past."""
    return drift.is_complex.take(ticket_class == "complex", MIX)


def checked(drift: Drift, *, agrees: bool) -> Change | None:
    """A second opinion came; the change, when the classifier agrees at a third, or three times, the odds of the past."""
    return drift.agrees.take(agrees, AGREEMENT)
