"""Who sees what, and what is refused before anything reads it: routes, places, framing, bodies, canaries.

The rows S1 to S22 and the tests that hold them stand in router/README.md.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from halfpenny import report_routes
from ledger.events import CallReserved, CallSettled, KeyRevoked, ReportIssued
from router.doors import PUBLIC
from tests.served_home import KEYS, MEDIUM, Served, completion, http, key_of, scripted, simulated
from tests.test_reports_http import put

pytestmark = pytest.mark.anyio
NAMES = {"id": "T-1", "client": "acme", "file": "2025-10.json"}
REFUSED = (b"HTTP/1.1 400", b"HTTP/1.0 400")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def whole(path: Path, settings: str = "") -> AsyncIterator[Served]:
    """The service with every room's routes, as `halfpenny serve` composes it."""
    async with simulated(path, routes=report_routes, settings=settings) as running:
        yield running


async def raw(running: Served, sent: bytes, *, patience_s: float = 10) -> tuple[bytes, bool]:
    """What came back for these bytes, and whether the server then closed the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(running.url.rpartition(":")[2]))
    writer.write(sent)
    got = b""
    try:
        while block := await asyncio.wait_for(reader.read(1 << 16), patience_s if not got else 0.2):
            got += block
    except TimeoutError:
        return got, False
    finally:
        writer.close()
    return got, True


async def test_every_route_refuses_no_key_a_bad_one_a_revoked_one_and_a_wrong_role_alike(tmp_path: Path) -> None:
    async with whole(tmp_path) as running:
        for route in running.service.routes:
            if route.roles == PUBLIC:
                continue
            path = re.sub(r"{(\w+)[^}]*}", lambda name: NAMES[name[1]], route.path)
            body = None if route.method == "GET" else {}

            told = [await running.ask(route.method, path, body, key=key) for key in (None, "hp_app_bad", "", "revoked")]
            assert {status for status, _, _ in told} == {401}, path
            assert all(said == told[0][2] for _, _, said in told), path

            wrong = [key for key, (_, _, role) in KEYS.items() if role not in route.roles and key != "revoked"]
            for key in wrong:
                status, _, said = await running.ask(route.method, path, body, key=key)
                assert (status, said["error"]["code"]) == (403, "wrong_role"), (path, key)
        assert running.events(CallReserved) == []


async def test_what_is_anothers_is_told_as_what_is_not_there(tmp_path: Path) -> None:
    async with whole(tmp_path) as running:
        call = (await running.chat(metadata={"ticket_id": "T-1"}))[2]["halfpenny"]["call_id"]
        score = {"run_id": "r", "rubric": "x", "rubric_version": "1", "criterion": "c", "value": 1, "scorer": "human"}
        pairs: tuple[tuple[str, str, str, object, object], ...] = (
            ("POST", "/v1/tickets/T-1/edits", "/v1/tickets/T-9/edits", {"final_text": "x"}, {"final_text": "x"}),
            ("POST", "/v1/scores", "/v1/scores", score | {"call_id": call}, score | {"call_id": call[:-1] + "0"}),
            ("POST", "/v1/scores", "/v1/scores", score | {"ticket_id": "T-1"}, score | {"ticket_id": "T-9"}),
        )
        for method, theirs, nobodys, asked, asked_nobody in pairs:
            told = await running.ask(method, theirs, asked, key="other")
            missing = await running.ask(method, nobodys, asked_nobody, key="other")
            assert (told[0], told[2]) == (missing[0], missing[2])
            assert told[0] == 404


ODD_PLACES = (
    *(f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\n" for host in ("x/healthz?", "x#", "", "a b", "a@b", "x:y", "[::1", "é")),
    "GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
    "GET /v1/models HTTP/1.1\r\n",
    "GET http://x/v1/models HTTP/1.1\r\nHost: x\r\n",
    "GET http://x/healthz HTTP/1.1\r\nHost: x\r\n",
    "GET /v1/models HTTP/1.0\r\nHost: x/y\r\n",
)  # fmt: skip
OTHER_PATHS = (
    "//v1/models",
    "/v1/%2e%2e/healthz",
    "/v1/../healthz",
    "/healthz/",
    "/%68ealthz%00",
    "/v1%2fmodels",
    "/healthz;x",
)


@pytest.mark.parametrize("head", ODD_PLACES)
async def test_an_odd_host_or_target_is_a_400_with_a_good_key_too(tmp_path: Path, head: str) -> None:
    async with whole(tmp_path) as running:
        sent = f"{head}Authorization: Bearer {key_of('app')}\r\n\r\n".encode()

        assert (await raw(running, sent))[0].startswith(REFUSED)


async def test_a_path_written_in_another_way_is_not_that_path(tmp_path: Path) -> None:
    async with whole(tmp_path) as running:
        for path in OTHER_PATHS:
            sent = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key_of('app')}\r\n\r\n".encode()
            assert (await raw(running, sent))[0][:12] in (b"HTTP/1.1 404", b"HTTP/1.0 400"), path


@pytest.mark.parametrize("host", ["x", "x.example:8484", "127.0.0.1:80", "[::1]:8484", "a_b-c.d"])
async def test_a_plain_host_is_let_in(tmp_path: Path, host: str) -> None:
    async with whole(tmp_path) as running:
        assert (await raw(running, f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()))[0].startswith(
            b"HTTP/1.1 200"
        )


async def test_a_host_that_is_not_on_the_list_is_a_421_on_every_route(tmp_path: Path) -> None:
    """Its own address is always on it, since commands beside the service ask there; and a probe does."""
    async with whole(tmp_path, 'server.hosts = ["LLM.example.com", "[fd00::1]"]') as running:
        port = running.url.rpartition(":")[2]
        key = f"Authorization: Bearer {key_of('app')}\r\n"
        for route in running.service.routes:
            path = re.sub(r"{(\w+)[^}]*}", lambda name: NAMES[name[1]], route.path)
            for host in ("evil.example", "llm.example.com.evil.example", "evil.example:8484", "[fd00::2]", "127.0.0.2"):
                got, _ = await raw(running, f"{route.method} {path} HTTP/1.1\r\nHost: {host}\r\n{key}\r\n".encode())
                assert got.startswith(b"HTTP/1.1 421"), (path, host)
                assert b'"code":"misdirected_request"' in got
        for host in ("llm.example.com", "LLM.EXAMPLE.COM:443", "[fd00::1]:8484", "127.0.0.1", f"127.0.0.1:{port}"):
            got, _ = await raw(running, f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\n{key}\r\n".encode())
            assert got.startswith(b"HTTP/1.1 200"), host
        assert (await raw(running, f"GET /v1/models HTTP/1.0\r\n{key}\r\n".encode()))[0].startswith(b"HTTP/1.0 421")


async def test_two_keys_are_no_key(tmp_path: Path) -> None:
    async with whole(tmp_path) as running:
        good, bad = f"Authorization: Bearer {key_of('app')}\r\n", "Authorization: Bearer no\r\n"
        for keys in (good + bad, bad + good, good + good):
            sent = f"GET /v1/models HTTP/1.1\r\nHost: x\r\n{keys}\r\n".encode()
            assert (await raw(running, sent))[0].startswith(b"HTTP/1.1 401")


# Each ends with the beginning of a second request, which must never be answered: whoever stands in front saw only one.
FRAMING = (
    "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
    "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "Content-Length: +2\r\n\r\n{}",
    "Content-Length: 2, 2\r\n\r\n{}",
    "Content-Length: -1\r\n\r\n",
    "Content-Length: 99999999999999999999999\r\n\r\n{}",
    "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n2 \r\n{}\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n2\r\n{}XX\r\n0\r\n\r\n",
    "A: b\r\n c: d\r\n\r\n",
    "A\x00: b\r\n\r\n",
    "A: b\x00c\r\n\r\n",
    "A: b\rc\r\n\r\n",
    ": b\r\n\r\n",
    "A b\r\n\r\n",
    "".join(f"H{number}: x\r\n" for number in range(5000)) + "\r\n",
    "A: " + "x" * 40_000 + "\r\n\r\n",
)  # fmt: skip


@pytest.mark.parametrize("framing", FRAMING, ids=lambda framing: ascii(framing)[1:30])
async def test_a_request_with_two_readings_is_refused_and_nothing_after_it_is_heard(
    tmp_path: Path, framing: str
) -> None:
    async with whole(tmp_path) as running:
        key = f"Authorization: Bearer {key_of('app')}\r\n"
        sent = f"POST /v1/tickets HTTP/1.1\r\nHost: x\r\n{key}{framing}GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"

        got, is_closed = await raw(running, sent.encode())

        assert got.startswith(REFUSED)
        assert got.count(b"HTTP/1.") == 1
        assert is_closed
        assert running.events(CallReserved) == []


async def test_headers_that_trickle_are_cut_off_and_an_idle_connection_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.server.HEAD_S", 0.5)
    request = f"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key_of('app')}\r\n\r\n".encode()
    async with whole(tmp_path) as running:
        port = int(running.url.rpartition(":")[2])
        idle_reader, idle = await asyncio.open_connection("127.0.0.1", port)
        silent_reader, silent = await asyncio.open_connection("127.0.0.1", port)
        idle.write(request + b"\r\n")  # some send an empty line after a request; it begins no other
        assert (await idle_reader.readuntil(b"}]}")).startswith(b"HTTP/1.1 200")

        for before in (b"", request):  # a connection's first request, and a later one
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            if before:
                writer.write(before)
                assert (await reader.readuntil(b"}]}")).startswith(b"HTTP/1.1 200")
            writer.write(b"GET /v1/models HTTP/1.1\r\n")
            rest, sent = asyncio.create_task(reader.read()), 0
            while not rest.done():
                writer.write(b"X-Slow: x\r\n"[sent % 11 : sent % 11 + 1])
                sent += 1
                await asyncio.wait((rest,), timeout=0.02)
            assert await _nothing(rest) == b""
            assert sent > 5  # what comes later does not begin its time anew, and it has some
            writer.close()

        for reader, writer in ((idle_reader, idle), (silent_reader, silent)):
            writer.write(request)
            assert (await asyncio.wait_for(reader.readuntil(b"}]}"), 10)).startswith(b"HTTP/1.1 200")
            writer.close()


async def _nothing(rest: asyncio.Task[bytes]) -> bytes:
    """What came before the end; a connection that was cut while more was on its way may end in a reset."""
    try:
        return await rest
    except ConnectionError:
        return b""


async def test_a_head_in_pieces_that_comes_in_time_is_answered_and_leaves_no_timer_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.server.HEAD_S", 0.5)
    request = f"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key_of('app')}\r\n\r\n".encode()
    async with whole(tmp_path) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(running.url.rpartition(":")[2]))
        for at in range(0, len(request), 20):
            writer.write(request[at : at + 20])
            await writer.drain()
        assert (await reader.readuntil(b"}]}")).startswith(b"HTTP/1.1 200")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 1.5)  # its timer has run by now, and closed nothing

        writer.write(request)
        assert (await reader.readuntil(b"}]}")).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_a_body_that_does_not_come_is_a_408_and_headers_that_do_not_come_close_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.doors.BODY_S", 0.2)
    monkeypatch.setattr("router.app.KEEPALIVE_S", 1.0)
    async with whole(tmp_path) as running:
        head = f"POST /v1/tickets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key_of('app')}\r\n".encode()

        slow_body, _ = await raw(running, head + b'Content-Length: 100\r\n\r\n{"text":')
        slow_head, is_closed = await raw(running, head)

        assert slow_body.startswith(b"HTTP/1.1 408")
        assert b"request_timeout" in slow_body
        assert (slow_head, is_closed) == (b"", True)
        assert (await running.chat())[0] == 200


DEEP, MANY = 100_000, 80_000
ASKED = b'"model":"mistralai/Mistral-Medium-3","messages":[{"role":"user","content":"x"}]'
HOSTILE = {
    "deep list": b"[" * DEEP + b"]" * DEEP,
    "deep object": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep field": b"{" + ASKED + b',"metadata":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
    "deep unknown": b"{" + ASKED + b',"x":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "many fields": b"{" + ASKED + b"".join(b',"k%d":1' % number for number in range(MANY)) + b"}",
    "long number": b"{" + ASKED + b',"metadata":{"a":' + b"1" * 900_000 + b"}}",
    "long count": b"{" + ASKED + b',"n":' + b"1" * 900_000 + b"}",
    "huge exponent": b"{" + ASKED + b',"metadata":{"a":1e999999999}}',
    "not a number": b"{" + ASKED + b',"temperature":NaN}',
    "lone surrogate": b"{" + ASKED + b',"x":"\\ud800"}',
    "no utf-8": b"{" + ASKED + b',"x":"\xff"}',
    "two values": b"{" + ASKED + b"} {}",
    "byte order mark": b"\xef\xbb\xbf{" + ASKED + b"}",
    "nothing": b"",
}


async def test_a_hostile_body_is_a_400_on_every_route_that_reads_one(tmp_path: Path) -> None:
    async with whole(tmp_path) as running:
        posts = [route for route in running.service.routes if route.method == "POST" and route.path != "/v1/admin/seal"]
        assert len(posts) >= 5
        for route in posts:
            path, key = route.path.replace("{id}", "T-1"), "app" if "app" in route.roles else "boss"
            for name, body in HOSTILE.items():
                status, _, said = await running.ask("POST", path, body, key=key)
                assert status in (400, 404), (path, name, status, said)
                assert len(json.dumps(said)) < 2000
        assert running.events(CallReserved) == []
        assert (await running.chat())[0] == 200


async def test_a_key_given_twice_is_read_as_one_field_by_us_and_by_the_provider(tmp_path: Path) -> None:
    async with whole(tmp_path) as running:
        body = b'{"model":"dear","n":128,' + ASKED + b',"n":1,"max_tokens":4000,"max_tokens":5}'

        assert (await running.ask("POST", "/v1/chat/completions", body))[0] == 200
        (settled,) = running.events(CallSettled)
        assert (settled.request_model, settled.usage_output_tokens) == (MEDIUM, 5)


async def test_what_a_client_says_of_itself_and_of_prices_counts_for_nothing(tmp_path: Path) -> None:
    claims = {
        "client_id": "bolt",
        "cost_usd": "0",
        "price": 0,
        "user": "bolt",
        "halfpenny": {"cost_usd": "0"},
        "role": "admin",
    }
    async with whole(tmp_path) as running:
        headers = {
            "X_Client_Id": "bolt",
            "OpenAI_Organization": "bolt",
            "x_halfpenny_cost_usd": "0",
            "X_Forwarded_For": "::1",
        }
        body = {
            "model": MEDIUM,
            "messages": [{"role": "user", "content": "x"}],
            "max_tokens": 9,
            "metadata": {"client": "bolt"},
        }
        plain, claimed = [
            await running.ask("POST", "/v1/chat/completions", said, **more)
            for said, more in ((body, {}), (body | claims, headers))
        ]  # fmt: skip

        assert (plain[0], claimed[0]) == (200, 200)
        settled = running.events(CallSettled)
        assert [(call.client_id, call.key_id) for call in settled] == [("acme", "hp_app")] * 2
        assert all(call.cost_usd != "0" for call in settled)
        assert claimed[2]["halfpenny"]["cost_usd"] == settled[1].cost_usd


async def test_a_wider_key_is_minted_by_an_admin_alone(tmp_path: Path) -> None:
    async with whole(tmp_path) as running:
        wide = {"type": "halfpenny.key.issued.v1", "subject": "k", "role": "admin", "key_hash": "0" * 64}
        for key in ("app", "agent", "client", "other", "revoked"):
            assert (await running.ask("POST", "/v1/admin/events", [wide], key=key))[0] in (401, 403)
        assert len(running.ledger.state.keys) == len(KEYS)


async def test_a_rotated_key_works_beside_the_old_one_until_that_is_revoked_and_old_calls_keep_theirs(
    tmp_path: Path,
) -> None:
    async with whole(tmp_path) as running:
        assert (await running.chat())[0] == 200
        assert (await running.ask("GET", "/v1/models", key="agent"))[0] == 200

        revoked = {"type": "halfpenny.key.revoked.v1", "subject": "hp_app"}
        assert (await running.ask("POST", "/v1/admin/events", [revoked], key="boss"))[0] == 200

        assert (await running.chat())[0] == 401
        assert (await running.ask("GET", "/v1/models", key="agent"))[0] == 200
        assert [call.key_id for call in running.events(CallSettled)] == ["hp_app"]
        assert running.events(KeyRevoked)[-1].subject == "hp_app"


# What a provider may put into the headers that are passed on; none becomes a header of ours, and none a mistake.
@pytest.mark.parametrize(
    "header",
    ["x-ratelimit-a: 1\r\n x-evil: 2", "x-ratelimit-a: \x01\x02", "x-ratelimit-a: é", "retry-after: " + "9" * 5000],
)
async def test_a_providers_odd_header_splits_nothing(tmp_path: Path, header: str) -> None:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(http(completion(), more=f"{header}\r\n"))
        await writer.drain()

    async with scripted(tmp_path, answer, settings="provider.retries = 0") as running:
        status, headers, _ = await running.chat()

        assert status in (200, 502)
        assert "x-evil" not in headers
        assert len(running.events(CallSettled)) == 1


async def test_nothing_a_client_can_ask_for_holds_a_word_of_another(tmp_path: Path) -> None:
    canary = "canary-9e41"
    async with whole(tmp_path, "cache.ttl_s = 3600") as running:
        asked: dict[str, Any] = {"messages": [{"role": "user", "content": f"{canary} Where is my card?"}]}
        ids = []
        for fields in (asked, asked | {"user": canary}, asked | {"model": canary}, asked | {"model": "auto"}):
            said = (await running.chat(metadata={"ticket_id": f"T-{canary}"}, **fields))[2]
            ids.append(said.get("halfpenny", {}).get("call_id", canary))
        await running.stream(**asked)
        await running.ask("POST", f"/v1/tickets/T-{canary}/edits", {"final_text": canary, "draft_text": canary})
        digest = put(running.home, "acme", "2025-10", 1, {"report.json": canary.encode()})
        issued = ReportIssued(
            id="r-1", subject="acme", client_id="acme", time=datetime(2025, 11, 1, tzinfo=UTC), period="2025-10",
            revision=1, up_to_sequence=5, report_sha256=digest, status="final",
        )  # fmt: skip
        running.ledger.append_now(issued)
        paths = [
            re.sub(r"{(\w+)[^}]*}", lambda name: NAMES[name[1]], r.path)
            for r in running.service.routes
            if r.method == "GET"
        ]
        paths += [
            f"/v1/models/{canary}",
            "/v1/budget?client=acme",
            "/v1/reports?client=acme",
            *(f"/v1/models/{one}" for one in ids),
        ]

        heard = b""
        for key in ("other", None):
            for path in paths:
                _, headers, said = await running.ask("GET", path, key=key)
                heard += json.dumps([headers, said]).encode()
            # the same words from the other client, so that it looks where the first one's answer is kept
            for fields in (asked, asked | {"user": canary}, asked | {"model": "auto"}):
                status, headers, said = await running.chat(key=key or "hp_none", **fields)
                assert status == (200 if key else 401)
                assert "halfpenny" not in said or said["halfpenny"]["cached"] is False
                heard += json.dumps(headers).encode()

        own = json.dumps((await running.ask("GET", "/v1/reports", key="client"))[2])
        assert "acme" in own, "the canary's report is not there, so nothing was shown"
        assert b"acme" not in heard
        assert heard.replace(f"/v1/models/{canary}".encode(), b"").count(canary.encode()) == 0


async def test_everything_in_a_home_is_for_its_user_alone_and_holds_no_key_and_no_prompt(tmp_path: Path) -> None:
    canary, before = "canary-71aa", os.umask(0)  # modes are asked for, not left to the caller's umask
    try:
        async with whole(tmp_path, "cache.ttl_s = 3600\ncontent.keep_days = 7") as running:
            asked: dict[str, Any] = {
                "messages": [{"role": "user", "content": canary}],
                "metadata": {"ticket_id": "T-1"},
            }
            await running.chat(**asked)
            await running.stream(**asked)
            body = json.dumps({"model": MEDIUM, **asked}).encode()
            assert (await running.ask("POST", "/v1/chat/completions", body, Idempotency_Key=canary))[0] == 200
            edit = {"final_text": canary, "draft_text": canary}
            assert (await running.ask("POST", "/v1/tickets/T-1/edits", edit))[0] == 200
            await asyncio.to_thread(running.ledger.seal)
            home = running.home
    finally:
        os.umask(before)

    files = [path for path in home.path.rglob("*") if path.is_file()]
    kinds = {path.relative_to(home.path).parts[0] for path in files}
    assert {"journal", "events", "content", "keys", "ledger.duckdb", "manifest.json"} <= kinds, (
        "there is too little to look at"
    )
    loose = [str(path) for path in home.path.rglob("*") if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert loose == []
    for path in files:
        kept = path.read_bytes()
        assert canary.encode() not in kept, path
        assert b"provider-secret" not in kept, path
        assert not any(key_of(name).encode() in kept for name in KEYS), path
