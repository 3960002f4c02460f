"""Which budgets were warned about: once for each period, threshold and cap.

A cap that is raised has thresholds of its own, so it warns anew.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from ledger import events as e
from ledger.errors import Conflict

if TYPE_CHECKING:
    from ledger.projections import State


class Warned(NamedTuple):
    """One warning that was given. Shapes: `scope_id` is empty for the whole."""

    scope: str
    scope_id: str
    period: str
    threshold: float
    cap: Decimal


def warning_of(event: e.BudgetWarned) -> Warned:
    """What the event warned about."""
    scope_id = "" if event.scope == "whole" else event.subject
    return Warned(event.scope, scope_id, event.period, event.threshold, Decimal(event.cap_usd))


def budget_warned(state: State, event: e.BudgetWarned) -> None:
    """Fold."""
    state.warned.add(warning_of(event))


def check_warned(state: State, event: e.BudgetWarned) -> None:
    """Errors: Conflict when the same warning was given."""
    if warning_of(event) in state.warned:
        raise Conflict(
            f"{event.subject} was warned at {event.threshold:.0%} of {event.cap_usd} USD for {event.period}."
        )
