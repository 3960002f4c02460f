"""The ledger's side of an invoice, and the calls of unknown end that an invoice settles, voids or leaves open."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from halfpenny import app
from ledger import events as e
from ledger.closings import invoice_of
from ledger.coverage import Cover, coverage, ends_by_item, ends_by_total, lines_of
from ledger.home import create
from ledger.invoices import Invoice, Item, Line, read_invoice
from ledger.reconciliation import UNMEASURED, Cell
from ledger.store import Ledger, read_state
from ledger.usage import Usage
from tests.made_home import EPOCH, LARGE, MEDIUM, Book

NOON = datetime(2025, 10, 5, 12, tzinfo=UTC)
OCTOBER = Cover(first=date(2025, 10, 1), last=date(2025, 10, 31), zone="UTC")
NOW = datetime(2025, 11, 3, tzinfo=UTC)


def book() -> Book:
    found = Book()
    found.client()
    return found


def orphaned(b: Book, held: e.CallReserved) -> e.CallReserved:
    """The process ended before the call did."""
    b.add(
        e.CallOrphaned(
            id=b.new_id(),
            subject=held.subject,
            time=held.time,
            client_id=held.client_id,
            attempt=held.attempt,
            purpose=held.purpose,
            period=held.period,
            request_model=held.request_model,
            provider_name=held.provider_name,
            reserved_at=held.time,
            price_id=held.price_id,
            hold_usd=held.hold_usd,
            reason="ended",
        )
    )
    return held


def item(held: e.CallEvent, tokens: tuple[int, int, int], *, model: str | None = None, at: datetime = NOON) -> Item:
    """What the provider bills: tokens in, of which cached, and out."""
    return Item(f"{held.subject}.{held.attempt}", at, model or held.request_model, *tokens, True, 1)


def test_a_call_is_counted_on_the_day_it_began_by_bucket_at_its_cost() -> None:
    b = book()
    held = b.reserve("generation", MEDIUM, datetime(2025, 10, 31, 23, 59, 59, tzinfo=UTC))
    b.settle(held, Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=400), duration_s=5)
    b.call("generation", MEDIUM, NOON, None, hold_usd="0.5")  # nobody told its tokens
    b.call("generation", MEDIUM, datetime(2025, 11, 1, tzinfo=UTC), (1, 1))

    found = coverage(b.events, OCTOBER)

    last = date(2025, 10, 31)
    assert {cell: (amount.tokens, amount.cost) for cell, amount in found.cells.items()} == {
        Cell(last, MEDIUM, "uncached_input"): (600, D("0.00024")),  # 0.40 USD a million
        Cell(last, MEDIUM, "cache_read"): (400, D("0.00016")),
        Cell(last, MEDIUM, "plain_output"): (100, D("0.0002")),  # 2 USD a million
        Cell(NOON.date(), MEDIUM, UNMEASURED): (0, D("0.5")),
    }


def test_another_clients_and_another_providers_calls_are_left_out() -> None:
    b = book()
    b.call("generation", MEDIUM, NOON, (10, 10))

    for cover in (
        Cover(first=OCTOBER.first, last=OCTOBER.last, zone="UTC", client_id="bolt"),
        Cover(first=OCTOBER.first, last=OCTOBER.last, zone="UTC", provider="elsewhere"),
    ):
        assert coverage(b.events, cover).cells == {}


def test_an_itemised_invoice_settles_what_it_bills_and_voids_what_it_does_not() -> None:
    b = book()
    billed = orphaned(b, b.reserve("generation", MEDIUM, NOON))
    unbilled = orphaned(b, b.reserve("generation", LARGE, NOON))
    later = orphaned(b, b.reserve("generation", MEDIUM, NOW))
    found = coverage(b.events, OCTOBER)

    ends = ends_by_item(found, [item(billed, (1000, 400, 100))], NOW)

    assert [(type(end), end.subject) for end in ends] == [
        (e.CallSettled, billed.subject),
        (e.CallVoided, unbilled.subject),
    ]
    (settled,) = [end for end in ends if isinstance(end, e.CallSettled)]
    assert (settled.cost_usd, settled.usage_source, settled.usage_cache_read_input_tokens) == (
        "0.0006",
        "reported",
        400,
    )
    assert found.orphans == []
    assert later.subject not in {end.subject for end in ends}  # outside the invoice's days


def test_an_orphan_that_is_billed_at_more_than_its_hold_stays_open() -> None:
    b = book()
    held = orphaned(b, b.reserve("generation", MEDIUM, NOON, hold_usd="0.0001"))
    found = coverage(b.events, OCTOBER)

    assert ends_by_item(found, [item(held, (1000, 0, 100))], NOW) == ()
    assert [one.event.subject for one in found.orphans] == [held.subject]


def totals(*rows: tuple[int, str, str, int]) -> list[Line]:
    return [Line(date(2025, 10, day), model, bucket, tokens, D(0), 2) for day, model, bucket, tokens in rows]


# What the invoice bills on the 5th beside the ledger's 1000 in and 100 out; how many orphans; settled, voided, open.
DECISIONS: dict[str, tuple[list[Line], int, tuple[int, int, int]]] = {
    "no further call was billed": (
        totals((5, MEDIUM, "uncached_input", 1000), (5, MEDIUM, "plain_output", 100)),
        2,
        (0, 2, 0),
    ),
    "one call is left for one orphan": (
        totals((5, MEDIUM, "uncached_input", 1500), (5, MEDIUM, "plain_output", 130)),
        1,
        (1, 0, 0),
    ),
    "two orphans share the rest": (
        totals((5, MEDIUM, "uncached_input", 1500), (5, MEDIUM, "plain_output", 130)),
        2,
        (0, 0, 2),
    ),
    "less was billed than recorded": (
        totals((5, MEDIUM, "uncached_input", 900), (5, MEDIUM, "plain_output", 100)),
        1,
        (0, 0, 1),
    ),
    "the neighbouring day differs too": (
        totals((4, MEDIUM, "plain_output", 7), (5, MEDIUM, "uncached_input", 1500), (5, MEDIUM, "plain_output", 130)),
        1,
        (0, 0, 1),
    ),
}


@pytest.mark.parametrize("name", DECISIONS)
def test_totals_decide_only_where_nothing_is_left_to_choose(name: str) -> None:
    lines, count, expected = DECISIONS[name]
    b = book()
    b.call("generation", MEDIUM, NOON, (1000, 100))
    for _ in range(count):
        orphaned(b, b.reserve("generation", MEDIUM, NOON))
    found = coverage(b.events, OCTOBER)

    ends = ends_by_total(found, lines, NOW)

    settled = sum(isinstance(end, e.CallSettled) for end in ends)
    assert (settled, len(ends) - settled, len(found.orphans)) == expected


def test_items_become_lines_on_the_ledgers_day_and_a_request_billed_twice_is_a_duplicate() -> None:
    b = book()
    call = b.call("generation", MEDIUM, datetime(2025, 10, 31, 23, 59, tzinfo=UTC), (1000, 100))
    midnight = datetime(2025, 11, 1, tzinfo=UTC)
    bill = Invoice(
        name="p",
        sha256="",
        items=(item(call, (1000, 0, 100), at=midnight), item(call, (1000, 0, 100), at=midnight)._replace(number=2)),
    )
    found = coverage(b.events, OCTOBER, {f"{call.subject}.1"})

    lines, duplicates = lines_of(found, bill, OCTOBER)

    last = date(2025, 10, 31)
    assert [line[:5] for line in lines] == [
        (last, MEDIUM, "uncached_input", 1000, D("0.0004")),
        (last, MEDIUM, "plain_output", 100, D("0.0002")),
    ]
    assert [(one.bucket, one.tokens, one.usd) for one in duplicates] == [
        ("uncached_input", 1000, D("0.0004")),
        ("plain_output", 100, D("0.0002")),
    ]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A settled call of 0.0006 USD and two orphans of 0.5 USD, in a real home."""
    b = book()
    b.call("generation", MEDIUM, NOON, (1000, 100))
    for _ in range(2):
        orphaned(b, b.reserve("generation", MEDIUM, NOON))
    at = create(tmp_path / "home", "").path
    ledger = Ledger.open(at, clock=lambda: EPOCH)
    for event in b.events:
        ledger.append_now(event)
    ledger.close()
    return at


