"""Two revisions of a month, figure by figure: what a restatement changed. Pure; reads report.json as it stands.

Rows of a list are matched by what names them, not by their place, so that a line that came in between moves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import NamedTuple, TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
NAMES = ("key", "price_id", "date", "first_day", "name", "period", "id")  # what names a row: the first of them it has
ABSENT = "absent"


class Difference(NamedTuple):
    """One figure that is not the same; `change` is after minus before where both are numbers."""

    figure: str
    before: str
    after: str
    change: Decimal | None


def differences(before: Json, after: Json) -> tuple[Difference, ...]:
    """Every figure that differs, in the order of the later report, then what only the earlier one has."""
    was, now = dict(_leaves(before, "")), dict(_leaves(after, ""))
    figures = [*now, *(name for name in was if name not in now)]
    return tuple(
        Difference(name, was.get(name, ABSENT), now.get(name, ABSENT), _change(was.get(name), now.get(name)))
        for name in figures
        if was.get(name) != now.get(name)
    )


def _leaves(found: Json, path: str) -> Iterable[tuple[str, str]]:
    if isinstance(found, Mapping):
        for name, value in found.items():
            yield from _leaves(value, f"{path}.{name}" if path else name)
    elif isinstance(found, Sequence) and not isinstance(found, str):
        seen: dict[str, int] = {}
        for value in found:
            name = _name(value)
            seen[name] = seen.get(name, 0) + 1
            yield from _leaves(value, f"{path}[{name}]" if seen[name] == 1 else f"{path}[{name} {seen[name]}]")
    elif found is not None:
        yield path, str(found).lower() if isinstance(found, bool) else str(found)


def _name(row: Json) -> str:
    if not isinstance(row, Mapping):
        return str(row)
    named = [str(row[name]) for name in NAMES if isinstance(row.get(name), str)]
    return " ".join(named[:2])


def _change(before: str | None, after: str | None) -> Decimal | None:
    try:
        return None if before is None or after is None else Decimal(after) - Decimal(before)
    except InvalidOperation:
        return None
