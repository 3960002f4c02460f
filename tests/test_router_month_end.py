"""The month-end forecast: spent plus the rest, its interval, the budget as a lid."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta

import pytest

from bench.forecast import costed, drawn, held
from router import aggregates, costs, forecast
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


def test_a_young_month_costs_a_ticket_what_tickets_cost_before():
    """Thirty calls at 0.01 and ten at 0.03 before: 0.015. One ticket of 0.03 beside twenty of those is 0.33 / 21, not 0.03 / 21."""
    config = PolicyConfig(arms=("low", "high"), class_arms=(("simple", "low"), ("complex", "high")))
    price = ArmPrice(1.0, 1.0)
    state = aggregates.new_state(config, {"low": price, "high": price})
    for arm, calls, usd in (("low", 30, 0.01), ("high", 10, 0.03)):
        for _ in range(calls):
            costs.settled(state.costs[arm], 100.0, 100.0, usd, price)
    aggregates.period_opened(state, START, START + timedelta(days=30), 1e9, 300.0)
    forecast.arrived(state.volume, START.timestamp() + 60.0)

    found = month_end(state, START.timestamp() + 120.0, 0.03)

    assert found.usd_per_ticket == pytest.approx(0.33 / 21)


@pytest.mark.parametrize(("tickets_a_day", "is_first"), [(40.0, False), (10.0, False), (40.0, True)])
def test_eight_months_in_ten_end_inside_the_interval(tickets_a_day: float, *, is_first: bool):
    """Sixty drawn months: weekends, days that vary by e^0.4 and correlate by a third, a level that moved by half of that.

    The recorded months, in full, are bench.forecast's.
    """
    draw, answers = random.Random(5), []
    for _ in range(60):
        days, wave, level = [], 0.0, math.exp(draw.gauss(0.0, 0.2))
        for day in range(55):
            wave = 0.37 * wave + math.sqrt(1 - 0.37**2) * draw.gauss(0.0, 0.4)
            expected = (
                tickets_a_day * (level if day >= 25 else 1.0) * math.exp(wave) * (0.4 if (day + 4) % 7 > 4 else 1.0)
            )
            days.append([expected * (0.2 if hour < 8 else 1.0) / 17.6 for hour in range(24)])
        tickets = costed((at - 25 * forecast.DAY_S for at in drawn(days, draw)), draw)
        history = [] if is_first else [ticket for ticket in tickets if ticket[0] < 0.0]
        answers += held(history, [ticket for ticket in tickets if ticket[0] >= 0.0])

    assert 0.70 <= sum(answers) / len(answers) <= 0.90, sum(answers) / len(answers)
