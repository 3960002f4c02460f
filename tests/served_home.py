"""A home with the gateway serving it, and a provider behind: the simulator, or one that does as a test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.test_utils import TestServer

from ledger import admin
from ledger import events as e
from ledger.errors import WriteFailed
from ledger.home import Home, create, key_hash
from ledger.prices import Price, moment_of, price_id, rates
from ledger.projections import State
from ledger.store import Ledger
from router.app import Service, build, listening
from router.config import Config, read, terms_of
from router.doors import Route
from router.drafts import drafts_of
from router.simulator import create_app
from router.simulator_config import SimulatorConfig
from router.standing import Standings
from router.standing_home import Follower

MEDIUM, LARGE, FLASH = "mistralai/Mistral-Medium-3", "mistralai/Mistral-Large-3", "deepseek-ai/DeepSeek-V4-Flash"
START = datetime(2025, 1, 1, tzinfo=UTC)
KEYS: dict[str, tuple[str, str | None, e.Role]] = {
    "app": ("hp_app", "acme", "app"),
    "agent": ("hp_agent", "acme", "agent"),
    "client": ("hp_client", "acme", "client"),
    "other": ("hp_other", "bolt", "app"),
    "boss": ("hp_boss", None, "admin"),
    "revoked": ("hp_revoked", "acme", "app"),
}


SECOND_KEY = "fallback-secret"


def key_of(name: str) -> str:
    """The bearer key of one of KEYS."""
    return f"{KEYS[name][0]}_secret"


@dataclass
class Served:
    """A running gateway. Shapes: `upstream` holds every request a scripted provider got, as bytes."""

    home: Home
    ledger: Ledger
    service: Service
    url: str
    session: aiohttp.ClientSession
    standings: Standings
    fatal: list[WriteFailed] = field(default_factory=list)

    async def ask(
        self, method: str, path: str, body: object = None, *, key: str | None = "app", **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON (or text) of one request; a body of bytes goes as it is."""
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            named.setdefault("Authorization", f"Bearer {key_of(key) if key in KEYS else key}")
        async with self.session.request(method, self.url + path, data=data, headers=named) as answer:
            said = await answer.read()
            is_json = answer.content_type == "application/json"
            shown = (json.loads(said) if is_json else said.decode()) if said else None
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, shown

    async def chat(self, *, key: str = "app", **fields: Any) -> tuple[int, dict[str, str], Any]:
        """One unstreamed completion; fields beginning with x_ go as headers."""
        headers = {name: fields.pop(name) for name in list(fields) if name.startswith("x_")}
        asked = {"model": MEDIUM, "messages": [{"role": "user", "content": "Where is my card?"}], "max_tokens": 40}
        return await self.ask("POST", "/v1/chat/completions", asked | fields, key=key, **headers)

    async def stream(self, *, key: str = "app", **fields: Any) -> tuple[int, bytes]:
        """One streamed completion, to its end: status and the bytes of its body."""
        headers = {name.replace("_", "-"): fields.pop(name) for name in list(fields) if name.startswith("x_")}
        asked = {"model": MEDIUM, "messages": [{"role": "user", "content": "Where is my card?"}], "stream": True}
        headers["Authorization"] = f"Bearer {key_of(key)}"
        url = self.url + "/v1/chat/completions"
        async with self.session.post(
            url, data=json.dumps({"max_tokens": 40} | asked | fields), headers=headers
        ) as answer:
            return answer.status, await answer.read()

    def events(self, *kinds: type[e.Event]) -> list[Any]:
        """What the journal holds on disk, in order; of these kinds only, when some are named."""
        return [event for event in journal_events(self.home) if not kinds or isinstance(event, kinds)]


def journal_events(home: Home) -> list[e.Event]:
    """The events in a home's journal files, read from the disk."""
    from ledger import codec

    lines = [
        line for path in sorted(home.journal.glob("*.jsonl")) for line in path.read_bytes().splitlines(keepends=True)
    ]
    return [codec.read_line(line).event for line in lines if line.endswith(b"\n")]


def price(
    model: str, of_input: str, of_output: str, *, valid_from: str = "2025-01-01", valid_to: str | None = None
) -> Price:
    """A price as the book would list it."""
    start = moment_of(valid_from)
    return Price(
        price_id=price_id(model, start, ()),
        provider="global_api",
        model=model,
        rates=rates(of_input, of_output),
        valid_from=start,
        valid_to=None if valid_to is None else moment_of(valid_to),
        source="a test",
    )


PRICES = (
    price(MEDIUM, "0.40", "2.00"),
    price(LARGE, "2.00", "6.00"),
    price(FLASH, "0.27", "1.10"),
    price("ended-model", "1", "1", valid_to="2025-06-01"),
)


