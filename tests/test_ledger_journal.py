"""The append side: nobody is told before the disk has it, and nobody is told anything after it failed."""

from __future__ import annotations

import asyncio
import errno
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ledger import bodies, codec, tail
from ledger.bodies import Unsealable
from ledger.disk import REAL, RealDisk, write_all
from ledger.errors import WriteFailed
from ledger.events import CallReserved
from ledger.home import Home
from ledger.journal import GROUP_EVENTS, MOMENT_S, Journal, Limits
from ledger.manifest import Position
from ledger.recovery import new_file
from ledger.stamping import stamped_group
from tests.written_homes import START, made, settled

SOURCE = "homes/ab12cd34"
NOW = datetime(2025, 10, 3, 9, tzinfo=UTC)
BEGIN = Position(0, bytes(16))


class WatchedDisk(RealDisk):
    """The real disk, counting; it can take one byte a write, hold a sync back, or refuse."""

    def __init__(self) -> None:
        self.writes = self.syncs = 0
        self.refuse_write = self.refuse_sync = False
        self.is_slow = False
        self.gate = threading.Event()
        self.gate.set()

    def write(self, handle: int, data: bytes | memoryview) -> int:
        self.writes += 1
        if self.refuse_write:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(handle, data[:7] if self.is_slow else data)

    def sync(self, handle: int) -> None:
        self.gate.wait()
        self.syncs += 1
        if self.refuse_sync:
            raise OSError(errno.EIO, "Input/output error")
        super().sync(handle)


@pytest.fixture
def disk() -> WatchedDisk:
    return WatchedDisk()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = made(tmp_path / "home")
    REAL.make_dir(found.journal)
    for number in range(4):
        new_file(found, REAL, number)
    return found


@pytest.fixture
def journal(home: Home, disk: WatchedDisk) -> Iterator[Journal]:
    found = begun(home, disk)
    yield found
    disk.gate.set()
    found.close()


def begun(home: Home, disk: WatchedDisk, **more: object) -> Journal:
    return Journal(home, source=SOURCE, position=BEGIN, number=0, clock=lambda: NOW, disk=disk, **more)  # type: ignore[arg-type]


def body(number: int) -> bytes:
    return bodies.checked(settled(number))


def lines(home: Home, number: int = 0) -> list[bytes]:
    return tail.path_of(home, number).read_bytes().splitlines(keepends=True)


def test_a_group_is_stamped_as_one_event_after_the_other_would_be() -> None:
    three = [body(number) for number in range(3)]

    lines, end = stamped_group(three, source=SOURCE, recorded_at=NOW, after=Position(41, b"\x07" * 16))

    prev, expected = b"\x07" * 16, b""
    for offset, one in enumerate(three):
        line, prev = codec.stamped(one, source=SOURCE, sequence=42 + offset, recorded_at=NOW, prev=prev)
        expected += line
    assert (lines, end) == (expected, Position(44, prev))


def test_what_was_waited_for_is_in_the_file_and_reads_back_strictly(home: Home, journal: Journal) -> None:
    pending = journal.submit([body(1), body(2)])
    pending.wait()

    taken: list[str] = []
    path = tail.path_of(home, 0)
    end = tail.read_file(REAL, path, start=BEGIN, source=SOURCE, take=lambda e: taken.append(e.id), may_be_torn=False)
    assert (pending.first, pending.last, pending.is_durable) == (1, 2, True)
    assert taken == ["event-1", "event-2"]
    assert end.position == journal.durable


def test_nobody_is_told_before_the_sync(journal: Journal, disk: WatchedDisk) -> None:
    disk.gate.clear()
    pending = journal.submit([body(1)])
    waiter = threading.Thread(target=pending.wait)
    waiter.start()
    waiter.join(0.1)

    assert waiter.is_alive()
    assert not pending.is_durable
    disk.gate.set()
    waiter.join(5)
    assert pending.is_durable


def test_those_who_come_during_a_sync_share_the_next_one(home: Home, journal: Journal, disk: WatchedDisk) -> None:
    disk.gate.clear()
    first = journal.submit([body(0)])
    while journal.backlog:
        time.sleep(0.001)
    others = [journal.submit([body(number)]) for number in range(1, 51)]
    disk.gate.set()
    for pending in (first, *others):
        pending.wait()

    assert (disk.writes, disk.syncs) == (2, 2)
    assert len(lines(home)) == 51


def test_events_that_wait_for_one_write_keep_the_moment_they_were_submitted_at(home: Home, disk: WatchedDisk) -> None:
    moments = [NOW, NOW + timedelta(seconds=1), NOW + timedelta(seconds=2)]
    clock = iter(moments)
    journal = Journal(home, source=SOURCE, position=BEGIN, number=0, clock=lambda: next(clock), disk=disk)
    disk.gate.clear()
    journal.submit([body(1)])
    while journal.backlog:
        time.sleep(0.001)
    journal.submit([body(2)])
    time.sleep(2 * MOMENT_S)
    journal.submit([body(3)])
    disk.gate.set()
    journal.close()

    assert disk.syncs == 2
    assert [codec.decode(line).recorded_at for line in lines(home)] == moments


