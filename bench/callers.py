"""Callers of a gateway, and providers that do as a drill says, all in the drill's own loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp

from tests.running import MEDIUM

Script = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
TIMEOUT_S = 120.0


class Said(NamedTuple):
    """How a call was answered; status 0 when it was not."""

    status: int
    body: bytes
    headers: dict[str, str]


class Caller:
    """One customer with its key."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str) -> None:
        self._session, self.url, self._key = session, url, key

    async def post(self, body: bytes, fault: str | None = None, *, path: str = "/v1/chat/completions") -> Said:
        """One request, to its end. A connection that breaks is an answer too."""
        headers = {"Authorization": f"Bearer {self._key}"} | ({"x-simulate-fault": fault} if fault else {})
        try:
            async with self._session.post(self.url + path, data=body, headers=headers) as answer:
                return Said(answer.status, await answer.read(), dict(answer.headers))
        except (aiohttp.ClientError, TimeoutError):
            return Said(0, b"", {})

    async def drained(self, body: bytes) -> bytes:
        """A stream read as fast as it comes and kept nowhere: its last bytes."""
        headers, last = {"Authorization": f"Bearer {self._key}"}, b""
        no_end = aiohttp.ClientTimeout(total=None)
        url = self.url + "/v1/chat/completions"
        async with self._session.post(url, data=body, headers=headers, timeout=no_end) as answer:
            async for block in answer.content.iter_any():
                last = (last + block)[-64:]
        return last


@asynccontextmanager
async def calling(url: str, key: str) -> AsyncIterator[Caller]:
    """A caller with as many connections as it likes."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield Caller(session, url, key)


def chat(text: str, **more: Any) -> bytes:
    """A chat request, compact, so that a gateway that adds nothing sends it on byte for byte."""
    asked = {"model": MEDIUM, "messages": [{"role": "user", "content": text}], **more}
    return json.dumps(asked, separators=(",", ":")).encode()


async def at_once(works: list[Awaitable[Any]], limit: int) -> list[Any]:
    """All of these, so many at a time, in the order they stand."""
    room = asyncio.Semaphore(limit)

    async def one(work: Awaitable[Any]) -> Any:
        async with room:
            return await work

    return list(await asyncio.gather(*map(one, works)))


@asynccontextmanager
async def answering(script: Script) -> AsyncIterator[str]:
    """A provider that reads a request, does as the script says, and hangs up; gives its URL."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            size = next(
                (
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                ),
                0,
            )
            await script(head + await reader.readexactly(size), writer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the gateway has left, which some drills want
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=1024)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
