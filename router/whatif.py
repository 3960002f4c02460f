"""What another policy would have cost and reached, answered from the log of the one that ran.

Every routed ticket was sent to its arm with a known probability. Weighing each by what the other policy would
have done over what was done makes the log a fair sample of that policy's month (inverse propensity). Two estimates stand
beside each other: self-normalised, which needs the propensities alone; and doubly robust, which predicts every
ticket from the mean of its arm and class and lets the weights correct the prediction, so that either may be a
little wrong. Where the log hardly ever did what the other policy would do, neither means much, and `evaluate` says so.

Intervals are normal, from the linearised variance; bench/whatif.py holds their coverage against months where the
truth is known.

Source: Hajek's ratio estimator; Dudik, Langford, Li 2011, "Doubly robust policy evaluation and learning".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Shares = Mapping[str, float]  # arm -> probability; sums to 1
Target = Callable[["Routed"], Shares]
Measure = Literal["cost_usd", "quality"]

NORMAL_95 = 1.959964
# Kish's effective tickets behind a weighted mean: below this a normal interval of skewed costs covers too little.
LEAST_EFFECTIVE = 100.0
# Tickets (and rated ones) of an arm and class that the other policy would use for more than MOST_UNSUPPORTED of all. Kish's count
# alone does not see them: where luck logged fewer it grows, and an interval out of nine ratings held the truth in 76 % of months.
LEAST_OF_A_CELL = 30
# One ticket that is a tenth of the whole sum decides the answer alone.
MOST_OF_ONE = 0.10
# Share of the other policy's choices that the log could never have made; at 2 % of tickets a difference of half the
# quality scale moves the mean by 0.01.
MOST_UNSUPPORTED = 0.02
# The weights average to one when propensities are right; farther off than this many of their own deviations is no luck.
WEIGHT_DEVIATIONS = 5.0


class CannotTell(ValueError):
    """The log does not hold what the question needs; the sentence says what is lacking and what would help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """One ticket as the log has it. `quality` is 0..1 or None while nobody rated it; cost is USD."""

    arm: str
    propensity: float
    ticket_class: str
    cost_usd: float
    quality: float | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean per ticket with its 95 % interval, inclusive ends."""

    mean: float
    low: float
    high: float

    def times(self, count: float) -> Estimate:
        """The same for a total of so many tickets."""
        return Estimate(self.mean * count, self.low * count, self.high * count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Cost per ticket in USD and quality 0..1, by both estimators, beside what the log itself reached."""

    tickets: int
    rated: int
    effective: float  # Kish's effective number of tickets behind the cost
    rated_effective: float
    unsupported: float  # share of the other policy's choices the log could not have made
    logged_cost_usd: float
    logged_quality: float | None
    cost_snips: Estimate
    cost_robust: Estimate
    quality_snips: Estimate | None  # None: nobody rated anything
    quality_robust: Estimate | None


def evaluate(log: Sequence[Routed], target: Target) -> Answer:
    """The other policy's cost and quality on the log's tickets.

    Shapes: `target` gives each ticket's shares over arms. Errors: CannotTell for an empty log, a propensity outside
    (0, 1], and too little overlap, by the rules at this module's top.
    """
    if not log:
        raise CannotTell(
            "The log has no routed ticket with a probability in this month. Ask for a month that was routed."
        )
    for ticket in log:
        if not 0.0 < ticket.propensity <= 1.0:
            raise CannotTell(f"A ticket was routed with probability {ticket.propensity}; it must be in (0, 1].")
    shares = [target(ticket) for ticket in log]
    weights = [share.get(ticket.arm, 0.0) / ticket.propensity for ticket, share in zip(log, shares, strict=True)]
    unsupported = math.fsum(
        1.0 - share.get(ticket.arm, 0.0) for ticket, share in zip(log, shares, strict=True) if ticket.propensity >= 1.0
    ) / len(log)
    rated = [k for k, ticket in enumerate(log) if ticket.quality is not None]
    _refuse_without_overlap(weights, unsupported, "tickets")
    rated_weights = [weights[k] for k in rated]
    if rated:
        _refuse_without_overlap(rated_weights, 0.0, "rated tickets", checks_mean=False)
    _refuse_rare_cells(log, shares, rated)
    costs = [ticket.cost_usd for ticket in log]
    qualities = [ticket.quality for ticket in log]
    return Answer(
        tickets=len(log),
        rated=len(rated),
        effective=effective(weights),
        rated_effective=effective(rated_weights),
        unsupported=unsupported,
        logged_cost_usd=math.fsum(costs) / len(log),
        logged_quality=math.fsum(q for q in qualities if q is not None) / len(rated) if rated else None,
        cost_snips=_self_normalised(weights, costs),
        cost_robust=_doubly_robust(log, shares, weights, costs),
        quality_snips=_rated_snips(log, weights, rated) if rated else None,
        quality_robust=_doubly_robust(log, shares, weights, qualities) if rated else None,
    )


