"""The old bot's bills as values: OpenAI's costs and usage exports, CSV and JSON, as the platform writes them.

Costs have amounts by day and line item ("gpt-4o-2024-08-06, input"), usage has tokens and requests by bucket and model. Lines of
one bucket, name and project are added up, whatever else the export was grouped by; a bucket without a line is a
day on which nothing was billed, and counts as such. Whose key or user it was is not read.
Source: OpenAI API reference, organization/costs and organization/usage/completions; the dashboard's CSV has their keys.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NamedTuple

from ledger.errors import InvalidInput, LedgerError
from ledger.money import PLACES, ZERO, round_half_up, usd
from ledger.prices import moment_of
from ledger.usage import LARGEST_COUNT

PROVIDER = "openai"
ROWS_AT_MOST = 1_000_000
COMPLAINTS_SHOWN = 5
NAME_AT_MOST = 120
EVERYTHING, NOTHING = "everything", "nothing billed"  # of an export without groups; of a bucket without results
KEYS: Mapping[str, tuple[str, ...]] = {  # the platform's own names first
    "start": ("start_time_iso", "start_time", "date", "day", "usage_date"),
    "end": ("end_time_iso", "end_time"),
    "amount": ("amount_value", "amount", "cost_usd", "cost"),
    "currency": ("amount_currency", "currency"),
    "name": ("line_item", "model", "name"),
    "project": ("project_id", "project"),
    "input": ("input_tokens", "n_context_tokens_total", "prompt_tokens"),
    "cached": ("input_cached_tokens", "n_cached_context_tokens_total", "cached_tokens"),
    "output": ("output_tokens", "n_generated_tokens_total", "completion_tokens"),
    "requests": ("num_model_requests", "n_requests", "requests"),
    "tickets": ("tickets",),
}


class BillLine(NamedTuple):
    """One line of one bucket. Units: exact USD, tokens; the cached ones are part of the input. Absent is not known."""

    starts_at: datetime
    ends_at: datetime
    name: str
    project: str
    cost: Decimal | None
    requests: int | None
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    tickets: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a file says, in order of time and name. `bad` names the rows left out; `is_cut`: it says that more pages follow."""

    name: str
    sha256: str
    kind: Literal["costs", "usage"]
    lines: tuple[BillLine, ...]
    bad: tuple[str, ...] = ()
    is_cut: bool = False
    provider: str = PROVIDER


class BadBill(InvalidInput):
    """A file that is no export we can read, with the first rows that are not."""

    def __init__(self, name: str, complaints: Iterable[str]) -> None:
        super().__init__(
            f"{name} cannot be read: {told(complaints)}. Export costs or usage from the OpenAI platform, as CSV or JSON"
            ", or leave the rows out with --skip-bad-rows."
        )


def told(complaints: Iterable[str]) -> str:
    """The first complaints, and how many more there are."""
    found = list(complaints)
    more = f"; and {len(found) - COMPLAINTS_SHOWN} more" if len(found) > COMPLAINTS_SHOWN else ""
    return "; ".join(found[:COMPLAINTS_SHOWN]) + more


def read_bill(name: str, content: bytes, *, model: str = "", project: str = "", skip_bad: bool = False) -> Bill:
    """The bill these bytes say. With `model` only lines whose name begins so, with `project` only its own.

    Shapes: a bucket that keeps no line has one that says so, at zero. Errors: BadBill, naming rows.
    """
    try:
        written = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadBill(name, ["it is not UTF-8"]) from None
    is_cut = False
    try:
        if written.lstrip()[:1] in ("{", "["):
            pages = _pages(written)
            is_cut = bool(pages) and pages[-1].get("has_more") is True
            rows = list(_of_pages(pages))
        else:
            rows = list(_of_csv(written))
    except (ValueError, TypeError, AttributeError, csv.Error, RecursionError) as wrong:
        raise BadBill(name, [str(wrong) or type(wrong).__name__]) from None
    kind = _kind(name, rows)
    lines, bad = _read(rows, kind)
    if not lines or (bad and not skip_bad):
        raise BadBill(name, bad or ["it has no row"])
    return Bill(
        name=name,
        sha256=hashlib.sha256(content).hexdigest(),
        kind=kind,
        lines=_added(lines, model, project),
        bad=tuple(bad),
        is_cut=is_cut,
    )


