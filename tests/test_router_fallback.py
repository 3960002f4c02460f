"""Another model in the place of one that failed: held anew at its own price, at its own provider with its own key, once."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp.test_utils import TestServer
from served_home import (
    FLASH,
    LARGE,
    MEDIUM,
    SECOND_KEY,
    USAGE,
    Script,
    Served,
    completion,
    configured,
    http,
    key_of,
    served,
    speaking,
    sse,
)

from ledger.events import CallRefused, CallReserved, CallSettled, CallVoided
from router.config import read, terms_of
from router.errors import UpstreamRefused
from router.explain import explain
from router.fallback import could_answer
from router.logged import routed_month
from router.provider_config import BadConfig
from router.simulator import create_app
from router.simulator_config import SimulatorConfig, parse_fault

INSTEAD = f'fallback.models = {{ "{MEDIUM}" = "{LARGE}" }}\nbudget.wait_s = 0.0'
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
LARGE_COST = Decimal("0.00005")  # 10 in at 2.00 and 5 out at 6.00 USD a million
FIRST_KEY = "provider-secret"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Scripted:
    """A provider that does as told, and remembers what it was asked."""

    def __init__(self, *answers: bytes | None) -> None:
        self.asked: list[bytes] = []
        self._answers = answers

    async def __call__(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        self.asked.append(request)
        answer = self._answers[min(len(self.asked), len(self._answers)) - 1]
        if answer is None:
            await asyncio.sleep(20)
        else:
            writer.write(answer)
            await writer.drain()

    @property
    def models(self) -> list[str]:
        return [json.loads(request.partition(b"\r\n\r\n")[2])["model"] for request in self.asked]


def good(model: str = LARGE, **more: Any) -> bytes:
    return http(completion(model=model, **more))


def failing(status: int = 503) -> bytes:
    return http(b"{}", status=f"{status} Odd")


@asynccontextmanager
async def two(path: Path, first: Script, second: Script, settings: str = "", **more: Any) -> AsyncIterator[Served]:
    """The gateway before two providers; the second has what answers in the place of the first one's Medium."""
    async with speaking(first) as one, speaking(second) as other:
        said = f'{INSTEAD}\nfallback.base_url = "{other}/v1"\nfallback.private_addresses = true\n{settings}'
        async with served(path, one, settings=said, **more) as running:
            yield running


def attempts(running: Served) -> list[tuple[int, str, str]]:
    return [(hold.attempt, hold.request_model, hold.provider_name) for hold in running.events(CallReserved)]


FAILURES = [
    # what the first provider does, how its attempts end, whether they are charged at their hold
    ("503", failing(503), ["status_503"] * 3, False),
    ("429", failing(429), ["status_429"] * 3, False),
    ("500", failing(500), ["status_500"], False),
    ("402", failing(402), ["status_402"], False),
    ("our key", failing(401), ["status_401"], False),
    ("timeout", None, ["timeout"], True),
    ("lost", b"", ["connection_lost"] * 3, True),
    ("cut", good(MEDIUM)[:-9], ["reply_cut"], True),
    ("html", http(b"<html>"), ["malformed_reply"], True),
]


