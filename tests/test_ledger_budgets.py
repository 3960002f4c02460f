"""Periods and accounts: months in a client's zone, and what a card payment leaves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.budgets import Account, period_named, period_of, zone
from ledger.errors import BadPeriod, BudgetSpent, InvalidInput

ZONES = (
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Moscow",
    "Africa/Cairo",  # sets its clocks back at the midnight that begins November
    "Africa/Casablanca",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Tokyo",
    "Asia/Almaty",  # did so at the midnight that began March 2024
    "Asia/Beirut",
    "Australia/Sydney",
    "Australia/Lord_Howe",  # half an hour of summer
    "Pacific/Auckland",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "America/Asuncion",  # skipped the midnight that began October 2017 and 2023
    "America/Havana",
)
YEARS = range(2017, 2028)


@pytest.mark.parametrize(
    ("name", "zone_name", "hours", "start"),
    [
        ("2026-10", "Europe/Berlin", 745, datetime(2026, 9, 30, 22, tzinfo=UTC)),  # 31 x 24 + the hour won
        ("2026-03", "Europe/Berlin", 743, datetime(2026, 2, 28, 23, tzinfo=UTC)),  # 31 x 24 - the hour lost
        ("2025-10", "Europe/Berlin", 745, datetime(2025, 9, 30, 22, tzinfo=UTC)),
        ("2026-11", "Europe/Berlin", 720, datetime(2026, 10, 31, 23, tzinfo=UTC)),
        ("2026-02", "Europe/Berlin", 672, datetime(2026, 1, 31, 23, tzinfo=UTC)),
        ("2028-02", "UTC", 696, datetime(2028, 2, 1, tzinfo=UTC)),
        ("2026-12", "Asia/Kolkata", 744, datetime(2026, 11, 30, 18, 30, tzinfo=UTC)),
        ("2024-10", "Africa/Cairo", 745, datetime(2024, 9, 30, 21, tzinfo=UTC)),
        ("2023-10", "America/Asuncion", 743, datetime(2023, 10, 1, 4, tzinfo=UTC)),
        ("2026-01", "Pacific/Kiritimati", 744, datetime(2025, 12, 31, 10, tzinfo=UTC)),
    ],
)
def test_a_month_has_the_hours_its_zone_gives_it(name: str, zone_name: str, hours: int, start: datetime) -> None:
    period = period_named(name, zone_name)

    assert period.start == start
    assert period.end - period.start == timedelta(hours=hours)


@pytest.mark.parametrize("zone_name", ZONES)
def test_no_instant_is_in_two_months_or_in_none(zone_name: str) -> None:
    names = [f"{year}-{month:02d}" for year in YEARS for month in range(1, 13)]
    months = [period_named(name, zone_name) for name in names]

    for month, following in pairwise(months):
        assert month.end == following.start
        edge = following.start
        for seconds in (-7200, -3600, -1800, -1, 0, 1, 1800, 3600, 7200):
            moment = edge + timedelta(seconds=seconds)
            assert period_of(moment, zone_name) == (month if seconds < 0 else following), moment
        assert period_of(edge - timedelta(microseconds=1), zone_name) == month


@given(st.datetimes(datetime(2017, 1, 1), datetime(2027, 12, 31)), st.sampled_from(ZONES))  # noqa: DTZ001
def test_a_moment_lies_in_its_month(naive: datetime, zone_name: str) -> None:
    moment = naive.replace(tzinfo=UTC)

    period = period_of(moment, zone_name)

    assert period.start <= moment < period.end
    assert period.name == f"{moment.astimezone(zone(zone_name)):%Y-%m}"


@pytest.mark.parametrize(
    "name",
    [
        "2026-13",
        "2026-00",
        "2026-1",
        "26-10",
        "2026/10",
        "October",
        "",
        "2026-10\n",
        "0001-01",
        "9999-12",
        "２０２６-10",
    ],
)
def test_what_is_no_month_is_refused(name: str) -> None:
    """0001-01 was once an OverflowError east of Greenwich, and wide digits made a second name of a month."""
    with pytest.raises(BadPeriod, match="Write it as YYYY-MM"):
        period_named(name, "Europe/Berlin")


@pytest.mark.parametrize("name", ["Berlin", "", "../etc/passwd", "Europe", "Mars/Olympus", "Europe/Berlin\0"])
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="IANA name, like Europe/Berlin"):
        zone(name)


def account(cap: str | None, *, hard: bool = True, settled: str = "0", held: str = "0", orphaned: str = "0") -> Account:
    return Account(
        scope="acme",
        period="2025-10",
        cap=None if cap is None else Decimal(cap),
        hard=hard,
        settled=Decimal(settled),
        held=Decimal(held),
        orphaned=Decimal(orphaned),
    )


@pytest.mark.parametrize(
    ("before", "wanted", "fits"),
    [
        (account("10", settled="9.9818"), "0.0182", True),  # to the last digit
        (account("10", settled="9.9818"), "0.018200000001", False),
        (account("10", settled="5", held="3", orphaned="1.9"), "0.1", True),
        (account("10", settled="5", held="3", orphaned="1.9"), "0.11", False),
        (account("10", held="10"), "0", True),
        (account("0"), "0.000000000001", False),
        (account("10", settled="12"), "0", False),  # the cap was lowered below the spend
        (account("10", hard=False, settled="12"), "5", True),
        (account(None, settled="12"), "999999", True),
    ],
)
def test_a_hold_fits_up_to_the_hard_cap_and_not_a_trillionth_more(before: Account, wanted: str, fits: bool) -> None:
    if fits:
        before.refuse_unless_fits(Decimal(wanted))
    else:
        with pytest.raises(BudgetSpent):
            before.refuse_unless_fits(Decimal(wanted))


def test_a_refusal_says_what_is_settled_held_and_orphaned() -> None:
    before = account("300.00", settled="299.5", held="0.3000", orphaned="0.1")

    with pytest.raises(BudgetSpent) as refused:
        before.refuse_unless_fits(Decimal("0.3444"))

    assert str(refused.value) == (
        "The budget of acme for 2025-10 is 300 USD: 299.5 settled, 0.3 held by calls in flight, "
        "0.1 held by calls whose end is unknown. This call may cost up to 0.3444 USD, which does not fit. "
        "Raise it with: halfpenny budget set acme AMOUNT --hard."
    )


def test_an_account_is_shown_with_money_as_text() -> None:
    assert account("300.00", settled="9.50", held="0.0182").as_json() == {
        "scope": "acme",
        "period": "2025-10",
        "hard": True,
        "granted_usd": "300",
        "settled_usd": "9.5",
        "held_usd": "0.0182",
        "orphaned_usd": "0",
        "available_usd": "290.4818",
    }
    uncapped = account(None, settled="9.50").as_json()
    assert (uncapped["granted_usd"], uncapped["available_usd"]) == (None, None)


USD = st.decimals(min_value=0, max_value=100_000, places=12)


@given(USD, USD, USD, USD)
def test_what_was_granted_is_available_held_orphaned_or_settled(
    cap: Decimal, settled: Decimal, held: Decimal, orphaned: Decimal
) -> None:
    found = Account(scope="acme", period="2025-10", cap=cap, settled=settled, held=held, orphaned=orphaned)

    assert found.available is not None
    assert found.available + held + orphaned + settled == cap