def test_a_write_that_takes_a_few_bytes_is_continued(home: Home, journal: Journal, disk: WatchedDisk) -> None:
    disk.is_slow = True
    journal.submit([body(1), body(2)]).wait()

    expected, _ = stamped_group([body(1), body(2)], source=SOURCE, recorded_at=NOW, after=BEGIN)
    assert b"".join(lines(home)) == expected
    assert disk.syncs == 1


def test_a_write_that_takes_nothing_is_an_error(tmp_path: Path) -> None:
    class Full(RealDisk):
        def write(self, handle: int, data: bytes | memoryview) -> int:  # noqa: ARG002 - the protocol's names
            return 0

    with pytest.raises(OSError, match="took none of 3 bytes"):
        write_all(Full(), 0, b"abc")


@pytest.mark.parametrize(("what", "why"), [("refuse_write", "No space left"), ("refuse_sync", "Input/output error")])
def test_a_refusing_disk_fails_everyone_who_waits_and_everyone_after(
    home: Home, disk: WatchedDisk, what: str, why: str
) -> None:
    told: list[WriteFailed] = []
    journal = begun(home, disk, on_failure=told.append)
    disk.gate.clear()
    setattr(disk, what, True)
    waiting = [journal.submit([body(number)]) for number in range(3)]
    disk.gate.set()

    for pending in waiting:
        with pytest.raises(WriteFailed, match=why):
            pending.wait()
    with pytest.raises(WriteFailed, match=why):
        journal.submit([body(9)])
    journal.close()
    assert len(told) == 1
    assert disk.syncs == (1 if what == "refuse_sync" else 0)  # and no second one, whose success would mean nothing


def test_a_failed_sync_is_not_repeated_by_close(home: Home, disk: WatchedDisk) -> None:
    journal = begun(home, disk)
    disk.refuse_sync = True
    with pytest.raises(WriteFailed):
        journal.submit([body(1)]).wait()
    disk.refuse_sync = False
    journal.close()

    assert disk.syncs == 1


def test_coroutines_wait_without_blocking_their_loop_and_share_syncs(home: Home, disk: WatchedDisk) -> None:
    journal = begun(home, disk)

    async def caller(number: int) -> int:
        for step in range(20):
            await journal.submit([body(100 * number + step)])
        return number

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(caller(number) for number in range(16)))

    assert asyncio.run(all_of_them()) == list(range(16))
    journal.close()
    assert len(lines(home)) == 16 * 20
    assert disk.syncs < 16 * 20 / 2


def test_all_that_a_turn_of_a_loop_appends_is_one_write(home: Home, disk: WatchedDisk) -> None:
    journal = begun(home, disk)

    async def append(number: int) -> None:
        await journal.submit([body(number)])

    async def all_of_them() -> None:
        await asyncio.gather(*(append(number) for number in range(GROUP_EVENTS)))

    asyncio.run(all_of_them())
    journal.close()
    assert (disk.writes, disk.syncs, len(lines(home))) == (1, 1, GROUP_EVENTS)


def test_the_first_events_of_a_long_turn_are_written_while_it_goes_on(home: Home, journal: Journal) -> None:
    async def turn() -> bool:
        first = journal.submit([body(0)])
        for number in range(1, GROUP_EVENTS + 1):
            journal.submit([body(number)])
        until = time.monotonic() + 5
        while not first.is_durable and time.monotonic() < until:
            time.sleep(0.001)  # no step of the loop in between  # noqa: ASYNC251
        return first.is_durable

    assert asyncio.run(turn())


def test_a_loop_that_blocks_until_durable_is_not_waited_for(home: Home, journal: Journal) -> None:
    async def append() -> None:
        journal.submit([body(1)])
        journal.submit([body(2)]).wait()

    asyncio.run(append())
    assert len(lines(home)) == 2


def test_what_a_thread_appends_in_a_loops_turn_is_written_with_it_at_once(home: Home, journal: Journal) -> None:
    async def append() -> None:
        mine = journal.submit([body(1)])
        thread = threading.Thread(target=lambda: journal.submit([body(2)]).wait())
        thread.start()
        thread.join()  # this turn is not over
        assert mine.is_durable

    asyncio.run(append())
    assert len(lines(home)) == 2


def test_what_is_appended_last_in_a_loop_is_written_by_close(home: Home, disk: WatchedDisk) -> None:
    journal = begun(home, disk)

    async def append() -> None:
        journal.submit([body(1)])

    asyncio.run(append())
    journal.close()
    assert len(lines(home)) == 1


def test_a_cancelled_waiter_disturbs_nobody(home: Home, disk: WatchedDisk) -> None:
    journal = begun(home, disk)

    async def scene() -> None:
        async def append(number: int) -> None:
            await journal.submit([body(number)])

        disk.gate.clear()
        gone, stays = asyncio.create_task(append(1)), asyncio.create_task(append(2))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.sleep(0.05)
        disk.gate.set()
        await stays
        assert gone.cancelled()

    asyncio.run(scene())
    journal.close()
    assert len(lines(home)) == 2  # what was submitted is recorded, whoever still waits for it


