"""Which events surely survive the way to Parquet and back: told by one look at each value.

Reading a body back to compare it takes three times as long, mostly for the patterns of its money. Whoever passes here
has values of exactly the types and within the bounds that its class declares, finite, in UTC, with six decimals where the
columns have six; what is made of those reads back the same. Who does not pass may be right all the same: `bodies` then
reads it back. The look is made from the class, as `dataclasses` makes an `__init__`: a line of source a field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from ledger.events import STAMPS, Event

_BOUNDS = {
    "ge": "v >= {!r}",
    "gt": "v > {!r}",
    "le": "v <= {!r}",
    "lt": "v < {!r}",
    "min_length": "len(v) >= {!r}",
    "max_length": "len(v) <= {!r}",
}
_TYPES = {
    str: "type(v) is str",
    int: "type(v) is int",
    bool: "type(v) is bool",
    float: "type(v) is float and v - v == 0.0",  # neither inf nor nan
    datetime: "type(v) is datetime and v.tzinfo is UTC",
}


def acceptance_of(kind: type[Event], rounded: Collection[str]) -> Callable[[Event], bool]:
    """The look at one kind of event. Shapes: `rounded` are its fields of six decimals; a kind with a type not known here never passes."""
    hints, names = get_type_hints(kind, include_extras=True), dict[str, Any](datetime=datetime, UTC=UTC)
    lines = ["def accepts(event):"]
    for field in msgspec.structs.fields(kind):
        lines.append(f"    v = event.{field.name}")
        if field.name in STAMPS:
            lines.append("    if v is not None: return False")
            continue
        hint = hints[field.name]
        is_optional = get_origin(hint) is not Annotated and type(None) in get_args(hint)
        test = _test(next(one for one in get_args(hint) if one is not type(None)) if is_optional else hint, names)
        if test is None:
            return lambda _: False
        if field.name in rounded:
            test += " and v > 0.0 and round(v, 6) == v"
        lines.append(f"    if {'v is not None and ' if is_optional else ''}not ({test}): return False")
    exec("\n".join((*lines, "    return True")), names)  # noqa: S102 - of our own classes, nothing from outside
    accepts: Callable[[Event], bool] = names["accepts"]
    return accepts


def _test(hint: Any, names: dict[str, Any]) -> str | None:
    """An expression that says whether `v` is of a type; what it refers to is put into `names`. None: not a type known here."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return f"type(v) is str and v in {_named(names, frozenset(inner))}"
    if origin is tuple and inner[1:] == (...,):
        each = _test(inner[0], names)
        return None if each is None else f"type(v) is tuple and all([{each} for v in v])"
    base, metas = (inner[0], inner[1:]) if origin is Annotated else (hint, ())
    if base not in _TYPES:
        return None
    tests = [_TYPES[base]]
    for meta in metas:
        bounds = ((test, getattr(meta, name)) for name, test in _BOUNDS.items())
        tests += [test.format(bound) for test, bound in bounds if bound is not None]
        if meta.pattern is not None:  # matched to the end: `$` alone lets a last newline through
            tests.append(f"{_named(names, re.compile(meta.pattern).fullmatch)}(v)")
    return " and ".join(tests)


def _named(names: dict[str, Any], value: object) -> str:
    name = f"n{len(names)}"
    names[name] = value
    return name
