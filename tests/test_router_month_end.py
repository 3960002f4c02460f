"""The month-end forecast: spent plus the rest, its interval, the budget as a lid."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from router import aggregates, forecast
from router.aggregates import PolicyConfig, State
from router.costs import ArmPrice
from router.month_end import month_end

START = datetime(2026, 6, 1, tzinfo=UTC)


def half_way(budget: float) -> State:
    """Ten tickets a day for fifteen days as planned, 3 USD spent."""
    config = PolicyConfig(arms=("standard",), class_arms=(("simple", "standard"), ("complex", "standard")))
    state = aggregates.new_state(config, {"standard": ArmPrice(0.4, 2.0)})
    aggregates.period_opened(state, START, START + timedelta(days=30), budget, 300.0)
    for k in range(150):
        forecast.arrived(state.volume, START.timestamp() + k * 8640.0)
    return state


def test_the_month_ends_at_what_was_spent_and_the_rest_at_its_mean_cost():
    """3 USD over 150 tickets and 20 free ones are 3/170 each; 151 tickets are still expected."""
    found = month_end(half_way(1e9), (START + timedelta(days=15)).timestamp(), 3.0)

    assert found.usd_per_ticket == pytest.approx(3.0 / 170)
    assert found.tickets_expected == pytest.approx(151.0, abs=1.0)
    assert found.expected_usd == pytest.approx(3.0 + 151 * 3 / 170, rel=0.01)
    assert 3.0 < found.low_usd < found.expected_usd < found.high_usd
    assert found.budget_usd is None


def test_no_end_of_the_interval_passes_the_budget():
    found = month_end(half_way(4.0), (START + timedelta(days=15)).timestamp(), 3.0)

    assert (found.expected_usd, found.high_usd, found.budget_usd) == (4.0, 4.0, 4.0)


def test_a_month_that_is_over_is_what_was_spent():
    found = month_end(half_way(1e9), (START + timedelta(days=31)).timestamp(), 3.0)

    assert (found.low_usd, found.expected_usd, found.high_usd, found.tickets_expected) == (3.0, 3.0, 3.0, 0.0)
