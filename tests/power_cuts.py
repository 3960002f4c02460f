"""Power cuts by the thousand: the real writer, recovery, seal and sweep over a model of a disk.

A history is a few lives of one home. In each life a writer appends, turns files over, seals, compacts and collects,
while at every step that changes the disk the power is cut in copies of it: each copy is started again and must hold every
acknowledged event, in order, once, and nothing else. Then the life ends, by a cut, a kill or a refusing disk, and the next
begins on what is left. The model of the log is a list of ids. One seed is one history.

    python -m tests.power_cuts --cuts 50000 --seed 1
"""

from __future__ import annotations

import argparse
import errno
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePath
from random import Random
from typing import Protocol, cast

from ledger import bodies, catalog, codec, segments, tail
from ledger.disk import TEMPORARY, Disk, adopt, discard
from ledger.errors import Damage, LedgerError, WriteFailed
from ledger.events import CallVoided, Event
from ledger.home import Home
from ledger.journal import Limits, Pending
from ledger.manifest import Manifest
from ledger.recovery import Recovered, recover
from ledger.scrub import Scrub
from ledger.sealer import Command
from ledger.segments import Form
from ledger.upkeep import Tools, work
from ledger.writer import begun
from tests.model_disk import ModelDisk

ROOT = Path("/model")


class OneHome(Home):
    """A home whose paths are made once: joining them would be a third of a drill's time."""

    journal = ROOT / "home" / "journal"
    events = ROOT / "home" / "events"
    manifest = ROOT / "home" / "manifest.json"
    catalog = ROOT / "home" / "ledger.duckdb"


HOME = OneHome(ROOT / "home")


class LivedDisk(Disk, Protocol):
    """A Disk lives are lived on: it asks before each step, and takes files as from a library."""

    home: Home
    before: Callable[[str, PurePath], None]
    is_short: bool

    def put(self, path: Path, data: bytes) -> None: ...


BEGIN = datetime(2025, 10, 3, 8, 15, 2, 123456, tzinfo=UTC)
GRACE = timedelta(minutes=15)
POOL = 400  # bodies made once; each history begins anew with the first
LIVES = 5
LOOKS = 0.5  # the share of steps at which the power is cut in a copy
FAULTS = (
    ("sync", errno.EIO), ("sync", errno.EIO), ("sync_file", errno.EIO), ("sync_dir", errno.EIO), ("write", errno.ENOSPC),
    ("write", errno.EIO), ("rename", errno.EIO), ("create", errno.ENOSPC), ("unlink", errno.EIO), ("put", errno.ENOSPC),
)  # fmt: skip
STARTS = "a legal cut starts again"
CRASHED = "a start ends in a named error or none"
# What no model's fault raises: the program met something it does not expect.
CRASHES = (FileNotFoundError, FileExistsError, ArithmeticError, LookupError, TypeError, ValueError)


class Broken(AssertionError):
    """What must never be: `check` names the promise."""

    def __init__(self, check: str, why: str) -> None:
        self.check = check
        super().__init__(f"{check}: {why}")


def _body(number: int) -> bytes:
    event = CallVoided(
        id=f"e{number}",
        subject=f"c{number}",
        time=BEGIN + timedelta(days=number),  # so that months pass and neighbours are merged
        attempt=1,
        purpose="other",
        period="2025-10",
        request_model="m",
        provider_name="p",
        reserved_at=BEGIN,
        error_type="refused",
        reason="r",
    )
    return bodies.checked(event)


BODIES = tuple(_body(number) for number in range(POOL))


def form(disk: LivedDisk, draw: Random, *, is_faulty: bool) -> Form:
    """Segments that are the journal's lines: as cheap as can be, and every check of a seal works on them.

    With `is_faulty` it now and then loses or doubles an event, which a seal must see by rereading.
    """

    def joined(sources: Sequence[Path], target: Path) -> None:
        lines = b"".join(disk.read(source) for source in sources).splitlines(keepends=True)
        if is_faulty and draw.random() < 0.3:
            index = draw.randrange(len(lines))
            lines[index : index + 1] = [lines[index]] * draw.choice((0, 2))
        disk.put(target, b"".join(lines))

    def read(path: Path) -> Iterator[Event]:
        for line in disk.read(path).splitlines():
            yield codec.decode(line)

    return Form(write=joined, merge=joined, read=read)


