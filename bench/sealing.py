"""How long an append takes while segments are sealed, and when none is: p99 of events offered at an even rate.

The home begins with files that wait to be sealed, as after a kill; what comes before the last of them is sealed counts as
while sealing, then as long again as without. One process, one disk, one minute.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import uvloop

from bench.appends import SETTLED
from bench.starts import A_FILE, unfolded
from ledger import bodies
from ledger import manifest as manifests
from ledger.disk import REAL
from ledger.journal import Limits
from ledger.sealer import Ahead
from ledger.writer import Writer

RATE = 4_000  # events a second; reference/storage.md, section 3
FILES = 12
TICK_S = 0.001
LONGEST_S, SHORTEST_S = 60.0, 2.0


class Latencies(NamedTuple):
    """p99 in seconds, and how many seconds the seals took."""

    sealing: float
    without: float
    seconds: float


def latencies(directory: Path) -> Latencies:
    """One round of both."""
    return uvloop.run(_round(directory / f"sealing-{time.monotonic_ns()}"))


async def _round(path: Path) -> Latencies:
    home = unfolded(path, FILES * A_FILE)
    never = Limits(events=10**9, seconds=10**9)
    writer = Writer.open(
        home, fold=lambda _: lambda _: None, clock=lambda: datetime.now(UTC), limits=never, ahead=Ahead(home)
    )
    try:
        sealing, seconds = await _offered(writer, lambda: manifests.load(home, REAL).sealed_up_to < FILES - 1)
        until = time.perf_counter() + max(seconds, SHORTEST_S)
        without, _ = await _offered(writer, lambda: time.perf_counter() < until)
    finally:
        writer.close()
    return Latencies(_p99(sealing), _p99(without), seconds)


async def _offered(writer: Writer, goes_on: Callable[[], bool]) -> tuple[list[float], float]:
    """The latency of each event, counted from when it was due, while `goes_on()`; and the seconds."""
    ready, found, waiting = (bodies.checked(SETTLED),), list[float](), set[asyncio.Task[None]]()

    async def one(due: float) -> None:
        await writer.submit(ready)
        found.append(time.perf_counter() - due)

    began = looked = time.perf_counter()
    sent, is_on = 0, True
    while is_on:
        now = time.perf_counter()
        while sent < (now - began) * RATE:
            waiting.add(task := asyncio.ensure_future(one(began + sent / RATE)))
            task.add_done_callback(waiting.discard)
            sent += 1
        if now - looked > 50 * TICK_S:
            looked, is_on = now, goes_on() and now - began < LONGEST_S
        await asyncio.sleep(TICK_S)
    seconds = time.perf_counter() - began
    await asyncio.gather(*waiting)
    return found, seconds


def _p99(found: list[float]) -> float:
    return sorted(found)[int(len(found) * 0.99)]
