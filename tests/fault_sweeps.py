"""Faults given by the system itself: failing system calls, a full file system, an ext4 whose power goes.

Each needs something of the machine (strace, root, loop devices); `Missing` says what, and whoever runs them decides
whether that is a skip, counted aloud, or a failure.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import NamedTuple

from ledger.home import Home
from ledger.segments import PARQUET, Form
from tests.real_lives import HookedDisk, checked, in_child, live, made, shut_down, told_in

ROOT = Path(__file__).resolve().parent.parent
CALLS = ("write", "fsync", "fdatasync", "rename", "unlink")
FAULTS = ("error=EIO", "error=ENOSPC", "signal=SIGKILL")
PATIENCE_S = 60
EXT4_MB = 24


class Missing(Exception):
    """The tool this machine lacks for a drill."""


class NotAllowed(Missing):
    """A right it lacks, which no installing would give."""


class Swept(NamedTuple):
    """A sweep's figures. Shapes: `calls` how often a life makes each call; `runs` by call and fault, as run; none was wrong."""

    calls: dict[str, int]
    runs: Counter[str]
    acknowledged: int


def sweep(directory: Path, *, seed: int, share: float, parquet: bool, faults: Sequence[str] = FAULTS) -> Swept:
    """Let each call of a life fail, or be the last, at each of its turns, or at a drawn `share` of them.

    The life begins on a home that others left, so that recovery, appends, seals and sweeping all have their turns.
    Errors: Missing without strace; AssertionError naming the run.
    """
    if shutil.which("strace") is None:
        raise Missing("strace is not installed; on Debian: apt-get install strace")
    form = PARQUET if parquet else None
    template, told = made(directory, seed), directory / "told"
    for number in range(3):
        in_child(lambda number=number: _lived(template, told, seed + number, form))
    counts = _counts(directory, template, told, seed=seed, parquet=parquet)
    draw, runs, acknowledged = Random(seed), Counter[str](), 0
    for call, count in counts.items():
        for fault in faults:
            turns = [turn for turn in range(1, count + 1) if draw.random() < share] or [draw.randrange(1, count + 1)]
            for turn in turns:
                when = f"{turn}+" if fault.startswith("error") and draw.random() < 0.3 else str(turn)
                home, told_now = _copied(directory, template, told)
                inject = f"inject={call}:{fault}:when={when}"
                said = _strace(home, told_now, ("-e", f"trace={call}", "-e", inject), seed=seed, parquet=parquet)
                if said.returncode not in (0, -9, 137):
                    raise AssertionError(
                        f"{inject}, seed {seed}: it ended with {said.returncode}: {said.stderr[-800:]}"
                    )
                checked(home, told_now, seed, form)
                acknowledged += told_in(told_now)
                runs[f"{call} {fault}"] += 1
                shutil.rmtree(home.path)
    return Swept(counts, runs, acknowledged)


def _lived(home: Home, told: Path, seed: int, form: Form | None) -> None:
    live(home, told, seed, end=lambda _disk, _verb: None, form=form)


def _copied(directory: Path, template: Home, told: Path) -> tuple[Home, Path]:
    home, told_now = Home(directory / "copy"), directory / "told-now"
    shutil.copytree(template.path, home.path)
    shutil.copy(told, told_now)
    return home, told_now


def _counts(directory: Path, template: Home, told: Path, *, seed: int, parquet: bool) -> dict[str, int]:
    home, told_now = _copied(directory, template, told)
    log = directory / "trace"
    traced = ("-e", f"trace={','.join(CALLS)}", "-o", str(log))
    said = _strace(home, told_now, traced, seed=seed, parquet=parquet)
    shutil.rmtree(home.path)
    lines = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    found = {call: len(re.findall(rf"^{call}\(", lines, re.MULTILINE)) for call in CALLS}
    if said.returncode or not all(found.values()):
        raise AssertionError(f"a life without faults made {found} calls: {said.stderr[-800:]}")
    return found


