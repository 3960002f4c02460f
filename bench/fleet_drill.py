"""Several gateways on one budget, killed with their Redis: no cap is passed by all of them together.

    python -m bench.fleet_drill                          50 rounds of 3 gateways
    python -m bench.fleet_drill --rounds 5 --seed 3

In a round every gateway serves customers under one hard cap with little room. One is killed with SIGKILL after a seeded
number of acknowledgements; in most rounds the Redis is emptied, frozen or replaced by an empty one at the same time. The
killed gateway is started again, and then, with all logs laid side by side: what was acknowledged is there once at the
cost that was told, the provider billed only what was held for, nobody was told more than the caps allow, and at no
moment was settled + held + orphaned of all gateways above the cap.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench.drills import GIVE_UP_S, billed, billed_without_hold, give_cap, lost_or_doubled
from ledger import events as e
from ledger.money import ZERO, text
from ledger.projections import State, apply
from ledger.segments import read_all
from ledger.verify import verify
from tests.customers import Customers, Told
from tests.real_redis import redis_server
from tests.running import CLIENT, ZONE, Prepared, Running, gateway, prepared, provider

AT_ONCE, HANGING = 6, 2
ROOM_USD = Decimal("0.004")  # some dozen holds
TROUBLES = ("none", "emptied", "frozen", "replaced")
FROZEN_S = 0.7  # longer than a gateway waits


@dataclass(slots=True)
class Round:
    """One kill and what was found after it. Shapes: `wrong` are sentences; none when all is as promised. Units: USD."""

    number: int
    seed: int
    trouble: str
    calls: int
    refused: int
    closed: int
    orphans: int
    most: Decimal
    cap: Decimal
    wrong: list[str] = field(default_factory=list)


class Server:
    """A Redis that can be replaced by an empty one at the same address."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack.enter_context(ExitStack())
        self.process, self.url = self._stack.enter_context(redis_server())

    def suffer(self, trouble: str) -> None:
        """Do this to it, now."""
        port = self.url.rpartition(":")[2].partition("/")[0]
        if trouble == "emptied":
            subprocess.run(["redis-cli", "-p", port, "FLUSHALL"], check=True, capture_output=True)
        elif trouble == "frozen":
            self.process.send_signal(signal.SIGSTOP)
            time.sleep(FROZEN_S)  # everything stands still here, and nowhere else
            self.process.send_signal(signal.SIGCONT)
        elif trouble == "replaced":
            self._stack.close()
            self.process, self.url = self._stack.enter_context(redis_server(int(port)))


def fleet_drill(path: Path, rounds: int, seed: int, gateways: int = 3) -> list[Round]:
    """Kill one of the gateways `rounds` times; each round begins with what the last one left."""
    homes = [prepared(path / f"home-{number}") for number in range(gateways)]
    told = [Told() for _ in homes]
    found = []
    with ExitStack() as stack:
        server = Server(stack)
        upstream = stack.enter_context(provider(path, seed=seed))

        @contextmanager
        def started(home: Prepared) -> Iterator[Running]:
            with gateway(
                home.home,
                upstream.url,
                said=f"{home.home.path.name}.said",
                budget_url=server.url,
                budget_gateways=gateways,
                budget_wait_s=0.05,
                journal_rotate_seconds=5,
                server_drain_s=0.1,
            ) as running:
                yield running

        for number in range(1, rounds + 1):
            found.append(_round(path, homes, told, server, started, number=number, seed=seed * 1000 + number))
    return found


