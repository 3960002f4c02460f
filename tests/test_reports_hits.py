"""Replies from the cache in the report: counted, in the baseline, a step of their own kind, and never in the spend."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path

import pytest
from pypdf import PdfReader

from reports.build import FILES, BuiltReport, build
from reports.warehouse import asked
from tests.made_home import FLASH, LARGE, MEDIUM, Book, write_home

NOON = datetime(2025, 10, 3, 10, tzinfo=UTC)


def book(*, with_baseline: bool = True) -> Book:
    found = Book()
    found.client()
    if with_baseline:
        found.baseline()
    return found


def two_and_two(*, with_baseline: bool = True) -> Book:
    """Two settled calls, each served once more from the cache to another ticket."""
    b = book(with_baseline=with_baseline)
    medium = b.call("generation", MEDIUM, NOON, (1_000_000, 100_000), ticket_id="T-1", arm="standard")
    large = b.call("generation", LARGE, NOON, (500_001, 50_000), ticket_id="T-2", arm="premium")
    b.cached(medium, NOON + timedelta(hours=1), ticket_id="T-3")
    b.cached(large, NOON + timedelta(days=1), ticket_id="T-4")
    return b


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_home(tmp_path_factory.mktemp("hits"), two_and_two().events)


@pytest.fixture(scope="module")
def built(home: Path) -> BuiltReport:
    return build(home, "acme", "2025-10")


def rows_of(built: BuiltReport, record: str) -> list[dict[str, str]]:
    text = built.paths["report.csv"].read_text(encoding="utf-8")
    return [row for row in csv.DictReader(io.StringIO(text)) if row["record"] == record]


def test_what_the_cache_avoided_is_counted_by_reply_token_and_amount(built: BuiltReport) -> None:
    # Medium 0.40 in and 2 out, Large 2 and 6, a million: 0.40 + 0.20, and 1.000002 + 0.30
    # GPT-4o 2.50 and 10: 2.50 + 1.00, and 1.2500025 + 0.50
    found = built.report.from_cache

    assert found is not None
    assert (found.replies, found.drafts, found.compared) == (2, 2, 2)
    assert (found.tokens.input, found.tokens.output) == (1_500_001, 150_000)
    assert (found.avoided_usd, found.avoided) == ("1.900002", D("1.90"))
    assert (found.baseline_usd, found.baseline) == ("5.2500025", D("5.25"))


def test_they_are_in_the_baseline_and_not_in_the_spend(built: BuiltReport) -> None:
    totals = built.report.totals

    assert (totals.baseline_usd, totals.baseline) == ("10.500005", D("10.50"))  # 5.2500025 twice
    assert (totals.cost_usd, totals.spend, totals.due) == ("1.900002", D("1.90"), D("1.90"))
    assert totals.saved == D("8.60")
    assert (totals.tickets, totals.replies, totals.calls) == (4, 2, 2)
    assert [(line.kind, line.calls, line.tokens.input, line.spend, line.baseline) for line in built.report.lines] == [
        ("reply", 1, 1_000_000, D("0.60"), D("3.50")),
        ("reply", 1, 500_001, D("1.30"), D("1.75")),
        ("cached", 0, 0, D("0.00"), D("5.25")),
    ]
    days = {day.date.day: day.baseline_usd for day in built.report.days if day.baseline_usd}
    assert days == {3: "8.7500025", 4: "1.7500025"}
    (method,) = built.report.methods
    assert (method.amount, method.basis) == (D("10.50"), 4)


def test_the_report_and_the_view_say_the_same_to_the_last_digit(home: Path, built: BuiltReport) -> None:
    (row,) = asked(home, "SELECT baseline_usd, spend_usd, cached_calls, avoided_usd, cached_baseline_usd FROM savings")
    totals, found = built.report.totals, built.report.from_cache

    assert found is not None
    assert totals.baseline_usd is not None
    assert found.baseline_usd is not None
    assert (row["baseline_usd"], row["spend_usd"]) == (D(totals.baseline_usd), D(totals.cost_usd))
    assert (row["cached_calls"], row["avoided_usd"]) == (found.replies, D(found.avoided_usd))
    assert row["cached_baseline_usd"] == D(found.baseline_usd)


def test_the_step_of_the_cache_leads_on_from_the_baseline_exactly(built: BuiltReport) -> None:
    steps = [(step.key, step.amount) for step in built.report.steps]

    assert steps == [
        ("baseline", D("10.50")),
        ("routing", D("-3.35")),  # 0.60 less 3.50, and 1.30 less 1.75
        ("cache", D("-5.25")),
        ("spend", D("1.90")),
    ]
    assert sum(amount for _, amount in steps[:-1]) == steps[-1][1]


def test_the_table_has_them_beside_its_sums_and_a_charge_file_not_at_all(built: BuiltReport) -> None:
    (avoided,), (total,) = rows_of(built, "avoided"), rows_of(built, "total")

    assert (avoided["calls"], avoided["uncached_input_tokens"], avoided["plain_output_tokens"]) == (
        "2",
        "1500001",
        "150000",
    )
    assert (avoided["cost_usd"], avoided["spend"], avoided["baseline"]) == ("1.900002", "1.90", "5.25")
    assert (total["uncached_input_tokens"], total["baseline_usd"]) == ("1500001", "10.500005")
    focus = list(csv.DictReader(io.StringIO(built.paths["focus.csv"].read_text(encoding="utf-8"))))
    assert len(focus) == 4  # in and out of two calls: what was not charged is no charge
    assert sum(D(row["BilledCost"]) for row in focus) == D("1.900002")


@pytest.mark.parametrize(
    ("language", "words", "part"),
    [
        ("en", "2 replies were served from the cache", "From the cache (2 replies, $5.25)"),
        ("de", "2 Antworten kamen aus dem Cache", "Aus dem Cache (2 Antworten, 5,25\u00a0$)"),
    ],
)
def test_both_languages_name_them(home: Path, tmp_path: Path, language: str, words: str, part: str) -> None:
    build(home, "acme", "2025-10", language=language, out_dir=tmp_path)

    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert words in page
    assert part in page
    text = " ".join(one.extract_text() for one in PdfReader(tmp_path / "report.pdf").pages)
    assert words in " ".join(text.split())


def test_a_second_build_of_the_same_facts_has_the_same_bytes(built: BuiltReport, tmp_path: Path) -> None:
    again = build(write_home(tmp_path, two_and_two().events), "acme", "2025-10")

    assert {name: again.paths[name].read_bytes() for name in FILES} == {
        name: built.paths[name].read_bytes() for name in FILES
    }


def test_without_a_baseline_it_is_not_known_and_not_zero(tmp_path: Path) -> None:
    built = build(write_home(tmp_path, two_and_two(with_baseline=False).events), "acme", "2025-10")
    found = built.report.from_cache

    assert found is not None
    assert (found.replies, found.compared, found.avoided_usd) == (2, 0, "1.900002")
    assert (found.baseline_usd, found.baseline, built.report.totals.baseline) == (None, None, None)
    assert built.report.lines[-1].baseline is None


def test_a_judges_reply_avoided_money_and_has_no_baseline(tmp_path: Path) -> None:
    b = book()
    judged = b.call("judge", LARGE, NOON, (500_000, 0))  # 1.00
    sorted_out = b.call("classification", FLASH, NOON, (1_000_000, 0))  # GPT-4o 2.50
    b.cached(judged, NOON)
    b.cached(sorted_out, NOON)

    found = build(write_home(tmp_path, b.events), "acme", "2025-10").report

    assert found.from_cache is not None
    assert (found.from_cache.replies, found.from_cache.drafts, found.from_cache.compared) == (2, 0, 1)
    assert found.from_cache.baseline == D("2.50")
    assert found.totals.baseline == D("5.00")
    assert found.unknowns.replies_without_human == 0


def test_a_month_of_nothing_but_repeats_is_a_month(tmp_path: Path) -> None:
    b = book()
    source = b.call("generation", MEDIUM, datetime(2025, 9, 30, 10, tzinfo=UTC), (1_000_000, 100_000))
    b.cached(source, NOON, ticket_id="T-1")

    built = build(write_home(tmp_path, b.events), "acme", "2025-10")

    assert (built.report.totals.spend, built.report.totals.baseline) == (D("0.00"), D("3.50"))
    assert built.report.sentence.startswith("Your support desk answered 1 ticket")
    assert "1 reply was served from the cache" in built.paths["report.html"].read_text(encoding="utf-8")


def test_a_month_without_any_has_no_key_for_them(tmp_path: Path) -> None:
    b = book()
    b.call("generation", MEDIUM, NOON, (1_000_000, 0), arm="standard")

    built = build(write_home(tmp_path, b.events), "acme", "2025-10")

    assert "from_cache" not in json.loads(built.paths["report.json"].read_bytes())
