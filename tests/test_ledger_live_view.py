"""Another process that asks HOME/ledger.duckdb sees every acknowledged event once, whatever the writer does meanwhile."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from ledger import bodies
from ledger import manifest as manifests
from ledger.disk import REAL
from ledger.journal import Limits
from ledger.lock import owner
from ledger.sealer import Ahead
from ledger.writer import Writer
from tests.written_homes import ignore, made, settled

SEALS = 20

# Asks over and over, and says what it saw and how many events were acknowledged before it began to ask.
READER = """
import json, sys, time
import duckdb
home, acknowledged = sys.argv[1:]
QUERY = "SELECT count(*), count(DISTINCT event_id), min(sequence), max(sequence) FROM events"
def before():
    with open(acknowledged) as file:
        text = file.read()
    return int(text) if text.strip("-") else 0
asked = wrong = generations = 0
seen = set()
while not before():
    pass
while True:
    expected = before()
    if expected < 0:
        break
    if asked % 2:
        with duckdb.connect(":memory:") as connection:
            connection.execute(f"ATTACH '{home}/ledger.duckdb' AS ledger (READ_ONLY)")
            connection.execute("USE ledger")
            rows, ids, first, last = connection.execute(QUERY).fetchone()
            seen |= set(connection.execute("SELECT generation FROM meta").fetchall())
    else:
        with duckdb.connect(f"{home}/ledger.duckdb", read_only=True) as connection:
            rows, ids, first, last = connection.execute(QUERY).fetchone()
    asked += 1
    time.sleep(0.02)  # the sealing child is niced; on two cores a reader that never rests starves it
    if not (rows == ids == last >= expected and first == 1):
        wrong += 1
        print(f"expected at least {expected}: {rows} rows, {ids} ids, {first} to {last}", file=sys.stderr)
print(json.dumps({"asked": asked, "wrong": wrong, "generations": len(seen)}))
"""


def test_a_second_process_sees_every_acknowledged_event_once_through_seals_and_compactions(tmp_path: Path) -> None:
    home, acknowledged = made(tmp_path / "home"), tmp_path / "acknowledged"
    acknowledged.write_text("0")
    reader = subprocess.Popen(
        (sys.executable, "-c", READER, str(home.path), str(acknowledged)), stdout=subprocess.PIPE, text=True
    )
    limits = Limits(events=300, seconds=0.1, grace_seconds=30.0)
    writer = Writer.open(home, fold=ignore, ahead=Ahead(home), limits=limits)
    keep_writing(writer, acknowledged)
    answer, _ = reader.communicate(timeout=60)

    found = json.loads(answer)
    manifest = manifests.load(home, REAL)
    assert (reader.returncode, found["wrong"]) == (0, 0)
    assert found["asked"] > SEALS
    assert found["generations"] > 5
    assert writer.trouble is None
    assert any(segment.first_file < segment.last_file for segment in manifest.files)  # compacted meanwhile
    assert owner(home.lock) is None


def keep_writing(writer: Writer, acknowledged: Path) -> None:
    """Write under load until there were enough seals, saying after each append how many events are acknowledged."""

    async def load() -> None:
        number, seals, known = 0, 0, -1
        handle = acknowledged.open("r+")
        while seals < SEALS:
            pending = writer.submit([bodies.checked(settled(number + step)) for step in range(5)])
            await pending
            number += 5
            handle.seek(0)
            handle.write(str(pending.last))
            handle.flush()
            await asyncio.sleep(0.005)
            sealed_up_to = manifests.load(writer.home, REAL).sealed_up_to
            seals, known = seals + (sealed_up_to > known), max(known, sealed_up_to)
        handle.seek(0)
        handle.truncate()
        handle.write("-1")
        handle.close()

    try:
        asyncio.run(load())
    finally:
        writer.close()
