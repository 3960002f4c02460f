"""The client's side of a stream: bytes go out as they come, and its slowness is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from router.event_stream import Collected

# Unsent bytes up to which a write cannot be paused: asyncio's low-water mark. Above it a clock watches the write.
NEVER_PAUSED_BYTES = 2**14
# In a request: what collects all that goes out, whoever is still listening.
RECORDED = web.RequestKey("recorded", Collected)


class StreamClient:
    """The client's side of a stream. Its slowness is bounded: one that reads nothing for so long counts as gone."""

    def __init__(self, request: web.Request, headers: dict[str, str], stall_s: float) -> None:
        self._request, self._stall_s, self._has_left = request, stall_s, False
        self.is_started = False
        self.response = web.StreamResponse(headers={**headers, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self.response.content_type = "text/event-stream"

    @property
    def is_gone(self) -> bool:
        return self._has_left or has_left(self._request)

    def show(self, headers: Mapping[str, str]) -> None:
        """More headers, before anything is sent."""
        self.response.headers.update(headers)

    async def write(self, data: bytes) -> None:
        """Send bytes, waiting while the client is slow; upstream waits with it, so nothing piles up here."""
        await self._send(data, self.response.write)

    async def finish(self, data: bytes) -> None:
        """Send the last bytes and close the body, in one write."""
        await self._send(data, self.response.write_eof)

    async def _send(self, data: bytes, send: Callable[[bytes], Awaitable[None]]) -> None:
        if (recorded := self._request.get(RECORDED)) is not None:
            recorded.take(data)
        if self.is_gone:
            return
        try:
            if not self.is_started:
                self.is_started = True
                await self.response.prepare(self._request)
            transport = self._request.transport
            if transport is None or transport.get_write_buffer_size() + len(data) <= NEVER_PAUSED_BYTES:
                await send(data)
            else:
                async with asyncio.timeout(self._stall_s):
                    await send(data)
        except ConnectionError:
            self._has_left = True
        except TimeoutError:
            self._has_left = True
            if (transport := self._request.transport) is not None:
                transport.abort()


def has_left(request: web.Request) -> bool:
    """Whether the client has hung up."""
    transport = request.transport
    return transport is None or transport.is_closing()
