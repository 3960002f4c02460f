"""What moved the month: effects that sum, things told with their money, the months beside it, and when hours pay back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest

from ledger import events as e
from ledger.listings import price_of
from ledger.usage import Usage
from reports.compose import compose
from reports.display import Style
from reports.model import Report
from reports.month import read_month
from reports.page import page
from tests.made_home import LARGE, MEDIUM, Book, demo_month, write_home

NOON = datetime(2025, 10, 3, 10, tzinfo=UTC)


def book(**more: Any) -> Book:
    found = Book()
    found.client(**more)
    found.baseline()
    return found


def report(home: Path, events: Iterable[e.Event], period: str = "2025-10", **more: Any) -> Report:
    return compose(read_month(write_home(home, events), "acme", period), prepared_by="", revision=1, **more)


def new_price(b: Book, model: str, at: datetime, *, input: str, cached: str, output: str) -> None:
    """A price that is in force from this moment on."""
    event = e.PriceListed(
        id=b.new_id(),
        subject=f"{model}@{at:%Y-%m-%d}",
        time=at,
        provider_name="global_api",
        model=model,
        valid_from=at,
        price_source="notice",
        rate_uncached_input=input,
        rate_cache_read=cached,
        rate_cache_write=input,
        rate_plain_output=output,
        rate_reasoning=output,
    )
    b.add(event)
    b.prices.add(price_of(event))


def log_hours(b: Book, activity: str, hours: str, rate: str | None = "80", period: str = "2025-10") -> None:
    b.add(
        e.HoursLogged(
            id=b.new_id(),
            subject="acme",
            client_id="acme",
            time=NOON,
            period=period,
            worked_on=f"{period}-02",
            hours=hours,
            activity=activity,
            hourly_rate=rate,
            currency=None if rate is None else "USD",
        )
    )


def test_each_effect_is_what_it_says_and_they_sum_to_the_spend(tmp_path: Path) -> None:
    b = book()
    september = datetime(2025, 9, 1, tzinfo=UTC)
    new_price(b, MEDIUM, september, input="0.4", cached="0.04", output="2")
    half = Usage(input_tokens=1_000_000, output_tokens=100_000, cache_read_tokens=500_000)
    b.settle(b.reserve("generation", MEDIUM, NOON, arm="standard"), half)  # 0.20 + 0.02 + 0.20; GPT-4o 2.50 + 1.00
    b.call("generation", LARGE, NOON, (1_000_000, 0), arm="premium", outcome="upstream_truncated")  # 2.00; GPT-4o 2.50
    b.call("judge", LARGE, NOON, (500_000, 0))  # 1.00
    b.call("generation", LARGE, NOON, None, arm="premium", hold_usd="0.7")

    steps = [(step.key, step.amount) for step in report(tmp_path, b.events).steps]

    assert steps == [
        ("baseline", D("6.00")),
        ("routing", D("-2.90")),  # 0.40 + 0.20 less 3.50
        ("cache", D("-0.18")),  # half a million tokens at 0.04 and not at 0.40
        ("failed", D("0.20")),  # 2.00 less 2.50, and the hold
        ("runs", D("1.00")),
        ("spend", D("4.12")),
    ]


def test_a_price_cut_within_the_month_is_a_step_a_row_and_a_sentence(tmp_path: Path) -> None:
    b = book()
    b.call("generation", MEDIUM, NOON, (1_000_000, 0), arm="standard")  # 0.40
    later = NOON + timedelta(days=10)
    new_price(b, MEDIUM, later, input="0.1", cached="0.1", output="2")
    b.call("generation", MEDIUM, later + timedelta(days=1), (2_000_000, 0), arm="standard")  # 0.20

    found = report(tmp_path, b.events)

    # 2 M tokens at 0.10 and no longer 0.40: 0.60 less
    (change,) = found.price_changes
    assert (change.model, change.day, change.input_before, change.input_after) == (
        MEDIUM,
        date(2025, 10, 13),
        "0.4",
        "0.1",
    )
    assert change.amount == D("-0.60")
    steps = {step.key: step.amount for step in found.steps}
    assert steps["prices"] == D("-0.60")
    assert steps["baseline"] + steps["routing"] + steps["prices"] == steps["spend"] == D("0.60")
    assert "price" in [one.kind for one in found.happened]
    assert "The price of Mistral-Medium-3 changed on 13\u00a0Oct (\u2212$0.60)." in said(found)


def said(found: Report) -> str:
    blocks = [block for section in page(found).sections for block in section.blocks if block.kind == "note"]
    return " ".join(part for block in blocks for part, _ in block.words)


def test_a_busy_day_is_told_with_its_money_and_an_even_month_tells_nothing(tmp_path: Path) -> None:
    even = month_of(lambda _: 30)
    busy = month_of(lambda day: 90 if day == 15 else 30)

    nothing, told = report(tmp_path / "even", even.events), report(tmp_path / "busy", busy.events)

    assert nothing.happened == ()
    (one,) = told.happened
    # 60 replies of 20,000 in and 4,000 out at 0.40 and 2.00 on top: 60 x 0.016
    assert (one.kind, one.day, one.count, one.usual, one.amount) == ("volume", date(2025, 10, 15), 90, D(30), D("0.96"))
    assert "On 15\u00a0Oct the desk wrote 90 replies, where about 30 are usual (+$0.96)." in said(told)


def month_of(replies: Any, period: str = "2025-10", b: Book | None = None) -> Book:
    found = b or book()
    year, month = map(int, period.split("-"))
    for day in range(1, 31):
        for _ in range(replies(day)):
            found.call(
                "generation", MEDIUM, datetime(year, month, day, 10, tzinfo=UTC), (20_000, 4_000), arm="standard"
            )
    return found


def test_at_most_three_things_are_told_those_with_the_most_money(tmp_path: Path) -> None:
    b = month_of(lambda day: 90 if day == 15 else 30)
    for number in range(4):
        b.call("generation", LARGE, NOON, None, arm="premium", hold_usd="0.9", ticket_id=f"T-{number}")
        b.add(refusal(b))

    found = report(tmp_path, b.events).happened

    assert [one.kind for one in found] == ["failed", "volume", "refused"]
    assert found[0].amount == D("3.60")
    assert found[2].amount == 0


def refusal(b: Book) -> e.CallRefused:
    return e.CallRefused(
        id=b.new_id(),
        subject=b.new_id(),
        time=NOON,
        client_id="acme",
        refusal="budget",
        reason="",
        purpose="generation",
        period="2025-10",
        request_model=MEDIUM,
    )


@pytest.mark.parametrize(
    ("ratio", "verdict", "word"), [(0.21, "held", "held at"), (0.9, "rose", "rose to"), (0.02, "fell", "fell to")]
)
def test_the_edit_rate_fell_or_rose_only_beyond_chance(ratio: float, verdict: str, word: str, tmp_path: Path) -> None:
    b = book()
    for month, middle in ((9, 0.2), (10, ratio)):
        for number in range(40):
            at = datetime(2025, month, 3, 10, tzinfo=UTC)
            draft = b.call("generation", MEDIUM, at, (1000, 100), arm="standard", ticket_id=f"{month}-{number}")
            b.edit(draft, round(middle + (0.02 if number % 2 else -0.02) * (1 + 3 * (verdict == "held")), 6), "edited")

    found = report(tmp_path, b.events)

    assert found.previous is not None
    assert found.previous.verdict == verdict
    assert f"The edit rate {word} " in found.sentence
    assert "20.0%" in found.sentence


def test_without_a_month_before_nothing_is_compared(tmp_path: Path) -> None:
    found = report(tmp_path, month_of(lambda _: 1).events)

    assert found.previous is None
    assert page(found).tiles[0].note == "30 calls"


def test_the_next_month_is_forecast_from_its_own_calendar(tmp_path: Path) -> None:
    b = month_of(lambda day: 10 if date(2025, 10, day).weekday() >= 5 else 20)
    b.close("2025-10")

    forecast = report(tmp_path, b.events).forecast

    # October's 31st, a Friday, has none: 22 of 23 weekdays with 20 replies, 8 weekend days with 10, of 0.016 each;
    # November 2025 has 20 weekdays and 10 weekend days: 20 x 22 x 20 / 23 x 0.016 + 10 x 0.16 = 6.1217 + 1.6
    assert forecast is not None
    assert (forecast.first_day, forecast.spend, forecast.days_seen) == (date(2025, 11, 1), D("7.72"), 31)
    assert forecast.low < forecast.spend < forecast.high


def test_two_weeks_are_the_least_a_forecast_rests_on(tmp_path: Path) -> None:
    assert report(tmp_path, month_of(lambda day: 5 if day < 10 else 0).events).forecast is None


def test_hours_are_paid_back_in_the_month_in_which_the_saving_covers_the_fee(tmp_path: Path) -> None:
    b = book()
    b.call("generation", MEDIUM, NOON, (1_000_000_000, 0), arm="standard")  # 400, GPT-4o 2500: saves 2100
    for activity, hours in (("integration", "4"), ("comparing", "8"), ("routing", "6")):
        log_hours(b, activity, hours)

    reached = report(tmp_path / "a", b.events).work
    log_hours(b, "more", "42")
    expected = report(tmp_path / "b", b.events).work

    assert reached is not None
    assert [(line.activity, line.hours, line.fee) for line in reached.lines] == [
        ("comparing", D(8), D("640.00")),
        ("integration", D(4), D("320.00")),
        ("routing", D(6), D("480.00")),
    ]
    assert (reached.hours, reached.fee, reached.saved) == (D(18), D("1440.00"), D("2100.00"))
    assert (reached.verdict, reached.break_even) == ("reached", date(2025, 10, 1))
    assert expected is not None  # 60 hours are 4800; 2700 more at 2100 a month are two months
    assert (expected.fee, expected.verdict, expected.break_even) == (D("4800.00"), "expected", date(2025, 12, 1))


def test_a_month_that_saves_nothing_never_pays_back_and_an_hour_without_a_rate_is_not_known(tmp_path: Path) -> None:
    b = book()
    b.call("generation", LARGE, NOON, None, arm="premium", hold_usd="5")
    log_hours(b, "integration", "4")
    never = report(tmp_path / "a", b.events)
    log_hours(b, "routing", "6", None)
    unknown = report(tmp_path / "b", b.events).work

    assert never.work is not None
    assert (never.work.verdict, never.work.break_even) == ("never", None)
    assert "the fee is never covered at this pace" in said(never)
    assert unknown is not None
    assert (unknown.verdict, unknown.fee) == ("unknown", None)


def test_a_restated_month_says_so_and_what_changed(tmp_path: Path) -> None:
    b = month_of(lambda _: 1)
    b.close("2025-10")
    first = report(tmp_path / "first", b.events)
    b.call("generation", MEDIUM, NOON, (1_000_000, 0), arm="standard")
    b.add(
        e.MonthRestated(
            id=b.new_id(),
            subject="acme",
            client_id="acme",
            time=NOON,
            period="2025-10",
            restatement=1,
            up_to_sequence=len(b.events),
            calls=31,
            cost_usd="0.88",
            previous_cost_usd="0.48",
            reason="late",
        )
    )

    second = report(tmp_path / "second", b.events, before=first)

    assert (first.status, second.status) == ("final", "restated")
    assert [(one.key, one.before, one.now) for one in second.changes] == [
        ("spend", D("0.48"), D("0.88")),
        ("baseline", D("2.70"), D("5.20")),
        ("saved", D("2.22"), D("4.32")),
        ("calls", D(30), D(31)),
    ]
    assert page(second).status == "Restated"


def test_the_busiest_hour_is_in_the_clients_own_zone(tmp_path: Path) -> None:
    b = month_of(lambda _: 1)
    for minute in (5, 15, 55):
        b.call("generation", MEDIUM, NOON.replace(hour=22, minute=minute), (1000, 100), arm="standard")

    service = report(tmp_path, b.events).service

    assert (service.busiest_hour, service.busiest_replies) == (datetime(2025, 10, 4), 3)  # noqa: DTZ001 -- a local hour
    assert (service.attempts, service.repeated, service.failed) == (33, 0, 0)


def test_the_demo_month_says_the_same_money_in_both_languages(tmp_path: Path) -> None:
    b = book()
    demo_month(b, "2025-10", a_day=12)
    english, german = (report(tmp_path / lang, b.events, language=lang) for lang in ("en", "de"))

    assert english.totals == german.totals
    assert english.steps == german.steps
    assert Style("USD", "de").money(german.totals.spend) in german.sentence


def test_shadow_runs_scale_the_baseline_and_the_headline_takes_the_lower_one(tmp_path: Path) -> None:
    for place, cost, expected in (("a", "0.05", ("shadow", "0.85")), ("b", "0.12", ("repriced", "1.25"))):
        b = book()
        for number in range(10):
            ticket = f"T-{number}"
            b.call("classification", MEDIUM, NOON, (14_000, 0), ticket_id=ticket)  # 0.035 at GPT-4o
            b.call("generation", MEDIUM, NOON, (20_000, 4_000), ticket_id=ticket, arm="standard")  # 0.09 at GPT-4o
            b.call("shadow", "openai/gpt-4o", NOON, (20_000, 4_000), ticket_id=ticket, cost=cost)

        found = report(tmp_path / place, b.events)

        # ten times 0.05 and not 0.09, and ten times 0.035 as it is
        assert (found.baseline_method, found.totals.baseline) == (expected[0], D(expected[1]))
        assert [one.name for one in found.methods] == ["repriced", "shadow"]
        assert found.methods[1].low == found.methods[1].amount == found.methods[1].high  # every ticket alike
        first, *between, last = found.steps
        assert first.amount + sum(step.amount for step in between) == last.amount
        assert ("measure" in [step.key for step in found.steps]) == (expected[0] == "shadow")


def test_nine_shadow_runs_are_too_few_to_say_anything(tmp_path: Path) -> None:
    b = book()
    for number in range(9):
        b.call("generation", MEDIUM, NOON, (20_000, 4_000), ticket_id=f"T-{number}", arm="standard")
        b.call("shadow", "openai/gpt-4o", NOON, (20_000, 4_000), ticket_id=f"T-{number}")

    assert [one.name for one in report(tmp_path, b.events).methods] == ["repriced"]
