"""What nothing lists any more, deleted after the readers' grace and not before.

A reader that attached to an older catalog still opens the files it lists; after the grace it gets a
loud error, never a wrong sum. The moment a file was replaced is in the manifest, so a restart neither
forgets it nor starts the grace anew. A file nobody ever listed waits as long, from when it was found.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from ledger import manifest as manifests
from ledger import recovery, tail
from ledger.disk import REAL, Disk, discard
from ledger.home import Home
from ledger.manifest import Manifest, Replaced


def collect(home: Home, *, now: datetime, grace: timedelta, disk: Disk = REAL) -> Manifest:
    """Delete what was replaced at least `grace` ago and note what is unlisted and not yet noted; the manifest then in force.

    The catalog in force must be that of this manifest, or newer. Errors: OSError.
    """
    manifest = manifests.load(home, disk)
    there = unlisted(home, disk, manifest)
    noted = {entry.path: entry.at for entry in manifest.replaced}
    waiting: list[Replaced] = []
    for path in there:
        at = noted.get(path, now)
        if now - at >= grace:
            discard(disk, home.path / path)
        else:
            waiting.append(Replaced(path, at))
    if set(waiting) == set(manifest.replaced):
        return manifest
    manifest = msgspec.structs.replace(
        manifest, generation=manifest.generation + 1, published_at=now, replaced=tuple(waiting)
    )
    manifests.store(home, disk, manifest)
    return manifest


def unlisted(home: Home, disk: Disk, manifest: Manifest) -> tuple[str, ...]:
    """The journal files that are sealed and the segments that the manifest does not list. Shapes: relative to HOME."""
    journals = (number for number in tail.numbers(home, disk) if number <= manifest.sealed_up_to)
    return (
        *(str(tail.path_of(home, number).relative_to(home.path)) for number in journals),
        *(path for path in recovery.segment_paths(home, disk) if path not in manifest.listed),
    )
