"""Lets the budget-month benchmark drive `router.policy`: translates its calls, decides nothing.

`run.py --policy router_policy:make_policy` with bench/ and the repository on the path; `make bench-router` does it.
The log of the month before is folded in as facts, in order of time, like the month itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from types import ModuleType
from typing import Any

from router import aggregates, costs, forecast, gains, policy
from router.aggregates import PolicyConfig, State, TicketView
from router.costs import ArmPrice

TRUSTED_DAYS = 1e9  # of evidence: nothing that comes moves it
Constants = Mapping[tuple[ModuleType, str], Any]

# What bench/router_sensitivity.py turns, as it stands; every month begins by setting it, so that none keeps another's.
SET: Constants = {
    (module, name): getattr(module, name)
    for module, names in {
        aggregates: ("CONTINGENCY_SHARE", "RESERVE_Z", "REFRESH_S", "WINDOW_TICKETS", "COLD_RATINGS"),
        forecast: (
            *("LEVEL_DAYS", "PRIOR_DAYS", "PRIOR_WEEKS", "BURST_DAYS", "BURST_PRIOR_DAYS", "DAY_SIGMA"),
            *("DAY_SIGMA_DAYS", "CORRELATED_DAYS"),
        ),
        gains: ("PRIOR_SD", "MEMORY_RATINGS", "CUSUM_SLACK", "CUSUM_BAND", "SHIFT_SD"),
        costs: ("MEMORY_CALLS", "PRIOR_CALLS"),
    }.items()
    for name in names
}


class BudgetMonthPolicy:
    """The benchmark's Policy protocol over our folds. Its values are read by attribute, never imported."""

    state: State

    def __init__(self, constants: Constants | None = None) -> None:
        self.constants = {**SET, **(constants or {})}

    def start(self, plan: Any) -> None:
        """Fold the log in, then open the month."""
        for (module, name), value in self.constants.items():
            setattr(module, name, value)
        standard, premium = plan.arms[0].name, plan.arms[1].name
        config = PolicyConfig(
            arms=tuple(arm.name for arm in plan.arms),
            class_arms=(("simple", standard), ("complex", premium)),
            seed=str(plan.seed),
        )
        self.state = state = aggregates.new_state(config, {arm.name: _price(arm.price) for arm in plan.arms})
        for row in plan.log:
            ticket = _view(row.ticket)
            aggregates.arrived(state, ticket)
            aggregates.reserved(state, ticket, row.arm)
            aggregates.settled(state, ticket.ticket_id, row.cost_usd, row.output_tokens, ticket.at)
            if row.quality is not None:
                aggregates.feedback(state, ticket.ticket_id, row.quality, ticket.at)
        aggregates.period_opened(state, plan.start, plan.end, plan.budget_usd)

    def decide(self, ticket: Any, _now: datetime) -> policy.Decision:
        """One decision, with the folds a gateway would make beside it."""
        state, view = self.state, _view(ticket)
        decision = policy.decide(state, view)
        aggregates.arrived(state, view)
        if decision.fits:
            aggregates.reserved(state, view, decision.arm)
        return decision

    def settle(self, ticket_id: str, _arm: str, cost_usd: float, output_tokens: int, now: datetime) -> None:
        """A brownout was never reserved here, so it settles nothing."""
        aggregates.settled(self.state, ticket_id, cost_usd, output_tokens, now)

    def feedback(self, ticket_id: str, _arm: str, quality: float, now: datetime) -> None:
        """Pass on."""
        aggregates.feedback(self.state, ticket_id, quality, now)

    def reprice(self, arm: str, price: Any, now: datetime) -> None:
        """Pass on."""
        aggregates.repriced(self.state, arm, _price(price), now)

    def budget(self, amount: float, now: datetime) -> None:
        """Pass on."""
        aggregates.budget_changed(self.state, amount, now)


class VolumeKnown(BudgetMonthPolicy):
    """The ceiling: ours, told every hour's arrivals, and so without contingency, burst or level. Seconds from the start."""

    def __init__(self, arrivals: Sequence[float]) -> None:
        super().__init__({(aggregates, "CONTINGENCY_SHARE"): 0.0, (forecast, "BURST_PRIOR_DAYS"): TRUSTED_DAYS})
        self._arrivals = arrivals

    def start(self, plan: Any) -> None:
        """As any month, then what was foretold is replaced by what comes."""
        super().start(plan)
        volume = self.state.volume
        hourly = [0] * (len(volume.cumulative) - 1)
        for second in self._arrivals:
            hourly[int(second // forecast.HOUR_S)] += 1
        volume.cumulative = [0.0, *(float(count) for count in accumulate(hourly))]
        volume.prior_days, volume.day_sigma = TRUSTED_DAYS, 0.0
        aggregates.refresh(self.state, plan.start)


def make_policy() -> BudgetMonthPolicy:
    """A fresh policy, as run.py wants one for every month."""
    return BudgetMonthPolicy()


def volume_known(month: Any) -> VolumeKnown:
    """The same, told the month's arrivals, as budget_month.evaluate makes one."""
    return VolumeKnown(month.seconds)


def _view(ticket: Any) -> TicketView:
    return TicketView(
        ticket_id=ticket.id,
        at=ticket.at,
        ticket_class=ticket.label,
        score=ticket.score,
        prompt_tokens=ticket.prompt_tokens,
        holds_usd=ticket.reserve_usd,
    )


def _price(price: Any) -> ArmPrice:
    return ArmPrice(price.input, price.output)
