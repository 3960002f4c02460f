"""The one awaited call on a model: aiohttp's own client, its exceptions turned into what they prove.

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
from aiohttp import ClientTimeout, hdrs
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from router.chat_request import Endpoint
from router.provider_config import Provider

# Bytes of an SSE stream or a long reply that wait before the socket is paused; one read of it brings up to 256 KB more.
# Four times as much made 200 streams before slow readers take 447 MB, and streams no faster.
READ_BUFFER_BYTES = 2**15
LAST_CHUNK_S = 0.1
HEADER_CHARACTERS = 256  # of a header that is passed on; a time or a count has some twenty
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

    __slots__ = ("_limit", "_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, limit: int) -> None:
        self._response, self._limit = response, limit
        self.status: int = response.status
        self.headers: CIMultiDictProxy[str] = response.headers

    async def read(self) -> bytes:
        """The whole decoded body.

        Errors: NoAnswer when it breaks off, is late, or is larger than the provider may send.
        """
        parts, size = [], 0
        try:
            async for part in self._response.content.iter_any():
                size += len(part)
                if size > self._limit:
                    raise NoAnswer("reply_too_large", f"the reply is larger than {self._limit} bytes")
                parts.append(part)
        except (aiohttp.ClientError, OSError) as broke:  # TimeoutError is an OSError
            raise _no_answer(broke) from None
        finally:
            self._response.release()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def block(self) -> bytes:
        """The next decoded bytes of the body, empty at its end. Errors: NoAnswer as for `read`."""
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as broke:
            raise _no_answer(broke) from None

    async def close(self) -> None:
        """Give the connection back, or close it when the body has not ended within a moment."""
        if not self._response.content.at_eof():
            # The chunk that ends an HTTP body often comes a packet after the stream's own [DONE].
            with suppress(aiohttp.ClientError, OSError):
                async with asyncio.timeout(LAST_CHUNK_S):
                    await self._response.content.readany()
        self._response.release()

    def passed_on(self) -> dict[str, str]:
        """The headers a client should see, like retry-after and the rate limits; none that no header of ours may hold."""
        lowered = ((name.lower(), value) for name, value in self.headers.items())
        return {
            name: value
            for name, value in lowered
            if name.startswith(_ANSWERED)
            and len(value) <= HEADER_CHARACTERS
            and value.isascii()
            and value.isprintable()
        }


class Upstream:
    """The provider's endpoints over one pool of connections. Open it with `async with`."""

    def __init__(self, provider: Provider, key: str | None) -> None:
        self._provider = provider
        base = provider.base_url.rstrip("/")
        self._urls = {path: URL(f"{base}/{path}", encoded=True) for path in get_args(Endpoint)}
        self._headers = CIMultiDict(
            {
                hdrs.CONTENT_TYPE: "application/json",
                hdrs.ACCEPT: "application/json, text/event-stream",
                hdrs.ACCEPT_ENCODING: "identity",  # a compressed stream would arrive in lumps
                hdrs.USER_AGENT: "halfpenny",
            }
        )
        if key:
            self._headers[hdrs.AUTHORIZATION] = f"Bearer {key}"
        self._timeout = ClientTimeout(
            total=provider.total_timeout_s, sock_connect=provider.connect_timeout_s, sock_read=provider.read_timeout_s
        )
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Upstream:
        """Errors: none; connections are made when they are needed."""
        provider = self._provider
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                socket_factory=None
                if _names_address(URL(provider.base_url).host) or provider.private_addresses
                else _public_socket,
                limit=0,  # calls in flight are bounded at the gateway's door, with an answer that says so
                keepalive_timeout=provider.keepalive_s,
                ttl_dns_cache=60,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            read_bufsize=READ_BUFFER_BYTES,
            skip_auto_headers=(hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE),
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

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
        if self._session is None:
            raise RuntimeError("Upstream is used outside its context")
        headers = self._headers.copy()
        headers["x-request-id"] = request_id
        if more_headers:
            headers.extend(more_headers)
        try:
            response = await self._session.post(
                self._urls[endpoint],
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=self._timeout if within_s is None else self._within(within_s),
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as refused:
            raise NeverSent(_connect_error(refused), _why(refused)) from None
        except (aiohttp.ClientError, OSError) as broke:
            raise _no_answer(broke) from None
        return Answer(response, self._provider.max_reply_bytes)

    def _within(self, seconds: float) -> ClientTimeout:
        provider = self._provider
        # aiohttp takes 0 for no deadline at all
        total = max(seconds, 0.001)
        return ClientTimeout(total=total, sock_connect=provider.connect_timeout_s, sock_read=provider.read_timeout_s)


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


def _public_socket(
    address: tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]],
) -> socket.socket:
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
    (aiohttp.ConnectionTimeoutError, "connect_timeout"),
    (aiohttp.ClientConnectorError, "connection_refused"),
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
    if isinstance(refused, aiohttp.ConnectionTimeoutError):
        return "the connection was not accepted in time"
    if isinstance(refused, aiohttp.ClientSSLError):
        return "the secure connection failed"
    return "the connection was refused"
