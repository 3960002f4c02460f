"""After the close: the closed report stays, late facts are told once, and a restatement is a revision with its differences."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from halfpenny import app
from ledger import events as e
from ledger.admin import Stamp
from ledger.closing import month_closed, month_restated
from ledger.closings import position_of
from ledger.errors import Conflict, InvalidInput
from ledger.home import Home, create
from ledger.store import Ledger, read_state
from ledger.usage import Usage
from reports.compose import compose
from reports.difference import ABSENT, Difference, differences
from reports.facts import LateRow
from reports.late import adjustments
from reports.model import read
from reports.month import read_month
from reports.page import page
from reports.places import directory_of, revisions
from reports.warehouse import opened
from tests.made_home import EPOCH, MEDIUM, Book

SEPTEMBER, OCTOBER = datetime(2025, 9, 5, 12, tzinfo=UTC), datetime(2025, 10, 5, 12, tzinfo=UTC)
NOVEMBER = datetime(2025, 11, 5, tzinfo=UTC)
TOKENS = Usage(input_tokens=1000, output_tokens=100)  # 0.0006 USD at 0.40 and 2 a million


def test_rows_are_matched_by_their_name_and_only_what_differs_is_told() -> None:
    before: Any = {
        "status": "final",
        "lines": [{"key": "a", "spend": "1.00"}, {"key": "b", "spend": "2.00"}],
        "n": None,
    }
    after: Any = {"status": "restated", "lines": [{"key": "x", "spend": "5.00"}, {"key": "a", "spend": "1.50"}], "n": 3}

    assert differences(before, after) == (
        Difference("status", "final", "restated", None),
        Difference("lines[x].key", ABSENT, "x", None),
        Difference("lines[x].spend", ABSENT, "5.00", None),
        Difference("lines[a].spend", "1.00", "1.50", D("0.50")),
        Difference("n", ABSENT, "3", None),
        Difference("lines[b].key", "b", ABSENT, None),
        Difference("lines[b].spend", "2.00", ABSENT, None),
    )
    assert differences(after, after) == ()


class Months:
    """A home in which September is closed with a call still unknown, and what comes then."""

    def __init__(self, path: Path) -> None:
        self.book, self.count = Book(), 0
        self.book.client()
        self.book.baseline()
        self.home = create(path / "home", "")
        self.book.call("generation", MEDIUM, SEPTEMBER, (1000, 100))
        self.written = 0

    def write(self) -> None:
        """Append what the book has and the home has not."""
        ledger = Ledger.open(self.home.path, clock=lambda: EPOCH)
        for event in self.book.events[self.written :]:
            ledger.append_now(event)
        self.written = len(self.book.events)
        ledger.close()

    def say(self, make: Any, period: str, *more: str) -> None:
        """Close or restate at what is there now."""
        self.count += 1
        ledger = Ledger.open(self.home.path, clock=lambda: EPOCH)
        try:
            ledger.append_now(make(ledger.state, Stamp(f"said-{self.count}", NOVEMBER), "acme", period, *more))
        finally:
            ledger.close()

    def late_call(self) -> None:
        """A September call that is entered only now."""
        self.book.settle(self.book.reserve("generation", MEDIUM, SEPTEMBER), TOKENS)
        self.write()

    def adjusted(self, period: str) -> tuple[LateRow, ...]:
        """A month's adjustments."""
        with opened(self.home.path) as warehouse:
            return adjustments(warehouse, "acme", period)


@pytest.fixture
def months(tmp_path: Path) -> Months:
    found = Months(tmp_path)
    found.write()
    found.say(month_closed, "2025-09")
    return found


def test_a_late_fact_is_the_adjustment_of_the_next_month_and_of_no_other(months: Months) -> None:
    months.late_call()
    during = months.adjusted("2025-10")
    months.say(month_closed, "2025-10")
    months.late_call()

    assert during == (LateRow("2025-09", "settled", 1, D("0.0006")),)
    assert months.adjusted("2025-10") == during  # October is closed and stays
    assert months.adjusted("2025-11") == during  # the second one alone
    assert months.adjusted("2025-09") == ()


