"""The ledger's table: what durability, a fold, a start and a query cost here, each beside a floor measured with it.

Rows are measured in turn, round after round, and medians are compared: on a shared machine only ratios to what was measured
beside them mean anything. Each is a row of one table with what it must reach and its goal; what did not run says why.

    make bench-ledger                       all rows, five rounds, four minutes
    python -m bench.ledger --rounds 3 --seconds 0.5 --events 100000

Peers are looked for where `make bench-peers` puts them, the months of the reading rows where `make bench-queries` keeps them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import queries
from bench.appends import PEERS, duckdb_insert, grouped, has, one_line, peer, serial, sqlite
from bench.sealing import Latencies, latencies
from bench.starts import fold_us, seconds_of, unfolded
from bench.targets import Target, shown
from ledger.writer import SWITCH_S

FLOOR, FEW, MANY = "one write + fdatasync per event", "16 callers", "256 callers"
SQLITE, INSERT = "SQLite WAL FULL, one JSON column, batches of 64", "DuckDB INSERT, one event a commit"
ROWS: dict[str, Callable[[Path, float], float]] = {
    FLOOR: serial,
    "1 caller": grouped(1),
    FEW: grouped(16),
    MANY: grouped(256),
    f"{MANY}, each event checked and encoded": grouped(256, is_checked=True),
    SQLITE: sqlite,
    INSERT: duckdb_insert,
}
PLAIN, START = "plain", "start"


def main() -> int:
    """Measure, print, and exit 1 when a row misses what it must reach."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each row of appends in each round")
    parser.add_argument("--directory", type=Path, help="on the disk to measure; default: the present directory's")
    parser.add_argument("--events", type=int, default=1_000_000, help="unfolded events to start on")
    parser.add_argument("--cache", type=Path, default=queries.CACHE, help="where make bench-queries keeps its months")
    asked = parser.parse_args()
    sys.setswitchinterval(SWITCH_S)  # as a service does
    rows = ROWS | {name: peer(name) for name in PEERS if has(name)}
    rates: dict[str, list[float]] = {name: [] for name in rows}
    starts: dict[str, list[float]] = {PLAIN: [], START: []}
    folds, sealing = list[float](), list[Latencies]()
    with tempfile.TemporaryDirectory(dir=asked.directory or Path.cwd(), prefix=".bench-") as name:
        directory = Path(name)
        killed = unfolded(directory / "killed", asked.events)
        for _ in range(asked.rounds):
            for row, measure in rows.items():
                rates[row].append(measure(directory, asked.seconds))
            folds.append(fold_us())
            for what, found in starts.items():
                found.append(seconds_of(what, killed))
            sealing.append(latencies(directory))
        weight = sum(file.stat().st_size for file in killed.journal.iterdir()) / asked.events
    medians = {row: statistics.median(found) for row, found in rates.items()}
    print(f"{asked.rounds} rounds of {asked.seconds} s, load {os.getloadavg()[0]:.1f}")
    print(f"bytes an event in the journal: {weight:,.0f} (hold and end in turn), the row's own {len(one_line()):,}\n")
    print(f"{'events a second':<64} {'median':>10} {'lowest':>8} {'highest':>8}")
    for row, found in rates.items():
        print(f"{row:<64} {medians[row]:>10,.0f} {min(found):>8,.0f} {max(found):>8,.0f}")
    print(f"{'seconds':<64}")
    for what, found in starts.items():
        label = {PLAIN: "read and decode", START: "start"}[what]
        print(f"{label:<64} {statistics.median(found):>10.2f} {min(found):>8.2f} {max(found):>8.2f}")
    targets = [*_appends(medians), *_rest(folds, starts, sealing, asked.events)]
    return shown([*targets, *queries.targets(asked.cache, asked.rounds)])


def _appends(medians: dict[str, float]) -> Iterator[Target]:
    """Source of what must be reached: reference/storage.md, "Proposed goals"."""
    for row, against, must, goal in (
        (FEW, FLOOR, 6, 12),
        (MANY, FLOOR, 25, 60),
        (MANY, SQLITE, 1, 2),
        (FEW, "deltalake", 300, 680),
        (FEW, "pyiceberg", 300, 1_030),
        (FEW, INSERT, 50, 100),
    ):
        reached = medians[row] / medians[against] if against in medians else None
        why = "" if against in medians else "not installed; make bench-peers"
        yield Target(f"append, {row} / {against}", reached, must, goal, why=why, is_more_better=True)


def _rest(
    folds: list[float], starts: dict[str, list[float]], sealing: list[Latencies], events: int
) -> Iterator[Target]:
    """What is measured by itself: ratios within a round, and their median."""
    yield Target(
        "append p99 while sealing / without",
        statistics.median(one.sealing / one.without for one in sealing),
        2.5,
        1.5,
        why=f"{statistics.median(one.without for one in sealing) * 1e3:.1f} ms without",
    )
    ratios = [start / plain for start, plain in zip(starts[START], starts[PLAIN], strict=True)]
    yield Target(f"start on {events:,} unfolded events / read and decode", statistics.median(ratios), 3, 1.5)
    yield Target("fold of one event", statistics.median(folds), 20, 5, "us")
    yield Target("live view, 5,000 foreign queries, 0 wrong", None, None, 0, "", "a drill: make drill-live")


if __name__ == "__main__":
    sys.exit(main())
