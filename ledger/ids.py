"""Which events the log has, by id: an event that is sent again is recorded once.

What is not sealed is known in memory. What is sealed lies in HOME/ids, 24 bytes an event in sorted files that are mapped,
never loaded: the id, and a digest of the event's body, which tells a repetition from another fact under the same id.
Ids are UUIDv7 and rise with time, so a fresh one lies above those of every file and none is looked into; others are
looked for in each. Derived and disposable: a file that is missing or damaged is made anew from the segments.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec

from ledger import codec
from ledger.disk import REAL, Disk, discard, publish
from ledger.errors import Conflict, Damage
from ledger.events import STAMPS, Event
from ledger.home import Home

KEY_BYTES, DIGEST_BYTES = 16, 8
RECORD = KEY_BYTES + DIGEST_BYTES
SUM_BYTES = 32  # SHA-256 of the records, at the end of a file
_NAME = re.compile(r"([0-9]+)-([0-9]+)-([0-9a-f]{32})\.ids")
MERGED_AT_MOST = 1_000_000  # records in a file, so that a merge stays a second's work
RECENT = 10_000  # more in memory, 1.4 MB, before it is looked whether some are in a file by now

Read = Callable[[int], Iterable[Event]]
"""The events after a sequence, in order."""
Mark = tuple[bytes, int]
"""What is remembered of an event: its key, and Python's hash of its body."""


def key_of(event_id: str) -> bytes:
    """An id in 16 bytes: a UUID as it is, which keeps its order in time; anything else hashed."""
    if len(event_id) == 36 and event_id[14] == "7" and event_id == event_id.lower():
        try:
            found = bytes.fromhex(event_id.replace("-", ""))
        except ValueError:
            found = b""
        if len(found) == KEY_BYTES and event_id[8] == event_id[13] == event_id[18] == event_id[23] == "-":
            return found
    return sha256(b"id " + event_id.encode(errors="surrogatepass")).digest()[:KEY_BYTES]


def is_timed(key: bytes) -> bool:
    """Whether a key's place among such keys tells when its id was made: a UUIDv7's of a moment before the year 2248.

    Shapes: one hash in 500 looks like one; that costs looks and no more, since a file's highest covers it.
    """
    return key[6] >> 4 == 7 and key[0] < 8


def digest_of(body: bytes) -> bytes:
    """What two bodies must share to be the same fact. Shapes: `body` as codec.encode gives it, without stamps."""
    return sha256(body).digest()[:DIGEST_BYTES]


def body_of(event: Event) -> bytes:
    """The body of an event that carries stamps."""
    return codec.encode(msgspec.structs.replace(event, **dict.fromkeys(STAMPS)))


def record_of(event: Event) -> bytes:
    """An event's record."""
    return key_of(event.id) + digest_of(body_of(event))


@dataclass(frozen=True, slots=True)
class Run:
    """A file's events: from one sequence to another, both included, and the highest timed key among them.

    All three are in the file's name, so that a file which must be looked into is never passed over for a flipped bit in it.
    """

    path: Path
    first: int
    last: int
    highest: bytes


def runs(home: Home, disk: Disk = REAL) -> tuple[Run, ...]:
    """The files that together know every event from the first on without a gap, in order; what lies beyond a gap is no use."""
    found: list[Run] = []
    end = 0
    for run in sorted(_all(home, disk), key=lambda run: (run.first, -run.last)):
        if run.first <= end + 1 and run.last > end:
            found.append(run)
            end = run.last
    return tuple(found)


def known_up_to(home: Home, disk: Disk = REAL) -> int:
    """The last sequence the files know."""
    found = runs(home, disk)
    return found[-1].last if found else 0


def _all(home: Home, disk: Disk) -> Iterator[Run]:
    for name in disk.list(home.ids):
        found = _NAME.fullmatch(name)
        if found is not None:
            yield Run(home.ids / name, int(found[1]), int(found[2]), bytes.fromhex(found[3]))