def test_coroutines_hear_of_a_refusing_disk(home: Home, disk: WatchedDisk) -> None:
    journal = begun(home, disk)
    disk.refuse_sync = True

    async def append() -> None:
        await journal.submit([body(1)])

    with pytest.raises(WriteFailed):
        asyncio.run(append())
    journal.close()


def test_threads_and_a_loop_together_get_one_gap_free_sequence(home: Home, disk: WatchedDisk) -> None:
    journal = begun(home, disk)

    def in_a_thread(start: int) -> None:
        for number in range(start, start + 50):
            journal.submit([body(number)]).wait()

    async def in_a_loop() -> None:
        for number in range(50):
            await journal.submit([body(number)])

    threads = [threading.Thread(target=in_a_thread, args=(1000 * index,)) for index in (1, 2, 3)]
    for thread in threads:
        thread.start()
    asyncio.run(in_a_loop())
    for thread in threads:
        thread.join()
    journal.close()

    sequences = [codec.decode(line).sequence for line in lines(home)]
    assert sequences == list(range(1, 201))


def test_a_full_file_is_left_only_for_one_that_was_offered(home: Home, disk: WatchedDisk) -> None:
    left: list[int] = []
    journal = begun(home, disk, limits=Limits(events=3, seconds=1e9), on_full=left.append)
    for number in range(5):
        journal.submit([body(number)]).wait()
    journal.offer(1)
    while not left:
        time.sleep(0.001)
    for number in range(5, 8):
        journal.submit([body(number)]).wait()
    journal.close()

    assert left == [0]
    assert [len(lines(home, number)) for number in (0, 1)] == [5, 3]


def test_a_file_is_left_when_its_time_is_up_but_never_an_empty_one(home: Home, disk: WatchedDisk) -> None:
    left: list[int] = []
    journal = begun(home, disk, limits=Limits(events=10**9, seconds=0.1), on_full=left.append)
    journal.offer(1)
    time.sleep(0.3)
    assert left == []

    journal.submit([body(1)]).wait()
    time.sleep(0.3)
    journal.offer(2)
    time.sleep(0.3)
    journal.close()
    assert left == [0]


def test_leave_returns_the_last_file_that_holds_what_was_submitted(home: Home, disk: WatchedDisk) -> None:
    journal = begun(home, disk, limits=Limits(events=10**9, seconds=1e9))
    assert journal.leave(1) == -1

    journal.offer(1)
    journal.submit([body(1)])
    assert journal.leave(5) == 0
    assert journal.leave(5) == 0
    journal.submit([body(2)])
    with pytest.raises(WriteFailed, match="no next journal file was ready"):
        journal.leave(0.05)
    journal.close()


def test_a_file_that_holds_something_is_never_written_into(home: Home, disk: WatchedDisk) -> None:
    tail.path_of(home, 0).write_bytes(b"x")

    with pytest.raises(OSError, match="holds something already"):
        begun(home, disk)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"duration_s": 1.1042331}, "six decimals"),
        ({"duration_s": -0.0}, "six decimals"),
        ({"duration_s": 1}, "not of the field's type"),
        ({"duration_s": 1e6}, "duration_s"),
        ({"cost_usd": "0.010"}, "cost_usd"),
        ({"cost_usd": "-0"}, "cost_usd"),
        ({"cost_usd": "1\n"}, "money.text"),
        ({"cost_usd": "1000000"}, "cost_usd"),
        ({"time": datetime.fromisoformat("2025-10-03T10:15:02+02:00")}, "not written in UTC"),
        ({"usage_input_tokens": -1}, "usage_input_tokens"),
        ({"outcome": "fine"}, "outcome"),
        ({"response_model": "x" * 300}, "response_model"),
        ({"response_finish_reasons": ("x" * 200,) * 2000}, "bytes"),
        ({"sequence": 7}, "stamps"),
        ({"subject": "\ud800"}, "surrogates"),
    ],
)
def test_what_could_not_be_sealed_is_refused_before_it_is_recorded(changed: dict[str, object], why: str) -> None:
    with pytest.raises(Unsealable, match=why):
        bodies.checked(settled(1, **changed))


def test_figures_of_a_decision_may_be_any_finite_float() -> None:
    fields = {"hold_usd": "0.5", "price_id": "p", "input_bytes": 1, "max_output_tokens": 1, "request_stream": True}
    one = settled(1)
    reserved = CallReserved(
        id="r", subject="c", time=START, attempt=1, purpose="other", period="2025-10", request_model=one.request_model,
        provider_name="p", lambda_=1e-9 / 3, **fields,  # type: ignore[arg-type]
    )  # fmt: skip

    assert b'"lambda":' in bodies.checked(reserved)
