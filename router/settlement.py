"""The events of one attempt: its hold, and the one event that ends it.

Every attempt has a hold before it is sent and exactly one end. It is voided only on proof that nothing was billed;
otherwise it is settled, at the reported usage where that can be believed and at the full hold where not,
with `usage_anomaly` saying why. Unknown is never zero.

The values here are msgspec structs: a frozen dataclass of twenty fields takes five microseconds to make.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from ledger.charges import Charge, charge, worst_case
from ledger.errors import BudgetSpent, UnpricedModel
from ledger.events import CallRefused, CallReserved, CallSettled, CallVoided, Outcome, Purpose, TicketClass, UsageSource
from ledger.money import LIMIT, text
from ledger.prices import Price, PriceBook
from ledger.usage import UnknownUsage, Usage
from router.chat_request import Endpoint
from router.classify import Reading
from router.policy import Decision, about

SECONDS_AT_MOST = 999_999.0
PLACES = 6  # of shares and figures
# An alias that answers under the name of a dated snapshot of itself: gpt-4o as gpt-4o-2024-08-06.
_SNAPSHOT = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|\d{4})$")

Body = Callable[[int], bytes]  # of a request, by the bound on a choice


class Remade(NamedTuple):
    """A request made anew for another model. Units: `tokens` bound a choice; `more_input_tokens` as of an Order."""

    body_at: Body
    tokens: int
    more_input_tokens: int = 0


Elsewhere = Callable[[Price], Remade]  # the other model's price, which names it


class Order(Struct, frozen=True, kw_only=True):
    """One call the gateway wants made.

    Shapes: `body` are the bytes that go upstream; `max_output_tokens` counts all choices together; `moment` is when
    the call begins and `period` the client's month then. The decision is absent for a call that was not routed; a second look has an arm alone.
    """

    call_id: str
    client_id: str
    key_id: str
    moment: datetime
    period: str
    model: str
    body: bytes
    max_output_tokens: int
    price: Price
    endpoint: Endpoint = "chat/completions"
    more_input_tokens: int = 0  # at most, of what its bytes do not bound: pictures
    stream: bool = False
    choices: int = 1
    wants_usage: bool = False
    purpose: Purpose = "generation"
    ticket_id: str | None = None
    ticket_class: TicketClass | None = None
    class_reading: Reading | None = None
    decision: Decision | None = None
    arm: str | None = None  # of a call that no policy sent to it
    reason: str | None = None  # the same
    elsewhere: Elsewhere | None = None  # the same request for another model; None: nobody answers in this one's place
    client_retry: int | None = None
    kept_bytes: int = 0  # so much of a stream is collected whole; 0: nothing
    body_at: Body | None = None  # the body with another imposed bound on a choice; None: it stays
    least_output_tokens: int = 0  # of all choices: below it a reply would likely be cut
    more_headers: Mapping[str, str]

    @property
    def input_tokens_at_most(self) -> int:
        """No text has more tokens than bytes; pictures are held apart."""
        return len(self.body) + self.more_input_tokens

    @property
    def hold_usd(self) -> Decimal:
        """The most one attempt can cost."""
        return worst_case(
            self.price.rates,
            input_tokens_at_most=self.input_tokens_at_most,
            output_tokens_at_most=self.max_output_tokens,
        )


def fitted(order: Order, room_usd: Decimal) -> Order | None:
    """The same call with its bound lowered to what room is left; None where that is less than replies like it need."""
    if order.body_at is None:
        return None
    fixed = worst_case(order.price.rates, input_tokens_at_most=order.input_tokens_at_most, output_tokens_at_most=0)
    each = worst_case(order.price.rates, input_tokens_at_most=0, output_tokens_at_most=order.choices)
    bound = int((room_usd - fixed) // each) if each and room_usd > fixed else 0
    if not order.least_output_tokens <= bound * order.choices < order.max_output_tokens:
        return None
    return bounded(order, bound * order.choices)


def bounded(order: Order, max_output_tokens: int) -> Order:
    """The same call with another imposed bound. Units: tokens of all choices together."""
    if order.body_at is None or max_output_tokens == order.max_output_tokens:
        return order
    return replace(order, body=order.body_at(max_output_tokens // order.choices), max_output_tokens=max_output_tokens)


class Ending(Struct, frozen=True, kw_only=True):
    """What is known when an attempt that may have been billed is over. Units: seconds."""

    outcome: Outcome
    usage: Usage | UnknownUsage
    duration_s: float
    duration_source: Literal["measured", "simulated"] = "measured"
    has_output: bool = False
    text_doubt: str | None = None  # what in the text speaks against the usage
    response_model: str | None = None
    response_id: str | None = None
    finish_reasons: tuple[str, ...] = ()
    first_chunk_s: float | None = None
    stream_complete: bool | None = None
    error_type: str | None = None
    http_status: int | None = None


def reserved(order: Order, attempt: int, *, event_id: str, hold_usd: Decimal, provider_name: str) -> CallReserved:
    """The hold of one attempt, with the decision and the figures it saw."""
    seen = order.decision
    return CallReserved(
        id=event_id,
        subject=order.call_id,
        time=order.moment,
        client_id=order.client_id,
        attempt=attempt,
        purpose=order.purpose,
        period=order.period,
        request_model=order.model,
        provider_name=provider_name,
        key_id=order.key_id,
        ticket_id=order.ticket_id,
        arm=seen.arm if seen else order.arm,
        ticket_class=order.ticket_class,
        hold_usd=text(hold_usd),
        price_id=order.price.price_id,
        input_bytes=order.input_tokens_at_most,
        max_output_tokens=order.max_output_tokens,
        request_stream=order.stream,
        client_retry=order.client_retry,
        class_reading=order.class_reading,
        policy=seen.named if seen else None,
        propensity=round(seen.propensity, PLACES) if seen else None,
        lambda_=seen.lambda_ if seen else None,
        gain=round(seen.gain, PLACES) if seen else None,
        extra_cost_usd=about(seen.extra_usd) if seen else None,
        budget_left_usd=about(seen.budget_left_usd) if seen and seen.is_capped else None,
        tickets_expected=round(seen.tickets_expected, 1) if seen else None,
        reason=seen.reason if seen else order.reason,
    )


def lowered(hold: CallReserved, order: Order) -> CallReserved:
    """The hold of the same attempt once its call was given a lower bound."""
    return replace(
        hold,
        hold_usd=text(order.hold_usd),
        input_bytes=order.input_tokens_at_most,
        max_output_tokens=order.max_output_tokens,
    )


def settled(
    hold: CallReserved,
    price: Price,
    ending: Ending,
    *,
    prices: PriceBook,
    served_names: Mapping[str, str],
    event_id: str,
    time: datetime,
) -> CallSettled:
    """The end of an attempt that was, or may have been, billed.

    Units: charged at the price of the model that answered; at the whole hold when usage or that price is unknown.
    Source: DESIGN sections 5 and 6.
    """
    served, anomaly = _served_price(hold, price, ending.response_model, prices, served_names)
    charged, doubt = _believed(hold, served, ending)
    usage = ending.usage if isinstance(ending.usage, Usage) else None
    source: UsageSource = "estimated" if charged is None else "reported"
    lines = (None,) * 5 if charged is None else tuple(map(text, charged.lines))
    return CallSettled(
        id=event_id,
        subject=hold.subject,
        time=time,
        client_id=hold.client_id,
        attempt=hold.attempt,
        purpose=hold.purpose,
        period=hold.period,
        request_model=hold.request_model,
        provider_name=hold.provider_name,
        key_id=hold.key_id,
        ticket_id=hold.ticket_id,
        arm=hold.arm,
        ticket_class=hold.ticket_class,
        outcome=ending.outcome,
        reserved_at=hold.time,
        price_id=(served or price).price_id,
        cost_usd=hold.hold_usd if charged is None else text(charged.total),
        usage_source=source,
        duration_s=seconds(ending.duration_s),
        duration_source=ending.duration_source,
        response_model=ending.response_model,
        response_id=ending.response_id,
        usage_input_tokens=usage.input_tokens if usage else None,
        usage_output_tokens=usage.output_tokens if usage else None,
        usage_cache_read_input_tokens=usage.cache_read_tokens if usage else None,
        usage_cache_write_input_tokens=usage.cache_write_tokens if usage else None,
        usage_reasoning_output_tokens=usage.reasoning_tokens if usage else None,
        usage_anomaly=doubt or anomaly or (ending.text_doubt if charged is not None else None),
        cost_uncached_input_usd=lines[0],
        cost_cache_read_usd=lines[1],
        cost_cache_write_usd=lines[2],
        cost_plain_output_usd=lines[3],
        cost_reasoning_usd=lines[4],
        request_stream=hold.request_stream,
        stream_complete=ending.stream_complete,
        response_time_to_first_chunk=None if ending.first_chunk_s is None else seconds(ending.first_chunk_s),
        response_finish_reasons=ending.finish_reasons or None,
        error_type=ending.error_type,
        http_status=ending.http_status,
    )


def voided(
    hold: CallReserved, *, event_id: str, time: datetime, error_type: str, reason: str, http_status: int | None = None
) -> CallVoided:
    """The end of an attempt that provably was not billed."""
    return CallVoided(
        id=event_id,
        subject=hold.subject,
        time=time,
        client_id=hold.client_id,
        attempt=hold.attempt,
        purpose=hold.purpose,
        period=hold.period,
        request_model=hold.request_model,
        provider_name=hold.provider_name,
        key_id=hold.key_id,
        ticket_id=hold.ticket_id,
        arm=hold.arm,
        ticket_class=hold.ticket_class,
        reserved_at=hold.time,
        error_type=error_type,
        reason=reason,
        http_status=http_status,
    )


class Asked(Struct, frozen=True, kw_only=True):
    """The part of a call that a refusal records; it exists before there is a price or a body."""

    call_id: str
    client_id: str
    key_id: str
    moment: datetime
    period: str
    model: str
    purpose: Purpose = "generation"
    ticket_id: str | None = None


def refused(
    asked: Asked | Order, refusal: Literal["budget", "unpriced", "rate", "overload"], why: Exception, *, event_id: str
) -> CallRefused:
    """A call that was not made, with the scope's figures when it was the budget."""
    spent = why if isinstance(why, BudgetSpent) else None
    return CallRefused(
        id=event_id,
        subject=asked.call_id,
        time=asked.moment,
        client_id=asked.client_id,
        refusal=refusal,
        reason=str(why)[:2000],
        purpose=asked.purpose,
        period=asked.period,
        request_model=asked.model,
        key_id=asked.key_id,
        ticket_id=asked.ticket_id,
        scope=spent.scope if spent else None,
        hold_usd=text(spent.wanted) if spent else None,
        cap_usd=text(spent.cap) if spent else None,
        settled_usd=text(spent.settled) if spent else None,
        held_usd=text(spent.held) if spent else None,
        orphaned_usd=text(spent.orphaned) if spent else None,
    )


