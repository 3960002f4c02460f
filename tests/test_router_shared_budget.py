"""Several gateways and one budget over a real Redis: no cap is passed together, and every doubt is a refusal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ledger.budgets import period_of
from ledger.errors import BudgetSpent
from ledger.events import CallRefused, CallReserved, CallSettled
from ledger.money import text
from ledger.projections import State, apply
from router.config import Budget
from router.holds import LOOK_AGAIN_S, HoldLine
from router.shared_budget import BudgetOutOfReach, SharedBudget
from tests.real_redis import redis_server
from tests.served_home import Served, completion, http, scripted, simulated
from tests.test_router_holds import hold

if TYPE_CHECKING:
    from redis.asyncio import Redis

MONTH = period_of(datetime.now(UTC), "Europe/Berlin").name


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def shared(url: str, *more: str) -> str:
    return "\n".join((f'budget.url = "{url}"', "budget.wait_s = 0", *more))


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again until it is so."""
    async with asyncio.timeout(20):
        while True:
            if await is_so():
                return
            await asyncio.sleep(0.02)


async def until_heard(*gateways: Served) -> None:
    """Until every gateway has told its figures and been granted a hold."""
    for running in gateways:
        await until(partial(is_answered, running, 200))


async def is_answered(running: Served, status: int) -> bool:
    found = (await running.chat())[0]
    assert found in (status, 503)
    return found == status


async def is_granted(gateway: Gateway, voice: SharedBudget, made: CallReserved) -> bool:
    try:
        await gateway.reserve(voice, made)
    except (BudgetOutOfReach, BudgetSpent):
        return False
    return True


def made(path: Path) -> Path:
    path.mkdir()
    return path


def counted(*gateways: Served) -> Decimal:
    """What counts against the whole's cap in all ledgers together."""
    accounts = [running.ledger.state.account("whole", "", MONTH) for running in gateways]
    return sum((account.spoken_for for account in accounts), Decimal(0))


@pytest.mark.anyio
async def test_two_gateways_together_admit_what_one_cap_holds(tmp_path: Path) -> None:
    asked, answering = asyncio.Event(), asyncio.Event()
    sent: list[bytes] = []

    async def script(request: bytes, writer: asyncio.StreamWriter) -> None:
        sent.append(request)
        if asked.is_set():
            await answering.wait()
        writer.write(http(completion()))
        await writer.drain()

    with redis_server() as (_, url):
        async with (
            scripted(tmp_path / "a", script, settings=shared(url)) as one,
            scripted(tmp_path / "b", script, settings=shared(url)) as two,
        ):
            await until_heard(one, two)
            worst = Decimal(one.events(CallReserved)[0].hold_usd)
            cap = counted(one, two) + 10 * worst
            for running in (one, two):
                budget = {"type": "budget.set", "subject": "whole", "cap_usd": text(cap)}
                await set_cap(running, budget)
            sent.clear()
            asked.set()

            racing = [asyncio.create_task(running.chat()) for _ in range(32) for running in (one, two)]

            async def all_others_are_refused() -> bool:
                return sum(task.done() for task in racing) == 54 and len(sent) >= 10

            await until(all_others_are_refused)
            assert counted(one, two) == cap
            answering.set()
            statuses = [(await task)[0] for task in racing]
            assert len(sent) == 10

            assert sorted(set(statuses)) == [200, 429]
            assert statuses.count(200) == 10


async def set_cap(running: Served, budget: dict[str, str]) -> None:
    from ledger import admin

    stamp = admin.Stamp(f"cap-{budget['cap_usd']}", datetime(2025, 1, 2, tzinfo=UTC))
    await running.ledger.append(
        admin.budget_set(stamp, budget["subject"], budget["cap_usd"], hard=True, valid_from="2025-01-01")
    )


@pytest.mark.anyio
async def test_a_gateway_waits_until_all_have_told_their_figures(tmp_path: Path) -> None:
    with redis_server() as (_, url):
        async with simulated(made(tmp_path / "a"), settings=shared(url)) as one:
            status, headers, said = await one.chat()
            assert (status, headers["retry-after"]) == (503, "1")
            assert "1 of 2 gateways have told it their figures; start the others" in said["error"]["message"]
            (refused,) = one.events(CallRefused)
            assert (refused.refusal, refused.reason) == ("overload", said["error"]["message"])
            assert one.events(CallReserved) == []

            async with simulated(made(tmp_path / "b"), settings=shared(url)) as two:
                await until_heard(one, two)
            # the other has gone, and what it spent is known
            assert (await one.chat())[0] == 200


