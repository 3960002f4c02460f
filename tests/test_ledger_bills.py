"""The old bot's bills: what the platform's exports say, row by row, and what an import adds to what is known."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest

from ledger import events as e
from ledger.bills import EVERYTHING, NOTHING, BadBill, Bill, read_bill
from ledger.errors import Conflict, InvalidInput, NotFound
from ledger.history import check_imported, planned
from ledger.projections import State, apply
from ledger.segments import read_all
from ledger.snapshots import dump, load
from tests.made_home import EPOCH
from tests.running import commanded, gateway, prepared

# as the costs tab of the dashboard exports it: grouped by line item, a day without a call as an empty row
COSTS = """start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id,organization_id
1754265600,1754352000,2025-08-04T00:00:00+00:00,2025-08-05T00:00:00+00:00,14.4062500000000000,usd,"gpt-4o-2024-08-06, input",proj_a,org-1
1754265600,1754352000,2025-08-04T00:00:00+00:00,2025-08-05T00:00:00+00:00,10.75,usd,"gpt-4o-2024-08-06, output",proj_a,org-1
1754352000,1754438400,2025-08-05T00:00:00+00:00,2025-08-06T00:00:00+00:00,,,,,
1754438400,1754524800,2025-08-06T00:00:00+00:00,2025-08-07T00:00:00+00:00,0.5,usd,"text-embedding-3-large",proj_b,org-1
"""
# as GET /v1/organization/costs and /usage/completions answer
PAGE = {
    "object": "page",
    "data": [
        {
            "object": "bucket",
            "start_time": 1754265600,
            "end_time": 1754352000,
            "results": [
                {
                    "object": "organization.costs.result",
                    "amount": {"value": 0.06, "currency": "usd"},
                    "line_item": None,
                    "project_id": None,
                }
            ],
        },
        {"object": "bucket", "start_time": 1754352000, "end_time": 1754438400, "results": []},
    ],
    "has_more": False,
    "next_page": None,
}
USAGE = {
    "object": "page",
    "data": [
        {
            "object": "bucket",
            "start_time": 1754265600,
            "end_time": 1754269200,
            "results": [
                {
                    "object": "organization.usage.completions.result",
                    "model": "gpt-4o-2024-08-06",
                    "user_id": user,
                    "input_tokens": 1000,
                    "input_cached_tokens": 400,
                    "output_tokens": 50,
                    "num_model_requests": 3,
                }
                for user in ("user-1", "user-2")
            ],
        }
    ],
    "has_more": True,
}


def said(bill: Bill) -> list[tuple[str, str, str, D | None]]:
    return [(f"{line.starts_at:%m-%d}", line.name, line.project, line.cost) for line in bill.lines]


def test_a_costs_export_is_read_to_the_last_digit_and_a_day_of_nothing_is_a_day() -> None:
    bill = read_bill("costs.csv", COSTS.encode())

    assert said(bill) == [
        ("08-04", "gpt-4o-2024-08-06, input", "proj_a", D("14.40625")),
        ("08-04", "gpt-4o-2024-08-06, output", "proj_a", D("10.75")),
        ("08-05", NOTHING, "", D(0)),
        ("08-06", "text-embedding-3-large", "proj_b", D("0.5")),
    ]
    assert (bill.kind, bill.bad, bill.is_cut) == ("costs", (), False)


@pytest.mark.parametrize("change", [lambda s: s.replace(",", "\t"), lambda s: "\ufeff" + s, lambda s: s + "\n\n"])
def test_the_same_rows_read_alike_however_the_file_is_written(change: Any) -> None:
    plain = COSTS.replace('"gpt-4o-2024-08-06, input"', "in").replace('"gpt-4o-2024-08-06, output"', "out")

    assert said(read_bill("a", change(plain).encode())) == said(read_bill("a", plain.encode()))


def test_only_what_was_asked_for_is_kept_and_its_days_are_not_forgotten() -> None:
    bill = read_bill("costs.csv", COSTS.encode(), model="gpt-4o", project="proj_a")

    assert [(day, name) for day, name, _, _ in said(bill)][2:] == [("08-05", NOTHING), ("08-06", NOTHING)]


def test_the_api_answers_are_read_whole_as_a_list_of_pages_or_one_a_line() -> None:
    for content in (json.dumps(PAGE), json.dumps([PAGE]), json.dumps(PAGE) + "\n" + json.dumps({**PAGE, "data": []})):
        assert said(read_bill("a", content.encode())) == [
            ("08-04", EVERYTHING, "", D("0.06")),
            ("08-05", NOTHING, "", D(0)),
        ]


def test_usage_is_added_up_over_users_and_says_that_pages_are_missing() -> None:
    bill = read_bill("usage.json", json.dumps(USAGE).encode())

    (line,) = bill.lines
    assert (bill.kind, bill.is_cut, line.cost) == ("usage", True, None)
    assert (line.input_tokens, line.cached_tokens, line.output_tokens, line.requests) == (2000, 800, 100, 6)
    assert "user" not in repr(line)


ROW = "2025-08-04,{},usd,gpt-4o\n"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (ROW.format("1.5") + ROW.format("many"), "line 3: 'many' is not an amount"),
        (ROW.format("NaN"), "line 2"),
        (ROW.format(""), "'gpt-4o' has no amount"),
        ("2025-08-04,1,eur,gpt-4o\n", "'eur', not usd"),
        ("yesterday,1,usd,gpt-4o\n", "line 2"),
        (",1,usd,gpt-4o\n", "it has no start_time"),
        ("2025-08-04,1,usd,gpt-4o,input\n", "5 cells under 4 headings"),
        ('2025-08-04,1,usd,"gpt', "unexpected end"),
        ("", "it has no start_time or date"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(rows: str, says: str) -> None:
    with pytest.raises(BadBill, match=says):
        read_bill("costs.csv", f"date,cost,currency,model\n{rows}".encode())


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"{}", b'{"data": 3}', b"[1]", b"a,b\n1,2\n", b"date,x\n2025-08-04,2\n"]
)
def test_what_is_no_export_is_refused(content: bytes) -> None:
    with pytest.raises(BadBill):
        read_bill("x", content)


def test_bad_rows_are_left_out_only_when_told_to() -> None:
    bill = read_bill("x", f"date,cost,currency,model\n{ROW.format('1.5')}{ROW.format('many')}".encode(), skip_bad=True)

    assert (len(bill.lines), bill.bad) == (1, ("line 3: 'many' is not an amount",))


def state() -> State:
    found = State()
    client = e.ClientAdded(
        id="1",
        subject="acme",
        time=EPOCH,
        client_id="acme",
        display_name="A",
        currency="USD",
        zone="UTC",
        private=False,
    )
    apply(found, client)
    return found


def taken(found: State, content: str, *, import_id: str = "one", tickets: int | None = 7750) -> tuple[int, int, int]:
    plan = planned(
        found, "acme", read_bill("a", content.encode()), import_id=import_id, now=EPOCH, tickets_per_month=tickets
    )
    for event in plan.events:
        check_imported(found, event)
        apply(found, event)
    return plan.days, plan.replaced, plan.known


def test_the_same_file_again_adds_nothing_and_a_longer_one_only_its_new_days() -> None:
    found = state()

    assert taken(found, COSTS) == (3, 0, 0)
    assert taken(found, COSTS, import_id="two") == (0, 0, 3)
    assert taken(found, COSTS + COSTS.splitlines()[1].replace("2025-08-0", "2025-09-0") + "\n", import_id="three") == (
        1,
        0,
        3,
    )


def test_a_day_told_otherwise_is_told_anew_as_a_whole() -> None:
    found = state()
    taken(found, COSTS)

    assert taken(found, COSTS.replace("10.75", "11"), import_id="two") == (0, 1, 2)
    assert taken(found, COSTS.replace("10.75", "11"), import_id="three", tickets=7000) == (0, 3, 0)
    assert sorted(line.cost_usd or "" for line in found.bills.lines()) == ["0", "0.5", "11", "14.40625"]
    assert {line.import_id for line in found.bills.lines()} == {"three"}
    assert list(load(dump(found)).bills.lines()) == list(found.bills.lines())  # type: ignore[union-attr]


def test_what_cannot_follow_is_refused() -> None:
    found = state()
    taken(found, COSTS)
    (line, *_) = found.bills.lines()

    with pytest.raises(Conflict, match="told by this import already"):
        check_imported(found, line)
    with pytest.raises(NotFound):
        planned(found, "nobody", read_bill("a", COSTS.encode()), import_id="x", now=EPOCH, tickets_per_month=None)
    with pytest.raises(InvalidInput, match="tickets a month are none"):
        planned(found, "acme", read_bill("a", COSTS.encode()), import_id="x", now=EPOCH, tickets_per_month=0)


def test_the_command_imports_once_beside_a_running_service_and_without_one(tmp_path: Path) -> None:
    at = prepared(tmp_path / "home")
    file = tmp_path / "costs.csv"
    file.write_text(COSTS, encoding="utf-8")
    words = ("import", "openai", str(file), "--client", "acme", "--home", str(at.home.path))

    first = commanded(*words)
    with gateway(at.home, "http://127.0.0.1:9"):
        second = commanded(*words, "--tickets-per-month", "7750")
    third = commanded(*words, "--tickets-per-month", "7750")

    assert [one.code for one in (first, second, third)] == [0, 0, 0], second.err
    assert "3 new days, 0 told anew, 0 known" in first.err
    assert "is not known, so no cost per ticket" in first.err
    assert "0 new days, 3 told anew, 0 known" in second.err
    assert "0 new days, 0 told anew, 3 known" in third.err
    lines = [event for event in read_all(at.home) if isinstance(event, e.BillImported)]
    assert len(lines) == 8
    assert lines[0].starts_at == datetime(2025, 8, 4, tzinfo=UTC)
