"""A second look: a draft that looks bad is written again by a better arm, where that pays and the budget has room.

The signs stand in second_look.py. Most suspected drafts are redone; a share is kept by a coin, so that the ratings of
both tell what redoing gains. Once they do, redoing has to pay at the lambda of the ticket's own decision, or only the
small share goes on being redone. Streams are not looked at: their first words are gone before the last are known.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Literal, NamedTuple

import structlog
from msgspec.structs import replace

from ledger.errors import BudgetSpent
from ledger.events import DraftSuspected, Event
from ledger.money import text
from ledger.projections import State, check
from router import settlement
from router.attempts import Done
from router.calls import Calls
from router.chat_reply import first_message
from router.chat_request import ChatRequest, all_text
from router.errors import HttpError
from router.policy import ArmOffer, Decision, coin
from router.second_look import Drafted, signs_of
from router.settlement import Asked, Order
from router.standing import Standing, gain_of, usd_of

# A fifth decided the other way brings the ratings that a comparison needs within 50 rated suspicions, and costs at most a
# fifth of what looking twice is worth.
OTHER_SHARE = 0.2
_log = structlog.stdlib.get_logger()

OrderOf = Callable[[Asked, ChatRequest, dict[str, str]], Awaitable[Order]]


class Looked(NamedTuple):
    """What a second look came to. Shapes: `done` is the call whose draft counts, `order` its order; `first` the one looked at."""

    event: DraftSuspected
    order: Order
    done: Done
    first: Done

    @property
    def is_redone(self) -> bool:
        """Whether another draft counts than the first."""
        return self.done is not self.first

    @property
    def cost_usd(self) -> Decimal:
        """Of the draft that counts and, where it was redone, of the first; USD."""
        return self.done.cost_usd + (self.first.cost_usd if self.is_redone else Decimal(0))

    def as_json(self) -> dict[str, object]:
        """What the answer tells of it."""
        has_failed = self.event.action == "redone" and not self.is_redone
        return {
            "action": "redone" if self.is_redone else "kept",
            "signs": list(self.event.signs),
            "reason": "the second call came to nothing" if has_failed else self.event.reason,
            "first_call_id": self.event.call_id,
            "first_arm": self.event.arm,
            "first_cost_usd": text(self.first.cost_usd),
        }


class Plan(NamedTuple):
    """What to do with a suspected draft, how likely that was, and why."""

    action: Literal["redone", "kept"]
    propensity: float
    reason: str


def better_arm(decision: Decision) -> ArmOffer | None:
    """The dearer arm that promises most, and no less than the chosen one; None where there is none."""
    chosen = next(offer for offer in decision.offers if offer.arm == decision.arm)
    better = [
        offer
        for offer in decision.offers
        if offer.expected_usd > chosen.expected_usd and offer.quality >= chosen.quality
    ]
    return max(better, key=lambda offer: (offer.quality, -offer.expected_usd), default=None)


def plan(standing: Standing, decision: Decision, better: ArmOffer, draw: float) -> Plan:
    """Whether to redo. Shapes: `draw` is a number in [0, 1), the ticket's own."""
    state, arm = standing.state, better.arm
    room_usd = max(state.left_usd - state.reserve_usd, 0.0)
    if decision.is_capped and better.expected_usd > room_usd:
        return Plan("kept", 1.0, f"{arm} would touch the reserve of the cheapest arm")
    gain, usd = gain_of(standing.looks), usd_of(standing.looks)
    if gain is None or usd is None:
        is_wanted, why = True, "too few ratings yet to tell whether a second look pays"
    else:
        is_wanted = gain > decision.lambda_ * usd
        why = f"redoing gained {gain:.3g} quality for {usd:.4f} USD at lambda {decision.lambda_:.3g} quality/USD"
    is_other = draw < OTHER_SHARE
    reason = f"{why}; drawn to keep it measurable" if is_other else why
    action: Literal["redone", "kept"] = "redone" if is_wanted != is_other else "kept"
    return Plan(action, OTHER_SHARE if is_other else 1.0 - OTHER_SHARE, reason)


