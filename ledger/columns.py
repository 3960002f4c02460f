"""The columns of events in Parquet and SQL: one for each key that any event has, its type told by the field's.

`prev` and `crc` are left out: prev is the hash of the sequence before, and where the journal's lines have a check sum a
sealed segment has its sha256.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple, get_type_hints

import msgspec

from ledger import events
from ledger.codec import OLD
from ledger.events import EVENTS, Event


class Column(NamedTuple):
    """One column of the sealed segments: its key in a line, its name and type in SQL."""

    key: str
    name: str
    sql: str


_SQL_OF: tuple[tuple[Any, str], ...] = (
    (events.Usd, "DECIMAL(18,12)"),
    (events.Rate, "DECIMAL(18,12)"),
    (events.Count, "BIGINT"),
    (events.Seconds, "DECIMAL(12,6)"),
    (events.Share, "DECIMAL(9,6)"),
    (events.Figure, "DOUBLE"),
    (events.Moment, "TIMESTAMPTZ"),
    (bool, "BOOLEAN"),
    (tuple[events.Name, ...], "VARCHAR[]"),
)
_LEFT_OUT = ("prev", "crc")


def _sql_type(hint: Any) -> str:
    bare = _bare(hint)
    if bare is int or (getattr(bare, "__origin__", None) is int):
        return "BIGINT"
    return next((sql for kind, sql in _SQL_OF if kind == bare), "VARCHAR")


def _bare(hint: Any) -> Any:
    kinds = getattr(hint, "__args__", ())
    return next(kind for kind in kinds if kind is not type(None)) if type(None) in kinds else hint


def fields_of(kind: type[Event]) -> Iterator[tuple[str, Column]]:
    """The fields of one kind of event by their names in Python, each with its column."""
    hints = get_type_hints(kind, include_extras=True)
    for field in msgspec.structs.fields(kind):
        if field.encode_name not in _LEFT_OUT:
            name = "event_id" if field.encode_name == "id" else field.encode_name
            yield field.name, Column(field.encode_name, name, _sql_type(hints[field.name]))


@cache
def columns() -> tuple[Column, ...]:
    """All of them, in the order in which they came. Not made before they are wanted: a service starts without them."""
    found: dict[str, Column] = {"type": Column("type", "type", "VARCHAR")}
    for kind in (*EVENTS, *OLD):
        for name, column in fields_of(kind):
            if found.setdefault(column.key, column) != column:
                raise TypeError(f"{kind.__name__}.{name} is {column.sql}, elsewhere {found[column.key].sql}")
    return tuple(found.values())
