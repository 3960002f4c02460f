"""Which reports are due: after the month ends in the client's own zone, caught up, and each once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.budgets import period_named, period_of
from reports.schedule import ClientMonths, Closable, Due, closable, due, ended_months, following, next_end

INSTANT = timedelta(microseconds=1)
ZONES = (
    *("UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "Asia/Kathmandu", "Asia/Kolkata", "Asia/Tokyo"),
    *(
        "Australia/Lord_Howe",
        "Pacific/Chatham",
        "Pacific/Kiritimati",
        "Pacific/Apia",
        "America/Sao_Paulo",
        "Africa/Cairo",
    ),
    *(
        "Asia/Tehran",
        "Europe/London",
        "Pacific/Pago_Pago",
        "America/Havana",
        "Atlantic/Azores",
        "Asia/Gaza",
        "Antarctica/Troll",
    ),
)


def client(
    zone: str = "Europe/Berlin", *, first: datetime | None = datetime(2025, 10, 3, tzinfo=UTC), **more: object
) -> ClientMonths:
    return ClientMonths(client_id="acme", zone=zone, first_call_at=first, **more)  # type: ignore[arg-type]


def test_a_month_is_due_when_it_is_over_where_the_client_is() -> None:
    midnight = datetime(2025, 10, 31, 23, tzinfo=UTC)  # 1 November, 00:00 in Berlin

    assert due([client()], midnight - timedelta(microseconds=1)) == ()
    assert due([client()], midnight) == (Due("2025-10", "acme", "ended"),)


def test_what_was_missed_is_caught_up_oldest_first_and_not_before_the_first_call() -> None:
    late = ClientMonths(client_id="late", zone="UTC", first_call_at=datetime(2025, 12, 31, 23, 59, tzinfo=UTC))

    found = due([late, client()], datetime(2026, 2, 15, tzinfo=UTC))

    assert [(one.period, one.client_id) for one in found] == [
        ("2025-10", "acme"),
        ("2025-11", "acme"),
        ("2025-12", "acme"),
        ("2025-12", "late"),
        ("2026-01", "acme"),
        ("2026-01", "late"),
    ]


def test_an_issued_month_is_never_due_again() -> None:
    found = due([client(issued={"2025-10": "draft", "2025-11": "final"})], datetime(2025, 12, 5, tzinfo=UTC))

    assert found == ()


def test_a_month_closed_after_its_draft_is_due_once_more() -> None:
    moment = datetime(2025, 11, 5, tzinfo=UTC)

    assert due([client(issued={"2025-10": "draft"}, closed=frozenset({"2025-10"}))], moment) == (
        Due("2025-10", "acme", "closed"),
    )
    assert due([client(issued={"2025-10": "final"}, closed=frozenset({"2025-10"}))], moment) == ()


def test_a_client_without_a_call_has_no_months() -> None:
    assert due([client(first=None)], datetime(2030, 1, 1, tzinfo=UTC)) == ()
    assert next_end([client(first=None)], datetime(2030, 1, 1, tzinfo=UTC)) is None


def test_the_next_end_is_the_first_of_all_clients() -> None:
    found = next_end([client("Europe/Berlin"), client("Pacific/Kiritimati")], datetime(2025, 10, 20, tzinfo=UTC))

    assert found == datetime(2025, 10, 31, 10, tzinfo=UTC)  # 14 hours ahead of UTC


@pytest.mark.parametrize("zone", ZONES)
def test_ten_years_of_months_follow_each_other_without_a_gap(zone: str) -> None:
    months = list(
        ended_months(client(zone, first=datetime(2020, 1, 15, tzinfo=UTC)), datetime(2030, 1, 15, tzinfo=UTC))
    )

    assert len(months) == 120
    assert all(before.end == after.start for before, after in pairwise(months))


@given(st.sampled_from(ZONES), st.integers(0, 400), st.lists(st.integers(0, 90), min_size=1, max_size=12))
def test_whatever_the_outages_each_month_is_built_once(zone: str, start: int, pauses: list[int]) -> None:
    first = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=start)
    moment, built = first, []
    issued: dict[str, Literal["draft", "final"]] = {}

    for pause in pauses:
        moment += timedelta(days=pause)
        for one in due([client(zone, first=first, issued=dict(issued))], moment):
            built.append(one.period)
            issued[one.period] = "draft"

    assert built == [month.name for month in ended_months(client(zone, first=first), moment)]
    assert len(built) == len(set(built))


@pytest.mark.parametrize(
    ("month", "starts", "hours"),
    [
        ("2026-03", datetime(2026, 2, 28, 23, tzinfo=UTC), 743),  # the clocks go forward
        ("2026-04", datetime(2026, 3, 31, 22, tzinfo=UTC), 720),
        ("2026-10", datetime(2026, 9, 30, 22, tzinfo=UTC), 745),  # and back
        ("2027-03", datetime(2027, 2, 28, 23, tzinfo=UTC), 743),
    ],
)
def test_berlins_months_have_the_hours_their_clocks_show(month: str, starts: datetime, hours: int) -> None:
    found = period_named(month, "Europe/Berlin")

    assert (found.start, found.end) == (starts, starts + timedelta(hours=hours))
    assert due([client(first=found.start)], found.end - INSTANT) == ()
    assert due([client(first=found.start)], found.end) == (Due(month, "acme", "ended"),)


def test_both_half_past_twos_of_october_and_the_missing_one_of_march_fall_into_one_month_each() -> None:
    twice = [datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)]
    around = [datetime(2026, 3, 29, 0, 59, 59, 999_999, tzinfo=UTC), datetime(2026, 3, 29, 1, tzinfo=UTC)]

    assert {period_of(moment, "Europe/Berlin").name for moment in twice} == {"2026-10"}
    assert {period_of(moment, "Europe/Berlin").name for moment in around} == {"2026-03"}


@pytest.mark.parametrize("zone", ZONES)
def test_no_moment_at_a_months_edge_is_in_two_months_or_in_none(zone: str) -> None:
    """Ten years of edges, to the microsecond, and a client is told of the month's end neither early nor late."""
    for year in range(2020, 2030):
        for number in range(1, 13):
            month = period_named(f"{year}-{number:02d}", zone)
            after = following(month, zone)
            assert period_of(month.end - INSTANT, zone) == month
            assert period_of(month.end, zone) == after
            assert (period_of(month.start, zone), after.start) == (month, month.end)
            assert due([client(zone, first=month.start)], month.end - INSTANT) == ()
            assert len(due([client(zone, first=month.start)], month.end)) == 1


