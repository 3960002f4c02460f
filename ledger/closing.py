"""Closing a month: which events its report is made of, and what they add up to."""

from __future__ import annotations

from ledger.admin import Stamp
from ledger.budgets import period_named
from ledger.errors import InvalidInput
from ledger.events import MonthClosed
from ledger.money import text
from ledger.projections import State


def month_closed(state: State, stamp: Stamp, client_id: str, period: str) -> MonthClosed:
    """The closing of a client's month at this state.

    Shapes: `up_to_sequence` is the state's position. Errors: NotFound for the client, BadPeriod, InvalidInput when
    the month is not over or calls of it are still in flight.
    """
    month = period_named(period, state.client(client_id).zone)
    if stamp.now < month.end:
        raise InvalidInput(f"{period} of {client_id} ends at {month.end:%Y-%m-%dT%H:%M:%SZ}. Close it after that.")
    open_holds = sum(hold.client_id == client_id and hold.period == period for hold in state.holds.values())
    if open_holds:
        raise InvalidInput(
            f"{open_holds} calls of {period} are still in flight for {client_id}. Close the month when they have ended."
        )
    total = state.total(client_id, period)
    return MonthClosed(
        id=stamp.event_id,
        subject=client_id,
        client_id=client_id,
        time=stamp.now,
        period=period,
        up_to_sequence=state.position,
        calls=total.calls,
        cost_usd=text(total.cost_usd),
    )