def keep(home: Home, records: Sequence[bytes], first: int, disk: Disk = REAL) -> None:
    """Put the records of consecutive events, from sequence `first` on, into a file, and merge files of one size."""
    if not records:
        return
    disk.make_dir(home.ids)
    _store(home, disk, records, first, first + len(records) - 1)
    while len(files := runs(home, disk)) > 1:
        before, after = files[-2:]
        size, added = before.last - before.first + 1, after.last - after.first + 1
        if size > 2 * added or size + added > MERGED_AT_MOST:
            return
        merged = [record for run in (before, after) for record in _records(run, disk)]
        _store(home, disk, merged, before.first, after.last)
        for run in (before, after):
            discard(disk, run.path)


def _store(home: Home, disk: Disk, records: Iterable[bytes], first: int, last: int) -> None:
    ordered = sorted(records)
    content = b"".join(ordered)
    highest = next((record[:KEY_BYTES] for record in reversed(ordered) if is_timed(record)), bytes(KEY_BYTES))
    name = f"{first:016d}-{last:016d}-{highest.hex()}.ids"
    publish(disk, home.ids / name, content + sha256(content).digest())


def make(home: Home, read: Read, up_to: int, disk: Disk = REAL) -> None:
    """Make what the files lack, up to a sequence, in files of one merge each."""
    _bring_back(home, disk)
    after, records = known_up_to(home, disk), list[bytes]()
    for event in read(after):
        if (event.sequence or 0) > up_to:
            break
        if event.sequence != after + len(records) + 1:
            raise Damage(
                home.carried / home.ids.name, f"nothing there knows the ids of dropped events from {after + 1} on"
            )
        records.append(record_of(event))
        if len(records) == MERGED_AT_MOST:
            keep(home, records, after + 1, disk)
            after, records = after + len(records), []
    keep(home, records, after + 1, disk)


def _bring_back(home: Home, disk: Disk) -> None:
    """Files that know ids of dropped events, which no event is left to make anew from. Errors: Damage."""
    kept = home.carried / home.ids.name
    for name in disk.list(kept):
        if _NAME.fullmatch(name) is None or name in disk.list(home.ids):
            continue
        content = disk.read(kept / name)
        if sha256(content[:-SUM_BYTES]).digest() != content[-SUM_BYTES:]:
            raise Damage(kept / name, "its SHA-256 does not match its content")
        disk.make_dir(home.ids)
        publish(disk, home.ids / name, content)


def forget(home: Home) -> None:
    """Drop every file, to have them made anew."""
    for run in _all(home, REAL):
        discard(REAL, run.path)


def _records(run: Run, disk: Disk) -> Iterator[bytes]:
    content = disk.read(run.path)[:-SUM_BYTES]
    return (content[at : at + RECORD] for at in range(0, len(content), RECORD))


class Damaged(Exception):
    """A file of ids that is not what was written; it is made anew, so no one else hears of it."""


