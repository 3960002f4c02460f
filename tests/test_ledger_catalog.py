"""What an analyst's DuckDB sees: every event, the tail included, typed, explained, and never twice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from msgspec.structs import replace

from ledger import catalog, comments, rows, tail
from ledger import manifest as manifests
from ledger.columns import columns
from ledger.disk import REAL
from ledger.home import Home
from ledger.manifest import Manifest
from tests.written_homes import START, listed, made, opened, settled, write, wrote


@contextmanager
def attached(home: Home) -> Iterator[duckdb.DuckDBPyConnection]:
    """The way the documentation tells analysts to connect."""
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"ATTACH '{home.catalog}' AS ledger (READ_ONLY)")
        connection.execute("USE ledger")
        yield connection


def asked(home: Home, query: str) -> list[tuple[Any, ...]]:
    with attached(home) as connection:
        return connection.execute(query).fetchall()


def published(home: Home) -> None:
    """Publish what is there, as the sealer would."""
    manifest = manifests.load(home, REAL)
    catalog.publish(home, manifest, tail.tail_numbers(home, REAL, manifest), now=START)


def test_sealed_rows_and_the_tail_are_one_table(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(3), range(3, 5), sealed=1)

    assert asked(home, "SELECT count(*), count(DISTINCT event_id), min(sequence), max(sequence) FROM events") == [
        (5, 5, 1, 5)
    ]


def test_an_event_is_seen_as_soon_as_it_is_durable_and_before_any_seal(tmp_path: Path) -> None:
    with opened(tmp_path / "home") as writer:
        for number in range(3):
            write(writer, [settled(number)])
            assert asked(writer.home, "SELECT count(*), max(event_id) FROM events") == [(number + 1, f"event-{number}")]


def test_both_halves_give_the_same_values_of_the_same_types(tmp_path: Path) -> None:
    events = [settled(0, cost="123456.123456789012"), listed(1)]
    with opened(tmp_path / "home") as writer:
        write(writer, events)
        live = asked(writer.home, "SELECT * FROM events ORDER BY sequence")
        writer.seal()
        sealed = asked(writer.home, "SELECT * FROM events ORDER BY sequence")
        types = asked(writer.home, "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = 'events'")

    assert live == sealed
    expected = {column.name: column.sql for column in columns()} | {
        "event_date": "DATE",
        "dataschema": "VARCHAR",
        "hash": "BLOB",
    }
    assert dict(types) == {
        name: sql.replace("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE") for name, sql in expected.items()
    }
    with attached(Home(tmp_path / "home")) as connection:
        row = connection.execute(
            "SELECT cost_usd, duration_s, time, event_date, octet_length(hash), dataschema, response_finish_reasons, "
            "rate, usage_output_tokens FROM events WHERE event_id = 'event-0'"
        ).fetchone()
    assert row is not None
    assert row[:2] == (Decimal("123456.123456789012"), Decimal("1.104233"))
    assert row[2].astimezone(UTC) == START
    assert row[3:] == (date(2025, 10, 3), 16, "schemas/events/call.settled.v1.json", ["stop"], None, 0)


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Asia/Kolkata", "UTC"])
def test_the_day_is_that_of_utc_whatever_the_sessions_zone(tmp_path: Path, zone: str) -> None:
    late = settled(0, at=datetime(2025, 11, 1, 2, tzinfo=UTC))
    with opened(tmp_path / "home") as writer:
        write(writer, [late])
        for _ in range(2):
            with attached(writer.home) as connection:
                connection.execute(f"SET TimeZone = '{zone}'")
                found = connection.execute("SELECT event_date, epoch_us(time) FROM events").fetchall()
            assert found == [(date(2025, 11, 1), int(late.time.timestamp()) * 1_000_000)]
            writer.seal()


@pytest.mark.parametrize("torn", [b'{"type":"halfpenny.call', bytes(4096), b"\xff\xfe", b'{"type":1}', b"{}"])
def test_a_line_that_is_not_finished_hides_nothing_else(tmp_path: Path, torn: bytes) -> None:
    home = wrote(tmp_path / "home", range(3))
    journal = [path for path in sorted(home.journal.iterdir()) if path.stat().st_size][-1]
    with journal.open("ab") as file:
        file.write(torn)

    assert asked(home, "SELECT count(*), sum(cost_usd) FROM events") == [(3, Decimal("0.03"))]


TAIL = "SELECT count(*), max(sequence) FROM events"


def tail_of_two_files(path: Path) -> tuple[Home, Path, Path]:
    """A home with events 1 to 3 sealed, 4 to 6 in one journal file and 7 and 8 in the next; both files."""
    home = wrote(path, range(3), range(3, 6), range(6, 8), sealed=1)
    first, second = [file for file in sorted(home.journal.iterdir()) if b'"sequence":' in file.read_bytes()][-2:]
    return home, first, second


def test_the_tail_ends_before_an_event_whose_file_was_read_too_early_to_have_it(tmp_path: Path) -> None:
    home, first, _ = tail_of_two_files(tmp_path / "home")
    whole = first.read_bytes()

    for seen, expected in ((2, (5, 5)), (1, (4, 4)), (0, (3, 3)), (3, (8, 8))):
        first.write_bytes(b"".join(whole.splitlines(keepends=True)[:seen]))
        assert asked(home, TAIL) == [expected]


def test_the_tail_ends_before_a_line_that_cannot_be_read(tmp_path: Path) -> None:
    home, first, _ = tail_of_two_files(tmp_path / "home")
    first.write_bytes(first.read_bytes().replace(b'"sequence":5,', b'"sequence" 5,'))

    assert asked(home, TAIL) == [(4, 4)]


@pytest.mark.parametrize(
    "setting", ["default_order = 'DESC'", "default_null_order = 'nulls_first'", "preserve_insertion_order = false"]
)
def test_the_tail_is_whole_whatever_the_session_has_set(tmp_path: Path, setting: str) -> None:
    home, _, second = tail_of_two_files(tmp_path / "home")
    with second.open("ab") as file:
        file.write(b'{"id":"without its place"}\n')

    with attached(home) as connection:
        connection.execute(f"SET {setting}")
        assert connection.execute(TAIL).fetchall() == [(8, 8)]


def test_an_older_view_shows_the_same_events_until_its_files_go_and_then_none(tmp_path: Path) -> None:
    home, first, _ = tail_of_two_files(tmp_path / "home")
    older = Path(shutil.copy(home.catalog, tmp_path / "older.duckdb"))
    with opened(home.path) as writer:
        write(writer, [settled(8)])
        writer.seal()

    with duckdb.connect(older, read_only=True) as connection:
        assert connection.execute(TAIL).fetchall() == [(8, 8)]
        first.unlink()
        with pytest.raises(duckdb.IOException, match="No files found"):
            connection.execute(TAIL)


def test_an_event_is_found_by_its_id_sealed_or_live(tmp_path: Path) -> None:
    home, _, _ = tail_of_two_files(tmp_path / "home")

    for number in (0, 2, 4, 7):
        name = f"event-{number}"
        found = asked(home, f"FROM event('{name}')")
        assert found == asked(home, f"FROM events WHERE event_id = '{name}'")
        assert len(found) == 1
    with attached(home) as connection:
        connection.execute("SET default_collation = 'nocase'")
        for sought in ("event-9", "a", "", None):
            assert connection.execute("FROM event($1)", [sought]).fetchall() == []


def test_an_event_is_found_without_opening_a_segment_that_cannot_have_it(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(3), range(3, 6), sealed=2)
    first, second = manifests.load(home, REAL).files
    older = replace(first, min_id="", max_id="")
    catalog.publish(home, replace(manifests.load(home, REAL), files=(older, second)), (), now=START)
    assert asked(home, "SELECT sequence FROM event('event-1')") == [(2,)]  # of an older program, which noted no ids
    published(home)
    (home.path / first.path).unlink()

    assert asked(home, "SELECT sequence FROM event('event-4')") == [(5,)]
    with pytest.raises(duckdb.IOException, match="No files found"):
        asked(home, "FROM event('event-1')")


def test_a_home_without_events_has_every_view_and_no_row(tmp_path: Path) -> None:
    with opened(tmp_path / "home") as writer:
        home = writer.home

    names = [
        name
        for (name,) in asked(
            home, "SELECT view_name FROM duckdb_views() WHERE NOT internal AND database_name = 'ledger'"
        )
    ]
    assert {"events", "calls", "tickets", "edits", "daily_spend", "savings", "quality", "budgets", "prices"} <= set(
        names
    )
    for name in names:
        assert asked(home, f"FROM {name}") == []
    assert asked(home, "FROM event('event-0')") == []


def test_every_shipped_view_can_be_asked_over_sealed_and_live_events(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(3), range(3, 5), sealed=1)

    for name, text in catalog.view_texts():
        assert text.strip(), name
        assert asked(home, f"SUMMARIZE {name.split('_', 1)[1].removesuffix('.sql')}") != []


def test_the_file_can_be_opened_by_itself_and_under_any_name(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(3))
    copy = shutil.copy(home.catalog, tmp_path / "elsewhere.duckdb")

    for path in (home.catalog, copy):
        with duckdb.connect(path, read_only=True) as connection:
            assert connection.execute("SELECT count(*) FROM calls").fetchone() is not None
            assert connection.execute("SELECT count(*) FROM events").fetchone() == (3,)


def test_every_column_has_its_meaning_written_beside_it(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(1), sealed=1)

    found = asked(home, "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'events'")
    of_meta = asked(home, "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'meta'")

    assert dict(found) == dict(comments.COLUMNS)
    assert dict(of_meta) == dict(comments.META)
    assert all(text.endswith((".", ";")) and len(text) > 10 for text in comments.COLUMNS.values())


@pytest.mark.parametrize(
    "column", [column for column in columns() if column.name.endswith("_usd")], ids=lambda c: c.name
)
def test_money_says_that_it_is_usd(column: Any) -> None:
    assert column.sql == "DECIMAL(18,12)"
    assert "USD" in comments.COLUMNS[column.name]


def test_meta_says_which_state_is_shown(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(3), sealed=1)

    manifest = manifests.load(home, REAL)

    ((generation, sealed_up_to, source, damaged),) = asked(
        home, "SELECT generation, sealed_up_to, source, damaged FROM meta"
    )
    assert (generation, sealed_up_to, source, damaged) == (manifest.generation, 1, manifest.source, [])


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_segment_that_lost_bytes_is_left_out_under_its_name_and_the_rest_is_shown(tmp_path: Path, keep: int) -> None:
    home = wrote(tmp_path / "home", range(3), range(3, 5), sealed=1)
    segment = manifests.load(home, REAL).files[0]
    path = home.path / segment.path
    path.write_bytes(path.read_bytes()[:keep])

    with opened(home.path) as writer:
        assert writer.trouble is not None
        assert segment.path in writer.trouble
        write(writer, [settled(5)])
        assert asked(home, "SELECT min(sequence), max(sequence) FROM events") == [(4, 6)]
        assert asked(home, "SELECT damaged FROM meta") == [([segment.path],)]


def test_columns_that_came_later_are_null_in_older_segments_and_not_lost_in_newer_ones(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(2), range(2, 4), sealed=2)
    first = home.path / manifests.load(home, REAL).files[0].path
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (FROM read_parquet('{first}') SELECT * EXCLUDE (ticket_id)) TO '{tmp_path}/older' (FORMAT parquet)"
        )
    older, newer = tmp_path / "older", home.path / manifests.load(home, REAL).files[1].path
    assert catalog.alike((older, newer, newer)) == [[older], [newer, newer]]

    first.write_bytes(older.read_bytes())
    catalog.publish(home, manifests.load(home, REAL), (), now=START)
    published = asked(home, "SELECT ticket_id FROM events ORDER BY sequence")
    assert published == [(None,), (None,), ("ticket-2",), ("ticket-3",)]

    for files, tickets in (((older, newer), [None, None, "ticket-2", "ticket-3"]), ((older,), [None, None])):
        with duckdb.connect() as connection:
            query = f"FROM ({rows.of_segments(files)}) SELECT ticket_id ORDER BY sequence"
            assert connection.execute(query).fetchall() == [(ticket,) for ticket in tickets]


def test_a_home_that_was_moved_is_right_after_its_next_publish(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(3), sealed=1)
    moved = Home(home.path.rename(tmp_path / "it's moved"))

    with pytest.raises(duckdb.Error):
        asked(home_at(moved), "SELECT count(*) FROM events")
    published(moved)
    with duckdb.connect(moved.catalog, read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (3,)


def home_at(home: Home) -> Home:
    """The moved home by a name without a quote, for ATTACH."""
    link = home.path.parent / "link"
    link.symlink_to(home.path)
    return Home(link)


def test_without_any_file_the_view_has_the_same_columns(tmp_path: Path) -> None:
    home = made(tmp_path / "home")

    catalog.publish(home, Manifest(source="homes/x", published_at=START), (), now=START)

    assert asked(home, "SELECT * FROM events") == []
    assert len(asked(home, "DESCRIBE events")) == len(columns()) + 2


def test_a_filter_reaches_the_segments_so_that_only_what_was_asked_for_is_read(tmp_path: Path) -> None:
    home = wrote(tmp_path / "home", range(3), sealed=1)

    plan = asked(home, "EXPLAIN SELECT sum(cost_usd) FROM events WHERE sequence > 2")[0][1]

    assert "Filters:sequence>2" in plan.replace(
        " ", ""
    )  # the scan's own; where nothing is pushed down it says Expression


@pytest.mark.parametrize("kept", [b"", b"cut", bytes(40), bytes(32) + b"views of another version"])
def test_a_beginning_that_was_damaged_or_is_another_versions_is_made_anew(tmp_path: Path, kept: bytes) -> None:
    home = wrote(tmp_path / "home", range(2))
    published(home)
    good = home.views.read_bytes()
    home.views.write_bytes(kept)

    published(home)

    assert asked(home, "SELECT count(*) FROM events") == [(2,)]
    assert "daily_spend" in {row[0] for row in asked(home, "SELECT view_name FROM duckdb_views() WHERE NOT internal")}
    assert home.views.read_bytes() == good


def test_a_publish_begins_with_the_kept_views_and_binds_none_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = wrote(tmp_path / "home", range(2))
    published(home)
    monkeypatch.setattr(catalog, "_bound", None)

    published(home)

    assert asked(home, "SELECT count(*) FROM events") == [(2,)]
