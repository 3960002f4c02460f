"""Sealing: journal files become a Parquet segment, small segments become larger ones.

The same three steps for both. A new file is written beside the old ones, made durable, and read
back by another library; every event in it is made a journal line again, and the chain of their
hashes must end where the journal's ended. Then the manifest lists it instead of what it replaces:
that rename is the moment it counts. Until then, and after a crash anywhere, the old files are the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

import msgspec

from ledger import codec, parquet, tail
from ledger import manifest as manifests
from ledger.codec import SCHEMA_VERSION, BadLine
from ledger.disk import REAL, TEMPORARY, Disk, adopt, discard
from ledger.errors import Damage
from ledger.events import Event
from ledger.home import Home
from ledger.manifest import Manifest, Position, Segment
from ledger.money import ZERO, text

BATCH_BYTES = 64 * 1024 * 1024  # of journal files sealed into one segment
FAN_OUT = 10  # how many small neighbours become one
MAX_ROWS = 2_000_000  # of a compacted segment: about half a minute of rereading in the child
CROWDED = 200  # files; from here on months are no reason to keep neighbours apart

OnSealed = Callable[[Home, Disk, Iterable[Event], Position], None]
"""Called after each seal counts, with its events in order and the position after them. A crash may come before it,
so what it keeps may lag by any number of seals: look at the first event's sequence, and `read_all(home, after=…)`."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a segment is written and read; tests put a cheap one in Parquet's place."""

    write: Callable[[Sequence[Path], Path], None]
    merge: Callable[[Sequence[Path], Path], None]
    read: Callable[[Path], Iterator[Event]]


PARQUET = Form(parquet.write, parquet.merge, parquet.read)


class Survey:
    """What a run of events comes to: rows, times, ids, money, and where the chain ends."""

    def __init__(self, start: Position) -> None:
        self.start, self.end = start, start
        self.cost = ZERO
        self.min_time: datetime | None = None
        self.max_time: datetime | None = None
        self.min_id = self.max_id = ""

    def take(self, event: Event) -> None:
        """Count one event that was checked to follow the last."""
        if self.min_time is None or event.time < self.min_time:
            self.min_time = event.time
        if self.max_time is None or event.time > self.max_time:
            self.max_time = event.time
        self.min_id = min(self.min_id or event.id, event.id)
        self.max_id = max(self.max_id, event.id)
        cost: str | None = getattr(event, "cost_usd", None)
        if cost is not None:
            self.cost += Decimal(cost)
        self.end = Position(self.end.sequence + 1, bytes.fromhex(event.hash or ""))

    @property
    def figures(self) -> tuple[object, ...]:
        """Equal for two surveys of the same events, and for no others."""
        return (self.start, self.end, self.cost, self.min_time, self.max_time)


def seal(
    home: Home,
    up_to: int,
    *,
    now: datetime,
    disk: Disk = REAL,
    form: Form = PARQUET,
    on_sealed: OnSealed | None = None,
    batch_bytes: int = BATCH_BYTES,
) -> Manifest:
    """Seal every journal file not sealed yet, through number `up_to`, which the writer has left; the manifest then in force.

    Shapes: one segment per `batch_bytes` of journal; files without events are passed over without a segment.
    Errors: Damage (nothing of that batch was sealed); OSError.
    """
    manifest = manifests.load(home, disk)
    due = [number for number in tail.tail_numbers(home, disk, manifest) if number <= up_to]
    for batch in _batches(home, disk, due, batch_bytes):
        segment = _sealed(home, disk, form, manifest, batch)
        files = manifest.files if segment is None else (*manifest.files, segment)
        left = tuple(str(tail.path_of(home, number).relative_to(home.path)) for number in batch)
        manifest = manifests.replacing(manifest, now=now, files=files, sealed_up_to=batch[-1], left=left)
        manifests.store(home, disk, manifest)
        if segment is not None and on_sealed is not None:
            on_sealed(home, disk, map(codec.current, form.read(disk.local(home.path / segment.path))), segment.end)
    return manifest


def compact(home: Home, *, now: datetime, disk: Disk = REAL, form: Form = PARQUET) -> Manifest:
    """Merge one run of small neighbours, if there is one that should be; the manifest then in force.

    Errors: Damage (nothing was merged); OSError.
    """
    manifest = manifests.load(home, disk)
    run = mergeable(manifest.files)
    if run is None:
        return manifest
    merged = _merged(home, disk, form, manifest.files[run])
    files = (*manifest.files[: run.start], merged, *manifest.files[run.stop :])
    manifest = manifests.replacing(manifest, now=now, files=files, sealed_up_to=manifest.sealed_up_to)
    manifests.store(home, disk, manifest)
    return manifest


def mergeable(files: Sequence[Segment]) -> slice | None:
    """The first run of neighbours to merge, if any.

    Shapes: in the month being written, at least FAN_OUT neighbours none of which is more than half of the result, so that
    a row is rewritten about once per doubling; in a past month, and when files are too many, all that fit into MAX_ROWS.
    """
    # What is left of dropped months stays a file of its own, as it was signed.
    start = 1 if files and files[0].dropped else 0
    if len(files) > CROWDED:
        return _packed(files, slice(start, len(files)))
    for month in _months(files, start):
        found = _packed(files, month) if month.stop < len(files) else _doubled(files, month)
        if found is not None:
            return found
    return None


def _months(files: Sequence[Segment], start: int) -> Iterator[slice]:
    """Runs of neighbours in one month's directory, from this index on."""
    for index in range(start + 1, len(files) + 1):
        if index == len(files) or _month(files[index]) != _month(files[start]):
            yield slice(start, index)
            start = index


