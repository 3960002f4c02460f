"""The ledger's queries at size, each beside a floor measured in the same round; issue 3's rows about reading.

Ten months of ten million events each are generated once (7.5 GB, half an hour on one core) into a directory that is kept. Every
round runs all rows in turn, engines in fresh processes; medians count. Only ratios mean anything on a shared machine.

    python -m bench.queries                         all rows, five rounds
    python -m bench.queries --quick                 a hundredth of the events: whether it runs, not how fast

polars and datafusion are looked for in `build/peers` (`make bench-peers` puts them there) or the interpreter HALFPENNY_PEERS names.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import msgspec

from bench import months, peers
from bench.ledger import SETTLED
from bench.targets import Target, shown
from ledger import catalog, codec, manifest
from ledger.disk import REAL
from ledger.home import Home

MONTHS = tuple(f"2025-{month:02}" for month in range(3, 13))
CALLS_A_MONTH = 4_000_000  # ten million events
TAIL = 20_000  # events: the most a journal file has before it is rotated
PEERS = ("polars", "datafusion")
ENVIRONMENT = Path("build/peers/bin/python")


def main() -> int:
    """Measure, print, and exit 1 when a ratio misses what it must reach."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "halfpenny-bench")
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    calls = CALLS_A_MONTH // 100 if asked.quick else CALLS_A_MONTH
    home = months.generated(asked.cache / f"ten-{calls}", MONTHS, calls)
    files = [home / segment.path for segment in manifest.load(Home(home), REAL).files]
    own = [file for file in files if file.parent.name == MONTHS[-1]]
    with tempfile.TemporaryDirectory() as directory:
        rows = _rows(files, own, _tail(Path(directory) / "0000000001.jsonl"))
        seconds: dict[str, list[float]] = {name: [] for name in rows}
        for _ in range(asked.rounds):
            for name, measure in rows.items():
                seconds[name].append(measure())
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    print(f"{asked.rounds} rounds, {calls * 25 // 10:,} events a month, load {os.getloadavg()[0]:.1f}")
    print(f"\n{'milliseconds':<64} {'median':>10} {'lowest':>8} {'highest':>8}")
    for name, found in seconds.items():
        print(f"{name:<64} {medians[name] * 1e3:>10,.0f} {min(found) * 1e3:>8,.0f} {max(found) * 1e3:>8,.0f}")
    missed = shown(_targets(medians, months.bytes_an_event(home)))
    return 0 if asked.quick else missed


def _rows(files: list[Path], own: list[Path], tail: Path) -> dict[str, Callable[[], float]]:
    """What is measured, in the order of a round."""
    month = MONTHS[-1]
    connection = duckdb.connect(config={"threads": peers.THREADS})
    # As `halfpenny query` connects; a footer is read for binding and again for reading, and there are fifty of them.
    connection.execute("SET TimeZone = 'UTC'; SET parquet_metadata_cache = true")
    views = {"whole": (files, []), "own": (own, []), "tailed": (own, [tail])}
    for name, (segments, journals) in views.items():
        connection.execute(catalog.events_view(segments, journals).replace("VIEW events", f"VIEW {name}", 1))
    middle = files[len(files) // 2]
    ((event,),) = connection.execute(f"SELECT event_id FROM '{middle}' LIMIT 1 OFFSET 1000").fetchall()

    def asked(sql: str) -> Callable[[], float]:
        def measure() -> float:
            started = time.perf_counter()
            connection.execute(sql).fetchall()
            return time.perf_counter() - started

        return measure

    def engine(name: str) -> Callable[[], float]:
        command = [_interpreter(name), str(Path(peers.__file__)), name, month, *map(str, own)]
        return lambda: float(json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["seconds"])

    return {
        "totals of one month": engine("duckdb"),
        "bare scan of its columns": engine("scan"),
        **{name: engine(name) for name in PEERS if _has(name)},
        "view, the month's own files": asked(peers.totals("own", month)),
        "view, with a live tail": asked(peers.totals("tailed", month)),
        "view, one month out of all": asked(peers.totals("whole", month)),
        "view, one event by its id out of all": asked(f"""SELECT * FROM whole WHERE event_id = '{event}'"""),
    }


def _targets(medians: dict[str, float], weight: float) -> list[Target]:
    """Issue 3's table. Source: reference/storage.md, "Proposed goals"."""
    totals, own = medians["totals of one month"], medians["view, the month's own files"]
    whole = medians["view, one month out of all"]
    why = "not installed; make bench-peers"
    return [
        Target(
            "monthly totals over 10 million events / bare scan", totals / medians["bare scan of its columns"], 2.2, 1.5
        ),
        *(
            Target(
                f"the same / {name}",
                totals / medians[name] if name in medians else None,
                1.0,
                0.7,
                why="" if name in medians else why,
            )
            for name in PEERS
        ),
        Target("one month out of 100 million / its own files alone", whole / own, 1.6, 1.1),
        Target(
            "one event by id in 100 million / that month's totals",
            medians["view, one event by its id out of all"] / whole,
            0.25,
            0.1,
        ),
        Target("view with a 20,000-event tail / sealed only", medians["view, with a live tail"] / own, 1.5, 1.2),
        Target("bytes an event, sealed", weight, 120, 90, "B"),
    ]


def _tail(path: Path) -> Path:
    """A journal file as long as one may get."""
    prev, moment = bytes(16), datetime(2025, 12, 31, tzinfo=UTC)
    body = codec.encode(msgspec.structs.replace(SETTLED, time=moment, reserved_at=moment, period=MONTHS[-1]))
    with path.open("wb") as file:
        for sequence in range(TAIL):
            line, prev = codec.stamped(
                body, source=months.SOURCE, sequence=10**9 + sequence, recorded_at=moment, prev=prev
            )
            file.write(line)
    return path


def _interpreter(engine: str) -> str:
    """The Python that has an engine; the peers have one of their own."""
    own = os.environ.get("HALFPENNY_PEERS") or str(ENVIRONMENT)
    return own if engine in PEERS else sys.executable


def _has(engine: str) -> bool:
    try:
        return (
            subprocess.run(
                [_interpreter(engine), "-c", f"import {engine}"], check=False, capture_output=True
            ).returncode
            == 0
        )
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(main())