@pytest.mark.anyio
@pytest.mark.parametrize("case", FAILURES, ids=[case[0] for case in FAILURES])
@pytest.mark.parametrize("stream", [False, True])
async def test_what_another_could_answer_is_asked_of_the_other_at_its_own_price_and_with_its_own_key(
    tmp_path: Path, case: tuple[str, bytes | None, list[str], bool], stream: bool
) -> None:
    _, sent, ended, is_charged = case
    first, second = Scripted(sent), Scripted(STREAM + sse("Hello", None, USAGE, model=LARGE) if stream else good())
    async with two(tmp_path, first, second, "provider.read_timeout_s = 0.3") as running:
        if stream:
            status, body = await running.stream()
            assert body.endswith(b"data: [DONE]\n\n")
            (own,) = (json.loads(line[6:])["halfpenny"] for line in body.split(b"\n\n") if b'"halfpenny"' in line)
        else:
            status, headers, answer = await running.chat()
            own = answer["halfpenny"]
            assert (headers["x-halfpenny-fallback"], headers["x-halfpenny-cost-usd"]) == (LARGE, own["cost_usd"])
            assert answer["model"] == LARGE
        holds, events = running.events(CallReserved), running.events(CallSettled, CallVoided)

    count = len(ended)
    if stream and case[0] in ("cut", "html"):
        # As a stream these are one without an end, of which nothing has come that could be sent on.
        ended = ["no_end" if case[0] == "html" else "reply_cut"]
    assert status == 200
    assert [(hold.attempt, hold.request_model, hold.provider_name) for hold in holds] == [
        *((number, MEDIUM, "global_api") for number in range(1, count + 1)),
        (count + 1, LARGE, "fallback"),
    ]
    assert [event.error_type for event in events] == [*ended, None]
    lost = count * Decimal(holds[0].hold_usd) if is_charged else Decimal(0)
    assert Decimal(events[-1].cost_usd) == LARGE_COST
    assert Decimal(own["cost_usd"]) == lost + LARGE_COST
    # 40 out at 6.00 USD a million, and a token in for each byte at 2.00
    assert Decimal(holds[-1].hold_usd) == (240 + 2 * holds[-1].input_bytes) * Decimal("0.000001")
    assert (own["model"], own["instead_of"], own["arm"]) == (LARGE, MEDIUM, None)
    assert f"{LARGE} answers in its place" in own["reason"]
    assert (holds[-1].arm, holds[-1].policy) == (None, None)
    assert f"so {LARGE} answers in its place" in holds[-1].reason
    assert running.ledger.state.holds == {}
    assert (set(first.models), second.models) == ({MEDIUM}, [LARGE])
    for provider, own_key, other in ((first, FIRST_KEY, SECOND_KEY), (second, SECOND_KEY, FIRST_KEY)):
        for request in provider.asked:
            assert f"Bearer {own_key}".encode() in request
            assert other.encode() not in request
            assert b"hp_app" not in request


