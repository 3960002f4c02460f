"""A stop with a hundred streams open, of a real process: red at once, a drain, an error frame for the rest, one end each."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest

from ledger import events as e
from ledger.segments import read_all
from ledger.store import Ledger, read_state
from ledger.verify import verify
from ledger.writer import now_utc
from tests.running import MEDIUM, STOP_S, Prepared, Running, gateway, prepared
from tests.served_home import USAGE, sse

STREAMS, ENDING = 100, 60
CHAT = "/v1/chat/completions"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
ENDS = (e.CallSettled, e.CallVoided, e.CallOrphaned)


class Found(NamedTuple):
    """What the clients saw. Shapes: `last` are the last lines of each stream."""

    last: Counter[str]
    refused: int
    code: int


class Provider:
    """Begins each stream, and ends those that may end once it is told to."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            size = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            asked = await reader.readexactly(size)
            writer.write(HEAD + sse("Hello", done=False))
            await writer.drain()
            if b"ending" in asked:
                await self.may_end.wait()
                writer.write(sse(None, USAGE))
            else:
                await reader.read()  # until the gateway hangs up
        finally:
            writer.close()


async def _stopped(keys: Prepared, *, drain_s: float, ending: int, signals: tuple[signal.Signals, ...]) -> Found:
    """Open the streams, send the first signal, see the red light, send the others, and read what comes."""
    script = Provider()
    server = await asyncio.start_server(script, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        with gateway(keys.home, url, server_drain_s=drain_s) as running:
            return await _seen(running, keys, script, ending, signals)


async def _seen(
    running: Running, keys: Prepared, script: Provider, ending: int, signals: tuple[signal.Signals, ...]
) -> Found:
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Authorization": f"Bearer {keys.app_key}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def opened(number: int) -> tuple[aiohttp.ClientResponse, bytes]:
            words = "ending" if number < ending else "endless"
            body = {"model": MEDIUM, "messages": [{"role": "user", "content": words}], "stream": True}
            answer = await session.post(running.url + CHAT, json=body | {"max_tokens": 50})
            return answer, await answer.content.readany()

        streams = await asyncio.gather(*map(opened, range(STREAMS)))
        running.process.send_signal(signals[0])
        ready = 200
        while ready == 200:
            async with session.get(running.url + "/readyz") as said:
                ready = said.status
        async with session.post(
            running.url + CHAT, json={"model": MEDIUM, "messages": [{"role": "user", "content": "x"}]}
        ) as late:
            refused = late.status
        for number in signals[1:]:
            running.process.send_signal(number)
        script.may_end.set()
        last = Counter(await asyncio.gather(*(_last(answer, first) for answer, first in streams)))
        return Found(last, refused, await asyncio.to_thread(running.process.wait, STOP_S))


async def _last(answer: aiohttp.ClientResponse, first: bytes) -> str:
    """How a stream ended: done, the code of an error frame, or cut."""
    try:
        async with answer:
            lines = (first + await answer.content.read()).rstrip().splitlines()
    except aiohttp.ClientError:
        return "cut"
    if lines[-1] == b"data: [DONE]":
        return "done"
    code = json.loads(lines[-1].removeprefix(b"data: "))["error"]["code"]
    return f"{code} after a [DONE]" if b"data: [DONE]" in lines else str(code)


def _one_end_each(keys: Prepared) -> list[e.CallSettled]:
    events = list(read_all(keys.home))
    held = [event.subject for event in events if isinstance(event, e.CallReserved)]
    ended = [event.subject for event in events if isinstance(event, ENDS)]
    assert len(held) == STREAMS
    assert sorted(held) == sorted(ended)
    assert read_state(keys.home).holds == {}
    assert verify(keys.home).findings == []
    return [event for event in events if isinstance(event, e.CallSettled)]


@pytest.mark.parametrize(
    ("drain_s", "ending", "signals"),
    [
        (2.0, ENDING, (signal.SIGTERM,)),  # the rest outlasts the drain
        (600.0, 0, (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGTERM)),  # a second signal cuts it short
    ],
    ids=["drained", "told again"],
)
def test_a_stop_with_a_hundred_streams_ends_each_once_and_says_so(
    tmp_path: Path, drain_s: float, ending: int, signals: tuple[signal.Signals, ...]
) -> None:
    keys = prepared(tmp_path / "home", cap_usd="5")

    found = asyncio.run(_stopped(keys, drain_s=drain_s, ending=ending, signals=signals))

    assert (found.refused, found.code) == (503, 0)
    assert found.last == Counter({"done": ending, "overloaded": STREAMS - ending})
    settled = _one_end_each(keys)
    outcomes = Counter((event.outcome, event.error_type, event.usage_source) for event in settled)
    assert outcomes == Counter({("ok", None, "reported"): ending, ("error", "shutdown", "estimated"): STREAMS - ending})
    holds = {event.subject: event.hold_usd for event in read_all(keys.home) if isinstance(event, e.CallReserved)}
    cut = [event for event in settled if event.usage_source == "estimated"]
    assert all(event.cost_usd == holds[event.subject] for event in cut)


def test_a_kill_within_the_drain_leaves_orphans_that_count_in_full(tmp_path: Path) -> None:
    keys = prepared(tmp_path / "home", cap_usd="5")

    found = asyncio.run(_stopped(keys, drain_s=600.0, ending=0, signals=(signal.SIGTERM, signal.SIGKILL)))

    assert (found.refused, found.code) == (503, -signal.SIGKILL)
    assert found.last == Counter({"cut": STREAMS})
    ledger = Ledger.open(keys.home.path, clock=now_utc)
    ledger.close()
    assert _one_end_each(keys) == []
    orphaned = [event for event in read_all(keys.home) if isinstance(event, e.CallOrphaned)]
    held = [event for event in read_all(keys.home) if isinstance(event, e.CallReserved)]
    assert sum(Decimal(o.hold_usd) for o in orphaned) == sum(Decimal(h.hold_usd) for h in held)
