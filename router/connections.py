"""Connections to one provider, kept open between calls: aiohttp's connector makes them, its parser reads what comes.

aiohttp's session does for every request what is the same for all of ours, a sixth of what a call cost: it merges
headers, looks for cookies, redirects and proxies, and starts a task that writes. What is left out here is only that. Names,
TLS, the parser and the stream of a body with its back pressure are aiohttp's, by `connect` and the protocol it gives.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.helpers import set_exception
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader
from yarl import URL

# Bytes of an SSE stream or a long reply that wait before the socket is paused; one read of it brings up to 256 KB more.
# Four times as much made 200 streams before slow readers take 447 MB, and streams no faster.
READ_BUFFER_BYTES = 2**15
JOINED_BYTES = 2**16  # a body up to this is sent with its head in one piece; a larger one is not copied for it
SWITCHING_PROTOCOLS = 101

Address = tuple[socket.AddressFamily | int, socket.SocketKind | int, int, str, tuple[object, ...]]
SocketFactory = Callable[[Address], socket.socket]


class Link(NamedTuple):
    """One open connection."""

    connection: Connection
    protocol: ResponseHandler
    transport: asyncio.Transport


class Connections:
    """A pool of connections to the host of one URL, the last used first. Units: seconds.

    Shapes: it has no limit of its own, since calls in flight are bounded at the gateway's door.
    """

    def __init__(
        self, url: URL, *, connect_timeout_s: float, keepalive_s: float, socket_factory: SocketFactory | None
    ) -> None:
        """Errors: none; needs a running loop."""
        self._loop = asyncio.get_running_loop()
        self._connector = aiohttp.TCPConnector(socket_factory=socket_factory, limit=0, ttl_dns_cache=60)
        self._asks = ClientRequest("POST", url, loop=self._loop)
        self._connect_timeout_s, self._keepalive_s = connect_timeout_s, keepalive_s
        self._idle: deque[tuple[float, Link]] = deque()  # since when

    async def take(self, within_s: float) -> Link:
        """A connection that is open, as far as anyone can tell. Errors: aiohttp.ClientError and TimeoutError; nothing was sent."""
        oldest = time.monotonic() - self._keepalive_s
        while self._idle:
            since, link = self._idle.pop()
            if since >= oldest and link.protocol.is_connected():
                return link
            link.connection.close()
        timeout = aiohttp.ClientTimeout(
            connect=min(within_s, self._connect_timeout_s), sock_connect=min(within_s, self._connect_timeout_s)
        )
        made = await self._connector.connect(self._asks, [], timeout)
        protocol, transport = made.protocol, made.transport
        if protocol is None or transport is None:  # it closed as it opened
            made.close()
            raise aiohttp.ServerDisconnectedError
        return Link(made, protocol, transport)

    def give_back(self, link: Link) -> None:
        """Keep a connection for the next call, or close it when an answer was not read to its end."""
        if link.protocol.should_close or not link.protocol.is_connected():
            link.connection.close()
            return
        now = time.monotonic()
        self._idle.append((now, link))
        while self._idle[0][0] < now - self._keepalive_s:
            self._idle.popleft()[1].connection.close()

    async def close(self) -> None:
        """Close all that are idle, and what is left in use."""
        while self._idle:
            self._idle.pop()[1].connection.close()
        await self._connector.close()


class Exchange:
    """One request on a connection and its answer. `end` gives the connection back; it may be called again.

    Units: `until` by the loop's clock, for the end of the body; `read_s` seconds between two pieces of it.
    """

    __slots__ = ("_deadline", "_link", "_payload", "_pool", "message")

    message: RawResponseMessage

    def __init__(self, pool: Connections, link: Link, *, until: float, read_s: float) -> None:
        """Begin; nothing is sent yet."""
        self._pool, self._link = pool, link
        self._payload: StreamReader | None = None
        protocol = link.protocol
        protocol.set_response_params(read_until_eof=True, read_timeout=read_s, read_bufsize=READ_BUFFER_BYTES)
        self._deadline: asyncio.TimerHandle | None = asyncio.get_running_loop().call_at(until, self._expire)

    def send(self, head: bytes, body: bytes) -> None:
        """Hand the request over; what the socket does not take at once, the loop sends."""
        transport = self._link.transport
        if len(body) > JOINED_BYTES:
            transport.write(head)
            transport.write(body)
        else:
            transport.write(head + body)
        self._link.protocol.start_timeout()

    async def answered(self) -> StreamReader:
        """Wait for the headers, which are `message` then; the body. Errors: aiohttp.ClientError, OSError, HttpProcessingError."""
        while True:
            self.message, payload = await self._link.protocol.read()
            if self.message.code >= 200 or self.message.code == SWITCHING_PROTOCOLS:
                self._payload = payload
                return payload

    @property
    def is_ended(self) -> bool:
        """Whether the connection was given back: nothing more is to be read from it."""
        return self._deadline is None

    def end(self, *, is_broken: bool = False) -> None:
        """Give the connection back, or close it when it is broken or not all of the answer was read."""
        if self._deadline is None:
            return
        self._deadline.cancel()
        self._deadline = None
        if is_broken:
            self._link.connection.close()
        else:
            self._pool.give_back(self._link)

    def _expire(self) -> None:
        late = aiohttp.SocketTimeoutError("the deadline has passed")
        self._link.protocol.set_exception(late)
        if self._payload is not None:
            set_exception(self._payload, late)
