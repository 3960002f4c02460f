"""What a report trusts: segments as the manifest says, events up to a position, no write of its own."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ledger import catalog, manifest
from ledger.disk import REAL
from ledger.errors import Damage, NotAHome
from ledger.home import Home
from ledger.manifest import Manifest, Segment
from reports.errors import NotReadable
from reports.warehouse import opened, view_files
from tests.made_home import EPOCH, MEDIUM, Book, write_home

NOON = datetime(2025, 10, 3, 10, tzinfo=UTC)


def made(home: Path) -> Path:
    b = Book()
    b.client()
    b.baseline()
    b.call("generation", MEDIUM, NOON, (1000, 100))
    b.call("generation", MEDIUM, NOON, (1000, 100))
    return write_home(home, b.events)


def listed(home: Path, content: bytes, sha256: str) -> None:
    """A manifest that lists one segment with this sum."""
    path = home / "events" / "one.parquet"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    segment = Segment(
        path="events/one.parquet",
        first_file=0,
        last_file=0,
        first_sequence=1,
        last_sequence=1,
        rows=1,
        min_time=EPOCH,
        max_time=EPOCH,
        cost_usd="0",
        sha256=sha256,
        bytes=len(content),
        schema_version=1,
        prev_hash="0" * 32,
        last_hash="1" * 32,
    )
    (home / "journal" / "0000000001.jsonl").touch()  # a home always has a file that is not sealed
    found = Manifest(source="homes/made", published_at=EPOCH, sealed_up_to=0, files=(segment,))
    manifest.store(Home(home), REAL, found)


def test_events_end_at_the_position(tmp_path: Path) -> None:
    with opened(made(tmp_path)) as warehouse:
        last = warehouse.rows("position", client="acme", period="2025-10")[0][1]
        for sequence, calls in ((last, 2), (last - 1, 1), (last - 3, 0)):
            warehouse.limit(sequence)
            assert sum(row[8] for row in warehouse.rows("spend", client="acme", period="2025-10")) == calls


def test_a_segment_that_is_not_what_was_sealed_stops_the_report(tmp_path: Path) -> None:
    home = made(tmp_path)
    listed(home, b"sealed", hashlib.sha256(b"sealed").hexdigest())
    with opened(home):
        pass
    (home / "events" / "one.parquet").write_bytes(b"seale!")

    with pytest.raises(Damage, match=r"one\.parquet is damaged: its SHA-256 is not the one"), opened(home):
        pass
    (home / "events" / "one.parquet").unlink()
    with pytest.raises(Damage, match="the manifest lists it and it is not there"), opened(home):
        pass


def test_a_home_without_a_catalog_or_with_one_of_another_place_is_named(tmp_path: Path) -> None:
    home = made(tmp_path / "home")
    (home / "journal").rename(home / "moved")
    with pytest.raises(NotReadable, match="halfpenny rebuild --home"), opened(home) as warehouse:
        warehouse.rows("client", client="acme")
    (home / "ledger.duckdb").unlink()
    with pytest.raises(NotAHome), opened(home):
        pass


def test_reading_writes_nothing(tmp_path: Path) -> None:
    home = made(tmp_path)
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}

    with opened(home) as warehouse:
        warehouse.limit(3)

    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


def test_a_quote_in_the_path_is_only_a_quote(tmp_path: Path) -> None:
    with opened(made(tmp_path / "it's here")) as warehouse:
        assert warehouse.rows("client", client="acme")[0][0] == "acme"


def test_the_views_are_the_catalogs_own_files() -> None:
    assert view_files() == tuple(name for name, _ in catalog.view_texts())
