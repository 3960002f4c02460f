"""verify names the file, the place and the event of whatever is not what was written, and only that."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from ledger import codec, segments, tail, trusted
from ledger import manifest as manifests
from ledger.codec import BadLine
from ledger.disk import REAL
from ledger.errors import LedgerError
from ledger.home import Home
from ledger.journal import Limits
from ledger.manifest import Position
from ledger.sealer import Ahead
from ledger.segments import read_all
from ledger.verify import Verified, verify
from tests.written_homes import START, made, opened, settled, write, wrote


def test_a_good_home_verifies_and_says_how_much_it_holds(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(4), range(4, 8), range(8, 9), sealed=2)

    found = verify(home)

    assert (found.is_ok, found.events, found.segments) == (True, 9, 2)
    assert found.last_hash == list(read_all(home))[-1].hash
    assert str(found).startswith("9 events in 2 segments and ")
    assert found.as_json()["findings"] == []


def test_an_empty_home_verifies(tmp_path: Path) -> None:
    assert verify(made(tmp_path / "new")).is_ok
    assert verify(wrote(tmp_path / "home", range(0))).is_ok


Change = Callable[[list[bytes]], list[bytes]]


def changed(old: bytes, new: bytes, index: int) -> Change:
    return lambda lines: [line.replace(old, new) if at == index else line for at, line in enumerate(lines)]


@pytest.mark.parametrize(
    ("change", "sequence", "event_id", "why"),
    [
        (changed(b'"cost_usd":"0.01"', b'"cost_usd":"0.00"', 1), 2, "event-1", "was changed"),
        (changed(b"call-2", b"call-9", 2), 3, "event-2", "was changed"),
        (lambda lines: [*lines[:1], *lines[2:]], 3, "event-2", "event 3 comes after event 1"),
        (lambda lines: lines[1:], 2, "event-1", "event 2 comes after event 0"),
        (lambda lines: [lines[0], lines[2], lines[1], lines[3]], 3, "event-2", "removed or moved"),
        (lambda lines: [*lines[:2], b"not a line\n", *lines[2:]], None, None, "not a line|check sum"),
    ],
)
def test_what_was_done_to_a_journal_is_named(
    tmp_path: Path, change: Change, sequence: int | None, event_id: str | None, why: str
) -> None:
    home = wrote(tmp_path / "home", range(4))
    journal = next(path for path in sorted(home.journal.iterdir()) if path.stat().st_size)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(change(lines)))

    first = verify(home).findings[0]

    assert (first.path, first.sequence, first.event_id) == (f"journal/{journal.name}", sequence, event_id)
    assert first.offset is not None
    assert re.search(why, first.why)


def test_a_value_out_of_bounds_under_sums_that_hold_is_named(tmp_path: Path) -> None:
    """A start goes by the sums alone; verify and the seal read each value."""
    home = wrote(tmp_path / "home", range(1))
    journal = next(path for path in sorted(home.journal.iterdir()) if path.stat().st_size)
    end = tail.read_file(
        REAL,
        journal,
        start=Position(0, bytes(16)),
        source=manifests.load(home, REAL).source,
        take=lambda _: None,
        may_be_torn=False,
    ).position
    source, moment = manifests.load(home, REAL).source, START
    body = codec.encode(settled(1)).replace(b'"cost_usd":"0.01"', b'"cost_usd":"0.010"')
    line, _ = codec.stamped(body, source=source, sequence=2, recorded_at=moment, prev=end.hash)
    journal.write_bytes(journal.read_bytes() + line)

    (finding,) = verify(home).findings

    assert (finding.path, finding.offset) == (f"journal/{journal.name}", journal.stat().st_size - len(line))
    assert "cost_usd" in finding.why
    with pytest.raises(BadLine, match="cost_usd"):
        codec.decode(line)
    assert trusted.decode(line).id == "event-1"


def test_one_changed_event_is_one_finding(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(4))
    journal = next(path for path in sorted(home.journal.iterdir()) if path.stat().st_size)
    journal.write_bytes(journal.read_bytes().replace(b"call-1", b"call-8"))

    (finding,) = verify(home).findings

    assert str(finding).startswith(f"journal/{journal.name}, byte ")
    assert "event 2 (event-1): the event was changed" in str(finding)


def rewritten(home: Home, change: Callable[[pa.Table], pa.Table], *, hide: bool) -> Verified:
    """Change a segment's rows and, if it is to be hidden, the manifest's sums of the file too."""
    manifest = manifests.load(home, REAL)
    segment = manifest.files[0]
    path = home.path / segment.path
    pq.write_table(change(pq.read_table(path)), path)
    if hide:
        digest, size = segments._digest(REAL, path)
        altered = msgspec.structs.replace(segment, sha256=digest, bytes=size)
        manifests.store(home, REAL, msgspec.structs.replace(manifest, files=(altered, *manifest.files[1:])))
    return verify(home)


def doubled(table: pa.Table) -> pa.Table:
    costs = [Decimal("0.02") if at == 1 else cost.as_py() for at, cost in enumerate(table["cost_usd"])]
    index = table.schema.get_field_index("cost_usd")
    return table.set_column(index, table.schema.field(index), pa.array(costs, pa.decimal128(18, 12)))


def test_a_segment_whose_bytes_changed_is_named_with_both_sums(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(4), sealed=1)

    found = rewritten(home, doubled, hide=False)

    assert "its SHA-256 is" in found.findings[0].why
    assert found.findings[1].event_id == "event-1"


def test_a_changed_row_is_named_even_when_the_manifest_was_made_to_fit(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(4), sealed=1)

    found = rewritten(home, doubled, hide=True)

    assert [(finding.sequence, finding.event_id) for finding in found.findings] == [(2, "event-1"), (None, None)]
    assert found.findings[1].why == "its sum of cost_usd is 0.05, the manifest says 0.04"


def test_ids_that_the_manifest_says_wrongly_are_named_and_unknown_ones_are_not(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(3), sealed=1)
    manifest = manifests.load(home, REAL)
    (segment,) = manifest.files

    for ids, why in ((("", ""), []), (("event-1", "event-2"), ["its least id is event-0, the manifest says event-1"])):
        changed = replace(segment, min_id=ids[0], max_id=ids[1])
        manifests.store(home, REAL, replace(manifest, files=(changed,)))
        assert [finding.why for finding in verify(home).findings] == why


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.slice(1),
        lambda table: table.slice(0, 3),
        lambda table: pa.concat_tables([table.slice(0, 2), table.slice(3)]),
        lambda table: table.take([0, 2, 1, 3]),
    ],
)
def test_rows_removed_or_moved_are_found_even_when_the_manifest_was_made_to_fit(
    tmp_path: Path, change: Callable[[pa.Table], pa.Table]
) -> None:
    home = wrote(tmp_path / "home", range(4), range(4, 6), sealed=2)

    assert not rewritten(home, change, hide=True).is_ok


def test_a_missing_segment_is_one_finding(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(2), range(2, 4), sealed=2)
    segment = manifests.load(home, REAL).files[0]
    (home.path / segment.path).unlink()

    (finding,) = verify(home).findings

    assert (finding.path, finding.why) == (segment.path, "the file is missing")


def test_a_changed_manifest_is_the_finding(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(2), sealed=1)
    home.manifest.write_bytes(home.manifest.read_bytes().replace(b'"rows":2', b'"rows":3'))

    (finding,) = verify(home).findings

    assert finding.path == "manifest.json"


def test_every_flip_anywhere_is_found_or_changes_nothing(tmp_path: Path) -> None:
    """Over every file of a home: verify names it and reading refuses it, or reading gives the same events."""
    home = wrote(tmp_path / "home", range(3), range(3, 6), sealed=1)
    right = [event.hash for event in read_all(home)]
    manifest = manifests.load(home, REAL)
    live = [home.journal / f"{number:010d}.jsonl" for number in range(manifest.sealed_up_to + 1, 9)]
    files = [
        home.manifest,
        home.path / manifest.files[0].path,
        *(path for path in live if path.exists() and path.stat().st_size),
    ]
    draw = random.Random(2026)

    for _ in range(250):
        path = draw.choice(files)
        content = path.read_bytes()
        flipped = bytearray(content)
        flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        assert not verify(home).is_ok
        with suppress(LedgerError):
            assert [event.hash for event in read_all(home)] == right
        path.write_bytes(content)
    assert verify(home).is_ok


def test_a_home_verifies_at_every_moment_while_a_service_writes_it(tmp_path: Path) -> None:
    limits, path = Limits(events=40, seconds=0.2, grace_seconds=0.5), tmp_path / "home"
    with opened(path, ahead=Ahead(made(path)), limits=limits) as writer:
        is_over = threading.Event()

        def load() -> None:
            number = 0
            while not is_over.wait(0.002):
                write(writer, [settled(number), settled(number + 1)])
                number += 2

        thread = threading.Thread(target=load)
        thread.start()
        checks, seals = 0, 0
        while seals < 5:
            found = verify(writer.home)
            assert found.is_ok, str(found.findings[0])
            checks, seals = checks + 1, len(manifests.load(writer.home, REAL).files)
        is_over.set()
        thread.join()

    assert checks > 3
