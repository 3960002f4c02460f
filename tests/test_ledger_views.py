"""The analysts' views: what they count, in whose day, to the last digit, and that they say what they mean."""

from __future__ import annotations

import datetime as dt
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

import schemas
from ledger import catalog
from ledger import events as e
from ledger.money import text
from ledger.projections import State, replay
from ledger.usage import Usage
from reports.dictionary import views_document
from reports.warehouse import commented_views
from tests.made_home import EPOCH, FLASH, LARGE, MEDIUM, Book, demo_month, write_home

NOON = datetime(2025, 10, 3, 10, tzinfo=UTC)
VIEWS = ("corrections", "calls", "tickets", "edits", "daily_spend", "savings", "quality", "budgets", "prices")


def ask(home: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH '{home / 'ledger.duckdb'}' AS ledger (READ_ONLY)")
        connection.execute("USE ledger")
        found: list[tuple[Any, ...]] = connection.execute(sql, values).fetchall()
        return found


def book() -> Book:
    found = Book()
    found.client()
    found.baseline()
    return found


def test_the_views_are_the_published_ones_and_every_column_says_what_it_is() -> None:
    rows = commented_views()

    assert tuple(dict.fromkeys(row[0] for row in rows)) == VIEWS
    assert [row[:3] for row in rows if not row[1] or not row[4]] == []


def test_every_file_says_grain_units_zone_and_source() -> None:
    for name, sql in catalog.view_texts():
        head = "".join(line for line in sql.splitlines(keepends=True) if line.startswith("--"))
        assert all(word in head for word in ("-- Grain:", "-- Units:", "-- Zone:", "-- Source:")), name


def test_the_document_is_the_views_own_comments() -> None:
    written = (Path(schemas.__file__).parent / "views.md").read_text(encoding="utf-8")

    assert written == views_document()


def test_a_ledger_without_events_has_empty_views(tmp_path: Path) -> None:
    home = write_home(tmp_path, [])

    assert [ask(home, f"FROM {view}") for view in VIEWS] == [[]] * len(VIEWS)


def test_an_attempt_is_one_row_whatever_became_of_it(tmp_path: Path) -> None:
    b = book()
    b.call("generation", MEDIUM, NOON, (1000, 100))
    b.call("generation", MEDIUM, NOON, (1000, 100), outcome="client_gone")
    b.reserve("generation", MEDIUM, NOON, call="open")
    for subject, kind in (("void", e.CallVoided), ("lost", e.CallOrphaned), ("found", e.CallOrphaned)):
        held = b.reserve("generation", MEDIUM, NOON, call=subject)
        shared: dict[str, Any] = {name: getattr(held, name) for name in ("attempt", "purpose", "period", "client_id")}
        shared |= {"request_model": MEDIUM, "provider_name": "global_api", "reserved_at": NOON, "reason": "why"}
        if kind is e.CallVoided:
            b.add(e.CallVoided(id=b.new_id(), subject=subject, time=NOON, error_type="refused", **shared))
        else:
            b.add(e.CallOrphaned(id=b.new_id(), subject=subject, time=NOON, price_id="p", hold_usd="0.5", **shared))
        if subject == "found":
            b.settle(held, Usage(input_tokens=10, output_tokens=1))
    home = write_home(tmp_path, b.events)

    found = ask(home, "SELECT outcome, count(*), sum(cost_usd), sum(hold_usd) FROM calls GROUP BY 1 ORDER BY 1")

    assert [row[:2] for row in found] == [
        ("client_gone", 1),
        ("ok", 2),  # one of them was orphaned first, then settled by an invoice
        ("open", 1),
        ("orphaned", 1),
        ("voided", 1),
    ]
    # 1000 x 0.40 + 100 x 2.00 = 600 millionths; 10 x 0.40 + 1 x 2.00 = 6
    assert found[1][2] == Decimal("0.000606")
    assert found[2][2] is None  # an open call costs nothing known, which is not zero
    assert ask(home, "SELECT held_usd, orphaned_usd FROM budgets WHERE scope = 'client'") == [
        (Decimal("0.5"), Decimal("0.5"))
    ]


def test_a_call_belongs_to_the_clients_own_day_also_where_the_clock_is_turned_back(tmp_path: Path) -> None:
    b = book()
    for at in (
        datetime(2025, 9, 30, 21, 59, 59, 999999, tzinfo=UTC),  # 23:59:59 in Berlin, still September
        datetime(2025, 9, 30, 22, 0, tzinfo=UTC),  # midnight
        datetime(2025, 10, 26, 0, 30, tzinfo=UTC),  # 02:30, summer time
        datetime(2025, 10, 26, 1, 30, tzinfo=UTC),  # 02:30 again, winter time
        datetime(2025, 10, 26, 22, 59, tzinfo=UTC),  # 23:59
        datetime(2025, 10, 26, 23, 0, tzinfo=UTC),  # midnight, now an hour later in UTC
    ):
        b.call("generation", MEDIUM, at, (1000, 100))
    home = write_home(tmp_path, b.events)

    days = ask(home, "SELECT period, local_date, calls FROM daily_spend ORDER BY 2")

    assert days == [
        ("2025-09", dt.date(2025, 9, 30), 1),
        ("2025-10", dt.date(2025, 10, 1), 1),
        ("2025-10", dt.date(2025, 10, 26), 3),
        ("2025-10", dt.date(2025, 10, 27), 1),
    ]
    assert ask(home, "SELECT local_date, count(*) FROM calls GROUP BY 1 ORDER BY 1") == [row[1:] for row in days]


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia"])
def test_quarters_of_an_hour_are_never_cut_by_a_midnight(zone: str, tmp_path: Path) -> None:
    b = Book(zone=zone)
    b.client()
    b.baseline()
    for quarter in range(0, 31 * 96, 7):
        b.call("generation", MEDIUM, datetime(2025, 3, 25, tzinfo=UTC) + timedelta(minutes=15 * quarter + 14), (10, 1))
    home = write_home(tmp_path, b.events)

    by_day = ask(home, "SELECT local_date, sum(calls)::BIGINT FROM daily_spend GROUP BY 1 ORDER BY 1")

    assert by_day == ask(home, "SELECT local_date, count(*) FROM calls GROUP BY 1 ORDER BY 1")


def test_the_saving_is_exact_and_what_cannot_be_compared_is_counted(tmp_path: Path) -> None:
    b = book()
    b.call("classification", FLASH, NOON, (1000, 4))
    b.call("generation", LARGE, NOON, (20_000, 4_000))
    b.call("generation", LARGE, NOON, None, hold_usd="0.123456789012")
    b.call("judge", MEDIUM, NOON, (5_000, 10))
    home = write_home(tmp_path, b.events)

    row = ask(
        home, "SELECT calls, calls_without_baseline, spend_usd, baseline_usd, saved_usd, baseline_id FROM savings"
    )[0]

    # spend: 1000 x 0.27 + 4 x 1.10 = 274.4; 20000 x 2 + 4000 x 6 = 64000; hold; 5000 x 0.4 + 10 x 2 = 2020 millionths
    spend = Decimal("0.0002744") + Decimal("0.064") + Decimal("0.123456789012") + Decimal("0.00202")
    # baseline: (1000 + 20000) x 2.50 + (4 + 4000) x 10.00 = 92540 millionths; the hold and the judge have none
    assert row == (4, 2, spend, Decimal("0.09254"), Decimal("0.09254") - spend, "gpt-4o@2026-10-01")
    by_call = ask(home, "SELECT sum(baseline_usd), count(*) FILTER (baseline_usd IS NULL) FROM calls")
    by_day = ask(home, "SELECT sum(baseline_usd), sum(calls) FILTER (baseline_usd IS NULL) FROM daily_spend")
    assert by_call == by_day == [(Decimal("0.09254"), 2)]


def test_without_a_baseline_nothing_was_saved_or_lost_it_is_not_known(tmp_path: Path) -> None:
    b = Book()
    b.client()
    b.call("generation", MEDIUM, NOON, (1000, 100))
    home = write_home(tmp_path, b.events)

    assert ask(home, "SELECT spend_usd, baseline_usd, saved_usd, calls_without_baseline FROM savings") == [
        (Decimal("0.0006"), None, None, 1)
    ]


def test_a_tickets_cost_is_that_of_all_its_calls_and_the_last_edit_counts(tmp_path: Path) -> None:
    b = book()
    b.call("classification", FLASH, NOON, (1000, 0), ticket_id="T-1")
    draft = b.call("generation", MEDIUM, NOON, (1000, 100), ticket_id="T-1", arm="standard", ticket_class="simple")
    b.edit(draft, 0.5, "edited", seconds=60)
    b.edit(draft, 0.25, "rewritten", seconds=30)
    b.score(draft, 0.8)
    home = write_home(tmp_path, b.events)

    sql = "SELECT arm, ticket_class, model, settled_calls, cost_usd, edits, disposition, edit_ratio, edit_seconds, coherence_sum FROM tickets"
    # 1000 x 0.27 + 1000 x 0.40 + 100 x 2.00 = 870 millionths
    expected = (
        "standard",
        "simple",
        MEDIUM,
        2,
        Decimal("0.00087"),
        2,
        "rewritten",
        Decimal("0.25"),
        Decimal(90),
        Decimal("0.8"),
    )
    assert ask(home, sql) == [expected]


def test_a_reply_from_the_cache_costs_nothing_and_counts_with_what_it_avoided(tmp_path: Path) -> None:
    b = book()
    draft = b.call("generation", LARGE, NOON, (20_000, 4_000), ticket_id="T-1", arm="premium", ticket_class="complex")
    hit = b.cached(draft, NOON + timedelta(days=1), ticket_id="T-2")
    home = write_home(tmp_path, b.events)

    # avoided: 20000 x 2 + 4000 x 6 = 64000 millionths; the old bot: 20000 x 2.50 + 4000 x 10.00 = 90000 millionths
    avoided, baseline = Decimal("0.064"), Decimal("0.09")
    assert ask(
        home,
        "SELECT calls, cached_calls, spend_usd, avoided_usd, cached_baseline_usd, baseline_usd, saved_usd FROM savings",
    ) == [(1, 1, avoided, avoided, baseline, 2 * baseline, 2 * baseline - avoided)]
    row = "SELECT attempt, outcome, cost_usd, input_tokens, avoided_usd, avoided_input_tokens, baseline_usd, source_call_id, local_date"
    assert ask(home, f"{row} FROM calls WHERE call_id = ?", hit.subject) == [
        (0, "cached", Decimal(0), None, avoided, 20_000, baseline, draft.subject, dt.date(2025, 10, 4))
    ]
    ticket = "SELECT arm, ticket_class, model, draft_call_id, settled_calls, cached_calls, cost_usd, avoided_usd FROM tickets"
    assert ask(home, f"{ticket} WHERE ticket_id = 'T-2'") == [
        ("premium", "complex", LARGE, hit.subject, 0, 1, Decimal(0), avoided)
    ]
    assert ask(home, "SELECT sum(cost_usd), sum(calls) FROM daily_spend") == [(avoided, 1)]


def test_means_are_rounded_half_up_and_never_go_through_a_double(tmp_path: Path) -> None:
    b = book()
    draft = b.call("generation", MEDIUM, NOON, (1000, 100), ticket_id="T-1", arm="standard")
    for ratio in (0.000001, 0.000002):  # mean 0.0000015
        b.edit(draft, ratio, "edited", seconds=0.09)
    home = write_home(tmp_path, b.events)

    assert ask(
        home, "SELECT mean_edit_ratio, edit_minutes, touched, accepted, typeof(mean_edit_ratio) FROM quality"
    ) == [(Decimal("0.000002"), Decimal("0.003"), 2, 2, "DECIMAL(9,6)")]


def test_the_price_in_force_ends_where_the_next_begins(tmp_path: Path) -> None:
    home = write_home(tmp_path, book().events)

    found = ask(home, "SELECT rate_plain_output, in_force_to FROM prices WHERE model = ? ORDER BY valid_from", LARGE)

    assert [(rate, end and end.astimezone(UTC)) for rate, end in found] == [
        (Decimal(6), datetime(2025, 12, 2, tzinfo=UTC)),
        (Decimal("1.5"), None),
    ]


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, State]:
    """A month with every trouble, as SQL sees it and as Python folds it."""
    b = book()
    b.budget("40")
    b.budget("50", at=EPOCH + timedelta(days=3))
    demo_month(b, "2025-10", a_day=20)
    home = write_home(tmp_path_factory.mktemp("month"), b.events)
    return home, replay(b.events)


