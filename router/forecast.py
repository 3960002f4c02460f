"""How many tickets are still to come, and how sure that is.

A month's arrivals are a weekly profile times a level. The profile is learned from the hours before the
period; the level starts at one and moves as the period's own arrivals come in. Bursts make single days
far noisier than a Poisson count, so evidence is weighed in expected days, never in tickets: one wild day
is one day. A burst has a level of its own beside the month's: what came within the last day or so is expected
to go on for another, and then to fade.

Everything here is a number or a list of numbers, changed only by `arrived` and `open_period`; the same
arrivals in the same order give the same state to the last digit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

HOUR_S = 3600.0
DAY_S = 86400.0
DAY_H = 24
WEEK_H = 168
HISTORY_H = 8 * WEEK_H  # two months: enough for a profile, short enough to forget last year's opening hours

# Days vary by about 50 % and the level drifts by about half of that, so any stretch of the past foretells the
# level of the days to come no better than (1 / 0.5)^2 = 4 days would.
LEVEL_DAYS = 4.0
# A weekday's share is trusted by the weeks seen of it; one week of "all days alike" is mixed in.
PRIOR_WEEKS = 1.0
# A burst is remembered, and expected to last, for a day: successive days of contact volume correlate by about
# a third, which is exp(-1). It counts from half a day's evidence on: minutes are not a burst.
BURST_DAYS = 1.0
BURST_PRIOR_DAYS = 0.5
# Days that correlate by r hold as much as one of (1 + r) / (1 - r) independent ones: 2.16 at exp(-1).
CORRELATED_DAYS = (1.0 + math.exp(-1.0 / BURST_DAYS)) / (1.0 - math.exp(-1.0 / BURST_DAYS))
# What the history's level weighs against the period's own days: LEVEL_DAYS independent days in days that correlate.
PRIOR_DAYS = LEVEL_DAYS * CORRELATED_DAYS
# Day-to-day noise of the logarithm before any is measured, and how many days that guess is worth.
DAY_SIGMA = 0.5
DAY_SIGMA_DAYS = 5.0
# Equally likely outcomes that stand for all that may come: the normal deviations at 1/18, 3/18 .. 17/18.
OUTCOMES_Z = (-1.593, -0.967, -0.589, -0.282, 0.0, 0.282, 0.589, 0.967, 1.593)
# A month without any plan or history: the guess is one ticket an hour, and worth next to nothing.
UNKNOWN_PRIOR_DAYS = 0.05


@dataclass(frozen=True, slots=True)
class Outlook:
    """Tickets still expected in the period: the mean, and the standard deviation of the logarithm."""

    tickets: float
    log_sd: float

    def quantile(self, z: float) -> float:
        """Tickets not exceeded with the probability of `z` normal deviations (1.2816 is 90 %)."""
        return self.tickets * math.exp(z * self.log_sd - 0.5 * self.log_sd**2)

    @property
    def outcomes(self) -> list[float]:
        """Tickets in nine equally likely outcomes, rising."""
        median = self.tickets * math.exp(-0.5 * self.log_sd**2)
        return [median * math.exp(z * self.log_sd) for z in OUTCOMES_Z]


@dataclass(slots=True)
class Volume:
    """Arrivals so far. Moments are epoch seconds; `hours` counts arrivals per hour from `first_hour` on."""

    start_s: float
    end_s: float
    utc_offset_s: float = 0.0  # of the client's zone; the profile is one of local hours and weekdays
    planned: float = 0.0  # tickets a period, from configuration; used while there is no history
    first_hour: int = 0  # epoch hour of hours[0]
    hours: list[int] = field(default_factory=list)
    cumulative: list[float] = field(default_factory=list)  # expected arrivals from start, at every full hour
    prior_days: float = PRIOR_DAYS
    day_sigma: float = DAY_SIGMA
    seen: int = 0
    burst_seen: float = 0.0  # faded arrivals, beside the faded expectation of them up to burst_due_at
    burst_due: float = 0.0
    burst_due_at: float = 0.0
    last_s: float = 0.0

    @property
    def expected(self) -> float:
        """Tickets of the whole period before it began."""
        return self.cumulative[-1]


def open_period(volume: Volume, start_s: float, end_s: float, planned: float = 0.0) -> None:
    """Begin a period: learn the weekly profile from the hours before it, and expect the log's level.

    Units: epoch seconds; `planned` is tickets a period and counts only while a week of history is missing.
    Errors: ValueError when the period ends before it begins.
    """
    if not end_s > start_s:
        raise ValueError(f"a period must end after it begins: {start_s} to {end_s}")
    volume.start_s, volume.end_s, volume.planned = start_s, end_s, planned
    volume.seen = 0
    volume.burst_seen = volume.burst_due = volume.burst_due_at = 0.0
    volume.last_s = start_s
    past = _past_hours(volume)
    length = max(math.ceil((end_s - start_s) / HOUR_S), 1)
    if len(past) >= WEEK_H:
        offset = int((volume.utc_offset_s) // HOUR_S)
        first = volume.first_hour + offset
        profile = weekly_profile(past, first)
        begin = int(start_s // HOUR_S) + offset
        hourly = [profile[(begin + k) % WEEK_H] for k in range(length)]
        volume.prior_days = PRIOR_DAYS
        volume.day_sigma = day_noise(past, profile, first)
    else:
        total = planned or float(length)
        hourly = [total / length] * length
        volume.prior_days = PRIOR_DAYS if planned else UNKNOWN_PRIOR_DAYS
        volume.day_sigma = DAY_SIGMA
    volume.cumulative = [0.0]
    for expected in hourly:
        volume.cumulative.append(volume.cumulative[-1] + expected)


def arrived(volume: Volume, at_s: float) -> None:
    """Count one ticket. A clock that goes backward counts it at the latest moment seen."""
    at_s = max(at_s, volume.last_s)
    volume.last_s = at_s
    _count_hour(volume, int(at_s // HOUR_S))
    if not volume.start_s <= at_s < volume.end_s:
        return
    volume.seen += 1
    so_far = due(volume, at_s)
    fade = _burst_fade(volume, so_far)
    volume.burst_seen = volume.burst_seen * fade + 1.0
    volume.burst_due = volume.burst_due * fade + so_far - volume.burst_due_at
    volume.burst_due_at = so_far


def due(volume: Volume, at_s: float) -> float:
    """Arrivals the profile expected from the period's start until a moment."""
    cumulative = volume.cumulative
    hours = (at_s - volume.start_s) / HOUR_S
    if hours <= 0.0:
        return 0.0
    whole = int(hours)
    if whole >= len(cumulative) - 1:
        return cumulative[-1]
    low = cumulative[whole]
    return low + (cumulative[whole + 1] - low) * (hours - whole)


