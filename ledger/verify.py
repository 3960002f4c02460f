"""Everything checked that can be checked: each event, each link, each file, each sum; read only.

Findings are values in a list, so that one run shows all. The chain is followed through segments and
journal files alike; after a finding it goes on from what the file itself says, so that one changed
event is one finding. A service may be running: the manifest is read first, and the end of the
last journal file may be in the middle of a write.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ledger import codec, collection, dropping, segments, tail
from ledger import manifest as manifests
from ledger.codec import BadLine
from ledger.disk import REAL, Disk
from ledger.errors import Damage
from ledger.events import Event
from ledger.home import Home
from ledger.manifest import Manifest, Position, Segment
from ledger.money import text
from ledger.segments import PARQUET, Form, Survey

TRIES = 3  # a file can be compacted away while it is read; the next manifest has its events elsewhere
_ID = re.compile(rb'"id":"([^"]{1,256})"')
_SEQUENCE = re.compile(rb'"sequence":([0-9]{1,16})')


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not what was written. Shapes: `offset` in bytes within a journal file; absent what is not known."""

    path: str
    why: str
    offset: int | None = None
    sequence: int | None = None
    event_id: str | None = None

    def __str__(self) -> str:
        at = "" if self.offset is None else f", byte {self.offset}"
        which = "" if self.sequence is None else f", event {self.sequence}"
        named = "" if self.event_id is None else f" ({self.event_id})"
        return f"{self.path}{at}{which}{named}: {self.why}"


@dataclass(slots=True)
class Verified:
    """What was found and what was looked at; `notes` are no findings."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    source: str = ""
    events: int = 0
    segments: int = 0
    journal_files: int = 0
    last_hash: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether everything is what was written."""
        return not self.findings

    def as_json(self) -> dict[str, object]:
        """Plain values. Shapes: `events` is the last sequence, all of them checked."""
        return {
            "ok": self.is_ok,
            "source": self.source,
            "events": self.events,
            "segments": self.segments,
            "journal_files": self.journal_files,
            "last_hash": self.last_hash,
            "findings": [
                {key: value for key, value in _fields(finding) if value is not None} for finding in self.findings
            ],
            "notes": self.notes,
        }

    def __str__(self) -> str:
        files = f"{self.segments} segments and {self.journal_files} journal files"
        if self.is_ok:
            return f"{self.events} events in {files} are what was written; the chain ends in {self.last_hash}."
        return f"{len(self.findings)} findings in {files}. Restore the files named from a backup."


def verify(home: Home, *, disk: Disk = REAL, form: Form = PARQUET) -> Verified:
    """Check a home, also while a service writes it. Errors: OSError for a file that cannot be read."""
    for _ in range(TRIES):
        try:
            manifest = manifests.load(home, disk)
        except Damage as refused:
            return Verified(findings=[Finding(path=_name(home, home.manifest), why=str(refused))])
        except FileNotFoundError:
            return _without_manifest(home, disk)
        found = _verified(home, manifest, disk, form)
        if found.is_ok or manifests.load(home, disk).generation == manifest.generation:
            break
    return found


def _without_manifest(home: Home, disk: Disk) -> Verified:
    numbers = tail.numbers(home, disk)
    if any(disk.size(tail.path_of(home, number)) for number in numbers):
        return Verified(
            findings=[Finding(path=home.manifest.name, why="the file is missing, and there are events beside it")]
        )
    return Verified(notes=["Nothing was ever written here."])


def _verified(home: Home, manifest: Manifest, disk: Disk, form: Form) -> Verified:
    found = Verified(source=manifest.source)
    for segment in manifest.files:
        found.segments += 1
        if segment.dropped:
            found.findings += _of_the_gap(home, segment, disk)
            continue
        found.findings += _in_segment(home, segment, disk, form)
    end = _check_tail(home, manifest, disk, found)
    if manifest.dropped is not None and found.is_ok:
        found.findings += [Finding(path=path, why=why) for path, why in dropping.unlike(home, manifest, disk, form)]
        found.notes.append(
            f"{manifest.files[0].dropped} events of {manifest.dropped.period} and before were exported and dropped, as a signed "
            f"log.dropped says; {manifest.files[0].rows} events up to {manifest.dropped.sequence} stay."
        )
    found.events, found.last_hash = end.sequence, end.hash.hex()
    found.notes += [
        f"{path} is not listed and waits out its grace." for path in collection.unlisted(home, disk, manifest)
    ]
    return found


def _of_the_gap(home: Home, segment: Segment, disk: Disk) -> list[Finding]:
    """What stays of dropped months: its rows do not follow each other, so its sum vouches for them, and the signature for the sum."""
    try:
        segments.check(home, disk, segment)
    except FileNotFoundError:
        return [Finding(path=segment.path, why="the file is missing", sequence=segment.first_sequence)]
    except Damage as refused:
        return [Finding(path=segment.path, why=str(refused))]
    return []


