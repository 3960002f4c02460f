"""What a client's month will have cost, with an interval that eight months in ten should end in.

Spent so far, plus the tickets still to come times what a ticket costs. Both are uncertain: the volume as forecast.py
says, the cost of a ticket as so many tickets show. A budget caps both ends, since no call passes it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from router import forecast
from router.aggregates import UNCAPPED_USD, State

Z80 = 1.281552  # normal deviations that 80 % stay within
# Costs of single tickets spread about as wide as their mean: replies differ in length, and arms in price.
COST_SPREAD = 1.0
# Until the month's own mean cost of a ticket is known from this many, what tickets cost before is mixed in.
PRIOR_TICKETS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthEnd:
    """USD at the end of the period, with the figures it comes from. `budget_usd` is None without a budget."""

    spent_usd: float
    expected_usd: float
    low_usd: float
    high_usd: float
    tickets: int
    tickets_expected: float  # still to come
    tickets_low: float
    tickets_high: float
    usd_per_ticket: float
    budget_usd: float | None


def month_end(state: State, at_s: float, spent_usd: float | None = None) -> MonthEnd:
    """The forecast from a state, at a moment in epoch seconds within its period.

    Units: `spent_usd` counts everything of the period, also what is no ticket; absent, it is what the state settled.
    """
    volume = state.volume
    spent = state.settled_usd + state.open_expected_usd if spent_usd is None else spent_usd
    if at_s >= volume.end_s:
        rest, low, high = 0.0, 0.0, 0.0
    else:
        outlook = forecast.outlook(volume, at_s)
        rest, low, high = outlook.tickets, outlook.quantile(-Z80), outlook.quantile(Z80)
    prior = _usual_usd(state) + state.beside_usd_per_ticket
    each = (spent + PRIOR_TICKETS * prior) / (volume.seen + PRIOR_TICKETS)
    wide = math.log(high / low) / (2.0 * Z80) if rest > 0.0 else 0.0
    sd = math.sqrt(wide**2 + COST_SPREAD**2 / (volume.seen + PRIOR_TICKETS))
    budget = None if state.budget_usd >= UNCAPPED_USD else state.budget_usd

    def ending(tickets: float) -> float:
        total = spent + each * tickets
        return total if budget is None else max(min(total, budget), spent)

    middle = math.sqrt(low * high)
    return MonthEnd(
        spent_usd=spent,
        expected_usd=ending(rest),
        low_usd=ending(middle * math.exp(-Z80 * sd)),
        high_usd=ending(middle * math.exp(Z80 * sd)),
        tickets=volume.seen,
        tickets_expected=rest,
        tickets_low=low,
        tickets_high=high,
        usd_per_ticket=each,
        budget_usd=budget,
    )


def _usual_usd(state: State) -> float:
    """What a draft cost so far, over the arms as they were taken; the cheapest arm's expectation before any was settled."""
    calls = sum(arm.calls for arm in state.costs.values())
    if not calls:
        return state.curve.base_usd
    return math.fsum(arm.calls * arm.actual_usd / arm.weight for arm in state.costs.values() if arm.weight) / calls