def fill(ledger: Ledger, pepper: bytes, *, caps: dict[str, str], private: bool = False) -> None:
    """Two clients, every key of KEYS, four prices and these caps, as the commands would record them."""
    count = iter(range(10_000))

    def stamp() -> admin.Stamp:
        return admin.Stamp(f"made-{next(count)}", START)

    for client_id in ("acme", "bolt"):
        named = admin.client_added(
            stamp(), client_id, name=None, currency="EUR", zone_name="Europe/Berlin", edit_rate=None, private=private
        )
        ledger.append_now(named)
    for key_id, owner, role in KEYS.values():
        digest = key_hash(pepper, f"{key_id}_secret")
        ledger.append_now(admin.key_issued(stamp(), key_id, digest, role=role, client_id=owner))
    ledger.append_now(admin.key_revoked(stamp(), "hp_revoked"))
    ledger.append_now(*(admin.price_listed(stamp(), found) for found in PRICES))
    for scope, cap in caps.items():
        ledger.append_now(admin.budget_set(stamp(), scope, cap, hard=True, valid_from="2025-01-01"))


@asynccontextmanager
async def served(
    path: Path,
    provider_url: str,
    *,
    settings: str = "",
    caps: dict[str, str] | None = None,
    private: bool = False,
    provider_key: str | None = "provider-secret",
    routes: Callable[[Path, State], Sequence[Route]] = lambda _, __: (),
) -> AsyncIterator[Served]:
    """The gateway on a free port over a real ledger, with short waits. `settings` are more lines of TOML, `routes` other rooms'."""
    home = create(path / "home", "")
    config = configured(provider_url, settings)
    standings = Standings(terms_of(config))
    ledger = Ledger.open(home.path, clock=lambda: datetime.now(UTC), folds=(Follower(standings),))
    fatal: list[WriteFailed] = []
    try:
        fill(ledger, home.pepper(), caps=caps or {}, private=private)
        service = build(
            ledger,
            config,
            standings=standings,
            pepper=home.pepper(),
            admin_token=home.admin_token(),
            provider_key=provider_key,
            on_fatal=fatal.append,
            texts=drafts_of(home, config),
            chance=lambda: 0.5,
            content=home.content,
            environment={"HALFPENNY_WEBHOOK_SECRET": "whispered", "FALLBACK_API_KEY": SECOND_KEY},
            more=routes(home.path, ledger.state),
        )
        async with (
            listening(service.app, "127.0.0.1", 0) as url,
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        ):
            yield Served(home, ledger, service, url, session, standings, fatal)
            await service.drain(5)
    finally:
        ledger.close()


def configured(provider_url: str, settings: str = "") -> Config:
    """The test's configuration: quick retries, faults let through and nobody shut out for them; `settings` win, as section.key = value lines."""
    lines = [
        f'provider.base_url = "{provider_url}/v1"',
        "provider.retry_base_s = 0.01",
        "provider.breaker_failures = 0",
        "server.forward_simulate_headers = true",
        *settings.splitlines(),
    ]
    unique = {line.partition("=")[0].strip(): line for line in lines if line.strip()}
    return read("\n".join(unique.values()), {})


@asynccontextmanager
async def simulated(
    path: Path, *, settings: str = "", simulator: SimulatorConfig | None = None, **more: Any
) -> AsyncIterator[Served]:
    """The gateway before the simulator; its books are in path/provider.jsonl."""
    asked = simulator or SimulatorConfig(log=path / "provider.jsonl", hang_s=30, late_s=30, drip_s=0.01)
    async with (
        TestServer(create_app(asked)) as provider,
        served(path, str(provider.make_url("")).rstrip("/"), settings=settings, **more) as running,
    ):
        yield running


Script = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def speaking(script: Script) -> AsyncIterator[str]:
    """A provider that reads a request and then does what the script says, and hangs up; gives its URL."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            size = next(
                int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
            )
            await script(head + await reader.readexactly(size), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the gateway has left, which some tests want
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@asynccontextmanager
async def scripted(path: Path, script: Script, *, settings: str = "", **more: Any) -> AsyncIterator[Served]:
    """The gateway before a provider that does what the script says."""
    async with speaking(script) as url, served(path, url, settings=settings, **more) as running:
        yield running


def completion(content: str = "Hello", *, model: str = MEDIUM, usage: object = None, **more: object) -> bytes:
    """A chat completion's body; usage is 10 in, 5 out unless given (False: none at all)."""
    said: dict[str, object] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
    }
    if usage is not False:
        said["usage"] = usage or {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return json.dumps(said | more).encode()


def http(body: bytes, *, status: str = "200 OK", content_type: str = "application/json", more: str = "") -> bytes:
    """A whole HTTP answer after which the connection closes."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{more}\r\n"
    return head.encode() + body


def sse(*chunks: object, done: bool = True, model: str = MEDIUM) -> bytes:
    """An event stream: mappings become chunks of this model, texts become words, None a finish."""
    frame = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}

    def choices(said: object) -> dict[str, object]:
        if isinstance(said, dict):
            return said
        delta = {} if said is None else {"content": said}
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": "stop" if said is None else None}]}

    events = [b"data: " + json.dumps(frame | choices(said)).encode() + b"\n\n" for said in chunks]
    return b"".join(events) + (b"data: [DONE]\n\n" if done else b"")


USAGE = {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}}


async def until(is_so: Callable[[], object], seconds: float = 10.0) -> None:
    """Look again and again until something is so. Errors: TimeoutError."""
    for _ in range(int(seconds / 0.01)):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError
