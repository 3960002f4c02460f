"""Every way in: a path, who may take it, and what happens to whatever goes wrong behind it.

A route names the roles that open it, or says that it is public; one that does neither cannot be built. Here errors
become OpenAI's error object, each answer gets its request id, and a ledger that could not write ends the process.
"""

from __future__ import annotations

import asyncio
import re
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog
from aiohttp import HttpVersion11, hdrs, web
from msgspec import Struct

from ledger.errors import Conflict, InvalidInput, NotFound, WriteFailed
from router.bodies import plain
from router.errors import (
    BadRequest,
    Clash,
    HttpError,
    Misdirected,
    NotYours,
    Overloaded,
    SlowBody,
    TooLarge,
    WrongMethod,
    WrongRole,
    error_body,
)
from router.keys import Identity, KeyRing
from router.server import DIRECT

JSON = "application/json"
PUBLIC = ("public",)
CLIENT_LEFT = 499  # nginx's number for it
BODY_S = 30.0  # for a body to come whole; it is waited for by nobody who holds anything
# A name or an address and a port, as RFC 9112 has it. No path and no query: nothing may read another place out of it.
_HOST = re.compile(r"([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
HOSTS_SEEN_AT_MOST = 64
_hosts_seen: set[str] = set()  # well-formed ones, which need no second look
ROLES = ("app", "agent", "client", "admin")
_log = structlog.stdlib.get_logger()


class Visit(Struct, frozen=True):
    """One request that was let in: its id, which is the call's id if it makes one, who asks (None: public), and its body."""

    request_id: str
    identity: Identity | None
    body: bytes = b""

    @property
    def caller(self) -> Identity:
        """Who asks, behind a door that takes a key."""
        if self.identity is None:
            raise RuntimeError("a public route has no caller")
        return self.identity

    @property
    def client_id(self) -> str:
        """The caller's client, behind a door that admins do not open."""
        return self.caller.client_id or ""


Handler = Callable[[web.Request, Visit], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One path and method. Shapes: `roles` is PUBLIC or some of ROLES."""

    method: str
    path: str
    handler: Handler
    roles: tuple[str, ...] = ()


class UnmarkedRoute(TypeError):
    """A route that does not say who may take it."""

    def __init__(self, route: Route) -> None:
        super().__init__(
            f"{route.method} {route.path} names roles {route.roles!r}. Name some of {', '.join(ROLES)}, or say PUBLIC."
        )


class Door:
    """Lets requests in. `on_fatal` is called once a ledger could not write, and should not return.

    Shapes: `hosts` are the names it answers to beside its own address, in small letters; none: to every one.
    """

    def __init__(
        self,
        keys: KeyRing,
        *,
        new_id: Callable[[], str],
        on_fatal: Callable[[WriteFailed], None],
        hosts: frozenset[str] = frozenset(),
    ) -> None:
        self._keys, self._new_id, self._on_fatal, self._hosts = keys, new_id, on_fatal, hosts

    def build(self, routes: Sequence[Route], *, max_body_bytes: int) -> web.Application:
        """The application of these routes; everything else answers 404 or 405 in the same shape.

        Errors: UnmarkedRoute.
        """
        app = web.Application(client_max_size=max_body_bytes)
        direct = app[DIRECT] = {}
        for route in routes:
            if not route.roles or (route.roles != PUBLIC and not set(route.roles) <= set(ROLES)):
                raise UnmarkedRoute(route)
            guarded = self._guarded(route, max_body_bytes)
            app.router.add_route(route.method, route.path, guarded)
            if "{" not in route.path:
                direct[route.method, route.path] = guarded
        nowhere = Route("*", "/{path:.*}", _nowhere, PUBLIC)
        app.router.add_route(nowhere.method, nowhere.path, self._guarded(nowhere, max_body_bytes))
        return app

    def _identity(self, request: web.Request, roles: tuple[str, ...]) -> Identity:
        """Who asks, with one key of a role that opens this. Errors: BadKey, WrongRole."""
        said = request.headers.getall(hdrs.AUTHORIZATION, ())
        identity = self._keys.identify(said[0] if len(said) == 1 else None)
        if identity.role not in roles:
            raise WrongRole(identity.role, roles)
        return identity

    def _guarded(self, route: Route, max_body_bytes: int) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        is_public, roles, handler, hosts = route.roles == PUBLIC, route.roles, route.handler, self._hosts

        async def guarded(request: web.Request) -> web.StreamResponse:
            request_id = self._new_id()
            try:
                _check_place(request, hosts)
                identity, content = None if is_public else self._identity(request, roles), request.content
                body = content.read_nowait() if content.is_eof() else b"" if is_public else await _whole_body(request)
                if len(body) > max_body_bytes:
                    raise TooLarge(max_body_bytes)
                body = plain(body, request.headers.get(hdrs.CONTENT_ENCODING), max_body_bytes)
                response = await handler(request, Visit(request_id, identity, body))
            except HttpError as refused:
                response = _refusal(refused)
            except web.HTTPRequestEntityTooLarge:
                response = _refusal(TooLarge(max_body_bytes))
            except web.RequestPayloadError:
                response = _refusal(BadRequest("The body is not encoded as its headers say."))
            except WriteFailed as failed:
                self._on_fatal(failed)
                response = _refusal(Overloaded("The ledger cannot write; nothing more is acknowledged."))
            except NotFound as missing:
                response = _refusal(NotYours(missing.what, "Look at the spelling of what you named."))
            except Conflict as clash:
                response = _refusal(Clash(str(clash)))
            except InvalidInput as wrong:
                response = _refusal(BadRequest(str(wrong)))
            except ConnectionError:
                # The client has left. This reaches nobody; raising would have aiohttp write a traceback into the log.
                response = _refusal(HttpError(CLIENT_LEFT, "The client left before the answer.", code="client_gone"))
            except Exception as broke:
                response = _mistake(broke, request_id, route)
            if not response.prepared:
                response.headers["x-request-id"] = request_id
            return response

        return guarded


def _check_place(request: web.Request, hosts: frozenset[str]) -> None:
    """A request for this server and a path of it, whatever else its first lines say. Errors: BadRequest, Misdirected.

    Roles hang on the route that was found, so an odd place opens nothing; behind a proxy it could be read in two ways.
    """
    if not request.raw_path.startswith("/"):
        raise BadRequest("Ask for a path, like /v1/models; this is no proxy.")
    host = request.headers.get(hdrs.HOST)
    if host in _hosts_seen and not hosts:
        return
    named = _HOST.fullmatch(host or "")
    if named is None and (host is not None or request.version >= HttpVersion11):
        raise BadRequest("The Host header must be one name or address, with or without a port.", param="Host")
    if hosts and (named is None or (named[1].lower() not in hosts and named[1] != _own_address(request))):
        raise Misdirected
    if host is not None and len(_hosts_seen) < HOSTS_SEEN_AT_MOST:
        _hosts_seen.add(host)


def _own_address(request: web.Request) -> str:
    """The address a connection came in at. Nobody leads a browser there under a name of his own."""
    address = str((request.get_extra_info("sockname") or ("",))[0])
    return f"[{address}]" if ":" in address else address


async def _whole_body(request: web.Request) -> bytes:
    """The body, read with what is still to come. Errors: SlowBody."""
    try:
        async with asyncio.timeout(BODY_S):
            return await request.read()
    except TimeoutError:
        raise SlowBody(BODY_S) from None


def retry_count(request: web.Request) -> int | None:
    """How often the client's library has tried before; OpenAI's says so in a header. Absent when never."""
    said = request.headers.get("x-stainless-retry-count", "0")
    return int(said) or None if said.isascii() and said.isdigit() and len(said) < 4 else None


def simulate_headers(request: web.Request) -> dict[str, str]:
    """The simulator's fault switches, which are let through where the configuration says so; nothing else a client sends."""
    return {name: value for name, value in request.headers.items() if name.lower().startswith("x-simulate-")}


def answer(body: bytes, *, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=body, status=status, content_type=JSON)


def _refusal(refused: HttpError) -> web.Response:
    return web.Response(body=refused.body, status=refused.status, content_type=JSON, headers=refused.headers)


def _mistake(broke: Exception, request_id: str, route: Route) -> web.Response:
    """A mistake of ours, logged by place and type alone: messages and values may hold a prompt."""
    frames = traceback.extract_tb(broke.__traceback__)
    where = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
    _log.error("mistake", request_id=request_id, route=route.path, error=type(broke).__name__, where=where)
    message = f"Something went wrong inside the gateway. Name the request id {request_id} when you report it."
    return web.Response(
        body=error_body(message, kind="api_error", code="internal_error"), status=500, content_type=JSON
    )


async def _nowhere(request: web.Request, _: Visit) -> web.StreamResponse:
    allowed: set[str] = set()
    for resource in request.app.router.resources():
        methods = {route.method for route in resource}
        if "*" not in methods:
            allowed |= (await resource.resolve(request))[1]
    if allowed:
        raise WrongMethod(tuple(sorted(allowed)))
    raise HttpError(404, "There is nothing at this path. The API starts at /v1/chat/completions.", code="unknown_path")