def effective(weights: Sequence[float]) -> float:
    """Kish's effective sample size; 0 when nothing has weight."""
    squares = math.fsum(w * w for w in weights)
    return math.fsum(weights) ** 2 / squares if squares else 0.0


def fixed(shares: Shares) -> Target:
    """The same shares for every ticket. Errors: CannotTell unless they are 0..1 and sum to one."""
    if any(not 0.0 <= share <= 1.0 for share in shares.values()) or abs(math.fsum(shares.values()) - 1.0) > 1e-9:
        raise CannotTell(f"Shares must be 0..1 and sum to 1, got {dict(shares)}.")
    return lambda _: shares


def by_class(arms: Mapping[str, str]) -> Target:
    """Each class to its arm; a class without one goes where complex tickets go."""
    sure = {ticket_class: {arm: 1.0} for ticket_class, arm in arms.items()}
    return lambda ticket: sure.get(ticket.ticket_class, sure["complex"])


def target_of(text: str, standard: str, premium: str) -> Target:
    """The policy a person typed: `label`, `fixed:0.5` (the premium arm's share), `fixed:NAME=0.6,OTHER=0.4`.

    Errors: CannotTell for anything else, and for `paced` and `floor`, whose choices depend on the month they ran in.
    """
    name, _, stated = text.partition(":")
    if name == "label" and not stated:
        return by_class({"simple": standard, "complex": premium})
    if name in ("paced", "floor"):
        raise CannotTell(
            f"Policy {name!r} decides by the budget as it goes, which no log replays. Ask for label or fixed:0.5."
        )
    if name != "fixed" or not stated:
        raise CannotTell(
            f"Policy {text!r} is not known. Ask for label, fixed:0.5 or fixed:{standard}=0.5,{premium}=0.5."
        )
    try:
        if "=" not in stated:
            share = float(stated)
            return fixed({standard: 1.0 - share, premium: share})
        pairs = [part.split("=", 1) for part in stated.split(",")]
        return fixed({arm.strip(): float(share) for arm, share in pairs})
    except ValueError as refused:
        if isinstance(refused, CannotTell):
            raise
        raise CannotTell(f"The shares in {text!r} cannot be read. Write fixed:0.5, the premium arm's share.") from None


def _refuse_without_overlap(weights: Sequence[float], unsupported: float, of: str, *, checks_mean: bool = True) -> None:
    if unsupported > MOST_UNSUPPORTED:
        raise CannotTell(
            f"For {unsupported:.1%} of the tickets the log was certain of an arm the other policy would not always take; "
            f"at most {MOST_UNSUPPORTED:.0%} can be answered. Raise the policy's explore share and ask again next month."
        )
    total, enough = math.fsum(weights), effective(weights)
    if enough < LEAST_EFFECTIVE:
        raise CannotTell(
            f"The {len(weights)} {of} hold only as much as {enough:.0f} of the other policy's; {LEAST_EFFECTIVE:.0f} are "
            "needed. Ask for a policy nearer to the one that ran, or raise its explore share."
        )
    if max(weights) > MOST_OF_ONE * total:
        raise CannotTell(
            f"One of the {of} carries {max(weights) / total:.0%} of the answer; at most {MOST_OF_ONE:.0%} is sound. "
            "Ask for a policy nearer to the one that ran."
        )
    if checks_mean:
        count = len(weights)
        mean = total / count
        error = math.sqrt(math.fsum((w - mean) ** 2 for w in weights)) / count
        # what could not have been logged is missing from the weights as well
        if abs(mean - (1.0 - unsupported)) > WEIGHT_DEVIATIONS * error + MOST_UNSUPPORTED:
            raise CannotTell(
                f"The weights average to {mean:.3f} where 1 is expected: the logged probabilities are not those the "
                "tickets were routed by. See which with: halfpenny explain CALL."
            )


