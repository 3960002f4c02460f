"""What the books say of a month once it is over: closed, restated, held against an invoice, reported, delivered.

The folds and the checks of those events. A closed month stays as it was; a restatement is a later position
for the same month, and the last one counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ledger import events as e
from ledger.errors import Conflict, NotFound

if TYPE_CHECKING:
    from ledger.projections import State

MonthKey = tuple[str, str]  # client id ("" for all clients), period


class Delivery(NamedTuple):
    """One revision to one recipient: what is delivered once."""

    client_id: str
    period: str
    revision: int
    channel: str
    target: str


@dataclass(slots=True)
class Closings:
    """The last restatement and the last invoice of each month, and everything delivered."""

    restated: dict[MonthKey, e.MonthRestated] = field(default_factory=dict)
    invoices: dict[MonthKey, e.InvoiceRecorded] = field(default_factory=dict)
    delivered: dict[Delivery, e.ReportDelivered] = field(default_factory=dict)


def delivery_of(event: e.ReportDelivered) -> Delivery:
    """What the event says was delivered."""
    return Delivery(event.subject, event.period, event.revision, event.channel, event.target)


def position_of(state: State, client_id: str, period: str) -> int | None:
    """The last event a closed month is made of, its restatements included; None while it is open."""
    closed = state.closed.get((client_id, period))
    restated = state.closings.restated.get((client_id, period))
    return None if closed is None else closed.up_to_sequence if restated is None else restated.up_to_sequence


def invoice_of(state: State, client_id: str, period: str) -> e.InvoiceRecorded | None:
    """The last invoice that covers a client's month: its own, or one over all clients, whichever came later."""
    found = [state.closings.invoices.get(key) for key in ((client_id, period), ("", period))]
    return max((one for one in found if one is not None), key=lambda one: one.sequence or 0, default=None)


def month_closed(state: State, event: e.MonthClosed) -> None:
    """Fold."""
    state.closed[event.subject, event.period] = event


def month_restated(state: State, event: e.MonthRestated) -> None:
    """Fold."""
    state.closings.restated[event.subject, event.period] = event


def invoice_recorded(state: State, event: e.InvoiceRecorded) -> None:
    """Fold."""
    state.closings.invoices[event.client_id or "", event.period] = event


def report_issued(state: State, event: e.ReportIssued) -> None:
    """Fold."""
    state.issued[event.subject, event.period] = event


def report_delivered(state: State, event: e.ReportDelivered) -> None:
    """Fold."""
    state.closings.delivered[delivery_of(event)] = event


def check_close(state: State, event: e.MonthClosed) -> None:
    """A month is closed once. Errors: NotFound, Conflict."""
    state.client(event.subject)
    if (event.subject, event.period) in state.closed:
        raise Conflict(f"{event.period} of {event.subject} is closed already.")


def check_restated(state: State, event: e.MonthRestated) -> None:
    """A restatement follows a close and goes further than it. Errors: NotFound, Conflict."""
    state.client(event.subject)
    before = position_of(state, event.subject, event.period)
    if before is None:
        raise Conflict(f"{event.period} of {event.subject} is not closed, so there is nothing to restate. Close it.")
    if event.up_to_sequence <= before:
        raise Conflict(
            f"{event.period} of {event.subject} stands at event {before} already, not before {event.up_to_sequence}."
        )


def check_invoice(state: State, event: e.InvoiceRecorded) -> None:
    """Errors: NotFound for the client."""
    if event.client_id is not None:
        state.client(event.client_id)


def check_issued(state: State, event: e.ReportIssued) -> None:
    """Each revision is issued once, none after a later one; the last one again when later events, or an invoice, change
    nothing in it.

    Errors: Conflict.
    """
    last = state.issued.get((event.subject, event.period))
    if last is None or event.revision > last.revision:
        return
    is_same = (event.revision, event.report_sha256) == (last.revision, last.report_sha256)
    invoice = invoice_of(state, event.subject, event.period)
    is_later = event.up_to_sequence > last.up_to_sequence
    if not is_same or not (is_later or (invoice is not None and (invoice.sequence or 0) > (last.sequence or 0))):
        raise Conflict(
            f"Revision {last.revision} of {event.period} for {event.subject} is issued already; {event.revision} cannot follow."
        )


def check_delivered(state: State, event: e.ReportDelivered) -> None:
    """Each revision goes to each recipient once, and only one that was issued. Errors: NotFound, Conflict."""
    issued = state.issued.get((event.subject, event.period))
    if issued is None or issued.revision < event.revision:
        name = f"{event.subject} {event.period} r{event.revision}"
        raise NotFound("issued report", name, "See them with: halfpenny report list.")
    if delivery_of(event) in state.closings.delivered:
        raise Conflict(
            f"Revision {event.revision} of {event.period} for {event.subject} went there by {event.channel} already."
        )