@pytest.mark.anyio
async def test_a_refused_connection_is_never_sent_and_the_other_provider_answers(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        async with speaking(Scripted(good())) as other:
            settings = f'{INSTEAD}\nfallback.base_url = "{other}/v1"'
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
            async with served(tmp_path, url, settings=settings) as running:
                status, _, answer = await running.chat()
                voided = running.events(CallVoided)

    assert status == 200
    assert [event.error_type for event in voided] == ["connection_refused"] * 3
    assert Decimal(answer["halfpenny"]["cost_usd"]) == LARGE_COST


@pytest.mark.anyio
@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_a_request_that_was_refused_for_what_it_says_is_not_asked_of_another(tmp_path: Path, status: int) -> None:
    first, second = Scripted(failing(status)), Scripted(good())
    async with two(tmp_path, first, second) as running:
        got, headers, _ = await running.chat()

        assert (got, len(first.asked), second.asked) == (status, 1, [])
        assert "x-halfpenny-fallback" not in headers


@pytest.mark.parametrize(("status", "expected"), [(400, False), (401, True), (402, True), (403, True), (404, False), (408, True), (409, False), (413, False), (422, False), (429, True), (500, True), (503, True), (302, True)])  # fmt: skip
def test_which_refusals_another_could_answer(status: int, expected: bool) -> None:
    assert could_answer(UpstreamRefused(status, b"", {}, "p")) is expected


@pytest.mark.anyio
async def test_a_model_that_no_other_answers_for_fails_as_ever(tmp_path: Path) -> None:
    second = Scripted(good())
    async with two(tmp_path, Scripted(failing(500)), second) as running:
        status, _, _ = await running.chat(model=LARGE)

        assert (status, second.asked) == (500, [])


@pytest.mark.anyio
async def test_without_a_second_provider_the_first_one_is_asked_for_the_other_model(tmp_path: Path) -> None:
    first = Scripted(failing(500), good())
    async with speaking(first) as url, served(tmp_path, url, settings=INSTEAD) as running:
        status, _, answer = await running.chat()

        assert (status, first.models, answer["model"]) == (200, [MEDIUM, LARGE], LARGE)
        assert attempts(running) == [(1, MEDIUM, "global_api"), (2, LARGE, "global_api")]
        assert all(f"Bearer {FIRST_KEY}".encode() in request for request in first.asked)


@pytest.mark.anyio
async def test_there_is_one_fallback_and_no_chain_and_what_failed_first_is_what_the_client_sees(tmp_path: Path) -> None:
    chain = f'fallback.models = {{ "{MEDIUM}" = "{LARGE}", "{LARGE}" = "{FLASH}" }}'
    first, second = Scripted(failing(500)), Scripted(failing(502))
    async with two(tmp_path, first, second, chain) as running:
        status, _, answer = await running.chat()

        assert (status, answer["error"]["code"]) == (500, "upstream_500")
        assert (first.models, second.models) == ([MEDIUM], [LARGE])
        assert [event.error_type for event in running.events(CallVoided)] == ["status_500", "status_502"]
        assert running.ledger.state.holds == {}


@pytest.mark.anyio
async def test_the_other_provider_is_tried_again_as_its_own_settings_say(tmp_path: Path) -> None:
    second = Scripted(failing(503), good())
    settings = "provider.retries = 0\nfallback.retries = 1\nfallback.retry_base_s = 0.01"
    async with two(tmp_path, Scripted(failing(503)), second, settings) as running:
        status, _, _ = await running.chat()

        assert status == 200
        assert attempts(running) == [(1, MEDIUM, "global_api"), (2, LARGE, "fallback"), (3, LARGE, "fallback")]


@pytest.mark.anyio
async def test_without_a_price_for_the_other_model_the_first_error_stands(tmp_path: Path) -> None:
    second = Scripted(good())
    async with two(
        tmp_path, Scripted(failing(500)), second, f'fallback.models = {{ "{MEDIUM}" = "ended-model" }}'
    ) as running:
        status, _, _ = await running.chat()

        assert (status, second.asked) == (500, [])
        assert attempts(running) == [(1, MEDIUM, "global_api")]
        assert running.events(CallRefused) == []


@pytest.mark.anyio
async def test_without_room_for_the_other_model_the_first_error_stands_and_nothing_is_sent(tmp_path: Path) -> None:
    # Medium holds some 0.0001 USD, Large at least 0.00024 for its 40 tokens alone.
    second = Scripted(good())
    async with two(tmp_path, Scripted(failing(500)), second, caps={"acme": "0.0002"}) as running:
        status, _, _ = await running.chat()

        assert (status, second.asked) == (500, [])
        assert attempts(running) == [(1, MEDIUM, "global_api")]
        assert running.events(CallRefused) == []


@pytest.mark.anyio
async def test_calls_that_all_fall_back_at_once_never_pass_the_cap(tmp_path: Path) -> None:
    cap = Decimal("0.002")
    async with two(tmp_path, Scripted(failing(500)), Scripted(good()), caps={"acme": str(cap)}) as running:
        answers = await asyncio.gather(*(running.chat() for _ in range(40)))
        events = running.events(CallReserved, CallSettled, CallVoided)

    held: dict[tuple[str, int], Decimal] = {}
    spent = Decimal(0)
    for event in events:
        key = (event.subject, event.attempt)
        if isinstance(event, CallReserved):
            held[key] = Decimal(event.hold_usd)
        else:
            del held[key]
            spent += Decimal(event.cost_usd) if isinstance(event, CallSettled) else 0
        assert spent + sum(held.values()) <= cap
    good_ones = [answer for status, _, answer in answers if status == 200]
    assert good_ones
    assert {status for status, _, _ in answers} <= {200, 500, 429}
    assert spent == len(good_ones) * LARGE_COST
    assert held == {}


@pytest.mark.anyio
async def test_a_stream_that_has_begun_is_not_made_again(tmp_path: Path) -> None:
    begun = STREAM + sse("One", "two", done=False)
    first, second = Scripted(begun), Scripted(STREAM + sse("Hello", None, USAGE, model=LARGE))
    async with two(tmp_path, first, second) as running:
        status, body = await running.stream()

        assert (status, second.asked) == (200, [])
        assert b'"error"' in body
        assert b"[DONE]" not in body
        assert attempts(running) == [(1, MEDIUM, "global_api")]


@pytest.mark.anyio
async def test_a_stream_that_breaks_at_the_other_provider_ends_with_that_ones_error(tmp_path: Path) -> None:
    second = Scripted(STREAM + sse("One", done=False, model=LARGE))
    async with two(tmp_path, Scripted(failing(500)), second) as running:
        _, body = await running.stream()

        assert b"fallback sent an answer that cannot be used" in body
        assert b"[DONE]" not in body
        assert [type(event) for event in running.events(CallVoided, CallSettled)] == [CallVoided, CallSettled]


@pytest.mark.anyio
async def test_a_client_that_is_shut_out_at_one_provider_is_answered_by_the_other(tmp_path: Path) -> None:
    settings = "provider.breaker_failures = 1\nprovider.breaker_open_s = 1000\nprovider.retries = 0"
    first, second = Scripted(failing(500)), Scripted(good(), failing(500), good())
    async with two(tmp_path, first, second, f"{settings}\nfallback.breaker_failures = 1") as running:
        statuses = [(await running.chat())[0] for _ in range(3)]
        other, _, _ = await running.chat(key="other")

        # The third call finds neither provider willing to be asked for acme, bolt's own way is open.
        assert (statuses, other) == ([200, 503, 503], 200)
        assert (len(first.asked), len(second.asked)) == (2, 3)
        assert [event.error_type for event in running.events(CallVoided)] == [
            "status_500", "shut_out", "status_500", "status_500",
        ]  # fmt: skip
        assert [event.refusal for event in running.events(CallRefused)] == ["overload"]


@pytest.mark.anyio
async def test_no_time_left_is_no_fallback(tmp_path: Path) -> None:
    second = Scripted(good())
    async with two(tmp_path, Scripted(None), second, "provider.total_timeout_s = 0.3") as running:
        status, _, _ = await running.chat()

        assert (status, second.asked) == (504, [])
        assert attempts(running) == [(1, MEDIUM, "global_api")]


@pytest.mark.anyio
async def test_a_routed_ticket_stays_one_ticket_of_its_policy_and_goes_by_the_other_arms_name(tmp_path: Path) -> None:
    first = Scripted(http(completion("simple", model=FLASH)), failing(500))
    settings = 'policy.name = "label"\npolicy.second_look = true\ncache.ttl_s = 60'
    async with two(tmp_path, first, Scripted(good(content="Hello")), settings) as running:
        _, headers, answer = await running.chat(model="auto", metadata={"ticket_id": "T-1"})
        sorting, chosen, instead = running.events(CallReserved)
        standing = running.standings.clients["acme"]
        volume = dict(standing.drafted)
        again_status, _, again = await running.chat(model="auto", metadata={"ticket_id": "T-1"})
        events = running.events()

    assert sorting.subject != chosen.subject == instead.subject == answer["halfpenny"]["call_id"]
    assert (chosen.arm, chosen.policy, chosen.propensity) == ("standard", "label", 1.0)
    assert (instead.arm, instead.policy, instead.propensity) == ("premium", None, None)
    assert (instead.ticket_id, instead.ticket_class) == ("T-1", "simple")
    assert (headers["x-halfpenny-fallback"], answer["halfpenny"]["arm"]) == (LARGE, "premium")
    assert list(volume.values()) == [1]
    # Sorting at 0.27 and 1.10 USD a million is a call of its own beside the drafts.
    assert answer["halfpenny"]["classification_cost_usd"] == "0.0000082"
    assert Decimal(answer["halfpenny"]["cost_usd"]) == LARGE_COST
    # Another model's reply is not kept for the next that asks for this one, and no log of the policy's own choices.
    assert (again_status, again["halfpenny"]["cached"]) == (200, False)
    assert routed_month(events, "acme", chosen.period) == []
    told = explain(events, terms_of(configured("http://localhost", settings)), chosen.subject).as_json()
    assert told == told | {
        "arm": "standard",
        "model": MEDIUM,
        "cost_usd": None,
        "answered_by": LARGE,
        "answered_cost_usd": str(LARGE_COST),
    }


@pytest.mark.anyio
async def test_how_another_provider_answers_is_no_drift_of_the_models_own(tmp_path: Path) -> None:
    first = Scripted(failing(500), good(LARGE))
    async with two(tmp_path, first, Scripted(good("Large-as-it-is-named-elsewhere"))) as running:
        await running.chat()
        drift, instead = running.standings.clients["acme"].drift, running.standings.clients["acme"].instead
        assert (drift.served, drift.latency, instead) == ({}, {}, {})
        await running.chat(model=LARGE)
        assert list(drift.served) == [LARGE]


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_nobody_is_asked_for_a_client_that_has_left(tmp_path: Path, stream: bool) -> None:
    has_come, has_left, second = asyncio.Event(), asyncio.Event(), Scripted(good())

    async def fail_late(_: bytes, writer: asyncio.StreamWriter) -> None:
        has_come.set()
        await has_left.wait()
        writer.write(failing(500))

    async with two(tmp_path, fail_late, second) as running:
        asking = asyncio.create_task(running.chat(stream=stream))
        await has_come.wait()
        asking.cancel()
        await asyncio.sleep(0.2)  # for the gateway's side to hear of it
        has_left.set()
        await running.service.drain(5)

        assert second.asked == []
        assert attempts(running) == [(1, MEDIUM, "global_api")]


@pytest.mark.anyio
async def test_a_repeated_idempotency_key_gets_the_fallbacks_answer_again(tmp_path: Path) -> None:
    first, second = Scripted(failing(500)), Scripted(good())
    async with two(tmp_path, first, second) as running:
        asked = {"model": MEDIUM, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 40}
        key = {"Idempotency_Key": "one"}
        _, _, once = await running.ask("POST", "/v1/chat/completions", asked, **key)
        _, headers, again = await running.ask("POST", "/v1/chat/completions", asked, **key)

        assert (once, headers["x-halfpenny-fallback"]) == (again, LARGE)
        assert (len(first.asked), len(second.asked)) == (1, 1)


@pytest.mark.anyio
async def test_two_simulated_providers_bills_are_what_the_ledger_has_of_each(tmp_path: Path) -> None:
    faults = tuple(map(parse_fault, ("500=0.3", "cut_stream=0.2", "malformed_json=0.2")))
    rates = {"global_api": (Decimal("0.4"), 2), "fallback": (Decimal(2), 6)}  # USD a million tokens
    logs = {name: tmp_path / f"{name}.jsonl" for name in rates}
    async with (
        TestServer(create_app(SimulatorConfig(log=logs["global_api"], faults=faults))) as first,
        TestServer(create_app(SimulatorConfig(log=logs["fallback"]))) as second,
    ):
        one, other = (str(provider.make_url("")).rstrip("/") for provider in (first, second))
        said = f'{INSTEAD}\nfallback.base_url = "{other}/v1"'
        async with served(tmp_path, one, settings=said) as running:
            asked = [{"messages": [{"role": "user", "content": f"Ticket {number}"}]} for number in range(40)]
            whole = await asyncio.gather(*(running.chat(**ask) for ask in asked))
            await asyncio.gather(*(running.stream(**ask) for ask in asked))
            settled = {f"{event.subject}.{event.attempt}": event for event in running.events(CallSettled)}
            assert running.ledger.state.holds == {}

    assert [status for status, _, _ in whole] == [200] * 40
    for name, (of_input, of_output) in rates.items():
        billed = [json.loads(line) for line in logs[name].read_text().splitlines()]
        own = {number: event for number, event in settled.items() if event.provider_name == name}
        assert {line["request_id"] for line in billed} == set(own)
        for line in billed:
            cost = (line["prompt_tokens"] * of_input + line["completion_tokens"] * of_output) / 1_000_000
            event = own[line["request_id"]]
            assert Decimal(event.cost_usd) == cost or (event.usage_source, name) == ("estimated", "global_api")
            assert Decimal(event.cost_usd) >= cost
    assert {event.usage_source for event in settled.values() if event.provider_name == "fallback"} == {"reported"}


@pytest.mark.anyio
async def test_the_classifier_has_a_fallback_as_any_model(tmp_path: Path) -> None:
    first = Scripted(failing(500), good(MEDIUM))
    second = Scripted(good(LARGE, content="simple"))
    async with two(
        tmp_path, first, second, f'fallback.models = {{ "{FLASH}" = "{LARGE}" }}\npolicy.name = "label"'
    ) as running:
        status, _, answer = await running.chat(model="auto")

        assert (status, answer["halfpenny"]["class"], answer["halfpenny"]["class_reading"]) == (200, "simple", "clear")
        assert answer["halfpenny"]["classification_cost_usd"] == str(LARGE_COST)
        assert [hold.purpose for hold in running.events(CallReserved)] == ["classification"] * 2 + ["generation"]


@pytest.mark.anyio
async def test_the_imposed_bound_is_the_other_models_own_and_a_clients_stays(tmp_path: Path) -> None:
    second = Scripted(good())
    bounds = f'output_tokens.models = {{ "{LARGE}" = 100 }}'
    async with two(tmp_path, Scripted(failing(500)), second, bounds) as running:
        await running.chat(max_tokens=None)
        await running.chat(max_tokens=700)
        holds = [hold for hold in running.events(CallReserved) if hold.request_model == LARGE]

    bodies = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in second.asked]
    assert [body.get("max_completion_tokens") or body["max_tokens"] for body in bodies] == [100, 700]
    assert [hold.max_output_tokens for hold in holds] == [100, 700]


