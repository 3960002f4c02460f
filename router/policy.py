"""Which arm answers a ticket: four policies, each a pure function of state and ticket.

`label` sends each ticket class to its arm. `fixed` splits by shares. `paced` buys quality where a dollar buys
most, at the price (lambda) at which the period's budget lasts. `floor` spends as little as keeps a target quality.

None of them has a clock or a die: a coin is a hash of the configuration's seed and the ticket's id, so a
replay flips it the same way. No policy picks an arm whose hold does not fit while another arm's does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple

from ledger.money import text
from router import gains
from router.aggregates import UNCAPPED_USD, PolicyMisconfigured, PolicyName, State, TicketView, offers

VERSION = "1"
# Exploring costs what the other arm is worth less. Near the margin that is next to nothing, and those are the
# tickets another split would send elsewhere; a fifth of the share remains everywhere, so that no ticket is certain.
EXPLORE_FALL = 2.4  # down to the floor where the relative difference is a third: a gain twice its price
EXPLORE_FLOOR = 0.2
COIN_SIDES = 1 << 64


class ArmOffer(NamedTuple):
    """What one arm was expected to do for this ticket. A tuple, as every decision makes one per arm."""

    arm: str
    quality: float
    expected_usd: float
    hold_usd: float
    fits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The arm, how likely it was to be chosen, and the figures that were seen. Money is USD."""

    arm: str
    propensity: float
    policy: PolicyName
    version: str
    rule: str  # what decided: see _RULES
    fits: bool  # False: no arm's hold fits, the fallback must answer
    ticket_class: str
    lambda_: float  # quality per USD
    offers: tuple[ArmOffer, ...]
    budget_usd: float
    budget_left_usd: float
    tickets_expected: float
    hours_to_go: float
    minutes_per_quality: float | None

    @property
    def named(self) -> str:
        """The policy as an event names it: with its version where what it learned, and not its setting, decides."""
        return self.policy if self.policy in ("label", "fixed") else f"{self.policy}@{self.version}"

    @property
    def is_capped(self) -> bool:
        """Whether there is a budget at all."""
        return self.budget_usd < UNCAPPED_USD

    @property
    def gain(self) -> float:
        """Quality expected beyond the cheapest arm."""
        return self._chosen.quality - self._cheapest.quality

    @property
    def extra_usd(self) -> float:
        """Cost expected beyond the cheapest arm."""
        return self._chosen.expected_usd - self._cheapest.expected_usd

    @property
    def _chosen(self) -> ArmOffer:
        return next(offer for offer in self.offers if offer.arm == self.arm)

    @property
    def _cheapest(self) -> ArmOffer:
        return min(self.offers, key=lambda offer: offer.expected_usd)

    @property
    def reason(self) -> str:
        """One line for people: the class, what the best step up would have bought, the price, the budget."""
        return "; ".join((self.ticket_class, self._comparison(), _RULES[self.rule], self._situation()))

    def _comparison(self) -> str:
        base = self._cheapest
        best = self._chosen
        if best.arm == base.arm and len(self.offers) > 1:
            best = max((o for o in self.offers if o.arm != base.arm), key=lambda offer: offer.quality)
        gain, extra = best.quality - base.quality, best.expected_usd - base.expected_usd
        if best.arm == base.arm:
            return f"{best.arm} is the only arm"
        return f"{best.arm} gains {self._amount(gain)} for {extra:.4f} USD over {base.arm}"

    def _situation(self) -> str:
        days = self.hours_to_go / 24.0
        price = f"lambda {self._amount(self.lambda_)}/USD"
        if not self.is_capped:
            return f"{price}; no budget is set"
        return (
            f"{price}; {self.budget_left_usd:.2f} of {self.budget_usd:.2f} USD left, "
            f"{self.tickets_expected:.0f} tickets expected, {days:.1f} days to go"
        )

    def _amount(self, quality: float) -> str:
        if self.minutes_per_quality is None:
            return f"{quality:.3g} quality"
        return f"{quality * self.minutes_per_quality:.3g} edit minutes"


_RULES = {
    "class": "the class decides",
    "share": "the share decides",
    "gain": "the step pays at this lambda",
    "saved": "no step pays at this lambda",
    "reserve": "a better arm would touch the reserve of the cheapest",
    "explore": "drawn to keep other splits measurable",
    "cold": "too few ratings yet, the class decides",
    "target": "cheapest that keeps the target quality",
    "target_missed": "no arm reaches the target quality, the best answers",
    "exhausted": "no arm's worst case fits the budget",
}


