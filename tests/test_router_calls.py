"""The life of a call before every fault of a provider: a durable hold first, exactly one end, nothing lost or invented."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from served_home import MEDIUM, USAGE, Served, completion, http, key_of, scripted, served, simulated, sse, until

from ledger.disk import RealDisk
from ledger.events import CallRefused, CallReserved, CallSettled, CallVoided

ENDS = (CallSettled, CallVoided)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def ends(running: Served) -> list[Any]:
    """All ends on disk, after checking that every hold has exactly one and comes before it."""
    events = running.events(CallReserved, *ENDS)
    held = [(e.subject, e.attempt) for e in events if isinstance(e, CallReserved)]
    ended = [(e.subject, e.attempt) for e in events if isinstance(e, ENDS)]
    assert sorted(held) == sorted(set(ended)) == sorted(ended)
    order = [(e.subject, e.attempt, isinstance(e, ENDS)) for e in events]
    assert all(order.index((*call, False)) < order.index((*call, True)) for call in held)
    assert running.ledger.state.holds == {}
    return [event for event in events if isinstance(event, ENDS)]


FAULTS = [
    # fault, status to the client, ends by attempt, usage source, anomaly
    ("429", 429, ["status_429"] * 3, None, None),
    ("500", 500, ["status_500"], None, None),
    ("hang", 504, ["timeout"], "estimated", "usage_absent"),
    ("timeout", 504, ["timeout"], "estimated", "usage_absent"),
    ("cut_stream", 502, ["upstream_truncated"], "estimated", "usage_absent"),
    ("no_usage", 200, ["ok"], "estimated", "usage_absent"),
    ("zero_usage", 200, ["ok"], "estimated", "zero_usage"),
    ("wrong_model", 200, ["ok"], "reported", "served_other_model"),
    ("malformed_json", 502, ["error"], "estimated", "usage_absent"),
]


@pytest.mark.anyio
@pytest.mark.parametrize("expected", FAULTS, ids=[fault[0] for fault in FAULTS])
@pytest.mark.parametrize("stream", [False, True])
async def test_every_fault_of_the_provider_ends_each_attempt_once(
    tmp_path: Path, expected: tuple[str, int, list[str], str | None, str | None], stream: bool
) -> None:
    fault, status, outcomes, source, anomaly = expected
    settings = "provider.read_timeout_s = 0.5\nprovider.retry_after_at_most_s = 2"
    async with simulated(tmp_path, settings=settings) as running:
        if stream:
            got, body = await running.stream(x_simulate_fault=fault)
        else:
            got, _, answer = await running.chat(x_simulate_fault=fault)
            assert ("halfpenny" in answer) == (status == 200)

        found = ends(running)

        assert [getattr(e, "outcome", None) or e.error_type for e in found] == outcomes
        if source:
            hold = running.events(CallReserved)[-1]
            assert (found[-1].usage_source, found[-1].usage_anomaly) == (source, anomaly)
            assert (found[-1].cost_usd == hold.hold_usd) == (source == "estimated")
        if stream and got == 200:
            assert (b"data: [DONE]" in body) == (outcomes == ["ok"])
            assert (b'"error"' in body) == (outcomes != ["ok"])
        else:
            assert got == status


@pytest.mark.anyio
async def test_an_absurd_usage_never_becomes_zero_or_nonsense(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        for number in range(9):
            await running.chat(x_simulate_fault="liar_usage", messages=[{"role": "user", "content": f"{number}"}])

        found = ends(running)

        assert {event.usage_anomaly for event in found} == {"usage_excessive", "usage_inconsistent", "usage_negative"}
        assert all(Decimal(event.cost_usd) > 0 for event in found)


@pytest.mark.anyio
async def test_a_retry_that_succeeds_costs_once_and_both_attempts_stand(tmp_path: Path) -> None:
    async with simulated(tmp_path, settings="provider.retry_after_at_most_s = 2") as running:
        status, headers, answer = await running.chat(x_simulate_fault="429@1")

        refused, settled = ends(running)

        assert (status, refused.attempt, settled.attempt) == (200, 1, 2)
        assert refused.subject == settled.subject == headers["x-halfpenny-call-id"]
        assert answer["halfpenny"]["cost_usd"] == settled.cost_usd == headers["x-halfpenny-cost-usd"]


@pytest.mark.anyio
async def test_the_ledger_and_the_providers_own_books_agree_to_the_token(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        asked = [running.chat(messages=[{"role": "user", "content": f"Ticket {n}"}]) for n in range(40)]
        streamed = [running.stream(messages=[{"role": "user", "content": f"Ticket {n}"}]) for n in range(40)]
        await asyncio.gather(*asked, *streamed)

        settled = {f"{event.subject}.{event.attempt}": event for event in ends(running)}

    billed = [json.loads(line) for line in (tmp_path / "provider.jsonl").read_text().splitlines()]
    assert {line["request_id"] for line in billed} == set(settled)
    assert len(billed) == 80
    for line in billed:
        event = settled[line["request_id"]]
        assert (event.usage_input_tokens, event.usage_output_tokens) == (
            line["prompt_tokens"],
            line["completion_tokens"],
        )
        # 0.40 and 2.00 USD a million tokens.
        assert (
            Decimal(event.cost_usd) * 1_000_000
            == line["prompt_tokens"] * Decimal("0.4") + line["completion_tokens"] * 2
        )


@pytest.mark.anyio
async def test_nobody_listening_is_proof_that_nothing_was_billed(tmp_path: Path) -> None:
    async with served(tmp_path, "http://127.0.0.1:9") as running:
        status, _, answer = await running.chat()

        found = ends(running)

        assert (status, answer["error"]["code"]) == (502, "upstream_unreachable")
        assert [(type(event), event.error_type) for event in found] == [(CallVoided, "connection_refused")] * 3
        assert running.ledger.state.account("client", "acme", found[0].period).spoken_for == 0


@pytest.mark.anyio
async def test_an_unknown_host_is_proof_too(tmp_path: Path) -> None:
    async with served(tmp_path, "http://no-such-host.invalid", settings="provider.retries = 0") as running:
        status, _, _ = await running.chat()

        assert status == 502
        assert [type(event) for event in ends(running)] == [CallVoided]


@pytest.mark.anyio
async def test_a_connection_that_breaks_after_the_request_may_have_been_billed(tmp_path: Path) -> None:
    async def hang_up(_: bytes, __: asyncio.StreamWriter) -> None: ...

    async with scripted(tmp_path, hang_up) as running:
        status, _, answer = await running.chat()

        found = ends(running)

        assert (status, answer["error"]["code"]) == (502, "upstream_unreachable")
        assert [(type(e), e.error_type, e.usage_source) for e in found] == [
            (CallSettled, "connection_lost", "estimated")
        ] * 3


@pytest.mark.anyio
@pytest.mark.parametrize(("bills", "end"), [("false", CallVoided), ("true", CallSettled)])
async def test_an_error_of_the_providers_is_billed_only_where_the_provider_does_so(
    tmp_path: Path, bills: str, end: type
) -> None:
    async with simulated(tmp_path, settings=f"provider.bills_errors = {bills}") as running:
        await running.chat(x_simulate_fault="500")

        assert [(type(event), event.http_status) for event in ends(running)] == [(end, 500)]


@pytest.mark.anyio
async def test_the_hold_is_on_the_disk_before_anything_goes_upstream_and_the_end_before_the_reply(
    tmp_path: Path,
) -> None:
    seen: list[list[type]] = []

    async def look(request: bytes, writer: asyncio.StreamWriter) -> None:
        request_id = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"x-request-id:"))
        call_id, _, attempt = request_id.split(b":")[1].strip().decode().rpartition(".")
        held = [e for e in running.events(CallReserved) if (e.subject, e.attempt) == (call_id, int(attempt))]
        seen.append([type(event) for event in held])
        writer.write(http(completion()))

    async with scripted(tmp_path, look) as running:
        for _ in range(5):
            _, headers, _ = await running.chat()
            assert running.events(CallSettled)[-1].subject == headers["x-halfpenny-call-id"]

    assert seen == [[CallReserved]] * 5


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("callers", [64])
async def test_a_cap_worth_ten_holds_admits_exactly_ten_at_once(tmp_path: Path, callers: int, stream: bool) -> None:
    asked = {"model": MEDIUM, "messages": [{"role": "user", "content": "x"}], "max_tokens": 1000}
    if stream:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    body = json.dumps(asked, separators=(",", ":"))  # nothing is added to it on its way
    size = len(body)
    hold = (size * Decimal("0.4") + 1000 * 2) / 1_000_000
    arrived = asyncio.Event()
    reached: list[bytes] = []

    async def wait(request: bytes, writer: asyncio.StreamWriter) -> None:
        reached.append(request)
        if len(reached) == 10:
            arrived.set()
        await asyncio.wait_for(arrived.wait(), 10)
        await asyncio.sleep(0.3)  # the others are being refused meanwhile
        full = {"prompt_tokens": size, "completion_tokens": 1000}
        if stream:
            writer.write(http(sse("x", None, {"choices": [], "usage": full}), content_type="text/event-stream"))
        else:
            writer.write(http(completion(usage=full)))

    async with scripted(tmp_path, wait, settings="budget.wait_s = 0.1", caps={"acme": str(hold * 10)}) as running:

        async def one() -> int:
            headers = {"Authorization": f"Bearer {key_of('app')}"}
            async with running.session.post(running.url + "/v1/chat/completions", data=body, headers=headers) as answer:
                await answer.read()
                return answer.status

        statuses = await asyncio.gather(*(one() for _ in range(callers)))

        account = running.ledger.state.account("client", "acme", ends(running)[0].period)
        assert sorted(set(statuses)) == [200, 429]
        assert statuses.count(200) == len(reached) == 10
        assert account.settled == account.cap == hold * 10
        assert len(running.events(CallRefused)) == callers - 10


@pytest.mark.anyio
async def test_a_refusal_waits_for_a_hold_to_come_free_and_then_goes_through(tmp_path: Path) -> None:
    async def slow(_: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(http(completion()))

    # One hold is about 0.0001; the cap has room for one at a time.
    async with scripted(tmp_path, slow, caps={"acme": "0.00019"}) as running:
        answers = await asyncio.gather(*(running.chat() for _ in range(4)))

        assert [status for status, _, _ in answers] == [200] * 4
        assert running.events(CallRefused) == []


@pytest.mark.anyio
async def test_a_spent_budget_is_refused_recorded_and_says_why(tmp_path: Path) -> None:
    async with simulated(tmp_path, caps={"acme": "0.00001"}) as running:
        status, headers, answer = await running.chat(metadata={"ticket_id": "T-1"})

        (refused,) = running.events(CallRefused)
        assert (status, headers["x-should-retry"]) == (429, "false")
        assert (answer["error"]["type"], answer["error"]["code"]) == ("insufficient_quota", "insufficient_quota")
        assert "settled" in answer["error"]["message"]
        assert "held" in answer["error"]["message"]
        assert (refused.refusal, refused.scope, refused.cap_usd, refused.ticket_id) == (
            "budget",
            "acme",
            "0.00001",
            "T-1",
        )
        assert refused.subject == headers["x-request-id"]
    assert (tmp_path / "provider.jsonl").read_text() == ""


@pytest.mark.anyio
@pytest.mark.parametrize("scope", ["whole", "hp_app"])
async def test_the_caps_of_the_whole_and_of_the_key_hold_as_well(tmp_path: Path, scope: str) -> None:
    async with simulated(tmp_path, caps={scope: "0.00001"}) as running:
        status, _, answer = await running.chat()

        assert (status, answer["error"]["code"]) == (429, "insufficient_quota")
        assert running.ledger.state.holds == {}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("model", "status", "code"), [("nope", 404, "model_not_found"), ("ended-model", 402, "model_not_priced")]
)
async def test_a_model_without_a_price_is_never_called(tmp_path: Path, model: str, status: int, code: str) -> None:
    async with simulated(tmp_path) as running:
        got, _, answer = await running.chat(model=model)

        assert (got, answer["error"]["code"]) == (status, code)
        assert f"halfpenny price add {model}" in answer["error"]["message"]
        assert [event.refusal for event in running.events(CallRefused)] == ["unpriced"]
    assert (tmp_path / "provider.jsonl").read_text() == ""


@pytest.mark.anyio
async def test_a_worst_case_that_no_budget_could_hold_is_refused_in_words(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        # 10,000,000 tokens times 8 choices at 2.00 a million is 160 USD; times 128 at 5,000 it is 6,400,000.
        fine, _, _ = await running.chat(max_tokens=10_000_000, n=8, x_simulate_fault="500")
        await running.ask("POST", "/v1/admin/events", [_dear_price()], key="boss")
        status, _, answer = await running.chat(model="dear", max_tokens=10_000_000, n=128)

        assert fine == 500
        assert (status, answer["error"]["param"]) == (402, "max_completion_tokens")


def _dear_price() -> dict[str, str]:
    rates = {
        f"rate_{name}": "5000" for name in ("uncached_input", "cache_read", "cache_write", "plain_output", "reasoning")
    }
    named = {"type": "halfpenny.price.listed.v1", "subject": "dear@1", "model": "dear", "provider_name": "p"}
    return named | rates | {"valid_from": "2025-01-01T00:00:00Z", "price_source": "a test"}


@pytest.mark.anyio
async def test_a_client_that_hangs_up_changes_nothing_in_the_accounts(tmp_path: Path) -> None:
    answered = asyncio.Event()

    async def late(_: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.wait_for(answered.wait(), 10)
        writer.write(http(completion(usage={"prompt_tokens": 20, "completion_tokens": 10})))

    async with scripted(tmp_path, late) as running:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(running.chat(), 0.2)
        answered.set()
        await until(lambda: bool(running.events(*ENDS)))

        (end,) = ends(running)
        # 20 at 0.40 and 10 at 2.00 a million.
        assert (end.outcome, end.cost_usd, end.usage_source) == ("client_gone", "0.000028", "reported")


@pytest.mark.anyio
@pytest.mark.parametrize("after", ["headers", "first_chunk", "finish"])
async def test_a_stream_is_read_to_its_usage_whoever_has_left(tmp_path: Path, after: str) -> None:
    left = asyncio.Event()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    whole = sse("one", "two", "three", None, USAGE)
    cut = {"headers": 0, "first_chunk": whole.index(b"\n\n") + 2, "finish": whole.index(b'"usage"') - 200}[after]

    async def drip(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(head + whole[:cut])
        await asyncio.wait_for(left.wait(), 10)
        await asyncio.sleep(0.05)
        writer.write(whole[cut:])

    async with scripted(tmp_path, drip) as running:
        headers = {"Authorization": f"Bearer {key_of('app')}"}
        asked = json.dumps({"model": MEDIUM, "messages": [{"role": "user", "content": "x"}], "stream": True}).encode()
        async with aiohttp.ClientSession() as session:
            if after == "headers":
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(
                        session.post(running.url + "/v1/chat/completions", data=asked, headers=headers), 0.2
                    )
            else:
                answer = await session.post(running.url + "/v1/chat/completions", data=asked, headers=headers)
                await answer.content.readany()
                answer.close()
        left.set()
        await until(lambda: bool(running.events(*ENDS)))

        (end,) = ends(running)
        assert (end.outcome, end.usage_source, end.stream_complete) == ("client_gone", "reported", True)
        assert (end.usage_input_tokens, end.usage_output_tokens) == (10, 5)


@pytest.mark.anyio
async def test_a_client_that_reads_nothing_counts_as_gone_and_the_stream_is_read_to_its_end(tmp_path: Path) -> None:
    words = sse(*["word " * 200] * 16_000, done=False)  # about 18 MB, more than sockets buffer

    async def pour(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + words)
        writer.write(sse(None, USAGE))
        await writer.drain()

    async with scripted(tmp_path, pour, settings="server.client_stall_s = 0.2") as running:
        asked = json.dumps({"model": MEDIUM, "messages": [{"role": "user", "content": "x"}], "stream": True}).encode()
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", int(running.url.rpartition(":")[2])))
        _, writer = await asyncio.open_connection(sock=deaf, limit=1024)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key_of('app')}\r\nContent-Length: {len(asked)}\r\n\r\n"
        writer.write(head.encode() + asked)
        await until(lambda: bool(running.events(*ENDS)), 20)
        writer.close()

        (end,) = ends(running)
        assert (end.outcome, end.usage_source) == ("client_gone", "reported")


@pytest.mark.anyio
async def test_a_provider_that_drips_is_bounded_by_the_total_deadline(tmp_path: Path) -> None:
    async def drip(__: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(200):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with scripted(
        tmp_path, drip, settings="provider.total_timeout_s = 0.5\nprovider.read_timeout_s = 10"
    ) as running:
        status, _, answer = await asyncio.wait_for(running.chat(), 5)

        assert (status, answer["error"]["code"]) == (504, "upstream_timeout")
        assert [event.outcome for event in ends(running)] == ["timeout"]


@pytest.mark.anyio
async def test_a_reply_without_end_is_not_collected(tmp_path: Path) -> None:
    async def flood(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    async with scripted(tmp_path, flood, settings="provider.max_reply_bytes = 200000") as running:
        status, _, _ = await asyncio.wait_for(running.chat(), 5)

        assert status == 502
        assert [event.error_type for event in ends(running)] == ["reply_too_large"]


@pytest.mark.anyio
async def test_a_stream_cut_at_any_place_is_never_a_success(tmp_path: Path) -> None:
    whole = sse("one", "two", None, USAGE)
    cuts = [*range(0, len(whole), 37), len(whole) - 1]
    place = iter(cuts)

    async def cut(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + whole[: next(place)]
        )

    async with scripted(tmp_path, cut) as running:
        for _ in cuts:
            status, body = await running.stream()
            assert b"[DONE]" not in body
            assert b'"error"' in body
            assert status in (200, 502)

        found = ends(running)
        assert {(event.outcome, event.stream_complete) for event in found} == {("upstream_truncated", False)}
        assert len(found) == len(cuts)


@pytest.mark.anyio
async def test_a_drain_lets_calls_end_and_settles_those_it_cannot_wait_for(tmp_path: Path) -> None:
    async def sometimes(request: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2 if b"quick" in request else 30)
        writer.write(http(completion()))

    async with scripted(tmp_path, sometimes) as running:
        quick = asyncio.create_task(running.chat(messages=[{"role": "user", "content": "quick"}]))
        slow = asyncio.create_task(running.chat(messages=[{"role": "user", "content": "slow"}]))
        stream = asyncio.create_task(running.stream(messages=[{"role": "user", "content": "slow"}]))
        await until(lambda: len(running.ledger.state.holds) == 3)

        draining = asyncio.create_task(running.service.drain(1.0))
        await asyncio.sleep(0.05)
        assert (await running.ask("GET", "/readyz", key=None))[0] == 503
        assert (await running.ask("GET", "/healthz", key=None))[0] == 200
        late_status, _, late = await running.chat()
        assert (late_status, late["error"]["code"]) == (503, "overloaded")

        assert await draining == 2
        assert (await quick)[0] == 200
        assert sorted((e.outcome, e.error_type) for e in ends(running)) == [("error", "shutdown")] * 2 + [("ok", None)]
        await asyncio.gather(slow, stream, return_exceptions=True)


@pytest.mark.anyio
async def test_calls_in_flight_are_bounded_and_refused_fast(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def wait(_: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.wait_for(gate.wait(), 10)
        writer.write(http(completion()))

    async with scripted(tmp_path, wait, settings="server.max_in_flight = 3") as running:
        going = [asyncio.create_task(running.chat()) for _ in range(3)]
        await until(lambda: len(running.ledger.state.holds) == 3)

        status, headers, answer = await asyncio.wait_for(running.chat(), 1)

        assert (status, answer["error"]["code"], headers["retry-after"]) == (503, "overloaded", "1")
        gate.set()
        assert [status for status, _, _ in await asyncio.gather(*going)] == [200] * 3
        assert [event.refusal for event in running.events(CallRefused)] == ["overload"]


@pytest.mark.anyio
async def test_a_redirect_is_not_followed_and_the_key_goes_nowhere_else(tmp_path: Path) -> None:
    requests: list[bytes] = []

    async def redirect(request: bytes, writer: asyncio.StreamWriter) -> None:
        requests.append(request)
        writer.write(http(b"", status="307 Temporary Redirect", more="Location: http://127.0.0.1:9/steal\r\n"))

    async with scripted(tmp_path, redirect) as running:
        status, _, _ = await running.chat()

        assert (status, len(requests)) == (502, 1)
        assert b"Bearer provider-secret" in requests[0]
        assert key_of("app").encode() not in requests[0]


@pytest.mark.anyio
async def test_an_answer_that_is_ready_is_not_sent_before_its_end_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, go, sync = asyncio.Event(), threading.Event(), RealDisk.sync
    go.set()

    def slow_sync(disk: RealDisk, handle: int) -> None:
        go.wait(10)
        sync(disk, handle)

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        go.clear()  # the hold is durable, else nothing would have been asked
        writer.write(http(completion()))
        held.set()

    monkeypatch.setattr(RealDisk, "sync", slow_sync)
    async with scripted(tmp_path, answer) as running:
        asking = asyncio.create_task(running.chat())
        await held.wait()
        done, _ = await asyncio.wait((asking,), timeout=0.5)
        waits = running.ledger.state.holds == {} and running.ledger.durable < running.ledger.state.position
        go.set()
        status, _, _ = await asking
    assert (done, waits, status) == (set(), True, 200)  # its end was in the log, and waited for the disk
