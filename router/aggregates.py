"""The rolling figures the policies read, all folds of what happened.

Each fold takes the state and one fact and changes the state in place, for speed; the same facts in the
same order give the same state to the last digit. Nothing here knows the clock: moments come with the
facts, and one that lies before its predecessor is taken as simultaneous with it.

Refreshing needs no timer either: the folds of settled calls, prices, budgets and alarms refresh when an hour has
passed or something has turned, so a replay refreshes at the same facts as the live service did.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from router import costs, forecast, gains, pace
from router.costs import ArmCost, ArmPrice
from router.forecast import HOUR_S, Outlook, Volume
from router.gains import ArmQuality, Features

TicketClass = Literal["simple", "complex"]
PolicyName = Literal["label", "fixed", "paced", "floor"]
Rating = Literal["learned", "alarm", "unknown", "repeated", "out_of_range"]

REFRESH_S = HOUR_S  # the curve moves with ratings and prices, which an hour hardly changes
# Sampled tickets behind the curve: at a third upgraded the cut is known to 1.6 % (one deviation) of the tickets.
WINDOW_TICKETS = 800
# Tickets whose rating may still come, or came: some months of them.
REMEMBERED_TICKETS = 60_000
# Ratings an arm needs before its regression is believed: its mean is then known to about 0.1.
COLD_RATINGS = 30.0
# The cheapest arm's reserve covers the volume that five months in six do not exceed: one deviation. More guards
# better against a burst of days and costs upgrades in every other month; bench/router.py shows both.
RESERVE_Z = 1.0
# Tickets no history foretells, as a share of those expected: an outage, a campaign, a backlog after a holiday. Three
# days' worth a month, in proportion to the time left for them to happen.
CONTINGENCY_SHARE = 0.10
# A rating is 0..1 and its noise may leave that; beyond this it is a mistake of the sender.
RATING_RANGE = (-1.0, 2.0)
# A budget nobody set. Finite, since what is computed from it has to be written down.
UNCAPPED_USD = 1e9
# What calls beside the drafts cost, like sorting, is averaged over about a week of tickets.
BESIDE_MEMORY = 1000.0


class PolicyMisconfigured(ValueError):
    """A policy was asked to work without an arm, a price or a hold that it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyConfig:
    """What a client's policy is told. Arms are names; their order means nothing.

    `class_arms` maps each ticket class to the arm `label` sends it to; `shares` are (arm, share) and sum to 1;
    `target_quality` (0..1, one minus the edit rate) is what `floor` keeps; `minutes_per_quality` turns quality
    into edit minutes where words are made, and changes no decision.
    """

    arms: tuple[str, ...]
    class_arms: tuple[tuple[TicketClass, str], ...]
    policy: PolicyName = "paced"
    shares: tuple[tuple[str, float], ...] = ()
    target_quality: float | None = None
    explore: float = 0.005  # share drawn of tickets at the margin, so that other splits can be evaluated
    explore_cold: float = 0.05  # while an arm has too few ratings to be judged
    minutes_per_quality: float | None = None
    seed: str = ""
    client_id: str = ""  # so that two clients draw on their own

    def __post_init__(self) -> None:
        if not self.arms or len(set(self.arms)) != len(self.arms):
            raise PolicyMisconfigured(f"arms must be named and distinct, got {self.arms!r}")
        classes = dict(self.class_arms)
        named = {*classes.values(), *(arm for arm, _ in self.shares)}
        if unknown := named - set(self.arms):
            raise PolicyMisconfigured(f"arms {sorted(unknown)} are used but not among {list(self.arms)}")
        if {"simple", "complex"} - set(classes):
            raise PolicyMisconfigured(f"class_arms must name an arm for simple and for complex, got {classes!r}")
        if self.policy == "fixed" and abs(math.fsum(share for _, share in self.shares) - 1.0) > 1e-9:
            raise PolicyMisconfigured(f"the shares of policy 'fixed' must sum to 1, got {self.shares!r}")
        if any(share < 0.0 for _, share in self.shares):
            raise PolicyMisconfigured(f"a share may not be negative, got {self.shares!r}")
        if self.policy == "floor" and self.target_quality is None:
            raise PolicyMisconfigured("policy 'floor' needs target_quality, the quality (1 - edit rate) to keep")
        if not (0.0 <= self.explore < 1.0 and 0.0 <= self.explore_cold < 1.0):
            raise PolicyMisconfigured(f"explore must be in [0, 1), got {self.explore} and {self.explore_cold}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketView:
    """One ticket as it is known before any model has answered.

    Shapes: `holds_usd` is the worst case per arm, None where the arm has no price now; it needs one per arm.
    """

    ticket_id: str
    at: datetime
    ticket_class: TicketClass
    score: float | None
    prompt_tokens: int
    holds_usd: Mapping[str, float | None]


class OpenCall(Struct, frozen=True):
    """A call in flight: what is held and expected of it, and the price it began at.

    Shapes: no `price`: a call beside the drafts, of which nothing is learned but its cost; `period` 0: of a month that
    is not the one in force; an orphan's hold counts as spent until its end is known.
    """

    arm: str
    hold_usd: float
    expected_usd: float
    prompt_tokens: int
    price: ArmPrice | None
    period: int
    is_orphan: bool = False


@dataclass(slots=True)
class State:
    """All a policy remembers: numbers, names, lists of them."""

    config: PolicyConfig
    prices: dict[str, ArmPrice]
    volume: Volume
    budget_usd: float = 0.0
    is_hard: bool = True  # False: a call over the budget is made all the same
    settled_usd: float = 0.0
    held_usd: float = 0.0
    open_expected_usd: float = 0.0
    period: int = 0
    open: dict[str, OpenCall] = field(default_factory=dict)
    quality: dict[str, ArmQuality] = field(default_factory=dict)
    costs: dict[str, ArmCost] = field(default_factory=dict)
    replied: dict[str, tuple[str, Features] | None] = field(default_factory=dict)  # None: rated already
    window: list[tuple[Features, int, TicketClass]] = field(default_factory=list)
    window_next: int = 0
    curve: pace.Curve = field(default_factory=pace.Curve)
    refreshed_s: float = 0.0
    is_cold: bool = True
    lambda_: float = 0.0  # quality per USD at which the budget lasts
    target_lambda: float | None = None  # at which target_quality is kept; None: no lambda does
    outlook: Outlook = field(default_factory=lambda: Outlook(1.0, 1.0))
    reserve_usd: float = 0.0  # of the budget left, kept for the rest of the period on the cheapest arm
    beside_usd: float = 0.0  # discounted cost of calls beside the drafts, and of the tickets they came with
    beside_tickets: float = 0.0
    minutes_per_quality: float | None = None  # as timed edits have it; the configuration's goes first

    @property
    def left_usd(self) -> float:
        """Budget after settled calls and what open ones are expected to cost."""
        return self.budget_usd - self.settled_usd - self.open_expected_usd

    @property
    def available_usd(self) -> float:
        """Budget after settled calls and the worst case of open ones: what a new hold must fit into."""
        return self.budget_usd - self.settled_usd - self.held_usd

    @property
    def beside_usd_per_ticket(self) -> float:
        """What calls beside the draft cost a ticket."""
        return self.beside_usd / self.beside_tickets if self.beside_tickets else 0.0

    @property
    def arms(self) -> list[str]:
        """The arms that have a price, in the configuration's order."""
        return [arm for arm in self.config.arms if arm in self.prices]


def new_state(
    config: PolicyConfig, prices: Mapping[str, ArmPrice], utc_offset_s: float = 0.0, *, may_lack_prices: bool = False
) -> State:
    """A state that has seen nothing. Errors: PolicyMisconfigured when an arm has no price and none may come later."""
    for arm in config.arms:
        if arm not in prices and not may_lack_prices:
            raise PolicyMisconfigured(f"arm {arm!r} has no price. Known: {sorted(prices)}. List one for it first.")
    return State(
        config=config,
        prices={arm: prices[arm] for arm in config.arms if arm in prices},
        volume=Volume(0.0, 1.0, utc_offset_s=utc_offset_s, cumulative=[0.0, 1.0]),
        quality={arm: ArmQuality() for arm in config.arms},
        costs={arm: ArmCost() for arm in config.arms},
    )


def period_opened(
    state: State,
    start: datetime,
    end: datetime,
    budget_usd: float,
    planned_tickets: float = 0.0,
    settled_usd: float = 0.0,
) -> None:
    """A new budget period: money starts at zero, what was learned stays. Calls in flight stay with their own period.

    Shapes: `settled_usd` is what a period that is opened again has spent already.
    """
    forecast.open_period(state.volume, start.timestamp(), end.timestamp(), planned_tickets)
    state.period += 1
    state.budget_usd, state.settled_usd = budget_usd, settled_usd
    state.held_usd = state.open_expected_usd = 0.0
    refresh(state, start)


def arrived(state: State, ticket: TicketView) -> None:
    """A ticket came, whether or not it will be served."""
    forecast.arrived(state.volume, ticket.at.timestamp())
    keep = 1.0 - 1.0 / BESIDE_MEMORY
    state.beside_usd *= keep
    state.beside_tickets = state.beside_tickets * keep + 1.0
    x = gains.features(ticket.score, ticket.ticket_class, ticket.prompt_tokens)
    row = (x, ticket.prompt_tokens, ticket.ticket_class)
    if len(state.window) < WINDOW_TICKETS:
        state.window.append(row)
    else:
        state.window[state.window_next] = row
        state.window_next = (state.window_next + 1) % WINDOW_TICKETS


def turned_away(state: State, at: datetime) -> None:
    """A ticket came and no arm could take it."""
    forecast.arrived(state.volume, at.timestamp())


def unwound(state: State) -> None:
    """The clock went back by more than calls overlap: the arrivals it counted ahead say nothing of when they came."""
    state.volume = Volume(0.0, 1.0, cumulative=[0.0, 1.0])
    state.refreshed_s = 0.0


def reserved(state: State, ticket: TicketView, arm: str, key: str | None = None, *, is_current: bool = True) -> None:
    """The ticket goes to an arm and its worst case is held.

    Shapes: `key` names the attempt where a ticket may take several; not `is_current`: its money is another month's.
    """
    price = state.prices[arm]
    expected = costs.expected_usd(state.costs[arm], ticket.prompt_tokens, price)
    call = OpenCall(arm, ticket.holds_usd[arm] or 0.0, expected, ticket.prompt_tokens, price, state.period * is_current)
    _hold(state, key or ticket.ticket_id, call)
    x = gains.features(ticket.score, ticket.ticket_class, ticket.prompt_tokens)
    state.replied[ticket.ticket_id] = (arm, x)
    forget_oldest(state.replied)


def forget_oldest(kept: dict[str, Any]) -> None:
    """Let go of what was kept before the newest REMEMBERED_TICKETS, when it is a hundredth more.

    Shapes: some hundreds at once, since whoever looks for the first of a dictionary passes over all that were deleted before it.
    """
    spare = len(kept) - REMEMBERED_TICKETS
    if spare > REMEMBERED_TICKETS // 100:
        for key in list(islice(kept, spare)):
            del kept[key]


def held(state: State, key: str, hold_usd: float, *, is_current: bool = True) -> None:
    """A call beside the drafts holds its worst case; what it is expected to cost stands in every ticket's share of them."""
    _hold(state, key, OpenCall("", hold_usd, 0.0, 0, None, state.period * is_current))


def settled(state: State, key: str, cost_usd: float, output_tokens: int | None, at: datetime) -> None:
    """A call ended and cost this much. One that is not open (refused, or settled before) changes nothing.

    Shapes: no `output_tokens`: the cost is an estimate, and nothing is learned from it.
    """
    call = state.open.pop(key, None)
    if call is None:
        return
    if call.price is None:
        state.beside_usd += cost_usd
    elif output_tokens is not None:
        costs.settled(state.costs[call.arm], call.prompt_tokens, output_tokens, cost_usd, call.price)
    _release(state, call, cost_usd)
    if not state.period or call.price is None:
        return
    moment = at.timestamp()
    if moment - state.refreshed_s >= REFRESH_S:
        refresh(state, at)
    else:
        _repace(state, moment)


def surcharged(state: State, arm: str, cost_usd: float) -> None:
    """A reply of an arm cost more than its own call: it was written again."""
    state.costs[arm].actual_usd += cost_usd


def voided(state: State, key: str, ticket_id: str | None = None) -> None:
    """A call ended without any cost: release its hold, learn nothing, expect no rating."""
    call = state.open.pop(key, None)
    state.replied.pop(ticket_id or key, None)
    if call is not None:
        _release(state, call, 0.0)


def orphaned(state: State, key: str) -> None:
    """Nobody knows how a call ended: its hold counts as spent until someone does."""
    call = state.open.get(key)
    if call is None or call.is_orphan:
        return
    _release(state, call, call.hold_usd)
    state.open[key] = replace(call, expected_usd=0.0, is_orphan=True)


def _hold(state: State, key: str, call: OpenCall) -> None:
    state.open[key] = call
    if call.period:
        state.held_usd += call.hold_usd
        state.open_expected_usd += call.expected_usd


def _release(state: State, call: OpenCall, cost_usd: float) -> None:
    """Money of a call that ended, where it is this period's; an orphan's hold was spent already."""
    if call.period != state.period or not call.period:
        return
    if call.is_orphan:
        state.settled_usd += cost_usd - call.hold_usd
        return
    state.held_usd -= call.hold_usd
    state.open_expected_usd -= call.expected_usd
    state.settled_usd += cost_usd
    if not state.open:  # no rounding dust
        state.held_usd = state.open_expected_usd = 0.0


def feedback(state: State, ticket_id: str, quality: float, at: datetime) -> Rating:
    """A reply was rated, possibly after its month closed. What could not be learned is said, never raised.

    Units: quality 0..1 (one minus the edit ratio); noise may leave that range a little.
    """
    if not RATING_RANGE[0] <= quality <= RATING_RANGE[1]:  # also refuses nan
        return "out_of_range"
    if ticket_id not in state.replied:
        return "unknown"
    reply = state.replied[ticket_id]
    if reply is None:
        return "repeated"
    state.replied[ticket_id] = None
    arm, x = reply
    if not gains.rated(state.quality[arm], x, quality):
        return "learned"
    refresh(state, at)
    return "alarm"


def repriced(state: State, arm: str, price: ArmPrice, at: datetime) -> None:
    """A list price changed. Errors: PolicyMisconfigured for an arm the policy does not have."""
    if arm not in state.config.arms:
        raise PolicyMisconfigured(f"a price came for arm {arm!r}; the policy has {list(state.config.arms)}")
    state.prices[arm] = price
    refresh(state, at)


def unpriced(state: State, arm: str, at: datetime) -> None:
    """An arm's price ended and none follows: it is offered no more until one does."""
    if state.prices.pop(arm, None) is not None:
        refresh(state, at)


def doubted(state: State, arm: str, at: datetime) -> None:
    """An arm may no longer be what was learned of it: its level may be anywhere near, and its costs weigh as a prior."""
    gains.doubt(state.quality[arm])
    costs.doubt(state.costs[arm])
    refresh(state, at)


def mix_changed(state: State, latest: int, at: datetime) -> None:
    """Only the `latest` tickets are like those that will come."""
    ordered = state.window[state.window_next :] + state.window[: state.window_next]
    state.window, state.window_next = ordered[-latest:], 0
    refresh(state, at)


def budget_changed(state: State, budget_usd: float, at: datetime) -> None:
    """The budget of the whole period is this much from now on."""
    state.budget_usd = budget_usd
    refresh(state, at)


def reconfigured(state: State, config: PolicyConfig, at: datetime) -> None:
    """Another policy, or the same with other figures, over the same arms; what was learned stays."""
    state.config = config
    refresh(state, at)


def refresh(state: State, at: datetime) -> None:
    """Recompute coefficients, curve, lambda and reserve from the sums. Before the first period there is no pace."""
    if not state.period:
        return
    for arm in state.config.arms:
        gains.solve(state.quality[arm])
        costs.solve(state.costs[arm])
    arms = state.arms
    state.is_cold = any(state.quality[arm].weight < COLD_RATINGS for arm in arms)
    moment = max(at.timestamp(), state.volume.last_s)
    if state.window and arms:
        state.curve = pace.price_curve(list(zip(*(sampled(state, arm) for arm in arms), strict=True)))
    state.refreshed_s = moment
    _repace(state, moment)


def offers(state: State, x: Features, prompt_tokens: int) -> list[pace.Offer]:
    """Expected quality and cost of every arm that has a price, in the order of `state.arms`."""
    return [
        (
            gains.predict(state.quality[arm], x),
            costs.expected_usd(state.costs[arm], prompt_tokens, state.prices[arm]),
        )
        for arm in state.arms
    ]


def sampled(state: State, arm: str) -> list[pace.Offer]:
    """One arm's offers to every sampled ticket."""
    quality, cost, price = state.quality[arm], state.costs[arm], state.prices[arm]
    predict, expected = gains.predict, costs.expected_usd
    return [(predict(quality, x), expected(cost, tokens, price)) for x, tokens, _ in state.window]


def _repace(state: State, moment: float) -> None:
    """Lambda and reserve for the money and the tickets left."""
    state.outlook = outlook = forecast.outlook(state.volume, moment)
    curve = state.curve
    beside = state.beside_usd_per_ticket
    state.reserve_usd = (curve.base_usd + beside) * outlook.quantile(RESERVE_Z)
    state.lambda_ = pace.expected_price(curve, state.left_usd / (1.0 + CONTINGENCY_SHARE), outlook.outcomes, beside)
    if state.config.target_quality is not None:
        state.target_lambda = pace.target_price(curve, state.config.target_quality)
