"""What the old bot would have cost: three methods beside each other, their intervals, the headline, and how sure the saving is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import events as e
from ledger.usage import Usage
from reports.compose import compose
from reports.display import Style
from reports.figures import ratio_of_sums, t95
from reports.method import notes
from reports.model import Previous, Price, Quality, Report, Totals, Verdict
from reports.month import read_month
from reports.sentence import sentence
from tests.made_home import LARGE, MEDIUM, SHIPPED, Book, write_home

NOON = datetime(2025, 10, 3, 10, tzinfo=UTC)
MONDAY = datetime(2025, 8, 4, tzinfo=UTC)


def book() -> Book:
    found = Book()
    found.client()
    found.baseline()
    return found


def bill(b: Book, day: datetime, import_id: str = "one", name: str = "gpt-4o, input", **more: Any) -> None:
    more = {"bill_kind": "costs"} | more
    b.add(
        e.BillImported(
            id=b.new_id(),
            subject=f"openai {day:%Y-%m-%d} {name}",
            client_id=b.client_id,
            time=NOON,
            provider_name="openai",
            bill_sha256="0" * 64,
            import_id=import_id,
            starts_at=day,
            ends_at=day + timedelta(days=1),
            bill_line=name,
            **more,
        )
    )


def replies(b: Book, count: int = 10) -> None:
    """So many tickets of 0.09 USD at GPT-4o, one a day."""
    for number in range(count):
        at = NOON + timedelta(days=number)
        b.call("generation", MEDIUM, at, (20_000, 4_000), ticket_id=f"T-{number}", arm="standard")


def report(home: Path, b: Book) -> Report:
    return compose(read_month(write_home(home, b.events), "acme", "2025-10"), prepared_by="", revision=1)


def test_old_bills_give_a_cost_per_ticket_and_are_the_headline_when_they_are_the_lowest(tmp_path: Path) -> None:
    b = book()
    replies(b)
    for week, cost in enumerate(("56", "63", "70", "63")):  # 100 tickets a day: 8, 9, 10 and 9 cents a ticket
        for day in range(7):
            bill(b, MONDAY + timedelta(days=7 * week + day), cost_usd=str(D(cost) / 7), tickets=100)

    found = report(tmp_path, b)

    history = next(one for one in found.methods if one.name == "history")
    # 252 USD over 2,800 tickets is 0.09; residuals of the weeks -7, 0, 7, 0, so the error is sqrt(98 * 4 / 3) / 2800 = 0.004082;
    # Student's t of three degrees of freedom is 3.18, so 0.0770 to 0.1030 a ticket, times ten
    assert (history.amount, history.per_ticket, history.basis) == (D("0.90"), D("0.09000"), 2800)
    assert (history.low, history.high) == (D("0.77"), D("1.03"))
    assert (history.first_day, history.last_day) == (MONDAY.date(), MONDAY.date() + timedelta(days=27))
    assert found.baseline_method == "repriced"  # of equal ones the first


def test_a_months_tickets_are_spread_over_its_days_and_a_day_of_nothing_counts(tmp_path: Path) -> None:
    b = book()
    replies(b, 20)
    for day in range(31):
        at = datetime(2025, 8, 1, tzinfo=UTC) + timedelta(days=day)
        bill(b, at, cost_usd="2" if day % 2 else "0", monthly_tickets=300)

    history = report(tmp_path, b).methods[1]

    # 15 days of 2 USD over 300 tickets, times 20 tickets
    assert (history.amount, history.basis) == (D("2.00"), 300)


def test_the_last_import_tells_a_day_and_amounts_go_before_tokens(tmp_path: Path) -> None:
    b = book()
    replies(b)
    bill(b, MONDAY, "one", "gpt-4o, input", cost_usd="70", tickets=100)
    bill(b, MONDAY, "one", "gpt-4o, output", cost_usd="30", tickets=100)
    bill(b, MONDAY, "two", "gpt-4o, input", cost_usd="5", tickets=100)
    bill(b, MONDAY, "use", "gpt-4o", bill_kind="usage", usage_input_tokens=8_000_000, usage_output_tokens=1)

    history = report(tmp_path, b).methods[1]

    assert (history.amount, history.low) == (D("0.50"), None)  # one week is too few for an interval


def test_tokens_alone_are_priced_at_the_frozen_prices(tmp_path: Path) -> None:
    b = book()
    replies(b)
    bill(
        b, MONDAY, bill_kind="usage", tickets=100, usage_input_tokens=2_000_000, usage_output_tokens=300_000,
        usage_cache_read_input_tokens=500_000,
    )  # fmt: skip

    # 2 million at 2.50 and 0.3 million at 10 over 100 tickets, times ten
    assert report(tmp_path, b).methods[1].amount == D("0.80")


def test_old_bills_without_tickets_or_of_another_client_give_no_method(tmp_path: Path) -> None:
    b, other = book(), Book(client_id="bolt", ids="b")
    replies(b)
    bill(b, MONDAY, cost_usd="5")
    bill(other, MONDAY, cost_usd="5", tickets=10)
    b.events += other.events

    assert [one.name for one in report(tmp_path, b).methods] == ["repriced"]


def test_a_lower_history_is_the_headline_and_the_steps_still_sum(tmp_path: Path) -> None:
    b = book()
    replies(b)
    for day in range(28):
        bill(b, MONDAY + timedelta(days=day), cost_usd="7", tickets=100)

    found = report(tmp_path, b)

    assert (found.baseline_method, found.totals.baseline) == ("history", D("0.70"))
    assert (found.totals.interval, found.totals.saved_low, found.totals.saved_high) == (
        "method", found.totals.saved, found.totals.saved,
    )  # fmt: skip  # every week alike
    first, *between, last = found.steps
    assert between[0].key == "measure"
    assert first.amount + sum(step.amount for step in between) == last.amount


@pytest.mark.parametrize(("frozen", "with_it", "without"), [("2.5", "0.80", "0.90"), ("1.25", "0.80", "0.90")])
def test_the_cache_discount_is_shown_with_and_without_whoever_grants_it(
    frozen: str, with_it: str, without: str, tmp_path: Path
) -> None:
    b = book()
    (baseline,) = [event for event in b.events if isinstance(event, e.BaselineSet)]
    b.events[b.events.index(baseline)] = msgspec.structs.replace(baseline, rate_cache_read=frozen)
    for number in range(10):
        held = b.reserve("generation", MEDIUM, NOON, ticket_id=f"T-{number}", arm="standard")
        b.settle(held, Usage(input_tokens=20_000, output_tokens=4_000, cache_read_tokens=8_000))

    (repriced,) = report(tmp_path, b).methods

    # 8,000 of 20,000 tokens cached: 0.09 or 0.08 a ticket
    assert (repriced.discounted, repriced.undiscounted) == (D(with_it), D(without))
    assert repriced.amount == D(without if frozen == "2.5" else with_it)


def test_what_the_old_bot_would_also_have_done_is_counted_and_named(tmp_path: Path) -> None:
    b = book()
    replies(b)
    b.call("classification", MEDIUM, NOON, (40_000, 0), ticket_id="T-1")  # 0.10 at GPT-4o
    b.call("judge", LARGE, NOON, (40_000, 0))

    said = dict(notes(report(tmp_path, b), Style("USD")))["Baseline"]

    assert "would also have done, and the baseline counts: Classification (1 call, $0.10)." in said
    assert "Not compared, 1 call" in said


def test_shadow_runs_measure_a_factor_that_is_told_with_its_interval(tmp_path: Path) -> None:
    b = book()
    for number in range(10):
        b.call("generation", MEDIUM, NOON, (20_000, 4_000), ticket_id=f"T-{number}", arm="standard")
        b.call("shadow", "openai/gpt-4o", NOON, (20_000, 4_000), ticket_id=f"T-{number}", cost="0.099")

    found = report(tmp_path, b)

    assert found.methods[1].factor == (D("1.100"), D("1.100"), D("1.100"))
    assert "cost 1.100 times what their tokens say (1.100 to 1.100)" in dict(notes(found, Style("USD")))["Baseline"]


def test_the_saving_of_a_steady_month_is_sure_and_that_of_three_days_is_not_told(tmp_path: Path) -> None:
    long, short = book(), book()
    replies(long)
    replies(short, 3)

    sure, unsure = report(tmp_path / "a", long).totals, report(tmp_path / "b", short).totals

    # 20,000 at 0.40 and 4,000 at 2.00 is 0.016 a ticket against 0.09, on every day
    assert (sure.interval, sure.saved_share_low, sure.saved_share_high) == ("days", D("0.822"), D("0.822"))
    assert (unsure.interval, unsure.saved_low, unsure.saved_share_low) == (None, None, None)


@pytest.mark.parametrize(("freedom", "quantile"), [(3, 3.182), (5, 2.571), (10, 2.228), (30, 2.042), (1000, 1.962)])
def test_students_quantile_is_the_tables(freedom: int, quantile: float) -> None:
    assert float(t95(freedom)) == pytest.approx(quantile, rel=0.01)


def test_the_interval_of_a_ratio_is_the_textbooks() -> None:
    # sums 6 over 12; residuals 0.5, -0.5, 0.5, -0.5, so s = sqrt(1 * 4 / 3) / 12 = 0.09623, times 3.182
    found = ratio_of_sums([(D(2), D(3)), (D(1), D(3)), (D(2), D(3)), (D(1), D(3))])

    assert found is not None
    assert (float(found.value), float(found.high)) == (0.5, pytest.approx(0.5 + 3.182 * 0.09623, rel=0.01))
    assert ratio_of_sums([(D(1), D(1))]) is None
    assert ratio_of_sums([(D(1), D(0)), (D(1), D(0))]) is None


TURNS = {"en": ("fell", "rose"), "de": ("sank", "stieg")}
CENTS = st.integers(-500_000, 500_000).map(lambda n: D(n) / 100)


@given(
    language=st.sampled_from(("en", "de")),
    spend=CENTS.map(abs),
    saved=CENTS,
    reach=st.none() | CENTS.map(abs),
    rate=st.none() | st.integers(0, 1000).map(lambda n: D(n) / 1000),
    verdict=st.none() | st.sampled_from(get_args(Verdict)),
    then=st.integers(0, 1000).map(lambda n: D(n) / 1000),
)
def test_the_sentence_never_tells_a_change_that_chance_would_explain(
    language: str, spend: D, saved: D, reach: D | None, rate: D | None, verdict: Verdict | None, then: D
) -> None:
    totals = Totals(
        adjusted=D(0), due=D(0),
        tickets=10, replies=10, calls=20, cost_usd="1", spend=spend, baseline_usd="1", baseline=spend + saved, saved=saved,
        saved_share=D("0.1"), saved_low=None if reach is None else saved - reach,
        saved_high=None if reach is None else saved + reach,
    )  # fmt: skip
    quality = Quality(
        edits=10, accepted=10, touched=5, rewritten=0, discarded=0, measured=10, timed=0, edit_minutes=D(0),
        coherence_scores=0, edit_rate=rate,
    )  # fmt: skip
    previous = Previous(first_day=MONDAY.date(), spend=D(1), spend_change=D(1), edit_rate=then, verdict=verdict)
    price = next(p for p in SHIPPED if p.model == "openai/gpt-4o")
    frozen = Price(
        price_id="b", model=price.model, uncached_input="1", cache_read="1", cache_write="1", plain_output="1", reasoning="1",
        valid_from=NOON, source="s",
    )  # fmt: skip

    said = "".join(part for part, _ in sentence(totals, quality, Style("USD", language), frozen, previous))

    tells = [word for word in TURNS[language] if word in said]
    assert tells == ([] if rate is None or verdict in (None, "held") else [TURNS[language][verdict == "rose"]])
    is_within_chance = reach is not None and saved - reach <= 0 < saved
    assert (("chance" if language == "en" else "Zufall") in said) == is_within_chance