def test_a_month_is_closable_when_an_invoice_agrees_or_its_day_has_come_where_the_client_is() -> None:
    final = datetime(2025, 11, 9, 23, tzinfo=UTC)  # 10 November, 00:00 in Berlin
    ended = datetime(2025, 11, 1, tzinfo=UTC)

    assert closable([client()], final - INSTANT, 10) == ()
    assert closable([client()], final, 10) == (Closable("2025-10", "acme", "final day"),)
    assert closable([client()], final, None) == ()
    assert closable([client(closed=frozenset({"2025-10"}))], final, 10) == ()
    assert closable([client(reconciled=frozenset({"2025-10"}))], ended, None) == (
        Closable("2025-10", "acme", "reconciled"),
    )
    assert closable([client(reconciled=frozenset({"2025-10"}))], datetime(2025, 10, 31, tzinfo=UTC), 10) == ()


def test_a_restated_month_is_due_until_a_report_of_that_position_is_issued() -> None:
    month, moment = frozenset({"2025-10"}), datetime(2025, 11, 20, tzinfo=UTC)
    before = client(closed=month, issued={"2025-10": "final"}, issued_up_to={"2025-10": 90}, stands_at={"2025-10": 120})
    after = client(closed=month, issued={"2025-10": "final"}, issued_up_to={"2025-10": 120}, stands_at={"2025-10": 120})

    assert due([before], moment) == (Due("2025-10", "acme", "restated"),)
    assert due([after], moment) == ()
