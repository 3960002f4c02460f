"""Quality learned from ratings: the regression, its memory, and the alarm when an arm changes."""

from __future__ import annotations

import math

import pytest

from router import gains
from router.gains import ArmQuality


def test_a_score_is_counted_in_deviations_and_kept_within_its_range():
    assert gains.features(0.5, "simple", 700) == (1.0, 0.0, 0.0)
    assert gains.features(1.0, "simple", 700)[1] == pytest.approx(math.sqrt(3))
    assert gains.features(7.0, "simple", 700) == gains.features(1.0, "simple", 700)


def test_without_a_score_the_class_stands_for_one():
    assert gains.features(None, "complex", 700) == gains.features(0.825, "simple", 700)
    assert gains.features(None, "simple", 700) == gains.features(0.325, "complex", 700)


def test_an_arm_without_ratings_is_as_good_as_the_prior():
    arm = ArmQuality()
    gains.solve(arm)

    assert gains.predict(arm, (1.0, 1.0, 1.0)) == pytest.approx(0.5)


def test_many_ratings_give_the_line_they_lie_on():
    """Quality 0.6 + 0.1 x deviation, without noise; the prior may bend it by a thousandth."""
    arm = ArmQuality()
    for k in range(400):
        z = (-1.0, 0.0, 1.0)[k % 3]
        gains.rated(arm, (1.0, z, 0.0), 0.6 + 0.1 * z)
        if k % 50 == 0:
            gains.solve(arm)
    gains.solve(arm)

    assert gains.predict(arm, (1.0, 0.0, 0.0)) == pytest.approx(0.6, abs=0.001)
    assert gains.predict(arm, (1.0, 1.0, 0.0)) == pytest.approx(0.7, abs=0.002)
    assert arm.alarms == 0


def test_one_rating_moves_the_level_by_its_weight_against_the_prior():
    """Prior 0.5 with deviation 1; one rating of 0.9 with residual variance v: 0.5 + 0.4 / (1 + v)."""
    arm = ArmQuality()
    gains.rated(arm, (1.0, 0.0, 0.0), 0.9)

    gains.solve(arm)

    assert arm.beta[0] == pytest.approx(0.5 + 0.4 / (1.0 + arm.residual_sd**2))


def test_a_dropped_arm_raises_the_alarm_and_is_relearned_with_its_slope():
    """800 ratings at 0.7 +- 0.3, then 0.3 +- 0.3: the alarm comes within 40, and 100 ratings on the level is near 0.3."""
    arm = ArmQuality()

    def rate(k: int, level: float) -> bool:
        z = (-1.0, 1.0)[k % 2]
        noise = (0.3, 0.3, -0.3, -0.3)[k % 4]
        return gains.rated(arm, (1.0, z, 0.0), level + 0.1 * z + noise)

    for k in range(800):
        assert not rate(k, 0.7)
        if k % 50 == 0:
            gains.solve(arm)
    gains.solve(arm)
    first = next(k for k in range(100) if rate(k, 0.3))
    for k in range(first + 1, 100):
        rate(k, 0.3)
    gains.solve(arm)

    assert first < 40
    assert arm.alarms == 1
    assert gains.predict(arm, (1.0, 0.0, 0.0)) == pytest.approx(0.3, abs=0.05)
    assert arm.beta[1] == pytest.approx(0.1, abs=0.02)


def test_one_wild_rating_is_no_change():
    arm = ArmQuality()
    gains.rated(arm, (1.0, 0.0, 0.0), 0.5)

    assert not gains.rated(arm, (1.0, 0.0, 0.0), -50.0)


def test_old_ratings_fade_and_memory_is_bounded():
    arm = ArmQuality()
    for _ in range(6000):
        gains.rated(arm, (1.0, 0.0, 0.0), 0.5)

    assert arm.ratings == 6000
    assert arm.weight == pytest.approx(2000 * (1 - math.exp(-3)), rel=0.01)
    assert len(arm.recent) <= 2 * gains.RECENT_RATINGS


def test_ratings_before_the_level_was_ever_solved_are_no_change():
    """A client's first hour, all good: the prior of 0.5 is a guess and no past to have risen from."""
    arm = ArmQuality()

    assert not any(gains.rated(arm, (1.0, 0.0, 0.0), 0.95) for _ in range(300))
    gains.solve(arm)
    assert not any(gains.rated(arm, (1.0, 0.0, 0.0), 0.95) for _ in range(300))
    assert any(gains.rated(arm, (1.0, 0.0, 0.0), 0.2) for _ in range(300))
