"""Which segments are still what was sealed: by length always, by SHA-256 in turn.

A foreign DuckDB checks no page sums, so a flipped bit would give it another answer without an error. Every
publish therefore hashes segments first: those never looked at, then those looked at longest ago, up to a
budget of bytes. A home within the budget is hashed whole at every publish, a larger one in turn, and each
of its segments at least once a day while a service runs. What is damaged is left out until it is whole again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from ledger import segments
from ledger.disk import Disk
from ledger.errors import Damage
from ledger.home import Home
from ledger.manifest import Manifest, Segment

SERVICE_BYTES = 256 * 1024 * 1024  # a publish; a fifth of a second of a niced process
COMMAND_BYTES = 16 * 1024 * 1024  # a command's publish, which somebody waits for
TURNS_A_DAY = 20  # of the 24 an idle service takes at least; what is over is slack
_NEVER = datetime.min.replace(tzinfo=UTC)


class Scrub:
    """When each segment was last found whole, and which were not."""

    def __init__(self, budget_bytes: int) -> None:
        """Units: bytes hashed at each publish."""
        self._budget_bytes = budget_bytes
        self._checked: dict[str, datetime] = {}
        self._damaged: frozenset[str] = frozenset()

    def damaged(self, home: Home, disk: Disk, manifest: Manifest, *, now: datetime) -> tuple[str, ...]:
        """The segments known to be damaged after this turn. Shapes: paths in HOME, in the manifest's order."""
        self._checked = {path: at for path, at in self._checked.items() if path in manifest.listed}
        out = {segment.path for segment in manifest.files if not _has_length(home, disk, segment)}
        for segment in self._turn(manifest):
            if segment.path in out:
                continue
            if _is_whole(home, disk, segment):
                self._checked[segment.path] = now
            else:
                out.add(segment.path)
        self._damaged = frozenset(out)
        return tuple(segment.path for segment in manifest.files if segment.path in out)

    def _turn(self, manifest: Manifest) -> Iterator[Segment]:
        """What is known to be bad, every time, since it may have been restored; then the others, longest ago first."""
        budget = max(self._budget_bytes, sum(segment.bytes for segment in manifest.files) // TURNS_A_DAY)
        in_turn = sorted(
            manifest.files,
            key=lambda segment: (segment.path not in self._damaged, self._checked.get(segment.path, _NEVER)),
        )
        for segment in in_turn:
            if segment.path not in self._damaged:
                if budget <= 0:
                    return
                budget -= segment.bytes
            yield segment


def all_damaged(home: Home, disk: Disk, manifest: Manifest) -> tuple[str, ...]:
    """Every segment that is not what was sealed, by SHA-256. Shapes: paths in HOME."""
    return tuple(segment.path for segment in manifest.files if not _is_whole(home, disk, segment))


def _has_length(home: Home, disk: Disk, segment: Segment) -> bool:
    try:
        return disk.size(home.path / segment.path) == segment.bytes
    except FileNotFoundError:
        return False


def _is_whole(home: Home, disk: Disk, segment: Segment) -> bool:
    try:
        segments.check(home, disk, segment)
    except (Damage, OSError):  # a sector that cannot be read is damage to one segment, not to the publish
        return False
    return True
