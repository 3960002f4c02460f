"""Why a call went to its arm: what its reservation recorded, and the figures behind it, folded anew from the log.

The reservation carries the decision in words and its main figures. What it has no field for (what each arm offered,
the reserve, whether too little was known) is made again by folding the log up to it, which gives the state the
decision saw; only a call that waited for holds to come free was decided a little earlier.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ledger.errors import NotFound
from ledger.events import CallReserved, CallSettled, DraftSuspected, Event, TicketDeferred
from router import policy
from router.aggregates import PolicyMisconfigured
from router.standing import Standings, Terms
from router.standing_folds import apply, ticket_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision as recorded, the same decision folded anew, and what the call came to.

    Shapes: `again` is absent where no policy is in force for the call's arms any more; `look` where the draft was not
    suspected, and `redo`, the call that wrote it again, where none was settled; `instead` is what another model answered in the place of
    the chosen arm's.
    """

    recorded: CallReserved
    again: policy.Decision | None
    reserve_usd: float
    is_cold: bool
    settled: CallSettled | None
    look: DraftSuspected | None = None
    redo: CallSettled | None = None
    instead: CallSettled | None = None

    def as_json(self) -> dict[str, object]:
        """Shapes: `offers` a list of {arm, quality, expected_usd}; figures that are not known are null."""
        said, again = self.recorded, self.again
        return {
            "call_id": said.subject,
            "client_id": said.client_id,
            "time": f"{said.time:%Y-%m-%dT%H:%M:%S.%fZ}",
            "ticket_id": said.ticket_id,
            "class": said.ticket_class,
            "class_reading": said.class_reading,
            "arm": said.arm,
            "model": said.request_model,
            "policy": said.policy,
            "propensity": said.propensity,
            "reason": said.reason,
            "lambda": said.lambda_,
            "gain": said.gain,
            "extra_cost_usd": said.extra_cost_usd,
            "budget_left_usd": said.budget_left_usd,
            "tickets_expected": said.tickets_expected,
            "hold_usd": said.hold_usd,
            "cost_usd": self.settled.cost_usd if self.settled else None,
            "answered_by": self.instead.request_model if self.instead else None,
            "answered_cost_usd": self.instead.cost_usd if self.instead else None,
            "second_look": None
            if self.look is None
            else {
                "action": self.look.action,
                "signs": " ".join(self.look.signs),
                "propensity": self.look.propensity,
                "reason": self.look.reason,
                "redone_by_call": self.look.superseded_by,
                "redone_by_model": self.redo.request_model if self.redo else None,
                "redo_outcome": self.redo.outcome if self.redo else None,
                "redo_cost_usd": self.redo.cost_usd if self.redo else None,
            },
            "recomputed": None
            if again is None
            else {
                "lambda": again.lambda_,
                "budget_usd": again.budget_usd if again.is_capped else None,
                "budget_left_usd": round(again.budget_left_usd, 6) if again.is_capped else None,
                "reserve_usd": round(self.reserve_usd, 6),
                "is_cold": self.is_cold,
                "offers": [
                    {
                        "arm": offer.arm,
                        "quality": round(offer.quality, 6),
                        "expected_usd": f"{offer.expected_usd:.6f}",
                    }
                    for offer in again.offers
                ],
            },
        }


def explain(events: Iterable[Event], terms: Terms, call_id: str) -> Explanation:
    """Fold the log up to a call's reservation and decide again.

    Shapes: `call_id` is the drafting call's; of several attempts the first one decided.
    Errors: NotFound for a call the log does not have, or one that no policy sent.
    """
    standings = Standings(terms)
    found: Explanation | None = None
    for event in events:
        if event.subject == call_id:
            if found is None and isinstance(event, CallReserved) and event.policy is not None:
                found = _decided_again(standings, event)
            elif found is not None and isinstance(event, CallSettled):
                found = _ended(found, event)
            elif found is not None and isinstance(event, DraftSuspected):
                found = replace(found, look=event)
            elif isinstance(event, TicketDeferred):
                raise NotFound("routed call", call_id, f"It was not made: {event.reason}. {event.fallback} answers.")
        elif found is not None and found.look is not None and event.subject == found.look.superseded_by:
            if isinstance(event, CallSettled):
                found = replace(found, redo=event)
        elif isinstance(event, DraftSuspected) and event.superseded_by == call_id:
            raise NotFound("routed call", call_id, f"It redid the draft of call {event.call_id}: explain that one.")
        if found is None:
            apply(standings, event)
    if found is None:
        raise NotFound("routed call", call_id, 'Name the call_id of a draft asked for with model "auto".')
    return found


def _ended(found: Explanation, event: CallSettled) -> Explanation:
    if event.request_model != found.recorded.request_model:
        return replace(found, instead=event)
    return found if found.settled is not None else replace(found, settled=event)


def _decided_again(standings: Standings, event: CallReserved) -> Explanation:
    standing = standings.clients[event.client_id or ""]
    state = standing.state
    # What the arms would have held is not recorded; whether they fitted shows in the recorded choice alone.
    ticket = ticket_of(event, dict.fromkeys(state.config.arms, 0.0))
    try:
        again = policy.decide(state, ticket)
    except PolicyMisconfigured:
        again = None
    return Explanation(recorded=event, again=again, reserve_usd=state.reserve_usd, is_cold=state.is_cold, settled=None)
