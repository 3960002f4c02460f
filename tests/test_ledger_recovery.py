"""Starting on what a crash left: every acknowledged event once, a torn end left out, anything else named and refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from ledger import collection, segments, tail
from ledger import manifest as manifests
from ledger.disk import REAL
from ledger.errors import Damage, HomeInUse
from ledger.events import Event
from ledger.home import Home
from ledger.lock import HomeLock, owner
from ledger.manifest import NONE_SEALED
from ledger.recovery import Recovered, recover
from ledger.sealer import Ahead
from ledger.tail import is_torn
from tests.written_homes import START, ignore, made, opened, settled, write, wrote


def recovered(home: Home) -> tuple[Recovered, list[str]]:
    """What a start finds, and the ids of the unsealed events it hands over."""
    taken: list[Event] = []
    found = recover(home, REAL, fold=lambda _: taken.append, now=START)
    return found, [event.id for event in taken]


def ids(numbers: range) -> list[str]:
    return [f"event-{number}" for number in numbers]


def last_journal(home: Home) -> Path:
    """The last journal file that holds anything."""
    return [path for path in sorted(home.journal.iterdir()) if path.stat().st_size][-1]


def test_a_new_home_begins_with_an_empty_file_and_a_manifest_that_names_its_source(tmp_path: Path) -> None:
    home = made(tmp_path / "home")

    found, taken = recovered(home)

    assert (taken, found.position, found.next_file) == ([], (0, bytes(16)), 1)
    assert found.manifest.sealed_up_to == NONE_SEALED
    assert found.manifest.source.startswith("homes/")
    assert (home.journal / "0000000000.jsonl").read_bytes() == b""


def test_a_start_goes_on_after_the_last_event_in_a_new_file(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(3), range(3, 5))

    found, taken = recovered(home)

    assert taken == ids(range(5))
    assert found.position.sequence == 5
    assert not tail.path_of(home, found.next_file).exists()
    with opened(home.path) as writer:
        write(writer, [settled(5)])
    assert [event.sequence for event in segments.read_all(home)] == [1, 2, 3, 4, 5, 6]


def test_starting_twice_finds_the_same_and_writes_nothing_new(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(3))

    assert recovered(home) == recovered(home)


def test_a_tail_torn_at_any_byte_loses_its_last_event_and_no_other(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(3))
    journal = last_journal(home)
    whole = journal.read_bytes()
    start_of_last = whole.rstrip(b"\n").rindex(b"\n") + 1

    for length in (
        start_of_last + 1,
        *range(start_of_last + 2, len(whole) - 9, 11),
        *range(len(whole) - 9, len(whole) - 1),
    ):
        journal.write_bytes(whole[:length])
        found, taken = recovered(home)
        assert taken == ids(range(2)), length
        assert [(warning.offset, warning.length) for warning in found.warnings] == [
            (start_of_last, length - start_of_last)
        ]
        assert journal.read_bytes() == whole[:start_of_last]  # a second start has nothing torn left to find


def test_a_whole_last_line_counts_without_its_newline(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(3))
    journal = last_journal(home)
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-1])

    found, taken = recovered(home)

    assert (taken, found.warnings) == (ids(range(3)), ())
    assert journal.read_bytes() == whole


@pytest.mark.parametrize("zeros", [2, 511, 4096])
def test_a_tail_filled_with_zeros_is_torn(tmp_path: Path, zeros: int) -> None:
    home = wrote(tmp_path / "home", range(3))
    journal = last_journal(home)
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole[:50] + bytes(zeros) + b"\n")

    found, taken = recovered(home)

    assert taken == ids(range(3))
    assert found.warnings[0].length == 50 + zeros + 1
    assert "nobody was told" in str(found.warnings[0])


def test_after_a_torn_tail_the_next_writer_uses_another_file_and_the_chain_holds(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(3))
    torn = last_journal(home)
    torn.write_bytes(torn.read_bytes()[:-30])

    with opened(home.path) as writer:
        assert len(writer.warnings) == 1
        write(writer, [settled(7)])
    with opened(home.path) as writer:  # the torn file is not the last any more
        assert writer.warnings == ()
        writer.seal()

    assert [event.id for event in segments.read_all(home)] == ["event-0", "event-1", "event-7"]
    assert last_journal(home) != torn


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_is_named_with_its_file_and_line_wherever_it_is(tmp_path: Path, bit: int) -> None:
    home = wrote(tmp_path / "home", range(3))
    journal = last_journal(home)
    whole = journal.read_bytes()
    starts = [0, *(index + 1 for index, byte in enumerate(whole) if byte == 10)]

    for offset in range(bit, len(whole), 8):
        flipped = bytearray(whole)
        flipped[offset] ^= 1 << bit
        journal.write_bytes(flipped)
        with pytest.raises(Damage) as named:
            recovered(home)
        assert named.value.path == str(journal)
        assert named.value.offset == max(start for start in starts if start <= offset)
        assert journal.read_bytes() == flipped  # nothing was changed


def test_a_torn_file_before_the_last_stops_the_start(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(3), range(3, 5))
    first = next(path for path in sorted(home.journal.iterdir()) if path.stat().st_size)
    first.write_bytes(first.read_bytes()[:-30])

    with pytest.raises(Damage, match="at byte"):
        recovered(home)


def test_an_event_removed_moved_or_repeated_stops_the_start(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(4))
    journal = last_journal(home)
    a, b, c, d = journal.read_bytes().splitlines(keepends=True)

    for lines in ((a, c, d), (a, c, b, d), (a, b, b, c, d), (b, c, d), (a, b, d)):
        journal.write_bytes(b"".join(lines))
        with pytest.raises(Damage, match="does not follow"):
            recovered(home)


def test_an_event_of_another_home_stops_the_start(tmp_path: Path) -> None:
    home, other = wrote(tmp_path / "home", range(2)), wrote(tmp_path / "other", range(2))
    shutil.copy(last_journal(other), last_journal(home))

    with pytest.raises(Damage, match="expected 1 of homes/"):
        recovered(home)


def test_a_missing_journal_file_stops_the_start(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(2), range(2, 4))
    found = sorted(home.journal.iterdir())

    for missing in (found[:1], found[1:2], found):
        aside = [(path, path.read_bytes()) for path in missing]
        for path in missing:
            path.unlink()
        with pytest.raises(Damage, match="missing"):
            recovered(home)
        for path, content in aside:
            path.write_bytes(content)
    assert recovered(home)[1] == ids(range(4))


def test_a_lost_or_changed_manifest_stops_the_start(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(2), range(2, 4), sealed=1)
    content = home.manifest.read_bytes()

    home.manifest.unlink()
    with pytest.raises(Damage, match=r"manifest\.json is damaged: the file is missing"):
        recovered(home)
    for offset in range(0, len(content), 7):
        changed = bytearray(content)
        changed[offset] ^= 4
        home.manifest.write_bytes(changed)
        with pytest.raises(Damage, match="SHA-256"):
            recovered(home)
    home.manifest.write_bytes(content[:-20])
    with pytest.raises(Damage, match="SHA-256"):
        recovered(home)


def test_a_manifest_from_a_backup_older_than_the_segments_stops_the_start(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(2))
    older = home.manifest.read_bytes()
    with opened(home.path) as writer:
        write(writer, [settled(2)])
        writer.seal()
    for path in home.journal.iterdir():
        path.unlink()
    (home.journal / "0000000000.jsonl").touch()
    home.manifest.write_bytes(older)

    with pytest.raises(Damage, match="older than"):
        recovered(home)


def test_what_a_crash_left_unpublished_is_swept_up_and_unlisted_files_wait_out_their_grace(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(2), sealed=1)
    month = next(home.events.iterdir())
    for path in (home.path / "manifest.json.tmp", home.journal / "0000000009.jsonl.tmp", month / "x.parquet.tmp"):
        path.write_bytes(b"half")
    orphan = month / "0000000000-0000000000.parquet"
    orphan.write_bytes(b"never listed")
    found, _ = recovered(home)
    grace = timedelta(minutes=15)

    assert not any(path.name.endswith(".tmp") for path in home.path.rglob("*"))
    collection.collect(home, now=START, grace=grace)
    assert orphan.exists()
    collection.collect(home, now=START + grace - timedelta(seconds=1), grace=grace)
    assert orphan.exists()
    collection.collect(home, now=START + grace, grace=grace)
    assert not orphan.exists()
    assert (home.path / found.manifest.files[0].path).exists()


def test_is_torn_tells_a_write_that_never_finished_from_one_that_was_changed(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(2))
    a, b = last_journal(home).read_bytes().splitlines(keepends=True)
    cases = (
        (b[:100], True),  # cut
        (bytes(600), True),  # zeros
        (b[:100] + bytes(600) + b"\n", True),  # a lost sector in the only line
        (bytes(600) + b"\n" + b, False),  # good events behind a hole: somebody may have been told of them
        (a[:100] + a[101:], False),  # a whole line that fails its sum
        (a[:-1] + b"\x0b", False),  # its newline changed
        (a[:100] + a, False),
    )

    assert [is_torn(rest) for rest, _ in cases] == [verdict for _, verdict in cases]


def test_a_second_writer_is_refused_at_once_and_told_who_has_the_home(tmp_path: Path) -> None:
    with opened(tmp_path / "home") as writer:
        writer.lock.announce("http://127.0.0.1:8484")

        with pytest.raises(HomeInUse, match=rf"process {os.getpid()}, which answers at http://127\.0\.0\.1:8484"):
            HomeLock(writer.home)
        found = owner(writer.home.lock)
        assert found is not None
        assert (found.pid, found.url) == (os.getpid(), "http://127.0.0.1:8484")
    assert owner(writer.home.lock) is None
    HomeLock(writer.home).release()


def test_everything_in_a_home_is_for_its_owner_alone(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(2), sealed=1)

    modes = {path.stat().st_mode & 0o777 for path in home.path.rglob("*") if path.is_file()}
    folders = {path.stat().st_mode & 0o777 for path in home.path.rglob("*") if path.is_dir()}
    assert (modes, folders) == ({0o600}, {0o700})


def test_what_was_begun_ahead_is_let_go_when_the_rest_of_a_start_fails(tmp_path: Path) -> None:
    home = made(tmp_path / "home")
    with pytest.raises(ZeroDivisionError), Ahead(home) as ahead:
        raise ZeroDivisionError

    assert ahead.child._process.returncode == 0  # its input ended
    with opened(home.path, ahead=Ahead(home)) as writer:
        write(writer, [settled(1)])


CHILD = """
import os, sys, threading
from pathlib import Path
from ledger import bodies
from ledger.journal import Limits
from ledger.home import Home
from ledger.sealer import Ahead
from ledger.writer import Writer
from tests.written_homes import ignore, settled