def _month(segment: Segment) -> str:
    return segment.path.rsplit("/", 1)[0]


def _packed(files: Sequence[Segment], within: slice) -> slice | None:
    start, rows = within.start, 0
    for index in range(within.start, within.stop):
        if rows + files[index].rows > MAX_ROWS:
            if index - start >= 2:
                return slice(start, index)
            start, rows = index, 0
        rows += files[index].rows
    return slice(start, within.stop) if within.stop - start >= 2 else None


def _doubled(files: Sequence[Segment], within: slice) -> slice | None:
    for start in range(within.start, within.stop - FAN_OUT + 1):
        for stop in range(start + FAN_OUT, min(start + 3 * FAN_OUT, within.stop) + 1):
            rows = [segment.rows for segment in files[start:stop]]
            if 2 * max(rows) <= sum(rows) <= MAX_ROWS:
                return slice(start, stop)
    return None


def check(home: Home, disk: Disk, segment: Segment) -> None:
    """Compare a segment's bytes with the manifest's SHA-256, before its first use.

    Source: DESIGN section 4: DuckDB answers wrongly, without an error, on most single flipped bits.
    Errors: Damage; FileNotFoundError.
    """
    found, size = _digest(disk, home.path / segment.path)
    if found != segment.sha256:
        raise Damage(
            home.path / segment.path, f"its SHA-256 is {found} ({size} bytes), the manifest says {segment.sha256}"
        )


def read_segment(home: Home, disk: Disk, segment: Segment, form: Form = PARQUET) -> Iterator[Event]:
    """A segment's events in order, in their current versions, its SHA-256 checked first. Errors: Damage; FileNotFoundError."""
    check(home, disk, segment)
    yield from map(codec.current, form.read(disk.local(home.path / segment.path)))


def read_sealed(
    home: Home, manifest: Manifest, *, disk: Disk = REAL, form: Form = PARQUET, after: int = 0
) -> Iterator[Event]:
    """Every sealed event with a sequence greater than `after`, in order. Errors: Damage; FileNotFoundError."""
    for segment in manifest.files:
        if segment.last_sequence > after:
            for event in read_segment(home, disk, segment, form):
                if event.sequence is not None and event.sequence > after:
                    yield event


def read_all(home: Home, *, disk: Disk = REAL, form: Form = PARQUET, after: int = 0) -> Iterator[Event]:
    """Every event with a sequence greater than `after`, sealed or not, in order; also while a service writes.

    Shapes: at least all that were acknowledged before the call; a batch or one journal file is in memory at a time.
    Errors: Damage; FileNotFoundError for a home without a manifest.
    """
    manifest = manifests.load(home, disk)
    while True:
        try:
            for event in _read_once(home, disk, form, manifest, after):
                after = event.sequence or after
                yield event
            return
        except FileNotFoundError as missing:
            # Whoever reads for longer than the grace finds a file gone; the manifest in force has its events elsewhere.
            newer = manifests.load(home, disk)
            if newer.generation == manifest.generation:
                raise Damage(missing.filename, "the file is missing") from None
            manifest = newer


def _read_once(home: Home, disk: Disk, form: Form, manifest: Manifest, after: int) -> Iterator[Event]:
    yield from read_sealed(home, manifest, disk=disk, form=form, after=after)
    position = manifest.end
    found = tail.readable(home, disk, tail.tail_numbers(home, disk, manifest))
    for number in found:
        events: list[Event] = []
        path, is_last = tail.path_of(home, number), number == found[-1]
        end = tail.read_file(
            disk, path, start=position, source=manifest.source, take=events.append, may_be_torn=is_last
        )
        position = end.position
        yield from (event for event in events if event.sequence is not None and event.sequence > after)