def asked(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_the_command_settles_records_and_agrees(home: Path, tmp_path: Path) -> None:
    first, second = read_state(home_of(home)).orphans.values()
    rows = [
        {
            "request_id": f"{name}.1",
            "time": "2025-10-05T12:00:01Z",
            "model": MEDIUM,
            "prompt_tokens": tokens,
            "cached_tokens": 0,
            "completion_tokens": 100,
            "status": 200,
            "complete": True,
        }
        for name, tokens in ((settled_call(home), 1000), (first.subject, 2000))
    ]
    bill = tmp_path / "provider.jsonl"
    bill.write_text("".join(json.dumps(row) + "\n" for row in rows))

    ran = asked("reconcile", bill, "--month", "2025-10", "--home", home)
    again = asked("reconcile", bill, "--month", "2025-10", "--home", home)

    state = read_state(home_of(home))
    assert (ran.exit_code, again.exit_code) == (0, 0), ran.output
    assert state.orphans == {}
    recorded = invoice_of(state, "acme", "2025-10")
    assert recorded is not None
    assert (recorded.invoice_usd, recorded.ledger_usd, recorded.mismatch_usd) == ("0.0016", "0.0016", "0")
    assert (recorded.orphans_settled, recorded.orphans_voided) == (0, 0)  # the second time there was none left
    assert state.total("acme", "2025-10").cost_usd == D("0.0016")  # 0.0006 and 2000 in, 100 out: 0.001
    assert second.subject not in {key.call_id for key in state.holds}


def test_a_mismatch_over_the_tolerance_is_exit_4_and_is_recorded(home: Path, tmp_path: Path) -> None:
    bill = tmp_path / "bill.csv"
    bill.write_text(
        "date,model,bucket,tokens,cost_usd\n"
        f"2025-10-05,{MEDIUM},input,1000,0.000400\n2025-10-05,{MEDIUM},output,100,0.000300\n"
    )

    refused = asked("reconcile", bill, "--home", home, "--format", "json")
    tolerated = asked("reconcile", bill, "--home", home, "--tolerance", "0.0001")
    tried = asked("reconcile", bill, "--home", home, "--tolerance", "0", "--dry-run")

    assert (refused.exit_code, tolerated.exit_code, tried.exit_code) == (4, 0, 4)
    assert [(row["kind"], row["difference_usd"]) for row in json.loads(refused.stdout)] == [("price", "0.0001")]
    recorded = read_state(home_of(home)).closings.invoices["", "2025-10"]
    assert (recorded.within_tolerance, recorded.residual_price_usd, recorded.tolerance_usd) == (
        True,
        "0.0001",
        "0.0001",
    )
    assert recorded.invoice_sha256 == read_invoice("bill.csv", bill.read_bytes()).sha256


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("missing.csv",), "There is no file"),
        (("bill.csv", "--month", "2025-13"), "is not a month"),
        (("bill.csv", "--tolerance", "-1"), "below zero"),
        (("bill.csv", "--zone", "Mars/Base"), "is not a time zone"),
        (("two.csv",), "more than one month"),
    ],
)
def test_asked_wrongly_nothing_is_recorded(arguments: tuple[str, ...], says: str, home: Path, tmp_path: Path) -> None:
    head = "date,model,bucket,tokens,cost_usd\n"
    (tmp_path / "bill.csv").write_text(f"{head}2025-10-05,m,input,1,0.1\n")
    (tmp_path / "two.csv").write_text(f"{head}2025-10-05,m,input,1,0.1\n2025-11-05,m,input,1,0.1\n")
    before = read_state(home_of(home)).position

    ran = asked("reconcile", tmp_path / arguments[0], *arguments[1:], "--home", home)

    assert says in str(ran.exception), ran.output
    assert read_state(home_of(home)).position == before


def home_of(path: Path) -> Any:
    from ledger.home import existing

    return existing(path)


def settled_call(path: Path) -> str:
    from ledger.segments import read_all

    return next(event.subject for event in read_all(home_of(path)) if isinstance(event, e.CallSettled))
