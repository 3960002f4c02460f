"""What an attempt is held at and what it is settled at; every figure by hand, in USD per million tokens."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from served_home import LARGE, MEDIUM, price

from ledger import bodies
from ledger.events import CallReserved, CallSettled
from ledger.prices import PriceBook
from ledger.usage import UnknownUsage, Usage
from router.settlement import Ending, Order, is_same_model, reserved, seconds, settled

AT = datetime(2025, 10, 3, 8, 15, 2, tzinfo=UTC)
FROZEN = price(MEDIUM, "0.40", "2.00")
BOOK = PriceBook()
BOOK.add(FROZEN)
BOOK.add(price(LARGE, "2.00", "6.00"))
BOOK.add(price("dear", "900000", "900000"))

ORDER = Order(
    call_id="call-1",
    client_id="acme",
    key_id="hp_app",
    moment=AT,
    period="2025-10",
    model=MEDIUM,
    body=b"x" * 1000,
    max_output_tokens=200,
    price=FROZEN,
    more_headers={},
)
# 1,000 bytes at 0.40 and 200 tokens at 2.00 a million: 0.0004 + 0.0004.
HOLD = Decimal("0.0008")


def hold() -> CallReserved:
    return reserved(ORDER, 1, event_id="e1", hold_usd=ORDER.hold_usd, provider_name="global_api")


def end(usage: Usage | UnknownUsage, *, model: str | None = MEDIUM, has_output: bool = True) -> CallSettled:
    ending = Ending(outcome="ok", usage=usage, duration_s=1.25, response_model=model, has_output=has_output)
    event = settled(hold(), FROZEN, ending, prices=BOOK, served_names={"alias": MEDIUM}, event_id="e2", time=AT)
    bodies.checked(event)  # whatever it is, it can be sealed
    return event


def used(of_input: int, of_output: int, *, cached: int | None = None) -> Usage:
    return Usage(input_tokens=of_input, output_tokens=of_output, cache_read_tokens=cached)


def test_the_hold_takes_every_byte_for_a_token_and_every_token_allowed() -> None:
    assert ORDER.hold_usd == HOLD
    assert hold().hold_usd == "0.0008"
    assert (hold().input_bytes, hold().max_output_tokens) == (1000, 200)


def test_a_reported_usage_is_charged_bucket_by_bucket() -> None:
    event = end(used(500, 100, cached=300))

    # 500 at 0.40 = 0.0002, of which 300 cached at the full rate; 100 at 2.00 = 0.0002.
    assert (event.cost_usd, event.usage_source, event.usage_anomaly) == ("0.0004", "reported", None)
    assert (event.cost_uncached_input_usd, event.cost_cache_read_usd) == ("0.00008", "0.00012")
    assert (event.cost_plain_output_usd, event.cost_reasoning_usd) == ("0.0002", "0")
    assert (event.usage_input_tokens, event.usage_cache_read_input_tokens) == (500, 300)
    assert event.usage_cache_write_input_tokens is None  # not said, which is not zero


@pytest.mark.parametrize(
    ("usage", "anomaly"),
    [
        (UnknownUsage("absent"), "usage_absent"),
        (UnknownUsage("malformed"), "usage_malformed"),
        (UnknownUsage("negative"), "usage_negative"),
        (UnknownUsage("inconsistent"), "usage_inconsistent"),
        (used(0, 0), "zero_usage"),
        (used(0, 50), "zero_usage"),
        (used(500, 0), "zero_usage"),
        (UnknownUsage("excessive"), "usage_excessive"),
    ],
)
def test_a_usage_that_cannot_be_believed_costs_the_whole_hold(usage: Usage | UnknownUsage, anomaly: str) -> None:
    event = end(usage)

    assert (event.cost_usd, event.usage_source, event.usage_anomaly) == ("0.0008", "estimated", anomaly)
    assert event.cost_plain_output_usd is None


def test_no_output_is_believed_where_nothing_was_written() -> None:
    event = end(used(500, 0), has_output=False)

    assert (event.cost_usd, event.usage_source) == ("0.0002", "reported")


@pytest.mark.parametrize("usage", [used(1001, 10), used(10, 201)])
def test_more_than_the_hold_allowed_is_recorded_as_it_is_and_said(usage: Usage) -> None:
    event = end(usage)

    assert (event.usage_source, event.usage_anomaly) == ("reported", "over_hold")


def test_the_model_that_answered_is_the_one_that_is_charged() -> None:
    event = end(used(500, 100), model=LARGE)

    # 500 at 2.00 = 0.001 and 100 at 6.00 = 0.0006.
    assert (event.cost_usd, event.price_id) == ("0.0016", f"{LARGE}@2025-01-01")
    assert (event.usage_anomaly, event.request_model, event.response_model) == ("served_other_model", MEDIUM, LARGE)


def test_a_served_model_without_a_price_costs_the_hold_and_keeps_its_tokens() -> None:
    event = end(used(500, 100), model="never-listed")

    assert (event.cost_usd, event.usage_source, event.usage_anomaly) == ("0.0008", "estimated", "served_unpriced_model")
    assert (event.usage_input_tokens, event.price_id) == (500, FROZEN.price_id)


def test_a_reply_that_names_no_model_is_charged_as_asked() -> None:
    assert end(used(500, 100), model=None).cost_usd == "0.0004"


@pytest.mark.parametrize(
    ("served", "is_same"),
    [
        (MEDIUM, True),
        ("Mistral-Medium-3", True),
        ("mistral-medium-3", True),
        ("mistral-medium-3-2508", True),
        ("Mistral-Medium-3-2025-08-01", True),
        ("alias", True),
        ("mistral-medium-31", False),
        ("mistral-medium-3-large", False),
        ("mistral-medium", False),
        (LARGE, False),
        ("", False),
    ],
)
def test_a_model_answers_under_its_own_name_its_bare_name_a_dated_one_or_a_configured_one(
    served: str, is_same: bool
) -> None:
    assert is_same_model(MEDIUM, served, {"alias": MEDIUM}) == is_same


def test_a_charge_beyond_what_money_can_hold_is_excessive_and_not_an_error() -> None:
    ending = Ending(outcome="ok", usage=used(2_000_000, 1), duration_s=0, response_model="dear")

    event = settled(hold(), FROZEN, ending, prices=BOOK, served_names={}, event_id="e", time=AT)

    assert (event.cost_usd, event.usage_anomaly) == ("0.0008", "usage_excessive")


def test_a_duration_fits_an_event() -> None:
    assert [seconds(found) for found in (-1.0, 1.23456789, 1e9)] == [0.0, 1.234568, 999_999.0]
