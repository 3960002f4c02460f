"""The API as its callers see it: OpenAI's contract with the real client, routing, tickets, and odd input."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest
from served_home import FLASH, LARGE, MEDIUM, Served, completion, http, key_of, scripted, simulated

from ledger.events import CallReserved, CallSettled


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def client_of(running: Served) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=running.url + "/v1", api_key=key_of("app"), max_retries=0)


ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "Where is my card?"}], "max_tokens": 40}


@pytest.mark.anyio
async def test_the_openai_client_gets_its_completion_and_the_cost_beside_it(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running, client_of(running) as client:
        raw = await client.chat.completions.with_raw_response.create(model=MEDIUM, **ASKED)
        reply = raw.parse()

        (settled,) = running.events(CallSettled)
        own = reply.model_extra["halfpenny"]
        assert reply.choices[0].message.content
        assert reply._request_id == own["call_id"] == settled.subject == raw.headers["x-halfpenny-call-id"]
        assert own["cost_usd"] == raw.headers["x-halfpenny-cost-usd"] == settled.cost_usd
        assert own == own | {"arm": None, "class": None, "reason": "the request named the model", "cached": False}
        assert Decimal(settled.cost_usd) > 0


@pytest.mark.anyio
@pytest.mark.parametrize("asks", [False, True])
async def test_the_openai_client_streams_and_finds_the_cost_at_the_end(tmp_path: Path, asks: bool) -> None:
    async with simulated(tmp_path) as running, client_of(running) as client:
        options: Any = {"include_usage": True} if asks else openai.omit
        stream = await client.chat.completions.create(model=MEDIUM, stream=True, stream_options=options, **ASKED)
        chunks = [chunk async for chunk in stream]

        (settled,) = running.events(CallSettled)
        assert chunks[-1].model_extra["halfpenny"]["cost_usd"] == settled.cost_usd
        assert [bool(chunk.usage) for chunk in chunks] == [False] * (len(chunks) - 1) + [asks]
        assert all(chunk.choices for chunk in chunks[: len(chunks) - asks])  # those who index choices[0] are safe
        assert (settled.outcome, settled.stream_complete, settled.request_stream) == ("ok", True, True)
        assert settled.response_time_to_first_chunk <= settled.duration_s


@pytest.mark.anyio
async def test_the_sync_client_works_as_well(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:

        def ask() -> Any:
            with openai.OpenAI(base_url=running.url + "/v1", api_key=key_of("app")) as client:
                return client.chat.completions.create(model=MEDIUM, **ASKED).choices[0].message.content

        assert await asyncio.to_thread(ask)


@pytest.mark.anyio
async def test_the_openai_client_raises_its_own_errors(tmp_path: Path) -> None:
    async with simulated(tmp_path, settings="provider.retries = 0") as running, client_of(running) as client:
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="nope", **ASKED)
        with pytest.raises(openai.AuthenticationError):
            await client.with_options(api_key="wrong").models.list()
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(model=MEDIUM, extra_headers={"x-simulate-fault": "429"}, **ASKED)
        stream = await client.chat.completions.create(
            model=MEDIUM, stream=True, extra_headers={"x-simulate-fault": "cut_stream"}, **ASKED | {"max_tokens": 900}
        )
        with pytest.raises(openai.APIError):
            [chunk async for chunk in stream]
        assert {model.id async for model in client.models.list()} == {"auto", MEDIUM, LARGE, FLASH}
        assert (await client.models.retrieve(MEDIUM)).id == MEDIUM


@pytest.mark.anyio
async def test_every_field_reaches_the_provider_and_every_byte_comes_back(tmp_path: Path) -> None:
    got: list[dict[str, Any]] = []
    sent = completion()[:-1] + b', "x_odd" : [ 1.50, null ] }'

    async def echo(request: bytes, writer: asyncio.StreamWriter) -> None:
        got.append(json.loads(request.partition(b"\r\n\r\n")[2]))
        writer.write(http(sent, more="x-ratelimit-remaining-requests: 7\r\nset-cookie: a=b\r\n"))

    async with scripted(tmp_path, echo) as running:
        tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
        asked = {
            "model": MEDIUM,
            "tools": tools,
            "response_format": {"type": "json_object"},
            "x_new": {"deep": [1]},
            **ASKED,
        }
        headers = {"Authorization": f"Bearer {key_of('app')}"}
        async with running.session.post(running.url + "/v1/chat/completions", json=asked, headers=headers) as answer:
            body = await answer.read()

        assert got == [asked]
        assert body.startswith(sent[:-1])
        assert answer.headers["x-ratelimit-remaining-requests"] == "7"
        assert "set-cookie" not in answer.headers


@pytest.mark.anyio
async def test_auto_is_two_calls_both_held_made_and_settled_and_the_decision_stands_in_the_hold(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        _, headers, said = await running.chat(model="auto", metadata={"ticket_id": "T-1"})

        sorting, drafting = running.events(CallReserved)
        ends = running.events(CallSettled)
        own = said["halfpenny"]
        assert [(e.purpose, e.request_model, e.ticket_id) for e in ends] == [
            ("classification", FLASH, "T-1"),
            ("generation", MEDIUM if own["arm"] == "standard" else LARGE, "T-1"),
        ]
        assert sorting.subject != drafting.subject == own["call_id"]
        assert (sorting.arm, sorting.ticket_class, sorting.class_reading) == (None, None, None)
        assert (drafting.arm, drafting.ticket_class, drafting.policy) == (own["arm"], own["class"], "paced@1")
        assert (drafting.class_reading, drafting.propensity) == (own["class_reading"], 1.0)
        assert own["classification_cost_usd"] == ends[0].cost_usd
        assert (headers["x-halfpenny-arm"], headers["x-halfpenny-class"]) == (own["arm"], own["class"])
        assert running.ledger.state.drafts["acme", "T-1"].call_id == own["call_id"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "arm", "reading"),
    [
        ("simple", "standard", "clear"),
        ("**Complex**", "premium", "clear"),
        ("It depends.", "premium", "unclear"),
        ("", "premium", "unclear"),
        (None, "premium", "failed"),
    ],
)
async def test_what_the_classifier_says_decides_the_arm(
    tmp_path: Path, answer: str | None, arm: str, reading: str
) -> None:
    async def provider(request: bytes, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(request.partition(b"\r\n\r\n")[2])
        if asked["model"] != FLASH:
            writer.write(http(completion("A draft.", model=asked["model"])))
        elif answer is None:
            writer.write(http(b"oops", status="500 Internal Server Error"))
        else:
            assert asked["messages"][-1]["content"] == "Where is my card?"
            writer.write(http(completion(answer, model=FLASH)))

    async with scripted(tmp_path, provider) as running:
        status, _, said = await running.chat(model="auto")

        drafting = running.events(CallReserved)[-1]
        assert (status, said["halfpenny"]["arm"]) == (200, arm)
        assert (drafting.class_reading, drafting.ticket_class) == (
            reading,
            "simple" if arm == "standard" else "complex",
        )
        assert drafting.request_model == (MEDIUM if arm == "standard" else LARGE)


@pytest.mark.anyio
async def test_the_fixed_policy_ignores_the_class(tmp_path: Path) -> None:
    async with simulated(tmp_path, settings='policy.name = "fixed"\npolicy.standard_share = 0.0') as running:
        _, _, said = await running.chat(model="auto")

        drafting = running.events(CallReserved)[-1]
        assert (said["halfpenny"]["arm"], drafting.policy, drafting.propensity) == ("premium", "fixed", 1.0)


@pytest.mark.anyio
async def test_a_ticket_is_sorted_and_drafted_in_one_call(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        asked = {
            "ticket_id": "T-9",
            "text": "My card was stolen!",
            "messages": [{"role": "system", "content": "FAQ"}],
            "max_tokens": 30,
        }
        status, headers, said = await running.ask("POST", "/v1/tickets", asked)

        assert status == 200
        assert (said["ticket_id"], said["halfpenny"]["ticket_id"]) == ("T-9", "T-9")
        assert said["draft"] == said["choices"][0]["message"]["content"] != ""
        assert said["halfpenny"]["call_id"] == headers["x-request-id"]
        assert [event.purpose for event in running.events(CallSettled)] == ["classification", "generation"]


@pytest.mark.anyio
async def test_a_ticket_without_an_id_gets_one_that_edits_can_name(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        _, _, said = await running.ask("POST", "/v1/tickets", {"text": "Help!", "max_tokens": 20})
        path = f"/v1/tickets/{said['ticket_id']}/edits"

        status, _, edit = await running.ask(
            "POST", path, {"final_text": said["draft"], "draft_text": said["draft"]}, key="agent"
        )

        assert (status, edit["disposition"], edit["call_id"]) == (200, "as_is", said["halfpenny"]["call_id"])


@pytest.mark.anyio
async def test_a_ticket_can_be_streamed(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        headers = {"Authorization": f"Bearer {key_of('app')}"}
        asked = {"text": "Help!", "stream": True, "max_tokens": 40, "ticket_id": "T-3"}
        async with running.session.post(running.url + "/v1/tickets", json=asked, headers=headers) as answer:
            body = await answer.read()

        assert answer.content_type == "text/event-stream"
        assert body.endswith(b"data: [DONE]\n\n")
        assert b'"ticket_id":"T-3"' in body
        assert ("acme", "T-3") in running.ledger.state.drafts


@pytest.mark.anyio
@pytest.mark.parametrize("text", ["x" * 200_000, "a\u0000b\u001b[31m\u202e", "ümläut 🎟 " * 100, "\n\nspace\n"])
async def test_long_and_odd_tickets_are_handled(tmp_path: Path, text: str) -> None:
    async with simulated(tmp_path) as running:
        status, _, said = await running.ask("POST", "/v1/tickets", {"text": text, "max_tokens": 20})

        assert (status, running.ledger.state.holds) == (200, {})
        assert said["draft"]


MALFORMED = (b"", b"{", b"[]", b"null", b"7", b'"x"', b"{}", b"\xff\xfe", b'{"text":1,"model":1}', b"[" * 200_000)


@pytest.mark.anyio
async def test_malformed_bodies_are_400_in_one_shape(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        for path in ("/v1/tickets", "/v1/chat/completions", "/v1/scores", "/v1/tickets/T-1/edits"):
            for body in MALFORMED:
                status, _, said = await running.ask("POST", path, body)

                assert (status, said["error"]["type"]) == (400, "invalid_request_error"), (path, body[:20])
        assert running.events(CallReserved) == []


@pytest.mark.anyio
async def test_a_bound_is_imposed_per_model_and_held_for(tmp_path: Path) -> None:
    settings = f'output_tokens.default = 500\noutput_tokens.models."{LARGE}" = 700'
    async with simulated(tmp_path, settings=settings) as running:
        asked: tuple[dict[str, Any], ...] = ({}, {"model": LARGE}, {"max_tokens": 9}, {"n": 3})
        for fields in asked:
            await running.chat(**{"max_tokens": None, **fields})

        assert [event.max_output_tokens for event in running.events(CallReserved)] == [500, 700, 9, 1500]


@pytest.mark.anyio
async def test_a_replayed_month_lies_where_its_calls_say(tmp_path: Path) -> None:
    settings = 'server.clock = "request"\nserver.trust_simulated_durations = true'
    async with simulated(tmp_path, settings=settings) as running:
        # 23:30 in Berlin on the 30th of September is still September there, in UTC as well; half an hour later it is not.
        for said in ("2025-09-30T21:30:00Z", "2025-09-30T22:00:00Z"):
            await running.chat(model="auto", x_halfpenny_time=said)
        bad, _, answer = await running.chat(x_halfpenny_time="yesterday")

        held, ended = running.events(CallReserved), running.events(CallSettled)
        assert [event.period for event in held] == ["2025-09", "2025-09", "2025-10", "2025-10"]
        assert held[0].time == datetime(2025, 9, 30, 21, 30, tzinfo=UTC)
        # Drafting begins when sorting ends, and ends its own duration later.
        assert held[1].time == ended[0].time
        assert (ended[0].time - held[0].time).total_seconds() == pytest.approx(ended[0].duration_s)
        assert {event.duration_source for event in ended} == {"simulated"}
        assert (bad, answer["error"]["param"]) == (400, "x-halfpenny-time")


@pytest.mark.anyio
async def test_the_wall_clock_heeds_no_header_and_durations_are_measured(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        await running.chat(x_halfpenny_time="2025-09-30T21:30:00Z")

        (settled,) = running.events(CallSettled)
        assert abs((datetime.now(UTC) - settled.reserved_at).total_seconds()) < 60
        assert settled.duration_source == "measured"


@pytest.mark.anyio
async def test_switches_of_the_simulator_pass_only_where_the_configuration_lets_them(tmp_path: Path) -> None:
    async with simulated(tmp_path, settings="server.forward_simulate_headers = false") as running:
        status, _, _ = await running.chat(x_simulate_fault="500")

        assert status == 200


@pytest.mark.anyio
async def test_a_private_clients_ticket_ids_are_written_as_hashes(tmp_path: Path) -> None:
    async with simulated(tmp_path, private=True) as running:
        _, _, said = await running.ask("POST", "/v1/tickets", {"ticket_id": "Anna-1", "text": "Hi", "max_tokens": 9})
        status, _, _ = await running.ask(
            "POST", "/v1/tickets/Anna-1/edits", {"final_text": "x", "disposition": "edited"}
        )

        journal = b"".join(path.read_bytes() for path in running.home.journal.glob("*.jsonl"))
        assert (status, said["ticket_id"]) == (200, "Anna-1")
        assert b"Anna" not in journal
        assert all(event.ticket_id.startswith("t_") for event in running.events(CallSettled))


@pytest.mark.anyio
async def test_a_retry_of_the_clients_library_is_recorded_as_one(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        for count in ("0", "1", "many", "99999"):
            await running.chat(x_stainless_retry_count=count)

        assert [event.client_retry for event in running.events(CallReserved)] == [None, 1, None, None]


@pytest.mark.anyio
async def test_a_purpose_is_recorded_as_the_caller_names_it(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        await running.chat(metadata={"purpose": "judge"})

        assert [event.purpose for event in running.events(CallSettled)] == ["judge"]
