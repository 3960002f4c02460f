"""The volume forecast: profile, level, bursts, spread. A day of 24 tickets is one ticket an hour."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router import forecast
from router.forecast import DAY_S, HOUR_S, Volume

MONDAY_S = 4 * DAY_S  # 1970-01-05; the epoch began on a Thursday


def opened(days: int, planned: float) -> Volume:
    volume = Volume(0.0, 1.0, cumulative=[0.0, 1.0])
    forecast.open_period(volume, MONDAY_S, MONDAY_S + days * DAY_S, planned)
    return volume


def test_a_first_month_expects_its_plan_evenly():
    volume = opened(30, planned=720.0)

    assert forecast.due(volume, MONDAY_S) == 0.0
    assert forecast.due(volume, MONDAY_S + 12.5 * HOUR_S) == pytest.approx(12.5)
    assert forecast.due(volume, MONDAY_S + 40 * DAY_S) == pytest.approx(720.0)
    assert forecast.outlook(volume, MONDAY_S).tickets == pytest.approx(721.0)  # and the one being decided


def test_the_level_weighs_the_plan_as_four_independent_days():
    """Days that correlate by exp(-1) hold 1/2.164 of an independent one each, so four are 8.656."""
    volume = opened(30, planned=720.0)
    for k in range(240):  # five days at twice the plan
        forecast.arrived(volume, MONDAY_S + k * HOUR_S / 2)

    level = forecast.level(volume, MONDAY_S + 5 * DAY_S)

    assert level == pytest.approx((240 + 8.656 * 24) / (120 + 8.656 * 24), rel=1e-3)


def test_without_plan_or_history_the_level_is_what_came():
    volume = opened(30, planned=0.0)
    for k in range(480):  # twenty an hour for a day
        forecast.arrived(volume, MONDAY_S + k * 180.0)

    assert forecast.level(volume, MONDAY_S + DAY_S) == pytest.approx(
        (480 + 1.2) / (24 + 1.2)
    )  # 0.05 days of one an hour


def test_a_burst_is_expected_to_last_a_day_and_no_month():
    """Ten quiet days, then one at five times the plan: the days to come gain a little level and one day's burst."""
    volume = opened(30, planned=720.0)
    for k in range(240):
        forecast.arrived(volume, MONDAY_S + k * HOUR_S)
    quiet = forecast.outlook(volume, MONDAY_S + 10 * DAY_S).tickets
    for k in range(120):
        forecast.arrived(volume, MONDAY_S + 10 * DAY_S + k * HOUR_S / 5)

    after = forecast.outlook(volume, MONDAY_S + 11 * DAY_S).tickets

    assert quiet == pytest.approx(481.0, rel=0.01)
    plan = 8.656 * 24
    by_level = 19 * 24 * (360 + plan) / (264 + plan)  # 548.8: the period's level alone
    assert by_level + 24 < after < by_level + 3 * 24


def test_few_days_left_are_less_certain_than_many():
    """Day noise 0.5: 0.25 x (1/4 for the level + 2.164/30 for the days), and 0.25 x (1/4 + 1) a day before the end."""
    volume = opened(30, planned=30_000_000.0)  # so many that counting noise vanishes
    volume.seen = 29_000_000

    start, end = forecast.outlook(volume, MONDAY_S), forecast.outlook(volume, MONDAY_S + 29 * DAY_S)

    assert start.log_sd == pytest.approx(math.sqrt(0.25 * (0.25 + 2.164 / 30)), rel=1e-3)
    assert end.log_sd == pytest.approx(math.sqrt(0.25 * 1.25), rel=1e-3)


def test_quantiles_of_an_outlook_are_lognormal_around_its_mean():
    outlook = forecast.Outlook(1000.0, 0.3)

    assert outlook.quantile(0.0) == pytest.approx(1000.0 * math.exp(-0.045))
    assert outlook.quantile(1.2816) == pytest.approx(1000.0 * math.exp(0.3 * 1.2816 - 0.045))


