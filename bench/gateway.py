"""What the gateway costs: answers a second, latency, CPU, memory and start, in one run on loopback, against a gate.

Four ways to one provider without latency, each server (bench/gateway_servers.py) in a process of its own, measured in
turn, round after round:

    direct   the load straight at the provider, which shows what the load generator can do
    floor    the smallest reverse proxy with aiohttp and uvloop: body read, body sent, bytes back
    gate     the same with key check, JSON parse, model map, usage read and cost, all in memory
    ours     halfpenny serve on a fresh home: hold and settle fsynced for every request

The server under test has one core to itself, load and provider share the rest. Medians over the rounds are compared;
on a shared machine only ratios to rows measured beside them mean anything. The exit code is 1 when a must is missed.

    make bench-gateway                  everything, about seven minutes
    python -m bench.gateway --quick     1 and 64 connections, 5,000 requests for memory, no million events; a minute
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench import gateway_starts
from bench.gateway_servers import HOST, STREAM_EVENTS, Server, made_home, server
from bench.raw_load import Figures, Request, figures, loaded, medians
from bench.targets import Target, shown

WARM_S = 0.3
CHATS = 64
CHAT_S = 0.75  # what a paced chat takes; see gateway_servers


class Row(NamedTuple):
    """One server under test."""

    name: str
    key: str
    server: Server


class Plan(NamedTuple):
    """How much is measured. Units: seconds of a round; requests for memory; events of the ledger that is started on."""

    connections: tuple[int, ...] = (1, 16, 64, 256)
    rounds: int = 3
    seconds: float = 1.2
    chat_seconds: float = 8.0
    requests: int = 100_000
    starts: int = 5
    calls: int = 400_000  # two and a half events each


class Alone(NamedTuple):
    """What one connection waited in a round. Units: seconds, medians."""

    ours_s: float
    gate_s: float
    sync_s: float

    @property
    def over_syncs_s(self) -> float:
        """Ours without the two syncs that it cannot do without."""
        return self.ours_s - 2 * self.sync_s


QUICK = Plan(connections=(1, 64), rounds=1, seconds=0.8, chat_seconds=3.0, requests=5_000, starts=3, calls=0)
Found = dict[str, Figures]


def measured(rows: Sequence[Row], request: Request, connections: int, seconds: float, rounds: int) -> Found:
    """Every row in turn, round after round; the first, short round of each row warms it and is not counted."""
    found: dict[str, list[Figures]] = {row.name: [] for row in rows}
    for number in range(rounds + 1):
        for row in rows:
            before = row.server.cpu_s()
            lasts = seconds if number else min(WARM_S, seconds)
            took = loaded(row.server.port, request.over_wire(row.key), connections, lasts)
            if number:
                found[row.name].append(figures(took, row.server.cpu_s() - before))
    return {name: medians(rounds_of) for name, rounds_of in found.items()}


def table(title: str, found: Found, *, events: int = 0) -> None:
    """Medians of the rounds, and ratios to the gate. Shapes: `events` of a stream, 0 for whole replies."""
    heads = ["req/s", "p50 ms", "p99 ms", "CPU ms"]
    heads += ["first p50", "first p99", "events/s"] if events else []
    heads += ["req/s/gate", "p99/gate", "CPU/gate"]
    print(f"\n{title}\n{'':8}" + "".join(f"{head:>12}" for head in heads))
    for name, row in found.items():
        cells = [f"{row.rate:,.0f}", *(f"{value * 1e3:.2f}" for value in (row.p50_s, row.p99_s))]
        cells.append(f"{row.cpu_s * 1e3:.3f}" if name != "direct" else "-")
        if events:
            cells += [f"{row.first_p50_s * 1e3:.2f}", f"{row.first_p99_s * 1e3:.2f}", f"{row.rate * events:,.0f}"]
        cells += [f"{ratio:.2f}" for ratio in _ratios(found, name)]
        print(f"{name:8}" + "".join(f"{cell:>12}" for cell in cells))


def _ratios(found: Found, name: str) -> tuple[float, float, float]:
    row, gate = found[name], found["gate"]
    return row.rate / gate.rate, row.p99_s / gate.p99_s, row.cpu_s / gate.cpu_s


def throughput(rows: Sequence[Row], plan: Plan) -> list[Target]:
    """Whole replies and streams, as fast as they go."""
    targets: list[Target] = []
    for request, what, events in ((Request(), "whole replies", 0), (Request(stream=True), "streams", STREAM_EVENTS)):
        for connections in plan.connections:
            found = measured(rows, request, connections, plan.seconds, plan.rounds)
            table(f"{connections} connections, {what}", found, events=events)
            if connections != CHATS:
                continue
            rate, p99, cpu = _ratios(found, "ours")
            if events:
                targets.append(Target("streams a second at 64 / gate", rate, 0.5, 0.8, is_more_better=True))
                targets.append(Target("CPU a stream / gate", cpu, 2.0, 1.4))
            else:
                targets.append(Target("requests a second at 64 / gate", rate, 0.5, 0.7, is_more_better=True))
                targets.append(Target("CPU a request / gate", cpu, 2.0, 1.4))
                targets.append(Target("p99 at 64 / gate", p99, 2.3, 1.5))
    return targets


def alone(rows: Sequence[Row], plan: Plan, directory: Path) -> Target:
    """What one connection waits for us over what it waits for the gate and two raw syncs, all three measured in turn."""
    waits: list[Alone] = []
    for _ in range(plan.rounds + 2):
        sync_s = raw_sync_s(directory)
        p50_s = {
            row.name: statistics.median(loaded(row.server.port, Request().over_wire(row.key), 1, plan.seconds).whole_s)
            for row in rows[-2:]
        }
        waits.append(Alone(p50_s["ours"], p50_s["gate"], sync_s))
    ours, gate, sync = (statistics.median(values) * 1e3 for values in zip(*waits, strict=True))
    print(f"\none connection, p50: ours {ours:.2f} ms, gate {gate:.2f}, one write and fdatasync {sync:.3f}")
    print(f"ours over two of them: {statistics.median(wait.over_syncs_s for wait in waits) * 1e3:.2f} ms")
    over = statistics.median(wait.over_syncs_s - wait.gate_s for wait in waits)
    return Target("p50 at 1 connection over the gate's and two raw fdatasyncs", over * 1e3, 0.6, 0.3, "ms")


def raw_sync_s(directory: Path, seconds: float = 0.3) -> float:
    """Median seconds of one 1 KB write and fdatasync here, now."""
    handle = os.open(directory / "probe", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    took, until = [], time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        os.write(handle, b"x" * 1023 + b"\n")
        os.fdatasync(handle)
        took.append(time.perf_counter() - began)
    os.close(handle)
    return statistics.median(took)


def chats(rows: Sequence[Row], plan: Plan) -> list[Target]:
    """64 chats at once in the time a model takes: 200 ms, then 50 tokens 10 ms apart."""
    found = measured(rows, Request(stream=True, paced=True), CHATS, plan.chat_seconds, plan.rounds)
    table("64 realistic chats at once", found, events=STREAM_EVENTS)
    ours, gate = found["ours"], found["gate"]
    first = ours.first_p99_s / gate.first_p99_s
    return [
        Target("streams a second of realistic chats / gate", ours.rate / gate.rate, 0.97, 0.99, is_more_better=True),
        Target("p99 of their time to first chunk / gate", first, 1.06, 1.03),
    ]


def memory(row: Row, plan: Plan) -> list[Target]:
    """What the service holds after many requests, and how much of it came in the second half of them."""
    request, done, half = Request().over_wire(row.key), 0, 0.0
    while done < plan.requests:
        done += len(loaded(row.server.port, request, CHATS, 2.0).whole_s)
        half = half if half and done > plan.requests / 2 else row.server.resident_mb()
    end = row.server.resident_mb()
    return [
        Target(f"memory after {done:,} more requests", end, 150, 110, "MB"),
        Target("memory gained in the second half of them", end - half, 10, 5, "MB"),
    ]


@contextlib.contextmanager
def stage(directory: Path) -> Iterator[list[Row]]:
    """The four rows, each on a core of its own as far as there are any."""
    cores = sorted(os.sched_getaffinity(0))
    last = cores[-1] if len(cores) > 1 else None
    with contextlib.ExitStack() as stack:
        provider = stack.enter_context(server("provider"))
        upstream = f"http://{HOST}:{provider.port}"
        key = made_home(directory / "home", upstream)
        rows = [Row("direct", "hp_bench", provider)]
        for name in ("floor", "gate"):
            rows.append(Row(name, "hp_bench", stack.enter_context(server(name, "--upstream", upstream, cpu=last))))
        rows.append(Row("ours", key, stack.enter_context(server("ours", "--home", str(directory / "home"), cpu=last))))
        if last is not None:
            os.sched_setaffinity(0, set(cores[:-1]))
            provider.pin(set(cores[:-1]))
        yield rows
        os.sched_setaffinity(0, set(cores))


def run(plan: Plan, only: Sequence[str]) -> int:
    """All that is asked for; the table of targets at the end. Returns the exit code."""
    targets: list[Target] = []
    with tempfile.TemporaryDirectory(prefix="halfpenny-bench-") as name:
        directory = Path(name)
        with stage(directory) as rows:
            parts: dict[str, Callable[[], list[Target]]] = {
                "throughput": lambda: throughput(rows, plan),
                "alone": lambda: [alone(rows, plan, directory)],
                "chats": lambda: chats(rows, plan),
                "memory": lambda: memory(rows[-1], plan),
            }
            for part, measure in parts.items():
                if not only or part in only:
                    targets += measure()
        if not only or "start" in only:
            targets += gateway_starts.targets(directory, plan.starts, plan.calls)
    return shown(targets)


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.gateway", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--quick", action="store_true", help="less of everything, in a minute")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of one round as fast as it goes")
    parser.add_argument(
        "--only", action="append", default=[], choices=("throughput", "alone", "chats", "memory", "start")
    )
    asked = parser.parse_args()
    plan = QUICK if asked.quick else Plan()
    plan = plan._replace(rounds=asked.rounds or plan.rounds, seconds=asked.seconds or plan.seconds)
    sys.exit(run(plan, asked.only))


if __name__ == "__main__":
    main()
