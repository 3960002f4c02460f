"""/metrics: by Prometheus' own reader, against sums worked out by hand; and one log line a call's event."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ledger.events import CallSettled
from router.metrics import TOKENS, Counts, Histogram, Metric, Sample, _calls, exposition
from tests.running import gateway, prepared, provider
from tests.served_home import MEDIUM, Served, completion, http, scripted, simulated
from tests.written_homes import settled

CALL = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "global_api", "gen_ai_request_model": MEDIUM}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def scraped(running: Served) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    headers = {"Authorization": f"Bearer {running.home.admin_token()}"}
    async with running.session.get(running.url + "/metrics", headers=headers) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        families = list(text_string_to_metric_families(await answer.text()))
    assert len({family.name for family in families}) == len(families)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def of(found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float | None:
    """The one sample with these labels among its own."""
    wanted = set(labels.items())
    values = [value for (sample, said), value in found.items() if sample == name and wanted <= said]
    assert len(values) < 2, (name, labels)
    return values[0] if values else None


@pytest.mark.anyio
async def test_calls_cost_tokens_and_refusals_are_counted(tmp_path: Path) -> None:
    async def script(_: bytes, writer: Any) -> None:
        writer.write(http(completion(usage={"prompt_tokens": 1000, "completion_tokens": 20, "total_tokens": 1020})))
        await writer.drain()

    async with scripted(tmp_path, script, caps={"acme": "1", "hp_agent": "2"}) as running:
        for _ in range(3):
            assert (await running.chat())[0] == 200
        assert (await running.chat(max_tokens=600_000))[0] == 429
        assert (await running.chat(model="nobody's"))[0] == 404
        found = await scraped(running)

    # 3 x (1,000 x 0.40 + 20 x 2.00) / 1,000,000
    assert of(found, "halfpenny_billed_cost_usd_total", client_id="acme", model=MEDIUM) == pytest.approx(0.00132)
    assert of(found, "halfpenny_attempts_total", client_id="acme", outcome="ok") == 3
    assert of(found, "halfpenny_settled_attempts_total", client_id="acme") == 3
    assert of(found, "halfpenny_usage_tokens_total", token_type="input") == 3000
    assert of(found, "halfpenny_refusals_total", client_id="acme", refusal="budget") == 1
    assert of(found, "halfpenny_budget_granted_usd", scope="client", id="acme") == 1
    assert of(found, "halfpenny_budget_granted_usd", id="bolt") is None  # no cap is not a cap of zero
    assert of(found, "halfpenny_budget_settled_usd", scope="client", id="acme") == pytest.approx(0.00132)
    assert of(found, "halfpenny_budget_settled_usd", scope="key", id="hp_agent") == 0
    name = "gen_ai_client_token_usage"
    assert of(found, f"{name}_sum", gen_ai_token_type="output", **CALL) == 60
    assert of(found, f"{name}_bucket", gen_ai_token_type="output", le="16.0", **CALL) == 0
    assert of(found, f"{name}_bucket", gen_ai_token_type="output", le="64.0", **CALL) == 3
    assert of(found, "gen_ai_client_operation_duration_seconds_count", **CALL) == 3
    assert of(found, "halfpenny_ready") == 1
    assert of(found, "halfpenny_sealing") == 1
    assert of(found, "halfpenny_events_total") == running.ledger.state.position


@pytest.mark.anyio
async def test_streams_hits_and_what_was_not_billed_are_counted(tmp_path: Path) -> None:
    async with simulated(tmp_path, settings="cache.ttl_s = 60") as running:
        await running.stream(max_tokens=4000)
        await running.stream(max_tokens=4000)  # from the cache
        assert (await running.chat(x_simulate_fault="status_400"))[0] == 400
        found = await scraped(running)
        (made,) = [event.cost_usd for event in running.events(CallSettled)]

    assert of(found, "gen_ai_client_operation_time_to_first_chunk_seconds_count", **CALL) == 1
    assert of(found, "halfpenny_cache_hits_total", client_id="acme") == 1
    assert of(found, "halfpenny_avoided_cost_usd_total", client_id="acme") == pytest.approx(float(Decimal(made)))
    assert of(found, "halfpenny_attempts_total", outcome="voided", error_type="status_400") == 1


@pytest.mark.anyio
async def test_only_an_admin_may_scrape_since_every_client_is_shown(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        for key, status in ((None, 401), ("app", 403), ("client", 403), ("revoked", 401)):
            assert (await running.ask("GET", "/metrics", key=key))[0] == status


def test_a_label_may_hold_anything() -> None:
    odd = 'a "quoted"\nmodel\\name'
    text = exposition([Metric("x_total", "counter", "Odd.", [Sample((("model", odd),), 2)])])
    (family,) = text_string_to_metric_families(text)
    assert [(sample.labels, sample.value) for sample in family.samples] == [({"model": odd}, 2.0)]


def test_a_value_on_a_bound_is_under_it() -> None:
    histogram = Histogram(TOKENS)
    histogram.take((1, 4, 5, 10**9))
    lines = {dict(sample.labels).get("le", sample.suffix): sample.value for sample in histogram.samples(())}
    assert [lines[le] for le in ("1.0", "4.0", "16.0", "67108864.0", "+Inf", "_count")] == [1, 2, 3, 3, 4, 4]


def test_calls_counted_together_come_to_what_each_alone_comes_to() -> None:
    together, alone = Counts(), Counts()
    for number in range(60):
        event = settled(
            number,
            client_id=f"client-{number % 2}",
            outcome=("ok", "error")[number % 3 == 0],
            error_type="timeout" if number % 3 == 0 else None,
            duration_s=number / 8,
            response_time_to_first_chunk=0.25 if number % 5 == 0 else None,
            usage_input_tokens=None if number % 7 == 0 else number,
            usage_output_tokens=number % 4,
            response_id=None if number % 4 == 0 else "r",
        )
        together.note(event)
        alone.note(event)
        alone.fold()
    together.fold()

    assert list(_calls(together)) == list(_calls(alone))
    assert sum(together.outcomes.values()) == 60
    assert {dict(labels)["gen_ai_operation_name"] for labels in together.durations} == {"chat", "embeddings"}


def test_at_level_debug_every_call_is_a_line_without_its_words_or_keys(tmp_path: Path) -> None:
    keys = prepared(tmp_path / "home")
    with (
        provider(tmp_path) as upstream,
        gateway(keys.home, upstream.url, server_log_level="debug") as running,
    ):
        import openai

        with openai.OpenAI(base_url=f"{running.url}/v1", api_key=keys.app_key) as client:
            made = client.chat.completions.with_raw_response.create(
                model=MEDIUM, messages=[{"role": "user", "content": "a secret of mine"}], max_tokens=20
            )
        running.stop()
        said = running.said.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    of_call = [line for line in lines if line.get("call_id") == made.headers["x-halfpenny-call-id"]]

    assert [line["event"] for line in of_call] == ["call.reserved", "call.settled"]
    assert of_call[1]["cost_usd"] == made.headers["x-halfpenny-cost-usd"]
    assert "secret" not in said
    assert keys.app_key not in said
