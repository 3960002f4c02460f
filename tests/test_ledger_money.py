"""Exact money: what is taken, how it is written, how it is rounded."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import BadMoney
from ledger.money import LIMIT, PLACES, QUANTUM, round_half_up, text, usd

AMOUNTS = st.decimals(min_value=Decimal("-999999"), max_value=Decimal("999999"), places=12)


@pytest.mark.parametrize(
    ("found", "value"),
    [
        ("12.50", Decimal("12.5")),
        ("0.000000000001", Decimal("1E-12")),
        ("999999.999999999999", Decimal("999999.999999999999")),
        ("-0.0182", Decimal("-0.0182")),
        ("1e3", Decimal(1000)),
        (7, Decimal(7)),
        (Decimal("0.4"), Decimal("0.4")),
        ("0." + "0" * 11 + "1" + "0" * 80, Decimal("1E-12")),
    ],
)
def test_exact_amounts_are_taken_as_they_are(found: str | int | Decimal, value: Decimal) -> None:
    assert usd(found) == value


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (0.1, "float"),
        (True, "float or other type"),
        (None, "other type"),
        ("twelve", "not a number"),
        ("", "not a number"),
        ("12,50", "not a number"),
        ("NaN", "not finite"),
        ("sNaN", "not finite"),
        ("Infinity", "not finite"),
        ("1000000", "a million or more"),
        ("-1000000", "a million or more"),
        ("1e9", "a million or more"),
        ("0.0000000000001", "more than twelve decimals"),
        (Decimal("1E-13"), "more than twelve decimals"),
    ],
)
def test_what_is_not_exact_money_is_refused_with_the_reason(found: object, why: str) -> None:
    with pytest.raises(BadMoney, match=why) as refused:
        usd(found)  # type: ignore[arg-type]

    assert repr(found) in str(refused.value)
    assert "like 12.50" in str(refused.value)


def test_a_digit_past_the_sixtieth_place_is_seen() -> None:
    """The check once rounded to sixty digits first, so this passed as a twelve-decimal amount."""
    with pytest.raises(BadMoney, match="more than twelve decimals"):
        usd("0.000000000001" + "0" * 70 + "1")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Decimal("0.0123400"), "0.01234"),
        (Decimal("1E+3"), "1000"),
        (Decimal("3.00"), "3"),
        (Decimal("100"), "100"),
        (Decimal("-0.00"), "0"),
        (Decimal("0E-12"), "0"),
        (Decimal("0E+5"), "0"),
        (Decimal("1E-12"), "0.000000000001"),
        (Decimal("-2.50"), "-2.5"),
    ],
)
def test_an_amount_has_one_spelling(value: Decimal, written: str) -> None:
    assert text(value) == written


@given(AMOUNTS)
def test_text_is_canonical_and_says_the_same_amount(value: Decimal) -> None:
    written = text(value)

    assert usd(written) == value
    assert text(usd(written)) == written
    assert text(value + Decimal("0.000000000000")) == written
    assert "E" not in written
    assert not written.endswith(".")
    assert json.loads(json.dumps(written)) == written


@given(AMOUNTS, AMOUNTS)
def test_equal_amounts_and_only_they_are_written_alike(one: Decimal, other: Decimal) -> None:
    assert (text(one) == text(other)) is (one == other)


@pytest.mark.parametrize(
    ("value", "places", "rounded"),
    [
        ("2.665", 2, "2.67"),
        ("2.664999999999", 2, "2.66"),
        ("-2.665", 2, "-2.67"),
        ("0.005", 2, "0.01"),
        ("0.0182", 4, "0.0182"),
        ("999999.999999999999", 2, "1000000.00"),
    ],
)
def test_half_is_rounded_away_from_zero(value: str, places: int, rounded: str) -> None:
    assert str(round_half_up(Decimal(value), places)) == rounded


def test_the_quantum_is_what_decimal_18_12_holds() -> None:
    assert Decimal("0.000000000001") == QUANTUM
    assert PLACES == 12
    assert Decimal("999999.999999999999") + QUANTUM == LIMIT
