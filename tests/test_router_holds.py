"""Waiting in line for a hold: in order, for a bounded time, and only where waiting can help."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ledger.errors import BudgetSpent
from ledger.events import CallReserved
from router.holds import HoldLine

AT = datetime(2025, 10, 3, tzinfo=UTC)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def hold(name: str, amount: str = "1", client: str = "acme") -> CallReserved:
    return CallReserved(
        id=name,
        subject=name,
        time=AT,
        client_id=client,
        attempt=1,
        purpose="generation",
        period="2025-10",
        request_model="m",
        provider_name="p",
        hold_usd=amount,
        price_id="m@1",
        input_bytes=1,
        max_output_tokens=1,
        request_stream=False,
    )


class Purse:
    """A cap over all clients, and the order in which holds were taken from it."""

    def __init__(self, cap: str, settled: str = "0") -> None:
        self.cap, self.settled, self.held = Decimal(cap), Decimal(settled), Decimal(0)
        self.taken: list[str] = []

    async def _durable(self) -> None:
        await asyncio.sleep(0)

    def submit(self, event: CallReserved) -> asyncio.Task[None]:
        wanted = Decimal(event.hold_usd)
        if self.settled + self.held + wanted > self.cap:
            raise BudgetSpent(
                scope="whole",
                period="2025-10",
                cap=self.cap,
                settled=self.settled,
                held=self.held,
                orphaned=Decimal(0),
                wanted=wanted,
            )
        self.held += wanted
        self.taken.append(event.subject)
        return asyncio.ensure_future(self._durable())

    def end(self, amount: str, cost: str) -> None:
        self.held -= Decimal(amount)
        self.settled += Decimal(cost)


@pytest.mark.anyio
async def test_what_fits_does_not_wait() -> None:
    purse = Purse("2")
    line = HoldLine(purse.submit, wait_s=5)

    await asyncio.gather(line.reserve(hold("a")), line.reserve(hold("b")))

    assert purse.taken == ["a", "b"]


@pytest.mark.anyio
async def test_calls_that_wait_are_served_in_the_order_they_came() -> None:
    purse = Purse("10", settled="8")
    line = HoldLine(purse.submit, wait_s=5)
    await line.reserve(hold("first", "2"))
    waiting = [asyncio.create_task(line.reserve(hold(name, "1"))) for name in "abc"]
    await asyncio.sleep(0.01)
    assert purse.taken == ["first"]

    purse.end("2", "0")
    line.came_free()
    await asyncio.sleep(0.01)
    assert purse.taken == ["first", "a", "b"]

    purse.end("1", "0")
    line.came_free()
    await asyncio.gather(*waiting)
    assert purse.taken == ["first", "a", "b", "c"]


@pytest.mark.anyio
async def test_a_small_call_does_not_overtake_a_large_one_of_its_client() -> None:
    purse = Purse("3")
    line = HoldLine(purse.submit, wait_s=0.2)
    await line.reserve(hold("first", "2"))
    large = asyncio.create_task(line.reserve(hold("large", "3")))
    await asyncio.sleep(0.01)
    small = asyncio.create_task(line.reserve(hold("small", "1")))
    await asyncio.sleep(0.01)
    assert purse.taken == ["first"]

    purse.end("2", "0")
    line.came_free()
    await large

    assert purse.taken == ["first", "large"]
    with pytest.raises(BudgetSpent):
        await small


@pytest.mark.anyio
async def test_a_wait_is_bounded_and_ends_with_the_figures_of_the_last_try() -> None:
    purse = Purse("2")
    line = HoldLine(purse.submit, wait_s=0.05)
    await line.reserve(hold("a", "2"))
    loop = asyncio.get_running_loop()
    began = loop.time()

    with pytest.raises(BudgetSpent) as refused:
        await line.reserve(hold("b"))

    assert 0.04 < loop.time() - began < 1
    assert (refused.value.held, refused.value.wanted) == (Decimal(2), Decimal(1))


@pytest.mark.anyio
@pytest.mark.parametrize(("cap", "settled"), [("2", "1.5"), ("0.5", "0")])
async def test_a_call_that_no_hold_coming_free_could_help_is_refused_at_once(cap: str, settled: str) -> None:
    purse = Purse(cap, settled)
    line = HoldLine(purse.submit, wait_s=60)

    with pytest.raises(BudgetSpent):
        await asyncio.wait_for(line.reserve(hold("a")), 1)


@pytest.mark.anyio
async def test_a_wait_ends_early_once_what_is_settled_leaves_no_room() -> None:
    purse = Purse("2")
    line = HoldLine(purse.submit, wait_s=60)
    await line.reserve(hold("a", "2"))
    waiting = asyncio.create_task(line.reserve(hold("b")))
    await asyncio.sleep(0.01)

    purse.end("2", "1.5")
    line.came_free()

    with pytest.raises(BudgetSpent):
        await asyncio.wait_for(waiting, 1)


@pytest.mark.anyio
async def test_two_clients_wait_in_lines_of_their_own() -> None:
    purse = Purse("2")
    line = HoldLine(purse.submit, wait_s=0.5)
    await line.reserve(hold("a", "1"))
    large = asyncio.create_task(line.reserve(hold("large", "2")))
    await asyncio.sleep(0.01)

    await asyncio.wait_for(line.reserve(hold("other", "1", client="bolt")), 0.2)

    assert purse.taken == ["a", "other"]
    large.cancel()


@pytest.mark.anyio
async def test_one_that_leaves_the_line_lets_the_next_in() -> None:
    purse = Purse("2")
    line = HoldLine(purse.submit, wait_s=5)
    await line.reserve(hold("a", "1"))
    large = asyncio.create_task(line.reserve(hold("large", "2")))
    await asyncio.sleep(0.01)
    small = asyncio.create_task(line.reserve(hold("small", "1")))
    await asyncio.sleep(0.01)

    large.cancel()
    await asyncio.wait_for(small, 1)

    assert purse.taken == ["a", "small"]