def level(volume: Volume, at_s: float) -> float:
    """Arrivals of this period over the profile's expectation, drawn towards one by `prior_days`."""
    prior = volume.prior_days * _per_day(volume)
    return (volume.seen + prior) / (due(volume, at_s) + prior)


def outlook(volume: Volume, at_s: float) -> Outlook:
    """Tickets from a moment to the end of the period.

    The period's level holds for all of them; what the last day had beyond it fades over the days to come. The
    spread is the drift of the level, which no number of days seen takes away, and the noise of the days still
    to come, which does not average out when few are left.
    """
    at_s = max(at_s, volume.last_s)
    per_day = _per_day(volume)
    so_far = due(volume, at_s)
    rest = volume.cumulative[-1] - so_far
    days_left = rest / per_day
    period = level(volume, at_s)
    fade = _burst_fade(volume, so_far)
    prior = BURST_PRIOR_DAYS * per_day
    lately = volume.burst_due * fade + so_far - volume.burst_due_at
    burst = (volume.burst_seen * fade + prior * period) / (lately + prior) - period
    burst = max(burst, 0.0)  # quiet days are the rule between bursts, and foretell none
    lasting = BURST_DAYS * (1.0 - math.exp(-days_left / BURST_DAYS))
    mean = rest * period + burst * lasting * per_day
    noise = CORRELATED_DAYS / max(days_left, CORRELATED_DAYS)
    variance = volume.day_sigma**2 * (1.0 / LEVEL_DAYS + noise)
    return Outlook(mean + 1.0, math.sqrt(variance + 1.0 / (mean + 1.0)))


