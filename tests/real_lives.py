"""The same lives on a real file system, ended at one step by a kill, a refusing system call or a cut of the power.

A life is lived by a child, which writes how many events were acknowledged into a file outside the home
before each step; the parent then starts the home again and holds it against that. Events are e0, e1, e2 …, so
that the log is known without asking.

    python -m tests.real_lives HOME TOLD --seed 1 [--parquet]     one life, as strace runs it
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import struct
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePath
from random import Random

from ledger.disk import RealDisk
from ledger.home import Home
from ledger.segments import PARQUET, Form
from tests.power_cuts import BEGIN, GRACE, POOL, History, Life, started

LOG = [f"e{number}" for number in range(POOL)]
EXT4_IOC_SHUTDOWN = (2 << 30) | (4 << 16) | (ord("X") << 8) | 125
_NO_LOG_FLUSH = 2  # the power goes: what the journal has not written is lost


class HookedDisk(RealDisk):
    """The real disk, asking before each step that changes it."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.before: Callable[[str, PurePath], None] = lambda _verb, _path: None
        self.is_short = False
        self.tears = 0  # bytes of the write at hand that get through all the same

    def create(self, path: Path) -> int:
        self.before("create", path)
        return super().create(path)

    def write(self, handle: int, data: bytes | memoryview) -> int:
        self._writing = (handle, data)
        self.before("write", self.home.path)
        return super().write(handle, data)

    def tear(self, draw: Random) -> None:
        """Let a part of the write at hand through."""
        handle, data = self._writing
        super().write(handle, data[: draw.randrange(len(data) + 1)])

    def sync(self, handle: int) -> None:
        self.before("sync", self.home.path)
        super().sync(handle)

    def sync_file(self, path: Path) -> None:
        self.before("sync_file", path)
        super().sync_file(path)

    def sync_dir(self, path: Path) -> None:
        self.before("sync_dir", path)
        super().sync_dir(path)

    def rename(self, source: Path, target: Path) -> None:
        self.before("rename", target)
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self.before("unlink", path)
        super().unlink(path)

    def put(self, path: Path, data: bytes) -> None:
        self.before("put", path)
        path.write_bytes(data)


def live(home: Home, told_path: Path, seed: int, *, end: Callable[[HookedDisk, str], None], form: Form | None) -> None:
    """One life. Shapes: `end(disk, verb)` is asked before each step, after what was acknowledged has been told."""
    history = History(seed)
    history.log, history.now = list(LOG), BEGIN + seed % 1000 * GRACE
    disk = HookedDisk(home)
    life = Life(history, disk, is_sound=True, form=form)
    # pwrite, so that a sweep over write() does not meet the drill's own.
    handle = os.open(told_path, os.O_WRONLY | os.O_CREAT, 0o600)
    is_started = False

    def before(verb: str, path: PurePath) -> None:
        nonlocal is_started
        life.before(verb, path)
        is_started = is_started or life.is_begun
        if is_started:  # until then the log is the parent's business
            os.pwrite(handle, struct.pack("<q", history.told), 0)
        end(disk, verb)

    disk.before = before
    life.live()
    if life.is_begun:
        life.before("end", home.path)
        os.pwrite(handle, struct.pack("<q", history.told), 0)


def told_in(path: Path) -> int:
    """How many events the child was told are durable."""
    said = path.read_bytes() if path.exists() else b""
    return int.from_bytes(said, "little")  # empty when the life ended before the first was


def in_child(act: Callable[[], None]) -> int:
    """Run it in a fork that ends without cleaning up; its wait status."""
    child = os.fork()
    if child == 0:
        status = 3
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


def fork_kills(directory: Path, kills: int, seed: int) -> Counter[str]:
    """Kill a writer at a drawn step, start again, and so on; a new home every few kills. Errors: Broken."""
    counts: Counter[str] = Counter()
    while counts["kills"] < kills:
        home, told = made(directory, seed), directory / f"told-{seed}"
        for _ in range(8):
            draw = Random(seed)
            left = draw.choice((draw.randrange(1, 12), draw.randrange(1, 120)))

            def end(disk: HookedDisk, verb: str, draw: Random = draw) -> None:
                nonlocal left
                left -= 1
                if left == 0:
                    if verb == "write":
                        disk.tear(draw)
                    os.kill(os.getpid(), signal.SIGKILL)

            status = in_child(lambda end=end: live(home, told, seed, end=end, form=None))  # noqa: B023 - run at once
            counts["kills" if os.WIFSIGNALED(status) else "lives to their end"] += 1
            counts["events"] = max(counts["events"], checked(home, told, seed))
            seed += 1
        counts["homes"] += 1
    return counts


def checked(home: Home, told: Path, seed: int, form: Form | None = None) -> int:
    """Start the home again and hold it against what was told; how many events there are. Errors: Broken, with the seed."""
    try:
        found = started(HookedDisk(home), LOG, told_in(told), BEGIN + seed % 1000 * GRACE, form)
    except AssertionError as broken:
        broken.args = (f"seed {seed}, home {home.path}: {broken}",)
        raise
    if found is None:
        raise AssertionError(f"seed {seed}: a kill leaves no hole")
    return len(found[1])


def made(directory: Path, seed: int) -> Home:
    """A new home's directory."""
    home = Home(directory / f"home-{seed}")
    home.path.mkdir(mode=0o700)
    return home


def shut_down(mount: Path) -> None:
    """Cut the power of a mounted ext4: nothing more reaches its device. Errors: OSError without root or on another system."""
    handle = os.open(mount, os.O_RDONLY)
    try:
        fcntl.ioctl(handle, EXT4_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
    finally:
        os.close(handle)


def main() -> int:
    """One life, as a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("home", type=Path)
    parser.add_argument("told", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--parquet", action="store_true", help="real segments and views")
    asked = parser.parse_args()
    live(
        Home(asked.home), asked.told, asked.seed, end=lambda _disk, _verb: None, form=PARQUET if asked.parquet else None
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
