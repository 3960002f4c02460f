"""An invoice held against the ledger: day x served model x bucket, and every difference given its kind.

The order is that in which causes are looked for (LiteLLM's published procedure): first the time range, then the token
classes, then what was not recorded or not billed, then the price. Every residual is invoice minus ledger, and
together they are exactly the difference of the two totals, so nothing is explained twice or not at all.

duplicate  a line stands twice and the ledger has it once
clock      the same tokens on a neighbouring day: another idea of midnight
class      the same tokens in another bucket: cached ones billed as fresh, reasoning as plain
missing    billed and not in the ledger, or in the ledger and not billed
price      the same tokens at another price
rounding   within half of the last printed decimal
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Literal, NamedTuple

from ledger.invoices import Line
from ledger.money import QUANTUM, ZERO

Kind = Literal["missing", "duplicate", "price", "class", "clock", "rounding"]
KINDS: tuple[Kind, ...] = ("clock", "class", "duplicate", "missing", "price", "rounding")  # as causes are looked for
UNMEASURED = "unmeasured"  # the bucket of calls whose tokens nobody told us; their hold is their cost
SIDES = (("uncached_input", "cache_read", "cache_write"), ("plain_output", "reasoning"))
FOLDED: Mapping[str, str] = {"reasoning": "plain_output", "cache_write": "uncached_input"}
DAYS_SHIFTED = 62  # a provider that counts another zone's days shifts a whole month


class Cell(NamedTuple):
    """What one line is about."""

    day: date
    model: str
    bucket: str


@dataclass(slots=True)
class Amount:
    """Tokens and exact USD."""

    tokens: int = 0
    cost: Decimal = ZERO

    def add(self, tokens: int, cost: Decimal) -> None:
        """Count some more."""
        self.tokens += tokens
        self.cost += cost


class Residual(NamedTuple):
    """One difference, invoice minus ledger."""

    day: date
    model: str
    bucket: str
    kind: Kind
    tokens: int
    usd: Decimal
    says: str


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Both totals and everything between them."""

    invoice_usd: Decimal
    ledger_usd: Decimal
    residuals: tuple[Residual, ...]

    def total(self, kind: Kind) -> Decimal:
        """The sum of one kind."""
        return sum((one.usd for one in self.residuals if one.kind == kind), ZERO)

    @property
    def mismatch(self) -> Decimal:
        """What needs an explanation: opposite errors of two days or models do not cancel each other out.

        Shifted days count by what is left of them in sum; rounding is bounded by the print and does not count.
        """
        by_place: dict[tuple[date, str, str], Decimal] = defaultdict(lambda: ZERO)
        for one in self.residuals:
            if one.kind not in ("clock", "rounding"):
                by_place[one.day, one.model, one.kind] += one.usd
        return sum(map(abs, by_place.values()), abs(self.total("clock")))


def reconcile(
    ours: Mapping[Cell, Amount], theirs: Sequence[Line], *, places: int, duplicates: Sequence[Residual] = ()
) -> Reconciled:
    """Compare both sides.

    Shapes: `ours` by exclusive bucket; `duplicates` were found beforehand and are not in `theirs`; residuals by kind in the
    order of KINDS, then by line. Units: `places` is how many decimals the invoice prints.
    """
    buckets = {line.bucket for line in theirs}
    ledger: dict[Cell, Amount] = {}
    for cell, amount in ours.items():
        into = FOLDED.get(cell.bucket, cell.bucket) if cell.bucket not in buckets else cell.bucket
        ledger.setdefault(cell._replace(bucket=into), Amount()).add(amount.tokens, amount.cost)
    found: list[Residual] = list(duplicates)
    invoice, lines_of = _without_duplicates(theirs, ledger, found)
    open_cells = {
        cell: (
            invoice.get(cell, Amount()).tokens - ledger.get(cell, Amount()).tokens,
            invoice.get(cell, Amount()).cost - ledger.get(cell, Amount()).cost,
        )
        for cell in sorted(invoice.keys() | ledger.keys())
    }
    kinds = _kinds({cell: tokens for cell, (tokens, _) in open_cells.items() if tokens})
    unit = _units(ledger)
    for cell, (tokens, cost) in open_cells.items():
        slack = Decimal(5).scaleb(-places - 1) * max(1, lines_of[cell])
        found += _residuals(cell, kinds.get(cell), tokens, cost, unit, slack)
    found.sort(key=lambda one: (KINDS.index(one.kind), one.day, one.model, one.bucket))
    invoiced = sum((line.cost for line in theirs), sum((one.usd for one in duplicates), ZERO))
    return Reconciled(invoiced, sum((amount.cost for amount in ours.values()), ZERO), tuple(found))


