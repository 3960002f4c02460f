"""Fault drills with real processes: kill -9 under load, and an analyst's reader beside a service that seals.

    make drill                                   20 kills, 20 seals
    make drill-kills                             500 kills, 20 in each of 25 homes
    make drill-live                              1,000 seals and compactions, 5,000 queries each of DuckDB 1.5.6 and 2.0.0
    python -m bench.drills --rounds 5 --seals 8 --seed 3

kill   Customers send calls, streams, tickets and edits through `halfpenny serve`, which rotates and seals all the while;
       after a seeded number of acknowledgements it is killed with SIGKILL and started again on the same home.
       After each start: everything acknowledged is in the log exactly once, at the cost that was told; what was in flight
       is an orphan in `halfpenny status`; the provider billed only what was held for; `verify` finds nothing; and no
       prefix of the log has settled + held + orphaned above the cap in force.
live   Other processes, each with a DuckDB of its own, open HOME/ledger.duckdb read-only again and again and must see every
       event that was acknowledged before their query began, none twice, until so many seals have passed and each has
       asked so often.

The tests run both with fewer rounds. Exit code 1 when anything is not as promised; the table says what.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from ledger import admin
from ledger import events as e
from ledger.cli import stamp
from ledger.home import Home
from ledger.money import text
from ledger.projections import CallKey, State, apply
from ledger.segments import FAN_OUT, read_all
from ledger.verify import verify
from router.remote import post_events
from tests.customers import Customers, Told
from tests.running import CLIENT, ROOT, ZONE, Prepared, Running, gateway, halfpenny, prepared, provider

AT_ONCE = 12
HANGING = 3
ROTATE_EVENTS = 90  # so that kills fall into rotations and seals too
TIGHT_USD, ROOMY_USD = Decimal("0.006"), Decimal("5")
ROUNDS_A_HOME = 20  # each round walks the whole log, so that a home without end would cost more with each
GIVE_UP_S = 120.0
SEAL_S, QUERY_S = 10.0, 2.0  # what a seal and a query may take at most, on the average, before a drill gives up


@dataclass(slots=True)
class Round:
    """One kill and what was found after it. Shapes: `wrong` are sentences; none when all is as promised."""

    number: int
    seed: int
    calls: int = 0
    edits: int = 0
    refused: int = 0
    orphans: int = 0
    billed_orphans: int = 0
    events: int = 0
    segments: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Reading:
    """What one reader saw. Shapes: `events` in its last answer."""

    duckdb: str
    queries: int
    events: int


@dataclass(slots=True)
class Live:
    """What the readers saw. Shapes: as Round; one reading for each reader."""

    seals: int
    merges: int
    acknowledged: int
    readings: list[Reading]
    wrong: list[str]


def kill_drill(path: Path, rounds: int, seed: int) -> list[Round]:
    """Kill the gateway of one home `rounds` times; each round begins with what the last one left."""
    keys = prepared(path / "home")
    told, found = Told(), []
    with provider(path, seed=seed) as upstream:
        for number in range(1, rounds + 1):
            found.append(_kill_round(path, keys, upstream.url, told, number=number, seed=seed * 1000 + number))
    return found


def _kill_round(path: Path, keys: Prepared, upstream: str, told: Told, *, number: int, seed: int) -> Round:
    """Load, kill, start again, look. `told` is what all rounds were told so far."""
    draw = random.Random(seed)
    settings: dict[str, Any] = {
        "journal_rotate_events": ROTATE_EVENTS,
        "journal_rotate_seconds": 5,
        "budget_wait_s": 0.02,
    }
    found = Round(number, seed)
    before = told.count
    with gateway(keys.home, upstream, **settings) as running:
        # One round in three has little room, so that calls are refused at the cap while others hold.
        _give_room(keys.home, TIGHT_USD if number % 3 == 2 else ROOMY_USD)
        customers = Customers(running.url, keys, seed, told)
        asyncio.run(
            _until_killed(running, customers, after=before + draw.randrange(60, 200), pause_s=draw.random() / 50)
        )
    with gateway(keys.home, upstream, **settings) as running:
        said = halfpenny("status", "--format", "json", "--home", str(keys.home.path))
        events = list(read_all(keys.home))
        found.wrong += _wrong_status(said, events)
        running.stop()
    checked = verify(keys.home)
    found.wrong += [str(finding) for finding in checked.findings]
    found.wrong += told.odd + lost_or_doubled(told, events) + _above_cap(events)
    paid = billed(path / "provider.jsonl")
    found.wrong += billed_without_hold(paid, events)
    orphaned = {CallKey(event.subject, event.attempt) for event in events if isinstance(event, e.CallOrphaned)}
    found.calls, found.edits, found.refused = len(told.calls), len(told.edits), told.refused
    found.orphans, found.billed_orphans = len(orphaned), len(orphaned & set(paid))
    found.events, found.segments = len(events), checked.segments
    hanging = sum(isinstance(event, e.CallOrphaned) and event.ticket_id == f"H-{seed}-0" for event in events)
    if hanging != 1:
        found.wrong.append(f"the call known to be in flight in round {number} is an orphan {hanging} times")
    return found


def _give_room(home: Home, more_usd: Decimal) -> None:
    """A hard cap a little above what is committed, set beside the running service as a command sets it."""
    account = _folded(read_all(home)).account("client", CLIENT, f"{datetime.now(UTC):%Y-%m}", ZONE)
    give_cap(home, account.settled + account.held + account.orphaned + more_usd)


def give_cap(home: Home, cap: Decimal) -> None:
    """A hard cap of the client, set beside the running service as a command sets it."""
    post_events(home, [admin.budget_set(stamp(), CLIENT, text(cap), hard=True, valid_from="2025-01-01")])


async def _until_killed(running: Running, customers: Customers, *, after: int, pause_s: float) -> None:
    stop = asyncio.Event()
    refused = customers.told.refused
    work = asyncio.create_task(customers.work(stop, at_once=AT_ONCE, hanging=HANGING))
    until = time.monotonic() + GIVE_UP_S
    while customers.told.count < after and customers.told.refused < refused + 60 and not work.done():
        if time.monotonic() > until:
            raise AssertionError(f"{customers.told.count} of {after} acknowledged in {GIVE_UP_S} s")
        await asyncio.sleep(0.005)
    await asyncio.sleep(pause_s)
    # Nothing else runs in this loop until the process is dead, so what is acknowledged later was sent before.
    running.kill()
    await work


def _folded(events: Iterable[e.Event]) -> State:
    state = State()
    for event in events:
        apply(state, event)
    return state


def lost_or_doubled(told: Told, events: list[e.Event]) -> list[str]:
    """Every acknowledged event is there once, at the cost that was told."""
    wrong = []
    ids = Counter(event.id for event in events)
    wrong += [f"event {name} is there {count} times" for name, count in ids.items() if count > 1]
    if [event.sequence for event in events] != list(range(1, len(events) + 1)):
        wrong.append("the sequence has a gap")
    costs: Counter[str] = Counter()
    ends: Counter[CallKey] = Counter()
    for event in events:
        if isinstance(event, e.CallSettled):
            costs[event.subject] += Decimal(event.cost_usd)  # type: ignore[assignment]  # sums of Decimal stay Decimal
        if isinstance(event, e.CallSettled | e.CallVoided | e.CallOrphaned):
            ends[CallKey(event.subject, event.attempt)] += 1
    wrong += [f"{key.call_id}.{key.attempt} ended {count} times" for key, count in ends.items() if count > 1]
    wrong += [
        f"call {call_id} was told to cost {cost} and the log says {costs.get(call_id)}"
        for call_id, cost in told.calls.items()
        if costs.get(call_id) != cost
    ]
    wrong += [
        f"edit {event_id} was acknowledged and is there {ids[event_id]} times"
        for event_id in told.edits
        if ids[event_id] != 1
    ]
    return wrong


def _wrong_status(said: subprocess.CompletedProcess[str], events: list[e.Event]) -> list[str]:
    """After the start nothing is held, and every hold without an end is an orphan that `status` shows."""
    if said.returncode:
        return [f"halfpenny status ended with {said.returncode}: {said.stderr}"]
    status = json.loads(said.stdout)
    held = {CallKey(event.subject, event.attempt) for event in events if isinstance(event, e.CallReserved)}
    ended = {
        CallKey(event.subject, event.attempt) for event in events if isinstance(event, e.CallSettled | e.CallVoided)
    }
    shown = {CallKey(row["call_id"], row["attempt"]) for row in status["orphans"]}
    wrong = (
        [] if shown == held - ended else [f"status shows {len(shown)} orphans; {len(held - ended)} holds have no end"]
    )
    return wrong + ([f"status shows {len(status['holds'])} open holds after a restart"] if status["holds"] else [])


def billed(log: Path) -> list[CallKey]:
    """Every request in the provider's own books."""
    requests = [json.loads(line)["request_id"].rpartition(".") for line in log.read_text(encoding="utf-8").splitlines()]
    return [CallKey(call_id, int(attempt)) for call_id, _, attempt in requests]


