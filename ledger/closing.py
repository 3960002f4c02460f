"""Closing a month and telling a closed one anew: which events its report is made of, and what they add up to."""

from __future__ import annotations

from ledger.admin import Stamp
from ledger.budgets import period_named
from ledger.closings import position_of
from ledger.errors import Conflict, InvalidInput
from ledger.events import MonthClosed, MonthRestated
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
    _refuse_open_holds(state, client_id, period)
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


def month_restated(state: State, stamp: Stamp, client_id: str, period: str, reason: str) -> MonthRestated:
    """A closed month told anew at this state.

    Errors: NotFound for the client, BadPeriod, Conflict when it is not closed, InvalidInput without a reason or
    with calls in flight.
    """
    period_named(period, state.client(client_id).zone)
    key = (client_id, period)
    before = position_of(state, client_id, period)
    if before is None:
        raise Conflict(f"{period} of {client_id} is not closed, so there is nothing to restate. Close it first.")
    if not reason.strip():
        raise InvalidInput("A restatement needs its reason. Say what came later, like --restate 'two calls found'.")
    _refuse_open_holds(state, client_id, period)
    last = state.closings.restated.get(key)
    total = state.total(client_id, period)
    return MonthRestated(
        id=stamp.event_id,
        subject=client_id,
        client_id=client_id,
        time=stamp.now,
        period=period,
        restatement=1 if last is None else last.restatement + 1,
        up_to_sequence=state.position,
        calls=total.calls,
        cost_usd=text(total.cost_usd),
        previous_cost_usd=state.closed[key].cost_usd if last is None else last.cost_usd,
        reason=reason.strip()[:2000],
    )


def _refuse_open_holds(state: State, client_id: str, period: str) -> None:
    open_holds = sum(hold.client_id == client_id and hold.period == period for hold in state.holds.values())
    if open_holds:
        raise InvalidInput(
            f"{open_holds} calls of {period} are still in flight for {client_id}. Close the month when they have ended."
        )
