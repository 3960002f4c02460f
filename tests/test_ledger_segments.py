"""Sealing and compacting lose nothing, change nothing, and count at one moment."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ledger import bodies, collection, parquet, segments
from ledger import manifest as manifests
from ledger.disk import REAL, Disk
from ledger.errors import Damage
from ledger.events import BudgetSet, CallReserved, DraftEdited, Event
from ledger.home import Home
from ledger.journal import Limits
from ledger.manifest import Manifest, Position, Segment
from ledger.segments import CROWDED, FAN_OUT, MAX_ROWS, Form, mergeable
from ledger.writer import NotSealed
from tests.written_homes import START, listed, opened, settled, write, wrote


def sealed(path: Path, *batches: Sequence[Event]) -> Home:
    """A home with one segment for each batch."""
    with opened(path) as writer:
        for batch in batches:
            write(writer, batch)
            writer.seal()
    return Home(path)


def without_stamps(event: Event) -> bytes:
    """What its author said."""
    return bodies.checked(type(event)(**{k: v for k, v in _fields(event) if k not in STAMPS}))


STAMPS = ("source", "sequence", "recorded_at", "prev", "hash", "crc")


def _fields(event: Event) -> Iterator[tuple[str, object]]:
    return ((name, getattr(event, name)) for name in event.__struct_fields__)


AWKWARD: tuple[Event, ...] = (
    settled(1, cost="0.000000000001", duration_s=0.0),
    settled(2, cost="999999.999999999999", duration_s=999999.999999),
    settled(3, cost="-0.5", response_finish_reasons=(), response_model='a "quoted" \\ name, ünïcode 🙂\u0000'),
    settled(4, cost="0", time=datetime(2025, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), usage_input_tokens=2**53),
    settled(5, response_finish_reasons=("stop", "length"), stream_complete=False, ticket_id=None),
    listed(6),
    BudgetSet(id="b", subject="whole", time=datetime(2025, 1, 1, tzinfo=UTC), scope="whole", hard=True, valid_from=START),
    CallReserved(
        id="r",
        subject="call",
        time=START,
        attempt=999,
        purpose="other",
        period="2025-10",
        request_model="m",
        provider_name="p",
        hold_usd="123456.123456789012",
        price_id="p",
        input_bytes=0,
        max_output_tokens=1,
        request_stream=False,
        class_score=0.1,
        propensity=1.0,
        lambda_=1 / 3,
        gain=-1e-300,
        extra_cost_usd="-0.000000000001",
        tickets_expected=1e22,
        reason="\t\n\u2028'",
    ),
    DraftEdited(
        id="d", subject="t", time=START, ticket_id="t", call_id="c", period="2025-10", disposition="as_is", request_model="m",
        edit_ratio=0.0, edit_seconds=0.000001, draft_characters=0,
    ),
)  # fmt: skip


def test_every_field_of_every_kind_comes_back_as_it_was(tmp_path: Path) -> None:
    home = sealed(tmp_path / "home", AWKWARD)

    found = list(segments.read_all(home))

    assert [without_stamps(event) for event in found] == [bodies.checked(event) for event in AWKWARD]
    assert [event.sequence for event in found] == list(range(1, len(AWKWARD) + 1))


def test_the_manifest_says_what_a_segment_holds(tmp_path: Path) -> None:
    home = sealed(tmp_path / "home", [settled(0, cost="0.1"), settled(1, cost="0.000000000002"), listed(2)])

    (segment,) = manifests.load(home, REAL).files

    content = (home.path / segment.path).read_bytes()
    assert segment.path == "events/2025-10/0000000000-0000000001.parquet"
    assert (segment.first_sequence, segment.last_sequence, segment.rows) == (1, 3, 3)
    assert segment.cost_usd == "0.100000000002"
    assert (segment.min_time, segment.max_time) == (START, START + timedelta(seconds=1))
    assert (segment.sha256, segment.bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    assert (segment.min_id, segment.max_id) == ("event-0", "price-2")
    assert segment.prev_hash == "00" * 16
    assert segment.last_hash == list(segments.read_all(home))[-1].hash


def test_a_segment_has_the_published_types_and_pages(tmp_path: Path) -> None:
    home = sealed(tmp_path / "home", [settled(0), settled(1, at=datetime(2025, 10, 31, 23, 59, 59, tzinfo=UTC))])
    path = home.path / manifests.load(home, REAL).files[0].path

    table, meta = pq.read_table(path), pq.ParquetFile(path).metadata

    types = {
        name: str(table.schema.field(name).type)
        for name in ("time", "event_date", "cost_usd", "hash", "event_id", "sequence")
    }
    assert types == {
        "time": "timestamp[us, tz=UTC]",
        "event_date": "date32[day]",
        "cost_usd": "decimal128(18, 12)",
        "hash": "binary",
        "event_id": "string",
        "sequence": "int64",
    }
    cost = meta.row_group(0).column(table.schema.get_field_index("cost_usd"))
    assert (cost.physical_type, cost.compression) == ("INT64", "ZSTD")
    assert {len(value.as_py()) for value in table["hash"]} == {16}
    assert [str(value) for value in table["event_date"]] == ["2025-10-03", "2025-11-01"]


def test_files_without_events_are_passed_over_without_a_segment(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(0), range(0), range(2), sealed=3)

    manifest = manifests.load(home, REAL)

    assert [segment.rows for segment in manifest.files] == [2]
    assert manifest.sealed_up_to == manifest.files[0].last_file == 5


def test_many_files_are_sealed_in_batches_of_bounded_size(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(3), range(3, 6), range(6, 9))
    last = manifests.load(home, REAL).sealed_up_to + 6

    manifest = segments.seal(home, last, now=START, batch_bytes=1)

    assert [(segment.first_sequence, segment.last_sequence) for segment in manifest.files] == [(1, 3), (4, 6), (7, 9)]


def test_the_hook_sees_each_seal_once_it_counts(tmp_path: Path) -> None:
    seen: list[tuple[list[str], Position, int]] = []

    def on_sealed(home: Home, disk: Disk, events: Iterator[Event], position: Position) -> None:
        seen.append(([event.id for event in events], position, len(manifests.load(home, REAL).files)))

    home = wrote(tmp_path / "home", range(2), range(2, 3))
    manifest = segments.seal(home, 3, now=START, batch_bytes=1, on_sealed=on_sealed)

    assert [(events, listed) for events, _, listed in seen] == [(["event-0", "event-1"], 1), (["event-2"], 2)]
    assert [position for _, position, _ in seen] == [segment.end for segment in manifest.files]


def lossy(journals: Sequence[Path], target: Path) -> None:
    parquet.write(journals, target)
    table = pq.read_table(target)
    pq.write_table(table.slice(0, table.num_rows - 1), target)


def altering(journals: Sequence[Path], target: Path) -> None:
    parquet.write(journals, target)
    table = pq.read_table(target)
    index = table.schema.get_field_index("usage_input_tokens")
    pq.write_table(table.set_column(index, "usage_input_tokens", [[24_001] * table.num_rows]), target)


@pytest.mark.parametrize("mistake", [lossy, altering])
def test_a_segment_that_is_not_what_the_journal_says_is_never_listed(tmp_path: Path, mistake: object) -> None:
    home = wrote(tmp_path / "home", range(3))
    form = Form(mistake, parquet.merge, parquet.read)  # type: ignore[arg-type]

    with pytest.raises(Damage):
        segments.seal(home, 1, now=START, form=form)

    assert manifests.load(home, REAL).files == ()
    assert len(list(segments.read_all(home))) == 3


def test_a_damaged_journal_is_not_sealed_and_the_writer_goes_on(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(3))
    with opened(home.path) as writer:
        journal = next(path for path in sorted(home.journal.iterdir()) if path.stat().st_size)
        content = journal.read_bytes()
        journal.write_bytes(content.replace(b"event-1", b"event-7"))

        write(writer, [settled(3)])
        with pytest.raises(NotSealed, match="check sum"):
            writer.seal()
        assert writer.trouble is not None
        write(writer, [settled(4)])
        journal.write_bytes(content)
    with opened(home.path) as writer:
        writer.seal()
    assert len(list(segments.read_all(home))) == 5


def test_a_flipped_bit_in_a_segment_is_found_before_its_first_use(tmp_path: Path) -> None:
    home = sealed(tmp_path / "home", [settled(0), settled(1)])
    path = home.path / manifests.load(home, REAL).files[0].path
    content = path.read_bytes()

    for offset in range(0, len(content), 97):
        flipped = bytearray(content)
        flipped[offset] ^= 16
        path.write_bytes(flipped)
        with pytest.raises(Damage, match="SHA-256"):
            next(segments.read_all(home))
    path.unlink()
    with pytest.raises(Damage, match="missing"):
        next(segments.read_all(home))


def test_reading_after_a_sequence_leaves_the_rest_out_wherever_it_lies(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(3), range(3, 6), range(6, 9), sealed=2)

    for after in range(10):
        assert [event.sequence for event in segments.read_all(home, after=after)] == list(range(after + 1, 10))


def test_compaction_changes_no_event_and_keeps_the_replaced_files_for_their_grace(tmp_path: Path) -> None:
    with opened(tmp_path / "home") as writer:
        for number in range(FAN_OUT):
            write(writer, [settled(10 * number + step) for step in range(3)])
            writer.seal()
        home = writer.home
        before = [event.hash for event in segments.read_all(home)]

    manifest = manifests.load(home, REAL)

    (merged,) = manifest.files
    assert (merged.rows, merged.cost_usd) == (30, "0.3")
    assert [event.hash for event in segments.read_all(home)] == before
    assert len(before) == 30
    replaced = [entry.path for entry in manifest.replaced if entry.path.endswith(".parquet")]
    assert len(replaced) == FAN_OUT
    assert all((home.path / path).exists() for path in replaced)
    collection.collect(home, now=manifest.published_at + timedelta(minutes=15), grace=timedelta(minutes=15))
    assert not any((home.path / path).exists() for path in replaced)
    assert [event.hash for event in segments.read_all(home)] == before


def test_a_damaged_segment_is_not_compacted(tmp_path: Path) -> None:
    home = sealed(tmp_path / "home", *([settled(number)] for number in range(FAN_OUT - 1)))
    victim = home.path / manifests.load(home, REAL).files[3].path
    victim.write_bytes(victim.read_bytes()[:-1])

    with opened(home.path) as writer:
        write(writer, [settled(99)])
        writer.seal()
        assert writer.trouble is not None
        assert victim.name in writer.trouble
    assert len(manifests.load(home, REAL).files) == FAN_OUT


def test_a_reader_slower_than_the_grace_goes_on_with_the_next_manifest(tmp_path: Path) -> None:
    home = sealed(tmp_path / "home", *([settled(number)] for number in range(FAN_OUT - 1)))
    reader = segments.read_all(home)
    first = [next(reader).sequence for _ in range(3)]

    with opened(home.path, limits=Limits(events=10**9, seconds=1e9, grace_seconds=0.0)) as writer:
        write(writer, [settled(99)])
        writer.seal()
        writer.seal()

    assert len(manifests.load(home, REAL).files) == 1
    assert first + [event.sequence for event in reader] == list(range(1, FAN_OUT + 1))


def files(*rows: int, months: str = "") -> tuple[Segment, ...]:
    """Segments of these sizes; a letter a month, one month without."""
    return tuple(
        Segment(
            path=f"events/{(months or 'a' * len(rows))[index]}/{index}-{index}.parquet", first_file=index, last_file=index,
            first_sequence=1, last_sequence=1, rows=count, min_time=START, max_time=START, cost_usd="0", sha256="", bytes=1,
            schema_version=1, prev_hash="", last_hash="",
        )
        for index, count in enumerate(rows)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "run"),
    [
        (files(*[100] * 9), None),
        (files(*[100] * 10), slice(0, 10)),
        (files(901, *[100] * 9), None),  # the result would be mostly what the large one is already
        (files(5000, *[100] * 10), slice(1, 11)),
        (files(*[100] * 3, 100, 100, months="aaabb"), slice(0, 3)),  # a past month ends as one file
        (files(MAX_ROWS, 100, 100, 5, months="aaab"), slice(1, 3)),
        (files(MAX_ROWS, 100, 5, months="aab"), None),
        (files(*[100] * (CROWDED + 1), months="ab" * 100 + "a"), slice(0, CROWDED + 1)),
        ((), None),
    ],
)
def test_only_neighbours_worth_it_are_merged(found: tuple[Segment, ...], run: slice | None) -> None:
    assert mergeable(found) == run


def test_a_year_of_minutes_stays_under_three_hundred_files() -> None:
    """One seal a minute, 300 events each: compaction alone decides how many files there are."""
    found: tuple[Segment, ...] = ()
    most = rewritten = 0
    for minute in range(20_000):
        found = (*found, *files(300, months=chr(97 + minute // 4000)))
        while (run := mergeable(found)) is not None:
            rows = sum(segment.rows for segment in found[run])
            rewritten += rows
            merged = files(rows, months=found[run.start].path.split("/")[1])
            found = (*found[: run.start], *merged, *found[run.stop :])
        most = max(most, len(found))

    assert most < 300
    assert rewritten / (20_000 * 300) < 8  # times an event is written again


def test_a_manifest_is_published_whole_with_its_own_sum(tmp_path: Path) -> None:
    manifest = Manifest(source="homes/x", published_at=START, files=())

    content = manifests.written(manifest)

    assert manifests.read(content, tmp_path) == manifest
    body = content[: content.rindex(b',"sha256"')]
    assert hashlib.sha256(body).hexdigest().encode() in content