def publish(
    home: Home, manifest: Manifest, journals: Sequence[int], *, now: datetime, damaged: Collection[str], disk: Disk
) -> None:
    """The catalog as a list of files, published as the real one is."""
    temporary = home.catalog.with_name(home.catalog.name + TEMPORARY)
    discard(disk, temporary)
    files = [segment.path for segment in manifest.files if segment.path not in damaged]
    files += [str(tail.path_of(home, number).relative_to(home.path)) for number in journals]
    cast("LivedDisk", disk).put(temporary, json.dumps({"files": files, "at": now.timestamp()}).encode())
    adopt(disk, temporary, home.catalog)


class Upkeep:
    """The keeper's part without a thread: what is wanted is done when the history says so."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.on_prepared: Callable[[int], None] | None = None
        self._wanted, self._sealed, self._prepare = -1, -1, -1
        self._tools = Tools(
            disk=life.disk,
            form=life.form or form(life.disk, life.draw, is_faulty=life.is_faulty),
            publish=publish if life.form is None else catalog.publish,
            scrub=Scrub(1 << 20),
        )

    def want(self, *, seal_up_to: int = -1, prepare: int | None = None) -> None:
        self._wanted = max(self._wanted, seal_up_to)
        self._prepare = self._prepare if prepare is None else prepare

    def wait_prepared(self, number: int) -> str | None:
        self.want(prepare=number)
        return self.turn()

    def turn(self) -> str | None:
        """Prepare if that is wanted, else seal; what came in between, if anything."""
        prepare = self._prepare if self._prepare >= 0 else None
        command = Command(
            seal_up_to=self._wanted if prepare is None else -1, prepare=prepare, grace_seconds=GRACE.total_seconds()
        )
        answer = work(self.life.disk.home, command, self._tools, now=self.life.now)
        if answer.prepared is None:
            return answer.trouble
        self._prepare = -1
        if self.on_prepared is not None:
            self.on_prepared(answer.prepared)
        return None


class History:
    """All lives of one home under one seed. Shapes: `log` ids in sequence order, of which the first `told` are acknowledged."""

    def __init__(self, seed: int) -> None:
        self.draw = Random(seed)
        self.log: list[str] = []
        self.told = 0
        self.counts: Counter[str] = Counter()
        self.now = BEGIN

    def run(self) -> Counter[str]:
        """Live, and count what was done. Errors: Broken."""
        disk = ModelDisk(HOME, self.draw)
        disk.make_dir(HOME.path)
        disk.sync_dir(ROOT)
        for _ in range(LIVES):
            life = Life(self, disk)
            life.live()
            disk = disk.cut(self.draw) if self.draw.random() < 0.6 else disk.killed(self.draw)
        self.start(disk)
        return self.counts

    def start(self, disk: LivedDisk, reading: Form | None = None) -> Recovered | None:
        """Recover as a process does; the log is then what was found. None when a hole in unsynced bytes stops it, aloud."""
        found = started(disk, self.log, self.told, self.now, reading)
        if found is None:
            self.counts["stopped aloud"] += 1
            return None
        recovered, ids = found
        self.log, self.told = ids, len(ids)
        return recovered


def started(
    disk: LivedDisk, log: list[str], told: int, now: datetime, reading: Form | None = None
) -> tuple[Recovered, list[str]] | None:
    """Recover, and hold what is found against the log. Errors: Broken."""
    ids: list[str] = []
    reading = reading or form(disk, Random(0), is_faulty=False)

    def fold(manifest: Manifest) -> tail.Take:
        ids.extend(event.id for event in segments.read_sealed(disk.home, manifest, disk=disk, form=reading))
        return lambda event: ids.append(event.id)

    try:
        recovered = recover(disk.home, disk, fold=fold, now=now)
    except Damage as refused:
        if _is_holed(disk, refused):
            return None
        raise Broken(STARTS, str(refused)) from refused
    except CRASHES as crash:
        raise Broken(CRASHED, f"{type(crash).__name__}: {crash}") from crash
    _compare(ids, log, told, "after a start")
    if recovered.position.sequence != len(ids):
        raise Broken("the position is that of the last event", f"{recovered.position.sequence} for {len(ids)} events")
    return recovered, ids


def _compare(ids: list[str], log: list[str], told: int, when: str) -> None:
    if len(set(ids)) != len(ids):
        raise Broken("nothing doubled", f"{when}: {[name for name, count in Counter(ids).items() if count > 1]}")
    if ids[:told] != log[:told]:
        raise Broken("nothing acknowledged is lost", f"{when}: {told} told, found {ids}")
    if ids != log[: len(ids)]:
        raise Broken("nothing invented or moved", f"{when}: {ids} is no beginning of {log}")


def _is_holed(disk: LivedDisk, refused: Damage) -> bool:
    """Whether unsynced blocks came through behind others that did not: a start may stop there, and says so."""
    path = Path(refused.path)
    if path.parent != disk.home.journal or refused.offset is None:
        return False
    return b"\0" in disk.read(path, refused.offset).rstrip(b"\0")


class Life:
    """One process on one disk, looked at before every step that changes it."""

    def __init__(self, history: History, disk: LivedDisk, *, is_sound: bool = False, form: Form | None = None) -> None:
        """Shapes: with `is_sound` nothing fails and nobody looks; `form` real Parquet and views instead of cheap ones."""
        self.history, self.disk, self.draw = history, disk, history.draw
        self.pending: list[Pending] = []
        self._attached: list[tuple[datetime, list[str]]] = []  # catalogs that readers still hold
        self.is_sound, self.form = is_sound, form
        self.is_faulty = not is_sound and self.draw.random() < 0.15
        self.fault: tuple[str, int] | None = (
            self.draw.choice(FAULTS) if not is_sound and self.draw.random() < 0.35 else None
        )
        self.is_lasting = self.draw.random() < 0.5
        self._until_fault = self.draw.randrange(1, 8)
        self.has_failed = self.is_begun = False
        disk.is_short = self.draw.random() < 0.3
        disk.before = self.before

    @property
    def now(self) -> datetime:
        return self.history.now

    def live(self) -> None:
        """Start, work, and stop at once, whatever is going on."""
        history = self.history
        try:
            recovered = history.start(self.disk, self.form)
            if recovered is None:
                return
            self.begin(recovered)
            for _ in range(self.draw.randrange(3, 16)):
                if not self._step():
                    break
        except (OSError, LedgerError):  # the disk refused; the process ends
            history.counts["refused"] += 1
        if not self.is_sound:
            self._look()
        self.disk.before = _nothing

    def begin(self, recovered: Recovered) -> None:
        """Open the journal, as the writer does. Errors: OSError, HomeNotWritable."""
        limits = Limits(events=self.draw.randrange(1, 7), seconds=1e9, grace_seconds=GRACE.total_seconds())
        self.keeper = Upkeep(self)
        self.journal = begun(
            self.disk.home,
            recovered,
            self.keeper,
            clock=lambda: self.now,
            limits=limits,
            on_failure=None,
            disk=self.disk,
            is_threaded=False,
        )
        self.is_begun = True

    def _step(self) -> bool:
        choice = self.draw.random()
        if choice < 0.6:
            return self.append()
        if choice < 0.9:
            self.keeper.turn()
            self.history.counts["turns"] += 1
        else:
            minutes = self.draw.choice((1, 10, 20, 60, -60))
            self.history.now += timedelta(minutes=minutes)
            if minutes < 0:
                self._attached.clear()  # nobody can tell how long they have been reading
        return True

    def append(self) -> bool:
        """One group of one or two batches; False when the disk refused it."""
        history = self.history
        for _ in range(self.draw.choice((1, 1, 2))):
            first = len(history.log)
            some = range(first, min(first + self.draw.randrange(1, 4), POOL))
            history.log += [f"e{number}" for number in some]
            self.pending.append(self.journal.submit([BODIES[number] for number in some]))
        if self.journal.turn():
            self._acknowledge()
            return True
        self._refused()
        return False

    def _refused(self) -> None:
        """After an error nothing more is taken, let alone acknowledged."""
        told = self.history.told
        try:
            self.journal.submit([BODIES[0]])
        except WriteFailed:
            self._acknowledge()
        else:
            raise Broken("after an error nothing is taken", "submit took an event")
        if self.history.told != told:
            raise Broken("after an error nothing is acknowledged", f"{self.history.told - told} events were")
        self.history.counts["failed"] += 1

    def _acknowledge(self) -> None:
        for pending in self.pending:
            if pending.is_durable:
                self.history.told = max(self.history.told, pending.last)
        self.pending = [pending for pending in self.pending if not pending.is_durable]

    def before(self, verb: str, _: PurePath) -> None:
        """Before a step: the moment to look, and to fail."""
        self._acknowledge()
        if not self.is_sound and self.draw.random() < LOOKS:
            self._look()
        if self.fault is not None and verb == self.fault[0]:
            self._until_fault -= 1
            if self._until_fault == 0 or (self.is_lasting and self._until_fault < 0):
                raise OSError(self.fault[1], "the model refuses")

    def _look(self) -> None:
        """Cut the power in a copy, start it again, now and then cut that start short too."""
        history, draw = self.history, self.draw
        self._acknowledge()
        history.counts["cuts"] += 1
        is_kill = draw.random() < 0.25
        disk = cast("ModelDisk", self.disk)
        copy = disk.killed(draw) if is_kill else disk.cut(draw)
        told = history.told
        if draw.random() < 0.15:
            copy.before = lambda *_: _look_again(copy, history, told)
        found = started(copy, history.log, told, history.now)
        copy.before = _nothing
        if found is None:
            history.counts["stopped aloud"] += 1
        elif is_kill or draw.random() < 0.1:
            # What a start has shown must be there after the next, even if the power goes right behind it.
            history.counts["cuts"] += 1
            started(copy.cut(draw), found[1], len(found[1]), history.now)
        if self.is_begun and draw.random() < 0.3:
            self.read()

    def read(self) -> None:
        """What an analyst sees through the catalog in force now: every acknowledged event once."""
        history = self.history
        history.counts["reads"] += 1
        ids: list[str] = []
        files = json.loads(self._readable(self.disk.home.catalog))["files"]
        for name in files:
            content = self._readable(self.disk.home.path / name)
            whole = content if name.endswith(".parquet") else content[: content.rfind(b"\n") + 1]
            ids += [codec.decode(line).id for line in whole.splitlines()]
        _compare(ids, history.log, history.told, "through the catalog")
        self._attached = [(at, names) for at, names in self._attached if self.now - at < GRACE]
        for name in {name for _, names in self._attached for name in names}:
            self._readable(self.disk.home.path / name)
        self._attached.append((self.now, files))

    def _readable(self, path: Path) -> bytes:
        try:
            return self.disk.read(path)
        except FileNotFoundError as missing:
            raise Broken("a reader finds every listed file for the grace", str(missing)) from None


def _look_again(disk: ModelDisk, history: History, told: int) -> None:
    """The power goes during a start."""
    if history.draw.random() < 0.5:
        history.counts["cuts in a start"] += 1
        history.counts["cuts"] += 1
        started(disk.cut(history.draw), history.log, told, history.now)


def _nothing(verb: str, path: PurePath) -> None:
    return


def run(cuts: int, seed: int) -> Counter[str]:
    """Histories from `seed` on until so many cuts. Errors: Broken, whose text names the seed that shows it again."""
    counts: Counter[str] = Counter()
    while counts["cuts"] < cuts:
        try:
            counts += History(seed).run()
        except Broken as broken:
            broken.args = (f"seed {seed}: {broken}",)
            raise
        counts["histories"] += 1
        seed += 1
    return counts


def main() -> int:
    """Cut, print the counts, exit 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--cuts", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    started_at = time.perf_counter()
    try:
        counts = run(asked.cuts, asked.seed)
    except Broken as broken:
        print(broken)
        return 1
    spent = time.perf_counter() - started_at
    print(", ".join(f"{count:,} {name}" for name, count in counts.most_common()))
    print(
        f"0 lost, 0 doubled, 0 invented; seeds {asked.seed} to {asked.seed + counts['histories'] - 1}, {counts['cuts'] / spent:,.0f} cuts a second"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
