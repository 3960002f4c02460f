"""Waiting in line for a hold: in order, for a bounded time, and only where waiting can help."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from msgspec.structs import replace

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
async def test_a_call_whose_deadline_comes_first_waits_no_longer_than_that() -> None:
    purse = Purse("1")
    line = HoldLine(purse.submit, wait_s=600.0)
    await line.reserve(hold("a"))

    async with asyncio.timeout(60):
        with pytest.raises(BudgetSpent):
            await line.reserve(hold("b"), at_most_s=0.05)


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


def to_fit(name: str, least: str) -> Callable[[Decimal], CallReserved | None]:
    """A call that may be made as small as `least`; a token costs a millionth."""

    def smaller(room: Decimal) -> CallReserved | None:
        if room < Decimal(least):
            return None
        return replace(hold(name), hold_usd=str(room), max_output_tokens=int(room * 1_000_000))

    return smaller


def large(name: str, amount: str) -> CallReserved:
    return replace(hold(name, amount), max_output_tokens=int(Decimal(amount) * 1_000_000))


@pytest.mark.anyio
async def test_a_call_is_made_smaller_before_it_waits_or_is_refused() -> None:
    purse = Purse("2.5")
    line = HoldLine(purse.submit, wait_s=60)
    await line.reserve(large("a", "2"))

    made = await asyncio.wait_for(line.reserve(large("b", "1"), to_fit("b", "0.4")), 1)

    assert made.hold_usd == "0.5"
    assert purse.held == Decimal("2.5")


@pytest.mark.anyio
async def test_a_call_that_fits_is_not_made_smaller() -> None:
    line = HoldLine(Purse("2").submit, wait_s=5)

    assert (await line.reserve(large("a", "1"), to_fit("a", "0.1"))).hold_usd == "1"


@pytest.mark.anyio
async def test_a_call_that_would_fit_only_made_smaller_waits_for_holds_to_come_free() -> None:
    purse = Purse("3", settled="2.2")  # what is left when all holds are free is less than the call wants
    line = HoldLine(purse.submit, wait_s=60)
    await line.reserve(large("a", "0.6"))
    waiting = asyncio.create_task(line.reserve(large("b", "1"), to_fit("b", "0.5")))
    await asyncio.sleep(0.01)
    assert purse.taken == ["a"]

    purse.end("0.6", "0.1")
    line.came_free()

    assert (await asyncio.wait_for(waiting, 1)).hold_usd == "0.7"


@pytest.mark.anyio
async def test_a_call_that_cannot_be_made_small_enough_is_refused_at_once() -> None:
    line = HoldLine(Purse("3", settled="2.9").submit, wait_s=60)

    with pytest.raises(BudgetSpent):
        await asyncio.wait_for(line.reserve(large("a", "1"), to_fit("a", "0.5")), 1)


@pytest.mark.anyio
async def test_of_two_caps_the_tighter_one_decides_how_small() -> None:
    outer, inner = Purse("2", settled="1.2"), Purse("1", settled="0.4")

    def submit(event: CallReserved) -> asyncio.Task[None]:
        outer.submit(event)
        try:
            return inner.submit(event)
        except BudgetSpent:
            outer.held -= Decimal(event.hold_usd)
            raise

    made = await HoldLine(submit, wait_s=60).reserve(large("a", "1"), to_fit("a", "0.5"))

    assert made.hold_usd == "0.6"
