"""Drills on a cap: raced for, raced for while the gateway is killed, and spent to the end by callers without a bound."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path

from bench.callers import calling, chat
from bench.witness import Row, Witness
from ledger import events as e
from tests.running import Prepared, Running, gateway, prepared, provider

HOLDS = 10  # that the cap is worth
TOKENS = 1000
IN_USD, OUT_USD = Decimal("0.40"), Decimal("2.00")  # of Mistral Medium 3 in the shipped book, a million tokens
BODY = chat("Where is my card?", max_tokens=TOKENS)
# Each byte for a token in, each token allowed out; nothing is added to the body on its way.
HOLD_USD = (len(BODY) * IN_USD + TOKENS * OUT_USD) / 1_000_000
BILLED_AT_HOLD = "no_usage"  # what cannot be measured is settled at its hold
ROOM = {"server_max_in_flight": 4096}


def race(path: Path, callers: int, seed: int) -> Row:
    """So many calls at once against a cap worth ten holds: ten go through, and not a nano-dollar more."""
    row = Row("budget race", f"{callers} calls", seed)
    keys = prepared(path / "home", cap_usd=str(HOLD_USD * HOLDS))
    with provider(path, seed=seed) as upstream, gateway(keys.home, upstream.url, **ROOM) as running:
        statuses = asyncio.run(_fire(running, keys, callers))
    witness = Witness(keys.home, path / "provider.jsonl")
    row.wrong = witness.at_rest()
    account, billed = witness.account(), len(witness.billed())
    over = max(account.spoken_for - HOLD_USD * HOLDS, Decimal(0))
    row.found = f"{statuses[200]} admitted, {billed} billed, overshoot {over.normalize():f} USD"
    if statuses != {200: HOLDS, 429: callers - HOLDS}:
        row.wrong.append(f"answers were {dict(statuses)}")
    if billed != HOLDS or account.settled != HOLD_USD * HOLDS:
        row.wrong.append(f"{billed} calls were billed and {account.settled} USD settled of {HOLD_USD * HOLDS}")
    return row


def race_killed(path: Path, rounds: int, seed: int, callers: tuple[int, ...] = (256, 1024)) -> Row:
    """The same race again and again on one home, cut short by SIGKILL at a drawn moment; after each restart the books are held."""
    row = Row("budget race, kill -9", f"{rounds} rounds", seed)
    draw, keys = random.Random(seed), prepared(path / "home")
    witness = Witness(keys.home, path / "provider.jsonl")
    killed = Counter[str]()
    # Real durations, so that a kill finds calls under way.
    with provider(path, "--mode", "real", seed=seed) as upstream:
        for number in range(rounds + 1):
            with gateway(keys.home, upstream.url, **ROOM) as running:
                wrong = witness.look()
                if witness.state.holds:
                    wrong.append(f"{len(witness.state.holds)} holds are open after the start")
                admitted = sum(isinstance(event, e.CallReserved) for event in witness.new)
                if admitted > HOLDS:
                    wrong.append(f"{admitted} were admitted where {HOLDS} fit")
                row.wrong += [f"round {number}: {sentence}" for sentence in wrong]
                killed["orphans"] += sum(isinstance(event, e.CallOrphaned) for event in witness.new)
                killed["admitted"] += admitted
                if number == rounds:
                    break
                witness.give_room(HOLD_USD * HOLDS)
                asyncio.run(_fire(running, keys, callers[number % len(callers)], kill_after_s=draw.random() * 4))
    row.wrong += witness.at_rest()
    row.found = f"{killed['admitted']} admitted, {killed['orphans']} orphans, {len(witness.billed())} billed"
    return row


async def _fire(running: Running, keys: Prepared, callers: int, kill_after_s: float | None = None) -> Counter[int]:
    async with calling(running.url, keys.app_key) as caller:
        calls = [asyncio.create_task(caller.post(BODY, BILLED_AT_HOLD)) for _ in range(callers)]
        if kill_after_s is not None:
            await asyncio.sleep(kill_after_s)
            running.kill()
        return Counter(said.status for said in await asyncio.gather(*calls))


def usable(path: Path, calls: int, seed: int, *, mode: str = "fast", at_once: int = 64) -> Row:
    """A cap worth so many typical calls, none with a bound of its own: at least 95 % is spent before the first refusal."""
    row = Row(f"cap usability, {mode} provider", f"{calls} calls' worth, {at_once} at once", seed)
    with provider(path, "--mode", mode, seed=seed) as upstream:
        typical = _typical(path, upstream, seed)
        cap = typical * calls
        keys = prepared(path / "home", cap_usd=f"{cap:.9f}")
        with gateway(keys.home, upstream.url) as running:
            asyncio.run(_spend(running, keys, at_once))
    witness = Witness(keys.home, path / "provider.jsonl")
    witness.look()
    refused = [event for event in witness.new if isinstance(event, e.CallRefused)]
    ended = [event for event in witness.new if isinstance(event, e.CallSettled)]
    row.wrong = [f"{key} is held at rest" for key in witness.state.holds]
    account = witness.account()
    spent = Decimal(refused[0].settled_usd or 0) / cap if refused else Decimal(1)
    left = cap - account.settled
    cut = sum(event.response_finish_reasons == ("length",) for event in ended)
    row.found = (
        f"{spent:.1%} spent before the first refusal, {account.settled / cap:.1%} at the end; "
        f"{len(ended)} calls, {cut} of them cut at the imposed bound"
    )
    if spent < Decimal("0.95"):
        row.wrong.append(f"only {spent:.1%} of the cap was spent before the first refusal")
    too_soon = [event.subject for event in refused if Decimal(event.hold_usd or 0) <= left]
    row.wrong += [f"{call_id} was refused while holds would soon have come free" for call_id in too_soon]
    return row


def _typical(path: Path, upstream: Running, seed: int) -> Decimal:
    """What such a call costs on the average, by a home without a cap. Units: USD."""
    keys = prepared(path / "typical")
    with gateway(keys.home, upstream.url, said="typical.said") as running:
        asyncio.run(_ask(running, keys, [f"typical {seed}.{number}" for number in range(128)]))
    witness = Witness(keys.home, path / "provider.jsonl")
    witness.look()
    costs = [Decimal(event.cost_usd) for event in witness.new if isinstance(event, e.CallSettled)]
    return sum(costs, Decimal(0)) / len(costs)


async def _ask(running: Running, keys: Prepared, texts: list[str]) -> None:
    async with calling(running.url, keys.app_key) as caller:
        await asyncio.gather(*(caller.post(chat(text)) for text in texts))


async def _spend(running: Running, keys: Prepared, at_once: int) -> None:
    """Every caller goes on until it is refused."""
    async with calling(running.url, keys.app_key) as caller:

        async def customer(name: int) -> None:
            number = 0
            while (await caller.post(chat(f"Ticket {name}.{number}: where is my card?"))).status == 200:
                number += 1

        await asyncio.gather(*map(customer, range(at_once)))