def _refuse_rare_cells(log: Sequence[Routed], shares: Sequence[Shares], rated: Sequence[int]) -> None:
    wanted: dict[tuple[str, str], float] = {}
    for ticket, share in zip(log, shares, strict=True):
        for arm, part in share.items():
            wanted[arm, ticket.ticket_class] = wanted.get((arm, ticket.ticket_class), 0.0) + part
    for tickets, of in ((range(len(log)), "tickets"), (rated, "rated tickets")):
        seen = Counter((log[k].arm, log[k].ticket_class) for k in tickets)
        for (arm, kind), part in wanted.items():
            if tickets and part > MOST_UNSUPPORTED * len(log) and seen[arm, kind] < LEAST_OF_A_CELL:
                raise CannotTell(
                    f"The other policy sends {part / len(log):.0%} of the tickets as {kind} to {arm}, and the log has "
                    f"{seen[arm, kind]} such {of}; {LEAST_OF_A_CELL} are needed. Raise the policy's explore share."
                )


def _self_normalised(weights: Sequence[float], values: Sequence[float]) -> Estimate:
    total = math.fsum(weights)
    mean = math.fsum(w * v for w, v in zip(weights, values, strict=True)) / total
    squares = math.fsum((w * (v - mean)) ** 2 for w, v in zip(weights, values, strict=True))
    return _interval(mean, math.sqrt(squares) / total)


def _rated_snips(log: Sequence[Routed], weights: Sequence[float], rated: Sequence[int]) -> Estimate:
    """Rated tickets stand for the unrated of their arm and class: whether one is rated may depend on both.

    That share is counted on the same tickets, so what arms and classes differ by is as sure as all tickets make it; only what
    tickets of one arm and class differ by is as unsure as its few rated ones.
    """
    chance = _known_share(log, [ticket.quality for ticket in log])
    scaled = [weights[k] / chance[log[k].arm, log[k].ticket_class] for k in rated]
    total = math.fsum(scaled)
    mean = math.fsum(w * (log[k].quality or 0.0) for w, k in zip(scaled, rated, strict=True)) / total
    pulls: dict[tuple[str, str], list[float]] = {}
    for k in rated:
        pulls.setdefault((log[k].arm, log[k].ticket_class), []).append(weights[k] * ((log[k].quality or 0.0) - mean))
    usual = {cell: math.fsum(found) / len(found) for cell, found in pulls.items()}
    squares = []
    for ticket, weight in zip(log, weights, strict=True):
        cell = (ticket.arm, ticket.ticket_class)
        part = usual.get(cell, 0.0)
        if ticket.quality is not None:
            part += (weight * (ticket.quality - mean) - part) / chance[cell]
        squares.append(part * part)
    return _interval(mean, math.sqrt(math.fsum(squares)) / total)


def _known_share(log: Sequence[Routed], values: Sequence[float | None]) -> dict[tuple[str, str], float]:
    """Of each arm and class, the share of tickets whose value is known."""
    seen: dict[tuple[str, str], list[int]] = {}
    for ticket, value in zip(log, values, strict=True):
        count = seen.setdefault((ticket.arm, ticket.ticket_class), [0, 0])
        count[0] += 1
        count[1] += value is not None
    return {cell: known / tickets for cell, (tickets, known) in seen.items()}


def _doubly_robust(
    log: Sequence[Routed], shares: Sequence[Shares], weights: Sequence[float], values: Sequence[float | None]
) -> Estimate:
    """The mean of each ticket's predicted value, corrected by the weighted residual where a value is known."""
    model, chance = _cell_means(log, values), _known_share(log, values)
    parts = []
    for ticket, share, weight, value in zip(log, shares, weights, values, strict=True):
        part = math.fsum(p * model(arm, ticket.ticket_class) for arm, p in share.items() if p > 0.0)
        if value is not None and weight > 0.0:
            part += weight / chance[ticket.arm, ticket.ticket_class] * (value - model(ticket.arm, ticket.ticket_class))
        parts.append(part)
    count = len(parts)
    mean = math.fsum(parts) / count
    return _interval(mean, math.sqrt(math.fsum((part - mean) ** 2 for part in parts) / max(count - 1, 1) / count))


def _cell_means(log: Sequence[Routed], values: Sequence[float | None]) -> Callable[[str, str], float]:
    """Mean of an arm's tickets of a class; of the arm, then of all, where that cell is empty."""
    sums: dict[tuple[str, str], list[float]] = {}
    for ticket, value in zip(log, values, strict=True):
        if value is None:
            continue
        for key in ((ticket.arm, ticket.ticket_class), (ticket.arm, ""), ("", "")):
            cell = sums.setdefault(key, [0.0, 0.0])
            cell[0] += value
            cell[1] += 1.0

    def mean(arm: str, ticket_class: str) -> float:
        found = sums.get((arm, ticket_class)) or sums.get((arm, "")) or sums["", ""]
        return found[0] / found[1]

    return mean


def _interval(mean: float, error: float) -> Estimate:
    return Estimate(mean, mean - NORMAL_95 * error, mean + NORMAL_95 * error)
