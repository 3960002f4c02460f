"""A build that is killed at one of its steps: `python -m tests.killed_build HOME CLIENT MONTH STEP`.

The steps are each file written, the directory synced, its rename, the sync after it, and the event appended.
The kill comes before the step, so that step N leaves N - 1 of them done; past the last it says how many there were.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ledger.disk import REAL
from ledger.store import Ledger
from reports import build
from reports.cli import described
from reports.job import issued


class Fuse:
    """Counts steps and ends the process before one of them, as a power cut would."""

    def __init__(self, step: int) -> None:
        self.step, self.passed = step, 0

    def guarded(self, act: Callable[..., Any]) -> Callable[..., Any]:
        """The same, as a step."""

        def guarded(*arguments: Any, **named: Any) -> Any:
            self.passed += 1
            if self.passed == self.step:
                os.kill(os.getpid(), signal.SIGKILL)
            return act(*arguments, **named)

        return guarded


class Disk:
    """What the build uses of the disk."""

    def __init__(self, fuse: Fuse) -> None:
        self.sync_dir = fuse.guarded(REAL.sync_dir)


class System:
    """What the build uses of os, with the rename as a step."""

    def __init__(self, fuse: Fuse) -> None:
        self.rename = fuse.guarded(os.rename)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def main(home: str, client: str, month: str, step: str) -> None:
    """Build and issue, or die on the way."""
    fuse = Fuse(int(step))
    patched: Any = build
    patched._write = fuse.guarded(build._write)
    patched.os, patched.REAL = System(fuse), Disk(fuse)
    patched.pdf = patched.html = patched.as_xlsx = lambda *_, **__: b"drawn"  # what is drawn is of no matter here
    patched.pictures = lambda *_: {}
    built = build.build(Path(home), client, month)
    ledger = Ledger.open(Path(home), clock=lambda: datetime.now(UTC))
    try:
        fuse.guarded(ledger.append_now)(issued(described(built), datetime.now(UTC)))
    finally:
        ledger.close()
    print(fuse.passed)


if __name__ == "__main__":
    main(*sys.argv[1:])
