"""Months that a contract wants gone, dropped from the log after they were exported; the gap is signed and nothing hides it.

What goes is what is kept of single calls and tickets of closed months; clients, prices, budgets, closings and calls that
have no end yet stay, in one segment that takes the place of those it was made of. The state after the last event looked at
is carried over as a file of its own, which from then on is a truth: totals, caps and quality go on from it to the digit.

In this order, so that a crash anywhere leaves one of two whole ledgers: the new segment and the state are made durable, the
wish to drop is noted, `log.dropped` is recorded, and only when that event is sealed does whoever seals publish the manifest
that lists the new segment, which is the moment it counts. The old segments wait out the readers' grace.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from ledger import carried, codec, exports, heads, ids, parquet, segments, snapshots, tail
from ledger import manifest as manifests
from ledger.disk import REAL, TEMPORARY, Disk, adopt, discard, publish
from ledger.errors import Conflict, Damage, InvalidInput
from ledger.events import CallOrphaned, CallReserved, Event, LogDropped
from ledger.exports import Export, Months
from ledger.home import Home
from ledger.manifest import Dropped, Manifest, Segment
from ledger.money import ZERO, text
from ledger.projections import CallKey, apply
from ledger.segments import Form

if TYPE_CHECKING:
    from ledger.admin import Stamp
    from ledger.projections import State

STALE = timedelta(hours=1)  # a wish without its event by then is what a kill left, and is forgotten


class Wanted(Struct, frozen=True, kw_only=True):
    """A drop that is prepared: HOME/drop.json. Shapes: `after` is a sequence before that of the event."""

    at: datetime
    after: int
    segment: Segment
    dropped: Dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an export allows to drop. Shapes: `months` how many events by client and month; `files` the segments looked at."""

    directory: Path
    listed: Export
    digest: str
    files: tuple[Segment, ...]
    months: Months
    last: Event


def planned(home: Home, directory: Path, state: State) -> Plan:
    """Hold an export against the home. Errors: NotFound, Damage; Conflict when it is of another log or the log went on; InvalidInput
    for a month that is not closed."""
    listed, digest = exports.read(directory)
    manifest = manifests.load(home, REAL)
    if listed.source != manifest.source or listed.files[0].dropped != manifest.files[0].dropped:
        raise Conflict(
            f"{directory} is not of this log as it is now. Export it: halfpenny export parquet DIR --before MONTH."
        )
    through, end = listed.period, listed.files[-1].end
    index = next((index for index, one in enumerate(manifest.files) if one.end == end), None)
    late = [] if index is None else [*exports.months_in(home, manifest.files[index + 1 :], through)]
    tail.read_tail(
        home, REAL, manifest, lambda event: late.append(("", through)) if exports.is_of(event, through) else None
    )
    if index is None or late:
        raise Conflict(
            f"{directory} does not hold all of {through} and before any more: the log went on. Export it again."
        )
    files = manifest.files[: index + 1]
    months = exports.months_in(home, files, through)
    unclosed = sorted(one for one in months if one not in state.closed)
    if unclosed:
        client_id, period = unclosed[0]
        raise InvalidInput(
            f"{period} of {client_id} is not closed, so nothing is dropped. Close it: halfpenny close {client_id} {period}."
        )
    (last,) = deque(exports.events_of(directory, listed), maxlen=1)
    return Plan(directory=directory, listed=listed, digest=digest, files=files, months=months, last=last)


def prepare(home: Home, plan: Plan, stamp: Stamp, reason: str) -> LogDropped:
    """Make the segment and the state that stay, and note the wish; the event to record. Nothing counts yet. Errors: Damage; OSError."""
    manifest = manifests.load(home, REAL)
    state = carried.beginning(home, manifest)
    cost = ZERO if manifest.dropped is None else Decimal(manifest.dropped.cost_sum)
    for event in exports.events_of(plan.directory, plan.listed):
        if (event.sequence or 0) > state.position:  # what an earlier drop left is in the state that was carried
            apply(state, codec.current(event))
            cost += Decimal(getattr(event, "cost_usd", None) or 0)
    end, last = plan.files[-1].end, plan.last
    state.position = end.sequence
    kept = _kept(home, plan, state)
    REAL.make_dir(home.carried)
    digest = carried.keep(home, snapshots.dump(state), state.position)
    _carry_ids(home, state.position)
    cost_sum = heads.sum_text(cost)
    recorded_at = (
        last.recorded_at if manifest.dropped is None or last.sequence == end.sequence else manifest.dropped.recorded_at
    )
    if recorded_at is None:
        raise AssertionError("what was recorded is stamped")
    bare = LogDropped(
        id=stamp.event_id,
        subject=plan.listed.period,
        time=stamp.now,
        period=plan.listed.period,
        head_sequence=end.sequence,
        head_hash=end.hash.hex(),
        head_cost_sum=cost_sum,
        events_dropped=kept.dropped,
        kept_sha256=kept.sha256,
        state_sha256=digest,
        export_sha256=plan.digest,
        reason=reason,
        public_key=heads.public_key(home),
        signature="0" * 128,
    )
    event = msgspec.structs.replace(bare, signature=heads.sign(home, signed_bytes(bare, manifest.source)))
    dropped = Dropped(
        event_id=event.id,
        period=event.period,
        sequence=event.head_sequence,
        hash=event.head_hash,
        recorded_at=recorded_at,
        cost_sum=cost_sum,
        state_sha256=digest,
    )
    wanted = Wanted(at=stamp.now, after=manifest.end.sequence, segment=kept, dropped=dropped)
    publish(REAL, home.wanted, msgspec.json.encode(wanted) + b"\n")
    return event


