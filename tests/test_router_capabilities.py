"""What a provider takes: by its host, as the settings say against it, and what a refusal says to change."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from served_home import MEDIUM, completion, http, scripted, sse

from ledger.events import CallReserved, CallSettled, CallVoided
from router import capabilities as known
from router.capabilities import BY_HOST, UNKNOWN, Capabilities, OutputBound, advice, capabilities
from router.config import read
from router.provider_config import Provider

NEW, OLD = "max_completion_tokens", "max_tokens"
USED = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://api.openai.com/v1", BY_HOST["openai.com"]),
        ("https://eu.api.openai.com/v1", BY_HOST["openai.com"]),
        ("https://API.Mistral.AI:443/v1", BY_HOST["mistral.ai"]),
        ("https://api.mistral.ai./v1", BY_HOST["mistral.ai"]),
        ("https://openrouter.ai/api/v1", BY_HOST["openrouter.ai"]),
        ("https://notmistral.ai/v1", UNKNOWN),
        ("https://mistral.ai.example.org/v1", UNKNOWN),
        ("https://global-apis.com/v1", UNKNOWN),
        ("http://127.0.0.1:8000/v1", UNKNOWN),
        ("http://[::1]:8000/v1", UNKNOWN),
    ],
)
def test_a_provider_is_known_by_its_host_and_what_lies_under_it(base_url: str, expected: Capabilities) -> None:
    assert capabilities(base_url) == expected


@pytest.mark.parametrize(
    ("host", "bound", "asks", "unasked", "metadata"),
    [
        ("openai.com", NEW, True, False, True),
        ("mistral.ai", OLD, False, True, True),
        ("deepseek.com", OLD, True, False, True),
        ("groq.com", NEW, True, False, False),
        ("openrouter.ai", NEW, False, True, True),
        ("together.ai", OLD, True, False, True),
        ("together.xyz", OLD, True, False, True),
    ],
)
def test_the_table_is_as_the_docstring_draws_it(
    host: str, bound: OutputBound, asks: bool, unasked: bool, metadata: bool
) -> None:
    takes = BY_HOST[host]

    assert (takes.output_bound, takes.asks_stream_usage) == (bound, asks)
    assert (takes.sends_usage_unasked, takes.takes_metadata) == (unasked, metadata)
    row = next(line for line in (known.__doc__ or "").splitlines() if line.startswith("|") and host in line)
    assert f"`{bound}`" in row


def test_every_host_of_the_table_is_tried_above() -> None:
    rows = [line for line in (known.__doc__ or "").splitlines() if line.startswith("|")][2:]

    assert {host.strip() for row in rows for host in row.split("|")[1].split(",")} == set(BY_HOST)


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("", Capabilities(OLD, takes_stream_usage=False, sends_usage_unasked=True)),
        ("asks_stream_usage = true", Capabilities(OLD)),
        ("asks_stream_usage = false", Capabilities(OLD, takes_stream_usage=False, sends_usage_unasked=True)),
        (
            f'output_bound = "{NEW}"\ntakes_metadata = false',
            Capabilities(NEW, takes_stream_usage=False, sends_usage_unasked=True, takes_metadata=False),
        ),
    ],
)
def test_a_setting_stands_against_the_table(toml: str, expected: Capabilities) -> None:
    config = read(f'[provider]\nbase_url = "https://api.mistral.ai/v1"\n{toml}', {})

    assert config.provider.capabilities == expected


def test_the_environment_sets_them_too_and_without_any_nothing_is_known() -> None:
    said = {
        "HALFPENNY_PROVIDER_ASKS_STREAM_USAGE": "false",
        "HALFPENNY_PROVIDER_OUTPUT_BOUND": OLD,
        "HALFPENNY_PROVIDER_TAKES_METADATA": "false",
    }

    assert Provider().capabilities == UNKNOWN == (None, True, False, True)
    assert read("", said).provider.capabilities == Capabilities(OLD, takes_stream_usage=False, takes_metadata=False)


def extra(*loc: str) -> bytes:
    """Mistral's refusal of a field, as its users report it."""
    detail = [{"type": "extra_forbidden", "loc": ["body", *loc], "msg": "Extra inputs are not permitted", "input": 9}]
    said = {"object": "error", "message": {"detail": detail}, "type": "invalid_request_error", "param": None}
    return json.dumps(said).encode()


OPENAI = b"""{"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model. \
Use 'max_completion_tokens' instead.", "type": "invalid_request_error", "param": "max_tokens", "code": "unsupported_parameter"}}"""
GROQ = b"""{"error": {"message": "property 'stream_options' is unsupported, did you mean 'stream'?", "type": "x"}}"""
GROQ_METADATA = b"""{"error": {"message": "`metadata` is not supported with this model", "param": "metadata"}}"""
DEEPSEEK = b"""{"error": {"message": "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"}}"""