def _without_duplicates(
    theirs: Iterable[Line], ledger: Mapping[Cell, Amount], found: list[Residual]
) -> tuple[dict[Cell, Amount], dict[Cell, int]]:
    """The invoice by cell. A repeated line is a duplicate only where the ledger is nearer without it."""
    by_cell: dict[Cell, list[Line]] = defaultdict(list)
    for line in theirs:
        by_cell[Cell(line.day, line.model, line.bucket)].append(line)
    invoice: dict[Cell, Amount] = {}
    for cell, lines in by_cell.items():
        amount = Amount(sum(line.tokens for line in lines), sum((line.cost for line in lines), ZERO))
        expected = ledger.get(cell, Amount()).tokens
        seen: dict[tuple[int, Decimal], int] = {}
        for line in lines:
            first = seen.setdefault((line.tokens, line.cost), line.number)
            if first == line.number or not line.tokens:
                continue
            if abs(amount.tokens - line.tokens - expected) < abs(amount.tokens - expected):
                amount.add(-line.tokens, -line.cost)
                says = f"line {line.number} repeats line {first}"
                found.append(Residual(*cell, "duplicate", line.tokens, line.cost, says))
        invoice[cell] = amount
    return invoice, defaultdict(int, {cell: len(lines) for cell, lines in by_cell.items()})


def _kinds(differing: Mapping[Cell, int]) -> dict[Cell, Kind]:
    """Which of the cells whose tokens differ are shifted in time, and which in class; the rest is missing."""
    kinds: dict[Cell, Kind] = {}
    series: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in sorted(differing):
        if cell.bucket != UNMEASURED:
            series[cell.model, cell.bucket].append(cell)
    for cells in series.values():
        for run in _shifted(cells, differing):
            kinds.update(dict.fromkeys(run, "clock"))
    places = sorted({(cell.day, cell.model) for cell in differing})
    for day, model in places:
        for side in SIDES:
            cells = [cell for name in side if (cell := Cell(day, model, name)) in differing and cell not in kinds]
            if len(cells) > 1 and not sum(differing[cell] for cell in cells):
                kinds.update(dict.fromkeys(cells, "class"))
    return kinds


def _shifted(cells: Sequence[Cell], differing: Mapping[Cell, int]) -> Iterable[list[Cell]]:
    """Runs of days one after the other whose differences cancel out."""
    at = 0
    while at < len(cells):
        total, end = 0, None
        for reach in range(at, min(len(cells), at + DAYS_SHIFTED)):
            if reach > at and cells[reach].day - cells[reach - 1].day > timedelta(days=1):
                break
            total += differing[cells[reach]]
            if reach > at and not total:
                end = reach
                break
        if end is None:
            at += 1
        else:
            yield list(cells[at : end + 1])
            at = end + 1


def _units(ledger: Mapping[Cell, Amount]) -> dict[tuple[str, str], Amount]:
    """Tokens and cost of each model and bucket over all days, for days on which the ledger has none."""
    found: dict[tuple[str, str], Amount] = defaultdict(Amount)
    for cell, amount in ledger.items():
        found[cell.model, cell.bucket].add(amount.tokens, amount.cost)
        found[cell.model, f"{cell.bucket} {cell.day}"].add(amount.tokens, amount.cost)
    return found


def _residuals(
    cell: Cell, kind: Kind | None, tokens: int, cost: Decimal, units: Mapping[tuple[str, str], Amount], slack: Decimal
) -> Iterable[Residual]:
    """One cell's difference: what the tokens explain at our price, and what only another price explains."""
    if not tokens:
        if cell.bucket == UNMEASURED:
            if cost:
                says = "the ledger has estimates here: calls whose tokens nobody told, at what was held for them"
                yield Residual(*cell, "missing", 0, cost, says)
        elif cost and (cell.model, f"{cell.bucket} {cell.day}") not in units:
            yield Residual(*cell, "missing", 0, cost, "billed and not in the ledger")
        elif cost:
            by_print = abs(cost) <= slack
            yield Residual(
                *cell, "rounding" if by_print else "price", 0, cost, "" if by_print else "same tokens, another price"
            )
        return
    unit = units.get((cell.model, f"{cell.bucket} {cell.day}")) or units.get((cell.model, cell.bucket))
    explained = cost
    if unit is not None and unit.tokens:
        explained = (tokens * unit.cost / unit.tokens).quantize(QUANTUM)
    rest = cost - explained
    if abs(rest) <= slack:
        explained, rest = cost, ZERO
    kind = kind or "missing"
    yield Residual(*cell, kind, tokens, explained, _says(kind, tokens))
    if rest:
        yield Residual(*cell, "price", 0, rest, "what the tokens do not explain")


def _says(kind: Kind, tokens: int) -> str:
    if kind == "clock":
        return "counted on a neighbouring day"
    if kind == "class":
        return "counted in another bucket of the same call"
    return "billed and not in the ledger" if tokens > 0 else "in the ledger and not billed"