def about(usd: float) -> str:
    """An expectation of USD as an event holds money: a millionth of a dollar is finer than any of them is known."""
    return text(Decimal(f"{usd:.6f}"))


def coin(*texts: str) -> float:
    """A number in [0, 1), the same whenever the same texts are given; each is length-prefixed, so none runs into the next."""
    parts = "".join(f"{len(part)}:{part}" for part in texts)
    return int.from_bytes(blake2b(parts.encode(), digest_size=8).digest()) / COIN_SIDES


def decide(state: State, ticket: TicketView) -> Decision:
    """The configured policy's decision. Errors: PolicyMisconfigured when the ticket lacks an arm's hold."""
    return _POLICIES[state.config.policy](state, ticket)


def label(state: State, ticket: TicketView) -> Decision:
    """The class's arm, always."""
    seen = _offers(state, ticket)
    return _draw(state, ticket, seen, "label", _surely(_fitting(seen, _class_arm(state, ticket, seen)), "class"))


def fixed(state: State, ticket: TicketView) -> Decision:
    """An arm drawn by the configured shares; the share of an arm that does not fit goes to the cheapest that does."""
    seen = _offers(state, ticket)
    shares = dict.fromkeys(state.config.arms, 0.0)
    for arm, share in state.config.shares:
        shares[_fitting(seen, arm)] += share
    drawable = tuple((arm, share) for arm, share in shares.items() if share > 0.0)
    return _draw(state, ticket, seen, "fixed", Choice("share", drawable))


def paced(state: State, ticket: TicketView) -> Decision:
    """The most quality after paying lambda for the cost, as long as the cheapest arm's reserve stays whole.

    While an arm has too few ratings to be judged the class decides, as `label` does, and more is explored, once
    there are ratings at all: where none come there is nothing to learn.
    """
    seen = _offers(state, ticket)
    if state.is_cold:
        wanted, rule, explore = _class_arm(state, ticket, seen), "cold", _explore_cold(state)
    else:
        best = _best(seen, state.lambda_)
        rule = "gain" if best.expected_usd > _cheapest(seen).expected_usd else "saved"
        wanted, explore = best.arm, state.config.explore
    arm = _keeping_reserve(state, seen, wanted)
    if arm != wanted:
        return _draw(state, ticket, seen, "paced", _surely(_fitting(seen, arm), "reserve"))
    price = None if state.is_cold else state.lambda_
    return _draw(state, ticket, seen, "paced", _exploring(seen, _fitting(seen, arm), rule, explore, price))


def floor(state: State, ticket: TicketView) -> Decision:
    """The most quality after paying the highest lambda that keeps the target quality on average."""
    seen = _offers(state, ticket)
    explore = state.config.explore
    if state.is_cold:
        arm, rule, explore = _class_arm(state, ticket, seen), "cold", _explore_cold(state)
    elif state.target_lambda is None:
        arm, rule = max(seen, key=lambda offer: (offer.quality, -offer.expected_usd)).arm, "target_missed"
    else:
        arm, rule = _best(seen, state.target_lambda).arm, "target"
    price = state.target_lambda or 0.0
    choice = _exploring(seen, _fitting(seen, arm), rule, explore, None if state.is_cold else price)
    return _draw(state, ticket, seen, "floor", choice, price)


