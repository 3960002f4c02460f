"""The load of the gateway's benchmark: raw HTTP/1.1 over kept connections, a request as soon as the last one is answered."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import NamedTuple, cast

import msgspec
import uvloop

from bench.gateway_servers import HOST, MODEL, PACED, content_length

TICKET = "My card was charged twice for the same order and I would like one of the two back. " * 10


class Request(NamedTuple):
    """What is asked for: a whole reply, a stream as fast as it comes, or one in the time a model takes."""

    stream: bool = False
    paced: bool = False

    def over_wire(self, key: str) -> bytes:
        """The bytes of one request."""
        asked: dict[str, object] = {
            "model": MODEL,
            "messages": [{"role": "user", "content": PACED + TICKET if self.paced else TICKET}],
            "max_completion_tokens": 400,
        }
        if self.stream:
            asked |= {"stream": True, "stream_options": {"include_usage": True}}
        body = msgspec.json.encode(asked)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {key}\r\n"
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class Took(NamedTuple):
    """One round. Units: seconds; `first_s` until the first byte of a body."""

    whole_s: list[float]
    first_s: list[float]
    lasted_s: float


class Figures(NamedTuple):
    """A round in figures. Units: answers a second; seconds; CPU seconds an answer, 0 where it is not known."""

    rate: float
    p50_s: float
    p99_s: float
    first_p50_s: float
    first_p99_s: float
    cpu_s: float


class _Caller(asyncio.Protocol):
    """One connection that asks again as soon as it has its answer, and notes how long each took."""

    def __init__(self, request: bytes, took: Took, until: float) -> None:
        self._request, self._took, self._until = request, took, until
        self._buffer, self._size = b"", -1
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(ConnectionError(f"the server closed the connection: {exc}"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._size < 0 and (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            self._size = self._size_after(self._buffer[:end])
            self._head = end + 4
        if self._size >= 0 and not self._has_begun and len(self._buffer) > self._head:
            self._has_begun = True
            self._took.first_s.append(time.perf_counter() - self._asked)
        if (self._size > 0 and len(self._buffer) >= self._size) or (
            self._size == 0 and self._buffer.endswith(b"0\r\n\r\n")
        ):
            self._answered()

    def _size_after(self, head: bytes) -> int:
        """The bytes of the whole answer; 0 when it comes in chunks."""
        if not head.startswith(b"HTTP/1.1 200"):
            self.ended.set_exception(RuntimeError(self._buffer[:500].decode(errors="replace")))
            self._transport.close()
        return 0 if b"chunked" in head else len(head) + 4 + content_length(head)

    def _answered(self) -> None:
        now = time.perf_counter()
        self._took.whole_s.append(now - self._asked)
        if now < self._until:
            self._ask()
        elif not self.ended.done():
            self.ended.set_result(None)
            self._transport.close()

    def _ask(self) -> None:
        self._buffer, self._size, self._has_begun = b"", -1, False
        self._asked = time.perf_counter()
        self._transport.write(self._request)


def loaded(port: int, request: bytes, connections: int, seconds: float) -> Took:
    """One round of load. Errors: RuntimeError for an answer other than 200, ConnectionError."""
    return uvloop.run(_load(port, request, connections, seconds))


async def _load(port: int, request: bytes, connections: int, seconds: float) -> Took:
    loop, began = asyncio.get_running_loop(), time.perf_counter()
    took = Took([], [], 0.0)
    callers = [
        (await loop.create_connection(lambda: _Caller(request, took, began + seconds), HOST, port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(caller.ended for caller in callers))
    return took._replace(lasted_s=time.perf_counter() - began)


def figures(took: Took, cpu_s: float) -> Figures:
    """What a round comes to; `cpu_s` is the server's in all of it."""
    answers = len(took.whole_s)
    whole, first = statistics.quantiles(took.whole_s, n=100), statistics.quantiles(took.first_s, n=100)
    return Figures(answers / took.lasted_s, whole[49], whole[98], first[49], first[98], cpu_s / answers)


def medians(rounds: list[Figures]) -> Figures:
    """The median of each figure over the rounds."""
    return Figures(*(statistics.median(values) for values in zip(*rounds, strict=True)))