def test_spend_is_the_same_in_sql_and_in_python(month: tuple[Path, State]) -> None:
    home, state = month

    rows = ask(
        home,
        "SELECT period, purpose, model, arm, sum(calls), sum(estimated_calls), sum(calls_without_usage), sum(input_tokens), "
        "sum(cache_read_tokens), sum(output_tokens), sum(cost_usd) FROM daily_spend GROUP BY ALL",
    )

    folded: dict[tuple[Any, ...], list[Any]] = {}
    for key, s in state.spend.items():
        mine = folded.setdefault((key.period, key.purpose, key.model, key.arm), [0] * 7)
        counts = (s.calls, s.estimated, s.unmeasured, s.input_tokens, s.cache_read_tokens, s.output_tokens, s.cost_usd)
        folded[key.period, key.purpose, key.model, key.arm] = [a + b for a, b in zip(mine, counts, strict=True)]
    assert {row[:4]: list(row[4:]) for row in rows} == folded
    assert ask(home, "SELECT spend_usd FROM savings") == [(state.total("acme", "2025-10").cost_usd,)]


def test_quality_is_the_same_in_sql_and_in_python(month: tuple[Path, State]) -> None:
    home, state = month

    rows = ask(
        home,
        "SELECT arm, ticket_class, edits, accepted, touched, measured, edit_ratio_sum, timed, edit_seconds_sum FROM quality",
    )

    million = Decimal(1_000_000)
    assert {row[:2]: row[2:] for row in rows} == {
        (arm, ticket_class): (
            q.drafts,
            q.accepted,
            q.touched,
            q.measured,
            q.ratio_sum / million,
            q.timed,
            q.seconds_sum / million,
        )
        for (_, arm, ticket_class), q in state.quality.items()
    }


