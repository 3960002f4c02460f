"""One writer a home: an flock on HOME/LOCK, and in it who holds it and where it answers.

The lock belongs to the open file, so the sealing child that inherits it keeps it a moment
longer than a service that was killed; the next opener waits for that child alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from ledger.disk import FILE_MODE
from ledger.errors import HomeInUse, HomeNotWritable
from ledger.home import Home

ORPHAN_WAIT_S = 5.0  # a child of a killed service dies with it; this bounds the wait for the kernel to finish that


@dataclass(frozen=True, slots=True)
class Owner:
    """Who says it writes a home. Shapes: `url` is None while no service answers there."""

    pid: int
    url: str | None


class HomeLock:
    """The lock, held; `handle` may be passed to a child that writes on the holder's behalf."""

    def __init__(self, home: Home) -> None:
        """Errors: HomeInUse at once when a living process holds it; HomeNotWritable."""
        self._path = home.lock
        try:
            self.handle = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        except OSError as refused:
            raise HomeNotWritable(home.path, str(refused.strerror)) from None
        try:
            self._take(home)
        except BaseException:
            os.close(self.handle)
            raise
        self.announce(None)

    def _take(self, home: Home) -> None:
        until = time.monotonic() + ORPHAN_WAIT_S
        while True:
            try:
                return fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found = owner(home.lock)
                if found is None or _is_alive(found.pid) or time.monotonic() > until:
                    raise HomeInUse(home.path, _named(found)) from None
                time.sleep(0.01)

    def announce(self, url: str | None) -> None:
        """Write into the file who holds it and, once it answers, where. A hint for people and commands, not durable."""
        content = json.dumps({"pid": os.getpid()} | ({} if url is None else {"url": url})).encode()
        os.ftruncate(self.handle, 0)
        os.pwrite(self.handle, content + b"\n", 0)

    def release(self) -> None:
        """Let the next writer in; the file stays, since removing a lock file lets two in. Again: nothing."""
        if self.handle < 0:
            return
        os.ftruncate(self.handle, 0)
        fcntl.flock(self.handle, fcntl.LOCK_UN)  # at once, also when a child still holds the same open file
        os.close(self.handle)
        self.handle = -1


def owner(path: Path) -> Owner | None:
    """Who the file at HOME/LOCK names; None when it names nobody. It may be dead: only the flock tells."""
    try:
        found = json.loads(path.read_bytes())
        return Owner(int(found["pid"]), found.get("url"))
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _named(found: Owner | None) -> str:
    if found is None:
        return "another process"
    return f"process {found.pid}" + (f", which answers at {found.url}" if found.url else "")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
