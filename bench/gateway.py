"""What the gateway costs: requests a second, latency and CPU against a minimal proxy, in one run on loopback.

Four ways to one zero-latency provider, each server (bench/gateway_servers.py) in a process of its own, measured in turn, round after round:

    direct   the load straight at the provider, which shows what the load generator can do
    floor    the smallest reverse proxy with aiohttp and uvloop: body read, body sent, bytes back
    gate     the same with key check, JSON parse, model map, usage read and cost, all in memory
    ours     halfpenny serve on a fresh home: hold and settle fsynced for every request

The server under test has one core to itself, load and provider share the rest. Medians over the rounds
are compared; on a shared machine only ratios to rows measured beside them mean anything.

    make bench-gateway                        64 connections, then one, then streams; about 80 s
    python -m bench.gateway --rounds 3 --only whole
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from bench.gateway_servers import HOST, MODEL, STREAM_EVENTS, content_length, made_home

TICKET = "My card was charged twice for the same order and I would like one of the two back. " * 10
WARM_S = 0.4
CPU_TICKS = os.sysconf("SC_CLK_TCK")


# --- the load -------------------------------------------------------------------------------------------------------


class _Caller(asyncio.Protocol):
    """One connection that asks again as soon as it has its answer, and notes how long each took."""

    def __init__(self, request: bytes, took: list[float], until: float) -> None:
        self._request, self._took, self._until = request, took, until
        self._buffer, self._size = b"", -1
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(ConnectionError(f"the server closed the connection: {exc}"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._size < 0 and (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            if not head.startswith(b"HTTP/1.1 200"):
                self.ended.set_exception(RuntimeError(self._buffer[:500].decode(errors="replace")))
                self._transport.close()
                return
            self._size = 0 if b"chunked" in head else end + 4 + content_length(head)
        if (self._size > 0 and len(self._buffer) >= self._size) or (
            self._size == 0 and self._buffer.endswith(b"0\r\n\r\n")
        ):
            now = time.perf_counter()
            self._took.append(now - self._asked)
            if now < self._until:
                self._ask()
            else:
                self.ended.set_result(None)
                self._transport.close()

    def _ask(self) -> None:
        self._buffer, self._size = b"", -1
        self._asked = time.perf_counter()
        self._transport.write(self._request)


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement. Units: requests a second; seconds; CPU seconds a request."""

    rate: float
    p50_s: float
    p99_s: float
    cpu_s: float