Row = tuple[str, Mapping[str, Any]]  # where it stands, and its cells under our names


def _of_csv(written: str) -> Iterator[Row]:
    lines = written.splitlines()
    first = lines[0] if lines else ""
    delimiter = max(",;\t", key=first.count)
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    head = [cell.strip().lower().replace(" ", "_").replace(".", "_") for cell in next(rows, [])]
    at = {ours: place for ours, names in KEYS.items() if (place := _first(head, names)) is not None}
    for row in rows:
        if any(cell.strip() for cell in row):
            cells = {ours: row[place].strip() for ours, place in at.items() if place < len(row)}
            if len(row) > len(head):
                cells["wrong"] = f"it has {len(row)} cells under {len(head)} headings"
            yield f"line {rows.line_num}", cells


def _first(head: list[str], names: Iterable[str]) -> int | None:
    return next((head.index(name) for name in names if name in head), None)


def _pages(written: str) -> list[Mapping[str, Any]]:
    """The pages of an answer: one, a list of them, or one a line. A bucket alone is a page of one."""
    try:
        found = json.loads(written, parse_float=Decimal)
    except json.JSONDecodeError:
        found = [json.loads(line, parse_float=Decimal) for line in written.splitlines() if line.strip()]
    parts = found if isinstance(found, list) else [found]
    return [part if "data" in part else {"data": [part]} for part in parts]