class Shelf:
    """One file, mapped and checked when it is first looked into."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._records: memoryview | None = None

    def content(self) -> memoryview:
        """The records. Errors: Damaged."""
        if self._records is None:
            with self.run.path.open("rb") as file:
                try:
                    whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
                except ValueError:  # an empty file cannot be mapped
                    raise Damaged from None
            records = whole[:-SUM_BYTES]
            counted = len(records) == RECORD * (self.run.last - self.run.first + 1)
            if not counted or sha256(records).digest() != whole[-SUM_BYTES:]:
                raise Damaged
            self._records = records
        return self._records

    def find(self, key: bytes) -> bytes | None:
        """The digest recorded under a key. Errors: Damaged."""
        records = self.content()
        low, high = 0, len(records) // RECORD
        while low < high:
            middle = (low + high) // 2
            if records[middle * RECORD : middle * RECORD + KEY_BYTES].tobytes() < key:
                low = middle + 1
            else:
                high = middle
        at = low * RECORD
        if at < len(records) and records[at : at + KEY_BYTES] == key:
            return records[at + KEY_BYTES : at + RECORD].tobytes()
        return None


class Known:
    """Every id of a home that is open for writing. `read` reads the log, for the few questions neither memory nor files answer."""

    def __init__(self, home: Home, read: Read) -> None:
        self._home, self._read = home, read
        # In the order of the log, each with Python's hash of its body, which tells as much as the digest in a file and is
        # made in half the time; None: there, hash not made yet.
        self._recent: dict[bytes, int | None] = {}
        self._first = 1  # the sequence of the first of them
        self._look_at = RECENT
        self._shelves: tuple[Shelf, ...] = ()
        self._highest = b""

    def begin(self, sealed: int) -> None:
        """Take up the files, which are made up where they do not reach `sealed`, the last sealed sequence."""
        if known_up_to(self._home) < sealed:
            make(self._home, self._read, sealed)
        self._first = sealed + 1
        self._take_up()

    def saw(self, event: Event) -> None:
        """Know one more event of the unsealed tail, in order."""
        self._recent[key_of(event.id)] = None

    def fresh(self, events: Sequence[Event], bodies: Sequence[bytes]) -> dict[int, Mark]:
        """Which of these events, by index, are not in the log, each with its mark; the others are there, as they are.

        Errors: Conflict for an id under which something else was recorded, or is to be.
        """
        found: dict[int, Mark] = {}
        batch: dict[bytes, int] = {}
        for index, (event, body) in enumerate(zip(events, bodies, strict=True)):
            key = key_of(event.id)
            is_there = batch[key] == hash(body) if key in batch else self._is_there(key, body)
            if is_there is None:
                batch[key] = hash(body)
                found[index] = key, batch[key]
            elif not is_there:
                raise Conflict(
                    f"Event id {event.id} is taken: another fact was recorded under it, and a {_name(event)} was sent. "
                    f"An id is used once; see halfpenny events show {event.id}, and send a new fact under a new id."
                )
        return found

    def fresh_one(self, event: Event, body: bytes) -> Mark | None:
        """The same of one event: its mark, or None where it is there. Errors: Conflict."""
        key = key_of(event.id)
        return (key, hash(body)) if self._is_there(key, body) is None else self.fresh((event,), (body,)).get(0)

    def has(self, event_id: str) -> bool:
        """Whether the log has an event of this id."""
        return self._is_there(key_of(event_id), b"") is not None

    def add(self, mark: Mark) -> None:
        """Know an event that was just given its place."""
        key, body_hash = mark
        self._recent[key] = body_hash
        if len(self._recent) >= self._look_at:
            self._relieve()

    def _is_there(self, key: bytes, body: bytes) -> bool | None:
        """Whether what the log has under a key is this body; None when it has nothing under it."""
        if key in self._recent:
            known = self._recent[key]
            return (self._made(key) if known is None else known) == hash(body)
        if key > self._highest and is_timed(key):
            return None
        for shelf in self._shelves:
            try:
                found = shelf.find(key)
            except (Damaged, FileNotFoundError):
                self._renew(shelf)
                return self._is_there(key, body)
            if found is not None:
                return found == digest_of(body)
        return None

    def _made(self, key: bytes) -> int | None:
        """The hash of an event that was in the tail at the start: all of them are made when one is asked for."""
        for event in self._read(self._first - 1):
            known = key_of(event.id)
            if known in self._recent:
                self._recent[known] = hash(body_of(event))
        return self._recent[key]

    def _relieve(self) -> None:
        """Let go of what a file knows by now. Before the seals catch up nothing is let go, and it is looked again later."""
        self._take_up()
        self._look_at = len(self._recent) + RECENT

    def _take_up(self) -> None:
        files = {shelf.run: shelf for shelf in self._shelves}
        self._shelves = tuple(files.get(run) or Shelf(run) for run in runs(self._home))
        self._highest = max((shelf.run.highest for shelf in self._shelves), default=b"")
        end = self._shelves[-1].run.last if self._shelves else 0
        if (gone := end - self._first + 1) > 0:
            for key in [key for _, key in zip(range(gone), self._recent, strict=False)]:
                del self._recent[key]
            self._first += gone

    def _renew(self, shelf: Shelf) -> None:
        """Make a damaged or vanished file anew, and all after it."""
        if shelf.run in runs(self._home) and shelf.run.path.exists():
            discard(REAL, shelf.run.path)
        make(self._home, self._read, max((one.run.last for one in self._shelves), default=0))
        self._take_up()


def _name(event: Event) -> str:
    return str(event.__struct_config__.tag).removeprefix("halfpenny.").rpartition(".")[0]
