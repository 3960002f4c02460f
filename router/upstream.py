"""The one awaited call on a model: aiohttp's connections, their exceptions turned into what they prove.

`NeverSent` is proof that nothing was billed: no connection, no name, no handshake. `NoAnswer` is not: the request may
have been read and answered into the void. Redirects are off, so the provider's key never travels to another
host, and the client's own authorization is never forwarded.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import get_args

import aiohttp
from aiohttp.http import HttpProcessingError
from aiohttp.streams import StreamReader
from multidict import CIMultiDictProxy
from yarl import URL

from router.chat_request import Endpoint
from router.connections import Address, Connections, Exchange
from router.provider_config import BadConfig, Provider

LAST_CHUNK_S = 0.1
HEADER_CHARACTERS = 256  # of a header that is passed on; a time or a count has some twenty
_BROKE = (aiohttp.ClientError, OSError, HttpProcessingError)  # TimeoutError is an OSError
_ANSWERED = ("x-ratelimit-", "openai-processing-ms", "retry-after")  # headers passed on to the client


class NeverSent(Exception):
    """No connection came about, so nothing was billed. `error_type` is a short name for the ledger."""

    def __init__(self, error_type: str, why: str) -> None:
        super().__init__(why)
        self.error_type = error_type


class NoAnswer(Exception):
    """The request may have been billed, but its answer did not come, or not whole."""

    def __init__(self, error_type: str, why: str, *, is_timeout: bool = False) -> None:
        super().__init__(why)
        self.error_type, self.is_timeout = error_type, is_timeout


class PrivateAddress(OSError):
    """A provider's name led to an address inside a private network, which was not connected to."""


class Answer:
    """A provider's answer whose headers have come; its body is read at most once."""

    __slots__ = ("_amid_bytes", "_amid_s", "_body", "_exchange", "_provider", "headers", "status")

    def __init__(self, exchange: Exchange, body: StreamReader, provider: Provider) -> None:
        self._exchange, self._body, self._provider = exchange, body, provider
        self._amid_s, self._amid_bytes = 0.0, 0
        self.status: int = exchange.message.code
        self.headers: CIMultiDictProxy[str] = exchange.message.headers

    async def read(self) -> bytes:
        """The whole decoded body.

        Errors: NoAnswer when it breaks off, is late or too slow, or is larger than the provider may send.
        """
        parts, size, limit, is_amid = [], 0, self._provider.max_reply_bytes, False
        try:
            if self._body.is_eof() and self._body.total_bytes <= limit:  # it came in one piece with its headers
                return self._body.read_nowait()
            while part := await self.block(is_amid=is_amid):
                size += len(part)
                if size > limit:
                    raise NoAnswer("reply_too_large", f"the reply is larger than {limit} bytes")
                parts.append(part)
                is_amid = is_amid or not part.isspace()  # blank lines keep a connection while a call waits its turn
        finally:
            self._exchange.end()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def block(self, *, is_amid: bool = False) -> bytes:
        """The next decoded bytes of the body, empty at its end. Errors: NoAnswer as for `read`.

        `is_amid`: they go on with something that has begun, and what has begun may not trickle.
        """
        if not is_amid or self._body.at_eof():
            self._amid_s, self._amid_bytes = 0.0, 0
            try:
                return await self._body.readany()
            except _BROKE as broke:
                raise _no_answer(broke) from None
        return await self._block_amid()

    async def _block_amid(self) -> bytes:
        """The same, timed. Only the provider's time counts: while a slow client is waited for, nobody reads."""
        provider, clock = self._provider, asyncio.get_running_loop().time
        if self._amid_s >= provider.trickle_s:
            if self._amid_bytes < provider.trickle_bytes:
                raise NoAnswer("too_slow", "the reply trickles", is_timeout=True)
            self._amid_s, self._amid_bytes = 0.0, 0
        before = clock()
        try:
            block = await self._body.readany()
        except _BROKE as broke:
            raise _no_answer(broke) from None
        self._amid_s += clock() - before
        self._amid_bytes += len(block)
        return block

    async def close(self) -> None:
        """Give the connection back, or close it when the body has not ended within a moment."""
        if not (self._exchange.is_ended or self._body.at_eof()):
            # The chunk that ends an HTTP body often comes a packet after the stream's own [DONE].
            with suppress(*_BROKE):
                async with asyncio.timeout(LAST_CHUNK_S):
                    await self._body.readany()
        self._exchange.end()

    def passed_on(self) -> dict[str, str]:
        """The headers a client should see, like retry-after and the rate limits; none that no header of ours may hold."""
        return {
            name.lower(): value
            for name, value in self.headers.items()
            if name[:1] in "xXoOrR"
            and name.lower().startswith(_ANSWERED)
            and len(value) <= HEADER_CHARACTERS
            and value.isascii()
            and value.isprintable()
        }


