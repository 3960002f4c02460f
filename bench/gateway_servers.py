"""The servers that bench/gateway.py measures, each run by this module in a process of its own.

provider   answers at once with a constant reply, whole or as a stream
floor      the smallest reverse proxy with aiohttp: body read, body sent, bytes back
gate       the same with key check, JSON parse, model map, usage read and cost, all in memory
ours       halfpenny serve on a home of its own
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import aiohttp
import msgspec
import uvloop
from aiohttp import web

if TYPE_CHECKING:
    from ledger.events import Event
    from ledger.home import Home

MODEL = "mistralai/Mistral-Medium-3"
HOST = "127.0.0.1"
STREAM_EVENTS = 54
WORDS = STREAM_EVENTS - 4
PACED = "In the time a model takes: "  # what a request says to get its stream so
FIRST_TOKEN_S, TOKEN_S = 0.2, 0.01
KEPT_S = 60  # an idle connection to the provider: no row begins a round with handshakes
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def reply_body() -> bytes:
    """What the provider answers: about 1.2 KB with usage."""
    return msgspec.json.encode(
        {
            "id": "chatcmpl-0199a1b27c3d7e4f8a5b6c7d",
            "object": "chat.completion",
            "created": 1759276800,
            "model": MODEL,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "We have looked at your order. " * 30},
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": 230,
                "completion_tokens": 210,
                "total_tokens": 440,
                "prompt_tokens_details": {"cached_tokens": 64},
            },
        }
    )


def stream_events() -> tuple[bytes, ...]:
    """The same as 54 events: a role, words, a finish, usage, the end."""

    def event(choices: list[object], **more: object) -> bytes:
        frame = {"id": "chatcmpl-0199a1b2", "object": "chat.completion.chunk", "created": 1759276800, "model": MODEL}
        return b"data: " + msgspec.json.encode({**frame, "choices": choices, **more}) + b"\n\n"

    def delta(content: dict[str, str], finish: str | None = None) -> bytes:
        return event([{"index": 0, "delta": content, "finish_reason": finish}])

    words = (delta({"content": f" word number {number}"}) for number in range(WORDS))
    usage = {"prompt_tokens": 230, "completion_tokens": 210, "total_tokens": 440}
    return (delta({"role": "assistant"}), *words, delta({}, "stop"), event([], usage=usage), b"data: [DONE]\n\n")


_WANTS_STREAM = re.compile(rb'"stream": ?true')  # the gate writes its JSON with spaces


class _Provider(asyncio.Protocol):
    """The least that answers HTTP/1.1: a constant reply once a request is whole; a stream goes out an event a turn of the loop."""

    def __init__(self) -> None:
        body, events = reply_body(), stream_events()
        self._whole = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
            len(body),
            body,
        )
        self._stream = (STREAM_HEAD, *(b"%x\r\n%b\r\n" % (len(event), event) for event in events), b"0\r\n\r\n")
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            size = end + 4 + content_length(self._buffer[:end])
            if len(self._buffer) < size:
                return
            request, self._buffer = self._buffer[:size], self._buffer[size:]
            if PACED.encode() in request:
                self._pace(asyncio.get_running_loop().time() + FIRST_TOKEN_S, 0)
            elif _WANTS_STREAM.search(request):
                self._send(0)
            else:
                self._transport.write(self._whole)

    def _pace(self, begins_at: float, number: int) -> None:
        """The next word at its time: the role goes with the first, all that follows the words with the last."""
        if number:
            first = 0 if number == 1 else number + 1
            last = number + 2 if number < WORDS else len(self._stream)
            self._transport.write(b"".join(self._stream[first:last]))
        if number < WORDS:
            asyncio.get_running_loop().call_at(begins_at + number * TOKEN_S, self._pace, begins_at, number + 1)

    def _send(self, number: int) -> None:
        self._transport.write(self._stream[number])
        if number + 1 < len(self._stream):
            asyncio.get_running_loop().call_soon(self._send, number + 1)


def content_length(head: bytes) -> int:
    """What the head of a request or an answer says about its body; 0 when nothing."""
    at = head.lower().find(b"content-length:")
    return int(head[at + 15 : head.find(b"\r\n", at) if head.find(b"\r\n", at) > 0 else None]) if at >= 0 else 0


async def _serve_provider() -> None:
    server = await asyncio.get_running_loop().create_server(_Provider, HOST, 0, backlog=1024)
    _say(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


async def _serve_proxy(upstream: str, *, is_gate: bool) -> None:
    """The floor, and with `is_gate` the gate."""
    keys, prices = {"hp_bench": "acme"}, {MODEL: (Decimal("0.40"), Decimal("2.00"))}
    spent = {"acme": Decimal(0)}
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_S)
    session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)

    def charge(usage: dict[str, int], model: str) -> None:
        rates = prices[model]
        cost = usage["prompt_tokens"] * rates[0] + usage["completion_tokens"] * rates[1]
        spent["acme"] += cost / 1_000_000

    async def handle(request: web.Request) -> web.StreamResponse:
        body, model = await request.read(), MODEL
        if is_gate:
            if request.headers["Authorization"].removeprefix("Bearer ") not in keys:
                return web.Response(status=401)
            parsed = json.loads(body)
            model = parsed["model"]
            body = json.dumps({**parsed, "model": model}).encode()
        headers = {"Content-Type": "application/json"}
        async with session.post(f"{upstream}/v1/chat/completions", data=body, headers=headers) as answer:
            if answer.content_type == "text/event-stream":
                response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
                await response.prepare(request)
                async for block in answer.content.iter_any():
                    if is_gate and (at := block.find(b'"usage":{')) >= 0:
                        charge(json.loads(block[at + 8 : block.find(b"}", at) + 1]), model)
                    await response.write(block)
                await response.write_eof()
                return response
            body = await answer.read()
        if is_gate:
            charge(json.loads(body)["usage"], model)
        return web.Response(body=body, content_type="application/json")

    app = web.Application(client_max_size=2**22)
    app.router.add_post("/v1/chat/completions", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0, backlog=1024).start()
    _say(runner.addresses[0][1])
    await asyncio.Event().wait()


def _serve_ours(home: Path) -> None:
    """The real service, with its real entry."""
    from router.cli import run_service  # noqa: PLC0415 (the other servers must not pay for it)

    run_service(home, None)


def made_home(path: Path, upstream: str) -> str:
    """A home with a client, a key, a price and a hard cap; returns the key."""
    from ledger import admin  # noqa: PLC0415
    from ledger.home import create  # noqa: PLC0415
    from ledger.prices import read_book  # noqa: PLC0415
    from ledger.store import Ledger  # noqa: PLC0415

    home, start = create(path, settings(upstream)), datetime(2025, 1, 1, tzinfo=UTC)
    key, issued = issued_key(home, start)
    book = read_book(files("ledger").joinpath("pricebook.toml").read_text(encoding="utf-8"))
    price = next(found for found in book if found.model == MODEL)
    ledger = Ledger.open(home.path, clock=lambda: datetime.now(UTC))
    for event in (
        admin.client_added(
            admin.Stamp("bench-client", start),
            "acme",
            name=None,
            currency="EUR",
            zone_name="Europe/Berlin",
            edit_rate=None,
            private=False,
        ),
        issued,
        admin.budget_set(admin.Stamp("bench-cap", start), "acme", "99999", hard=True, valid_from=None),
        admin.price_listed(admin.Stamp("bench-price", start), price),
    ):
        ledger.append_now(event)
    ledger.close()
    return key


def settings(upstream: str) -> str:
    """The configuration of a home that forwards to a provider, whose connections are kept as long as the floor and the gate keep theirs."""
    return f'[server]\nport = 0\n[provider]\nbase_url = "{upstream}/v1"\nkeepalive_s = {KEPT_S}\n'


def issued_key(home: Home, at: datetime) -> tuple[str, Event]:
    """A new key of the client's, and the event that issues it."""
    from ledger import admin  # noqa: PLC0415
    from ledger.home import key_hash, new_key  # noqa: PLC0415

    key, key_id = new_key()
    digest = key_hash(home.pepper(), key)
    return key, admin.key_issued(admin.Stamp(f"bench-{key_id}", at), key_id, digest, role="app", client_id="acme")