def _round(
    path: Path,
    homes: Sequence[Prepared],
    told: Sequence[Told],
    server: Server,
    started: Callable[[Prepared], Any],
    *,
    number: int,
    seed: int,
) -> Round:
    draw = random.Random(seed)
    trouble = TROUBLES[number % len(TROUBLES)]
    committed = _walk(homes)[0]
    cap = committed + ROOM_USD
    victim = draw.randrange(len(homes))
    with ExitStack() as stack:
        running = [stack.enter_context(started(home)) for home in homes]
        for home in homes:
            give_cap(home.home, cap)
        crowd = [
            Customers(one.url, home, seed * 10 + at, told[at])
            for at, (one, home) in enumerate(zip(running, homes, strict=True))
        ]
        after = sum(one.count for one in told) + draw.randrange(4, 20)
        asyncio.run(_until_killed(crowd, running[victim], lambda: server.suffer(trouble), after))
        again = stack.enter_context(started(homes[victim]))
        customers = Customers(again.url, homes[victim], seed * 10 + 9, told[victim])
        asyncio.run(_for_a_while([customers, *(one for at, one in enumerate(crowd) if at != victim)]))
    _, most, orphans, wrong = _walk(homes)
    for home, one in zip(homes, told, strict=True):
        events = list(read_all(home.home))
        wrong += lost_or_doubled(one, events) + [str(finding) for finding in verify(home.home).findings]
    everything = [event for home in homes for event in read_all(home.home)]
    wrong += billed_without_hold(billed(path / "provider.jsonl"), everything)
    odd = [sentence for one in told for sentence in one.odd]
    shut = [sentence for sentence in odd if sentence.startswith("503") or sentence.endswith("answered with 503")]
    closed = len(shut)
    wrong += [sentence for sentence in odd if sentence not in shut]
    calls, refused = sum(len(one.calls) for one in told), sum(one.refused for one in told)
    return Round(number, seed, trouble, calls, refused, closed, orphans, most, cap, wrong)


async def _until_killed(crowd: Sequence[Customers], victim: Running, suffer: Callable[[], None], after: int) -> None:
    stop = asyncio.Event()
    work = [asyncio.create_task(one.work(stop, at_once=AT_ONCE, hanging=HANGING)) for one in crowd]
    until = time.monotonic() + GIVE_UP_S
    refused = sum(one.told.refused for one in crowd) + 60
    while sum(one.told.count for one in crowd) < after and sum(one.told.refused for one in crowd) < refused:
        if time.monotonic() > until:
            raise AssertionError(f"neither {after} acknowledgements nor 60 refusals in {GIVE_UP_S} s")
        await asyncio.sleep(0.005)
    victim.kill()
    await asyncio.to_thread(suffer)
    await asyncio.sleep(0.2)
    stop.set()
    await asyncio.gather(*work)


async def _for_a_while(crowd: Sequence[Customers]) -> None:
    """The killed one is back: what all were told must still fit, so they are asked for more."""
    stop = asyncio.Event()
    work = [asyncio.create_task(one.work(stop, at_once=2)) for one in crowd]
    await asyncio.sleep(0.5)
    stop.set()
    await asyncio.gather(*work)


def _walk(homes: Sequence[Prepared]) -> tuple[Decimal, Decimal, int, list[str]]:
    """All logs in the order they were recorded: what counts at the end, at most, the orphans, and where a cap was passed."""
    events = [
        (event.recorded_at, at, event.sequence, event) for at, home in enumerate(homes) for event in read_all(home.home)
    ]
    states = [State() for _ in homes]
    most, wrong, taken, cap = ZERO, [], ZERO, None
    for _, at, _, event in sorted(events, key=lambda one: one[:3]):
        apply(states[at], event)
        if isinstance(event, e.BudgetSet):
            found = Decimal(event.cap_usd or 0)
            cap = found if cap is None else max(cap, found)
        if not isinstance(event, e.CallEvent):
            continue
        accounts = [state.account("client", CLIENT, event.period, ZONE) for state in states]
        taken = sum((account.spoken_for for account in accounts), ZERO)
        most = max(most, taken)
        if isinstance(event, e.CallReserved) and cap is not None and taken > cap:
            wrong.append(f"after {event.subject} of gateway {at} {text(taken)} USD are taken of {text(cap)}")
    return taken, most, sum(len(state.orphans) for state in states), wrong


def main() -> int:
    """Run it and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleet-") as directory:
        rounds = fleet_drill(Path(directory), asked.rounds, asked.seed)
    print(
        "kill -9  seed    redis      calls  refused  closed  orphans     most      cap  wrong   (counts since round 1)"
    )
    for r in rounds:
        print(
            f"{r.number:7} {r.seed:5}    {r.trouble:9} {r.calls:6} {r.refused:8} {r.closed:7} {r.orphans:8} "
            f"{r.most:8.5f} {r.cap:8.5f} {len(r.wrong):6}"
        )
    wrong = [f"round {r.number}, seed {r.seed}: {sentence}" for r in rounds for sentence in r.wrong]
    for sentence in wrong[:20]:
        print(sentence)
    print("as promised" if not wrong else f"{len(wrong)} things are not as promised")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
