"""The benchmark's own arithmetic: figures out of rows, must and goal, and constants that do not leak from month to month."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from bench import router, router_policy
from bench.router_sensitivity import REASONS, scaled
from router import aggregates, forecast, gains


def cell(gain: float, *, net: float = 0.9, brownouts: float = 0.15, p50: float = 20.0) -> SimpleNamespace:
    return SimpleNamespace(
        gain_ratio=gain, net_gain_ratio=net, brownouts_pct=brownouts, decide_p50_us=p50, decide_p99_us=200.0
    )


ROWS = [
    ("arena", "base", "pid", cell(0.5)),
    ("arena", "base", "ours", cell(0.97)),
    ("mmlu", "base", "ours", cell(0.95, brownouts=0.05, p50=51.0)),
    ("arena", "quality_drop", "ours", cell(0.8)),
]


def test_figures_are_means_over_pools_and_worst_cells_beside_the_drop():
    found = router.figures(ROWS)

    assert round(found["gain base"], 6) == 0.96
    assert round(found["brownouts base %"], 6) == 0.1
    assert found["worst cell but quality_drop"] == 0.95
    assert found["arena quality_drop"] == 0.8
    assert found["decide p50 us"] == 51.0
    assert "gain spike" not in found


def test_a_missed_must_fails_and_a_missed_goal_does_not():
    text, met = router.verdict({"gain base": 0.96, "brownouts base %": 0.1})

    assert met
    assert "| gain base | 0.960 | 0.958 | met | 0.978 | missed |" in text
    assert "| brownouts base % | 0.100 | 0.2 | met | 0.1 | met |" in text
    assert not router.verdict(router.figures(ROWS))[1]  # a median of 51 microseconds


def test_the_grid_has_a_line_per_scenario_and_a_dash_for_what_was_not_played():
    lines = router.grid(ROWS).splitlines()

    assert lines[2] == "| base | 0.500 / 0.900 (0.15) | 0.960 / 0.900 (0.10) |"
    assert lines[3] == "| quality_drop | - | 0.800 / 0.900 (0.15) |"


def test_the_ceiling_expects_what_comes_and_leaves_no_constant_behind():
    """Ten tickets in the fifth hour of a one-day month: ten and the one being decided, before; one after."""
    start = datetime(2026, 6, 1, tzinfo=UTC)
    arms = tuple(SimpleNamespace(name=name, price=SimpleNamespace(input=1.0, output=2.0)) for name in ("low", "high"))
    plan = SimpleNamespace(arms=arms, seed=1, log=(), start=start, end=start + timedelta(days=1), budget_usd=1.0)
    ceiling = router_policy.VolumeKnown([4.5 * forecast.HOUR_S] * 10)

    ceiling.start(plan)

    assert aggregates.CONTINGENCY_SHARE == 0.0
    assert round(ceiling.state.outlook.tickets, 9) == 11.0
    assert round(forecast.outlook(ceiling.state.volume, (start + timedelta(hours=6)).timestamp()).tickets, 9) == 1.0
    router_policy.make_policy().start(plan)
    assert aggregates.CONTINGENCY_SHARE == 0.10


def test_a_constant_takes_along_what_follows_from_it():
    """Days that correlate by exp(-1) count 2.164 to one; by exp(-2), a burst of half a day, (1 + .1353) / (1 - .1353) = 1.313."""
    level = scaled(forecast, "LEVEL_DAYS", 2.0)
    burst = scaled(forecast, "BURST_DAYS", 0.5)

    assert (level[forecast, "LEVEL_DAYS"], round(level[forecast, "PRIOR_DAYS"], 2)) == (8.0, 17.31)
    assert (round(burst[forecast, "CORRELATED_DAYS"], 3), round(burst[forecast, "PRIOR_DAYS"], 2)) == (1.313, 5.25)
    assert scaled(gains, "PRIOR_SD", 2.0) == {(gains, "PRIOR_SD"): (1.0, 0.6, 0.1)}
    assert all((module, name) in router_policy.SET for module, name, _ in REASONS)
