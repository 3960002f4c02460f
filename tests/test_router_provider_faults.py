"""What a provider can send beside the simulator's faults: one answer to the client, one end in the ledger, never a zero."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from served_home import MEDIUM, completion, http, scripted, served, sse

from ledger.events import CallReserved, CallSettled, CallVoided


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
NAN = completion(usage=False)[:-1] + b', "usage": {"prompt_tokens": NaN, "completion_tokens": 5}}'
LATE = sse("one", None, {"choices": []}, {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}})
AFTER = sse("one", None) + sse({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}})
TWICE = sse(
    "one",
    None,
    {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
    {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}},
)
CASES = [
    # what is sent, status to the client, outcome, error_type, where the usage comes from
    ("html", http(b"<html>Welcome</html>", content_type="text/html"), 502, "error", "malformed_reply", "estimated"),
    ("nan", http(NAN), 502, "error", "malformed_reply", "estimated"),
    ("odd type", http(completion(), content_type="text/plain"), 200, "ok", None, "reported"),
    ("headers", http(completion(), more="X-Odd: 1\r\n" * 100_000), 502, "error", "bad_http", "estimated"),
    ("long header", http(completion(), more=f"X-Odd: {'x' * 10**6}\r\n"), 502, "error", "bad_http", "estimated"),
    ("no http", b"SSH-2.0-OpenSSH_9.2\r\n", 502, "error", "bad_http", "estimated"),
    ("short", http(completion())[:-9], 502, "upstream_truncated", "reply_cut", "estimated"),
    ("late", STREAM + LATE, 200, "ok", None, "reported"),
    ("after the end", STREAM + AFTER, 200, "ok", None, "estimated"),
    ("twice", STREAM + TWICE, 200, "ok", None, "reported"),
]


@pytest.mark.anyio
@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
async def test_an_odd_answer_has_one_end_that_is_charged(
    tmp_path: Path, case: tuple[str, bytes, int, str, str | None, str]
) -> None:
    _, sent, status, outcome, error_type, source = case

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()

    async with scripted(tmp_path, answer, settings="provider.retries = 0") as running:
        if sent.startswith(STREAM):
            got, body = await running.stream()
            assert body.endswith(b"data: [DONE]\n\n")
        else:
            got, _, _ = await running.chat()

        (hold,), (settled,) = running.events(CallReserved), running.events(CallSettled)

    assert got == status
    assert (settled.outcome, settled.error_type, settled.usage_source) == (outcome, error_type, source)
    # 10 in at 0.40 and 5 out at 2.00 USD a million where usage is believed
    assert settled.cost_usd == (hold.hold_usd if source == "estimated" else "0.000014")
    assert settled.request_model == MEDIUM


@pytest.mark.anyio
@pytest.mark.parametrize("status", [502, 503, 529])
async def test_a_refusal_for_the_moment_is_passed_on_and_tried_again_only_where_nothing_was_processed(
    tmp_path: Path, status: int
) -> None:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b"{}", status=f"{status} Odd"))

    async with scripted(tmp_path, answer) as running:
        got, _, _ = await running.chat()

        assert got == status
        assert [event.error_type for event in running.events(CallVoided)] == [f"status_{status}"] * (
            1 if status == 502 else 3
        )


@pytest.mark.anyio
async def test_a_handshake_that_fails_is_proof_that_nothing_was_billed(tmp_path: Path) -> None:
    async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(no_tls, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, served(tmp_path, f"https://127.0.0.1:{port}", settings="provider.retries = 0") as running:
        got, _, answer = await running.chat()

        assert (got, answer["error"]["code"]) == (502, "upstream_unreachable")
        assert [event.error_type for event in running.events(CallVoided)] == ["tls_failed"]
