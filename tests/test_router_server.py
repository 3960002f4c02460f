"""The short way through the server and aiohttp's own give the same bytes, whatever the request is like."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from router.app import listening
from router.in_flight import InFlight
from router.server import DIRECT

PATH = "/v1/things"
LIMIT = 2**20


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def _answer(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    if request.query_string == "stream" or b"stream" in body:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await response.write_eof()
        return response
    if b"empty" in body:
        return web.Response(status=204)
    if b"closing" in body:
        closing = web.Response(body=b"bye", content_type="text/plain")
        closing.force_close()
        return closing
    return web.Response(
        body=b'{"got":%d}' % len(body), content_type="application/json", headers={"x-thing": "1"}, status=201
    )


async def _refuse(_: web.Request) -> web.StreamResponse:
    return web.Response(status=401, body=b"no")  # the body is not read


@asynccontextmanager
async def _served(*, is_direct: bool) -> AsyncIterator[int]:
    app = web.Application(client_max_size=LIMIT)
    app.router.add_route("*", PATH, _answer)
    app.router.add_route("*", "/refused", _refuse)
    methods = ("GET", "HEAD", "POST")
    app[DIRECT] = {(method, PATH): _answer for method in methods} | {("POST", "/refused"): _refuse}
    if is_direct:
        async with listening(app, "127.0.0.1", 0) as url:
            yield int(url.rpartition(":")[2])
        return
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _said(port: int, sent: bytes) -> bytes:
    """All that is answered to these bytes until the server hangs up, or has nothing more to say."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    got = b""
    try:
        async with asyncio.timeout(0.5):
            while block := await reader.read(65_536):
                got += block
        got += b"(closed)"
    except TimeoutError:
        got += b"(open)"
    writer.close()
    return re.sub(rb"Date: [^\r]+", b"Date: then", got)


def _post(body: bytes, *, path: str = PATH, version: str = "1.1", more: str = "") -> bytes:
    head = f"POST {path} HTTP/{version}\r\nHost: here\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("sent", "answers", "end"),
    [
        (_post(b"abc"), [b"201"], b"(open)"),
        (_post(b"abc") * 3, [b"201"] * 3, b"(open)"),
        (_post(b""), [b"201"], b"(open)"),
        (_post(b"empty"), [b"204"], b"(open)"),
        (_post(b"closing"), [b"200"], b"(closed)"),
        (_post(b"stream"), [b"200"], b"(open)"),
        (_post(b"stream") + _post(b"abc"), [b"200", b"201"], b"(open)"),
        (_post(b"abc", version="1.0"), [b"201"], b"(closed)"),
        (_post(b"abc", version="1.0", more="Connection: keep-alive\r\n"), [b"201"], b"(open)"),
        (_post(b"abc", more="Connection: close\r\n"), [b"201"], b"(closed)"),
        (_post(b"abc", more="Expect: 100-continue\r\n"), [b"100", b"201"], b"(open)"),
        (_post(b"abc", path=PATH + "?stream"), [b"200"], b"(open)"),
        (_post(b"abc", path="/nowhere"), [b"404"], b"(open)"),
        (_post(b"abc", path="/v1/%74hings"), [b"201"], b"(open)"),
        (b"HEAD /v1/things HTTP/1.1\r\nHost: here\r\n\r\n", [b"201"], b"(open)"),
        (b"GET /v1/things HTTP/1.1\r\nHost: here\r\n\r\n" * 2, [b"201"] * 2, b"(open)"),
        (_post(b"abc", path="/refused") + _post(b"abc"), [b"401", b"201"], b"(open)"),
        (_post(b"x" * 300_000, path="/refused") + _post(b"abc"), [b"401", b"201"], b"(open)"),
        (b"POST /v1/things HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", [b"201"], b"(open)"),
        (b"nonsense\r\n\r\n", [b"400"], b"(closed)"),
    ],
)  # fmt: skip
async def test_both_ways_give_the_same_bytes(sent: bytes, answers: list[bytes], end: bytes) -> None:
    said = []
    for is_direct in (True, False):
        async with _served(is_direct=is_direct) as port:
            said.append(await _said(port, sent))

    assert re.findall(rb"HTTP/1\.[01] (\d{3})", said[0]) == answers
    assert said[0].endswith(end)
    assert _headers_sorted(said[0]) == _headers_sorted(said[1])


def _headers_sorted(said: bytes) -> list[list[bytes]]:
    return [sorted(head.split(b"\r\n")) for head in said.split(b"\r\n\r\n")]


@pytest.mark.anyio
async def test_a_header_that_would_split_an_answer_is_not_sent() -> None:
    async def odd(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x", headers={"x-thing": "1\r\nx-more: 2"})

    app = web.Application()
    app.router.add_route("POST", PATH, odd)
    app[DIRECT] = {("POST", PATH): odd}
    async with listening(app, "127.0.0.1", 0) as url:
        said = await _said(int(url.rpartition(":")[2]), _post(b"abc"))
    assert said == b"(closed)"


@pytest.mark.anyio
async def test_a_stop_waits_for_an_answer_that_is_under_way() -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        begun.set()
        await go.wait()
        return web.Response(body=b"late")

    app = web.Application()
    app.router.add_route("POST", PATH, slow)
    app[DIRECT] = {("POST", PATH): slow}
    async with listening(app, "127.0.0.1", 0) as url:
        asking = asyncio.create_task(_said(int(url.rpartition(":")[2]), _post(b"abc")))
        await begun.wait()
        asyncio.get_running_loop().call_later(0.1, go.set)
    assert (await asking).endswith(b"late(closed)")


@pytest.mark.anyio
async def test_a_client_that_leaves_cancels_nothing() -> None:
    begun, go, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        begun.set()
        await go.wait()
        ended.set()
        return web.Response(body=b"late")

    app = web.Application()
    app.router.add_route("POST", PATH, slow)
    app[DIRECT] = {("POST", PATH): slow}
    async with listening(app, "127.0.0.1", 0) as url:
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(_post(b"abc"))
        await begun.wait()
        writer.transport.abort()
        go.set()
        await asyncio.wait_for(ended.wait(), 5)


@pytest.mark.anyio
async def test_it_is_empty_when_the_last_call_ends_though_its_task_goes_on() -> None:
    calls, stays = InFlight(), asyncio.Event()

    async def connection() -> None:
        task: Any = asyncio.current_task()
        calls.add(task)
        await asyncio.sleep(0)
        calls.discard(task)
        await stays.wait()

    task = asyncio.create_task(connection())
    await asyncio.sleep(0)
    await calls.emptied(10)
    assert (len(calls), task.done()) == (0, False)
    await calls.emptied(10)  # at once
    stays.set()
    await task


@pytest.mark.anyio
async def test_waiting_for_calls_has_an_end() -> None:
    calls = InFlight()
    task: Any = asyncio.current_task()
    calls.add(task)
    await calls.emptied(0.01)
    assert len(calls) == 1


@pytest.mark.anyio
async def test_one_call_is_waited_for_though_others_go_on() -> None:
    calls = InFlight()
    mine: Any = asyncio.create_task(asyncio.sleep(60))
    other: Any = asyncio.create_task(asyncio.sleep(60))
    calls |= {mine, other}
    waiting = asyncio.create_task(calls.left(mine))
    await asyncio.sleep(0)
    assert not waiting.done()
    calls.discard(mine)
    await waiting
    await calls.left(mine)  # at once
    for task in (mine, other):
        task.cancel()