@pytest.mark.anyio
async def test_a_picture_is_held_as_the_other_provider_counts_it(tmp_path: Path) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    second = Scripted(good())
    async with two(tmp_path, Scripted(failing(500)), second, "fallback.picture_tokens = 1000") as running:
        await running.chat(messages=[{"role": "user", "content": [picture, picture]}])
        hold = running.events(CallReserved)[-1]

    size = len(second.asked[0].partition(b"\r\n\r\n")[2])
    # 40 out at 6.00 USD a million; a token in at 2.00 for each byte, and 1,000 for each of two pictures
    assert Decimal(hold.hold_usd) == (240 + 2 * (size + 2000)) * Decimal("0.000001")


@pytest.mark.anyio
async def test_a_client_that_is_shut_out_at_the_other_provider_is_not_sent_there(tmp_path: Path) -> None:
    second = Scripted(failing(500))
    async with two(tmp_path, Scripted(failing(500)), second, "fallback.breaker_failures = 1") as running:
        assert [(await running.chat())[0] for _ in range(3)] == [500] * 3
        assert (await running.chat(key="other"))[0] == 500

        assert len(second.asked) == 2  # acme's first and bolt's


@pytest.mark.anyio
async def test_a_redo_has_no_fallback_since_its_first_draft_is_there(tmp_path: Path) -> None:
    refused = "I'm sorry, but I can't help with that."
    first = Scripted(http(completion("simple", model=FLASH)), good(MEDIUM, content=refused), failing(500))
    second = Scripted(good(FLASH))
    settings = f'fallback.models = {{ "{LARGE}" = "{FLASH}" }}\npolicy.name = "label"\npolicy.second_look = true'
    async with two(tmp_path, first, second, settings) as running:
        _, _, answer = await running.chat(model="auto", metadata={"ticket_id": "T-2"})

        assert (first.models, second.asked) == ([FLASH, MEDIUM, LARGE], [])
        assert answer["choices"][0]["message"]["content"] == refused


