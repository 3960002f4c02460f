"""The price book: which price holds when, and what a book may say."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ledger
from ledger.errors import BadMoment, BadMoney, InvalidInput, UnpricedModel
from ledger.prices import Price, PriceBook, moment_of, price_id, rates, read_book

SHIPPED = (Path(ledger.__file__).parent / "pricebook.toml").read_text(encoding="utf-8")
LARGE = "mistralai/Mistral-Large-3"


def day(year: int, month: int, number: int) -> datetime:
    return datetime(year, month, number, tzinfo=UTC)


def price(name: str, start: datetime, *, end: datetime | None = None, input: str = "1") -> Price:
    return Price(
        price_id=name,
        provider="p",
        model="m",
        rates=rates(input, "2"),
        valid_from=start,
        valid_to=end,
        source="a test",
    )


def test_the_later_start_takes_over_at_its_first_instant() -> None:
    book = PriceBook()
    for found in read_book(SHIPPED):
        book.add(found)
    turn = day(2025, 12, 2)

    before, after = book.price_at(LARGE, turn - timedelta(microseconds=1)), book.price_at(LARGE, turn)

    assert (before.price_id, before.rates.uncached_input, before.rates.plain_output) == (
        f"{LARGE}@2025-01-01",
        Decimal("2.00"),
        Decimal("6.00"),
    )
    assert (after.price_id, after.rates.uncached_input, after.rates.plain_output) == (
        f"{LARGE}@2025-12-02",
        Decimal("0.50"),
        Decimal("1.50"),
    )


@pytest.mark.parametrize(
    ("model", "input", "output", "context"),
    [
        ("deepseek-ai/DeepSeek-V4-Flash", "0.27", "1.10", 128_000),
        ("deepseek-ai/DeepSeek-V4-Pro", "0.55", "2.20", 200_000),
        ("Qwen/Qwen3-32B", "0.30", "1.20", 32_000),
        ("zai-org/GLM-4-Plus", "0.20", "0.80", 128_000),
        ("openai/gpt-4o", "2.50", "10.00", 128_000),
        ("mistralai/Mistral-Medium-3", "0.40", "2.00", 131_072),
        (LARGE, "0.50", "1.50", 262_144),
    ],
)
def test_the_shipped_book_is_the_users_table(model: str, input: str, output: str, context: int) -> None:
    book = PriceBook()
    for found in read_book(SHIPPED):
        book.add(found)

    found = book.price_at(model, day(2026, 10, 1))

    full_in, full_out = Decimal(input), Decimal(output)
    assert found.rates == (full_in, full_in, full_in, full_out, full_out)
    assert found.context_tokens == context
    assert found.source


def test_gpt_4o_has_no_price_once_it_left_the_api() -> None:
    book = PriceBook()
    for found in read_book(SHIPPED):
        book.add(found)

    assert book.price_at("openai/gpt-4o", day(2027, 1, 14) - timedelta(seconds=1))
    with pytest.raises(UnpricedModel, match="has no price valid at 2027-01-14T00:00:00Z") as refused:
        book.price_at("openai/gpt-4o", day(2027, 1, 14))
    assert refused.value.is_known


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (day(2024, 12, 31), None),
        (day(2025, 1, 1), "a"),
        (day(2025, 5, 31), "a"),
        (day(2025, 6, 1), "promotion"),
        (day(2025, 6, 30), "promotion"),
        (day(2025, 7, 1), None),  # a price that ended does not bring the one before it back
        (day(2025, 8, 1), "b"),
        (day(2030, 1, 1), "b"),
    ],
)
def test_a_price_holds_from_its_start_to_its_end_or_the_next_start(moment: datetime, expected: str | None) -> None:
    book = PriceBook()
    for listed in (
        price("b", day(2025, 8, 1)),
        price("a", day(2025, 1, 1)),
        price("promotion", day(2025, 6, 1), end=day(2025, 7, 1)),
    ):
        book.add(listed)

    if expected is None:
        with pytest.raises(UnpricedModel):
            book.price_at("m", moment)
    else:
        assert book.price_at("m", moment).price_id == expected


def test_of_two_prices_with_one_start_the_later_recorded_holds_and_both_stay() -> None:
    book = PriceBook()
    book.add(price("m@2025-01-01", day(2025, 1, 1), input="1"))
    book.add(price("m@2025-01-01.2", day(2025, 1, 1), input="3"))

    assert book.price_at("m", day(2025, 2, 1)).price_id == "m@2025-01-01.2"
    first = book.by_id("m@2025-01-01")
    assert first is not None
    assert first.rates.uncached_input == 1


def test_an_unknown_model_is_refused_with_the_command_that_lists_a_price() -> None:
    with pytest.raises(UnpricedModel, match="halfpenny price add mystery") as refused:
        PriceBook().price_at("mystery", day(2026, 10, 1))

    assert not refused.value.is_known
    assert PriceBook().by_id("mystery@2026-10-01") is None


def test_ids_are_readable_and_never_taken_twice() -> None:
    noon = datetime(2026, 10, 1, 12, tzinfo=UTC)

    assert price_id("m", day(2026, 10, 1), ()) == "m@2026-10-01"
    assert price_id("m", noon, ()) == "m@2026-10-01T12:00:00Z"
    assert price_id("m", day(2026, 10, 1), ("m@2026-10-01", "m@2026-10-01.2")) == "m@2026-10-01.3"


@pytest.mark.parametrize(
    ("found", "moment"),
    [
        ("2026-10-01", day(2026, 10, 1)),
        (date(2026, 10, 1), day(2026, 10, 1)),
        ("2026-10-01T00:00:00Z", day(2026, 10, 1)),
        ("2026-10-01T02:00:00+02:00", day(2026, 10, 1)),
        (datetime(2026, 10, 1, 2, tzinfo=timezone(timedelta(hours=2))), day(2026, 10, 1)),
    ],
)
def test_a_date_is_its_first_instant_in_utc(found: object, moment: datetime) -> None:
    assert moment_of(found) == moment
    assert moment_of(found).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "found",
    [
        "2026-10-01T00:00:00",
        "2026-10",
        "tomorrow",
        "2026-02-30",
        5,
        None,
        datetime(2026, 10, 1),  # noqa: DTZ001
        "0001-01-01T00:00:00+14:00",  # once an OverflowError: UTC has no such year
        "9999-12-31T23:00:00-14:00",
    ],
)
def test_a_moment_without_a_zone_is_refused(found: object) -> None:
    with pytest.raises(BadMoment, match="with a zone"):
        moment_of(found)


@pytest.mark.parametrize("rate", ["-1", "0.0000001", "cheap"])
def test_a_rate_is_never_negative_nor_finer_than_one_token_can_show(rate: str) -> None:
    with pytest.raises(BadMoney):
        rates(rate, "1")


ROW = """
[[price]]
provider = "p"
model = "m"
input = "1"
output = "2"
valid_from = "2026-10-01"
source = "a page"
"""


def test_a_row_reads_every_optional_field() -> None:
    (found,) = read_book(
        ROW
        + """
