"""The bound imposed on a reply: from what replies of its kind had, lowered to the room left, never below what they need."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.output_bounds import KNOWN_FROM, REMEMBERED, Bounds, Written, bounds_of, imposed, kind_of

CONFIGURED = {"most": 8192, "cold_start": 4096, "cold_least": 1024}


def written(*lengths: int, cut: bool = False) -> Written:
    found = Written()
    for tokens in lengths:
        found.take(tokens, is_cut=cut)
    return found


# Buckets end one before 1.25, 1.5, 1.75 and 2 times a power of two: 500 lies in 448..511, 1000 in 896..1023.
@pytest.mark.parametrize(
    ("lengths", "share", "length"),
    [
        ([500] * 99 + [1000], "0.99", 511),
        ([500] * 98 + [1000] * 2, "0.99", 1023),
        ([3] * 10, "0.99", 3),
        ([0] * 10, "1", 0),
        ([4, 5], "0.5", 4),
        ([1024], "1", 1279),
        ([10_000_000], "1", 10_485_759),
    ],
)
def test_the_length_most_replies_do_not_exceed_is_rounded_up_to_its_bucket(
    lengths: list[int], share: str, length: int
) -> None:
    assert written(*lengths).at_most(Decimal(share)) == length


@given(st.lists(st.integers(0, 20_000_000), min_size=1, max_size=60))
def test_no_reply_is_longer_than_the_whole_share_and_the_rounding_stays_below_a_quarter(lengths: list[int]) -> None:
    found = written(*lengths).at_most(Decimal(1))

    assert max(lengths) <= found <= max(lengths) * 5 // 4 + 1


def test_too_few_replies_leave_the_configured_bounds() -> None:
    few = written(*[500] * (KNOWN_FROM - 1))

    assert bounds_of(None, **CONFIGURED) == bounds_of(few, **CONFIGURED) == Bounds(8192, 4096, 1024)


def test_the_usual_bound_is_half_above_what_all_but_one_in_a_hundred_had() -> None:
    assert bounds_of(written(*[500] * KNOWN_FROM), **CONFIGURED) == Bounds(8192, 766, 511)  # 511 * 3 // 2


def test_no_bound_is_above_the_configured_most() -> None:
    assert bounds_of(written(*[9000] * KNOWN_FROM), **CONFIGURED) == Bounds(8192, 8192, 8192)
    assert bounds_of(None, most=700, cold_start=4096, cold_least=1024) == Bounds(700, 700, 700)


def test_replies_that_were_cut_raise_the_bound_that_cut_them() -> None:
    assert bounds_of(written(*[766] * KNOWN_FROM, cut=True), **CONFIGURED).least >= 2 * 766


def test_what_replies_were_long_ago_fades() -> None:
    found = written(*[8000] * 40, *[100] * 12 * REMEMBERED)

    assert found.at_most(Decimal("0.99")) == 111
    assert found.total < REMEMBERED


# A token costs a cent in these: 128 holds of 8192 cents are 10,485.76 dollars.
@pytest.mark.parametrize(("room", "bound"), [(None, 8192), ("10485.76", 8192), ("10485.75", 766), ("0", 766)])
def test_the_most_is_imposed_only_where_there_is_plenty_of_room(room: str | None, bound: int) -> None:
    found = imposed(Bounds(8192, 766, 511), lambda n: n * Decimal("0.01"), None if room is None else Decimal(room))

    assert found == bound


def test_replies_are_alike_by_model_purpose_and_class() -> None:
    kinds = {
        kind_of(model, purpose, ticket_class)
        for model in ("a", "b")
        for purpose in ("generation", "judge")
        for ticket_class in ("simple", None)
    }

    assert len(kinds) == 8
