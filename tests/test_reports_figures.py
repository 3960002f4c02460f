"""Printed figures: rounded once, added afterwards, divided in Decimal."""

from __future__ import annotations

from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.figures import Currency, Interval, mean, mean_of_shares, places_of, share, total, wilson

USD = Currency("USD", D(1), 2)


def test_a_line_is_rounded_half_up_once_and_totals_add_what_is_printed() -> None:
    lines = [USD.line(exact) for exact in (D("0.005"), D("0.005"), D("2.665"))]

    assert lines == [D("0.01"), D("0.01"), D("2.67")]
    assert total(lines) == D("2.69")  # the exact sum, 2.675, would have been printed as 2.68


def test_a_line_is_converted_before_it_is_rounded() -> None:
    euro = Currency("EUR", D(1) / D("1.25"), 2)

    assert euro.line(D("0.01")) == D("0.01")  # 0.008
    assert euro.fine(D("0.01")) == D("0.008")


@pytest.mark.parametrize(("code", "places"), [("USD", 2), ("JPY", 0), ("KWD", 3)])
def test_a_currency_has_the_decimals_it_is_paid_in(code: str, places: int) -> None:
    assert places_of(code) == places


def test_a_share_of_nothing_is_not_known() -> None:
    assert share(0, 0) is None
    assert mean(D(0), 0) is None
    assert wilson(0, 0) is None
    assert mean_of_shares(D(0), D(0), 0) is None


def test_a_share_may_be_negative_when_more_was_spent() -> None:
    assert share(D("-2"), D("3")) == D("-0.667")


def test_the_wilson_interval_is_the_textbooks() -> None:
    # 8 of 10: centre (0.8 + 1.9208/10) / 1.38415 = 0.71674, reach 1.95996 x sqrt(0.016 + 0.0096037) / 1.38415 = 0.22657
    assert wilson(8, 10) == Interval(D("0.800"), D("0.490"), D("0.943"))
    assert wilson(0, 10) == Interval(D("0.000"), D(0), D("0.278"))


def test_the_interval_of_a_mean_is_the_normal_one() -> None:
    # 0.1, 0.2, 0.3, 0.4: mean 0.25, s = 0.129099, s/2 = 0.064550, x 1.959964 = 0.126515
    assert mean_of_shares(D("1.0"), D("0.30"), 4) == Interval(D("0.250"), D("0.123"), D("0.377"))


def test_one_draft_says_nothing_about_the_others() -> None:
    assert mean_of_shares(D("0.3"), D("0.09"), 1) == Interval(D("0.300"), D(0), D(1))


@given(st.lists(st.integers(0, 1_000_000), min_size=1, max_size=60))
def test_an_interval_surrounds_its_value_and_stays_a_share(millionths: list[int]) -> None:
    values = [D(m) / 1_000_000 for m in millionths]

    found = mean_of_shares(sum(values, D(0)), sum((v * v for v in values), D(0)), len(values))

    assert found is not None
    assert D(0) <= found.low <= found.value <= found.high <= D(1)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_wilson_interval_surrounds_its_share(counted: tuple[int, int]) -> None:
    found = wilson(*counted)

    assert found is not None
    assert D(0) <= found.low <= found.value <= found.high <= D(1)
