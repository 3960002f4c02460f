"""What the gateway promises about money and overload, shown with real processes; one table.

    make drill-gateway                                     all, with full counts; about an hour on two cores
    python -m bench.gateway_drills --quick                 all, with the counts the tests use
    python -m bench.gateway_drills race usable --seed 3    some

The provider is `halfpenny simulate`, whose log is the outside witness, or one in the drill's own loop where its very bytes
or its pace matter. Exit code 1 when anything is not as promised; sentences below the table say what.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import gateway_faults as faults
from bench import gateway_loads as loads
from bench import gateway_races as races
from bench.witness import Row

Drill = Callable[[Path, int], Row]
WRONG_SHOWN = 10

FULL: tuple[tuple[str, Drill], ...] = (
    ("race", lambda path, seed: races.race(path, 256, seed)),
    ("race", lambda path, seed: races.race(path, 1024, seed)),
    ("killed", lambda path, seed: races.race_killed(path, 50, seed)),
    ("usable", lambda path, seed: races.usable(path, 1000, seed)),
    ("usable", lambda path, seed: races.usable(path, 1000, seed, mode="real")),
    ("disconnects", lambda path, seed: faults.disconnects(path, 1000, seed)),
    ("failing", lambda path, seed: faults.failing(path, 10_000, seed)),
    ("cuts", lambda path, seed: faults.cuts(path, 20, seed)),
    ("mixed", lambda path, seed: loads.mixed(path, 100_000, seed)),
    ("streams", lambda path, seed: loads.long_streams(path, 200, 100_000, seed)),
    ("overload", lambda path, seed: loads.overload(path, 20, seed)),
)
QUICK: tuple[tuple[str, Drill], ...] = (
    ("race", lambda path, seed: races.race(path, 64, seed)),
    ("killed", lambda path, seed: races.race_killed(path, 2, seed, callers=(64,))),
    ("usable", lambda path, seed: races.usable(path, 250, seed)),
    ("disconnects", lambda path, seed: faults.disconnects(path, 40, seed)),
    ("failing", lambda path, seed: faults.failing(path, 200, seed)),
    ("cuts", lambda path, seed: faults.cuts(path, 2, seed, every=7)),
    ("mixed", lambda path, seed: loads.mixed(path, 300, seed)),
    ("streams", lambda path, seed: loads.long_streams(path, 60, 15_000, seed, limit_mb=110)),
    ("overload", lambda path, seed: loads.overload(path, 2, seed)),
)


def run(drills: tuple[tuple[str, Drill], ...], names: list[str], seed: int) -> Iterator[Row]:
    """Each drill asked for, one after the other, each in a directory of its own."""
    for name, drill in drills:
        if not names or name in names:
            with tempfile.TemporaryDirectory(prefix=f"drill-{name}-") as directory:
                yield drill(Path(directory), seed)


def main() -> int:
    """Run them and print a line as each one ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", choices=[[], *dict(FULL)], help="all without one")
    parser.add_argument("--quick", action="store_true", help="small counts")
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    wrong: list[str] = []
    print("| drill | count | seed | found | verdict |\n|---|---|--:|---|---|", flush=True)
    began = time.monotonic()
    for row in run(QUICK if asked.quick else FULL, list(asked.names), asked.seed):
        verdict = "as promised" if not row.wrong else f"{len(row.wrong)} wrong"
        print(f"| {row.name} | {row.count} | {row.seed} | {row.found} | {verdict} |", flush=True)
        wrong += [f"{row.name}: {sentence}" for sentence in row.wrong[:WRONG_SHOWN]]
    for sentence in wrong:
        print(sentence)
    print(f"{time.monotonic() - began:.0f} s", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