class Upstream:
    """The provider's endpoints over one pool of connections. Open it with `async with`."""

    def __init__(self, provider: Provider, key: str | None) -> None:
        """Errors: BadConfig for a key that no header can hold."""
        self._provider = provider
        base = URL(provider.base_url.rstrip("/"), encoded=True)
        lines = [
            f"Host: {base.host_port_subcomponent}",
            "Content-Type: application/json",
            "Accept: application/json, text/event-stream",
            "Accept-Encoding: identity",  # a compressed stream would arrive in lumps
            "User-Agent: halfpenny",
        ]
        if key:
            if not (key.isascii() and key.isprintable()):
                raise BadConfig(f"The key in {provider.key_env} holds a character no header can. Set it again.")
            lines.append(f"Authorization: Bearer {key}")
        rest = "\r\n".join(lines)
        self._heads = {
            path: f"POST {base.raw_path.rstrip('/')}/{path} HTTP/1.1\r\n{rest}\r\n" for path in get_args(Endpoint)
        }
        self._base = base
        self._pool: Connections | None = None

    async def __aenter__(self) -> Upstream:
        """Errors: none; connections are made when they are needed."""
        provider = self._provider
        is_free = _names_address(self._base.host) or provider.private_addresses
        self._pool = Connections(
            self._base,
            connect_timeout_s=provider.connect_timeout_s,
            keepalive_s=provider.keepalive_s,
            socket_factory=None if is_free else _public_socket,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    async def send(
        self,
        body: bytes,
        *,
        request_id: str,
        more_headers: Mapping[str, str],
        within_s: float | None = None,
        endpoint: Endpoint = "chat/completions",
    ) -> Answer:
        """Send one request and wait for the answer's headers.

        Shapes: `request_id` is call_id.attempt and travels as x-request-id, which is what the provider's books name.
        `within_s` replaces the total deadline where less of it is left.
        Errors: NeverSent, NoAnswer.
        """
        pool, provider = self._pool, self._provider
        if pool is None:
            raise RuntimeError("Upstream is used outside its context")
        within_s = provider.total_timeout_s if within_s is None else max(within_s, 0.001)
        until = asyncio.get_running_loop().time() + within_s
        try:
            link = await pool.take(within_s)
        except (aiohttp.ClientError, OSError) as refused:
            raise NeverSent(_connect_error(refused), _why(refused)) from None
        more = "".join(f"{name}: {value}\r\n" for name, value in more_headers.items()) if more_headers else ""
        head = f"{self._heads[endpoint]}x-request-id: {request_id}\r\n{more}Content-Length: {len(body)}\r\n\r\n"
        exchange = Exchange(pool, link, until=until, read_s=provider.read_timeout_s)
        try:
            exchange.send(head.encode(errors="surrogateescape"), body)
            return Answer(exchange, await exchange.answered(), provider)
        except _BROKE as broke:
            exchange.end(is_broken=True)
            raise _no_answer(broke) from None
        except BaseException:
            exchange.end(is_broken=True)
            raise


def is_public(address: str) -> bool:
    """Whether an address belongs to the open internet: not a private, link-local, loopback, shared or reserved one."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_global and not (mapped or found).is_multicast


def _names_address(host: str | None) -> bool:
    """Whether the configuration names the address itself, so that no name can lead elsewhere."""
    try:
        ipaddress.ip_address(host or "")
    except ValueError:
        return host == "localhost"
    return True


def _public_socket(address: Address) -> socket.socket:
    """A socket for an address that a name led to, looked at just before it is connected to: a name can change in between."""
    family, kind, protocol, _, at = address
    if not is_public(str(at[0])):
        raise PrivateAddress("the provider's name leads to a private address")
    return socket.socket(family, kind, protocol)


def _no_answer(broke: Exception) -> NoAnswer:
    if isinstance(broke, TimeoutError):
        return NoAnswer("timeout", "no answer within the deadline", is_timeout=True)
    if isinstance(broke, aiohttp.ClientPayloadError):
        return NoAnswer("reply_cut", "the reply broke off")
    if isinstance(broke, aiohttp.ServerDisconnectedError | ConnectionError | aiohttp.ClientOSError):
        return NoAnswer("connection_lost", "the connection broke before the reply was whole")
    return NoAnswer("bad_http", "the answer is not HTTP")


_CONNECT_ERRORS: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "no_such_host"),
    (aiohttp.ClientSSLError, "tls_failed"),
    (TimeoutError, "connect_timeout"),
    (Exception, "connection_refused"),
)


def _connect_error(refused: Exception) -> str:
    if isinstance(refused, aiohttp.ClientConnectorError) and isinstance(refused.os_error, PrivateAddress):
        return "private_address"
    return next(name for kind, name in _CONNECT_ERRORS if isinstance(refused, kind))


def _why(refused: Exception) -> str:
    """A sentence's end without addresses of ours beyond the host the operator configured."""
    if isinstance(refused, aiohttp.ClientConnectorError) and isinstance(refused.os_error, socket.gaierror):
        return f"the name {refused.host} is not known"
    if isinstance(refused, aiohttp.ClientConnectorError) and isinstance(refused.os_error, PrivateAddress):
        return (
            f"the name {refused.host} leads to a private address, which provider.private_addresses = true would allow"
        )
    if isinstance(refused, TimeoutError):
        return "the connection was not accepted in time"
    if isinstance(refused, aiohttp.ClientSSLError):
        return "the secure connection failed"
    return "the connection was refused"
