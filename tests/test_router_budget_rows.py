"""Budgets while things change: months, caps, keys and prices that turn with calls under way, and odd usage in streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from served_home import MEDIUM, START, Served, completion, http, price, scripted, sse

from ledger import admin
from ledger.events import CallRefused, CallReserved, CallSettled

PROMPT = 200  # bytes of a request of these, at least; its tokens are fewer


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Held:
    """A provider that answers nobody until it is let go."""

    arrived: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self, _: bytes, writer: asyncio.StreamWriter) -> None:
        self.arrived += 1
        self.came.set()
        await self.go.wait()
        writer.write(http(completion()))  # 10 tokens in and 5 out: 0.000014 USD

    async def until(self, count: int) -> None:
        async with asyncio.timeout(20):
            while self.arrived < count:
                await self.came.wait()
                self.came.clear()


ONE_USD = Decimal("0.000014")


@asynccontextmanager
async def held_up(path: Path, **more: Any) -> AsyncIterator[tuple[Served, Held]]:
    held = Held()
    async with scripted(path, held.wait, **more) as running:
        yield running, held
        held.go.set()


def stamp(name: str) -> admin.Stamp:
    return admin.Stamp(name, START)


@pytest.mark.anyio
async def test_calls_under_way_as_the_month_ends_count_in_the_month_they_were_held_in(tmp_path: Path) -> None:
    # In Berlin October ends at 23:00 UTC on the 31st.
    before, after = "2025-10-31T22:59:59.900000Z", "2025-10-31T23:00:00Z"
    # A hold is about 0.00013 USD: 90 of October and 10 of November would not fit into one month.
    async with held_up(tmp_path, settings='server.clock = "request"', caps={"acme": "0.012"}) as (running, held):
        old = [asyncio.create_task(running.chat(x_halfpenny_time=before)) for _ in range(90)]
        await held.until(90)
        new = [asyncio.create_task(running.chat(x_halfpenny_time=after)) for _ in range(10)]
        await held.until(100)
        held.go.set()
        statuses = [status for status, _, _ in await asyncio.gather(*old, *new)]

        accounts = [running.ledger.state.account("client", "acme", m, "Europe/Berlin") for m in ("2025-10", "2025-11")]
        assert statuses == [200] * 100
        assert [(account.settled, account.held) for account in accounts] == [(90 * ONE_USD, 0), (10 * ONE_USD, 0)]
        assert {(hold.period, hold.time.day) for hold in running.events(CallReserved)} == {
            ("2025-10", 31),
            ("2025-11", 31),
        }
        assert {event.period for event in running.events(CallSettled)} == {"2025-10", "2025-11"}


@pytest.mark.anyio
async def test_a_cap_lowered_below_what_is_held_refuses_the_next_and_lets_calls_under_way_end(tmp_path: Path) -> None:
    async with held_up(tmp_path, settings="budget.wait_s = 0", caps={"acme": "1"}) as (running, held):
        calls = [asyncio.create_task(running.chat()) for _ in range(5)]
        await held.until(5)
        running.ledger.append_now(
            admin.budget_set(stamp("lower"), "acme", "0.0001", hard=True, valid_from="2025-01-01")
        )
        refused, headers, _ = await running.chat()
        held.go.set()
        answers = await asyncio.gather(*calls)

        (said,) = running.events(CallRefused)
        account = running.ledger.state.account("client", "acme", said.period, "Europe/Berlin")
        assert (refused, headers["x-should-retry"], said.cap_usd) == (429, "false", "0.0001")
        assert [status for status, _, _ in answers] == [200] * 5
        assert (account.settled, account.held) == (5 * ONE_USD, 0)


@pytest.mark.anyio
async def test_a_key_revoked_under_way_settles_its_call_and_makes_no_more(tmp_path: Path) -> None:
    async with held_up(tmp_path, caps={"hp_app": "1"}) as (running, held):
        call = asyncio.create_task(running.chat())
        await held.until(1)
        running.ledger.append_now(admin.key_revoked(stamp("gone"), "hp_app"))
        refused, _, _ = await running.chat()
        held.go.set()
        status, _, _ = await call

        (settled,) = running.events(CallSettled)
        assert (refused, status, settled.key_id) == (401, 200, "hp_app")
        assert running.ledger.state.account("key", "hp_app", settled.period).settled == ONE_USD


@pytest.mark.anyio
async def test_a_price_listed_under_way_changes_nothing_of_a_call_that_is_held(tmp_path: Path) -> None:
    async with held_up(tmp_path, caps={"acme": "1"}) as (running, held):
        call = asyncio.create_task(running.chat())
        await held.until(1)
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        running.ledger.append_now(admin.price_listed(stamp("dear"), price(MEDIUM, "400", "2000", valid_from=now)))
        held.go.set()
        await call

        (hold,), (settled,) = running.events(CallReserved), running.events(CallSettled)
        assert hold.price_id == settled.price_id == f"{MEDIUM}@2025-01-01"
        assert settled.cost_usd == "0.000014"

        await running.chat()
        assert running.events(CallSettled)[-1].cost_usd == "0.014"  # a thousand times as dear


@pytest.mark.anyio
async def test_a_model_that_costs_nothing_is_called_and_held_at_nothing(tmp_path: Path) -> None:
    async with held_up(tmp_path, caps={"acme": "0.000000001"}) as (running, held):
        running.ledger.append_now(admin.price_listed(stamp("free"), price("free-model", "0", "0")))
        held.go.set()
        status, _, _ = await running.chat(model="free-model", max_tokens=None)

        assert status == 200
        assert [event.hold_usd for event in running.events(CallReserved)] == ["0"]


@pytest.mark.anyio
async def test_every_choice_is_held_for(tmp_path: Path) -> None:
    async with held_up(tmp_path, caps={"acme": "1"}) as (running, held):
        held.go.set()
        await running.chat(n=100, max_tokens=1000)
        await running.chat(n=100, max_tokens=None)

        own, imposed = running.events(CallReserved)
        # 100,000 tokens at 2 USD a million; beside them only the request's bytes at 0.40.
        assert own.max_output_tokens == 100_000
        assert Decimal("0.2") < Decimal(own.hold_usd) < Decimal("0.2002")
        assert imposed.max_output_tokens % 100 == 0
        assert imposed.max_output_tokens >= 100_000


def usage(tokens_in: object, tokens_out: object) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": tokens_in, "completion_tokens": tokens_out}}


# What a stream says of its usage, and what it is charged: None for the whole hold.
STREAMS = {
    "late, after the finish": ([usage(10, 5)], "0.000014", None),
    "said twice the same": ([usage(10, 5), usage(10, 5)], "0.000014", None),
    "growing, as some send it with every chunk": ([usage(10, 3), usage(10, 5)], "0.000014", None),
    "more out than was allowed": ([usage(10, 4_000)], "0.008004", "over_hold"),
    "absent": ([], None, "usage_absent"),
    "negative": ([usage(10, -5)], None, "usage_negative"),
    "no number": ([usage(10, float("nan"))], None, None),
    "infinite": ([usage(10, float("inf"))], None, None),
    "a text": ([usage("10", "5")], None, "usage_malformed"),
    "half a token": ([usage(10, 5.5)], None, "usage_malformed"),
    "null": ([usage(None, None)], None, None),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", STREAMS)
async def test_a_streams_usage_is_charged_where_it_can_be_believed_and_the_hold_where_not(
    tmp_path: Path, name: str
) -> None:
    said, cost, anomaly = STREAMS[name]

    async def write(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(http(sse("Hello", None, *said), content_type="text/event-stream"))

    async with scripted(tmp_path, write, caps={"acme": "1"}) as running:
        await running.stream()

        (hold,), (settled,) = running.events(CallReserved), running.events(CallSettled)
        assert settled.cost_usd == (cost or hold.hold_usd)
        assert settled.usage_source == ("reported" if cost else "estimated")
        assert anomaly is None or settled.usage_anomaly == anomaly
        assert running.ledger.state.holds == {}