def test_what_a_restatement_took_in_is_no_adjustment(months: Months) -> None:
    months.late_call()
    months.say(month_restated, "2025-09", "a call was found")
    months.late_call()

    assert months.adjusted("2025-10") == (LateRow("2025-09", "settled", 1, D("0.0006")),)


def test_a_restatement_in_a_later_month_leaves_a_closed_one_as_it_was(months: Months) -> None:
    months.late_call()
    months.say(month_closed, "2025-10")
    before = months.adjusted("2025-10")
    months.say(month_restated, "2025-09", "a call was found")

    assert months.adjusted("2025-10") == before != ()


def test_only_a_closed_month_is_restated_with_a_reason_and_counted(months: Months) -> None:
    with pytest.raises(Conflict, match="2025-10 of acme is not closed"):
        months.say(month_restated, "2025-10", "why not")
    with pytest.raises(InvalidInput, match="needs its reason"):
        months.say(month_restated, "2025-09", " ")
    before = position_of(read_state(months.home), "acme", "2025-09")
    months.late_call()
    months.say(month_restated, "2025-09", "a call was found")
    months.say(month_restated, "2025-09", "and once more")

    state = read_state(months.home)
    last = state.closings.restated["acme", "2025-09"]
    assert (last.restatement, last.previous_cost_usd, last.cost_usd, last.calls) == (2, "0.0012", "0.0012", 2)
    assert before is not None
    assert before < last.up_to_sequence == position_of(state, "acme", "2025-09")
    assert state.closed["acme", "2025-09"].cost_usd == "0.0006"  # what was said stays said


def asked(home: Home, *arguments: str) -> Any:
    ran = CliRunner().invoke(app, [*arguments, "--home", str(home.path)])
    assert ran.exit_code == 0, (ran.output, ran.exception)
    return ran


def test_the_closed_report_never_changes_and_the_restated_one_is_a_revision_with_a_table(months: Months) -> None:
    home, place = months.home, directory_of(months.home, "acme", "2025-09")
    asked(home, "report", "build", "acme", "2025-09")
    closed = (place / "r1" / "report.json").read_bytes()

    months.late_call()
    asked(home, "report", "build", "acme", "2025-09")
    unchanged = (revisions(place), (place / "r1" / "report.json").read_bytes())
    late = asked(home, "report", "diff", "acme", "2025-09")
    asked(home, "close", "acme", "2025-09", "--restate", "a call was found")
    asked(home, "report", "build", "acme", "2025-09")
    diff = asked(home, "report", "diff", "acme", "2025-09", "--format", "csv")

    assert unchanged == ((1,), closed)
    assert "1 settled, 0.0006 USD" in late.stderr
    assert "--restate WHY" in late.stderr
    assert revisions(place) == (1, 2)
    assert (place / "r1" / "report.json").read_bytes() == closed
    rows = [line.split(",") for line in diff.stdout.splitlines()]
    assert ["totals.cost_usd", "0.0006", "0.0012", "0.0006"] in rows
    assert ["status", "final", "restated", ""] in rows
    assert "in no revision" not in diff.stderr


