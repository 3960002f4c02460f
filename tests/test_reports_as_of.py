"""What was known then: a report, a query and a state as of a moment are those of that moment, byte for byte.

September is closed with two calls of 0.0006; October is open, and a price that comes in December changes both.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ledger import events as e
from ledger import snapshots
from ledger.home import Home
from ledger.segments import read_all
from ledger.store import read_state, state_as_of
from reports.build import FILES
from tests.running import commanded
from tests.test_ledger_corrections import BACKDATED, said
from tests.test_ledger_corrections import home as _home

home = _home
SQL = "SELECT period, spend_usd FROM savings ORDER BY period"


def built(home: Home, out: Path, *more: str, month: str = "2025-10") -> dict[str, object]:
    found = said(home, "report", "build", "acme", month, "-o", str(out), "--format", "json", *more)
    return json.loads(found.out)  # type: ignore[no-any-return]


def content(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in FILES}


def known_at(home: Home) -> str:
    """The moment of the last event recorded so far."""
    last = max(event.recorded_at for event in read_all(home) if event.recorded_at is not None)
    return last.astimezone(UTC).isoformat()


def test_a_report_as_of_a_moment_has_the_bytes_of_the_one_built_then(home: Home, tmp_path: Path) -> None:
    first = built(home, tmp_path / "then")
    then = known_at(home)
    said(home, *BACKDATED)
    second = built(home, tmp_path / "now")

    again = built(home, tmp_path / "again", "--as-of", then)

    assert (first["revision"], second["revision"], again["revision"]) == (1, 2, 1)
    assert content(tmp_path / "again") == content(tmp_path / "then")
    assert content(tmp_path / "now") != content(tmp_path / "then")
    assert content(home.reports / "acme" / "2025-10" / "r2") == content(tmp_path / "now")
    assert [one.revision for one in read_all(home) if isinstance(one, e.ReportIssued)] == [1, 2]


def test_a_report_that_nobody_built_then_is_the_one_that_would_have_been(home: Home, tmp_path: Path) -> None:
    twin = Home(tmp_path / "twin")
    said(home, "backup", str(tmp_path / "copy"))
    said(twin, "restore", str(tmp_path / "copy"))
    then = known_at(home)
    expected = built(twin, tmp_path / "then")

    said(home, *BACKDATED)
    found = built(home, tmp_path / "again", "--as-of", then)

    assert content(tmp_path / "again") == content(tmp_path / "then")
    assert found["report_sha256"] == expected["report_sha256"]
    assert not (home.reports / "acme").exists()


def test_a_query_and_the_folds_as_of_a_moment_are_those_of_then(home: Home) -> None:
    rows, state, then = (
        said(home, "query", SQL, "--format", "json").out,
        snapshots.dump(read_state(home)),
        known_at(home),
    )
    said(home, *BACKDATED)

    assert said(home, "query", SQL, "--format", "json").out != rows
    assert said(home, "query", SQL, "--format", "json", "--as-of", then).out == rows
    assert snapshots.dump(state_as_of(home, datetime.fromisoformat(then))) == state
    before = datetime.fromisoformat(then) - timedelta(days=1)
    assert state_as_of(home, before).position == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--as-of", "2026-01-01"), "no revision and needs a directory: -o DIR"),
        (("--as-of", "yesterday", "-o", "out"), "'yesterday' is not a moment"),
        (("--as-of", "2025-01-01", "-o", "out"), "no client 'acme'"),
    ],
)
def test_what_cannot_be_told_so_is_said(home: Home, more: tuple[str, ...], words: str) -> None:
    found = commanded("report", "build", "acme", "2025-10", *more, "--home", str(home.path))

    assert found.code == 2
    assert words in found.err
