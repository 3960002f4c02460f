"""What quality to expect of an arm on a ticket, learned from late and noisy ratings.

One discounted Bayesian regression per arm of quality on the ticket's score and the length of the prompt.
Straight lines: a month's ratings know a slope to a tenth, a curvature hardly at all, and what a curve would
explain is less than what its noise would cost. The difference of two arms' predictions is the gain the router pays for. Ratings may cover only
part of the tickets and only the arm that replied; regressing each arm by itself needs neither to be
a fair sample, as long as what the choice depended on is among the features.

A served model can change overnight. Each arm watches the residuals of its own ratings with a two-sided
cumulative sum; when that leaves its band, the arm's level is forgotten (its slopes are kept) and learned
anew from the ratings since the change began.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

FEATURES = 3
Features = tuple[float, float, float]

SCORE_SCALE = math.sqrt(12.0)  # a uniform score has standard deviation 1 / sqrt(12)
# The scores a class stands for when no score was given: the means of a uniform score below and above 0.65.
CLASS_SCORE = {"simple": 0.325, "complex": 0.825}
PROMPT_REF_TOKENS = 700.0  # any value near a usual prompt; the level absorbs it
PROMPT_LOG_LIMIT = 3.0  # a prompt 20 times the usual is as long as prompts get

# Standard deviations expected of the coefficients before any rating, in quality (0..1) per unit of feature:
# the level is free; a score one deviation higher may move quality by 0.3, a prompt e times as long by 0.05.
PRIOR_MEAN: Features = (0.5, 0.0, 0.0)
PRIOR_SD: Features = (1.0, 0.3, 0.05)
RESIDUAL_SD = 0.45  # of one rating around its prediction, until measured
RESIDUAL_WEIGHT = 20.0

# One month of ratings at the benchmark's rate: older ones fade, so that slow drift is followed.
MEMORY_RATINGS = 2000.0
# Page's CUSUM in residual deviations: with slack 0.25 and a band of 24 a shift of half a deviation is seen within
# about 100 ratings, one of a deviation within 30. Normal residuals would pass a million ratings between false
# alarms (Siegmund's approximation); right-or-wrong ratings are so skewed that half the band gave one a month.
CUSUM_SLACK = 0.25
CUSUM_BAND = 24.0
CUSUM_CLIP = 3.0  # one wild rating is not a change
KNOWN_RATINGS = 10.0  # behind the level, before anything counts as a change from it
# How far the level may have moved when the alarm goes off: anywhere within half the scale.
SHIFT_SD = 0.5
# Ratings kept for learning anew; a change that takes longer to notice is drift.
RECENT_RATINGS = 200


def features(score: float | None, ticket_class: str, prompt_tokens: float) -> Features:
    """The regression's row: one, score in deviations from 0.5, log prompt length over the usual."""
    value = CLASS_SCORE[ticket_class] if score is None else min(max(score, 0.0), 1.0)
    z = (value - 0.5) * SCORE_SCALE
    length = math.log(max(prompt_tokens, 1.0) / PROMPT_REF_TOKENS)
    return (1.0, z, min(max(length, -PROMPT_LOG_LIMIT), PROMPT_LOG_LIMIT))


@dataclass(slots=True)
class ArmQuality:
    """One arm's ratings as sums; `beta` is what they say, read at every decision."""

    ratings: int = 0
    weight: float = 0.0  # discounted count
    total: float = 0.0  # discounted sum of ratings
    moments: list[float] = field(default_factory=lambda: [0.0] * (FEATURES * FEATURES))
    products: list[float] = field(default_factory=lambda: [0.0] * FEATURES)
    beta: list[float] = field(default_factory=lambda: list(PRIOR_MEAN))
    level_sd: float = PRIOR_SD[0]  # standard deviation of the prediction at average features
    solved_weight: float = 0.0  # ratings behind `beta`
    squares: float = RESIDUAL_WEIGHT * RESIDUAL_SD**2
    squares_weight: float = RESIDUAL_WEIGHT
    up: float = 0.0
    down: float = 0.0
    up_count: int = 0
    down_count: int = 0
    alarms: int = 0
    recent: list[tuple[float, float, float, float]] = field(default_factory=list)  # features, rating

    @property
    def residual_sd(self) -> float:
        """Of one rating around its prediction."""
        return math.sqrt(self.squares / self.squares_weight)

    @property
    def mean(self) -> float:
        """Discounted mean rating."""
        return self.total / self.weight if self.weight else 0.0


def predict(arm: ArmQuality, x: Features) -> float:
    """Expected quality, unclamped: a difference of two predictions must not lose what clamping hides."""
    b = arm.beta
    return b[0] + b[1] * x[1] + b[2] * x[2]


