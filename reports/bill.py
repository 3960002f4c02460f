"""The lines of the bill: which calls are printed together, and what they cost.

Replies have a line for each arm, or model called past the router; other purposes one for each model. Failed calls and
calls without usage share one line each, whatever their arm, so that an arm's line holds measured replies. Replies from the cache
share the last line: they are no calls, used no tokens and cost nothing, and the old bot paid for them.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

from ledger.money import ZERO, text
from reports.facts import CachedRow, SpendRow
from reports.figures import Currency
from reports.model import Line, LineKind
from reports.tokens import Tokens

KINDS: tuple[LineKind, ...] = ("reply", "classification", "other", "judge", "shadow", "failed", "estimated", "cached")
ARMS = ("standard", "premium")  # shown first, in this order
BUCKETS = ("uncached_input", "cache_read", "cache_write", "plain_output", "reasoning")


def kind_of(row: SpendRow) -> LineKind:
    """Which kind of line these calls are printed on."""
    if not row.is_measured:
        return "estimated"
    if not row.is_ok:
        return "failed"
    return "reply" if row.purpose == "generation" else next(kind for kind in KINDS if kind == row.purpose)


def line_key(row: SpendRow) -> tuple[int, int, str]:
    """Where a row is printed: its kind's place, its arm's place, its key. Failed and estimated calls share one line each."""
    kind = kind_of(row)
    if kind in ("failed", "estimated"):
        return (KINDS.index(kind), 0, kind)
    if kind != "reply":
        return (KINDS.index(kind), 0, row.model)
    return (0, *_lane_order(row.arm, row.request_model))


def _lane_order(arm: str | None, model: str) -> tuple[int, str]:
    if arm is None:
        return (len(ARMS) + 1, model)
    return (ARMS.index(arm) if arm in ARMS else len(ARMS), arm)


def bill(rows: tuple[SpendRow, ...], cached: tuple[CachedRow, ...], currency: Currency) -> tuple[Line, ...]:
    """The printed lines in their order, each rounded half up once."""
    parts: dict[tuple[int, int, str], list[SpendRow]] = defaultdict(list)
    for row in rows:
        parts[line_key(row)].append(row)
    lines = tuple(_line(key, parts[key], currency) for key in sorted(parts))
    return (*lines, _cached(cached, currency)) if cached else lines


def _cached(rows: tuple[CachedRow, ...], currency: Currency) -> Line:
    compared = [row.baseline for row in rows if row.baseline is not None]
    baseline = sum(compared, ZERO) if compared else None
    return Line(
        key="cached",
        kind="cached",
        arm=None,
        models=tuple(sorted({row.model for row in rows})),
        calls=0,
        tokens=Tokens(**dict.fromkeys(BUCKETS, 0)),
        cost_usd=text(ZERO),
        spend=currency.line(ZERO),
        baseline_usd=None if baseline is None else text(baseline),
        baseline=None if baseline is None else currency.line(baseline),
    )


def _line(key: tuple[int, int, str], rows: list[SpendRow], currency: Currency) -> Line:
    cost = sum((row.cost for row in rows), ZERO)
    compared = [row.baseline for row in rows if row.baseline is not None]
    baseline = sum(compared, ZERO) if compared else None
    return Line(
        key=key[2],
        kind=KINDS[key[0]],
        arm=rows[0].arm if KINDS[key[0]] == "reply" else None,
        models=_models(rows),
        calls=sum(row.calls for row in rows),
        tokens=Tokens(**{bucket: sum(getattr(row, bucket) for row in rows) for bucket in BUCKETS}),
        cost_usd=text(cost),
        spend=currency.line(cost),
        baseline_usd=None if baseline is None else text(baseline),
        baseline=None if baseline is None else currency.line(baseline),
    )


def _models(rows: list[SpendRow]) -> tuple[str, ...]:
    costs: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        costs[row.model] += row.cost
    return tuple(sorted(costs, key=lambda model: (-costs[model], model)))