_POLICIES: dict[PolicyName, Callable[[State, TicketView], Decision]] = {
    "label": label,
    "fixed": fixed,
    "paced": paced,
    "floor": floor,
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What decided, and the arms with the probability of each; they sum to 1, the wanted arm comes first."""

    rule: str
    shares: tuple[tuple[str, float], ...]


def _surely(arm: str, rule: str) -> Choice:
    return Choice(rule, ((arm, 1.0),))


def _exploring(seen: list[ArmOffer], arm: str, rule: str, explore: float, price: float | None) -> Choice:
    """The wanted arm, with a small share for each other one that fits: `explore` at the margin, less beyond it.

    Without a price (while arms cannot be judged) every other arm has the full share.
    """
    others = [offer for offer in seen if offer.fits and offer.arm != arm]
    if not others or explore <= 0.0:
        return _surely(arm, rule)
    wanted = next(offer for offer in seen if offer.arm == arm)
    each = explore / len(others)
    drawn = [(other.arm, each * (1.0 if price is None else _cheapness(wanted, other, price))) for other in others]
    return Choice(rule, ((arm, 1.0 - math.fsum(share for _, share in drawn)), *drawn))


def _cheapness(wanted: ArmOffer, other: ArmOffer, price: float) -> float:
    """1 where both arms are worth the same at this price, falling to EXPLORE_FLOOR where one is twice the better."""
    gain, cost = wanted.quality - other.quality, price * (wanted.expected_usd - other.expected_usd)
    size = abs(gain) + abs(cost)
    return max(1.0 - EXPLORE_FALL * abs(gain - cost) / size, EXPLORE_FLOOR) if size > 0.0 else 1.0


def _offers(state: State, ticket: TicketView) -> list[ArmOffer]:
    x = gains.features(ticket.score, ticket.ticket_class, ticket.prompt_tokens)
    available, holds = state.available_usd, ticket.holds_usd
    seen = []
    for arm, (quality, expected) in zip(state.arms, offers(state, x, ticket.prompt_tokens), strict=True):
        if arm not in holds:
            raise PolicyMisconfigured(f"ticket {ticket.ticket_id} has no hold for arm {arm!r}, only {sorted(holds)}")
        hold = holds[arm]
        if hold is None:
            continue
        seen.append(ArmOffer(arm, quality, expected, hold, hold <= available or not state.is_hard))
    if not seen:
        raise PolicyMisconfigured(f"none of the arms {list(state.config.arms)} has a price. List one for each.")
    return seen


def _explore_cold(state: State) -> float:
    return state.config.explore_cold if any(arm.ratings for arm in state.quality.values()) else 0.0


def _class_arm(state: State, ticket: TicketView, seen: list[ArmOffer]) -> str:
    """The class's arm; the cheapest where that one has no price."""
    arm = next(arm for name, arm in state.config.class_arms if name == ticket.ticket_class)
    return arm if any(offer.arm == arm for offer in seen) else _cheapest(seen).arm


def _cheapest(seen: list[ArmOffer]) -> ArmOffer:
    return min(seen, key=lambda offer: (offer.expected_usd, -offer.quality))


def _best(seen: list[ArmOffer], price: float) -> ArmOffer:
    """The most quality after paying for it; the cheaper one of equals."""
    return max(seen, key=lambda offer: (offer.quality - price * offer.expected_usd, -offer.expected_usd))


def _fitting(seen: list[ArmOffer], arm: str) -> str:
    """The arm itself if its hold fits, else the cheapest that does, else the one that lacks least."""
    if any(offer.fits for offer in seen if offer.arm == arm):
        return arm
    fitting = [offer for offer in seen if offer.fits]
    return _cheapest(fitting).arm if fitting else min(seen, key=lambda offer: offer.hold_usd).arm


def _keeping_reserve(state: State, seen: list[ArmOffer], arm: str) -> str:
    """The wanted arm, or the best of those that leave the reserve whole."""
    affordable = _cheapest(seen).expected_usd + max(state.left_usd - state.reserve_usd, 0.0)
    if any(offer.expected_usd <= affordable for offer in seen if offer.arm == arm):
        return arm
    return _best([offer for offer in seen if offer.expected_usd <= affordable], state.lambda_).arm


def _draw(
    state: State,
    ticket: TicketView,
    seen: list[ArmOffer],
    policy: PolicyName,
    choice: Choice,
    price: float | None = None,
) -> Decision:
    """Flip the ticket's coin over the choice, and note the figures; `price` is the lambda used, else the budget's."""
    arm, propensity = choice.shares[0]
    rule = choice.rule
    if len(choice.shares) > 1:
        flip, below = coin(state.config.seed, state.config.client_id, ticket.ticket_id), 0.0
        for arm, propensity in choice.shares:  # noqa: B007  the last one also stands for what rounding leaves
            below += propensity
            if flip < below:
                break
        if policy != "fixed" and arm != choice.shares[0][0]:
            rule = "explore"
    fits = any(offer.fits for offer in seen)
    volume = state.volume
    return Decision(
        arm=arm,
        propensity=propensity,
        policy=policy,
        version=VERSION,
        rule=rule if fits else "exhausted",
        fits=fits,
        ticket_class=ticket.ticket_class,
        lambda_=state.lambda_ if price is None else price,
        offers=tuple(seen),
        budget_usd=state.budget_usd,
        budget_left_usd=state.left_usd,
        tickets_expected=state.outlook.tickets,
        hours_to_go=max(volume.end_s - max(ticket.at.timestamp(), volume.last_s), 0.0) / 3600.0,
        minutes_per_quality=state.config.minutes_per_quality or state.minutes_per_quality,
    )