cache_read = "0.1"
cache_write = "1.25"
reasoning = "3"
valid_to = 2027-01-01
context_tokens = 128000
max_output_tokens = 16384
retrieved_at = "2026-11-23"
"""
    )

    assert found == Price(
        price_id="m@2026-10-01",
        provider="p",
        model="m",
        rates=rates("1", "2", cache_read="0.1", cache_write="1.25", reasoning="3"),
        valid_from=day(2026, 10, 1),
        valid_to=day(2027, 1, 1),
        context_tokens=128000,
        max_output_tokens=16384,
        source="a page",
        retrieved_at="2026-11-23",
    )
    assert found.rates == tuple(Decimal(rate) for rate in ("1", "0.1", "1.25", "2", "3"))


def test_two_rows_with_one_start_get_two_ids() -> None:
    assert [found.price_id for found in read_book(ROW + ROW)] == ["m@2026-10-01", "m@2026-10-01.2"]


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        (ROW.replace('source = "a page"\n', ""), "number 1: missing source"),
        (ROW + 'discount = "5 %"\n', "unknown discount"),
        (ROW + "context_tokens = 0\n", "0 is not a number of tokens"),
        (ROW + "context_tokens = true\n", "True is not a number of tokens"),
        (ROW.replace('input = "1"', "input = 0.27"), "0.27 is not an amount of money.*in quotes"),
        (ROW.replace('input = "1"', 'input = "-1"'), "never negative"),
        (ROW.replace('"2026-10-01"', "2026-10-01T00:00:00"), "with a zone"),
        (ROW.replace("[[price]]", "[[prices]]"), r"\[\[price\]\] tables alone; found prices"),
        (ROW.replace("[[price]]", "[price]"), "tables alone; found another price"),
        ("price = 5", "tables alone; found another price"),
        (ROW + "model = 'again'", "not TOML"),
    ],
)
def test_a_book_that_cannot_be_read_says_where_and_what(toml: str, says: str) -> None:
    """`[[prices]]` was once an empty book, a bare 0.27 went through a float, and bad TOML was a traceback."""
    with pytest.raises(InvalidInput, match=says):
        read_book(toml)


STARTS = st.integers(0, 20).map(lambda days: day(2026, 1, 1) + timedelta(days=days))


@given(st.lists(st.tuples(STARTS, st.none() | st.integers(1, 10)), max_size=8), STARTS)
def test_the_price_in_force_is_the_last_recorded_of_the_latest_started(
    listed: list[tuple[datetime, int | None]], moment: datetime
) -> None:
    book, started = PriceBook(), []
    for number, (start, days) in enumerate(listed):
        found = price(f"m@{number}", start, end=None if days is None else start + timedelta(days=days))
        book.add(found)
        if start <= moment:
            started.append((start, number, found))

    latest = max(started, default=None, key=lambda entry: entry[:2])
    if latest is None or (latest[2].valid_to is not None and latest[2].valid_to <= moment):
        with pytest.raises(UnpricedModel):
            book.price_at("m", moment)
    else:
        assert book.price_at("m", moment) == latest[2]
    assert all(book.by_id(f"m@{number}") is not None for number in range(len(listed)))