def billed_without_hold(paid: list[CallKey], events: list[e.Event]) -> list[str]:
    """The provider billed only what was held for, and each request once."""
    held = {CallKey(event.subject, event.attempt) for event in events if isinstance(event, e.CallReserved)}
    voided = {CallKey(event.subject, event.attempt) for event in events if isinstance(event, e.CallVoided)}
    wrong = [f"{key.call_id}.{key.attempt} is billed and was never held for" for key in paid if key not in held]
    wrong += [f"{key.call_id}.{key.attempt} is billed and voided" for key in paid if key in voided]
    return wrong + ([] if len(set(paid)) == len(paid) else ["a request is billed twice"])


def _above_cap(events: list[e.Event]) -> list[str]:
    """Walk the log: after no event may a hard cap be exceeded."""
    state, wrong = State(), []
    for event in events:
        apply(state, event)
        if isinstance(event, e.CallReserved):
            account = state.account("client", CLIENT, event.period, ZONE)
            taken = account.settled + account.held + account.orphaned
            if account.hard and account.cap is not None and taken > account.cap:
                wrong.append(f"after event {event.sequence} {taken} USD are taken of {account.cap}")
    return wrong


def live_drill(
    path: Path,
    seals: int,
    seed: int,
    *,
    queries: int = 0,
    at_once: int = 3,
    rotate_events: int = 40,
    pause_s: float = 0.0,
    readers: Sequence[str] = (sys.executable,),
) -> Live:
    """Load until so many seals have passed and every reader has asked so often. Shapes: `readers` are Pythons, each with a DuckDB."""
    keys = prepared(path / "home")
    acknowledged, stop_file = path / "acknowledged", path / "stop"
    acknowledged.touch()
    told, said = Told(), list[str]()
    asked = [path / f"asked-{number}" for number in range(len(readers))]
    with (
        provider(path, seed=seed) as upstream,
        gateway(keys.home, upstream.url, journal_rotate_events=rotate_events, journal_rotate_seconds=2) as running,
        acknowledged.open("a", encoding="ascii") as log,
        ExitStack() as stack,
    ):
        processes = [
            stack.enter_context(_reader(python, keys.home, acknowledged, stop_file, count))
            for python, count in zip(readers, asked, strict=True)
        ]

        def on_told(name: str) -> None:
            log.write(name + "\n")
            log.flush()

        def is_enough(seen: int) -> bool:
            return seen >= seals and all(count.exists() and count.stat().st_size >= queries for count in asked)

        try:
            until = time.monotonic() + GIVE_UP_S + SEAL_S * seals + QUERY_S * queries
            customers = Customers(running.url, keys, seed, told, on_told, pause_s=pause_s)
            sealed, merges = asyncio.run(_until_sealed(customers, keys.home, is_enough, at_once, until))
        finally:
            stop_file.touch()
            said += [process.communicate(timeout=GIVE_UP_S)[0] for process in processes]
    found = [json.loads(one) for one in said]
    wrong = [f"DuckDB {one['duckdb']}: {trouble}" for one in found for trouble in one["wrong"]]
    wrong += told.odd + [str(finding) for finding in verify(keys.home).findings]
    wrong += [
        f"not every way of reading was tried: {one['ways']}"
        for one in found
        if set(one["ways"]) != {"connect", "attach", "attach again"}
    ]
    readings = [Reading(one["duckdb"], one["queries"], one["events"]) for one in found]
    return Live(sealed, merges, told.count, readings, wrong)