def _batches(home: Home, disk: Disk, due: Sequence[int], batch_bytes: int) -> Iterator[tuple[int, ...]]:
    batch: list[int] = []
    size = 0
    for number in due:
        here = disk.size(tail.path_of(home, number))
        if batch and size + here > batch_bytes:
            yield tuple(batch)
            batch, size = [], 0
        batch.append(number)
        size += here
    if batch:
        yield tuple(batch)


def _sealed(home: Home, disk: Disk, form: Form, manifest: Manifest, batch: Sequence[int]) -> Segment | None:
    survey = Survey(manifest.end)
    sources: list[Path] = []
    for number in batch:
        path = tail.path_of(home, number)
        end = tail.read_file(disk, path, start=survey.end, source=manifest.source, take=survey.take, may_be_torn=False)
        if end.events:
            sources.append(disk.local(path))
    if not sources:
        return None
    return _published(
        home, disk, form, survey, files=(batch[0], batch[-1]), write=lambda target: form.write(sources, target)
    )


def _merged(home: Home, disk: Disk, form: Form, run: Sequence[Segment]) -> Segment:
    survey = Survey(Position(run[0].first_sequence - 1, bytes.fromhex(run[0].prev_hash)))
    survey.end = run[-1].end
    survey.cost = sum((Decimal(segment.cost_usd) for segment in run), ZERO)
    survey.min_time = min(segment.min_time for segment in run)
    survey.max_time = max(segment.max_time for segment in run)
    for segment in run:
        check(home, disk, segment)
    sources = [disk.local(home.path / segment.path) for segment in run]
    files = (run[0].first_file, run[-1].last_file)
    return _published(home, disk, form, survey, files=files, write=lambda target: form.merge(sources, target))


def _published(
    home: Home, disk: Disk, form: Form, survey: Survey, *, files: tuple[int, int], write: Callable[[Path], None]
) -> Segment:
    """Write, reread, compare, make durable; the caller lists it."""
    if survey.min_time is None or survey.max_time is None:
        raise AssertionError("a segment has rows")
    month = home.events / f"{survey.min_time:%Y-%m}"
    path = month / f"{files[0]:010d}-{files[1]:010d}.parquet"
    temporary = path.with_name(path.name + TEMPORARY)
    disk.make_dir(month)
    disk.sync_dir(home.events)
    discard(disk, temporary)
    write(disk.local(temporary))
    again = _reread(form.read(disk.local(temporary)), survey.start, path)
    if again.figures != survey.figures:
        raise Damage(path, f"it was written with {again.figures}, and what it was made of has {survey.figures}")
    digest, size = _digest(disk, temporary)
    adopt(disk, temporary, path)
    return Segment(
        path=str(path.relative_to(home.path)),
        first_file=files[0],
        last_file=files[1],
        first_sequence=survey.start.sequence + 1,
        last_sequence=survey.end.sequence,
        rows=survey.end.sequence - survey.start.sequence,
        min_time=survey.min_time,
        max_time=survey.max_time,
        cost_usd=text(survey.cost),
        sha256=digest,
        bytes=size,
        schema_version=SCHEMA_VERSION,
        prev_hash=survey.start.hash.hex(),
        last_hash=survey.end.hash.hex(),
        min_id=again.min_id,
        max_id=again.max_id,
    )


def _reread(events: Iterable[Event], start: Position, path: Path) -> Survey:
    """Survey a new file's rows, each of which must make the line again whose hash it carries."""
    survey = Survey(start)
    for event in events:
        follows(event, survey.end, path)
        survey.take(event)
    return survey


def follows(event: Event, end: Position, path: Path) -> None:
    """Check that a row is the event its hash says and comes after `end`. Errors: Damage naming it."""
    try:
        digest = codec.relined(event, end.hash)[1].hex()
    except (BadLine, msgspec.MsgspecError, ValueError) as refused:
        raise Damage(path, f"the row of event {end.sequence + 1} makes no line ({refused})") from None
    if event.sequence != end.sequence + 1 or event.hash != digest:
        raise Damage(path, f"event {event.sequence} ({event.id}) is not the one that follows event {end.sequence}")


def _digest(disk: Disk, path: Path) -> tuple[str, int]:
    """SHA-256 and length of a file, block by block."""
    running, offset = sha256(), 0
    while block := disk.read(path, offset, tail.BLOCK_BYTES):
        running.update(block)
        offset += len(block)
    return running.hexdigest(), offset