class SecondLook:
    """Looks at finished drafts, and has some written again; all it needs from outside comes in here."""

    def __init__(
        self,
        *,
        state: State,
        standing: Callable[[str], Standing | None],
        submit: Callable[[Event], Awaitable[None]],
        calls: Calls,
        order_of: OrderOf,
        new_id: Callable[[], str],
        period_of: Callable[[str, datetime], str],
        models: Mapping[str, str],
    ) -> None:
        self._state, self._standing, self._submit, self._calls = state, standing, submit, calls
        self._order_of, self._new_id, self._period_of, self._models = order_of, new_id, period_of, models

    async def look(
        self, asked: Asked, chat: ChatRequest, ticket: str, order: Order, first: Done, is_gone: Callable[[], bool]
    ) -> Looked | None:
        """Look at a settled draft, and redo it where that is decided; None when there was nothing to suspect or to do.

        Whatever fails in redoing leaves the first draft, which is paid for, as the answer. Errors: WriteFailed.
        """
        decision, standing = order.decision, self._standing(order.client_id)
        is_one_draft = order.purpose == "generation" and order.choices == 1 and first.settled.outcome == "ok"
        if decision is None or standing is None or not standing.second_look or not is_one_draft:
            return None
        better, message = better_arm(decision), first_message(first.body)
        if better is None or message.calls_tools:
            return None
        ended = first.settled.response_finish_reasons or ()
        draft = Drafted(message.text, message.is_refused or "content_filter" in ended, "length" in ended)
        signs = signs_of(draft, ticket, all_text(chat.fields))
        if not signs:
            return None
        # Its own salt: the coin that chose the arm must not decide this as well.
        draw = coin(standing.state.config.seed, order.client_id, order.ticket_id or order.call_id, "second look")
        chosen = plan(standing, decision, better, draw)
        again = None
        if chosen.action == "redone":
            again, chosen = await self._affordable(asked, chat, order, first, better.arm, chosen)
        event = suspected(order, first, signs, chosen, again, event_id=self._new_id())
        durable = self._submit(event)
        if again is None:
            await durable
            return Looked(event, order, first, first)
        try:
            # The fact is durable no later than the hold after it, and a replay must know of it before the hold.
            done = await self._calls.complete(again, is_gone)
        except (BudgetSpent, HttpError) as failed:
            _log.warning("not_redone", call_id=again.call_id, error=type(failed).__name__)
            return Looked(event, order, first, first)
        return Looked(event, again, done, first)

    async def _affordable(
        self, asked: Asked, chat: ChatRequest, order: Order, first: Done, arm: str, chosen: Plan
    ) -> tuple[Order | None, Plan]:
        """The order that redoes a draft, or the plan to keep it where that has no price or its hold does not fit."""
        moment = first.settled.time
        anew = replace(
            asked,
            call_id=self._new_id(),
            moment=moment,
            period=self._period_of(asked.client_id, moment),
            model=self._models[arm],
        )
        try:
            made = await self._order_of(anew, chat, dict(order.more_headers))
        except HttpError:
            return None, Plan("kept", 1.0, f"{arm} has no price")
        again = replace(
            made, arm=arm, ticket_class=order.ticket_class, class_reading=order.class_reading, elsewhere=None
        )
        hold = settlement.reserved(again, 1, event_id=again.call_id, hold_usd=again.hold_usd, provider_name="any")
        try:
            check(self._state, hold)
        except BudgetSpent as spent:
            return None, Plan("kept", 1.0, f"the hold of {arm} does not fit: {spent}"[:2000])
        return again, chosen


def suspected(
    order: Order, first: Done, signs: tuple[str, ...], chosen: Plan, again: Order | None, *, event_id: str
) -> DraftSuspected:
    """The fact that a draft looked bad, and what was decided."""
    return DraftSuspected(
        id=event_id,
        subject=order.call_id,
        time=first.settled.time,
        client_id=order.client_id,
        call_id=order.call_id,
        period=order.period,
        request_model=order.model,
        signs=signs,
        action=chosen.action,
        propensity=round(chosen.propensity, settlement.PLACES),
        reason=chosen.reason,
        superseded_by=None if again is None else again.call_id,
        ticket_id=order.ticket_id,
        arm=None if order.decision is None else order.decision.arm,
        ticket_class=order.ticket_class,
    )