def weekly_profile(counts: list[int], first_hour: int) -> list[float]:
    """Expected arrivals in each of 168 hours of the week, hour 0 being Thursday 0:00 as in the epoch.

    Weekday totals and the hours of a day are learned apart: with three or four weeks of history 168 free
    numbers would mostly be noise.
    """
    days = len(counts) // DAY_H
    odd = len(counts) - days * DAY_H  # whole days, counted back from the end
    counts, first_hour = counts[odd:], first_hour + odd
    shape = [0.0] * DAY_H
    totals: list[list[int]] = [[] for _ in range(7)]
    for day in range(days):
        chunk = counts[day * DAY_H : (day + 1) * DAY_H]
        totals[((first_hour + day * DAY_H) // DAY_H) % 7].append(sum(chunk))
        for k, count in enumerate(chunk):
            shape[(first_hour + k) % DAY_H] += count
    everything = sum(shape)
    mean = everything / days
    # one ticket spread evenly keeps an hour that was empty by chance from being impossible
    hour_share = [(value + 1.0 / DAY_H) / (everything + 1.0) for value in shape]
    weekday = [(sum(seen) + PRIOR_WEEKS * mean) / (len(seen) + PRIOR_WEEKS) for seen in totals]
    return [weekday[k // DAY_H] * hour_share[k % DAY_H] for k in range(WEEK_H)]


def day_noise(counts: list[int], profile: list[float], first_hour: int) -> float:
    """Standard deviation of the logarithm of a day's arrivals over the profile, drawn towards DAY_SIGMA."""
    logs: list[float] = []
    for begin in range(len(counts) % DAY_H, len(counts), DAY_H):
        expected = sum(profile[(first_hour + begin + k) % WEEK_H] for k in range(DAY_H))
        logs.append(math.log((sum(counts[begin : begin + DAY_H]) + 0.5) / (expected + 0.5)))
    mean = math.fsum(logs) / len(logs)
    squares = math.fsum((value - mean) ** 2 for value in logs)
    return math.sqrt((squares + DAY_SIGMA_DAYS * DAY_SIGMA**2) / (len(logs) + DAY_SIGMA_DAYS))


def _per_day(volume: Volume) -> float:
    days = max((volume.end_s - volume.start_s) / DAY_S, 1.0 / DAY_H)
    return max(volume.cumulative[-1] / days, 1e-9)


def _burst_fade(volume: Volume, due_now: float) -> float:
    return math.exp((volume.burst_due_at - due_now) / (BURST_DAYS * _per_day(volume)))


def _past_hours(volume: Volume) -> list[int]:
    """Complete hours before the period, silent ones at the end included."""
    before = int(volume.start_s // HOUR_S) - volume.first_hour
    if not volume.hours or before <= 0:
        return []
    past = volume.hours[:before]
    return past + [0] * (before - len(past)) if before - len(past) < WEEK_H else past


def _count_hour(volume: Volume, hour: int) -> None:
    hours = volume.hours
    if not hours:
        volume.first_hour = hour
    gap = hour - volume.first_hour - len(hours) + 1
    if gap >= HISTORY_H:  # silence longer than the memory: begin anew
        hours.clear()
        volume.first_hour, gap = hour, 1
    if gap > 0:
        hours.extend([0] * gap)
    hours[hour - volume.first_hour] += 1
    if len(hours) > HISTORY_H + WEEK_H:  # drop a week at a time, not an hour each hour
        del hours[:WEEK_H]
        volume.first_hour += WEEK_H