def signed_bytes(event: LogDropped, source: str) -> bytes:
    """What the signature is over: one spelling, so that any program can make it again."""
    names = (
        "period",
        "head_sequence",
        "head_hash",
        "head_cost_sum",
        "events_dropped",
        "kept_sha256",
        "state_sha256",
        "export_sha256",
    )
    said = {"v": 1, "source": source} | {name: getattr(event, name) for name in names}
    return json.dumps(said, separators=(",", ":"), ensure_ascii=True).encode()


def _kept(home: Home, plan: Plan, state: State) -> Segment:
    """The segment of what stays, durable and not listed yet."""
    first, last = plan.files[0], plan.files[-1]
    path = f"events/{first.path.split('/')[1]}/{0:010d}-{last.last_file:010d}.after-{plan.listed.period}.parquet"
    target = home.path / path
    temporary, lines = target.with_name(target.name + TEMPORARY), target.with_name(target.name + ".jsonl" + TEMPORARY)
    REAL.make_dir(target.parent)
    for leftover in (temporary, lines):
        discard(REAL, leftover)
    survey = _Survey()
    with lines.open("wb") as file:
        for event in _staying(plan, state):
            file.write(survey.took(event))
    parquet.write([lines], temporary)
    discard(REAL, lines)
    again = _Survey()
    for event in parquet.read(temporary):
        again.took(event)
    if again.figures != survey.figures or survey.first is None or survey.last is None:
        raise Damage(target, f"it was written with {again.rows} rows, and {survey.rows} were to stay")
    content = REAL.read(temporary)
    adopt(REAL, temporary, target)
    return Segment(
        path=path,
        first_file=0,
        last_file=last.last_file,
        first_sequence=1,
        last_sequence=last.last_sequence,
        rows=survey.rows,
        min_time=survey.first,
        max_time=survey.last,
        cost_usd=text(survey.cost),
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        schema_version=last.schema_version,
        prev_hash=manifests.BEGINNING.hash.hex(),
        last_hash=last.last_hash,
        dropped=last.last_sequence - survey.rows,
    )


class _Survey:
    """What the rows that stay come to."""

    def __init__(self) -> None:
        self.rows, self.cost = 0, ZERO
        self.first: datetime | None = None
        self.last: datetime | None = None
        self._digest = hashlib.sha256()

    def took(self, event: Event) -> bytes:
        """Count an event; its line, whose links lead nowhere and are left out, its own hash being all that a row has too."""
        line = codec.encode(msgspec.structs.replace(event, prev=None, crc=None)) + b"\n"
        self._digest.update(line)
        self.rows += 1
        self.cost += Decimal(getattr(event, "cost_usd", None) or 0)
        self.first = min(self.first or event.time, event.time)
        self.last = max(self.last or event.time, event.time)
        return line

    @property
    def figures(self) -> tuple[int, str]:
        """Equal for the same rows alone."""
        return self.rows, self._digest.hexdigest()


def _staying(plan: Plan, state: State) -> Iterator[Event]:
    """What is not dropped, in order: also the calls that had no end yet when the last event was recorded."""
    for event in exports.events_of(plan.directory, plan.listed):
        if not exports.is_of(event, plan.listed.period) or _is_open(event, state):
            yield event


def _is_open(event: Event, state: State) -> bool:
    if not isinstance(event, CallReserved | CallOrphaned):
        return False
    key = CallKey(event.subject, event.attempt)
    return key in state.holds or key in state.orphans


