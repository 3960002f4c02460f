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
from bench.appends import SETTLED, has, interpreter
from bench.targets import Target, shown
from ledger import catalog, codec, manifest, rows
from ledger.disk import REAL
from ledger.home import Home

MONTHS = tuple(f"2025-{month:02}" for month in range(3, 13))
CALLS_A_MONTH = 4_000_000  # ten million events
TAIL = 20_000  # events: the most a journal file has before it is rotated
BEFORE_TAIL = 10**9  # the sequence they follow
PEERS = ("polars", "datafusion")
ONE, FILTERED = "event(id), out of all", "view, one event by its id out of all"
NOT_INSTALLED = "not installed; make bench-peers"
CACHE = Path(tempfile.gettempdir()) / "halfpenny-bench"


def main() -> int:
    """Measure, print, and exit 1 when a ratio misses what it must reach."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    calls = CALLS_A_MONTH // 100 if asked.quick else CALLS_A_MONTH
    missed = shown(_measured(months.generated(_home(asked.cache, calls), MONTHS, calls), calls, asked.rounds))
    return 0 if asked.quick else missed


def targets(cache: Path, rounds: int) -> list[Target]:
    """The rows, measured where the months were generated before; they say so where not."""
    home = _home(cache, CALLS_A_MONTH)
    if not (home / "ledger.duckdb").is_file():
        return [row._replace(reached=None, why="no months there; make bench-queries") for row in _targets({}, 0)]
    return _measured(home, CALLS_A_MONTH, rounds)


def _home(cache: Path, calls: int) -> Path:
    return cache / f"ten-{calls}"


def _measured(home: Path, calls: int, rounds: int) -> list[Target]:
    """Measure in turn, print the milliseconds, and say what they come to."""
    held = [rows.Held(home / one.path, one.min_id, one.max_id) for one in manifest.load(Home(home), REAL).files]
    own = [segment.path for segment in held if segment.path.parent.name == MONTHS[-1]]
    with tempfile.TemporaryDirectory() as directory:
        measures = _measures(held, own, _tail(Path(directory) / "0000000001.jsonl"))
        seconds: dict[str, list[float]] = {name: [] for name in measures}
        for _ in range(rounds):
            for name, measure in measures.items():
                seconds[name].append(measure())
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    print(f"\n{rounds} rounds, {calls * 25 // 10:,} events a month, load {os.getloadavg()[0]:.1f}")
    print(f"\n{'milliseconds':<64} {'median':>10} {'lowest':>8} {'highest':>8}")
    for name, found in seconds.items():
        print(f"{name:<64} {medians[name] * 1e3:>10,.0f} {min(found) * 1e3:>8,.0f} {max(found) * 1e3:>8,.0f}")
    return _targets(medians, months.bytes_an_event(home))


def _measures(held: list[rows.Held], own: list[Path], tail: Path) -> dict[str, Callable[[], float]]:
    """What is measured, in the order of a round."""
    month, files = MONTHS[-1], [segment.path for segment in held]
    connection = duckdb.connect(config={"threads": peers.THREADS})
    # As `halfpenny query` connects; a footer is read for binding and again for reading, and there are fifty of them.
    connection.execute("SET TimeZone = 'UTC'; SET parquet_metadata_cache = true")
    views = {"whole": ([files], []), "own": ([own], []), "tailed": ([own], [tail])}
    for name, (segments, journals) in views.items():
        view = catalog.events_view(segments, journals, sealed=BEFORE_TAIL)
        connection.execute(view.replace("VIEW events", f"VIEW {name}", 1))
    connection.execute(rows.of_event(held, [], 0))
    middle = files[len(files) // 2]
    ((event,),) = connection.execute(f"SELECT event_id FROM '{middle}' LIMIT 1 OFFSET 1000").fetchall()

    def asked(sql: str) -> Callable[[], float]:
        def measure() -> float:
            started = time.perf_counter()
            connection.execute(sql).fetchall()
            return time.perf_counter() - started

        return measure

    def python(name: str) -> str:
        return interpreter() if name in PEERS else sys.executable

    def engine(name: str) -> Callable[[], float]:
        command = [python(name), str(Path(peers.__file__)), name, month, *map(str, own)]
        return lambda: float(json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["seconds"])

    return {
        "totals of one month": engine("duckdb"),
        "bare scan of its columns": engine("scan"),
        **{name: engine(name) for name in PEERS if has(name)},
        "view, the month's own files": asked(peers.totals("own", month)),
        "view, with a live tail": asked(peers.totals("tailed", month)),
        "view, one month out of all": asked(peers.totals("whole", month)),
        ONE: asked(f"FROM event('{event}')"),
        FILTERED: asked(f"FROM whole WHERE event_id = '{event}'"),
    }


def _targets(medians: dict[str, float], weight: float) -> list[Target]:
    """Issue 3's table. Source: reference/storage.md, "Proposed goals"."""
    totals, own, whole = "totals of one month", "view, the month's own files", "view, one month out of all"

    def over(row: str, floor: str) -> float | None:
        return medians[row] / medians[floor] if row in medians and floor in medians else None

    return [
        Target("monthly totals over 10 million events / bare scan", over(totals, "bare scan of its columns"), 2.2, 1.5),
        *(
            Target(f"the same / {name}", over(totals, name), 1.0, 0.7, why="" if name in medians else NOT_INSTALLED)
            for name in PEERS
        ),
        Target("one month out of 100 million / its own files alone", over(whole, own), 1.6, 1.1),
        Target("one event by id in 100 million, event(id) / that month's totals", over(ONE, whole), 0.25, 0.1),
        Target("the same by a filter of the view", over(FILTERED, whole), 0.25, 0.1),
        Target("view with a 20,000-event tail / sealed only", over("view, with a live tail", own), 1.5, 1.2),
        Target("bytes an event, sealed", weight, 120, 90, "B"),
    ]


def _tail(path: Path) -> Path:
    """A journal file as long as one may get."""
    prev, moment = bytes(16), datetime(2025, 12, 31, tzinfo=UTC)
    body = codec.encode(msgspec.structs.replace(SETTLED, time=moment, reserved_at=moment, period=MONTHS[-1]))
    with path.open("wb") as file:
        for sequence in range(BEFORE_TAIL + 1, BEFORE_TAIL + 1 + TAIL):
            line, prev = codec.stamped(body, source=months.SOURCE, sequence=sequence, recorded_at=moment, prev=prev)
            file.write(line)
    return path


if __name__ == "__main__":
    sys.exit(main())