@pytest.mark.anyio
@pytest.mark.parametrize("trouble", ["killed", "frozen"])
async def test_a_server_that_does_not_answer_closes_the_budget(tmp_path: Path, trouble: str) -> None:
    with redis_server() as (process, url):
        alone = shared(url, "budget.gateways = 1", "budget.timeout_s = 0.1")
        async with simulated(tmp_path, settings=alone) as running:
            await until_heard(running)
            before = len(running.events(CallReserved))

            process.send_signal(signal.SIGKILL if trouble == "killed" else signal.SIGSTOP)
            async with asyncio.timeout(20):
                answers = await asyncio.gather(*(running.chat() for _ in range(16)))

            assert {status for status, _, _ in answers} == {503}
            assert len(running.events(CallReserved)) == before
            assert len(running.events(CallRefused)) >= 16
            if trouble == "frozen":
                process.send_signal(signal.SIGCONT)
                await until_heard(running)


@pytest.mark.anyio
@pytest.mark.parametrize("trouble", ["flushed", "another server, which has nothing"])
async def test_what_the_server_lost_is_told_again_before_anything_is_granted(tmp_path: Path, trouble: str) -> None:
    async with AsyncExitStack() as stack:
        servers = stack.enter_context(Replaceable())
        url = servers.start()
        one = await stack.enter_async_context(simulated(made(tmp_path / "a"), settings=shared(url)))
        two = await stack.enter_async_context(simulated(made(tmp_path / "b"), settings=shared(url)))
        await until_heard(one, two)
        for _ in range(3):
            assert (await two.chat())[0] == 200
        cap = counted(one, two) + Decimal("0.000001")  # less than one hold
        for running in (one, two):
            await set_cap(running, {"subject": "whole", "cap_usd": text(cap)})

        if trouble == "flushed":
            async with connected(url) as server:
                await server.flushall()
        else:
            servers.restart()
        await until(lambda: is_answered(one, 429))

        assert counted(one, two) <= cap
        async with connected(url) as server:
            (place,) = [key async for key in server.scan_iter("*:whole  *")]
            told = [[int(part) for part in figures.split()] for figures in (await server.hgetall(place)).values()]
        accounts = [running.ledger.state.account("whole", "", MONTH) for running in (one, two)]
        expected = [[int(a.settled * 10**9), int(a.held * 10**9), int(a.orphaned * 10**9)] for a in accounts]
        assert sorted(told) == sorted(expected)


class Replaceable:
    """A server that can be put away for a new one at the same address."""

    def __enter__(self) -> Replaceable:
        self._running: Any = None
        return self

    def start(self, port: int | None = None) -> str:
        self._running = redis_server(port)
        _, self._url = self._running.__enter__()
        return str(self._url)

    def restart(self) -> None:
        self._running.__exit__(None, None, None)
        self.start(int(self._url.rpartition(":")[2].partition("/")[0]))

    def __exit__(self, *_: object) -> None:
        self._running.__exit__(None, None, None)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Redis]:
    from redis.asyncio import Redis

    async with Redis.from_url(url, decode_responses=True) as server:
        yield server


class Gateway:
    """A gateway's state and its voice, without the gateway. Shapes: a cap of 10 USD over all."""

    def __init__(self, name: str, *, durable: int = 1) -> None:
        self.name, self.state, self.position = name, State(), durable
        from ledger import admin

        stamp = admin.Stamp("made", datetime(2025, 1, 1, tzinfo=UTC))
        apply(
            self.state,
            admin.client_added(
                stamp, "acme", name=None, currency="EUR", zone_name="UTC", edit_rate=None, private=False
            ),
        )
        apply(self.state, admin.budget_set(stamp, "whole", "10", hard=True, valid_from="2025-01-01"))

    def voice(self, server: Redis, token: str, gateways: int = 1) -> SharedBudget:
        settings = Budget(url="redis://", gateways=gateways)
        return SharedBudget(self.state, server, settings, gateway=self.name, token=token, durable=lambda: self.position)

    async def reserve(self, voice: SharedBudget, made: CallReserved) -> None:
        async with voice.room(made):
            apply(self.state, made)


def ended(made: CallReserved, cost: str) -> CallSettled:
    return CallSettled(
        id=f"end of {made.id}",
        subject=made.subject,
        time=made.time,
        client_id=made.client_id,
        attempt=made.attempt,
        purpose=made.purpose,
        period=made.period,
        request_model="m",
        provider_name="p",
        outcome="ok",
        duration_s=1.0,
        duration_source="measured",
        price_id="m@1",
        cost_usd=cost,
        usage_source="estimated",
        reserved_at=made.time,
        request_stream=False,
    )


@pytest.mark.anyio
async def test_figures_of_a_refusal_are_those_of_all_gateways() -> None:
    with redis_server() as (_, url):
        one, two = Gateway("one"), Gateway("two")
        async with (
            connected(url) as a,
            connected(url) as b,
            one.voice(a, "t1", gateways=2) as first,
            two.voice(b, "t2", gateways=2) as second,
        ):
            await until(lambda: is_granted(one, first, hold("a", "6.5")))
            with pytest.raises(BudgetSpent) as spent:
                await two.reserve(second, hold("b", "3.6"))
            assert (spent.value.settled, spent.value.held, spent.value.wanted) == (0, Decimal("6.5"), Decimal("3.6"))
            await two.reserve(second, hold("c", "3.5"))  # to the last cent