def _in_segment(home: Home, segment: Segment, disk: Disk, form: Form) -> list[Finding]:
    """A changed file, and which of its events were changed as far as it can still be read."""
    found: list[Finding] = []
    try:
        segments.check(home, disk, segment)
    except FileNotFoundError:
        return [Finding(path=segment.path, why="the file is missing", sequence=segment.first_sequence)]
    except Damage as refused:
        found.append(Finding(path=segment.path, why=str(refused)))
    survey = Survey(Position(segment.first_sequence - 1, bytes.fromhex(segment.prev_hash)))
    try:
        for event in form.read(disk.local(home.path / segment.path)):
            finding = _unlike(home, segment, event, survey.end)
            if finding is not None:
                found.append(finding)
            survey.take(event)
            survey.end = Position(event.sequence or survey.end.sequence, survey.end.hash)
    except Exception as refused:  # a damaged file can make its reader fail in any way; each is a finding
        found.append(Finding(path=segment.path, why=f"it cannot be read to its end: {refused}"))
        return found
    return found + _sums(segment, survey)


def _unlike(home: Home, segment: Segment, event: Event, end: Position) -> Finding | None:
    try:
        segments.follows(event, end, home.path / segment.path)
    except Damage as refused:
        return Finding(path=segment.path, why=str(refused), sequence=event.sequence, event_id=event.id)
    return None


def _sums(segment: Segment, survey: Survey) -> list[Finding]:
    said = {
        "last sequence": segment.last_sequence,
        "last hash": segment.last_hash,
        "sum of cost_usd": segment.cost_usd,
        "first time": segment.min_time,
        "last time": segment.max_time,
        "least id": segment.min_id or survey.min_id,  # not known of a segment of an older program
        "greatest id": segment.max_id or survey.max_id,
    }
    ids = (survey.min_id, survey.max_id)
    actual = (survey.end.sequence, survey.end.hash.hex(), text(survey.cost), survey.min_time, survey.max_time, *ids)
    return [
        Finding(path=segment.path, why=f"its {what} is {found}, the manifest says {expected}")
        for (what, expected), found in zip(said.items(), actual, strict=True)
        if found != expected
    ]


def _check_tail(home: Home, manifest: Manifest, disk: Disk, found: Verified) -> Position:
    end = manifest.end
    try:
        numbers = tail.readable(home, disk, tail.tail_numbers(home, disk, manifest))
    except Damage as refused:
        found.findings.append(Finding(path=_name(home, Path(refused.path)), why=str(refused)))
        return end
    for number in numbers:
        found.journal_files += 1
        path = tail.path_of(home, number)
        end = _check_file(home, path, end, disk, found, is_last=number == numbers[-1])
    return end


def _check_file(home: Home, path: Path, end: Position, disk: Disk, found: Verified, *, is_last: bool) -> Position:
    """Read strictly; where that stops, go line by line to name every event that was touched."""
    taken: list[int] = []
    try:
        read = tail.read_file(disk, path, start=end, source=found.source, take=_counted(taken), may_be_torn=is_last)
    except Damage:
        return _line_by_line(_name(home, path), disk.read(path), end, found)
    if read.torn_bytes:
        found.notes.append(f"{_name(home, path)} ends in {read.torn_bytes} bytes of a write that is not finished.")
    return read.position


def _counted(taken: list[int]) -> Callable[[Event], object]:
    return lambda event: taken.append(event.sequence or 0)


def _line_by_line(name: str, content: bytes, end: Position, found: Verified) -> Position:
    offset = 0
    for line in content.split(b"\n"):
        if line:
            end, why = _next(line, end)
            if why is not None:
                found.findings.append(_of_line(name, line, offset, why))
        offset += len(line) + 1
    return end


def _next(line: bytes, end: Position) -> tuple[Position, str | None]:
    """Where the chain stands after a line, and what is wrong with the line, if anything."""
    try:
        recorded = codec.read_line(line)
    except ValueError as refused:
        # What it should have been is not known; the next line says what it followed.
        why = str(refused) if isinstance(refused, BadLine) else "it is not a line of a journal"
        return _as_it_says(line, end), f"the event was changed: {why}"
    sequence = recorded.event.sequence or 0
    after = Position(sequence, recorded.hash)
    if sequence != end.sequence + 1:
        return after, f"events were removed or moved: event {sequence} comes after event {end.sequence}"
    if recorded.event.prev != end.hash.hex():
        return (
            after,
            f"it follows {recorded.event.prev}, and the event before it is {end.hash.hex()}: one of them was replaced",
        )
    return after, None


def _as_it_says(line: bytes, end: Position) -> Position:
    stated = re.search(rb'"hash":"([0-9a-f]{32})"', line)
    return Position(end.sequence + 1, bytes.fromhex(stated.group(1).decode()) if stated else end.hash)


def _of_line(name: str, line: bytes, offset: int, why: str) -> Finding:
    event_id, sequence = _ID.search(line), _SEQUENCE.search(line)
    return Finding(
        path=name,
        why=why,
        offset=offset,
        sequence=int(sequence.group(1)) if sequence else None,
        event_id=event_id.group(1).decode(errors="replace") if event_id else None,
    )


def _name(home: Home, path: Path) -> str:
    return str(path.relative_to(home.path)) if path.is_relative_to(home.path) else str(path)


def _fields(finding: Finding) -> list[tuple[str, object]]:
    return [(name, getattr(finding, name)) for name in ("path", "offset", "sequence", "event_id", "why")]
