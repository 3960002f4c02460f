"""What has begun may not trickle, however slow an honest provider is; and a slow reader is nobody else's trouble."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from served_home import MEDIUM, USAGE, Served, completion, http, key_of, scripted, sse, until

from ledger.events import CallReserved, CallSettled

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
QUICK = "provider.trickle_s = 0.3\nprovider.trickle_bytes = 40"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def drips(head: bytes, body: bytes, pause_s: float) -> Any:
    """A provider that sends the body byte by byte."""

    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for at in range(len(body)):
            writer.write(body[at : at + 1])
            await writer.drain()
            await asyncio.sleep(pause_s)

    return script


def sends(*parts: bytes, pause_s: float) -> Any:
    """A provider that sends these, with a pause after each."""

    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return script


@pytest.mark.anyio
@pytest.mark.parametrize("begins", [b"", sse("word", done=False)])
async def test_a_stream_that_drips_ends_as_a_timeout_long_before_the_deadline(tmp_path: Path, begins: bytes) -> None:
    # A byte in 0.05 s is 6 in 0.3 s; each comes well within the read timeout of two minutes.
    script = drips(HEAD + begins, sse("Hello", None, USAGE), 0.05)
    async with scripted(tmp_path, script, settings=QUICK) as running:
        status, body = await asyncio.wait_for(running.stream(), 5)

        (end,) = running.events(CallSettled)
        (hold,) = running.events(CallReserved)
        assert (end.outcome, end.error_type, end.cost_usd) == ("timeout", "too_slow", hold.hold_usd)
        assert status == (200 if begins else 504)
        assert b'"upstream_timeout"' in body
        assert b"[DONE]" not in body


@pytest.mark.anyio
async def test_a_whole_reply_that_drips_is_a_504_charged_at_its_hold(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    async with scripted(tmp_path, drips(head, completion(), 0.05), settings=QUICK) as running:
        status, _, answer = await asyncio.wait_for(running.chat(), 5)

        (end,) = running.events(CallSettled)
        (hold,) = running.events(CallReserved)
        assert (status, answer["error"]["code"]) == (504, "upstream_timeout")
        assert (end.outcome, end.error_type, end.cost_usd) == ("timeout", "too_slow", hold.hold_usd)


WHOLE = sse("one", "two", None, USAGE)
EVENTS = [event + b"\n\n" for event in WHOLE.split(b"\n\n")[:-1]]
HONEST = {
    "words far apart": EVENTS,
    "comments between them": [EVENTS[0], *[b": keep-alive\n\n"] * 3, *EVENTS[1:]],
    "a comment of single lines": [EVENTS[0], *[b": ping\n"] * 3, b"\n", *EVENTS[1:]],
    "the blank line comes with the next event": [
        EVENTS[0][:-1],
        *[b"\n" + event[:-1] for event in EVENTS[1:]],
        b"\n",
    ],
    "an event in two parts": [EVENTS[0][:20], EVENTS[0][20:], *EVENTS[1:]],
}


@pytest.mark.anyio
@pytest.mark.parametrize("parts", HONEST.values(), ids=HONEST)
async def test_a_stream_may_be_slow_between_its_events(tmp_path: Path, parts: Sequence[bytes]) -> None:
    script = sends(HEAD, *parts, pause_s=0.4)  # longer than the window, and fewer bytes than it asks for
    async with scripted(
        tmp_path, script, settings="provider.trickle_s = 0.3\nprovider.trickle_bytes = 1000"
    ) as running:
        status, body = await asyncio.wait_for(running.stream(), 10)

        assert (status, b"[DONE]" in body) == (200, True)
        assert [event.outcome for event in running.events(CallSettled)] == ["ok"]


@pytest.mark.anyio
async def test_a_provider_may_keep_a_whole_reply_waiting_with_blank_lines(tmp_path: Path) -> None:
    body = completion()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    script = sends(head, *[b"\n"] * 5, body[:40], body[40:], pause_s=0.2)
    async with scripted(tmp_path, script, settings=QUICK) as running:
        status, _, _ = await asyncio.wait_for(running.chat(), 5)

        assert status == 200
        assert [event.outcome for event in running.events(CallSettled)] == ["ok"]


@pytest.mark.anyio
async def test_an_answer_that_drips_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    async def either(request: bytes, writer: asyncio.StreamWriter) -> None:
        if b"slow" in request:
            await drips(HEAD, sse("Hello", None, USAGE), 0.02)(request, writer)
        else:
            writer.write(http(completion()))

    async with scripted(tmp_path, either, settings="provider.trickle_s = 2") as running:
        slow = [
            asyncio.create_task(running.stream(messages=[{"role": "user", "content": f"slow {n}"}])) for n in range(50)
        ]
        await until(lambda: len(running.ledger.state.holds) == 50)

        statuses = [(await asyncio.wait_for(running.chat(key="other"), 1))[0] for _ in range(20)]

        assert statuses == [200] * 20
        assert not any(task.done() for task in slow)
        await asyncio.gather(*slow)
        outcomes = [event.outcome for event in running.events(CallSettled)]
        assert (outcomes.count("timeout"), outcomes.count("ok")) == (50, 20)


POURED, AT_MOST = 96 * 2**20, 48 * 2**20  # bytes; two pairs of sockets may buffer some 40 MB, and take 9


@pytest.mark.anyio
async def test_a_slow_reader_holds_its_provider_back_and_neither_memory_nor_anybody_else(tmp_path: Path) -> None:
    event = sse("word " * 4000, done=False)
    sent = 0

    async def pour(request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        if b'"stream"' not in request:
            writer.write(http(completion()))
            return
        writer.write(HEAD)
        while sent < POURED:
            writer.write(event)
            await writer.drain()
            sent += len(event)
        writer.write(sse(None, USAGE))
        await writer.drain()

    # Events end in the middle of blocks, so the reader's pause lies amid one; it is not the provider's.
    async with scripted(tmp_path, pour, settings=QUICK) as running:
        reader, writer = await _slow_reader(running)
        seen = -1
        while not sent or seen != sent:  # until nothing moves any more
            seen = sent
            await asyncio.sleep(0.5)

        statuses = [(await asyncio.wait_for(running.chat(key="other"), 1))[0] for _ in range(20)]

        assert statuses == [200] * 20
        assert seen <= sent <= AT_MOST
        assert [e.outcome for e in running.events(CallSettled)] == ["ok"] * 20  # the stream goes on
        got = 0
        last = b""
        while block := await reader.read(2**20):
            got, last = got + len(block), (last + block)[-400:]
        writer.close()
        assert b"[DONE]" in last
        assert got > POURED
        assert [e.outcome for e in running.events(CallSettled)] == ["ok"] * 21


async def _slow_reader(running: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that has asked for a stream and does not read it yet."""
    asked = json.dumps({"model": MEDIUM, "messages": [{"role": "user", "content": "x"}], "stream": True}).encode()
    mine = socket.socket()
    mine.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    mine.setblocking(False)
    await asyncio.get_running_loop().sock_connect(mine, ("127.0.0.1", int(running.url.rpartition(":")[2])))
    reader, writer = await asyncio.open_connection(sock=mine, limit=65_536)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {key_of('app')}\r\nContent-Length: {len(asked)}\r\n\r\n"
    writer.write(head.encode() + asked)
    return reader, writer
