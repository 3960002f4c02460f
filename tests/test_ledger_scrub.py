"""A segment that changed goes out of the views under its name, and comes back when it is whole again."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from ledger import manifest as manifests
from ledger.disk import REAL
from ledger.home import Home
from ledger.scrub import Scrub, all_damaged
from ledger.sealer import Command
from ledger.upkeep import Tools, work
from tests.written_homes import START, wrote


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return wrote(tmp_path / "home", range(3), range(3, 5), range(5, 6), sealed=3)


def flip(path: Path) -> bytes:
    """Change one bit in the middle, leaving the length; what it was before."""
    before = path.read_bytes()
    changed = bytearray(before)
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)
    return before


def shown(home: Home) -> tuple[int, list[str]]:
    """How many events the views show, and what `meta` says is damaged."""
    with duckdb.connect(str(home.catalog), read_only=True) as connection:
        rows = connection.execute("SELECT (SELECT count(*) FROM events), damaged FROM meta").fetchone()
    assert rows is not None
    return rows


def test_damage_is_left_out_of_the_views_under_its_name_until_it_is_repaired(home: Home) -> None:
    segment = manifests.load(home, REAL).files[1]
    tools = Tools(scrub=Scrub(1 << 20))
    before = flip(home.path / segment.path)

    answer = work(home, Command(), tools, now=START)
    assert answer.trouble is not None
    assert segment.path in answer.trouble
    assert shown(home) == (4, [segment.path])

    (home.path / segment.path).write_bytes(before)
    assert work(home, Command(), tools, now=START).trouble is None
    assert shown(home) == (6, [])


def test_each_publish_hashes_within_its_budget_and_none_is_left_out_for_long(home: Home) -> None:
    manifest = manifests.load(home, REAL)
    scrub, found = Scrub(1), []  # one segment a turn
    for segment in manifest.files:
        flip(home.path / segment.path)

    for turn in range(3):
        found.append(len(scrub.damaged(home, REAL, manifest, now=START + timedelta(minutes=turn))))

    assert found == [1, 2, 3]
    assert all_damaged(home, REAL, manifest) == tuple(segment.path for segment in manifest.files)


def test_a_segment_of_another_length_or_gone_is_found_whoever_s_turn_it_is(home: Home) -> None:
    manifest = manifests.load(home, REAL)
    first, _, last = (home.path / segment.path for segment in manifest.files)
    last.write_bytes(last.read_bytes()[:-1])
    first.unlink()

    assert Scrub(0).damaged(home, REAL, manifest, now=START) == (manifest.files[0].path, manifest.files[2].path)