first = int(sys.argv[2])
home, limits = Home(Path(sys.argv[1])), Limits(events=150, seconds=0.3, grace_seconds=1.0)
writer = Writer.open(home, fold=ignore, ahead=Ahead(home), limits=limits)
def caller(start):
    for number in range(start, start + 10**6):
        writer.submit([bodies.checked(settled(number, id=f"{start}-{number}"))]).wait()
        sys.stdout.write(f"{start}-{number}\\n")
        sys.stdout.flush()
threading.excepthook = lambda failed: os._exit(1)  # so that the test ends, and does not wait for lines
for index in range(4):
    threading.Thread(target=caller, args=(first + index * 10**7,), daemon=True).start()
threading.Event().wait()
"""


def test_a_writer_killed_a_dozen_times_under_load_loses_and_doubles_nothing(tmp_path: Path) -> None:
    home, acknowledged = made(tmp_path / "home"), set()
    for number in range(12):
        child = subprocess.Popen(
            (sys.executable, "-c", CHILD, str(home.path), str(number * 10**8)), stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        for _ in range(40 + 97 * number):
            line = child.stdout.readline()
            assert line, "the writer ended by itself"
            acknowledged.add(line.strip())
        child.send_signal(signal.SIGKILL)
        acknowledged |= {line.strip() for line in child.stdout if line.endswith("\n")}
        child.wait()
        child.stdout.close()

    with opened(home.path, fold=ignore) as writer:
        writer.seal()
    found = [event.id for event in segments.read_all(home)]
    assert len(found) == len(set(found))
    assert acknowledged <= set(found)
    assert len(acknowledged) > 2000
    assert len(found) - len(acknowledged) <= 12 * 4  # at most what each of the four callers was waiting for


def test_a_snapshot_of_the_manifest_is_plain_json(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(2), sealed=1)

    found = json.loads(home.manifest.read_bytes())

    assert found["sealed_up_to"] == 1
    assert [(entry["rows"], entry["cost_usd"]) for entry in found["files"]] == [(2, "0.02")]
    assert manifests.read(home.manifest.read_bytes(), home.manifest) == manifests.load(home, REAL)