def test_budgets_are_the_same_in_sql_and_in_python(month: tuple[Path, State]) -> None:
    home, state = month

    rows = ask(
        home,
        "SELECT scope, scope_id, cap_usd, is_hard, settled_usd, held_usd, orphaned_usd, available_usd FROM budgets ORDER BY 1",
    )

    for scope, scope_id, cap, is_hard, *rest in rows:
        account = state.account(scope, scope_id, "2025-10", "Europe/Berlin")
        assert (cap, is_hard, *rest) == (
            account.cap,
            account.hard,
            account.settled,
            account.held,
            account.orphaned,
            account.available,
        )
    assert [row[:3] for row in rows] == [("client", "acme", Decimal(50)), ("whole", "", None)]
    assert text(rows[0][5]) != "0"  # the month has open holds, so this compared something


def test_a_views_sum_over_its_parts_is_the_whole(month: tuple[Path, State]) -> None:
    home, _ = month

    whole = ask(home, "SELECT sum(cost_usd), count(*) FROM events WHERE type = 'halfpenny.call.settled.v1'")

    assert ask(home, "SELECT sum(cost_usd), sum(calls)::BIGINT FROM daily_spend") == whole
    assert ask(home, "SELECT sum(cost_usd), count(cost_usd) FROM calls") == whole
    assert ask(home, "SELECT sum(cost_usd), sum(settled_calls)::BIGINT FROM tickets") == whole
    buckets = (
        "SELECT sum(cost_uncached_input_usd) + sum(cost_cache_read_usd) + sum(cost_cache_write_usd) + sum(cost_plain_output_usd) "
        "+ sum(cost_reasoning_usd) FROM daily_spend WHERE is_measured"
    )
    assert ask(home, buckets) == ask(home, "SELECT sum(cost_usd) FROM daily_spend WHERE is_measured")
