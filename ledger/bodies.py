"""An event's body, checked to survive the way to Parquet and back byte for byte.

An acknowledged event that could not be sealed would stop every seal after it, so whatever the
columns cannot hold (a seventh decimal, a time off UTC, a number for a float) is refused before
it is stamped. What passes here can be made again from its row: its hash will match. Nearly every event
is accepted at a look (acceptance.py); the others are read back, which alone refuses and says why.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from math import copysign

from ledger import codec
from ledger.acceptance import acceptance_of
from ledger.codec import BadLine
from ledger.columns import fields_of
from ledger.errors import InvalidInput
from ledger.events import EVENTS, STAMPS, Event

LIMIT_BYTES = 256 * 1024  # a quarter of what DuckDB is told is the largest line
_PLACES = 6
_AT_UTC = timedelta(0)

_ACCEPTS: dict[type[Event], Callable[[Event], bool]] = {}  # made when the first of a kind comes


@cache
def _fields(kind: type[Event], *sql: str) -> tuple[str, ...]:
    return tuple(name for name, column in fields_of(kind) if column.sql in sql and name not in STAMPS)


def rounded(kind: type[Event]) -> tuple[str, ...]:
    """The fields of six decimals of one kind of event."""
    return _fields(kind, "DECIMAL(12,6)", "DECIMAL(9,6)")


class Unsealable(InvalidInput):
    """An event whose values the sealed segments cannot hold exactly."""

    def __init__(self, event: Event, why: str) -> None:
        super().__init__(f"{type(event).__name__} {event.id} cannot be recorded: {why}. Nothing was written.")


def checked(event: Event) -> bytes:
    """The encoded event, ready for `Journal.submit`.

    Shapes: without the journal's stamps. Errors: Unsealable.
    """
    try:
        body = codec.encode(event)
    except (UnicodeEncodeError, TypeError) as refused:
        raise Unsealable(event, str(refused)) from None
    if len(body) > LIMIT_BYTES:
        raise Unsealable(event, f"it has {len(body)} bytes, more than {LIMIT_BYTES}")
    accepts = _ACCEPTS.get(type(event)) or _accepting(type(event))
    if not accepts(event):
        check_read_back(event, body)
    return body


def _accepting(kind: type[Event]) -> Callable[[Event], bool]:
    accepts = acceptance_of(kind, rounded(kind)) if kind in EVENTS else lambda _: False
    _ACCEPTS[kind] = accepts
    return accepts


def check_read_back(event: Event, body: bytes) -> None:
    """See that an event reads back from its body and fits its columns. Errors: Unsealable."""
    if (
        event.sequence is not None
        or event.hash is not None
        or event.source is not None
        or event.recorded_at is not None
    ):
        raise Unsealable(event, "it carries stamps, which the journal alone gives")
    try:
        again = codec.decode(body)
    except BadLine as refused:
        raise Unsealable(event, str(refused)) from None
    if codec.encode(again) != body:
        raise Unsealable(event, "a number is not of the field's type, like 1 for 1.0")
    _check_columns(event)


def _check_columns(event: Event) -> None:
    for name in rounded(type(event)):
        value: float | None = getattr(event, name)
        if value is not None and (round(value, _PLACES) != value or copysign(1.0, value) < 0):
            raise Unsealable(event, f"{name} is {value!r}, which is not a number of six decimals")
    for name in _fields(type(event), "DECIMAL(18,12)"):
        amount: str | None = getattr(event, name)
        if amount is not None and (amount == "-0" or amount.endswith("\n")):  # what the pattern lets through
            raise Unsealable(event, f"{name} is {amount!r}, which is not written as money.text writes it")
    for name in _fields(type(event), "TIMESTAMPTZ"):
        moment: datetime | None = getattr(event, name)
        if moment is not None and moment.utcoffset() != _AT_UTC:
            raise Unsealable(event, f"{name} is {moment.isoformat()}, which is not written in UTC")
