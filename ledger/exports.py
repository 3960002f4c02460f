"""Months of the log copied out as they are: whole segments, a list of them that chains, and sums that any tool can check.

An export is a directory: the segments under the names they have in the home, `export.json`, which lists them as the
manifest does, and SHA256SUMS for `sha256sum -c`. It appears under its name by rename, once every row in it was read
back and its hash followed the one before. `halfpenny drop` takes nothing away that such an export does not hold.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from ledger import events as e
from ledger import manifest as manifests
from ledger import parquet, segments
from ledger.backups import copy_segment, staged_beside, sync_all
from ledger.disk import REAL
from ledger.errors import BadPeriod, Conflict, Damage, NotFound
from ledger.events import Event
from ledger.home import Home
from ledger.manifest import BEGINNING, Position, Segment

LIST, SUMS = "export.json", "SHA256SUMS"
OF_A_MONTH: tuple[type[Event], ...] = (
    *(e.CallReserved, e.CallSettled, e.CallVoided, e.CallOrphaned, e.CallRefused, e.CallCached, e.CallClaimed),
    *(e.CallCorrected, e.DraftEdited, e.ScoreRecorded, e.DraftSuspected, e.TicketDeferred),
)
"""What is kept of single calls and tickets; everything else is about clients, prices, budgets and closings, and stays."""
_TYPES = frozenset(str(kind.__struct_config__.tag) for kind in OF_A_MONTH)
_PERIOD = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")

Months = Mapping[tuple[str, str], int]
"""How many events of single calls and tickets there are, by client and month."""


class Export(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an export holds. Shapes: `period` is the last month of which it holds everything; files as in the manifest, from the first."""

    source: str
    period: str
    made_at: datetime
    files: tuple[Segment, ...]
    v: int = 1


def is_of(event: Event, through: str) -> bool:
    """Whether an event is of a single call or ticket of a month up to this one."""
    if isinstance(event, e.CallClaimed):  # of no month but that in which it was claimed
        return f"{event.time:%Y-%m}" <= through
    return isinstance(event, OF_A_MONTH) and str(getattr(event, "period", None) or "9") <= through


def months_in(home: Home, files: Sequence[Segment], through: str) -> Months:
    """What these segments hold of the months up to this one."""
    found = Counter[tuple[str, str]]()
    for segment in files:
        for (kind, client_id, period), count in parquet.counts(home.path / segment.path).items():
            if kind in _TYPES and period is not None and period <= through:
                found[client_id or "", period] += count
    return found


def month_before(before: str) -> str:
    """The month before the one that is named. Errors: BadPeriod."""
    if _PERIOD.fullmatch(before) is None:
        raise BadPeriod(before)
    year, month = int(before[:4]), int(before[5:])
    return f"{year - (month == 1):04d}-{(month - 2) % 12 + 1:02d}"


def export(home: Home, target: Path, before: str, *, now: datetime) -> Export:
    """Copy every sealed segment up to the last that holds anything of the months before this one, to a new directory.

    Errors: BadPeriod; Conflict when something is at the target; NotFound when there is nothing; Damage; HomeNotWritable.
    """
    through = month_before(before)
    if target.exists():
        raise Conflict(f"{target} exists already. An export is never written over; choose another name.")
    manifest = manifests.load(home, REAL)
    last = max((index for index, one in enumerate(manifest.files) if months_in(home, (one,), through)), default=None)
    if last is None:
        raise NotFound("sealed event of a month before", before, "Name a later month, or seal first: halfpenny seal.")
    made = Export(source=manifest.source, period=through, made_at=now, files=manifest.files[: last + 1])
    with staged_beside(target) as staged:
        REAL.make_dir(Home(staged).events)
        for segment in made.files:
            copy_segment(home, Home(staged), segment)
        listed = msgspec.json.format(msgspec.json.encode(made)) + b"\n"
        (staged / LIST).write_bytes(listed)
        sums = [*((one.sha256, one.path) for one in made.files), (hashlib.sha256(listed).hexdigest(), LIST)]
        (staged / SUMS).write_text("".join(f"{digest}  {path}\n" for digest, path in sums), encoding="utf-8")
        for _ in events_of(staged, made):
            pass
        sync_all(staged)
        os.rename(staged, target)
        REAL.sync_dir(target.parent)
    return made


def read(directory: Path) -> tuple[Export, str]:
    """An export's list, and its SHA-256. Errors: NotFound; Damage."""
    try:
        content = (directory / LIST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound("export", str(directory), "Name a directory that halfpenny export parquet wrote.") from None
    try:
        return msgspec.json.decode(content, type=Export), hashlib.sha256(content).hexdigest()
    except (msgspec.MsgspecError, UnicodeDecodeError) as refused:
        raise Damage(directory / LIST, f"it is not the list of an export ({refused})") from None


def events_of(directory: Path, listed: Export) -> Iterator[Event]:
    """Every event of an export as it was written, each file's sum and each event's hash checked. Errors: Damage."""
    end = BEGINNING
    for segment in listed.files:
        path = directory / segment.path
        try:
            segments.check(Home(directory), REAL, segment)
        except FileNotFoundError:
            raise Damage(path, "the export lists it, and it is not there") from None
        for event in parquet.read(path):
            if not segment.dropped:  # what an earlier drop left is vouched for by its sum alone
                segments.follows(event, end, path)
            end = Position(event.sequence or 0, bytes.fromhex(event.hash or ""))
            yield event
        if segment.dropped:
            end = segment.end
        if end != segment.end:
            raise Damage(path, f"it ends at event {end.sequence}, and the export says {segment.last_sequence}")
