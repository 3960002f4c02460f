"""Calls of unknown end, ended by hand: beside a running service and without one, by the same events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from ledger import events as e
from ledger.segments import read_all
from ledger.store import Ledger, read_state
from tests.running import CLIENT, LARGE, MEDIUM, Prepared, Said, commanded, gateway, prepared

AT = datetime(2026, 10, 5, 12, tzinfo=UTC)
PRICES = {MEDIUM: f"{MEDIUM}@2025-05-07", LARGE: f"{LARGE}@2025-12-02"}


def held(call_id: str, attempt: int = 1, hold_usd: str = "0.01", *, stream: bool = False) -> e.CallReserved:
    return e.CallReserved(
        id=f"{call_id}-{attempt}",
        subject=call_id,
        time=AT,
        client_id=CLIENT,
        attempt=attempt,
        purpose="generation",
        period="2026-10",
        request_model=MEDIUM,
        provider_name="global_api",
        ticket_id="T-1",
        hold_usd=hold_usd,
        price_id=PRICES[MEDIUM],
        input_bytes=900,
        max_output_tokens=4000,
        request_stream=stream,
    )


@pytest.fixture(params=["alone", "beside the service"])
def orphaned(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Prepared]:
    """A home with four orphans, with or without a service that has its lock."""
    keys = prepared(tmp_path / "home")
    for holds in ([held("a", stream=True), held("b"), held("c", 1), held("c", 2)], []):
        ledger = Ledger.open(keys.home.path, clock=lambda: datetime.now(UTC))  # the second time it finds them open
        try:
            for hold in holds:
                ledger.append_now(hold)
        finally:
            ledger.close()
    serving = gateway(keys.home, "http://127.0.0.1:9") if request.param != "alone" else nullcontext()
    with serving:
        yield keys


def orphan(keys: Prepared, *arguments: str) -> Said:
    return commanded("orphan", *arguments, "--home", str(keys.home.path))


def last(keys: Prepared) -> e.Event:
    return list(read_all(keys.home))[-1]


def test_a_call_that_was_billed_is_settled_at_its_tokens(orphaned: Prepared) -> None:
    said = orphan(orphaned, "settle", "a", "--input-tokens", "800", "--cached-tokens", "300", "--output-tokens", "100")

    settled = last(orphaned)
    assert said.code == 0, said.err
    assert isinstance(settled, e.CallSettled)
    # 800 at 0.40 and 100 at 2.00 USD a million: 0.00032 + 0.0002. Cached tokens have no rate of their own here.
    assert (settled.subject, settled.cost_usd, settled.usage_source) == ("a", "0.00052", "reported")
    assert (settled.usage_input_tokens, settled.usage_cache_read_input_tokens) == (800, 300)
    assert (settled.outcome, settled.error_type, settled.request_stream) == ("error", "process_ended", True)
    assert (settled.time, settled.period, settled.ticket_id) == (AT, "2026-10", "T-1")
    account = read_state(orphaned.home).account("client", CLIENT, "2026-10", "Europe/Berlin")
    assert (account.settled, account.orphaned) == (Decimal("0.00052"), Decimal("0.03"))


def test_what_nobody_can_know_is_settled_at_its_hold_and_marked_so(orphaned: Prepared) -> None:
    assert orphan(orphaned, "settle", "b", "--at-hold").code == 0

    settled = last(orphaned)
    assert isinstance(settled, e.CallSettled)
    assert (settled.cost_usd, settled.usage_source, settled.usage_anomaly) == ("0.01", "estimated", "usage_absent")
    assert settled.usage_input_tokens is None  # not zero


def test_more_than_the_hold_is_recorded_as_it_is(orphaned: Prepared) -> None:
    assert orphan(orphaned, "settle", "b", "--input-tokens", "0", "--output-tokens", "6000").code == 0

    settled = last(orphaned)
    assert isinstance(settled, e.CallSettled)
    assert (settled.cost_usd, settled.usage_anomaly) == ("0.012", "over_hold")


def test_another_model_that_answered_is_charged_at_its_own_price(orphaned: Prepared) -> None:
    tokens = ("--input-tokens", "1000", "--output-tokens", "1000")

    assert orphan(orphaned, "settle", "b", *tokens, "--model", LARGE).code == 0
    assert orphan(orphaned, "settle", "a", *tokens, "--model", "nobody/knows").code == 2

    settled = last(orphaned)
    assert isinstance(settled, e.CallSettled)
    assert (settled.response_model, settled.cost_usd) == (LARGE, "0.002")  # 0.50 and 1.50 USD a million


def test_a_call_that_was_not_billed_is_voided_with_the_reason(orphaned: Prepared) -> None:
    assert orphan(orphaned, "void", "b", "--reason", "not on the provider's list").code == 0

    voided = last(orphaned)
    assert isinstance(voided, e.CallVoided)
    assert (voided.subject, voided.error_type, voided.reason) == ("b", "not_billed", "not on the provider's list")
    account = read_state(orphaned.home).account("client", CLIENT, "2026-10", "Europe/Berlin")
    assert (account.settled, account.orphaned) == (0, Decimal("0.03"))


def test_an_end_comes_once_and_of_several_attempts_one_is_named(orphaned: Prepared) -> None:
    assert orphan(orphaned, "settle", "c", "--at-hold").code == 2
    assert orphan(orphaned, "settle", "c", "--at-hold", "--attempt", "2").code == 0
    assert orphan(orphaned, "settle", "c", "--at-hold", "--attempt", "2").code == 2
    assert orphan(orphaned, "settle", "c", "--at-hold").code == 0

    listed = json.loads(orphan(orphaned, "list", "--format", "json").out)
    assert [(row["call_id"], row["hold_usd"]) for row in listed] == [("a", "0.01"), ("b", "0.01")]


def test_a_home_opens_when_two_attempts_of_one_call_were_open(tmp_path: Path) -> None:
    """It refused to: the ends of both stood in one batch, which took them for the same fact twice."""
    keys = prepared(tmp_path / "home")
    for _ in range(2):
        ledger = Ledger.open(keys.home.path, clock=lambda: datetime.now(UTC))
        if not ledger.state.orphans:
            ledger.append_now(held("c", 1))
            ledger.append_now(held("c", 2))
        ledger.close()

    assert [(key.call_id, key.attempt) for key in read_state(keys.home).orphans] == [("c", 1), ("c", 2)]
