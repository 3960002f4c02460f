"""Durable appends by many callers, and what others do for one event or many; each row is events a second.

A caller is a coroutine that submits one event and waits until it is durable, then the next. All rows but one write what was
made before, as the prototype's did; that one also checks and encodes its event each time, as the service does.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import uvloop

from ledger import bodies, codec
from ledger.disk import REAL
from ledger.events import CallReserved, CallSettled
from ledger.home import Home
from ledger.journal import Journal
from ledger.manifest import Position
from ledger.recovery import new_file

SOURCE = "homes/ab12cd34"
SQLITE_BATCH = 64  # reference/storage.md, section 3
PEERS = ("deltalake", "pyiceberg")
ENVIRONMENT = Path("build/peers/bin/python")
MOMENT = datetime(2025, 10, 3, 8, 15, 2, 123456, tzinfo=UTC)
SETTLED = CallSettled(
    id="0199a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b",
    subject="0199a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1c",
    time=MOMENT,
    client_id="acme",
    attempt=1,
    purpose="generation",
    period="2025-10",
    request_model="mistralai/Mistral-Medium-3",
    provider_name="global-apis",
    key_id="hp_1a2b3c4d",
    ticket_id="0199a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1d",
    arm="standard",
    ticket_class="simple",
    outcome="ok",
    reserved_at=MOMENT,
    price_id="mistralai/Mistral-Medium-3@2025-01-01",
    cost_usd="0.0182",
    usage_source="reported",
    duration_s=1.104233,
    duration_source="measured",
    response_model="mistralai/Mistral-Medium-3",
    response_id="chatcmpl-0199a1b27c3d7e4f8a5b6c7d8e9f0a1b",
    usage_input_tokens=24000,
    usage_output_tokens=4300,
    usage_cache_read_input_tokens=2048,
    usage_cache_write_input_tokens=0,
    usage_reasoning_output_tokens=0,
    cost_uncached_input_usd="0.0087808",
    cost_cache_read_usd="0.0008192",
    cost_cache_write_usd="0",
    cost_plain_output_usd="0.0086",
    cost_reasoning_usd="0",
    request_stream=True,
    stream_complete=True,
    response_time_to_first_chunk=0.231877,
    response_finish_reasons=("stop",),
    http_status=200,
)


def one_line() -> bytes:
    """The journal line of the event every row writes."""
    return codec.stamped(codec.encode(SETTLED), source=SOURCE, sequence=41, recorded_at=MOMENT, prev=bytes(16))[0]


def hold(call: str) -> CallReserved:
    return CallReserved(
        id=f"r-{call}",
        subject=call,
        time=MOMENT,
        client_id=SETTLED.client_id,
        attempt=1,
        purpose=SETTLED.purpose,
        period=SETTLED.period,
        request_model=SETTLED.request_model,
        provider_name=SETTLED.provider_name,
        key_id=SETTLED.key_id,
        ticket_id=SETTLED.ticket_id,
        arm=SETTLED.arm,
        ticket_class=SETTLED.ticket_class,
        hold_usd="0.05",
        price_id=SETTLED.price_id or "",
        input_bytes=96_000,
        max_output_tokens=4_300,
        request_stream=True,
    )


def serial(directory: Path, seconds: float) -> float:
    """Events a second with one write and one fdatasync each: the floor. The line is ready made."""
    line, count = one_line(), 0
    handle = REAL.create(directory / f"serial-{time.monotonic_ns()}.jsonl")
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        REAL.write(handle, line)
        REAL.sync(handle)
        count += 1
    spent = time.perf_counter() - started
    REAL.close(handle)
    return count / spent


def sqlite(directory: Path, seconds: float) -> float:
    """Events a second into SQLite: WAL, synchronous=FULL, one JSON column, a commit every 64. The line is ready made."""
    connection = sqlite3.connect(directory / f"peer-{time.monotonic_ns()}.sqlite", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE events (sequence INTEGER PRIMARY KEY, body TEXT)")
    body, count = one_line().decode(), 0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO events (body) VALUES (?)", [(body,)] * SQLITE_BATCH)
        connection.execute("COMMIT")
        count += SQLITE_BATCH
    spent = time.perf_counter() - started
    connection.close()
    return count / spent


def grouped(callers: int, *, is_checked: bool = False) -> Callable[[Path, float], float]:
    """A row of this many callers of one journal, whose events are made before or, with `is_checked`, each time."""

    def measure(directory: Path, seconds: float) -> float:
        return uvloop.run(_callers(directory, callers, seconds, is_checked=is_checked))

    return measure


async def _callers(directory: Path, callers: int, seconds: float, *, is_checked: bool) -> float:
    home = Home(directory / f"home-{time.monotonic_ns()}")
    for made in (home.path, home.journal):
        REAL.make_dir(made)
    new_file(home, REAL, 0)
    journal = Journal(home, source=SOURCE, position=Position(0, bytes(16)), number=0, clock=lambda: datetime.now(UTC))
    until = time.perf_counter() + seconds
    ready = bodies.checked(SETTLED)

    async def caller() -> int:
        count = 0
        while time.perf_counter() < until:
            await journal.submit((bodies.checked(SETTLED) if is_checked else ready,))
            count += 1
        return count

    started = time.perf_counter()
    counts = await asyncio.gather(*(caller() for _ in range(callers)))
    spent = time.perf_counter() - started
    journal.close()
    return sum(counts) / spent


def duckdb_insert(directory: Path, seconds: float) -> float:
    """Events a second into a DuckDB file, one INSERT and commit an event. The row is ready made."""
    row = json.loads(one_line())
    names, values = ", ".join(f'"{name}"' for name in row), ", ".join("?" for _ in row)
    connection = duckdb.connect(str(directory / f"peer-{time.monotonic_ns()}.duckdb"))
    columns = ", ".join(f'"{name}" {_sql(value)}' for name, value in row.items())
    connection.execute(f"CREATE TABLE events ({columns})")
    given, count = list(row.values()), 0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        connection.execute(f"INSERT INTO events ({names}) VALUES ({values})", given)
        count += 1
    spent = time.perf_counter() - started
    connection.close()
    return count / spent


def _sql(value: object) -> str:
    kinds = {bool: "BOOLEAN", int: "BIGINT", float: "DOUBLE", list: "VARCHAR[]"}
    return kinds.get(type(value), "VARCHAR")


def peer(name: str) -> Callable[[Path, float], float]:
    """A row of a peer, in a process of its own environment; see append_peers.py."""

    def measure(directory: Path, seconds: float) -> float:
        target = directory / f"{name}-{time.monotonic_ns()}"
        script = Path(__file__).parent / "append_peers.py"
        command = [interpreter(), str(script), name, str(target), str(seconds)]
        ran = subprocess.run(command, input=one_line(), check=True, capture_output=True)
        return float(ran.stdout)

    return measure


def interpreter() -> str:
    """The Python that has the peers, which have one of their own."""
    return os.environ.get("HALFPENNY_PEERS") or str(ENVIRONMENT)


def has(name: str, python: str | None = None) -> bool:
    """Whether an interpreter, the peers' unless said, has a package."""
    try:
        ran = subprocess.run([python or interpreter(), "-c", f"import {name}"], check=False, capture_output=True)
    except FileNotFoundError:
        return False
    return ran.returncode == 0