def _carry_ids(home: Home, up_to: int) -> None:
    """The ids of what is dropped can never be made again, so the files that know them are kept as they are."""
    ids.make(home, lambda after: segments.read_sealed(home, manifests.load(home, REAL), after=after), up_to)
    target = home.carried / home.ids.name
    REAL.make_dir(target)
    for run in ids.runs(home):
        if run.first <= up_to and not (target / run.path.name).exists():
            part = target / (run.path.name + TEMPORARY)
            shutil.copyfile(run.path, part)
            adopt(REAL, part, target / run.path.name)


def wanted_in(home: Home, disk: Disk) -> Wanted | None:
    """The drop that is under way, if any. Errors: Damage."""
    try:
        return msgspec.json.decode(disk.read(home.wanted), type=Wanted)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as refused:
        raise Damage(home.wanted, f"it is not the note of a drop ({refused}); remove it and drop again") from None


def carry_out(home: Home, manifest: Manifest, *, now: datetime, disk: Disk, form: Form) -> Manifest:
    """Publish the manifest of a drop whose event is sealed; the manifest then in force. May die anywhere and be asked again.

    Errors: Damage; Conflict when the segments no longer end where the drop does; OSError.
    """
    wanted = wanted_in(home, disk)
    if wanted is None:
        return manifest
    if manifest.dropped != wanted.dropped:
        if not _is_sealed(home, manifest, wanted, disk, form):
            if now - wanted.at > STALE:
                discard(disk, home.wanted)
            return manifest
        index = next((index for index, one in enumerate(manifest.files) if one.end == wanted.dropped.end), None)
        if index is None:
            raise Conflict(f"No segment ends at event {wanted.dropped.sequence} any more. Export and drop again.")
        segments.check(home, disk, wanted.segment)
        files = (wanted.segment, *manifest.files[index + 1 :])
        replaced = manifests.replacing(manifest, now=now, files=files, sealed_up_to=manifest.sealed_up_to)
        manifest = msgspec.structs.replace(replaced, dropped=wanted.dropped)
        manifests.store(home, disk, manifest)
    discard(disk, home.wanted)
    return manifest


def _is_sealed(home: Home, manifest: Manifest, wanted: Wanted, disk: Disk, form: Form) -> bool:
    later = segments.read_sealed(home, manifest, disk=disk, form=form, after=wanted.after)
    return any(event.id == wanted.dropped.event_id for event in later)


def unlike(
    home: Home, manifest: Manifest, disk: Disk, form: Form, trusted: str | None = None
) -> Iterator[tuple[str, str]]:
    """What does not hold about a gap, as (path, why): it must be one that a signed event in the log states."""
    dropped = manifest.dropped
    if dropped is None:
        return
    segment, source = manifest.files[0], manifest.source
    later = segments.read_all(home, disk=disk, form=form, after=dropped.sequence)
    event = next((one for one in later if isinstance(one, LogDropped) and one.id == dropped.event_id), None)
    if event is None:
        yield (
            segment.path,
            f"{segment.dropped} events are missing, and no log.dropped event says that they were dropped",
        )
        return
    said = (
        event.period,
        event.head_sequence,
        event.head_hash,
        event.head_cost_sum,
        event.events_dropped,
        event.kept_sha256,
        event.state_sha256,
    )
    actual = (
        dropped.period,
        dropped.sequence,
        dropped.hash,
        dropped.cost_sum,
        segment.dropped,
        segment.sha256,
        dropped.state_sha256,
    )
    if said != actual:
        yield segment.path, f"log.dropped says {said}, and the manifest {actual}"
    if trusted is not None and event.public_key != trusted:
        yield segment.path, f"what was dropped is signed with the key {event.public_key}, not with {trusted}"
    if not heads.is_signature(event.public_key, event.signature, signed_bytes(event, source)):
        yield segment.path, "what was dropped bears no valid signature: it was changed, or signed by someone else"
    yield from _unlike_rows(form.read(disk.local(home.path / segment.path)), segment)
    yield from carried.unlike(home, dropped, disk)


def _unlike_rows(events: Iterator[Event], segment: Segment) -> Iterator[tuple[str, str]]:
    rows, last = 0, 0
    for event in events:
        if not last < (event.sequence or 0) <= segment.last_sequence:
            yield segment.path, f"event {event.sequence} stands after event {last}"
        rows, last = rows + 1, event.sequence or last
    if rows != segment.rows:
        yield segment.path, f"it holds {rows} events, the manifest says {segment.rows}"
