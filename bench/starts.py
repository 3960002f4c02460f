"""Folding one event, and a start on events that no snapshot has, as a kill leaves them.

python -m bench.starts plain HOME | start HOME      one measurement in a process of its own, which is how they are called
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bench.appends import MOMENT, SETTLED, SOURCE, hold
from ledger import codec, tail
from ledger import manifest as manifests
from ledger.disk import REAL
from ledger.events import Event
from ledger.home import Home
from ledger.manifest import Manifest, Position
from ledger.projections import State, apply
from ledger.sealer import Ahead
from ledger.stamping import stamped_group
from ledger.store import Ledger

A_FILE = 20_000  # events: the most a journal file has before it is rotated
CALL, END, ID = (f"0199a1b2-7c3d-7{kind:03x}-8a5b-{{:012x}}" for kind in range(3))


def pairs(first: int, count: int) -> Iterator[Event]:
    """Holds and their ends in turn, each call's with ids of its own."""
    for number in range(first // 2, (first + count) // 2):
        call = CALL.format(number)
        yield msgspec.structs.replace(hold(call), id=ID.format(number), ticket_id=f"T-{number}")
        yield msgspec.structs.replace(SETTLED, id=END.format(number), subject=call, ticket_id=f"T-{number}")


def fold_us(count: int = 20_000) -> float:
    """Microseconds of the processor's time to fold one event: a hold and its end in turn, as a service folds them."""
    told, state = list(pairs(0, count)), State()
    started = time.thread_time()
    for event in told:
        apply(state, event)
    return (time.thread_time() - started) / len(told) * 1e6


def unfolded(home: Path, events: int) -> Home:
    """A home of so many events in the journal, none sealed, no snapshot: what a kill may leave at worst."""
    made = Home(home)
    for directory in (made.path, made.journal):
        REAL.make_dir(directory)
    made.config.write_text("")
    manifests.store(made, REAL, Manifest(source=SOURCE, published_at=MOMENT))
    position = Position(0, bytes(16))
    for number, first in enumerate(range(0, events, A_FILE)):
        encoded = [codec.encode(event) for event in pairs(first, min(A_FILE, events - first))]
        lines, position = stamped_group(encoded, source=SOURCE, recorded_at=MOMENT, after=position)
        tail.path_of(made, number).write_bytes(lines)
    return made


def seconds_of(what: str, home: Home) -> float:
    """One measurement in a fresh process, of a copy that shares the files: nothing writes into a file that is there."""
    copy = home.path.with_name(f"{home.path.name}-{what}")
    shutil.copytree(home.path, copy, copy_function=os.link)
    try:
        command = (sys.executable, "-m", "bench.starts", what, str(copy))
        return float(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _plain(home: Path) -> None:
    for file in sorted((home / "journal").iterdir()):
        for line in file.read_bytes().splitlines():
            codec.decode(line)


def _start(home: Path) -> None:
    Ledger.open(home, clock=lambda: datetime.now(UTC), ahead=Ahead(Home(home)))


if __name__ == "__main__":
    began = time.perf_counter()
    {"plain": _plain, "start": _start}[sys.argv[1]](Path(sys.argv[2]))
    print(time.perf_counter() - began, flush=True)
    os._exit(0)  # killed, before what is sealed beside the start takes the processor from the next measurement
