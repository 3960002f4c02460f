"""What the old bot cost, from the bills it left: which lines are known, and which of a file are new.

A day of a bill is told whole: the last import that has it counts, so that a file may be imported again, or a longer one
after it, and nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ledger import events as e
from ledger.bills import Bill, BillLine
from ledger.errors import Conflict, InvalidInput
from ledger.money import text

if TYPE_CHECKING:
    from ledger.projections import State

SUBJECT_AT_MOST = 256


class BillDay(NamedTuple):
    """One day, or shorter bucket, of a client's old bills."""

    client_id: str
    kind: str
    starts_at: datetime


@dataclass(slots=True)
class Bills:
    """The lines of each day by subject, as the last import told it."""

    days: dict[BillDay, dict[str, e.BillImported]] = field(default_factory=dict)

    def take(self, event: e.BillImported) -> None:
        """Count one line; the first of another import forgets the day's lines before it."""
        day = BillDay(event.client_id or "", event.bill_kind, event.starts_at)
        known = self.days.setdefault(day, {})
        if any(line.import_id != event.import_id for line in known.values()):
            known.clear()
        known[event.subject] = event

    def lines(self) -> Iterator[e.BillImported]:
        """Every line that counts."""
        for known in self.days.values():
            yield from known.values()


class Planned(NamedTuple):
    """What an import would add. `days` are new, `replaced` were told otherwise before, `known` are as they were."""

    events: tuple[e.BillImported, ...]
    days: int
    replaced: int
    known: int


def planned(
    state: State, client_id: str, bill: Bill, *, import_id: str, now: datetime, tickets_per_month: int | None
) -> Planned:
    """The lines of a bill that are not known yet, a day at a time. Errors: NotFound for the client; InvalidInput."""
    state.client(client_id)
    if tickets_per_month is not None and tickets_per_month < 1:
        raise InvalidInput(
            f"{tickets_per_month} tickets a month are none. Say how many the old bot answered, like 7750."
        )
    by_day: dict[datetime, list[BillLine]] = {}
    for line in bill.lines:
        by_day.setdefault(line.starts_at, []).append(line)
    found: list[e.BillImported] = []
    days = replaced = known = 0
    for starts_at, lines in sorted(by_day.items()):
        before = state.bills.days.get(BillDay(client_id, bill.kind, starts_at), {})
        told = [_event(client_id, bill, line, import_id, now, tickets_per_month) for line in lines]
        if _said(before.values()) == _said(told):
            known += 1
            continue
        days, replaced = days + (not before), replaced + bool(before)
        found += told
    # ids that follow from the import's own, so that a line sent twice is one line
    numbered = tuple(msgspec.structs.replace(event, id=f"{import_id}.{number}") for number, event in enumerate(found))
    return Planned(numbered, days, replaced, known)


def _said(lines: Iterable[e.BillImported]) -> set[tuple[object, ...]]:
    """What lines say, apart from who told it when."""
    told = ("id", "time", "import_id", "bill_sha256", *e.STAMPS)
    return {tuple(getattr(line, name) for name in line.__struct_fields__ if name not in told) for line in lines}


def _event(
    client_id: str, bill: Bill, line: BillLine, import_id: str, now: datetime, tickets_per_month: int | None
) -> e.BillImported:
    at = f"{line.starts_at:%Y-%m-%d}" if not line.starts_at.hour + line.starts_at.minute else f"{line.starts_at:%FT%R}"
    subject = " ".join((bill.provider, at, line.name, line.project)).strip()
    return e.BillImported(
        id=import_id,
        subject=subject[:SUBJECT_AT_MOST],
        client_id=client_id,
        time=now,
        provider_name=bill.provider,
        bill_kind=bill.kind,
        bill_sha256=bill.sha256,
        import_id=import_id,
        starts_at=line.starts_at,
        ends_at=line.ends_at,
        bill_line=line.name,
        project=line.project or None,
        cost_usd=None if line.cost is None else text(line.cost),
        requests=line.requests,
        usage_input_tokens=line.input_tokens,
        usage_output_tokens=line.output_tokens,
        usage_cache_read_input_tokens=line.cached_tokens,
        tickets=line.tickets,
        monthly_tickets=tickets_per_month if line.tickets is None else None,
    )


def bill_imported(state: State, event: e.BillImported) -> None:
    """Fold."""
    state.bills.take(event)


def check_imported(state: State, event: e.BillImported) -> None:
    """Errors: NotFound for the client, InvalidInput for a line that says nothing, Conflict for one the import has told."""
    state.client(event.client_id or "")
    if event.ends_at <= event.starts_at:
        raise InvalidInput(f"{event.subject} ends at {event.ends_at} before it starts at {event.starts_at}.")
    if event.cost_usd is None and event.usage_input_tokens is None:
        raise InvalidInput(f"{event.subject} has neither an amount nor tokens. A line of a bill has one of them.")
    known = state.bills.days.get(BillDay(event.client_id or "", event.bill_kind, event.starts_at), {})
    if event.subject in known and known[event.subject].import_id == event.import_id:
        raise Conflict(f"{event.subject} was told by this import already.")
