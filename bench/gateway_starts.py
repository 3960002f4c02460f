"""How long `halfpenny serve` takes from nothing to its first served request, and how many packages it needs.

The process is the command itself, on whatever cores there are; a start ends with the 200 of a chat completion, held and
settled. The ledger of a million events is made as bench/months.py makes it and started on once before, which folds it and
keeps the snapshot that every later start begins with, as in a service that has run for a while.
"""

from __future__ import annotations

import http.client
import os
import signal
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from packaging.requirements import Requirement

from bench.gateway_servers import HOST, issued_key, made_home, server, settings
from bench.raw_load import Request
from bench.targets import Target

STOP_S = 600.0  # the first start on a large ledger seals on to its end


def targets(directory: Path, starts: int, calls: int) -> list[Target]:
    """The rows of starting and of packages. Shapes: without `calls` no large ledger is made."""
    with server("provider") as provider:
        upstream = f"http://{HOST}:{provider.port}"
        home = directory / "started"
        key = made_home(home, upstream)
        empty = statistics.median(started_s(home, key) for _ in range(starts))
        large = None
        if calls:
            key = _large_home(directory / "large", upstream, calls)
            started_s(directory / "large", key)
            large = statistics.median(started_s(directory / "large", key) for _ in range(starts))
    return [
        Target("start to first served request, empty ledger", empty, 1.0, 0.6, "s"),
        Target("the same on a million events", large, 3.0, 1.0, "s"),
        Target("packages the service needs installed", len(packages("halfpenny")), 35, 25, ""),
    ]


def started_s(home: Path, key: str) -> float:
    """Seconds from the start of the command to its first answered chat; it is stopped in order."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "halfpenny", "serve", "--home", str(home)], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        line = ""
        while "http://" not in line:
            if not (line := process.stderr.readline()):
                raise RuntimeError(f"halfpenny serve ended with {process.wait()}")
        _ask(line.strip().rpartition(" ")[2], key)
        return time.perf_counter() - began
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S)


def _ask(url: str, key: str) -> None:
    head, _, body = Request().over_wire(key).partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request("POST", "/v1/chat/completions", body, headers)
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(said.decode(errors="replace"))


def _large_home(path: Path, upstream: str, calls: int) -> str:
    """A home with so many calls in the month before last, and a key that was issued since; returns the key."""
    from bench import months  # noqa: PLC0415 (it takes DuckDB, which no other part of this does)
    from ledger.home import create  # noqa: PLC0415
    from ledger.store import Ledger  # noqa: PLC0415

    home = create(path, "")
    months.generated(path, [_month_before_last()], calls)
    home.config.write_text(settings(upstream), encoding="utf-8")
    key, event = issued_key(home, datetime.now(UTC))
    ledger = Ledger.open(path, clock=lambda: datetime.now(UTC))
    ledger.append_now(event)
    ledger.seal()  # which keeps the snapshot
    ledger.close()
    return key


def _month_before_last() -> str:
    now = datetime.now(UTC)
    months = now.year * 12 + now.month - 1 - 2
    return f"{months // 12}-{months % 12 + 1:02d}"


def packages(name: str) -> set[str]:
    """Every distribution that installing `name` without extras brings, itself included."""
    found, waiting = set[str](), [name]
    while waiting:
        one = waiting.pop()
        if one in found:
            continue
        found.add(one)
        for line in metadata.requires(one) or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": "", **os.environ}):
                waiting.append(needed.name.lower().replace("_", "-"))
    return found