def _reader(python: str, home: Home, acknowledged: Path, stop: Path, asked: Path) -> subprocess.Popen[str]:
    words = [python, "-m", "tests.live_reader", *map(str, (home.path, acknowledged, stop, asked))]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)


async def _until_sealed(
    customers: Customers, home: Home, is_enough: Callable[[int], bool], at_once: int, until: float
) -> tuple[int, int]:
    """Count the seals and the merged segments from outside, by the manifest."""
    stop = asyncio.Event()
    work = asyncio.create_task(customers.work(stop, at_once=at_once))
    seals, merged = set[int](), set[str]()
    while not is_enough(len(seals) - 1) and time.monotonic() < until and not work.done():
        manifest = json.loads(home.manifest.read_bytes())
        seals.add(manifest["sealed_up_to"])
        merged |= {one["path"] for one in manifest["files"][-30:] if one["last_file"] - one["first_file"] >= FAN_OUT}
        await asyncio.sleep(0.02)
    stop.set()
    await work
    return len(seals) - 1, len(merged)


def main() -> int:
    """Run both drills and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=20, help="kills; 0 leaves them out")
    parser.add_argument("--seals", type=int, default=20, help="seals the readers see; 0 leaves it out")
    parser.add_argument("--queries", type=int, default=0, help="how often each reader asks at least")
    parser.add_argument("--at-once", type=int, default=3, help="customers beside the readers")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two calls of such a customer")
    parser.add_argument("--rotate-events", type=int, default=40, help="events in a journal file beside the readers")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--reader", action="append", help="a Python with another DuckDB, for an analyst's process; may be repeated"
    )
    asked = parser.parse_args()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="drill-") as directory:
        for number, start in enumerate(range(0, asked.rounds, ROUNDS_A_HOME)):
            path, rounds = _made(Path(directory) / f"kill-{number}"), min(ROUNDS_A_HOME, asked.rounds - start)
            wrong += _print_kills(kill_drill(path, rounds, asked.seed + number))
        if asked.seals:
            live = live_drill(
                _made(Path(directory) / "live"),
                asked.seals,
                asked.seed,
                queries=asked.queries,
                at_once=asked.at_once,
                rotate_events=asked.rotate_events,
                pause_s=asked.pause,
                readers=asked.reader or (sys.executable,),
            )
            wrong += _print_live(live, asked.seed)
            if live.seals < asked.seals or min(one.queries for one in live.readings) < asked.queries:
                wrong.append(f"{asked.seals} seals and {asked.queries} queries each did not come about")
    for sentence in wrong[:20]:
        print(sentence)
    print("as promised" if not wrong else f"{len(wrong)} things are not as promised")
    return 1 if wrong else 0


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def _print_kills(rounds: list[Round]) -> list[str]:
    print("kill -9  seed   calls  edits  refused  orphans  billed  events  segments  wrong   (counts since round 1)")
    for r in rounds:
        figures = f"{r.calls:7} {r.edits:6} {r.refused:8} {r.orphans:8} {r.billed_orphans:7} {r.events:7} {r.segments:9} {len(r.wrong):6}"
        print(f"{r.number:7} {r.seed:5} {figures}")
    sys.stdout.flush()
    return [f"round {r.number}, seed {r.seed}: {sentence}" for r in rounds for sentence in r.wrong]


def _print_live(live: Live, seed: int) -> list[str]:
    print(f"\nlive, seed {seed}: {live.seals} seals, {live.merges} compactions, {live.acknowledged} acknowledged")
    for one in live.readings:
        print(f"DuckDB {one.duckdb}: {one.queries} queries, {one.events} events in the last")
    print(f"{len(live.wrong)} wrong", flush=True)
    return live.wrong


if __name__ == "__main__":
    raise SystemExit(main())
