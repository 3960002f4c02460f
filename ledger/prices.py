"""The price book: dated prices, only ever added to.

A price names the model, five rates and the moment from which it holds. A later
`valid_from` takes over from an earlier one; of two with the same `valid_from`
the one recorded later is what we know now, and both stay. No price, no call.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import NamedTuple

from ledger.errors import BadMoment, BadMoney, InvalidInput, UnpricedModel
from ledger.money import usd

RATE_PLACES = 6  # so that one token is still exact at twelve decimals


class Rates(NamedTuple):
    """USD per million tokens, in the order of usage.BUCKETS."""

    uncached_input: Decimal
    cache_read: Decimal
    cache_write: Decimal
    plain_output: Decimal
    reasoning: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a model costs from a moment on.

    Shapes: `valid_from` inclusive, `valid_to` exclusive or None for "until the next price".
    Units: rates USD per million tokens; context and output limits in tokens.
    """

    price_id: str
    provider: str
    model: str
    rates: Rates
    valid_from: datetime
    valid_to: datetime | None = None
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    source: str
    retrieved_at: str | None = None


def rates(
    input: str | Decimal,
    output: str | Decimal,
    *,
    cache_read: str | Decimal | None = None,
    cache_write: str | Decimal | None = None,
    reasoning: str | Decimal | None = None,
) -> Rates:
    """Five rates out of the two everyone quotes; a rate not given is the full one, never free.

    Units: USD per million tokens, at most six decimals.
    Errors: BadMoney for a negative or too fine rate.
    """
    full_in, full_out = _rate(input), _rate(output)
    return Rates(
        full_in,
        full_in if cache_read is None else _rate(cache_read),
        full_in if cache_write is None else _rate(cache_write),
        full_out,
        full_out if reasoning is None else _rate(reasoning),
    )


def _rate(found: str | Decimal) -> Decimal:
    value = usd(found)
    if value < 0:
        raise BadMoney(found, "a rate is never negative")
    exponent = value.normalize().as_tuple().exponent
    if isinstance(exponent, int) and exponent < -RATE_PLACES:
        raise BadMoney(found, "a rate per million tokens has at most six decimals")
    return value


@dataclass(slots=True)
class PriceBook:
    """All prices by model, in the order of `valid_from` and, within it, of recording."""

    by_model: dict[str, list[Price]] = field(default_factory=dict)

    def add(self, price: Price) -> None:
        """Take one more price, recorded after all others so far."""
        book = self.by_model.setdefault(price.model, [])
        book.insert(bisect_right(book, price.valid_from, key=lambda p: p.valid_from), price)

    def price_at(self, model: str, moment: datetime) -> Price:
        """The price of a model at a moment.

        Errors: UnpricedModel when none is valid then; it says whether the model is known at all.
        """
        book = self.by_model.get(model)
        if book:
            at = bisect_right(book, moment, key=lambda p: p.valid_from)
            if at and ((end := book[at - 1].valid_to) is None or moment < end):
                return book[at - 1]
        raise UnpricedModel(model, moment, is_known=bool(book))

    def by_id(self, price_id: str) -> Price | None:
        """The price with this id, which a reservation froze."""
        model = price_id.rpartition("@")[0]
        return next((p for p in self.by_model.get(model, ()) if p.price_id == price_id), None)


def price_id(model: str, valid_from: datetime, taken: Iterable[str]) -> str:
    """A readable id, `model@2025-12-02`, numbered when a second price has the same start."""
    at = f"{valid_from:%Y-%m-%d}" if (valid_from.hour, valid_from.minute, valid_from.second) == (0, 0, 0) else None
    plain = f"{model}@{at or valid_from.strftime('%Y-%m-%dT%H:%M:%SZ')}"
    others, number, candidate = set(taken), 1, plain
    while candidate in others:
        number += 1
        candidate = f"{plain}.{number}"
    return candidate


def moment_of(found: object) -> datetime:
    """A date or a time with a zone, as a UTC moment; a date is its first instant in UTC."""
    try:
        if isinstance(found, date) and not isinstance(found, datetime):
            return datetime(found.year, found.month, found.day, tzinfo=UTC)
        parsed = found if isinstance(found, datetime) else datetime.fromisoformat(str(found))
        if parsed.tzinfo is not None:
            return parsed.astimezone(UTC)
    except (ValueError, OverflowError):  # no date at all, or one that UTC puts before the year 1 or after 9999
        raise BadMoment(found) from None
    if isinstance(found, datetime) or len(str(found)) > len("2026-10-01"):
        raise BadMoment(found)
    return parsed.replace(tzinfo=UTC)


def read_book(toml: str) -> tuple[Price, ...]:
    """The prices of a TOML book, in its order.

    Shapes: `[[price]]` tables with provider, model, input, output, valid_from, source and optionally
    cache_read, cache_write, reasoning, valid_to, context_tokens, max_output_tokens, retrieved_at; money as text.
    Errors: InvalidInput naming the table and what is missing or unknown.
    """
    try:
        book = tomllib.loads(toml)
    except tomllib.TOMLDecodeError as refused:
        raise InvalidInput(f"The price book is not TOML: {refused}. Correct that line.") from None
    rows = book.pop("price", [])
    if book or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InvalidInput(f"A price book holds [[price]] tables alone; found {', '.join(book) or 'another price'}.")
    found: list[Price] = []
    for number, row in enumerate(rows, 1):
        found.append(_read_row(number, row, [p.price_id for p in found]))
    return tuple(found)


_NEEDED = ("provider", "model", "input", "output", "valid_from", "source")
_OPTIONAL = (
    "cache_read",
    "cache_write",
    "reasoning",
    "valid_to",
    "context_tokens",
    "max_output_tokens",
    "retrieved_at",
)


def _read_row(number: int, row: Mapping[str, object], taken: list[str]) -> Price:
    missing = [name for name in _NEEDED if name not in row]
    unknown = [name for name in row if name not in _NEEDED + _OPTIONAL]
    if missing or unknown:
        raise InvalidInput(
            f"[[price]] number {number}: missing {', '.join(missing) or 'nothing'}; unknown {', '.join(unknown) or 'nothing'}."
        )
    start = moment_of(row["valid_from"])
    model = str(row["model"])
    return Price(
        price_id=price_id(model, start, taken),
        provider=str(row["provider"]),
        model=model,
        rates=rates(
            _amount(row["input"]),
            _amount(row["output"]),
            **{name: _amount(row[name]) for name in ("cache_read", "cache_write", "reasoning") if name in row},
        ),
        valid_from=start,
        valid_to=None if (end := row.get("valid_to")) is None else moment_of(end),
        context_tokens=_whole(row.get("context_tokens")),
        max_output_tokens=_whole(row.get("max_output_tokens")),
        source=str(row["source"]),
        retrieved_at=_text(row.get("retrieved_at")),
    )


def _amount(found: object) -> Decimal:
    if not isinstance(found, str | int):
        raise BadMoney(found, "the price book writes money in quotes, since TOML reads a bare 0.27 as a float")
    return usd(found)


def _text(found: object) -> str | None:
    return None if found is None else str(found)


def _whole(found: object) -> int | None:
    if found is None or (isinstance(found, int) and not isinstance(found, bool) and found > 0):
        return found
    raise InvalidInput(f"{found!r} is not a number of tokens. Write a whole number above zero.")
