"""What a person looks at when something is odd: each part of a home, what was found, and what to do next. Read only.

Nothing here repairs: what can be made anew is named with the command that makes it, and what cannot with the backup.
A service may be running; what it is in the middle of is no finding.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

from ledger import collection, dropping, scrub, tail
from ledger import manifest as manifests
from ledger.disk import REAL
from ledger.errors import Damage, LedgerError
from ledger.home import Home, open_to_others
from ledger.lock import owner
from ledger.manifest import Manifest
from ledger.store import load_snapshot

FREE_BAD, FREE_LOW = 64 * 2**20, 2**30  # bytes: a seal and its merge want some hundred MB now and then
WAITING_FILES = 32  # unsealed; a command seals by itself from here on
STEP = timedelta(minutes=2)  # a clock that is further behind the last event was set back
SECRETS = ("pepper", "admin.token")

Verdict = Literal["ok", "look", "bad"]


class Check(NamedTuple):
    """One part of a home. Shapes: `next` is empty where nothing is to be done."""

    part: str
    verdict: Verdict
    found: str
    next: str = ""


def examined(home: Home, now: datetime) -> tuple[Check, ...]:
    """Every check, in the order in which one would repair. Errors: none; whatever cannot be read is a finding."""
    checks: tuple[tuple[str, Callable[[], Iterator[Check]]], ...] = (
        ("permissions", lambda: _permissions(home)),
        ("keys", lambda: _keys(home)),
        ("disk", lambda: _disk(home)),
        ("lock", lambda: _lock(home)),
        ("manifest", lambda: _sealed(home, now)),
    )
    return tuple(check for part, look in checks for check in _looked(part, look))


def _looked(part: str, look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    try:
        yield from look()
    except LedgerError as refused:
        yield Check(part, "bad", str(refused), "See what is touched: halfpenny verify; then restore it from a backup.")
    except OSError as refused:
        yield Check(
            part, "bad", f"{refused.filename}: {refused.strerror}", "Give the home to this user, or run as its owner."
        )


def _permissions(home: Home) -> Iterator[Check]:
    others = open_to_others(home)
    foreign = [path for path in (home.path, home.journal, home.events) if not os.access(path, os.W_OK)]
    if others:
        named = ", ".join(str(path) for path in others[:3])
        yield Check("permissions", "bad", f"others may read {named}", f"chmod -R go= {home.path}")
    if foreign:
        yield Check(
            "permissions",
            "bad",
            f"{foreign[0]} cannot be written by this user",
            "Run as the home's owner, or chown it.",
        )
    if not others and not foreign:
        yield Check("permissions", "ok", "the home is this user's alone")


def _keys(home: Home) -> Iterator[Check]:
    missing = [name for name in SECRETS if not (home.keys / name).is_file()]
    if missing:
        yield Check(
            "keys",
            "bad",
            f"keys/{missing[0]} is missing",
            "Restore HOME/keys from where it is kept; a new one opens nothing.",
        )
    else:
        home.pepper()
        yield Check("keys", "ok", "pepper and admin token are there")


def _disk(home: Home) -> Iterator[Check]:
    free = shutil.disk_usage(home.path).free
    said = f"{free / 1e9:.1f} GB free"
    if free < FREE_LOW:
        verdict: Verdict = "bad" if free < FREE_BAD else "look"
        yield Check(
            "disk",
            verdict,
            said,
            "Make room: a full disk stops every call. Old months may go: halfpenny export, halfpenny drop.",
        )
    else:
        yield Check("disk", "ok", said)
    nodes = os.statvfs(home.path)
    if nodes.f_files and nodes.f_favail < 1000:
        yield Check(
            "disk", "bad", f"{nodes.f_favail} more files may be made", "Remove files of others from that file system."
        )


def _lock(home: Home) -> Iterator[Check]:
    found = owner(home.lock)
    if found is None:
        yield Check("lock", "ok", "nobody writes this home")
    elif not Path(f"/proc/{found.pid}").exists() and Path("/proc/self").exists():
        yield Check(
            "lock", "look", f"process {found.pid} ended without letting go", "Nothing: the next start recovers."
        )
    else:
        yield Check(
            "lock", "ok", f"process {found.pid} writes it" + (f" and answers at {found.url}" if found.url else "")
        )


def _sealed(home: Home, now: datetime) -> Iterator[Check]:
    try:
        manifest = manifests.load(home, REAL)
    except FileNotFoundError:
        yield Check("manifest", "ok", "nothing was ever written here")
        return
    yield Check(
        "manifest",
        "ok",
        f"{len(manifest.files)} segments, {manifest.end.sequence} events sealed, generation {manifest.generation}",
    )
    damaged = scrub.all_damaged(home, REAL, manifest)
    if damaged:
        yield Check(
            "segments",
            "bad",
            f"{', '.join(damaged)} is not what was sealed",
            "halfpenny verify names the events; restore the file from a backup.",
        )
    else:
        yield Check("segments", "ok", "each has its SHA-256")
    yield from _tail(home, manifest, now)
    yield from _derived(home, manifest)


def _tail(home: Home, manifest: Manifest, now: datetime) -> Iterator[Check]:
    last: list[datetime] = [*(segment.max_time for segment in manifest.files[-1:])]
    try:
        position, ends = tail.read_tail(
            home, REAL, manifest, lambda event: last.append(event.recorded_at or event.time)
        )
    except Damage as refused:
        yield Check(
            "journal",
            "bad",
            str(refused),
            "halfpenny verify names every event touched; restore the file from a backup.",
        )
        return
    waiting, torn = position.sequence - manifest.end.sequence, sum(end.torn_bytes for _, end in ends)
    said = f"{waiting} events in {len(ends)} files wait to be sealed"
    if len(ends) > WAITING_FILES:
        yield Check(
            "journal", "look", said, "Seal them: halfpenny seal. Beside a service its own words say what holds it up."
        )
    else:
        yield Check("journal", "ok", said)
    if torn and owner(home.lock) is None:
        yield Check(
            "journal",
            "look",
            f"it ends in {torn} bytes of a write that never finished",
            "Nothing: the next start leaves them out.",
        )
    if last and max(last) - now > STEP:
        yield Check(
            "clock",
            "bad",
            f"the last event is of {max(last):%Y-%m-%d %H:%M:%SZ}, it is {now:%Y-%m-%d %H:%M:%SZ}",
            "Set the clock: months and budgets go by it.",
        )
    else:
        yield Check("clock", "ok", f"{now:%Y-%m-%d %H:%M:%SZ}, after the last event")


def _derived(home: Home, manifest: Manifest) -> Iterator[Check]:
    if not home.catalog.is_file():
        yield Check("views", "bad", "ledger.duckdb is missing", "Make it anew: halfpenny rebuild.")
    else:
        yield Check("views", "ok", "ledger.duckdb is there")
    if manifest.files and load_snapshot(home) is None:
        yield Check(
            "snapshot",
            "look",
            "snapshot.json is missing, damaged or of another version",
            "Nothing: the next start folds anew; or halfpenny rebuild.",
        )
    else:
        yield Check("snapshot", "ok", "starts go on from it")
    waiting = collection.unlisted(home, REAL, manifest)
    if waiting:
        yield Check("leftovers", "ok", f"{len(waiting)} files that nothing lists wait out their grace")
    if (wanted := dropping.wanted_in(home, REAL)) is not None:
        yield Check(
            "drop",
            "look",
            f"a drop up to event {wanted.dropped.sequence} is under way",
            "Carry it out: halfpenny seal.",
        )
