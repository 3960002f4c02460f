"""/v1/embeddings and /v1/responses with the real `openai` client before the simulator: the ledger and its bill agree."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest

from ledger import admin
from ledger.events import CallReserved, CallSettled, CallVoided
from tests.served_home import MEDIUM, Served, key_of, price, simulated

EMBED = "mistralai/Mistral-Embed"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def with_embedder(running: Served) -> None:
    stamp = admin.Stamp("embedder", datetime(2025, 1, 1, tzinfo=UTC))
    await running.ledger.append(admin.price_listed(stamp, price(EMBED, "0.10", "0")))


def client_of(running: Served, **more: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key=key_of("app"), max_retries=0, **more)


def bill(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "provider.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.anyio
async def test_embeddings_cost_their_input(tmp_path: Path) -> None:
    async with simulated(tmp_path, caps={"acme": "1"}) as running:
        await with_embedder(running)
        async with client_of(running) as client:
            made = await client.embeddings.create(model=EMBED, input=["Where is my card?", "x" * 4000])

        # ceil(17 / 4) + 4000 / 4 = 5 + 1000 tokens at 0.10 USD a million
        (settled,) = running.events(CallSettled)
        assert settled.cost_usd == "0.0001005"
        assert (settled.usage_input_tokens, settled.usage_output_tokens, settled.purpose) == (1005, 0, "other")
        assert made.model_extra is not None
        assert made.model_extra["halfpenny"]["cost_usd"] == "0.0001005"
        assert [len(row.embedding) for row in made.data] == [16, 16]
        _, _, metrics = await running.ask("GET", "/metrics", key="boss")
        assert 'gen_ai_operation_name="embeddings"' in metrics
        assert 'gen_ai_operation_name="chat"' not in metrics
        (held,) = running.events(CallReserved)
        assert Decimal(held.hold_usd) == held.input_bytes * Decimal("0.0000001") > Decimal(settled.cost_usd)
    assert [(row["prompt_tokens"], row["completion_tokens"]) for row in bill(tmp_path)] == [(1005, 0)]


@pytest.mark.anyio
async def test_a_response_is_charged_as_its_usage_says_streamed_or_not(tmp_path: Path) -> None:
    async with simulated(tmp_path, caps={"acme": "1"}) as running:
        async with client_of(running) as client:
            whole = await client.responses.create(model=MEDIUM, input="Where is my card?", max_output_tokens=4000)
            texts, ended = [], None
            async with await client.responses.create(
                model=MEDIUM, input="Where is my card?", max_output_tokens=4000, stream=True
            ) as stream:
                async for event in stream:
                    if event.type == "response.output_text.delta":
                        texts.append(event.delta)
                    elif event.type == "response.completed":
                        ended = event
        assert "".join(texts) == whole.output_text
        assert ended is not None
        assert ended.model_extra is not None
        costs = [event.cost_usd for event in running.events(CallSettled)]
        # 0.40 USD a million in, 2.00 out
        usage = whole.usage
        assert usage is not None
        expected = (usage.input_tokens * 40 + usage.output_tokens * 200) * Decimal("0.00000001")
        assert [Decimal(cost) for cost in costs] == [expected, expected]
        assert ended.model_extra["halfpenny"]["cost_usd"] == costs[1]
        assert [event.stream_complete for event in running.events(CallSettled)] == [None, True]
    assert [row["completion_tokens"] for row in bill(tmp_path)] == [usage.output_tokens] * 2


def test_the_synchronous_client_works_too(tmp_path: Path) -> None:
    async def main() -> None:
        async with simulated(tmp_path) as running:
            await with_embedder(running)

            def ask() -> int:
                with openai.OpenAI(base_url=f"{running.url}/v1", api_key=key_of("app"), max_retries=0) as client:
                    client.embeddings.create(model=EMBED, input="a")
                    with client.responses.stream(model=MEDIUM, input="Hello", max_output_tokens=4000) as stream:
                        return len(stream.get_final_response().output)

            assert await asyncio.to_thread(ask) == 1
            assert [event.outcome for event in running.events(CallSettled)] == ["ok", "ok"]

    asyncio.run(main())


@pytest.mark.anyio
async def test_a_bound_is_imposed_where_none_is_set(tmp_path: Path) -> None:
    async with simulated(tmp_path, settings="output_tokens.default = 50") as running:
        status, _, said = await running.ask("POST", "/v1/responses", {"model": MEDIUM, "input": "Hello, my card?"})
        assert (status, said["status"], said["usage"]["output_tokens"]) == (200, "incomplete", 50)
        (held,) = running.events(CallReserved)
        assert held.max_output_tokens == 50
        (settled,) = running.events(CallSettled)
        assert (settled.outcome, settled.response_finish_reasons) == ("ok", ("length",))


@pytest.mark.anyio
async def test_a_refused_call_is_void_and_a_cut_stream_costs_its_hold(tmp_path: Path) -> None:
    async with simulated(tmp_path, settings="provider.retries = 0") as running:
        body = {"model": MEDIUM, "input": "Where is my card?", "max_output_tokens": 400}
        assert (await running.ask("POST", "/v1/responses", body, x_simulate_fault="500"))[0] == 500
        assert len(running.events(CallVoided)) == 1

        async with client_of(running, default_headers={"x-simulate-fault": "cut_stream"}) as client:
            with pytest.raises(openai.APIError):
                async with await client.responses.create(
                    model=MEDIUM, input="Where is my card?", max_output_tokens=400, stream=True
                ) as stream:
                    assert [event.type async for event in stream]
        (settled,) = running.events(CallSettled)
        held = running.events(CallReserved)[-1]
        assert (settled.outcome, settled.usage_source) == ("upstream_truncated", "estimated")
        assert settled.cost_usd == held.hold_usd
