"""The real `openai` client with everything a completion may carry: it arrives upstream as sent, and comes back as answered."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest

from ledger.events import CallReserved, CallSettled
from tests.served_home import MEDIUM, USAGE, key_of, scripted

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
RICH: dict[str, Any] = {
    "model": MEDIUM,
    "messages": [
        {"role": "developer", "content": "Be short."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is on the picture?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ],
    "tools": [WEATHER],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "parallel_tool_calls": False,
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": {"type": "object"}}},
    "n": 2,
    "logprobs": True,
    "top_logprobs": 3,
    "logit_bias": {"50256": -100},
    "seed": 7,
    "temperature": 0.2,
    "stop": ["END"],
    "max_completion_tokens": 50,
}  # fmt: skip
CALL = {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Köln"}'}}
LOGPROBS = {"content": [{"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}], "refusal": None}
CHOICES = [
    {"index": 0, "message": {"role": "assistant", "content": None, "refusal": None, "tool_calls": [CALL]}, "logprobs": None, "finish_reason": "tool_calls"},
    {"index": 1, "message": {"role": "assistant", "content": "{}", "refusal": None}, "logprobs": LOGPROBS, "finish_reason": "stop"},
]  # fmt: skip
HEAD = {"id": "chatcmpl-1", "created": 1, "model": MEDIUM, "system_fingerprint": "fp", "service_tier": "default"}


def chunk(**choice: Any) -> dict[str, Any]:
    return HEAD | {
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "finish_reason": None, "delta": {}} | choice],
    }


CHUNKS = [
    chunk(
        delta={
            "role": "assistant",
            "tool_calls": [{"index": 0, **CALL, "function": {"name": "weather", "arguments": '{"ci'}}],
        }
    ),
    chunk(delta={"tool_calls": [{"index": 0, "function": {"arguments": 'ty":"Köln"}'}}]}),
    chunk(index=1, delta={"content": "{}"}, logprobs=LOGPROBS),
    chunk(finish_reason="tool_calls"),
    chunk(index=1, finish_reason="stop"),
    HEAD | {"object": "chat.completion.chunk"} | USAGE,
]


class Provider:
    """Answers as a model of every gift would, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(request.partition(b"\r\n\r\n")[2])
        self.asked.append(asked)
        if asked.get("stream"):
            body = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in CHUNKS) + b"data: [DONE]\n\n"
            kind = "text/event-stream"
        else:
            body = json.dumps(
                HEAD | {"object": "chat.completion", "choices": CHOICES, "usage": USAGE["usage"]}
            ).encode()
            kind = "application/json"
        writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            + body
        )


def read(reply: Any) -> tuple[Any, ...]:
    """What a caller looks at in a whole reply."""
    first, second = reply.choices
    call = first.message.tool_calls[0]
    return (
        call.function.name,
        call.function.arguments,
        first.finish_reason,
        second.message.content,
        second.logprobs.content[0].token,
    )


def joined(chunks: list[Any]) -> tuple[Any, ...]:
    """The same, of a stream's chunks."""
    seen = [choice for one in chunks for choice in one.choices]
    calls = [call for choice in seen for call in choice.delta.tool_calls or ()]
    arguments = "".join(call.function.arguments or "" for call in calls)
    ends = {choice.index: choice.finish_reason for choice in seen if choice.finish_reason}
    content = "".join(choice.delta.content or "" for choice in seen if choice.index == 1)
    token = next(choice.logprobs.content[0].token for choice in seen if choice.logprobs)
    return (calls[0].function.name, arguments, ends[0], content, token)


ANSWERED = ("weather", '{"city":"Köln"}', "tool_calls", "{}", "a")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("sync", [False, True])
async def test_tools_formats_choices_logprobs_and_pictures_pass_through_the_openai_client(
    tmp_path: Path, sync: bool, stream: bool
) -> None:
    provider = Provider()
    async with scripted(tmp_path, provider) as running:
        place = {"base_url": running.url + "/v1", "api_key": key_of("app"), "max_retries": 0}

        def asked_in_sync() -> Any:
            with openai.OpenAI(**place) as client:
                reply = client.chat.completions.create(**RICH, stream=stream)
                return joined(list(reply)) if stream else read(reply)

        if sync:
            found = await asyncio.to_thread(asked_in_sync)
        else:
            async with openai.AsyncOpenAI(**place) as client:
                reply = await client.chat.completions.create(**RICH, stream=stream)
                found = joined([one async for one in reply]) if stream else read(reply)

        assert found == ANSWERED
        (upstream,) = provider.asked
        upstream.pop("stream", None)
        assert upstream.pop("stream_options", {"include_usage": True}) == {"include_usage": True}
        assert upstream == RICH
        (held,), (settled,) = running.events(CallReserved), running.events(CallSettled)
        assert (settled.outcome, settled.usage_source, settled.usage_output_tokens) == ("ok", "reported", 5)
        # by hand: two choices of 50 tokens at 2.00 USD per million are 200 millionths, and the input comes on top
        assert float(held.hold_usd) > 0.0002
