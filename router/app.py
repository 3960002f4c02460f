"""The service put together: routes with their roles, the provider's connection pool, jobs, and an orderly end.

`build` makes the application out of parts that tests can replace; `serve` runs it; the process is serving.py's. A stop
turns /readyz red at once, refuses new calls, lets those in flight end, and cancels what is left after the deadline; a
cancelled call is settled at its hold.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import structlog
import uuid_utils
from aiohttp import web

from ledger.alarms import warning_of
from ledger.errors import HomeError, WriteFailed
from ledger.events import DriftAlarmed, Event
from ledger.projections import State
from router.admin import Admin, Seal
from router.budget_watch import BudgetWatch
from router.cache import Cache
from router.calls import Calls
from router.config import Config
from router.doors import PUBLIC, Door, Route, Visit, answer
from router.feedback import Feedback, Texts
from router.gateway import Gateway
from router.idempotency import Once
from router.jobs import JOBS_AFTER_S, Job, scheduled
from router.keys import KeyRing
from router.logs import tell
from router.metrics import Counts, Metrics, Now
from router.reply_store import SqliteStore
from router.server import Runner
from router.shared_budget import shared_budget
from router.shared_replies import shared_store
from router.standing import Standings
from router.unsent import Unsent
from router.upstream import Upstream
from router.views import Views
from router.warning_hook import WarningHook

CANCELLED_S = 5.0  # for cancelled calls to settle, and for the last connections to close
BACKLOG = 1024
KEEPALIVE_S = 75.0
HEADER_BYTES = 16_384
ANY_KEY = ("app", "agent", "client", "admin")
_log = structlog.stdlib.get_logger()


class Book(Protocol):
    """What the service needs of a ledger. `submit` raises at once what may not follow; awaited, it is durable."""

    @property
    def state(self) -> State: ...

    @property
    def source(self) -> str: ...

    @property
    def durable(self) -> int: ...

    @property
    def backlog(self) -> int: ...

    @property
    def trouble(self) -> str | None: ...

    def submit(self, *events: Event) -> Awaitable[None]: ...


class CannotListen(HomeError):
    """The address is taken or not this machine's."""

    def __init__(self, host: str, port: int, why: str) -> None:
        super().__init__(
            f"Cannot listen on {host}:{port}: {why}. Stop what uses the port, or set server.port in halfpenny.toml."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service that is built and does not listen yet."""

    app: web.Application
    gateway: Gateway
    cache: Cache
    routes: tuple[Route, ...]
    hook: WarningHook

    async def drain(self, deadline_s: float) -> int:
        """Take no more calls and wait for those in flight; the rest is cancelled and settles. Returns how many that was."""
        self.gateway.is_draining = True
        await self.gateway.in_flight.emptied(deadline_s)
        waiting = set(self.gateway.in_flight)
        for task in waiting:
            task.cancel()
        await self.gateway.in_flight.emptied(CANCELLED_S)
        return len(waiting)


def new_id() -> str:
    """A UUIDv7 as text."""
    return str(uuid_utils.uuid7())


def now_utc() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def build(
    ledger: Book,
    config: Config,
    *,
    standings: Standings,
    pepper: bytes,
    admin_token: str,
    provider_key: str | None,
    on_fatal: Callable[[WriteFailed], None],
    seal: Seal | None = None,
    more: Sequence[Route] = (),
    texts: Texts | None = None,
    now: Callable[[], datetime] = now_utc,
    chance: Callable[[], float] = random.random,
    content: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Service:
    """The service over an open ledger, which `standings` follow. `more` are routes of other rooms, marked like ours; kept
    replies lie in `content`; `environment` holds the secret that signs warnings and the second provider's key.

    Errors: UnmarkedRoute; BadConfig when that secret is missing.
    """
    counts = Counts()
    is_told = config.server.log_level == "debug"

    def submit(event: Event) -> Awaitable[None]:
        durable = ledger.submit(event)
        counts.note(event)
        if is_told:
            tell(event)
        return durable

    upstream = Upstream(config.provider, provider_key)
    secrets, other = environment or {}, config.fallback
    second = Upstream(other, secrets.get(other.key_env)) if other.base_url else None
    unsent = Unsent(None if content is None else content / "unsent")
    hook = WarningHook(config.budget, secrets, now=now, unsent=unsent)
    watch = BudgetWatch(ledger.state, config.budget.warn_at, submit=ledger.submit, new_id=new_id, tell=hook.tell)
    budget = shared_budget(
        ledger.state,
        config.budget,
        gateway=ledger.source,
        token=new_id(),
        durable=lambda: ledger.durable,
    )
    calls = Calls(
        submit=submit,
        prices=ledger.state.prices,
        upstream=upstream,
        config=config,
        now=now,
        new_id=new_id,
        chance=chance,
        on_settled=watch.look,
        shared=budget,
        second=second,
    )
    replies = SqliteStore(None if content is None else content / "replies.sqlite3")
    shared = shared_store(config.cache)
    cache = Cache(
        shared or replies,
        config,
        pepper=pepper,
        prices=ledger.state.prices,
        submit=submit,
        new_id=new_id,
    )
    once = Once(
        replies,
        config.idempotency,
        pepper=pepper,
        claims=ledger.state.claims,
        submit=ledger.submit,
        new_id=new_id,
    )
    gateway = Gateway(
        state=ledger.state,
        submit=ledger.submit,
        calls=calls,
        cache=cache,
        once=once,
        policy=standings.decide,
        standing=standings.clients.get,
        config=config,
        pepper=pepper,
        now=now,
        new_id=new_id,
    )
    feedback = Feedback(state=ledger.state, submit=ledger.submit, gateway=gateway, new_id=new_id, texts=texts)
    views = Views(
        state=ledger.state,
        standings=standings,
        config=config,
        moment=gateway.moment,
        is_ready=lambda: not gateway.is_draining,
    )
    metrics = Metrics(
        ledger.state,
        counts,
        moment=gateway.moment,
        now=lambda: Now(
            in_flight=len(gateway.in_flight),
            is_ready=not gateway.is_draining,
            backlog=ledger.backlog,
            is_sealing=ledger.trouble is None,
            shut_out=calls.shut_out,
        ),
    )
    admin = Admin(submit=ledger.submit, seal=seal, now=now, new_id=new_id)
    door = Door(
        KeyRing(pepper, admin_token, ledger.state.keys),
        new_id=new_id,
        on_fatal=on_fatal,
        hosts=config.server.answers_to,
    )

    async def described(_: web.Request, __: Visit) -> web.StreamResponse:
        from router.openapi import document  # noqa: PLC0415 (serving starts faster without it)

        return answer(document(routes))

    routes = (
        *_routes(gateway, feedback, views, admin),
        Route("GET", "/metrics", metrics.scrape, ("admin",)),
        Route("GET", "/openapi.json", described, PUBLIC),
        *more,
    )
    app = door.build(routes, max_body_bytes=config.server.max_body_bytes)

    async def pool(_: web.Application) -> AsyncIterator[None]:
        async with upstream, second or nullcontext(), budget or nullcontext():
            hook.resume(lambda event: isinstance(event, DriftAlarmed) or warning_of(event) in ledger.state.warned)
            yield
        await hook.settle()
        await cache.settle()
        for store in (replies, shared):
            if store is not None:
                await store.close()

    app.cleanup_ctx.append(pool)
    return Service(app=app, gateway=gateway, cache=cache, routes=routes, hook=hook)


def _routes(gateway: Gateway, feedback: Feedback, views: Views, admin: Admin) -> tuple[Route, ...]:
    return (
        Route("POST", "/v1/chat/completions", gateway.create_completion, ("app",)),
        Route("POST", "/v1/embeddings", gateway.create_completion, ("app",)),
        Route("POST", "/v1/responses", gateway.create_completion, ("app",)),
        Route("POST", "/v1/tickets", gateway.create_ticket, ("app",)),
        Route("POST", "/v1/tickets/{id}/edits", feedback.edit, ("app", "agent")),
        Route("POST", "/v1/scores", feedback.score, ("app", "agent")),
        Route("GET", "/v1/models", views.models, ANY_KEY),
        Route("GET", "/v1/models/{id:.+}", views.model, ANY_KEY),
        Route("GET", "/v1/budget", views.budget, ANY_KEY),
        Route("GET", "/v1/split", views.split, ANY_KEY),
        Route("GET", "/v1/quality", views.quality, ANY_KEY),
        Route("POST", "/v1/admin/events", admin.append, ("admin",)),
        Route("POST", "/v1/admin/seal", admin.seal, ("admin",)),
        Route("GET", "/healthz", views.health, PUBLIC),
        Route("GET", "/readyz", views.ready, PUBLIC),
    )


@asynccontextmanager
async def listening(app: web.Application, host: str, port: int) -> AsyncIterator[str]:
    """Serve an application while the context is open; gives its URL. Port 0 takes a free one.

    Errors: CannotListen.
    """
    runner = Runner(
        app,
        access_log=None,
        auto_decompress=False,  # bodies.py undoes what is read, and no more of it than may be
        handle_signals=False,
        keepalive_timeout=KEEPALIVE_S,
        shutdown_timeout=CANCELLED_S,
        max_line_size=HEADER_BYTES,
        max_field_size=HEADER_BYTES,
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
        except OSError as refused:
            raise CannotListen(host, port, refused.strerror or "the address cannot be used") from None
        bound = runner.addresses[0]
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        yield f"http://{shown}:{bound[1]}"
    finally:
        await runner.cleanup()


async def serve(
    service: Service,
    config: Config,
    *,
    on_ready: Callable[[str], None],
    jobs: Callable[[], Sequence[Job]] = tuple,
    stop: asyncio.Event | None = None,
) -> None:
    """Listen until told to stop, by SIGTERM, SIGINT or `stop`; a second signal cuts the drain short.

    Shapes: `jobs` is called a moment after the first calls can come, since jobs load a good deal.
    Errors: CannotListen.
    """
    stopping, hurry = stop or asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: hurry.set() if stopping.is_set() else stopping.set())
    async with listening(service.app, config.server.host, config.server.port) as url:
        on_ready(url)
        with suppress(TimeoutError):
            async with asyncio.timeout(JOBS_AFTER_S):
                await stopping.wait()
        with scheduled(() if stopping.is_set() else jobs()):
            await stopping.wait()
        drain = asyncio.create_task(service.drain(config.server.drain_s))
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait((drain, hurried), return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not drain.done():
            drain.cancel()
            await service.drain(0)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed, else asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 (not on every system)
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