def _strace(
    home: Home, told: Path, options: tuple[str, ...], *, seed: int, parquet: bool
) -> subprocess.CompletedProcess[str]:
    more = ("--parquet",) if parquet else ()
    child = (sys.executable, "-B", "-m", "tests.real_lives", str(home.path), str(told), "--seed", str(seed), *more)
    said = subprocess.run(
        ("strace", "-o", os.devnull, *options, *child),
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    if "ptrace" in said.stderr and "not permitted" in said.stderr:
        raise NotAllowed(f"strace may not trace here: {said.stderr.splitlines()[0]}")
    return said


@contextmanager
def mounted(what: tuple[str, ...], at: Path) -> Iterator[Path]:
    """A file system at a path, gone afterwards. Errors: NotAllowed without the right to mount."""
    at.mkdir(exist_ok=True)
    said = subprocess.run(("mount", *what, str(at)), capture_output=True, text=True, check=False)
    if said.returncode:
        raise NotAllowed(f"mount {' '.join(what)}: {said.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(("umount", str(at)), check=True)


def full_disk(directory: Path, *, seed: int) -> tuple[int, int]:
    """Live on a tmpfs until it is full, make room, live again; events told before and found after. Errors: Missing."""
    with mounted(("-t", "tmpfs", "-o", "size=160k,mode=700", "halfpenny"), directory / "small") as small:
        home, told = made(small, seed), directory / "told"
        before, refused = -1, 0
        for number in range(40):
            in_child(lambda number=number: _lived(home, told, seed + number, None))
            if told_in(told) == before:
                refused += 1
            before = told_in(told)
        if refused < 10:
            raise AssertionError(f"the disk never filled up: {before} events")
        subprocess.run(("mount", "-o", "remount,size=4m", str(small)), check=True)
        checked(home, told, seed)
        in_child(lambda: _lived(home, told, seed + 99, None))
        after = told_in(told)
        if after <= before:
            raise AssertionError(f"with room again it took nothing: {before} events before, {after} after")
        return before, checked(home, told, seed)


def ext4_cuts(directory: Path, cuts: int, *, seed: int) -> Counter[str]:
    """Cut the power of a real ext4, mount it again, start; a new file system every few cuts. Errors: Missing, Broken."""
    if os.geteuid() != 0:
        raise NotAllowed("a loop mount and the shutdown call need root")
    counts: Counter[str] = Counter()
    with mounted(("-t", "tmpfs", "-o", f"size={EXT4_MB * 2}m", "halfpenny"), directory / "memory") as memory:
        image = memory / "image"
        while counts["cuts"] < cuts:
            _formatted(image)
            told = directory / f"told-{seed}"
            for number in range(8):
                _one_cut(image, directory / "ext4", told, seed, counts, is_new=number == 0)
                seed += 1
            counts["file systems"] += 1
    return counts


def _formatted(image: Path) -> None:
    if shutil.which("mkfs.ext4") is None:
        raise Missing("mkfs.ext4 is not installed; on Debian: apt-get install e2fsprogs")
    with image.open("wb") as file:
        file.truncate(EXT4_MB * 1024 * 1024)
    said = subprocess.run(("mkfs.ext4", "-q", "-F", str(image)), capture_output=True, text=True, check=False)
    if said.returncode:
        raise NotAllowed(f"mkfs.ext4: {said.stderr.strip()}")


def _one_cut(image: Path, at: Path, told: Path, seed: int, counts: Counter[str], *, is_new: bool) -> None:
    draw = Random(seed)
    left = draw.choice((draw.randrange(1, 15), draw.randrange(1, 100)))

    def end(disk: HookedDisk, verb: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            if verb == "write":
                disk.tear(draw)
            shut_down(at)
            os._exit(7)

    with mounted(("-o", "loop,commit=60", str(image)), at):
        home = Home(at / "home")
        if is_new:
            home.path.mkdir(mode=0o700)
            os.sync()
        was_cut = os.waitstatus_to_exitcode(in_child(lambda: live(home, told, seed, end=end, form=None))) == 7
        if not was_cut:
            shut_down(at)
        counts["cuts"] += 1
        counts["cuts at a step"] += was_cut
    with mounted(("-o", "loop", str(image)), at):
        counts["most events"] = max(counts["most events"], checked(home, told, seed))
        os.sync()
