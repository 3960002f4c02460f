"""Expected cost: a line from prompt to output tokens, list prices, and what calls really cost."""

from __future__ import annotations

import pytest

from router import costs
from router.costs import ArmCost, ArmPrice

PRICE = ArmPrice(2.0, 6.0)


def test_before_any_call_a_reply_has_four_hundred_tokens():
    """1000 x 2 + 400 x 6 = 4400 USD per million."""
    assert costs.expected_usd(ArmCost(), 1000, PRICE) == pytest.approx(0.0044)


def test_a_new_price_moves_the_expectation_at_once():
    assert costs.expected_usd(ArmCost(), 1000, ArmPrice(1.0, 3.0)) == pytest.approx(0.0022)


def test_settled_calls_give_the_line_they_lie_on():
    """Output = 100 + prompt / 2, for prompts of 200 and 1800."""
    arm = ArmCost()
    for k in range(1000):
        prompt = (200, 1800)[k % 2]
        output = 100 + prompt // 2
        costs.settled(arm, prompt, output, (prompt * 2.0 + output * 6.0) * 1e-6, PRICE)
    costs.solve(arm)

    assert arm.slope == pytest.approx(0.5, rel=0.02)
    assert arm.intercept + 1000 * arm.slope == pytest.approx(600.0, rel=0.02)
    assert arm.ratio == pytest.approx(1.0)


def test_calls_that_cost_half_their_list_price_halve_the_ratio():
    arm = ArmCost()
    for _ in range(3000):
        costs.settled(arm, 1000, 400, 0.0022, PRICE)
    costs.solve(arm)

    assert arm.ratio == pytest.approx((0.5 * 950 + 20) / (950 + 20), rel=0.01)


def test_a_line_that_falls_below_one_token_expects_one():
    arm = ArmCost(intercept=10.0, slope=-1.0)

    assert costs.expected_usd(arm, 1000, PRICE) == pytest.approx((2000 + 6) * 1e-6)