async def load(port: int, request: bytes, connections: int, seconds: float) -> tuple[list[float], float]:
    """All latencies of one round, and the seconds it took."""
    took: list[float] = []
    loop, began = asyncio.get_running_loop(), time.perf_counter()
    callers = [
        (await loop.create_connection(lambda: _Caller(request, took, began + seconds), HOST, port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(caller.ended for caller in callers))
    return took, time.perf_counter() - began


def request_bytes(key: str, *, stream: bool) -> bytes:
    """One request as it goes over the wire."""
    asked: dict[str, object] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": TICKET}],
        "max_completion_tokens": 400,
    }
    if stream:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    body = msgspec.json.encode(asked)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {key}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def cpu_seconds(process: subprocess.Popen[str] | None) -> float:
    """User and system time of a process and its threads so far."""
    if process is None:
        return 0.0
    fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CPU_TICKS


def resident_mb(process: subprocess.Popen[str]) -> float:
    """Memory of a process now."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(frozen=True, slots=True)
class Row:
    """One server under test. Shapes: `process` None is the provider itself, whose CPU is not of interest."""

    name: str
    port: int
    key: str
    process: subprocess.Popen[str] | None


def measure(rows: list[Row], *, connections: int, seconds: float, rounds: int, stream: bool) -> dict[str, list[Round]]:
    """Every row in turn, round after round; the first, short round of each row warms it and is not counted."""
    found: dict[str, list[Round]] = {row.name: [] for row in rows}
    for number in range(rounds + 1):
        for row in rows:
            before = cpu_seconds(row.process)
            request = request_bytes(row.key, stream=stream)
            took, lasted = uvloop.run(load(row.port, request, connections, seconds if number else WARM_S))
            if number:
                cpu = (cpu_seconds(row.process) - before) / len(took)
                quantiles = statistics.quantiles(took, n=100)
                found[row.name].append(Round(len(took) / lasted, statistics.median(took), quantiles[98], cpu))
    return found


def raw_sync_s(directory: Path, seconds: float = 0.5) -> float:
    """Median seconds of one 1 KB write and fdatasync here, now."""
    handle = os.open(directory / "probe", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    took, until = [], time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        os.write(handle, b"x" * 1023 + b"\n")
        os.fdatasync(handle)
        took.append(time.perf_counter() - began)
    os.close(handle)
    return statistics.median(took)


# --- the run --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def server(*arguments: str, cpu: int | None) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server of this file in its own process, on its own core if there is one; gives it and its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.gateway_servers", *arguments], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        line = ""
        while "http://" not in line:
            if not (line := process.stderr.readline()):
                raise RuntimeError(f"{arguments} ended with {process.wait()}")
        if cpu is not None:
            _pin(process.pid, cpu)
        yield process, int(line.strip().rpartition(":")[2])
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _pin(pid: int, cpu: int) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), {cpu})


def table(title: str, found: dict[str, list[Round]], floors: tuple[str, ...]) -> None:
    """Medians of the rounds, and ratios to the floors."""
    print(f"\n{title}")
    heads = [
        "",
        "req/s",
        "p50 ms",
        "p99 ms",
        "CPU ms",
        *(f"{what} / {floor}" for floor in floors for what in ("req/s", "p99", "CPU")),
    ]
    print("".join(f"{head:>14}" for head in heads))
    medians = {name: _median(rounds) for name, rounds in found.items()}
    for name, row in medians.items():
        cells = [
            f"{row.rate:,.0f}",
            f"{row.p50_s * 1e3:.2f}",
            f"{row.p99_s * 1e3:.2f}",
            f"{row.cpu_s * 1e3:.3f}" if row.cpu_s else "-",
        ]
        for floor in floors:
            base = medians[floor]
            ratios = (row.rate / base.rate, row.p99_s / base.p99_s, row.cpu_s / base.cpu_s if row.cpu_s else 0.0)
            cells += [f"{ratio:.2f}" if ratio else "-" for ratio in ratios]
        print("".join(f"{cell:>14}" for cell in (name, *cells)))
    added = (medians["ours"].p50_s - medians[floors[0]].p50_s) * 1e3
    print(f"added p50 over the {floors[0]}: {added:.2f} ms")


def _median(rounds: list[Round]) -> Round:
    def of(value: Callable[[Round], float]) -> float:
        return statistics.median(value(found) for found in rounds)

    return Round(of(lambda r: r.rate), of(lambda r: r.p50_s), of(lambda r: r.p99_s), of(lambda r: r.cpu_s))


def run(asked: argparse.Namespace) -> None:
    """All servers up, all tables printed."""
    cores = sorted(os.sched_getaffinity(0))
    ours_cpu = cores[-1] if len(cores) > 1 else None
    if ours_cpu is not None:
        os.sched_setaffinity(0, set(cores[:-1]))
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="halfpenny-bench-")))
        sync_s = raw_sync_s(directory)
        _, provider = stack.enter_context(server("provider", cpu=None))
        upstream = f"http://{HOST}:{provider}"
        key = made_home(directory / "home", upstream)
        floor, floor_port = stack.enter_context(server("floor", "--upstream", upstream, cpu=ours_cpu))
        gate, gate_port = stack.enter_context(server("gate", "--upstream", upstream, cpu=ours_cpu))
        began = time.perf_counter()
        ours, ours_port = stack.enter_context(server("ours", "--home", str(directory / "home"), cpu=ours_cpu))
        print(
            f"start of ours to its URL {time.perf_counter() - began:.2f} s; one write and fdatasync {sync_s * 1e3:.3f} ms"
        )
        rows = [
            Row("direct", provider, "hp_bench", None),
            Row("floor", floor_port, "hp_bench", floor),
            Row("gate", gate_port, "hp_bench", gate),
            Row("ours", ours_port, key, ours),
        ]
        if asked.only in (None, "whole"):
            table(
                "64 connections, whole replies",
                measure(rows, connections=64, seconds=asked.seconds, rounds=asked.rounds, stream=False),
                ("floor", "gate"),
            )
            table(
                "1 connection, whole replies",
                measure(rows, connections=1, seconds=asked.seconds / 2, rounds=asked.rounds, stream=False),
                ("floor", "gate"),
            )
        if asked.only in (None, "streams"):
            title = f"64 connections, streams of {STREAM_EVENTS} events"
            table(
                title,
                measure(rows, connections=64, seconds=asked.seconds, rounds=asked.rounds, stream=True),
                ("floor", "gate"),
            )
        print(f"\nmemory of ours {resident_mb(ours):.0f} MB, of the floor {resident_mb(floor):.0f} MB")


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.gateway", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.2, help="of one round at 64 connections")
    parser.add_argument("--only", choices=("whole", "streams"))
    asked = parser.parse_args()
    run(asked)


if __name__ == "__main__":
    main()