@pytest.mark.parametrize(
    ("status", "refusal", "sent", "setting"),
    [
        (422, extra(NEW), {NEW: 9}, f'output_bound = "{OLD}"'),
        (422, extra("stream_options", "include_usage"), {"stream_options": {}, OLD: 9}, "asks_stream_usage = false"),
        (400, OPENAI, {OLD: 9}, f'output_bound = "{NEW}"'),
        (400, GROQ, {"stream_options": {}, NEW: 9}, "asks_stream_usage = false"),
        (400, GROQ_METADATA, {"metadata": {}}, "takes_metadata = false"),
        (400, DEEPSEEK, {OLD: 9_000}, None),  # it knows the field and refuses the value
        (422, extra("tools"), {NEW: 9, "tools": []}, None),  # a field of the client's, of which no setting speaks
        (422, extra(NEW), {"messages": [{NEW: 9}]}, None),  # not sent at the top
        (500, extra(NEW), {NEW: 9}, None),
        (400, b"", {NEW: 9}, None),
        (400, b"\xff" * 50_000 + extra(NEW), {NEW: 9}, None),
    ],
)
def test_a_refusal_of_a_field_names_the_setting_to_change(
    status: int, refusal: bytes, sent: dict[str, Any], setting: str | None
) -> None:
    said = advice(status, refusal, json.dumps(sent).encode())

    assert (said is None) == (setting is None)
    assert setting is None or f"set provider.{setting} in halfpenny.toml" in (said or "")


class Mistral:
    """Takes `max_tokens` alone, refuses `include_usage`, and sends usage unasked in the chunk with the finish reason."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, request: bytes, writer: Any) -> None:
        asked = json.loads(request.partition(b"\r\n\r\n")[2])
        self.asked.append(asked)
        last = {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}], "usage": USED}
        if NEW in asked:
            answer = http(extra(NEW), status="422 Unprocessable Entity")
        elif "include_usage" in (asked.get("stream_options") or {}):
            answer = http(extra("stream_options", "include_usage"), status="422 Unprocessable Entity")
        elif asked.get("stream"):
            answer = http(sse("Hello", last), content_type="text/event-stream")
        else:
            answer = http(completion("simple", usage=USED, model=asked["model"]))
        writer.write(answer)


# 10 tokens in at 0.40 USD a million, 5 out at 2.00.
COST = Decimal("0.000014")


@pytest.mark.anyio
@pytest.mark.parametrize("wants", [True, False])
async def test_a_provider_that_refuses_stream_options_and_sends_usage_unasked_is_charged_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wants: bool
) -> None:
    monkeypatch.setitem(BY_HOST, "127.0.0.1", BY_HOST["mistral.ai"])
    provider = Mistral()
    async with scripted(tmp_path, provider) as running:
        options = {"stream_options": {"include_usage": True}} if wants else {}
        status, body = await running.stream(max_tokens=None, **options)

        (settled,) = running.events(CallSettled)
        assert (status, settled.usage_source, Decimal(settled.cost_usd)) == (200, "reported", COST)
        assert "stream_options" not in provider.asked[0]
        assert body.endswith(b"data: [DONE]\n\n")
        chunks = [json.loads(line[6:]) for line in body.split(b"\n\n") if line.startswith(b"data: {")]
        # A client that asked for usage reads it in a last chunk without choices, as from OpenAI.
        assert (chunks[-1]["choices"] == []) == wants
        assert chunks[-1]["usage"] == USED


@pytest.mark.anyio
async def test_a_provider_that_refuses_the_newer_bound_gets_the_older_one_in_every_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BY_HOST, "127.0.0.1", BY_HOST["mistral.ai"])
    provider = Mistral()
    async with scripted(tmp_path, provider) as running:
        routed, _, _ = await running.chat(model="auto", max_tokens=None)
        own, _, _ = await running.chat(model=MEDIUM, max_tokens=None, max_completion_tokens=40)

        sorting, drafting, named = running.events(CallReserved)
        assert (routed, own) == (200, 200)
        assert [asked.get(OLD) for asked in provider.asked] == [16, drafting.max_output_tokens, 40]
        assert (sorting.max_output_tokens, named.max_output_tokens) == (16, 40)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("", f'It does not take {NEW}: set provider.output_bound = "{OLD}" in halfpenny.toml and start again.'),
        (
            f'provider.output_bound = "{OLD}"',
            "It does not take stream_options: set provider.asks_stream_usage = false in halfpenny.toml and start again.",
        ),
        (f'provider.output_bound = "{OLD}"\nprovider.asks_stream_usage = false', None),
    ],
)
async def test_at_an_unknown_address_each_refusal_says_what_to_set_until_the_call_goes_through(
    tmp_path: Path, settings: str, said: str | None
) -> None:
    async with scripted(tmp_path, Mistral(), settings=settings) as running:
        status, body = await running.stream(max_tokens=None)

        ended = running.events(CallVoided, CallSettled)
        assert len(ended) == 1  # a refused field is no reason to ask again
        if said is None:
            assert (status, ended[0].usage_source) == (200, "reported")
        else:
            assert (status, type(ended[0])) == (422, CallVoided)
            assert json.loads(body)["error"]["message"] == f"global_api answered with status 422. {said}"
