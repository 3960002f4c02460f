"""Does the harness find bugs? Each of these is planted into a copy of the ledger, and some check must catch it.

    python -m tests.planted_bugs            the table: which bug, which check caught it, after how many cuts

A bug is an edit of the source, which must fit exactly once. Its copy of the ledger is imported in a forked child of this
process, which has loaded the heavy libraries and no ledger. Exit code 1 when one is not caught.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import duckdb  # noqa: F401 - loaded once, before the children fork
import hypothesis  # noqa: F401
import msgspec  # noqa: F401
import pyarrow.parquet  # noqa: F401
import uuid_utils.compat  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent
MOST_CUTS = 12_000  # the shyest one needs 4,000; the whole table takes half a minute
MOST_FLIPS = 3_000


class Edit(NamedTuple):
    """`old` stands in `module` once; `new` takes its place."""

    module: str
    old: str
    new: str


class Bug(NamedTuple):
    """A mistake somebody could make."""

    name: str
    edits: tuple[Edit, ...]

    @property
    def is_of_checks(self) -> bool:
        """Whether it forgets a check, which only changed files can show."""
        return self.name.endswith(("not looked at", "not followed", "forgiven anywhere"))


def _bug(name: str, module: str, old: str, new: str, *more: tuple[str, str, str]) -> Bug:
    return Bug(name, (Edit(module, old, new), *(Edit(*edit) for edit in more)))


_WRITE = "        write_all(self._disk, self._handle, lines)\n        self._disk.sync(self._handle)\n"
_RELEASE = "        self._release(group, None)\n"
_PUBLISH = "        disk.sync(handle)\n    finally:\n        disk.close(handle)\n    disk.rename(temporary, path)\n    disk.sync_dir(path.parent)\n\n\ndef adopt"
_ADOPT = "    disk.sync_file(temporary)\n    disk.rename(temporary, path)\n    disk.sync_dir(path.parent)\n"
_COPIED = "        disk.sync(handle)\n    finally:\n        disk.close(handle)\n    disk.rename(temporary, path)\n    disk.sync_dir(path.parent)\n"
_STORE = "        manifests.store(home, disk, manifest)\n        if segment is not None and on_sealed"

BUGS: tuple[Bug, ...] = (
    _bug("acknowledged before the fsync", "journal", _WRITE, _WRITE.replace("        self._disk.sync", _RELEASE + "        self._disk.sync")),
    _bug("journal never synced", "journal", "        self._disk.sync(self._handle)\n", ""),
    _bug(
        "fsync tried again after EIO", "journal", "        self._disk.sync(self._handle)\n",
        "        try:\n            self._disk.sync(self._handle)\n        except OSError:\n            self._disk.sync(self._handle)\n",
    ),
    _bug("the journal goes on after an error", "journal", "            self._fail(group, refused)\n            return False\n", "            return True\n"),
    _bug("a short write taken for a whole one", "disk", "    if taken == len(data):\n        return\n", "    return\n"),
    _bug("a new journal file's directory not synced", "recovery", "    disk.sync_file(path)\n    disk.sync_dir(home.journal)\n", "    disk.sync_file(path)\n"),
    _bug("manifest not synced before its rename", "disk", _PUBLISH, _PUBLISH.replace("        disk.sync(handle)\n", "        pass\n")),
    _bug(
        "no directory synced after any rename", "disk", _PUBLISH, _PUBLISH.replace("    disk.sync_dir(path.parent)\n", ""),
        ("disk", _ADOPT, _ADOPT.replace("    disk.sync_dir(path.parent)\n", "")),
    ),
    _bug("segment not synced before its rename", "disk", _ADOPT, _ADOPT.replace("    disk.sync_file(temporary)\n", "")),
    _bug("directory not synced after a segment's rename", "disk", _ADOPT, _ADOPT.replace("    disk.sync_dir(path.parent)\n", "")),
    _bug("a month's directory not synced", "segments", "    disk.sync_dir(home.events)\n", ""),
    _bug(
        "journal dropped before the manifest is durable", "segments", _STORE,
        "        for number in batch:\n            disk.unlink(tail.path_of(home, number))\n" + _STORE,
    ),
    _bug("journal dropped without grace", "collection", "        if now - at >= grace:", "        if now - at >= 0 * grace:"),
    _bug("sealed journal counted again", "tail", "    first = manifest.sealed_up_to + 1\n", "    first = max(manifest.sealed_up_to, 0)\n"),
    _bug("manifest seals one file too many", "segments", "sealed_up_to=batch[-1], left=left", "sealed_up_to=batch[-1] + 1, left=left"),
    _bug("a merge keeps what it merged", "segments", "(*manifest.files[: run.start], merged, *manifest.files[run.stop :])", "(*manifest.files[: run.stop], merged, *manifest.files[run.stop :])"),
    _bug("a new segment not compared with its source", "segments", "    if again.figures != survey.figures:", "    if False:", ("segments", "        follows(event, survey.end, path)\n        survey.take(event)\n", "        survey.take(event)\n")),
    _bug(
        "appended after a torn tail", "recovery", "    if ends:\n        _copy_good_lines(", "    if ends and False:\n        _copy_good_lines(",
        ("recovery", "next_file=found[-1] + 1,", "next_file=found[-1],"),
        ("recovery", "        if disk.size(path):\n            raise", "        if disk.size(path) < 0:\n            raise"),
        ("journal", "        if self._disk.size(path):\n", "        if self._disk.size(path) < 0:\n"),
    ),
    _bug("a start trusts what it reads after a failed sync", "recovery", "    if ends:\n        _copy_good_lines(", "    if ends and False:\n        _copy_good_lines("),
    _bug("recovery's copy not synced", "recovery", _COPIED, _COPIED.replace("        disk.sync(handle)\n", "        pass\n")),
    _bug("a start does not sync the names it sees", "recovery", "        disk.sync_dir(directory)  # names", "        pass  # names"),
    _bug("a file offered whose sync failed", "upkeep", "prepared = made  #", "prepared = command.prepare  #"),
    _bug("events go into a file no view lists", "upkeep", "        out = _published(home, manifest, tools, now=now)\n        prepared", "        out = ()\n        prepared"),
    _bug("a torn end forgiven anywhere", "tail", "            if may_be_torn and is_torn(rest):", "            if True:"),
    _bug("the chain not followed", "tail", "    if line[-_SUMS:] == b'", "    links = line[-_SUMS:-18]\n    if line[-_SUMS:] == b'"),
    _bug("a manifest's own sum not looked at", "manifest", "    if tail != b'%b%b\"}\\n' % (_SUM, hashlib.sha256(body).hexdigest().encode()):", "    if False:"),
    _bug("a segment's SHA-256 not looked at", "segments", "    if found != segment.sha256:", "    if False:"),
)  # fmt: skip


class Caught(NamedTuple):
    """What became of a planted bug. Shapes: `check` None when nothing caught it; `seconds` of the whole trial."""

    bug: str
    check: str | None
    cuts: int
    seed: int
    seconds: float


def trial(bug: Bug) -> Caught:
    """Plant it into a copy and try, in a forked child."""
    reading, writing = os.pipe()
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.close(reading)
        status = 1
        try:
            os.write(writing, json.dumps(_in_child(bug)).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        said = answers.read()
    os.waitpid(child, 0)
    check, cuts, seed = json.loads(said) if said else ("the copy could not be tried", 0, 0)
    return Caught(bug.name, check, cuts, seed, time.perf_counter() - started)


def _in_child(bug: Bug) -> tuple[str | None, int, int]:
    with tempfile.TemporaryDirectory() as directory:
        shutil.copytree(ROOT / "ledger", Path(directory) / "ledger")
        for edit in bug.edits:
            path = Path(directory) / "ledger" / f"{edit.module}.py"
            text = path.read_text(encoding="utf-8")
            if text.count(edit.old) != 1:
                return f"the edit of {edit.module} fits {text.count(edit.old)} times", 0, 0
            path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")
        sys.path.insert(0, directory)
        cuts = importlib.import_module("tests.power_cuts")
        flips = importlib.import_module("tests.model_flips")
        return _caught(bug, cuts, flips)


def _caught(bug: Bug, cuts, flips) -> tuple[str | None, int, int]:  # type: ignore[no-untyped-def]
    """Power cuts, then changed files: the first broken promise."""
    done, seed = 0, 1
    while done < MOST_CUTS and not bug.is_of_checks:
        history = cuts.History(seed)
        try:
            history.run()
        except cuts.Broken as broken:
            return broken.check, done + history.counts["cuts"], seed
        done += history.counts["cuts"]
        seed += 1
    try:
        flips.run(MOST_FLIPS, seed=1)
    except cuts.Broken as broken:
        return broken.check, done, 1
    return None, done, seed


def unfit(caught: Caught) -> bool:
    """Whether the bug could not be planted, which proves nothing."""
    return caught.check is not None and caught.check.startswith("the ")


def main() -> int:
    """Try every bug and the ledger without one; print the table."""
    started = time.perf_counter()
    wanted = sys.argv[1:]
    found = [trial(bug) for bug in BUGS if not wanted or any(word in bug.name for word in wanted)]
    sound = trial(Bug("none", ()))
    for caught in (*found, sound):
        print(
            f"{caught.bug:<52} {caught.check or 'not caught':<44} {caught.cuts:>7,} cuts, seed {caught.seed:<4} {caught.seconds:5.1f} s"
        )
    missed = [caught for caught in found if caught.check is None or unfit(caught)]
    print(f"{len(found) - len(missed)} of {len(found)} planted bugs caught in {time.perf_counter() - started:.0f} s")
    return 1 if missed or sound.check is not None else 0


if __name__ == "__main__":
    sys.exit(main())