def test_the_next_months_report_has_late_facts_as_lines_that_sum_in_every_format(months: Months) -> None:
    months.book.call("generation", MEDIUM, OCTOBER, (1_000_000, 100_000))  # 0.40 and 0.20
    for _ in range(20):
        months.late_call()  # 0.0006 each
    months.say(month_closed, "2025-10")
    place = directory_of(months.home, "acme", "2025-10") / "r1"

    asked(months.home, "report", "build", "acme", "2025-10")

    report = read((place / "report.json").read_bytes())
    assert [(one.period, one.kind, one.facts, one.cost_usd, one.amount) for one in report.adjustments] == [
        ("2025-09", "settled", 20, "0.012", D("0.01"))
    ]
    assert (report.totals.spend, report.totals.adjusted, report.totals.due) == (D("0.60"), D("0.01"), D("0.61"))
    rows = list(csv.reader((place / "report.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row[0], row[13]) for row in rows[-3:]] == [("total", "0.60"), ("adjustment", "0.01"), ("due", "0.61")]
    billed = list(csv.DictReader((place / "focus.csv").read_text(encoding="utf-8").splitlines()))
    assert sum(D(row["BilledCost"]) for row in billed) == D("0.612")
    (late,) = [row for row in billed if row["ChargeClass"] == "Correction"]
    assert (late["ChargePeriodStart"], late["BillingPeriodStart"]) == ("2025-08-31T22:00:00Z", "2025-09-30T22:00:00Z")
    html = (place / "report.html").read_text(encoding="utf-8")
    assert "September 2025, settled late" in html
    assert "$0.61" in html


def test_a_month_nothing_came_late_for_has_no_adjustments(months: Months) -> None:
    months.book.call("generation", MEDIUM, OCTOBER, (1000, 100))
    months.write()

    facts = read_month(months.home.path, "acme", "2025-10")
    report = compose(facts, prepared_by="", revision=1)

    assert (report.adjustments, report.totals.due) == ((), report.totals.spend)


def invoiced(months: Months, usd: str, ledger: str, *, within: bool, **residuals: str) -> None:
    """The provider's invoice for September, held against the ledger."""
    kinds = ("missing", "duplicate", "price", "class", "clock", "rounding")
    months.count += 1
    ledger_ = Ledger.open(months.home.path, clock=lambda: EPOCH)
    ledger_.append_now(
        e.InvoiceRecorded(
            id=f"invoice-{months.count}", subject="september.csv", client_id="acme", time=OCTOBER, provider_name="p",
            period="2025-09", starts_at=SEPTEMBER, ends_at=OCTOBER, invoice_zone="UTC", invoice_sha256="0a" * 32,
            invoice_lines=1, invoice_usd=usd, ledger_usd=ledger, mismatch_usd="0", tolerance_usd="0",
            within_tolerance=within, orphans_settled=0, orphans_voided=0, orphans_open=0, up_to_sequence=1,
            **{f"residual_{kind}_usd": residuals.get(kind, "0") for kind in kinds},
        )
    )  # fmt: skip
    ledger_.close()


def stage(months: Months) -> tuple[str, str, str]:
    """The status of September's report, as it is printed in both languages."""
    facts = read_month(months.home.path, "acme", "2025-09")
    said = [compose(facts, prepared_by="", revision=1, language=language) for language in ("en", "de")]
    return (said[0].status, page(said[0]).status, page(said[1]).status)


def test_a_report_is_a_draft_then_final_then_reconciled_then_restated(tmp_path: Path) -> None:
    months = Months(tmp_path)
    months.write()

    assert stage(months) == ("draft", "Draft", "Entwurf")
    months.say(month_closed, "2025-09")
    assert stage(months) == ("final", "Final", "Endgültig")
    invoiced(months, "9", "0.0006", within=False)
    assert stage(months)[0] == "final"
    invoiced(months, "0.0006", "0.0006", within=True)
    assert stage(months) == ("reconciled", "Final · reconciled", "Endgültig · abgeglichen")
    months.late_call()
    months.say(month_restated, "2025-09", "a call was found")
    assert stage(months) == ("restated", "Restated", "Berichtigt")


def test_the_printed_reconciliation_leads_from_the_ledger_to_the_invoice_to_the_cent(tmp_path: Path) -> None:
    months = Months(tmp_path)
    months.write()
    invoiced(months, "10.014", "9", within=False, missing="0.334", price="0.334", clock="0.334", rounding="0.012")

    found = compose(read_month(months.home.path, "acme", "2025-09"), prepared_by="", revision=1).invoice

    assert found is not None
    # three times 0.33 and the 0.02 that rounding them leaves
    assert dict(found.residuals) == {
        "missing": D("0.33"),
        "price": D("0.33"),
        "clock": D("0.33"),
        "rounding": D("0.02"),
    }
    assert found.ledger + sum(amount for _, amount in found.residuals) == found.invoiced == D("10.01")