@pytest.mark.anyio
async def test_the_real_client_gets_the_other_models_completion_and_stream(tmp_path: Path) -> None:
    first = Scripted(failing(500))
    second = Scripted(good(), STREAM + sse("Hello", None, USAGE, model=LARGE))
    async with two(tmp_path, first, second) as running:
        client = openai.AsyncOpenAI(api_key=key_of("app"), base_url=f"{running.url}/v1", max_retries=0)
        asked: Any = {"model": MEDIUM, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 40}
        whole = await client.chat.completions.with_raw_response.create(**asked)
        streamed = await client.chat.completions.with_raw_response.create(**asked, stream=True)
        words = [chunk.choices[0].delta.content async for chunk in streamed.parse() if chunk.choices]
        await client.close()

    assert (whole.parse().choices[0].message.content, whole.parse().model) == ("Hello", LARGE)
    assert words == ["Hello", None]
    assert whole.headers["x-halfpenny-fallback"] == streamed.headers["x-halfpenny-fallback"] == LARGE


WRONG = [
    ('models = { "a" = "a" }', "answer in its own place"),
    ('models = { "a" = "b" }\nkey_env = "K"', "fallback.key_env says something of a second provider"),
    ('base_url = "http://h/v1"', "fallback.models is empty"),
    ('base_url = "ftp://h"\nmodels = { "a" = "b" }', "fallback.base_url 'ftp://h' is not an http or https address"),
    ('base_url = "http://h/v1"\nname = "global_api"\nmodels = { "a" = "b" }', "fallback.name is 'global_api'"),
    ('base_url = "http://h/v1"\nkey_env = "GLOBAL_API_KEY"\nmodels = { "a" = "b" }', "fallback.key_env is"),
    ('modells = { "a" = "b" }', "unknown key 'modells'"),
]


@pytest.mark.parametrize(("said", "complaint"), WRONG)
def test_settings_that_cannot_work_are_refused_in_a_sentence(said: str, complaint: str) -> None:
    with pytest.raises(BadConfig, match=complaint):
        read(f"[fallback]\n{said}", {})


def test_the_environment_wins_over_the_file_as_in_any_section() -> None:
    found = read('[fallback]\nmodels = { "a" = "b" }', {"HALFPENNY_FALLBACK_BASE_URL": "http://h/v1"}).fallback

    assert (found.base_url, found.models, found.key_env) == ("http://h/v1", {"a": "b"}, "FALLBACK_API_KEY")