def _of_pages(pages: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    buckets = (bucket for page in pages for bucket in page["data"])
    for number, bucket in enumerate(buckets, 1):
        edges = {"start": bucket.get("start_time"), "end": bucket.get("end_time")}
        results = bucket.get("results", bucket.get("result")) or []
        if not results:
            yield f"bucket {number}", edges
        for place, result in enumerate(results if isinstance(results, list) else [results], 1):
            where = f"bucket {number}, result {place}"
            if not isinstance(result, Mapping):
                yield where, edges | {"wrong": f"it is {type(result).__name__}, not an object"}
                continue
            amount = result.get("amount")
            flat = dict(result) | (
                {"amount_value": amount.get("value"), "amount_currency": amount.get("currency")}
                if isinstance(amount, Mapping)
                else {}
            )
            cells = {ours: flat[key] for ours, names in KEYS.items() for key in reversed(names) if key in flat}
            yield where, edges | {name: cell for name, cell in cells.items() if name not in ("start", "end")}


def _kind(name: str, rows: Iterable[Row]) -> Literal["costs", "usage"]:
    named = {key for _, cells in rows for key in cells}
    if "start" not in named:
        raise BadBill(name, ["it has no start_time or date"])
    if "amount" in named:
        return "costs"
    if "input" in named:
        return "usage"
    raise BadBill(name, ["it has neither amounts (amount_value) nor tokens (input_tokens)"])


def _read(rows: list[Row], kind: Literal["costs", "usage"]) -> tuple[list[BillLine], list[str]]:
    found: list[BillLine] = []
    bad: list[str] = []
    if len(rows) > ROWS_AT_MOST:
        return [], [f"it has more than {ROWS_AT_MOST} rows"]
    for where, cells in rows:
        try:
            found.append(_line(cells, kind))
        except (LedgerError, ValueError, TypeError, OverflowError) as wrong:
            bad.append(f"{where}: {wrong}")
    return found, bad


def _line(cells: Mapping[str, Any], kind: Literal["costs", "usage"]) -> BillLine:
    if "wrong" in cells:
        raise InvalidInput(str(cells["wrong"]))
    start = _moment(cells.get("start"))
    end = _moment(cells["end"]) if cells.get("end") not in (None, "") else start + timedelta(days=1)
    if end <= start:
        raise InvalidInput(f"it ends at {cells.get('end')} and starts at {cells.get('start')}")
    amount = None if cells.get("amount") in (None, "") else _amount(cells["amount"])
    if amount and str(cells.get("currency") or "usd").lower() != "usd":
        raise InvalidInput(f"the currency is {cells['currency']!r}, not usd")
    counts = {name: _count(cells.get(name)) for name in ("requests", "input", "cached", "output", "tickets")}
    if (counts["cached"] or 0) > (counts["input"] or 0) and counts["input"] is not None:
        raise InvalidInput(f"{counts['cached']} of {counts['input']} input tokens cannot be cached")
    is_empty = amount is None and counts["input"] is None
    if is_empty and _text(cells.get("name")):
        raise InvalidInput(
            f"{cells['name']!r} has no amount" if kind == "costs" else f"{cells['name']!r} has no tokens"
        )
    name = NOTHING if is_empty else _text(cells.get("name")) or EVERYTHING
    return BillLine(
        start,
        end,
        name,
        _text(cells.get("project")),
        (amount if amount is not None else ZERO) if kind == "costs" else None,
        counts["requests"],
        counts["input"] if kind == "costs" or not is_empty else 0,
        counts["cached"],
        counts["output"] if kind == "costs" or not is_empty else 0,
        counts["tickets"],
    )


def _moment(found: Any) -> datetime:
    """Seconds since 1970, or a day or moment as text; a day is that of UTC, which is what the platform bills by."""
    if found is None or found == "":
        raise InvalidInput("it has no start_time")
    if isinstance(found, int | Decimal) or str(found).isdigit():
        return datetime.fromtimestamp(int(found), UTC)
    return moment_of(str(found).replace(" ", "T", 1))


def _amount(found: Any) -> Decimal:
    """To twelve decimals, since the platform writes up to thirty; rounded half up."""
    try:
        return usd(round_half_up(Decimal(str(found)), PLACES))
    except InvalidOperation:
        raise InvalidInput(f"{found!r} is not an amount") from None


def _count(found: Any) -> int | None:
    if found is None or found == "":
        return None
    if not str(found).isascii() or not str(found).isdigit() or int(found) > LARGEST_COUNT:
        raise InvalidInput(f"{found!r} is not a count")
    return int(found)


def _text(found: Any) -> str:
    return "".join(sign for sign in str(found or "") if sign.isprintable()).strip()[:NAME_AT_MOST]


def _added(lines: Iterable[BillLine], model: str, project: str) -> tuple[BillLine, ...]:
    """Lines of one bucket, name and project added up; what is not asked for left out, its bucket kept."""
    found: dict[tuple[datetime, str, str], BillLine] = {}
    edges: dict[datetime, BillLine] = {}
    for line in lines:
        known = edges.setdefault(line.starts_at, line)
        if line.tickets is not None:
            edges[line.starts_at] = known._replace(tickets=max(known.tickets or 0, line.tickets))
        if line.name == NOTHING or not line.name.startswith(model) or project not in ("", line.project):
            continue
        key = (line.starts_at, line.name, line.project)
        found[key] = _sum(found[key], line) if key in found else line
    kept = {start for start, _, _ in found}
    for start, line in edges.items():
        if start not in kept:
            zero = ZERO if line.cost is not None else None
            tokens = 0 if line.cost is None else None
            found[start, NOTHING, ""] = BillLine(
                start, line.ends_at, NOTHING, "", zero, None, tokens, None, tokens, line.tickets
            )
    return tuple(found[key]._replace(tickets=edges[key[0]].tickets) for key in sorted(found))


def _sum(one: BillLine, other: BillLine) -> BillLine:
    def both(name: str, plus: Callable[[Any, Any], Any] = lambda a, b: a + b) -> Any:
        a, b = getattr(one, name), getattr(other, name)
        return b if a is None else a if b is None else plus(a, b)

    added = {name: both(name) for name in ("cost", "requests", "input_tokens", "cached_tokens", "output_tokens")}
    return one._replace(**added, tickets=both("tickets", max), ends_at=both("ends_at", max))
