"""What dropped months came to: the state after the last event that was looked at, kept as a truth.

A snapshot is derived and disposable; this one no longer is, since the events it was folded from are gone. It is named by the
manifest with its SHA-256 and by the signed `log.dropped`, and a version of it that was ever written stays readable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from ledger import snapshots
from ledger.disk import REAL, Disk, publish
from ledger.errors import Damage
from ledger.home import Home
from ledger.manifest import Dropped, Manifest
from ledger.projections import State


def path_of(home: Home, sequence: int) -> Path:
    """Where the state after this event lies."""
    return home.carried / f"state-{sequence:016d}.json"


def keep(home: Home, content: bytes, sequence: int) -> str:
    """Make a state durable; its SHA-256."""
    publish(REAL, path_of(home, sequence), content)
    return hashlib.sha256(content).hexdigest()


def beginning(home: Home, manifest: Manifest, disk: Disk = REAL) -> State:
    """The state that folding begins with when there is no snapshot: nothing, or what was carried. Errors: Damage."""
    dropped = manifest.dropped
    if dropped is None:
        return State()
    path = path_of(home, dropped.sequence)
    for _, why in unlike(home, dropped, disk):
        raise Damage(path, why)
    state = snapshots.load(disk.read(path))
    if state is None:
        raise Damage(path, "it is of a version that this program does not read")
    return state


def unlike(home: Home, dropped: Dropped, disk: Disk) -> Iterator[tuple[str, str]]:
    """What does not hold about the file, as (path, why)."""
    path = path_of(home, dropped.sequence)
    try:
        found = hashlib.sha256(disk.read(path)).hexdigest()
    except FileNotFoundError:
        yield str(path.relative_to(home.path)), "the file is missing, and the events it was made of were dropped"
        return
    if found != dropped.state_sha256:
        yield str(path.relative_to(home.path)), f"its SHA-256 is {found}, the manifest says {dropped.state_sha256}"
