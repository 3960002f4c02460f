"""Facts about who answers tickets: the policy of a client, its split as it moves, and what became of odd tickets.

Kept beside events.py, which lists them with all others. What the ledger's state needs of them is nothing; their
folds are the router's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from msgspec import field

from ledger.envelope import Count, Event, Figure, Month, Name, Purpose, Share, TicketClass, Usd, Words

if TYPE_CHECKING:
    from ledger.projections import State

PolicyName = Literal["label", "fixed", "paced", "floor"]
Drift = Literal["served_model", "quality", "latency", "price", "classes", "classifier"]


class PolicySet(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.policy.set.v1"):
    """Which policy answers a client's tickets from now on; `subject` is the client. What is absent is the configuration's.

    Shapes: `shares` are like standard=0.65 and sum to one; `target_edit_rate` is what policy floor keeps; `explore` is
    the share drawn against the policy at the margin; `second_look` redoes drafts that look bad.
    """

    policy: PolicyName
    shares: tuple[Name, ...] | None = None
    target_edit_rate: Share | None = None
    explore: Share | None = None
    minutes_per_quality: Figure | None = None
    tickets_per_month: Count | None = None
    second_look: bool | None = None
    seed: Name | None = None


class SplitShifted(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.split.shifted.v1"):
    """The refreshed split moved; `subject` is the client. `lambda` is the quality one more dollar would buy.

    Shapes: `shares` are like complex/premium=0.42, the shares of the latest tickets; those of a class sum to one.
    """

    period: Month
    policy: Name
    policy_version: Name
    shares: tuple[Name, ...]
    tickets_expected: Figure
    reason: Words
    lambda_: Figure | None = field(default=None, name="lambda")
    budget_usd: Usd | None = None
    budget_left_usd: Usd | None = None
    reserve_usd: Usd | None = None


class TicketDeferred(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.ticket.deferred.v1"):
    """No arm's worst case fitted what is left, and the fallback answered; `subject` is the call that was not made.

    Shapes: `fallback` is human, queue or the arm that answered instead.
    """

    period: Month
    fallback: Name
    reason: Words
    ticket_id: Name | None = None
    ticket_class: TicketClass | None = None
    key_id: Name | None = None


class DraftSuspected(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.draft.suspected.v1"):
    """A draft looked bad by cheap signs; `subject` is its call. It was redone by a better arm, or kept to learn from.

    Shapes: `superseded_by` is the call that wrote the draft that counts, absent when the first one was kept;
    `propensity` is how likely the action was.
    """

    call_id: Name
    period: Month
    request_model: Name
    signs: tuple[Name, ...]
    action: Literal["redone", "kept"]
    propensity: Share
    reason: Words
    superseded_by: Name | None = None
    ticket_id: Name | None = None
    arm: Name | None = None
    ticket_class: TicketClass | None = None


class DriftAlarmed(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.drift.alarmed.v1"):
    """Something the policies count on is no longer as it was; `subject` is the client. What the log shows is told once.

    Shapes: `cause_id` is the event that completed the evidence. Units: `before` and `after` by `drift`: quality a level 0..1,
    latency seconds, classes and classifier shares 0..1; absent for served_model and price. `observations` lie since the change.
    """

    drift: Drift
    period: Month
    cause_id: Name
    reason: Words
    observations: Count
    before: Figure | None = None
    after: Figure | None = None
    request_model: Name | None = None
    response_model: Name | None = None
    arm: Name | None = None
    ticket_class: TicketClass | None = None
    purpose: Purpose | None = None
    price_id: Name | None = None
    previous_price_id: Name | None = None


class ClassChecked(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.class.checked.v1"):
    """A ticket was sorted a second time by another model, to see whether the classifier drifts; `subject` is the ticket's call.

    Shapes: `call_id` is the checking call, by `request_model`; `ticket_class` is what the classifier said and
    `checked_class` what the check said, which counts only where its reading is clear.
    """

    call_id: Name
    period: Month
    request_model: Name
    ticket_class: TicketClass
    checked_class: TicketClass
    checked_reading: Literal["clear", "unclear"]
    ticket_id: Name | None = None


ROUTING: tuple[type[Event], ...] = (
    PolicySet,
    SplitShifted,
    TicketDeferred,
    DraftSuspected,
    DriftAlarmed,
    ClassChecked,
)


def _check_policy(state: State, event: PolicySet) -> None:
    state.client(event.subject)


CHECKS: Mapping[type[Event], Callable[[State, Any], None]] = {PolicySet: _check_policy}
