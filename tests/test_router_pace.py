"""The shadow price on two tickets whose numbers fit on a hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import pace

# ticket 1: 2 USD more buy 0.4; ticket 2: 1 USD more buys 0.1
SAMPLE = [[(0.5, 1.0), (0.9, 3.0)], [(0.5, 1.0), (0.6, 2.0)]]


def test_a_curve_takes_the_best_steps_first():
    curve = pace.price_curve(SAMPLE)

    assert curve.base_usd == 1.0
    assert curve.base_quality == 0.5
    assert curve.ratios == pytest.approx([0.2, 0.1])
    assert curve.spend_usd == pytest.approx([1.0, 1.5])
    assert curve.quality == pytest.approx([0.2, 0.25])


@pytest.mark.parametrize(
    ("usd_per_ticket", "expected"),
    [
        (1.5, 0.2),  # half a dollar spare: the first step is under way
        (2.2, 0.1),  # the first is paid, the second is under way
        (3.0, 0.0),  # all are paid, a dollar buys nothing more
        (0.9, 0.5),  # not even the cheapest arm for all: a dollar buys an answer worth 0.5
    ],
)
def test_lambda_is_the_ratio_at_the_cut(usd_per_ticket: float, expected: float):
    assert pace.shadow_price(pace.price_curve(SAMPLE), usd_per_ticket) == pytest.approx(expected)


def test_a_premium_arm_that_is_not_dearer_is_the_start():
    start, up = pace.steps([(0.5, 2.0), (0.9, 1.0)])

    assert start == (0.9, 1.0)
    assert up == []


def test_of_arms_that_cost_the_same_the_better_counts():
    assert pace.steps([(0.5, 1.0), (0.9, 1.0)]) == ((0.9, 1.0), [])
    assert pace.steps([(0.9, 1.0), (0.5, 1.0)]) == ((0.9, 1.0), [])


def test_three_arms_climb_the_concave_hull_only():
    """The middle arm buys 0.1 for 1 USD, then 0.5 for 1 USD: skipping it buys 0.3 a dollar, so it never answers."""
    start, up = pace.steps([(0.2, 1.0), (0.3, 2.0), (0.8, 3.0)])

    assert start == (0.2, 1.0)
    assert up == [(pytest.approx(0.3), pytest.approx(0.6), pytest.approx(2.0))]


def test_three_arms_with_falling_returns_climb_one_by_one():
    _, up = pace.steps([(0.8, 4.0), (0.2, 1.0), (0.6, 2.0)])

    assert [ratio for ratio, _, _ in up] == pytest.approx([0.4, 0.1])


def test_an_empty_sample_has_no_curve():
    with pytest.raises(ValueError, match="at least one ticket"):
        pace.price_curve([])


def test_the_expected_price_is_the_mean_over_volumes():
    """Base 0.01 a ticket; steps of 0.05 quality for 0.01 (ratio 5) and 0.01 for 0.01 (ratio 1)."""
    curve = pace.Curve(0.01, 0.5, [5.0, 1.0], [0.01, 0.02], [0.05, 0.06])

    assert pace.expected_price(curve, 2.5, [100.0]) == 1.0  # 0.025 each: the second step is the cut
    assert pace.expected_price(curve, 2.5, [50.0, 100.0, 150.0]) == pytest.approx((0.0 + 1.0 + 5.0) / 3)


def test_a_volume_beyond_the_money_counts_as_the_best_step_and_a_median_beyond_it_stops_all_steps():
    curve = pace.Curve(0.01, 0.5, [5.0, 1.0], [0.01, 0.02], [0.05, 0.06])

    assert pace.expected_price(curve, 2.5, [50.0, 100.0, 1000.0]) == pytest.approx((0.0 + 1.0 + 5.0) / 3)
    assert pace.expected_price(curve, 2.5, [50.0, 1000.0, 2000.0]) == 50.0  # an answer's worth: 0.5 for 0.01


def test_without_any_step_worth_money_the_expected_price_is_zero():
    assert pace.expected_price(pace.Curve(0.01, 0.5, [], [], []), 2.5, [50.0, 100.0, 150.0]) == 0.0


def test_the_target_price_is_the_cheapest_way_to_a_mean_quality():
    curve = pace.price_curve(SAMPLE)

    assert pace.target_price(curve, 0.45) == 0.5  # the cheapest arm alone reaches it
    assert pace.target_price(curve, 0.65) == pytest.approx(0.2)
    assert pace.target_price(curve, 0.74) == pytest.approx(0.1)
    assert pace.target_price(curve, 0.80) is None  # no arm does


@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 1), st.floats(1e-4, 1.0)), min_size=1, max_size=4), min_size=1, max_size=20
    ),
    st.floats(0.0, 3.0),
    st.floats(0.0, 3.0),
)
def test_more_budget_never_raises_lambda(sample: list[list[tuple[float, float]]], one: float, other: float):
    curve = pace.price_curve(sample)
    less, more = min(one, other), max(one, other)

    assert curve.ratios == sorted(curve.ratios, reverse=True)
    assert pace.shadow_price(curve, more) <= pace.shadow_price(curve, less)
