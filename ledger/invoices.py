"""A provider's invoice as values: a CSV of day x model x bucket, or the itemised lines of each request.

Every line that cannot be read is named before anything is compared. An itemised invoice is what the simulator
writes (provider.jsonl) or any JSON lines with its keys; it has counts and no amounts.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from ledger.budgets import zone
from ledger.errors import InvalidInput, LedgerError
from ledger.money import usd
from ledger.prices import moment_of
from ledger.usage import LARGEST_COUNT

LINES_AT_MOST = 5_000_000
COMPLAINTS_SHOWN = 5
COLUMNS: Mapping[str, tuple[str, ...]] = {  # ours first, then what others call it
    "date": ("date", "day", "usage_date"),
    "model": ("model", "served_model", "model_name"),
    "bucket": ("bucket", "token_type", "usage_type"),
    "tokens": ("tokens", "quantity", "token_count"),
    "cost_usd": ("cost_usd", "amount_usd", "amount", "cost"),
}
BUCKET_NAMES: Mapping[str, str] = {
    "input": "uncached_input",
    "prompt": "uncached_input",
    "cached": "cache_read",
    "cached_input": "cache_read",
    "output": "plain_output",
    "completion": "plain_output",
    "reasoning_output": "reasoning",
}


class Line(NamedTuple):
    """One line of an aggregated invoice. Units: tokens, exact USD. `number` is its place in the file."""

    day: date
    model: str
    bucket: str
    tokens: int
    cost: Decimal
    number: int


class Item(NamedTuple):
    """One billed request, `request_id` being our call id and attempt. Units: tokens, the cached ones part of the input."""

    request_id: str
    time: datetime
    model: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    complete: bool | None
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """What a file says: `lines` or `items`, never both. `places` is how many decimals its amounts are printed with."""

    name: str
    sha256: str
    lines: tuple[Line, ...] = ()
    items: tuple[Item, ...] = ()
    places: int = 12

    @property
    def is_itemised(self) -> bool:
        """Whether it bills request by request."""
        return bool(self.items)

    def days(self, zone_name: str) -> tuple[date, date]:
        """First and last day it bills, both inclusive; a request's day is that of the zone."""
        local = zone(zone_name)
        found = [line.day for line in self.lines] or [item.time.astimezone(local).date() for item in self.items]
        return min(found), max(found)


class BadInvoice(InvalidInput):
    """A file that is no invoice we can read, with the first lines that are not."""

    def __init__(self, name: str, complaints: Iterable[str]) -> None:
        found = list(complaints)
        shown = "; ".join(found[:COMPLAINTS_SHOWN])
        more = f"; and {len(found) - COMPLAINTS_SHOWN} more" if len(found) > COMPLAINTS_SHOWN else ""
        super().__init__(
            f"{name} cannot be read: {shown}{more}. An invoice is a CSV with the columns {', '.join(COLUMNS)}, "
            "or JSON lines with request_id, time, model, prompt_tokens, cached_tokens and completion_tokens."
        )


def read_invoice(name: str, content: bytes) -> Invoice:
    """The invoice these bytes say. Errors: BadInvoice naming the lines."""
    digest = hashlib.sha256(content).hexdigest()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInvoice(name, ["it is not UTF-8"]) from None
    if text.lstrip().startswith("{"):
        items, complaints = _items(text)
        invoice = Invoice(name=name, sha256=digest, items=items)
    else:
        lines, places, complaints = _lines(text)
        invoice = Invoice(name=name, sha256=digest, lines=lines, places=places)
    if not complaints and not invoice.lines and not invoice.items:
        complaints = ["it has no line"]
    if complaints:
        raise BadInvoice(name, complaints)
    return invoice


def _lines(text: str) -> tuple[tuple[Line, ...], int, list[str]]:
    rows = csv.reader(text.splitlines(), strict=True)
    try:
        head = [name.strip().lower() for name in next(rows, [])]
    except csv.Error as wrong:
        return (), 0, [f"line 1: {wrong}"]
    at = {ours: next((head.index(name) for name in names if name in head), -1) for ours, names in COLUMNS.items()}
    if missing := [ours for ours, place in at.items() if place < 0]:
        return (), 0, [f"it has no column {', '.join(missing)}"]
    currency = head.index("currency") if "currency" in head else None
    found: list[Line] = []
    complaints: list[str] = []
    places = 0
    try:
        for row in rows:
            number = rows.line_num
            if not any(row):
                continue
            try:
                cells = {ours: row[place].strip() for ours, place in at.items()}
                if currency is not None and row[currency].strip().upper() != "USD":
                    raise InvalidInput(f"the currency is {row[currency]!r}, not USD")
                found.append(_line(cells, number))
                places = max(places, len(cells["cost_usd"].partition(".")[2]))
            except (LedgerError, ValueError, IndexError) as wrong:
                complaints.append(f"line {number}: {wrong or 'it is too short'}")
    except csv.Error as wrong:
        complaints.append(f"line {rows.line_num}: {wrong}")
    return tuple(found), places, complaints


def _line(cells: Mapping[str, str], number: int) -> Line:
    bucket = cells["bucket"].lower().replace(" ", "_").removesuffix("_tokens")
    if not cells["model"] or not bucket:
        raise InvalidInput("model and bucket must be named")
    return Line(
        day=date.fromisoformat(cells["date"][:10]),
        model=cells["model"],
        bucket=BUCKET_NAMES.get(bucket, bucket),
        tokens=_whole(cells["tokens"] or "0"),
        cost=usd(cells["cost_usd"]),
        number=number,
    )


def _whole(found: str) -> int:
    if not found.isascii() or not found.isdigit() or len(found) > 15:
        raise InvalidInput(f"{found!r} is not a number of tokens")
    return int(found)


def _items(text: str) -> tuple[tuple[Item, ...], list[str]]:
    found: list[Item] = []
    complaints: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        if number > LINES_AT_MOST:
            return (), [f"it has more than {LINES_AT_MOST} lines"]
        try:
            found.append(_item(json.loads(line), number))
        except (ValueError, TypeError, KeyError, RecursionError, LedgerError) as wrong:
            complaints.append(f"line {number}: {type(wrong).__name__ if not str(wrong) else wrong}")
    return tuple(found), complaints


def _item(row: Mapping[str, Any], number: int) -> Item:
    counts = [row["prompt_tokens"], row.get("cached_tokens") or 0, row["completion_tokens"]]
    if any(type(count) is not int or not 0 <= count <= LARGEST_COUNT for count in counts) or counts[1] > counts[0]:
        raise InvalidInput(f"its token counts {counts} cannot be")
    request_id, model, complete = row["request_id"], row["model"], row.get("complete")
    if not isinstance(request_id, str) or not isinstance(model, str) or not request_id or not model:
        raise InvalidInput("request_id and model must be text")
    return Item(
        request_id=request_id,
        time=moment_of(row["time"]),
        model=model,
        input_tokens=counts[0],
        cached_tokens=counts[1],
        output_tokens=counts[2],
        complete=complete if isinstance(complete, bool) else None,
        number=number,
    )