@pytest.mark.anyio
async def test_what_an_end_leaves_free_is_others_only_once_the_end_is_durable() -> None:
    with redis_server() as (_, url):
        one, two = Gateway("one"), Gateway("two")
        async with (
            connected(url) as a,
            connected(url) as b,
            one.voice(a, "t1") as first,
            two.voice(b, "t2") as second,
        ):
            made = hold("a", "8")
            await one.reserve(first, made)
            with first.ending(made, Decimal(1)):
                apply(one.state, ended(made, "1"))  # in the ledger, and not yet on the disk
                await one.reserve(first, hold("small", "1"))  # makes it tell its figures
                with pytest.raises(BudgetSpent):
                    await two.reserve(second, hold("b", "2"))
            await until(lambda: is_granted(two, second, hold("b", "8")))


@pytest.mark.anyio
async def test_a_second_process_on_a_home_takes_its_place_and_the_first_is_told() -> None:
    with redis_server() as (_, url):
        home = Gateway("one")
        async with connected(url) as a, connected(url) as b, home.voice(a, "t1") as first:
            await home.reserve(first, hold("a"))
            async with home.voice(b, "t2") as second:
                await home.reserve(second, hold("b"))
                for _ in range(2):
                    with pytest.raises(BudgetOutOfReach, match="another process speaks for this home"):
                        await home.reserve(first, hold("c"))


@pytest.mark.anyio
async def test_an_older_copy_of_a_home_is_refused() -> None:
    with redis_server() as (_, url):
        newer, older = Gateway("one", durable=50), Gateway("one", durable=49)
        async with connected(url) as a, newer.voice(a, "t1") as voice:
            await newer.reserve(voice, hold("a"))
        async with connected(url) as b, older.voice(b, "t2") as voice:
            with pytest.raises(BudgetOutOfReach, match="ends at event 49, and had told of event 50"):
                await older.reserve(voice, hold("a"))


@pytest.mark.anyio
async def test_a_message_that_comes_late_changes_nothing() -> None:
    """A frozen server does what it was sent once it wakes; by then newer figures may stand there."""
    with redis_server() as (_, url):
        home = Gateway("one")
        async with connected(url) as server, connected(url) as other, home.voice(server, "t1") as voice:
            await home.reserve(voice, hold("a", "4"))
            late = voice._message([("whole", "", "2025-10")], [])  # with 4 held
            await home.reserve(voice, hold("b", "4"))
            place = next(key for key in await other.keys("*whole*"))
            before = await other.hgetall(place)
            assert (
                await voice._tell_all(
                    keys=["{halfpenny}:budget:book", "{halfpenny}:budget:members", place], args=[late]
                )
            )[0] == "late"
            assert await other.hgetall(place) == before == {"one": "0 8000000000 0"}


@pytest.mark.anyio
async def test_one_that_leaves_while_it_asks_holds_nothing() -> None:
    with redis_server() as (process, url):
        home = Gateway("one")
        async with connected(url) as server, home.voice(server, "t1") as voice:
            await home.reserve(voice, hold("a", "1"))
            process.send_signal(signal.SIGSTOP)
            leaving = asyncio.create_task(home.reserve(voice, hold("b", "9")))
            await asyncio.sleep(0.05)
            leaving.cancel()
            process.send_signal(signal.SIGCONT)
            await asyncio.wait([leaving])
            await home.reserve(voice, hold("c", "9"))
            assert set(home.state.holds) == {("a", 1), ("c", 1)}


@pytest.mark.anyio
async def test_calls_that_wait_for_other_gateways_are_served_in_the_order_they_came() -> None:
    """The others say nothing when they let go, so the first in line looks again; those behind it do not."""
    with redis_server() as (_, url):
        one, two = Gateway("one"), Gateway("two")
        async with (
            connected(url) as a,
            connected(url) as b,
            one.voice(a, "t1") as first,
            two.voice(b, "t2") as second,
        ):
            theirs = hold("theirs", "9")
            await two.reserve(second, theirs)
            done: list[str] = []

            def submit(made: CallReserved) -> asyncio.Future[None]:
                apply(one.state, made)
                done.append(made.subject)
                durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                durable.set_result(None)
                return durable

            line = HoldLine(submit, wait_s=20, shared=first)
            large = asyncio.create_task(line.reserve(hold("large", "3")))
            await asyncio.sleep(0.05)
            small = asyncio.create_task(line.reserve(hold("small", "1")))  # would fit at once
            await asyncio.sleep(3.5 * LOOK_AGAIN_S)
            assert done == []
            with second.ending(theirs, Decimal(1)):
                apply(two.state, ended(theirs, "1"))
            await asyncio.gather(large, small)
            assert done == ["large", "small"]
