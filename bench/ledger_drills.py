"""The ledger's fault drills at full count: every promise of durability, with the figures to show for it.

    make drill-ledger                                   everything; about an hour of one core
    python -m bench.ledger_drills --scale 0.01          a hundredth of it

Each drill prints its counts and its first seed; a broken promise ends it with the seed that shows it again. What this machine
cannot run is counted aloud as skipped. Exit code 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests import fault_sweeps, model_flips, power_cuts, real_lives
from tests.fault_sweeps import Missing

CUTS, KILLS, EXT4_CUTS, FLIPS = 1_000_000, 10_000, 2_000, 50_000


def drills(directory: Path, scale: float, seed: int) -> tuple[tuple[str, Callable[[], object]], ...]:
    """Each drill with its name. Shapes: `scale` 1 is the full count."""

    def made(name: str) -> Path:
        (directory / name).mkdir()
        return directory / name

    def counted(full: int) -> int:
        return max(int(full * scale), 10)

    def swept(*, parquet: bool) -> fault_sweeps.Swept:
        name = "parquet" if parquet else "plain"
        return fault_sweeps.sweep(made(name), seed=seed, share=min(scale, 1.0), parquet=parquet)

    return (
        ("modelled power cuts", lambda: dict(power_cuts.run(counted(CUTS), seed))),
        ("changed files, modelled; starts that refused", lambda: model_flips.run(counted(FLIPS), seed)),
        ("kills at a step", lambda: dict(real_lives.fork_kills(made("kills"), counted(KILLS), seed))),
        ("failing system calls", lambda: swept(parquet=False)),
        ("failing system calls, real Parquet and views", lambda: swept(parquet=True)),
        ("a full disk; events before and after", lambda: fault_sweeps.full_disk(made("full"), seed=seed)),
        ("power cuts of an ext4", lambda: dict(fault_sweeps.ext4_cuts(made("cuts"), counted(EXT4_CUTS), seed=seed))),
    )


def main() -> int:
    """Run them all, one after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    broken = skipped = 0
    with tempfile.TemporaryDirectory(prefix="drill-") as directory:
        for name, drill in drills(Path(directory), asked.scale, asked.seed):
            started = time.perf_counter()
            try:
                said = str(drill())
            except Missing as missing:
                said, skipped = f"SKIPPED: {missing}", skipped + 1
            except AssertionError as wrong:
                said, broken = f"BROKEN: {wrong}", broken + 1
            print(f"{name}, from seed {asked.seed}, {time.perf_counter() - started:.0f} s: {said}", flush=True)
    print(f"{broken} broken, {skipped} skipped")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
