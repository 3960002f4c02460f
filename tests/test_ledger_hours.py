"""Hours: what may be logged, and that a command puts it where the report finds it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

import halfpenny
from ledger import events as e
from ledger.errors import BadMoney, InvalidInput, NotFound
from ledger.home import create
from ledger.hours import check_logged, hours_logged
from ledger.projections import State, replay
from ledger.store import Ledger
from reports.warehouse import asked
from tests.made_home import EPOCH, Book
from tests.running import commanded

NOW = datetime(2025, 10, 3, tzinfo=UTC)


def state() -> State:
    book = Book()
    book.client(currency="EUR")
    return replay(book.events)


def logged(**more: str | None) -> e.HoursLogged:
    said: dict[str, str | None] = {"hours": "4", "activity": "integration", "on": "2025-10-02", "rate": "80", **more}
    return hours_logged(state(), "acme", event_id="1", now=NOW, **said)  # type: ignore[arg-type]


def test_hours_lie_in_the_month_of_their_day_and_are_billed_in_the_clients_currency() -> None:
    event = logged(hours="1.50")

    assert (event.period, event.worked_on, event.hours, event.hourly_rate, event.currency) == (
        "2025-10",
        "2025-10-02",
        "1.5",
        "80",
        "EUR",
    )
    assert (logged(rate=None).hourly_rate, logged(rate=None).currency) == (None, None)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"hours": "0"}, "do not fit into a day"),
        ({"hours": "25"}, "do not fit into a day"),
        ({"activity": "  "}, "what they went into"),
        ({"on": "2025-02-30"}, "is not a day"),
        ({"on": "tomorrow"}, "is not a day"),
        ({"rate": "-1"}, "below zero"),
    ],
)
def test_hours_that_cannot_be_are_refused(more: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        logged(**more)


def test_hours_that_are_no_number_or_nobodys_are_refused() -> None:
    with pytest.raises(BadMoney):
        logged(hours="four")
    with pytest.raises(NotFound):
        hours_logged(state(), "nobody", event_id="1", now=NOW, hours="4", activity="x", on="2025-10-02", rate=None)


def test_a_foreign_currency_or_month_does_not_enter_the_log() -> None:
    event = logged()
    fields = {name: getattr(event, name) for name in event.__struct_fields__}

    with pytest.raises(InvalidInput, match="billed in EUR"):
        check_logged(state(), e.HoursLogged(**(fields | {"currency": "USD"})))
    with pytest.raises(InvalidInput, match="does not lie in"):
        check_logged(state(), e.HoursLogged(**(fields | {"period": "2025-11"})))


def test_the_command_logs_them(tmp_path: Path) -> None:
    home = create(tmp_path / "home", "").path
    book = Book()
    book.client(currency="EUR")
    ledger = Ledger.open(home, clock=lambda: EPOCH)
    for event in book.events:
        ledger.append_now(event)
    ledger.close()
    words = [
        "hours",
        "log",
        "acme",
        "--hours",
        "4",
        "--what",
        "integration",
        "--on",
        "2025-10-02",
        "--rate",
        "80",
        "--home",
        str(home),
    ]

    halfpenny.app(words, standalone_mode=False)

    (row,) = asked(
        home,
        "SELECT subject, hours, activity, hourly_rate, currency FROM events WHERE type = 'halfpenny.hours.logged.v1'",
    )
    assert [str(value) for value in row.values()] == ["acme", "4.000000000000", "integration", "80.000000000000", "EUR"]


def test_the_list_has_every_hour_in_the_order_of_its_day(tmp_path: Path) -> None:
    home = create(tmp_path / "home", "").path
    ledger = Ledger.open(home, clock=lambda: EPOCH)
    book = Book()
    book.client()
    ledger.append_now(*book.events)
    for place, (day, hours) in enumerate((("2025-10-08", "8"), ("2025-10-02", "4"))):
        fields = {"hours": hours, "activity": "work", "on": day, "rate": None}
        ledger.append_now(hours_logged(ledger.state, "acme", event_id=f"h{place}", now=EPOCH, **fields))
    ledger.close()

    listed = commanded("hours", "list", "acme", "--home", str(home), "--format", "csv")

    rows = listed.out.splitlines()
    assert rows[0].startswith("client_id,worked_on,hours,activity")
    assert [row.split(",")[1:3] for row in rows[1:]] == [["2025-10-02", "4"], ["2025-10-08", "8"]]
    assert commanded("hours", "list", "nobody", "--home", str(home), "--format", "csv").out.count("\n") <= 1
