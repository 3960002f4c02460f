"""The report's figures: lines that add up, steps that sum, and nothing that depends on order, ids or the clock."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest

from ledger import events as e
from reports import model
from reports.compose import compose
from reports.errors import NoRate
from reports.model import Report
from reports.month import read_month
from tests.made_home import EPOCH, FLASH, LARGE, MEDIUM, Book, demo_month, write_home

NOON = datetime(2025, 10, 3, 10, tzinfo=UTC)


def book(**more: Any) -> Book:
    found = Book()
    found.client(**more)
    found.baseline()
    return found


def report(home: Path, events: list[e.Event], period: str = "2025-10") -> Report:
    return compose(read_month(write_home(home, events), "acme", period), prepared_by="", revision=1)


def fx(b: Book, rate: str, at: datetime, base: str = "EUR", quote: str = "USD") -> None:
    b.add(
        e.FxRecorded(
            id=b.new_id(),
            subject=f"{base}/{quote}",
            time=EPOCH,
            base_currency=base,
            quote_currency=quote,
            rate=rate,
            valid_from=at,
            rate_source="ECB",
        )
    )


def a_day(b: Book) -> None:
    """One of everything a bill can have."""
    b.call("classification", FLASH, NOON, (1000, 4), ticket_id="T-1")
    draft = b.call("generation", MEDIUM, NOON, (20_000, 4_000), ticket_id="T-1", arm="standard", duration_s=1.1)
    other = b.call("generation", LARGE, NOON, (30_000, 5_000), ticket_id="T-2", arm="premium", duration_s=1.4)
    b.call("generation", LARGE, NOON, (30_000, 1_000), ticket_id="T-3", arm="premium", outcome="upstream_truncated")
    b.call("generation", LARGE, NOON, None, ticket_id="T-3", arm="premium", hold_usd="0.5")
    b.call("judge", MEDIUM, NOON, (1_000, 10))
    b.edit(draft, 0.2, "edited", seconds=90)
    b.edit(other, 0.0, "as_is", seconds=30)
    b.score(draft, 0.84)


def test_every_call_is_on_one_line_and_the_lines_add_up_to_the_cent(tmp_path: Path) -> None:
    b = book()
    a_day(b)

    found = report(tmp_path, b.events)

    # 20000 x 0.40 + 4000 x 2 = 16000 millionths; 30000 x 2 + 5000 x 6 = 90000; 274.4; 420; 66000; the hold
    assert [(line.kind, line.calls, line.spend, line.baseline) for line in found.lines] == [
        ("reply", 1, D("0.02"), D("0.09")),  # baseline 20000 x 2.5 + 4000 x 10 = 90000
        ("reply", 1, D("0.09"), D("0.13")),  # 75000 + 50000 = 125000, half up
        ("classification", 1, D("0.00"), D("0.00")),
        ("judge", 1, D("0.00"), None),
        ("failed", 1, D("0.07"), D("0.09")),  # 75000 + 10000 = 85000, half up
        ("estimated", 1, D("0.50"), None),
    ]
    assert found.totals.spend == D("0.68")
    assert found.totals.baseline == D("0.31")
    assert found.totals.saved == D("-0.37")
    assert (found.totals.tickets, found.totals.replies, found.totals.calls) == (3, 3, 6)
    assert D(found.totals.cost_usd) == D("0.672694") + D("0.0000004")


def test_the_steps_lead_from_the_baseline_to_the_spend_exactly(tmp_path: Path) -> None:
    b = book()
    demo_month(b, "2025-10", a_day=15)

    found = report(tmp_path, b.events)

    first, *between, last = found.steps
    assert first.amount + sum(step.amount for step in between) == last.amount == found.totals.spend
    assert first.amount == found.totals.baseline


def test_what_is_not_known_is_counted_and_not_in_the_figures(tmp_path: Path) -> None:
    b = book()
    a_day(b)
    b.reserve("generation", MEDIUM, NOON, hold_usd="0.25")
    b.add(
        e.CallRefused(
            id=b.new_id(),
            subject="r",
            time=NOON,
            client_id="acme",
            refusal="budget",
            reason="",
            purpose="generation",
            period="2025-10",
            request_model=MEDIUM,
        )
    )

    u = report(tmp_path, b.events).unknowns

    assert (u.estimated_calls, u.estimated, u.calls_without_usage, u.calls_without_baseline) == (1, D("0.50"), 1, 2)
    assert (u.open_holds, u.open, u.orphaned_calls) == (1, D("0.25"), 0)
    assert [(kind.name, kind.count) for kind in u.refused] == [("budget", 1)]
    assert u.replies_without_human == 1


def test_an_accepted_reply_costs_its_tokens_and_the_minutes_of_all_editing(tmp_path: Path) -> None:
    b = book(hourly="30")
    a_day(b)

    found = report(tmp_path, b.events)

    # two were sent; 120 s at 30 an hour is 1.00; 0.6726944 + 1.00 over two
    reply = found.accepted_reply
    assert (reply.accepted, reply.llm, reply.edit, reply.total) == (2, D("0.336"), D("0.500"), D("0.84"))
    assert found.quality.edit_rate == D("0.1000")
    assert [lane.quality.edit_rate for lane in found.lanes] == [D("0.2000"), D("0.0000")]
    assert found.lanes[0].quality.coherence == D("0.8400")


def test_without_an_hourly_rate_the_cost_of_a_reply_is_not_known(tmp_path: Path) -> None:
    b = book(hourly=None)
    a_day(b)

    reply = report(tmp_path, b.events).accepted_reply

    assert (reply.llm, reply.edit, reply.total) == (D("0.336"), None, None)


def test_without_a_baseline_nothing_is_said_to_be_saved(tmp_path: Path) -> None:
    b = Book()
    b.client()
    a_day(b)

    found = report(tmp_path, b.events)

    assert (found.totals.baseline, found.totals.saved, found.steps) == (None, None, ())
    assert "no baseline is set" in found.sentence


def test_the_report_does_not_depend_on_the_order_of_calls_or_on_ids(tmp_path: Path) -> None:
    b, c = book(), Book(ids="other-")
    c.client()
    c.baseline()
    demo_month(b, "2025-10", a_day=12)
    demo_month(c, "2025-10", a_day=12)
    by_ticket: dict[str, list[e.Event]] = {}
    for event in c.events[9:]:
        by_ticket.setdefault(getattr(event, "ticket_id", None) or event.subject, []).append(event)
    tickets = list(by_ticket.values())
    random.Random(3).shuffle(tickets)

    one = report(tmp_path / "one", b.events)
    other = report(tmp_path / "other", [*c.events[:9], *(event for ticket in tickets for event in ticket)])

    assert model.written(one) == model.written(other)


def test_the_position_is_the_closing_and_later_facts_change_nothing(tmp_path: Path) -> None:
    b = book()
    a_day(b)
    before = report(tmp_path / "open", b.events)
    b.close("2025-10")
    closed = report(tmp_path / "closed", b.events)
    b.call("generation", MEDIUM, NOON, (1000, 100), arm="standard")
    b.budget("1")
    after = report(tmp_path / "after", b.events)

    assert (before.status, closed.status) == ("draft", "final")
    assert model.written(closed) == model.written(after)
    assert closed.lines == before.lines


def test_other_clients_and_issued_reports_do_not_move_an_open_month(tmp_path: Path) -> None:
    b = book()
    a_day(b)
    before = read_month(write_home(tmp_path / "before", b.events), "acme", "2025-10").chain.sequence
    other = Book(client_id="other", ids="o")
    other.client()
    b.prices = other.prices
    b.add(other.events[0])
    b.add(other.call("generation", MEDIUM, NOON, (1000, 100)))
    b.add(
        e.ReportIssued(
            id="i",
            subject="acme",
            client_id="acme",
            time=NOON,
            period="2025-10",
            revision=1,
            up_to_sequence=before,
            report_sha256="0" * 64,
            status="draft",
        )
    )

    assert read_month(write_home(tmp_path / "after", b.events), "acme", "2025-10").chain.sequence == before


def test_the_rate_of_the_months_end_is_used_whichever_way_round_it_was_written(tmp_path: Path) -> None:
    for place, (rate, base, quote) in enumerate((("1.25", "EUR", "USD"), ("0.8", "USD", "EUR"))):
        b = book(currency="EUR")
        a_day(b)
        fx(b, "9", datetime(2025, 10, 1, tzinfo=UTC))
        fx(b, rate, datetime(2025, 10, 31, tzinfo=UTC), base, quote)
        fx(b, "7", datetime(2025, 10, 31, 23, tzinfo=UTC))  # the first instant of November in Berlin

        found = report(tmp_path / str(place), b.events)

        # 0.016, 0.09, 0.0002744, 0.00042, 0.066, 0.5, each x 0.8
        assert [line.spend for line in found.lines] == [
            D("0.01"),
            D("0.07"),
            D("0.00"),
            D("0.00"),
            D("0.05"),
            D("0.40"),
        ]
        assert found.totals.spend == D("0.53")
        assert (found.currency.code, found.currency.rate, found.currency.rate_source) == ("EUR", rate, "ECB")


def test_without_a_rate_the_refusal_names_the_command(tmp_path: Path) -> None:
    b = book(currency="EUR")
    a_day(b)
    fx(b, "1.25", datetime(2025, 11, 2, tzinfo=UTC))

    with pytest.raises(NoRate, match="halfpenny fx add EUR USD RATE --on 2025-10-31"):
        report(tmp_path, b.events)


def test_a_month_without_a_call_is_a_report_of_nothing(tmp_path: Path) -> None:
    found = report(tmp_path, book().events, "2025-12")

    assert found.sentence == "No call was made in this month, and nothing was spent."
    assert (found.totals.spend, len(found.days), found.data_as_of) == (D("0.00"), 31, None)


def test_any_number_of_arms_and_calls_past_the_router_have_lanes_of_their_own(tmp_path: Path) -> None:
    b = book()
    for arm in ("premium", "zeta", "standard", "alpha", None):
        b.call("generation", MEDIUM if arm else LARGE, NOON, (1000, 100), arm=arm)

    found = report(tmp_path, b.events)

    assert [lane.key for lane in found.lanes] == ["standard", "premium", "alpha", "zeta", LARGE]
    assert sum((lane.share or D(0) for lane in found.lanes), D(0)) == D(1)
    assert {part.key for part in found.days[2].parts} == {*(lane.key for lane in found.lanes), "rest"}


def test_the_budget_counts_what_is_settled_held_and_orphaned(tmp_path: Path) -> None:
    b = book()
    b.budget("1")
    b.budget("2", at=EPOCH + timedelta(days=1), hard=False)
    a_day(b)
    b.reserve("generation", MEDIUM, NOON, hold_usd="0.3273056")

    budget = report(tmp_path, b.events).budget

    assert (budget.cap, budget.is_hard, budget.used, budget.used_share) == (D("2.00"), False, D("1.00"), D("0.5000"))


@pytest.mark.parametrize("period", ["2025-10", "2026-10"])
def test_the_report_reads_well_under_either_price(period: str, tmp_path: Path) -> None:
    b = book()
    demo_month(b, period, a_day=12)

    found = report(tmp_path, b.events, period)

    per_reply = {line.key: D(line.cost_usd) / line.calls for line in found.lines if line.kind == "reply"}
    assert (per_reply["premium"] < per_reply["standard"]) == (period == "2026-10")
    assert found.totals.saved is not None
    assert found.totals.saved > 0
    assert "dearer" not in found.sentence
