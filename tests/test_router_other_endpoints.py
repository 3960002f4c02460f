"""Embeddings and responses through the gateway, with OpenAI's own client: charged by their own usage, held for before."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest
from served_home import MEDIUM, Served, http, key_of, scripted

from ledger.events import CallReserved, CallSettled, CallVoided
from router.chat_reply import BadReply
from router.event_stream import BrokenStream
from router.other_endpoints import ResponseScan, read_embeddings, read_response

USAGE = {
    "input_tokens": 12,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 19,
}
RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": MEDIUM,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Hello there", "annotations": []}],
        }
    ],
    "usage": USAGE,
}
EMBEDDINGS = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}],
    "model": MEDIUM,
    "usage": {"prompt_tokens": 9, "total_tokens": 9},
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Provider:
    """Answers every request alike and keeps what it was asked."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.asked: list[tuple[bytes, dict[str, Any]]] = []

    async def __call__(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        head, _, body = request.partition(b"\r\n\r\n")
        self.asked.append((head.split(b" ")[1], json.loads(body)))
        writer.write(self.answer)


def client_of(running: Served) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=running.url + "/v1", api_key=key_of("app"), max_retries=0)


def frames(*events: dict[str, Any]) -> bytes:
    numbered = [{"sequence_number": number, **event} for number, event in enumerate(events)]
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in numbered)


def streamed(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + body


def words(text: str) -> dict[str, Any]:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    return {"type": "response.output_text.delta", "delta": text, **place}


BEGUN = {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "output": [], "usage": None}}
ENDED = {"type": "response.completed", "response": RESPONSE}
WHOLE = (BEGUN, words("Hello "), words("there"), ENDED)


@pytest.mark.anyio
async def test_embeddings_are_charged_for_their_input_alone(tmp_path: Path) -> None:
    provider = Provider(http(json.dumps(EMBEDDINGS).encode()))
    async with scripted(tmp_path, provider) as running, client_of(running) as client:
        found = await client.embeddings.create(model=MEDIUM, input=["Where is my card?"], encoding_format="float")

        (hold,), (settled,) = running.events(CallReserved), running.events(CallSettled)

    assert found.data[0].embedding == [0.5, -0.25]
    # 9 tokens at 0.40 USD a million
    assert settled.cost_usd == found.halfpenny["cost_usd"] == "0.0000036"  # type: ignore[attr-defined]
    assert (settled.usage_input_tokens, settled.usage_output_tokens, settled.usage_source) == (9, 0, "reported")
    assert (hold.max_output_tokens, hold.purpose) == (0, "other")
    assert Decimal(hold.hold_usd) == Decimal("0.0000004") * hold.input_bytes
    assert provider.asked[0][0] == b"/v1/embeddings"
    assert provider.asked[0][1] == {"model": MEDIUM, "input": ["Where is my card?"], "encoding_format": "float"}


@pytest.mark.anyio
async def test_a_response_is_charged_by_its_own_names_of_usage(tmp_path: Path) -> None:
    provider = Provider(http(json.dumps(RESPONSE).encode()))
    async with scripted(tmp_path, provider) as running, client_of(running) as client:
        found = await client.responses.create(model=MEDIUM, input="Hello", metadata={"ticket_id": "T-1", "team": "a"})

        (hold,), (settled,) = running.events(CallReserved), running.events(CallSettled)

    assert found.output_text == "Hello there"
    # 12 in at 0.40 and 7 out at 2.00 USD a million; the price lists no rate of its own for what was cached
    assert settled.cost_usd == "0.0000188"
    assert (settled.usage_cache_read_input_tokens, settled.usage_reasoning_output_tokens) == (4, 2)
    assert (settled.response_id, settled.response_finish_reasons, settled.ticket_id) == ("resp_1", ("stop",), "T-1")
    path, asked = provider.asked[0]
    assert path == b"/v1/responses"
    assert asked == {
        "model": MEDIUM,
        "input": "Hello",
        "metadata": {"team": "a"},
        "max_output_tokens": hold.max_output_tokens,
    }


@pytest.mark.anyio
async def test_a_streamed_response_ends_with_its_cost(tmp_path: Path) -> None:
    provider = Provider(streamed(frames(*WHOLE)))
    async with scripted(tmp_path, provider) as running, client_of(running) as client:
        stream = await client.responses.create(model=MEDIUM, input="Hello", max_output_tokens=50, stream=True)
        events = [event async for event in stream]

        (settled,) = running.events(CallSettled)

    assert [event.type for event in events] == [event["type"] for event in WHOLE]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "Hello there"
    assert events[-1].halfpenny["cost_usd"] == settled.cost_usd == "0.0000188"  # type: ignore[union-attr]
    assert (settled.outcome, settled.stream_complete, settled.usage_source) == ("ok", True, "reported")
    assert provider.asked[0][1] == {"model": MEDIUM, "input": "Hello", "max_output_tokens": 50, "stream": True}


