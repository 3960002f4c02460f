"""A client that hangs up before anything was sent: its call is not made, and what waits behind it moves up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from served_home import LARGE, MEDIUM, USAGE, Served, completion, http, key_of, scripted, sse, until

from ledger.events import CallRefused, CallReserved, CallSettled, CallVoided

ENDS = (CallSettled, CallVoided, CallRefused)
# A call of max_tokens output tokens holds 2.00 USD a million of them, and some 0.00005 for its bytes: 0.00205 for a thousand.
CAP = "0.0051"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Caller:
    """One client on a connection of its own, which can hang up."""

    def __init__(self, running: Served, **fields: Any) -> None:
        asked = {"model": MEDIUM, "messages": [{"role": "user", "content": "Where is my card?"}], "max_tokens": 1000}
        self._url, self._body = running.url + "/v1/chat/completions", asked | fields
        self._task = asyncio.create_task(self._call())

    async def _call(self) -> int:
        headers = {"Authorization": f"Bearer {key_of('app')}"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self._url, json=self._body, headers=headers) as answer,
        ):
            await answer.read()
            return answer.status

    async def status(self) -> int:
        return await asyncio.wait_for(self._task, 10)

    async def hang_up(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def in_line(running: Served) -> int:
    """How many calls are in flight without a hold."""
    return len(running.service.gateway.in_flight) - len(running.ledger.state.holds)


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_one_that_leaves_the_line_takes_no_hold_is_not_called_and_lets_the_next_up(
    tmp_path: Path, stream: bool
) -> None:
    gate = asyncio.Event()
    sent: list[bytes] = []

    async def wait(request: bytes, writer: asyncio.StreamWriter) -> None:
        sent.append(request)
        await asyncio.wait_for(gate.wait(), 10)
        is_stream = b'"stream":true' in request.replace(b" ", b"")
        writer.write(http(sse("x", None, USAGE), content_type="text/event-stream") if is_stream else http(completion()))

    async with scripted(tmp_path, wait, caps={"acme": CAP}) as running:
        first = Caller(running, max_tokens=1500)  # 0.003 of 0.0051 are held
        await until(lambda: len(sent) == 1)
        large = Caller(running, max_tokens=2000, stream=stream)  # 0.004: waits for the first
        await until(lambda: in_line(running) == 1)
        small = Caller(running, max_tokens=500, stream=stream)  # 0.001 would fit, and must not overtake
        await until(lambda: in_line(running) == 2)

        await large.hang_up()

        await until(lambda: len(sent) == 2)  # the small one, while the first is still under way
        gate.set()
        assert (await first.status(), await small.status()) == (200, 200)
        await until(lambda: not running.service.gateway.in_flight)
        (refused,) = running.events(CallRefused)
        assert "The client left after" in refused.reason
        assert refused.refusal == "budget"
        held = [event.max_output_tokens for event in running.events(CallReserved)]
        ended = [event.subject for event in running.events(*ENDS)]
        assert (held, len(ended), len(set(ended))) == ([1500, 500], 3, 3)
        assert refused.subject in ended
        assert len(sent) == 2


@pytest.mark.anyio
async def test_many_that_leave_from_the_middle_of_the_line_are_gone_at_once_and_the_others_keep_their_order(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    sent: list[bytes] = []

    async def wait(request: bytes, writer: asyncio.StreamWriter) -> None:
        sent.append(request)
        await asyncio.wait_for(gate.wait(), 10)
        writer.write(http(completion()))

    async with scripted(tmp_path, wait, caps={"acme": CAP}) as running:
        first = Caller(running, max_tokens=2000)
        await until(lambda: len(sent) == 1)
        waiting = []
        for number in range(8):
            waiting.append(Caller(running, max_tokens=2000 + number))
            await until(lambda: in_line(running) == len(waiting))

        for number in (0, 2, 3, 6):
            await waiting[number].hang_up()
        await until(lambda: len(running.events(CallRefused)) == 4, 2)  # long before anything comes free
        gate.set()

        assert [await call.status() for call in (first, *(waiting[n] for n in (1, 4, 5, 7)))] == [200] * 5
        held = [event.max_output_tokens for event in running.events(CallReserved)]
        assert held == [2000, 2001, 2004, 2005, 2007]
        assert len(running.events(*ENDS)) == 9
        assert running.ledger.state.holds == {}


@pytest.mark.anyio
async def test_one_that_left_while_its_ticket_was_sorted_gets_no_draft(tmp_path: Path) -> None:
    left = asyncio.Event()
    sent: list[bytes] = []

    async def sort(request: bytes, writer: asyncio.StreamWriter) -> None:
        sent.append(request)
        await asyncio.wait_for(left.wait(), 10)
        writer.write(http(completion("simple")))

    async with scripted(tmp_path, sort) as running:
        caller = Caller(running, model="auto")
        await until(lambda: len(sent) == 1)
        await caller.hang_up()
        left.set()
        await until(lambda: not running.service.gateway.in_flight)

        sorted_, drafted = running.events(*ENDS)
        assert (type(sorted_), sorted_.purpose, sorted_.outcome) == (CallSettled, "classification", "client_gone")
        assert (type(drafted), drafted.purpose, drafted.error_type) == (CallVoided, "generation", "client_gone")
        assert drafted.request_model in (MEDIUM, LARGE)
        assert "nothing was sent" in drafted.reason
        assert running.ledger.state.holds == {}
    assert len(sent) == 1


@pytest.mark.anyio
async def test_one_that_leaves_before_a_call_is_tried_again_is_not_called_again(tmp_path: Path) -> None:
    sent: list[bytes] = []

    async def busy(request: bytes, writer: asyncio.StreamWriter) -> None:
        sent.append(request)
        writer.write(http(b"{}", status="429 Too Many Requests", more="retry-after: 0.5\r\n"))

    async with scripted(tmp_path, busy) as running:
        caller = Caller(running)
        await until(lambda: bool(running.events(CallVoided)))
        await caller.hang_up()
        await until(lambda: not running.service.gateway.in_flight)

        assert [event.error_type for event in running.events(*ENDS)] == ["status_429"]
        assert len(running.events(CallReserved)) == len(sent) == 1


@pytest.mark.anyio
async def test_an_idempotency_key_whose_call_was_never_made_is_free(tmp_path: Path) -> None:
    gate = asyncio.Event()
    sent: list[bytes] = []

    async def wait(request: bytes, writer: asyncio.StreamWriter) -> None:
        sent.append(request)
        await asyncio.wait_for(gate.wait(), 10)
        writer.write(http(completion()))

    body = {"model": MEDIUM, "messages": [{"role": "user", "content": "Where is my card?"}], "max_tokens": 2000}
    asked = ("POST", "/v1/chat/completions", body)
    async with scripted(tmp_path, wait, caps={"acme": CAP}) as running:
        first = Caller(running, max_tokens=2000)
        await until(lambda: len(sent) == 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(running.ask(*asked, Idempotency_Key="once"), 0.2)
        await until(lambda: len(running.events(CallRefused)) == 1)
        gate.set()

        assert await first.status() == 200
        status, _, _ = await running.ask(*asked, Idempotency_Key="once")
        assert (status, len(sent)) == (200, 2)
