"""A table of what was reached beside what must be, and the exit code that follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Target(NamedTuple):
    """One row: less is better unless said; `must` absent where only a goal is set, `reached` where it was not measured."""

    name: str
    reached: float | None
    must: float | None
    goal: float
    unit: str = "x"
    why: str = ""
    is_more_better: bool = False


def verdict(target: Target) -> str:
    """In a word. A goal alone can be missed without failing.

    >>> verdict(Target("a", 1.4, 2.2, 1.5)), verdict(Target("a", 2.0, 2.2, 1.5)), verdict(Target("a", 2.3, 2.2, 1.5))
    ('goal', 'must', 'MISSED')
    >>> verdict(Target("b", 7, 6, 12, is_more_better=True)), verdict(Target("b", 5, 6, 12, is_more_better=True))
    ('must', 'MISSED')
    """
    if target.reached is None:
        return "skipped"
    sign = -1 if target.is_more_better else 1
    if sign * target.reached <= sign * target.goal:
        return "goal"
    return "goal missed" if target.must is None else "must" if sign * target.reached <= sign * target.must else "MISSED"


def shown(targets: Iterable[Target]) -> int:
    """Print them; 1 when a must is missed, else 0."""
    missed = 0
    print(f"\n{'':<64} {'reached':>10} {'must':>8} {'goal':>8}")
    for target in targets:
        found = "-" if target.reached is None else f"{target.reached:.2f} {target.unit}"
        must = "-" if target.must is None else f"{target.must:g}"
        print(f"{target.name:<64} {found:>10} {must:>8} {target.goal:>8g}  {verdict(target)} {target.why}".rstrip())
        missed |= verdict(target) == "MISSED"
    return int(missed)
