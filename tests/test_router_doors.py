"""Every way in: who may take it, and that whatever goes wrong comes out in one shape and tells nothing."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from served_home import KEYS, Served, key_of, simulated

from ledger.errors import WriteFailed
from ledger.events import CallReserved
from router.app import new_id
from router.doors import PUBLIC, Door, Route, UnmarkedRoute, Visit, answer
from router.keys import KeyRing


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# method, path, body: every route, and the keys that open it.
DOORS: tuple[tuple[str, str, object, tuple[str, ...]], ...] = (
    ("POST", "/v1/chat/completions", {}, ("app", "other")),
    ("POST", "/v1/embeddings", {}, ("app", "other")),
    ("POST", "/v1/responses", {}, ("app", "other")),
    ("POST", "/v1/tickets", {}, ("app", "other")),
    ("POST", "/v1/tickets/T-1/edits", {}, ("app", "other", "agent")),
    ("POST", "/v1/scores", {}, ("app", "other", "agent")),
    ("GET", "/v1/models", None, ("app", "other", "agent", "client", "boss")),
    ("GET", "/v1/models/x/y", None, ("app", "other", "agent", "client", "boss")),
    ("GET", "/v1/budget", None, ("app", "other", "agent", "client", "boss")),
    ("GET", "/v1/split", None, ("app", "other", "agent", "client", "boss")),
    ("GET", "/v1/quality", None, ("app", "other", "agent", "client", "boss")),
    ("GET", "/metrics", None, ("boss",)),
    ("POST", "/v1/admin/events", {}, ("boss",)),
    ("POST", "/v1/admin/seal", {}, ("boss",)),
)


def shape_of(said: Any) -> None:
    assert set(said) == {"error"}
    assert set(said["error"]) == {"message", "type", "param", "code"}


async def _ok(_: web.Request, __: Visit) -> web.StreamResponse:
    return answer(b"{}")


def door(on_fatal: Any = None) -> Door:
    return Door(KeyRing(bytes(32), "token", {}), new_id=new_id, on_fatal=on_fatal or (lambda _: None))


@pytest.mark.parametrize("roles", [(), ("owner",), ("app", "public")])
def test_a_route_without_a_marker_cannot_be_built(roles: tuple[str, ...]) -> None:
    with pytest.raises(UnmarkedRoute, match="/v1/new"):
        door().build([Route("GET", "/v1/new", _ok, roles)], max_body_bytes=1000)


@pytest.mark.anyio
async def test_every_route_of_the_service_is_in_the_table_above(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        built = {(r.method, r.resource.canonical) for r in running.service.app.router.routes() if r.resource}

    named = {(method, path.replace("T-1", "{id}").replace("x/y", "{id}")) for method, path, _, _ in DOORS}
    public = {("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/openapi.json"), ("*", "/{path}")}
    assert {(m, p) for m, p in built if m != "HEAD"} == named | public


@pytest.mark.anyio
async def test_every_door_opens_to_its_keys_alone(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        for method, path, body, opens in DOORS:
            for key in (None, "hp_app_wrong", "nonsense", *KEYS):
                status, headers, said = await running.ask(method, path, body, key=key)

                if key in opens:
                    assert status not in (401, 403), (method, path, key)
                else:
                    expected = 403 if key in KEYS and key != "revoked" else 401
                    assert status == expected, (method, path, key)
                    shape_of(said)
                assert len(headers["x-request-id"]) == 36
        assert running.events(CallReserved) == []


@pytest.mark.anyio
async def test_no_key_a_wrong_one_and_a_revoked_one_are_told_the_same(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        said = [(await running.ask("GET", "/v1/models", key=key))[2] for key in (None, "hp_app_wrong", "revoked")]

        assert said[0] == said[1] == said[2]


NOWHERE = (
    ("GET", "/", 404),
    ("GET", "/v1/nothing", 404),
    ("POST", "/v1/chat/completions/", 404),
    ("GET", "/v1/chat/completions", 405),
    ("DELETE", "/v1/tickets", 405),
    ("PUT", "/v1/tickets/T-1/edits", 405),
    ("POST", "/healthz", 405),
    ("GET", "/v1/../v1/budget%00", 404),
)


@pytest.mark.anyio
async def test_what_is_not_there_is_refused_in_the_same_shape(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        for method, path, status in NOWHERE:
            got, headers, said = await running.ask(method, path)

            assert got == status, (method, path)
            assert ("allow" in headers) == (status == 405)
            shape_of(said)


@pytest.mark.anyio
async def test_a_body_over_the_limit_is_413_with_and_without_a_length(tmp_path: Path) -> None:
    async def chunked() -> Any:
        for _ in range(40):
            yield b"x" * 1000

    async with simulated(tmp_path, settings="server.max_body_bytes = 20000") as running:
        status, _, said = await running.ask("POST", "/v1/chat/completions", b'{"a":"' + b"x" * 30_000 + b'"}')
        headers = {"Authorization": f"Bearer {key_of('app')}"}
        async with running.session.post(running.url + "/v1/tickets", data=chunked(), headers=headers) as late:
            assert late.status == 413
            shape_of(await late.json())

        assert (status, said["error"]["code"]) == (413, "request_too_large")
        assert (await running.chat())[0] == 200


@pytest.mark.anyio
async def test_a_compressed_body_is_bounded_by_what_it_becomes(tmp_path: Path) -> None:
    import gzip

    bomb = gzip.compress(b'{"a":"' + b"x" * 3_000_000 + b'"}')
    async with simulated(tmp_path, settings="server.max_body_bytes = 100000") as running:
        status, _, _ = await running.ask("POST", "/v1/chat/completions", bomb, Content_Encoding="gzip")

        assert len(bomb) < 100_000
        assert status == 413


@pytest.mark.anyio
async def test_a_mistake_of_ours_is_500_and_neither_answer_nor_log_holds_what_was_sent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A logger of its own: the module's keeps the stream it first wrote to, which an earlier test may have closed.
    monkeypatch.setattr("router.doors._log", structlog.wrap_logger(structlog.PrintLogger(sys.stdout)))

    async def broken(request: web.Request, _: Visit) -> web.StreamResponse:
        raise ValueError(await request.text())

    app = door().build([Route("POST", "/x", broken, PUBLIC)], max_body_bytes=1000)
    async with TestClient(TestServer(app)) as client:
        reply = await client.post("/x", data="canary-7f3a")
        said = await reply.text()

    logged = "".join(capsys.readouterr())
    assert reply.status == 500
    shape_of(json.loads(said))
    assert reply.headers["x-request-id"] in said
    assert "canary" not in said + logged
    assert "ValueError" in logged


@pytest.mark.anyio
async def test_a_ledger_that_cannot_write_is_fatal_and_nothing_is_acknowledged() -> None:
    async def full(_: web.Request, __: Visit) -> web.StreamResponse:
        raise WriteFailed("journal/0000000001.jsonl", "No space left on device")

    fatal: list[WriteFailed] = []
    app = door(fatal.append).build([Route("GET", "/x", full, PUBLIC)], max_body_bytes=1000)
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/x")).status == 503

    assert "No space left" in str(fatal[0])


@pytest.mark.anyio
async def test_no_prompt_and_no_key_reaches_a_log_or_the_ledger(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    canary = "canary-5d1c"
    message: dict[str, Any] = {"messages": [{"role": "user", "content": canary}]}
    async with simulated(tmp_path, settings="provider.retries = 0\nprovider.read_timeout_s = 0.3") as running:
        for fault in ("", "500", "hang", "malformed_json", "cut_stream", "no_usage"):
            headers = {"x_simulate_fault": fault} if fault else {}
            await running.chat(**message, **headers)
            await running.stream(**message, **headers)
        await running.chat(model=canary)
        await running.ask("POST", "/v1/chat/completions", canary.encode())
        await running.ask("POST", "/v1/tickets/T-1/edits", {"final_text": canary}, key=canary)
        journal = b"".join(path.read_bytes() for path in running.home.journal.glob("*.jsonl"))

    logged = "".join(capsys.readouterr())
    asked_by_name = journal.count(b'"request_model":"canary-5d1c"') + journal.count(b"'canary-5d1c'")
    assert (
        journal.count(canary.encode()) <= asked_by_name + 1
    )  # a refusal names the model that was asked for, and its remedy
    assert canary not in logged
    assert "hp_app_secret" not in logged
    assert b"_secret" not in journal
    assert "provider-secret" not in logged


async def _raw(running: Served, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(running.url.rpartition(":")[2]))
    writer.write(sent)
    try:
        return await asyncio.wait_for(reader.read(), 3)
    finally:
        writer.close()


NO_HTTP = (
    b"nonsense\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n",
    b"POST /v1/tickets HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/tickets HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 100_000 + b"\r\n\r\n",
)


@pytest.mark.anyio
async def test_what_is_no_http_is_refused_and_the_connection_closed(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        for sent in NO_HTTP:
            assert (await _raw(running, sent)).startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), sent[:60]
