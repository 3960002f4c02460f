"""Quantiles without a sort, and weeks without a join: what the report's two shortcuts may never change."""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from bench.targets import Target, shown, verdict
from ledger.budgets import period_named
from reports.month import read_month
from reports.replies import located
from reports.weeks import least_id, week_values
from tests.made_home import LARGE, MEDIUM, Book, write_home

NOON = dt.datetime(2025, 10, 3, 10, tzinfo=dt.UTC)
SUNDAY = dt.datetime(2025, 10, 5, 21, 59, 59, 999_000, tzinfo=dt.UTC)  # the last millisecond of a week in Berlin


def test_a_quantile_is_the_nearest_rank_as_duckdb_has_it() -> None:
    draw = random.Random(7)
    for size in (1, 2, 3, 19, 20, 21, 100, 101):
        values = [draw.randrange(10) for _ in range(size)]
        for percent in (50, 95):
            theirs = duckdb.execute(
                "SELECT quantile_disc(v, 0.5), quantile_disc(v, 0.95) FROM (SELECT unnest(?) AS v)", [values]
            )
            place, rank = located({value: values.count(value) for value in values}, percent)

            assert place == theirs.fetchall()[0][percent == 95]
            assert 1 <= rank <= values.count(place)


def test_quantiles_of_lanes_and_of_all_are_values_that_occurred_to_the_microsecond(tmp_path: Path) -> None:
    b = Book()
    b.client()
    for seconds in (1.100001, 1.100002, 1.100003, 1.109999, 7.25):
        b.call("generation", MEDIUM, NOON, (1000, 100), arm="standard", duration_s=seconds)
    b.call("generation", LARGE, NOON, (1000, 100), duration_s=0.5, response_time_to_first_chunk=0.25)
    b.call("generation", LARGE, NOON, (1000, 100), duration_s=99.0, outcome="timeout")

    found = read_month(write_home(tmp_path, b.events), "acme", "2025-10")

    assert [(row.key, row.p50_s, row.p95_s) for row in found.latency] == [
        ("standard", Decimal("1.100003"), Decimal("7.25")),
        (LARGE, Decimal("0.5"), Decimal("0.5")),
    ]
    # six replies: the third and the sixth of 0.5 1.100001 1.100002 1.100003 1.109999 7.25
    assert (found.service.p50_s, found.service.p95_s) == (Decimal("1.100002"), Decimal("7.25"))
    assert (found.service.first_p50_s, found.service.first_p95_s) == (Decimal("0.25"), Decimal("0.25"))
    assert (found.service.attempts, found.service.repeated, found.service.failed) == (7, 0, 1)


def uuid7(moment: dt.datetime, number: int) -> str:
    return f"{least_id(moment)}-7000-8000-{number:012x}"


@pytest.mark.parametrize("are_real", [True, False])
def test_a_draft_belongs_to_the_week_it_was_written_in_whatever_its_id_says(tmp_path: Path, are_real: bool) -> None:
    """A call minted on Sunday and held on Monday is of Monday's week; ids that are no UUIDv7 change nothing."""
    b = Book()
    b.client()
    # (minted, held): before midnight; over it; after it; the month's first hour and its last
    late, early = dt.timedelta(milliseconds=1), dt.timedelta(days=10)
    first, last = dt.datetime(2025, 9, 30, 22, tzinfo=dt.UTC), dt.datetime(2025, 10, 31, 22, 59, 59, tzinfo=dt.UTC)
    calls = ((SUNDAY, SUNDAY), (SUNDAY, SUNDAY + late), (SUNDAY + late,) * 2, (first - late, first), (last, last))
    for number, (minted, held) in enumerate(calls):
        call = uuid7(minted, number) if are_real else f"call-{number}"
        draft = b.settle(
            b.reserve("generation", MEDIUM, held, call=call, arm="standard", ticket_id=f"T-{number}"), None
        )
        b.edit(draft, 0.5, "edited", seconds=60, at=held + early)

    found = read_month(write_home(tmp_path, b.events), "acme", "2025-10")

    assert [(str(monday), row.edits) for monday, _, row in found.weeks] == [
        ("2025-09-29", 2),
        ("2025-10-06", 2),
        ("2025-10-27", 1),
    ]
    assert [(key, row.edits, row.seconds) for key, row in found.quality] == [("standard", 5, Decimal(300))]


def test_a_month_that_touches_four_weeks_ends_in_the_places_that_are_left() -> None:
    found = week_values(period_named("2027-02", "UTC"), "UTC")  # Monday the first to Sunday the 28th

    end = dt.datetime(2027, 3, 1, tzinfo=dt.UTC)
    assert [found[f"start_{week}"] for week in (3, 4, 5)] == [dt.datetime(2027, 2, 22, tzinfo=dt.UTC), end, end]
    assert found["id_0"] == least_id(dt.datetime(2027, 2, 1, tzinfo=dt.UTC))
    assert found["id_4"] == found["id_5"] == found["id_6"] == least_id(end)


def test_a_missed_must_fails_the_benchmark_and_a_missed_goal_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    goal, missed = Target("a", 1.6, None, 1.5), Target("b", 2.3, 2.2, 1.5)

    assert (verdict(goal), verdict(missed), verdict(Target("c", None, 1, 1))) == ("goal missed", "MISSED", "skipped")
    assert (shown([goal]), shown([goal, missed])) == (0, 1)
    assert "MISSED" in capsys.readouterr().out
