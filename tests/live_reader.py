"""An analyst's process beside a service under load: asks ledger.duckdb again and again, and holds it to what was promised.

    python -m tests.live_reader HOME ACKNOWLEDGED STOP ASKED

ACKNOWLEDGED is a file that the load appends to: a line for each thing it was told is done, the call's id or the
event's. It is read before each query begins, so whatever stands in it must be in the answer. ASKED grows by a byte a
query. Ends when STOP exists; prints what it saw as JSON.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb

SEEN = """
    SELECT count(*), count(DISTINCT event_id), count(DISTINCT sequence), min(sequence), max(sequence),
           list(subject) FILTER (type = 'halfpenny.call.settled.v1'), list(event_id) FILTER (type LIKE '%draft.edited%')
    FROM {events}
"""
CALLS_EVERY = 10  # binding and joining `calls` takes ten times what `events` does
CALLS = "SELECT count(*), count(DISTINCT (call_id, attempt)) FROM {calls}"


def main(home: Path, acknowledged: Path, stop: Path, asked: Path) -> None:
    """Ask in three ways by turns until told to stop, and once more."""
    catalog = home / "ledger.duckdb"
    kept = duckdb.connect(":memory:")
    wrong: list[str] = []
    ways: Counter[str] = Counter()
    largest = 0
    is_last = False
    while not is_last:
        is_last = stop.exists()
        way = ("connect", "attach", "attach again")[sum(ways.values()) % 3]
        promised = _promised(acknowledged)
        try:
            seen, calls = _asked(way, catalog, kept, with_calls=sum(ways.values()) % CALLS_EVERY == 0)
        except duckdb.Error as refused:
            wrong.append(f"{way}: {type(refused).__name__}: {refused}")
        else:
            wrong += [f"{way}: {trouble}" for trouble in _troubles(promised, seen, calls)]
            largest = max(largest, seen[0])
        ways[way] += 1
        with asked.open("ab") as count:
            count.write(b".")
    found = {
        "duckdb": duckdb.__version__,
        "queries": sum(ways.values()),
        "ways": ways,
        "events": largest,
        "wrong": wrong,
    }
    print(json.dumps(found))


def _promised(acknowledged: Path) -> set[str]:
    whole, _, _ = acknowledged.read_text(encoding="ascii").rpartition("\n")
    return set(whole.split())


def _asked(way: str, catalog: Path, kept: Any, *, with_calls: bool) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    if way == "connect":
        connection, prefix = duckdb.connect(str(catalog), read_only=True), ""
    elif way == "attach":
        connection, prefix = duckdb.connect(":memory:"), "ledger."
        connection.execute(f"ATTACH '{catalog}' AS ledger (READ_ONLY)")
    else:
        # ATTACH OR REPLACE leaves a database of the same path as it is (DuckDB 1.4.0 to 2.0.0), so it refreshes nothing.
        connection, prefix = kept.cursor(), "ledger."
        connection.execute("DETACH DATABASE IF EXISTS ledger")
        connection.execute(f"ATTACH '{catalog}' AS ledger (READ_ONLY)")
    try:
        seen = connection.execute(SEEN.format(events=f"{prefix}events")).fetchone()
        return seen, connection.execute(CALLS.format(calls=f"{prefix}calls")).fetchone() if with_calls else (0, 0)
    finally:
        connection.close()


def _troubles(promised: set[str], seen: tuple[Any, ...], calls: tuple[Any, ...]) -> list[str]:
    count, ids, sequences, first, last, settled, edited = seen
    found = []
    if not count == ids == sequences == last or first != 1:
        found.append(f"{count} rows, {ids} ids, {sequences} sequences from {first} to {last}")
    if missing := promised - set(settled or ()) - set(edited or ()):
        found.append(f"{len(missing)} of {len(promised)} acknowledged are missing, like {min(missing)}")
    if calls[0] != calls[1]:
        found.append(f"{calls[0]} rows of {calls[1]} calls")
    return found


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:5]))