def rated(arm: ArmQuality, x: Features, quality: float) -> bool:
    """Fold one rating in; True when it completes the evidence that the arm has changed.

    `beta` follows at the next `solve`, which an alarm asks for at once.
    """
    error = quality - predict(arm, x)
    sd = arm.residual_sd
    keep = 1.0 - 1.0 / MEMORY_RATINGS
    _add(arm, x, quality, 1.0, keep)
    arm.ratings += 1
    arm.squares = arm.squares * keep + min(error * error, (CUSUM_CLIP * sd) ** 2)
    arm.squares_weight = arm.squares_weight * keep + 1.0
    arm.recent.append((*x, quality))
    if len(arm.recent) > 2 * RECENT_RATINGS:
        del arm.recent[:RECENT_RATINGS]
    if arm.solved_weight < KNOWN_RATINGS:
        return False  # a level that is a guess yet, until the next solve, is no past to have changed from
    return _watch(arm, min(max(error / sd, -CUSUM_CLIP), CUSUM_CLIP))


def doubt(arm: ArmQuality) -> None:
    """The arm may have changed by SHIFT_SD: its level is open again, a little nearer to the prior; its slopes stay."""
    _forget_level(arm, 0)


def solve(arm: ArmQuality) -> None:
    """Recompute the coefficients: ridge regression towards the prior, in units of the residual variance."""
    noise = arm.residual_sd**2
    matrix = [value / noise for value in arm.moments]
    right = [value / noise for value in arm.products]
    for k in range(FEATURES):
        precision = 1.0 / PRIOR_SD[k] ** 2
        matrix[k * FEATURES + k] += precision
        right[k] += precision * PRIOR_MEAN[k]
    factor = _cholesky(matrix)
    arm.beta = _solve(factor, right)
    arm.solved_weight = arm.weight
    unit = _solve(factor, [1.0] + [0.0] * (FEATURES - 1))
    arm.level_sd = math.sqrt(max(unit[0], 0.0))


def _watch(arm: ArmQuality, deviation: float) -> bool:
    """Page's two one-sided sums; an alarm forgets the level up to where the winning sum left zero."""
    arm.up = max(arm.up + deviation - CUSUM_SLACK, 0.0)
    arm.up_count = arm.up_count + 1 if arm.up else 0
    arm.down = max(arm.down - deviation - CUSUM_SLACK, 0.0)
    arm.down_count = arm.down_count + 1 if arm.down else 0
    if max(arm.up, arm.down) < CUSUM_BAND:
        return False
    since = arm.up_count if arm.up >= arm.down else arm.down_count
    arm.up = arm.down = 0.0
    arm.up_count = arm.down_count = 0
    arm.alarms += 1
    _forget_level(arm, min(since, len(arm.recent)))
    return True


def _forget_level(arm: ArmQuality, since: int) -> None:
    """Widen what is known of the level before the last `since` ratings by SHIFT_SD; keep slopes and those ratings.

    Adding variance t to one coefficient of an information matrix A takes A to A - t a a'/(1 + t A00), a being
    its first column (Sherman-Morrison); the estimate itself stays.
    """
    keep = 1.0 - 1.0 / MEMORY_RATINGS
    recent = arm.recent[len(arm.recent) - since :]
    for age, (*x, quality) in enumerate(reversed(recent)):
        _add(arm, (x[0], x[1], x[2]), quality, -(keep**age), 1.0)
    solve(arm)
    column = [arm.moments[k] for k in range(FEATURES)]
    spread = SHIFT_SD**2 / arm.residual_sd**2
    share = spread / (1.0 + spread * column[0])
    for i in range(FEATURES):
        for k in range(FEATURES):
            arm.moments[i * FEATURES + k] -= share * column[i] * column[k]
    arm.products = [
        math.fsum(arm.moments[i * FEATURES + k] * arm.beta[k] for k in range(FEATURES)) for i in range(FEATURES)
    ]
    for *x, quality in recent:
        _add(arm, (x[0], x[1], x[2]), quality, 1.0, 1.0)
    solve(arm)


def _add(arm: ArmQuality, x: Features, quality: float, weight: float, keep: float) -> None:
    moments, products = arm.moments, arm.products
    for i in range(FEATURES):
        scaled = weight * x[i]
        products[i] = products[i] * keep + scaled * quality
        row = i * FEATURES
        for k in range(FEATURES):
            moments[row + k] = moments[row + k] * keep + scaled * x[k]
    arm.weight = arm.weight * keep + weight
    arm.total = arm.total * keep + weight * quality


def _cholesky(matrix: list[float]) -> list[float]:
    factor = [0.0] * (FEATURES * FEATURES)
    for i in range(FEATURES):
        for k in range(i + 1):
            rest = matrix[i * FEATURES + k]
            for m in range(k):
                rest -= factor[i * FEATURES + m] * factor[k * FEATURES + m]
            if i == k:
                factor[i * FEATURES + i] = math.sqrt(max(rest, 1e-12))
            else:
                factor[i * FEATURES + k] = rest / factor[k * FEATURES + k]
    return factor


def _solve(factor: list[float], right: list[float]) -> list[float]:
    result = list(right)
    for i in range(FEATURES):
        for m in range(i):
            result[i] -= factor[i * FEATURES + m] * result[m]
        result[i] /= factor[i * FEATURES + i]
    for i in reversed(range(FEATURES)):
        for m in range(i + 1, FEATURES):
            result[i] -= factor[m * FEATURES + i] * result[m]
        result[i] /= factor[i * FEATURES + i]
    return result