class Server(NamedTuple):
    """One of them, running."""

    process: subprocess.Popen[str]
    port: int

    def cpu_s(self) -> float:
        """User and system time of the process and its threads so far."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks.iterdir()) / 1e9

    def resident_mb(self) -> float:
        """Its memory now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def pin(self, cores: set[int]) -> None:
        """Keep all its threads on these cores."""
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), cores)


@contextlib.contextmanager
def server(*arguments: str, cpu: int | None = None) -> Iterator[Server]:
    """One of them in a process of its own, on a core of its own if one is named; it is stopped in order."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.gateway_servers", *arguments], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        line = ""
        while "http://" not in line:
            if not (line := process.stderr.readline()):
                raise RuntimeError(f"{arguments} ended with {process.wait()}")
        found = Server(process, int(line.strip().rpartition(":")[2]))
        if cpu is not None:
            found.pin({cpu})
        # Whoever reads no more of its log lets it stand still once the pipe is full.
        threading.Thread(target=deque, args=(process.stderr, 0), daemon=True).start()
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _say(port: int) -> None:
    print(f"listens on http://{HOST}:{port}", file=sys.stderr, flush=True)


def main() -> None:
    """Run one of them; it says its URL on stderr once it answers."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway_servers")
    parser.add_argument("kind", choices=("provider", "floor", "gate", "ours"))
    parser.add_argument("--upstream")
    parser.add_argument("--home", type=Path)
    asked = parser.parse_args()
    if asked.kind == "provider":
        uvloop.run(_serve_provider())
    elif asked.kind == "ours":
        _serve_ours(asked.home)
    else:
        uvloop.run(_serve_proxy(asked.upstream, is_gate=asked.kind == "gate"))


if __name__ == "__main__":
    main()