@pytest.mark.anyio
async def test_a_streamed_response_that_is_cut_or_fails_is_an_error_to_the_client_and_costs_its_hold(
    tmp_path: Path,
) -> None:
    failed = {"type": "response.failed", "response": {**RESPONSE, "status": "failed", "usage": None}}
    for number, (events, outcome) in enumerate(((WHOLE[:-1], "upstream_truncated"), ((*WHOLE[:2], failed), "error"))):
        provider = Provider(streamed(frames(*events)))
        async with scripted(tmp_path / str(number), provider) as running, client_of(running) as client:
            with pytest.raises(openai.APIError):
                async for _ in await client.responses.create(model=MEDIUM, input="Hello", stream=True):
                    pass

            (hold,), (settled,) = running.events(CallReserved), running.events(CallSettled)

        assert (settled.outcome, settled.stream_complete, settled.cost_usd) == (outcome, False, hold.hold_usd)


def test_a_stream_of_responses_cut_at_any_byte_is_never_whole_and_gives_no_end_away() -> None:
    whole = frames(*WHOLE)
    for cut in range(len(whole)):
        scan = ResponseScan()
        out = scan.feed(whole[:cut])
        assert not scan.is_complete
        assert b"response.completed" not in out
    for size in (1, 7, len(whole)):
        scan = ResponseScan()
        out = b"".join(scan.feed(whole[at : at + size]) for at in range(0, len(whole), size))
        out += scan.closing(b'"halfpenny":{}')
        assert scan.is_complete
        assert out == whole[:-3] + b',"halfpenny":{}}\n\n'
        assert (scan.usage, scan.model, scan.response_id) == (USAGE, MEDIUM, "resp_1")


def test_a_response_that_was_cut_for_length_says_so_and_broken_events_break_the_stream() -> None:
    cut = {**RESPONSE, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    assert read_response(json.dumps(cut).encode()).finish_reasons == ("length",)
    scan = ResponseScan()
    scan.feed(frames({"type": "response.incomplete", "response": cut}))
    assert (scan.is_complete, scan.finish_reasons) == (True, ("length",))
    for broken in (b"data: {\n\n", b'data: {"type": 3}\n\n', b"data: []\n\n"):
        with pytest.raises(BrokenStream):
            ResponseScan().feed(broken)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"data": 3}', b"\xff", b"<html>"])
def test_what_is_no_list_of_embeddings_and_no_response_is_a_bad_reply(body: bytes) -> None:
    for read in (read_embeddings, read_response):
        with pytest.raises(BadReply):
            read(body)


@pytest.mark.parametrize("status", ["queued", "in_progress", "failed", "cancelled", None])
def test_a_response_that_has_not_ended_well_is_a_bad_reply(status: str | None) -> None:
    with pytest.raises(BadReply):
        read_response(json.dumps({**RESPONSE, "status": status}).encode())


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("embeddings", {"model": MEDIUM}, "input"),
        ("embeddings", {"input": "x"}, "model"),
        ("responses", {"model": MEDIUM, "input": []}, "input"),
        ("responses", {"model": MEDIUM, "input": "x", "previous_response_id": "resp_0"}, "previous_response_id"),
        ("responses", {"model": MEDIUM, "input": "x", "conversation": "conv_0"}, "conversation"),
        ("responses", {"model": MEDIUM, "input": "x", "prompt": {"id": "p"}}, "prompt"),
        ("responses", {"model": MEDIUM, "input": "x", "background": True}, "background"),
        ("responses", {"model": MEDIUM, "input": "x", "tools": [{"type": "web_search"}]}, "tools"),
        ("responses", {"model": MEDIUM, "input": "x", "max_output_tokens": 0}, "max_output_tokens"),
    ],
)
async def test_what_cannot_be_held_for_is_refused_before_anything_is_sent(
    tmp_path: Path, path: str, body: dict[str, Any], param: str
) -> None:
    provider = Provider(http(b"{}"))
    async with scripted(tmp_path, provider) as running:
        status, _, answer = await running.ask("POST", f"/v1/{path}", body)

        assert (status, answer["error"]["param"]) == (400, param)
        assert provider.asked == []
        assert running.events(CallReserved) == []


@pytest.mark.anyio
async def test_a_spent_budget_and_a_refusal_of_the_provider_are_as_for_chat(tmp_path: Path) -> None:
    provider = Provider(http(b'{"error": {"message": "no", "type": "invalid_request_error"}}', status="404 Not Found"))
    async with scripted(tmp_path, provider, caps={"acme": "0.00009"}) as running, client_of(running) as client:
        with pytest.raises(openai.NotFoundError):
            await client.embeddings.create(model=MEDIUM, input="x", encoding_format="float")
        with pytest.raises(openai.RateLimitError):
            await client.responses.create(model=MEDIUM, input="x", max_output_tokens=50)

        assert [event.error_type for event in running.events(CallVoided)] == ["status_404"]
        assert running.ledger.state.holds == {}


@pytest.mark.anyio
async def test_a_key_repeats_an_embedding_without_a_second_charge(tmp_path: Path) -> None:
    provider = Provider(http(json.dumps(EMBEDDINGS).encode()))
    async with scripted(tmp_path, provider) as running:
        body = {"model": MEDIUM, "input": "x"}
        first = await running.ask("POST", "/v1/embeddings", body, Idempotency_Key="k")
        again = await running.ask("POST", "/v1/embeddings", body, Idempotency_Key="k")

    assert first[2] == again[2]
    assert len(provider.asked) == 1