def seconds(found: float) -> float:
    """A duration as an event holds it: six decimals, within its bounds."""
    return round(found if 0.0 < found < SECONDS_AT_MOST else min(max(found, 0.0), SECONDS_AT_MOST), 6)


def is_same_model(asked: str, served: str, served_names: Mapping[str, str]) -> bool:
    """Whether the name a provider answered under is the asked model's own.

    Shapes: the same name; one configured for it; the same without the maker's prefix or in other case; or
    its dated snapshot, as aliases answer.
    """
    if served == asked or served_names.get(served) == asked:
        return True
    bare_asked, bare_served = (name.rpartition("/")[2].lower() for name in (asked, served))
    return bare_served == bare_asked or (
        bare_served.startswith(bare_asked) and _SNAPSHOT.fullmatch(bare_served, len(bare_asked)) is not None
    )


def _served_price(
    hold: CallReserved, frozen: Price, served: str | None, prices: PriceBook, served_names: Mapping[str, str]
) -> tuple[Price | None, str | None]:
    """The price to charge at, and what was odd about the model; no price when the served model has none."""
    if served is None or served == hold.request_model:
        return frozen, None
    try:
        listed = prices.price_at(served, hold.time)
    except UnpricedModel:
        if is_same_model(hold.request_model, served, served_names):
            return frozen, None
        return None, "served_unpriced_model"
    return listed, "served_other_model"


def _believed(hold: CallReserved, served: Price | None, ending: Ending) -> tuple[Charge | None, str | None]:
    """The charge of the reported usage, or none and the reason why the hold is taken instead."""
    usage = ending.usage
    if isinstance(usage, UnknownUsage):
        return None, f"usage_{usage.why}"
    if usage.input_tokens == 0 or (usage.output_tokens == 0 and ending.has_output):
        return None, "zero_usage"
    if served is None:
        return None, "served_unpriced_model"
    charged = charge(usage, served.rates)
    if charged.total >= LIMIT:
        return None, "usage_excessive"
    is_over = usage.input_tokens > hold.input_bytes or usage.output_tokens > hold.max_output_tokens
    return charged, "over_hold" if is_over else None