def test_weekdays_keep_their_share_drawn_towards_all_days_alike():
    """Four weeks: 48 tickets on Mondays, 24 on other days. Monday: (4 x 48 + 192/7) / 5; others alike."""
    counts = [2 if (hour // 24) % 7 == 0 else 1 for hour in range(4 * 168)]

    profile = forecast.weekly_profile(counts, int(MONDAY_S // HOUR_S))

    mean = 192 / 7
    monday = sum(profile[4 * 24 : 5 * 24])
    tuesday = sum(profile[5 * 24 : 6 * 24])
    assert monday == pytest.approx((4 * 48 + mean) / 5)
    assert tuesday == pytest.approx((4 * 24 + mean) / 5)


def test_hours_of_the_day_keep_their_share():
    counts = [10 if 8 <= hour % 24 < 18 else 0 for hour in range(2 * 168)]

    profile = forecast.weekly_profile(counts, 0)

    assert sum(profile[8:18]) == pytest.approx(100.0, rel=0.01)
    assert 0.0 < profile[3] < 0.01  # never impossible


def test_the_next_period_learns_the_profile_of_the_last():
    volume = opened(28, planned=672.0)
    for hour in range(28 * 24):
        if (hour // 24) % 7 < 5:  # working days only
            forecast.arrived(volume, MONDAY_S + hour * HOUR_S)

    forecast.open_period(volume, MONDAY_S + 28 * DAY_S, MONDAY_S + 35 * DAY_S)

    workday = forecast.due(volume, MONDAY_S + 29 * DAY_S)
    saturday = forecast.due(volume, MONDAY_S + 34 * DAY_S) - forecast.due(volume, MONDAY_S + 33 * DAY_S)
    mean = 24 * 5 / 7
    assert workday == pytest.approx((4 * 24 + mean) / 5)
    assert saturday == pytest.approx(mean / 5)
    assert volume.expected == pytest.approx(5 * workday + 2 * saturday)


def test_silent_hours_before_a_period_count_as_silent():
    volume = opened(7, planned=168.0)
    for hour in range(7 * 24):
        forecast.arrived(volume, MONDAY_S + hour * HOUR_S)

    forecast.open_period(volume, MONDAY_S + 13 * DAY_S, MONDAY_S + 20 * DAY_S)  # six silent days in between

    assert volume.expected == pytest.approx(7 * 168 / 13, rel=0.25)


def test_a_clock_going_backward_counts_at_the_latest_moment():
    volume = opened(30, planned=720.0)
    forecast.arrived(volume, MONDAY_S + 10 * HOUR_S)

    forecast.arrived(volume, MONDAY_S + 9 * HOUR_S)

    assert volume.last_s == MONDAY_S + 10 * HOUR_S
    assert volume.seen == 2
    assert volume.hours == [2]


def test_arrivals_outside_the_period_are_history_only():
    volume = opened(1, planned=24.0)

    forecast.arrived(volume, MONDAY_S + 2 * DAY_S)

    assert volume.seen == 0
    assert sum(volume.hours) == 1


def test_memory_is_bounded_to_about_two_months():
    volume = opened(1, planned=24.0)
    for day in range(200):
        forecast.arrived(volume, MONDAY_S + day * DAY_S)

    assert len(volume.hours) <= forecast.HISTORY_H + forecast.WEEK_H
    forecast.arrived(volume, MONDAY_S + 1000 * DAY_S)
    assert volume.hours == [1]


def test_a_period_must_not_end_before_it_begins():
    volume = opened(1, planned=24.0)

    with pytest.raises(ValueError, match="must end after it begins"):
        forecast.open_period(volume, MONDAY_S, MONDAY_S)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.0, 40 * DAY_S), max_size=200))
def test_replay_gives_the_same_forecast_to_the_last_digit(moments: list[float]):
    first, second = opened(30, planned=100.0), opened(30, planned=100.0)
    for moment in moments:
        forecast.arrived(first, MONDAY_S + moment)
    for moment in moments:
        forecast.arrived(second, MONDAY_S + moment)

    assert first == second
    outlook = forecast.outlook(first, MONDAY_S + 20 * DAY_S)
    assert outlook == forecast.outlook(second, MONDAY_S + 20 * DAY_S)
    assert outlook.tickets >= 1.0 - 1e-9
    assert outlook.log_sd > 0.0
