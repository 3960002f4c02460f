"""A cap is there to be spent: callers that set no bound of their own get nearly all of it, and what they asked for."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from served_home import LARGE, MEDIUM, PRICES, completion, http, scripted, simulated

from ledger.events import CallRefused, CallReserved, CallSettled
from router import settlement
from router.settlement import Order

AT_ONCE = 64
TYPICAL_USD = Decimal("0.0021")  # the simulator's replies to a short ticket: about 1,000 tokens at 2 USD a million


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def order(tokens: int, *, least: int, choices: int = 1) -> Order:
    """A call whose body is as long as its bound's digits and 96 bytes more."""

    def body(bound: int) -> bytes:
        return b"x" * 96 + str(bound).encode()

    return Order(
        call_id="c",
        client_id="acme",
        key_id="k",
        moment=PRICES[0].valid_from,
        period="2025-01",
        model=MEDIUM,
        body=body(tokens),
        max_output_tokens=tokens * choices,
        price=PRICES[0],  # 0.40 in, 2.00 out
        choices=choices,
        body_at=body if least < tokens else None,
        least_output_tokens=least * choices,
        more_headers={},
    )


# 100 bytes in are 0.00004 USD, so 0.00204 USD leave 1,000 tokens out, or 500 for each of two choices.
@pytest.mark.parametrize(
    ("choices", "room", "bound"),
    [
        (1, "0.00204", 1000),
        (1, "0.002039", 999),
        (1, "0.001039", None),
        (1, "1", None),
        (2, "0.00204", 500),
        (1, "0", None),
        (1, "-1", None),
    ],
)
def test_a_bound_is_lowered_to_the_room_left_and_not_below_the_least(
    choices: int, room: str, bound: int | None
) -> None:
    asked = order(4096, least=500, choices=choices)

    made = settlement.fitted(asked, Decimal(room))

    assert (made and made.max_output_tokens) == (bound and bound * choices)
    assert made is None or (made.body.endswith(b"x%d" % (bound or 0)) and made.hold_usd <= Decimal(room))


def test_the_clients_own_bound_is_never_lowered() -> None:
    assert settlement.fitted(order(4096, least=4096), Decimal("0.00204")) is None


@pytest.mark.anyio
async def test_a_cap_is_nearly_spent_before_the_first_of_64_callers_without_a_bound_is_refused(tmp_path: Path) -> None:
    cap = 300 * TYPICAL_USD
    async with simulated(tmp_path, caps={"acme": str(cap)}) as running:
        is_over = asyncio.Event()

        async def caller(name: int) -> None:
            made = 0
            while not is_over.is_set():
                made += 1
                asked = [{"role": "user", "content": f"Ticket {name}.{made}: where is my card?"}]
                status, headers, _ = await running.chat(messages=asked, max_tokens=None)
                if status != 200:
                    assert (status, headers["x-should-retry"]) == (429, "false")
                    is_over.set()

        await asyncio.gather(*map(caller, range(AT_ONCE)))

        first = running.events(CallRefused)[0]
        ended = running.events(CallSettled)
        account = running.ledger.state.account("client", "acme", ended[0].period, "Europe/Berlin")
        assert Decimal(first.settled_usd) >= Decimal("0.95") * cap
        assert account.held == 0
        assert account.settled <= cap
        cut = [e for e in ended if e.response_finish_reasons == ("length",)]
        assert len(cut) <= len(ended) // 50


@pytest.mark.anyio
async def test_what_one_client_writes_does_not_bound_another_nor_one_model_the_next(tmp_path: Path) -> None:
    async with simulated(tmp_path, caps={"acme": "0.2", "bolt": "0.2"}) as running:
        for number in range(60):
            await running.chat(messages=[{"role": "user", "content": f"Ticket {number}"}], max_tokens=20)
        for key, model in (("app", MEDIUM), ("app", LARGE), ("other", MEDIUM)):
            await running.chat(key=key, model=model, max_tokens=None)

        bounds = [hold.max_output_tokens for hold in running.events(CallReserved)][-3:]

        # Cut at 20 tokens, replies count as 40, which lies in the bucket up to 47; half as much again is 70.
        assert bounds == [70, 4096, 4096]


@pytest.mark.anyio
async def test_without_a_hard_cap_nothing_is_bounded_below_the_configured_most(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        for number in range(60):
            await running.chat(messages=[{"role": "user", "content": f"Ticket {number}"}], max_tokens=20)
        await running.chat(max_tokens=None)

        assert running.events(CallReserved)[-1].max_output_tokens == 8192


@pytest.mark.anyio
async def test_the_bound_that_was_lowered_is_the_one_that_goes_upstream_and_is_held(tmp_path: Path) -> None:
    sent: list[bytes] = []

    async def answer(request: bytes, writer: Any) -> None:
        sent.append(request)
        writer.write(http(completion()))

    # 3,000 tokens out at 2 USD a million are 0.006 USD; the cold start's 4,096 do not fit beside the prompt.
    async with scripted(tmp_path, answer, caps={"acme": "0.006"}) as running:
        status, _, _ = await running.chat(max_tokens=None)

        (hold,) = running.events(CallReserved)
        assert status == 200
        assert 2900 < hold.max_output_tokens < 3000
        assert f'"max_completion_tokens":{hold.max_output_tokens}'.encode() in sent[0]
        assert Decimal("0.005998") < Decimal(hold.hold_usd) <= Decimal("0.006")
