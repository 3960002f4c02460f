"""A price that comes after the fact: what is shown, what is recorded, and what every total says then.

Medium costs 0.40 and 2.00 USD a million; from 2025-09-15 on it turns out to have cost 0.30 and 1.00. A call of 1000
tokens in and 100 out then cost 0.0006 and costs 0.0004; an estimate of at most 1000 and 1000 held 0.0024 and holds 0.0013.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal as D
from pathlib import Path

import pytest

from ledger import admin, snapshots, store
from ledger import events as e
from ledger.admin import Stamp
from ledger.cli_prices import corrections_of
from ledger.closing import month_closed
from ledger.corrections import batch, derived_id
from ledger.errors import InvalidInput, NotFound
from ledger.home import Home, create
from ledger.projections import check, replay
from ledger.segments import read_all
from ledger.store import Ledger, read_state
from ledger.verify import verify
from reports.facts import LateRow
from reports.late import adjustments
from reports.places import directory_of
from reports.warehouse import asked, opened
from tests.made_home import EPOCH, MEDIUM, Book
from tests.running import Said, commanded

NOVEMBER = datetime(2025, 11, 5, tzinfo=UTC)
NEW = ("price", "add", MEDIUM, "--input", "0.30", "--output", "1.00", "--source", "invoice of October")
BACKDATED = (*NEW, "--valid-from", "2025-09-15")


def day(month: int, number: int) -> datetime:
    return datetime(2025, month, number, 12, tzinfo=UTC)


def append(home: Home, *events: e.Event) -> None:
    ledger = Ledger.open(home.path, clock=lambda: NOVEMBER)
    try:
        for event in events:
            ledger.append_now(event)
    finally:
        ledger.close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """September is closed with a call before the new price and one after; October is open with two and an estimate."""
    made, book = create(tmp_path / "home", ""), Book()
    book.client()
    book.baseline()
    book.call("generation", MEDIUM, day(9, 5), (1000, 100), arm="standard", ticket_id="T-1")
    book.call("generation", MEDIUM, day(9, 20), (1000, 100), arm="standard", ticket_id="T-2")
    append(made, *book.events)
    ledger = Ledger.open(made.path, clock=lambda: NOVEMBER)
    ledger.append_now(month_closed(ledger.state, Stamp("closed", NOVEMBER), "acme", "2025-09"))
    ledger.close()
    book.events.clear()
    book.call("generation", MEDIUM, day(10, 3), (1000, 100), arm="standard", ticket_id="T-3")
    book.call("generation", MEDIUM, day(10, 4), (1000, 100), arm="standard", ticket_id="T-3")
    book.call("generation", MEDIUM, day(10, 5), None, hold_usd="0.0024")
    append(made, *book.events)
    return made


def said(home: Home, *arguments: str) -> Said:
    found = commanded(*arguments, "--home", str(home.path))
    assert found.code == 0, found.err
    return found


def of(home: Home, kind: type[e.Event]) -> list[e.Event]:
    return [event for event in read_all(home) if isinstance(event, kind)]


def test_a_preview_shows_the_difference_and_records_nothing(home: Home) -> None:
    before = [event.id for event in read_all(home)]

    shown = said(home, *BACKDATED, "--dry-run", "--format", "csv")

    rows = list(csv.DictReader(io.StringIO(shown.out)))
    assert [(r["month"], r["calls"], r["of_these_estimated"], r["difference_usd"], r["told"]) for r in rows] == [
        ("2025-09", "1", "0", "-0.0002", "as next month's adjustment"),
        ("2025-10", "3", "1", "-0.0015", "in its own report"),
    ]
    assert "4 calls would be corrected; nothing was recorded: -0.0017 USD." in shown.err
    assert [event.id for event in read_all(home)] == before


def test_every_call_that_costs_something_else_is_corrected_once_and_points_to_what_it_corrects(home: Home) -> None:
    said(home, *BACKDATED)
    again = said(home, "price", "correct")

    (head,) = of(home, e.PriceCorrected)
    corrected = [event for event in of(home, e.CallCorrected) if isinstance(event, e.CallCorrected)]
    settled = {event.id: event for event in of(home, e.CallSettled) if isinstance(event, e.CallSettled)}
    assert isinstance(head, e.PriceCorrected)
    assert (head.corrections, head.adjustments, head.difference_usd) == (4, 1, "-0.0017")
    assert [(c.period, c.previous_cost_usd, c.cost_usd, c.difference_usd) for c in corrected] == [
        ("2025-09", "0.0006", "0.0004", "-0.0002"),
        ("2025-10", "0.0006", "0.0004", "-0.0002"),
        ("2025-10", "0.0006", "0.0004", "-0.0002"),
        ("2025-10", "0.0024", "0.0013", "-0.0011"),
    ]
    assert all(settled[c.corrects].subject == c.subject and c.correction == head.id for c in corrected)
    assert {c.price_id for c in corrected} == {f"{MEDIUM}@2025-09-15"}
    assert [(c.cost_uncached_input_usd, c.cost_plain_output_usd) for c in corrected[2:]] == [("0.0003", "0.0001"), (None, None)]  # fmt: skip
    assert "Every call costs what the price book says." in again.err
    assert verify(home).is_ok


def test_totals_and_budgets_say_what_is_known_now_and_sql_says_both(home: Home) -> None:
    said(home, *BACKDATED)
    state = read_state(home)

    assert state.total("acme", "2025-10").cost_usd == D("0.0021")
    assert state.total("acme", "2025-10").calls == 3
    assert state.account("client", "acme", "2025-10").settled == D("0.0021")
    assert asked(home.path, "SELECT period, billed_usd, spend_usd FROM savings ORDER BY period") == [
        {"period": "2025-09", "billed_usd": D("0.0012"), "spend_usd": D("0.001")},
        {"period": "2025-10", "billed_usd": D("0.0036"), "spend_usd": D("0.0021")},
    ]
    october = "FROM calls WHERE period = '2025-10'"
    assert asked(home.path, f"SELECT sum(billed_usd) AS billed, sum(cost_usd) AS known {october}") == [
        {"billed": D("0.0036"), "known": D("0.0021")}
    ]
    assert asked(home.path, "SELECT price_id, sum(calls) AS n, sum(cost_usd) AS c FROM daily_spend WHERE period = '2025-10' GROUP BY 1") == [
        {"price_id": f"{MEDIUM}@2025-09-15", "n": 3, "c": D("0.0021")}
    ]  # fmt: skip
    assert asked(home.path, "SELECT settled_usd FROM budgets WHERE scope = 'client' AND period = '2025-10'") == [
        {"settled_usd": D("0.0021")}
    ]
    assert asked(home.path, "SELECT cost_usd FROM tickets WHERE ticket_id = 'T-3'") == [{"cost_usd": D("0.0008")}]
    assert asked(home.path, "SELECT sum(plain_output_tokens) AS t FROM daily_spend WHERE period = '2025-10'") == [
        {"t": 200}
    ]


def test_a_closed_month_stays_and_the_next_one_tells_the_adjustment(home: Home) -> None:
    append(home, month_closed(read_state(home), Stamp("october", NOVEMBER), "acme", "2025-10"))
    said(home, "report", "build", "acme", "2025-10")
    place = directory_of(home, "acme", "2025-10")
    closed = (place / "r1" / "report.json").read_bytes()

    said(home, *BACKDATED)
    said(home, "report", "build", "acme", "2025-10")
    late = said(home, "report", "diff", "acme", "2025-10")

    adjusted = [event for event in of(home, e.MonthAdjusted) if isinstance(event, e.MonthAdjusted)]
    assert [(a.period, a.calls, a.previous_cost_usd, a.difference_usd) for a in adjusted] == [
        ("2025-09", 1, "0.0006", "-0.0002"),
        ("2025-10", 3, "0.0036", "-0.0015"),
    ]
    assert (place / "r1" / "report.json").read_bytes() == closed
    assert not (place / "r2").exists()
    assert "3 corrected, -0.0015 USD" in late.err
    with opened(home.path) as warehouse:
        assert adjustments(warehouse, "acme", "2025-11") == (
            LateRow("2025-09", "corrected", 1, D("-0.0002")),
            LateRow("2025-10", "corrected", 3, D("-0.0015")),
        )


def test_an_open_months_report_shows_the_difference(home: Home) -> None:
    said(home, "report", "build", "acme", "2025-10")
    said(home, *BACKDATED)
    said(home, "report", "build", "acme", "2025-10")
    diff = said(home, "report", "diff", "acme", "2025-10", "--format", "csv")

    assert ["totals.cost_usd", "0.0036", "0.0021", "-0.0015"] in [line.split(",") for line in diff.out.splitlines()]
    assert "Adjustment of 2025-09, told in 2025-10: 1 corrected, -0.0002 USD." in diff.err


def test_a_price_that_is_taken_back_brings_every_call_back(home: Home) -> None:
    said(home, *BACKDATED)
    old = ("price", "add", MEDIUM, "--input", "0.40", "--output", "2", "--source", "list", "--valid-from", "2025-09-15")
    said(home, *old)

    assert read_state(home).total("acme", "2025-10").cost_usd == D("0.0036")
    assert asked(home.path, "SELECT sum(difference_usd) AS d, max(times) AS n FROM corrections") == [{"d": 0, "n": 2}]
    assert asked(home.path, "SELECT sum(cost_usd) AS c FROM daily_spend") == [{"c": D("0.0048")}]


def test_then_and_now_are_both_one_question(home: Home) -> None:
    then = max(event.recorded_at for event in read_all(home) if event.recorded_at is not None).isoformat()
    said(home, *BACKDATED)

    # The events above were recorded on 2025-11-05 by their clock, the price now.
    spent = ("query", "SELECT sum(cost_usd) AS c FROM daily_spend", "--format", "json")
    assert json.loads(said(home, *spent).out) == [{"c": "0.0031"}]
    assert json.loads(said(home, *spent, "--as-of", then).out) == [{"c": "0.0048"}]
    assert json.loads(said(home, "query", "SELECT count(*) AS n FROM corrections", "--as-of", then, "--format", "json").out) == [{"n": 0}]  # fmt: skip
    prices = json.loads(said(home, "price", "list", MEDIUM, "--format", "json", "--as-of", then).out)
    assert f"{MEDIUM}@2025-09-15" not in {row["price_id"] for row in prices}
    budget = ("budget", "show", "acme", "--month", "2025-10", "--format", "json")
    assert json.loads(said(home, *budget, "--as-of", then).out)[0]["settled_usd"] == "0.0036"
    assert json.loads(said(home, *budget).out)[0]["settled_usd"] == "0.0021"
    status = json.loads(said(home, "status", "--as-of", then, "--format", "json").out)
    assert [(row["period"], row["cost_usd"]) for row in status["spend"]] == [("2025-09", "0.0012"), ("2025-10", "0.0036")]  # fmt: skip
    assert json.loads(said(home, "status", "--as-of", "2025-01-01", "--format", "json").out)["position"] == 0


def test_snapshot_and_tail_full_replay_and_rebuild_are_the_same_bytes(home: Home) -> None:
    said(home, "seal")
    said(home, *BACKDATED)
    with_tail = snapshots.dump(read_state(home))
    said(home, "seal")
    kept = home.snapshot.read_bytes()
    said(home, "rebuild")

    assert snapshots.dump(replay(read_all(home))) == with_tail == kept == home.snapshot.read_bytes()


def made_batch(home: Home) -> Sequence[e.Event]:
    """The events of the command, as it makes them."""
    state, now = read_state(home), Stamp("0199a8f2-6c3e-7b1a-9d44-5e8c01a2b3c4", NOVEMBER)
    price = admin.new_price(
        MEDIUM,
        taken=(),
        provider="global_api",
        input="0.3",
        output="1",
        cache_read=None,
        valid_from=datetime(2025, 9, 15, tzinfo=UTC),
        valid_to=None,
        source="invoice",
    )
    state.prices.add(price)
    found, up_to = corrections_of(home, state.prices, MEDIUM, None)
    head, *rest = batch(
        state, found, head_id=now.event_id, now=now.now, subject=price.price_id, up_to=up_to, reason="late"
    )
    return (head, admin.price_listed(Stamp("listed", NOVEMBER), price), *rest)


@pytest.mark.parametrize("there", range(1, 8))
def test_a_batch_that_a_crash_cut_short_is_there_whole_after_the_next_start_or_not_at_all(
    home: Home, there: int
) -> None:
    events = made_batch(home)
    assert len(events) == 7
    append_cut(home, events[:there])

    Ledger.open(home.path, clock=lambda: NOVEMBER).close()
    Ledger.open(home.path, clock=lambda: NOVEMBER).close()

    ids = [event.id for event in read_all(home)]
    assert len(ids) == len(set(ids))
    state = read_state(home)
    assert state.corrections.head is None
    if there == 1:  # the head alone: the price never came
        assert state.total("acme", "2025-10").cost_usd == D("0.0036")
        assert not of(home, e.CallCorrected)
    else:
        assert {event.id for event in events} <= set(ids)
        assert state.total("acme", "2025-10").cost_usd == D("0.0021")


def append_cut(home: Home, events: Sequence[e.Event]) -> None:
    """What of a batch reached the disk: its first events, written by a process that then ended."""
    ledger = Ledger.open(home.path, clock=lambda: NOVEMBER)
    ledger.append_now(*events)
    ledger.close()


def test_a_call_served_by_a_model_without_a_price_is_charged_once_it_has_one(tmp_path: Path) -> None:
    home, book = create(tmp_path / "home", ""), Book()
    book.client()
    held = book.reserve("generation", MEDIUM, day(10, 3), hold_usd="0.0024")
    book.settle(
        held, None, response_model="new/model", usage_input_tokens=1000, usage_output_tokens=100, usage_anomaly="served_unpriced_model"
    )  # fmt: skip
    append(home, *book.events)

    said(home, "price", "add", "new/model", "--input", "0.1", "--output", "1", "--source", "s", "--valid-from", "2025-10-01")  # fmt: skip

    (found,) = of(home, e.CallCorrected)
    assert isinstance(found, e.CallCorrected)
    assert (found.previous_cost_usd, found.cost_usd, found.usage_source) == ("0.0024", "0.0002", "reported")


def test_what_is_no_correction_is_refused(home: Home) -> None:
    state = read_state(home)
    good = next(one for one in made_batch(home) if isinstance(one, e.CallCorrected))
    fields = {name: getattr(good, name) for name in good.__struct_fields__}

    check(state, good)
    with pytest.raises(InvalidInput, match="The difference is after minus before"):
        check(state, e.CallCorrected(**fields | {"difference_usd": "1"}))
    with pytest.raises(NotFound, match="settled call"):
        check(state, e.CallCorrected(**fields | {"period": "2024-01"}))
    adjusted = next(one for one in made_batch(home) if isinstance(one, e.MonthAdjusted))
    fields = {name: getattr(adjusted, name) for name in adjusted.__struct_fields__}
    with pytest.raises(InvalidInput, match="2025-10 of acme is not closed"):
        check(state, e.MonthAdjusted(**fields | {"period": "2025-10"}))


def test_ids_made_twice_are_the_same_and_lie_in_the_moment_of_their_head() -> None:
    head = "0199a8f2-6c3e-7b1a-9d44-5e8c01a2b3c4"

    assert derived_id(head, "a") == derived_id(head, "a") != derived_id(head, "b")
    assert derived_id(head, "a").startswith("0199a8f2-6c3e-7")
    assert len(derived_id("no uuid", "a")) == 36


def test_a_price_from_now_on_looks_at_nothing(home: Home) -> None:
    assert "corrected" not in said(home, *NEW).err
    assert store.read_state(home).total("acme", "2025-10").cost_usd == D("0.0036")
    assert EPOCH < NOVEMBER
