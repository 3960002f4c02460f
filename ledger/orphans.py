"""The end of a call whose own end is unknown, once an invoice or a person knows it.

An orphan counts at its full hold until then. What was billed is settled with its tokens, or at its hold where nobody can
know them; what provably was not billed is voided. The events are the same, whoever decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from ledger import events as e
from ledger.charges import charge
from ledger.errors import Conflict, NotFound, UnpricedModel
from ledger.money import text
from ledger.prices import PriceBook, Rates
from ledger.projections import CallKey, State
from ledger.usage import BUCKETS, Usage

LONGEST_S = 999_999.0


def orphan_of(state: State, call_id: str, attempt: int | None) -> e.CallOrphaned:
    """The orphan a person names. Errors: NotFound; Conflict when several attempts of it are open."""
    found = [key.attempt for key in state.orphans if key.call_id == call_id and attempt in (None, key.attempt)]
    if not found:
        raise NotFound("call of unknown end", call_id, "See them with: halfpenny orphan list.")
    if len(found) > 1:
        raise Conflict(f"Call {call_id} has {len(found)} attempts of unknown end: {found}. Name one with --attempt.")
    return state.orphans[CallKey(call_id, found[0])]


def rates_at(prices: PriceBook, model: str, orphan: e.CallOrphaned) -> Rates:
    """What the served model cost: the frozen price if it is that model's, else its own then. Errors: UnpricedModel."""
    frozen = prices.by_id(orphan.price_id)
    if frozen is not None and frozen.model == model:
        return frozen.rates
    try:
        return prices.price_at(model, orphan.reserved_at).rates
    except UnpricedModel:
        if frozen is None or model != orphan.request_model:
            raise
        return frozen.rates


def was_streamed(events: Iterable[e.Event], orphan: e.CallOrphaned) -> bool:
    """Whether the call was asked for as a stream, which only its reservation says."""
    return any(
        isinstance(event, e.CallReserved)
        and (event.subject, event.attempt) == (orphan.subject, orphan.attempt)
        and event.request_stream
        for event in events
    )


def settled(
    orphan: e.CallOrphaned,
    usage: Usage | None,
    rates: Rates,
    *,
    event_id: str,
    model: str,
    at: datetime,
    request_stream: bool,
) -> e.CallSettled:
    """The orphan as billed with these tokens; without any at its whole hold, as an estimate.

    Shapes: `at` is when it is taken to have ended. More than its hold is recorded as it is and marked `over_hold`.
    """
    billed: dict[str, Any] = {"usage_source": "estimated", "cost_usd": orphan.hold_usd, "usage_anomaly": "usage_absent"}
    if usage is not None:
        cost = charge(usage, rates)
        billed = {
            "usage_source": "reported",
            "cost_usd": text(cost.total),
            "usage_anomaly": "over_hold" if cost.total > Decimal(orphan.hold_usd) else None,
            "usage_input_tokens": usage.input_tokens,
            "usage_output_tokens": usage.output_tokens,
            "usage_cache_read_input_tokens": usage.cache_read_tokens,
            "usage_cache_write_input_tokens": usage.cache_write_tokens,
            "usage_reasoning_output_tokens": usage.reasoning_tokens,
        } | {f"cost_{bucket}_usd": text(line) for bucket, line in zip(BUCKETS, cost.lines, strict=True) if line}
    return e.CallSettled(
        id=event_id,
        subject=orphan.subject,
        time=at,
        client_id=orphan.client_id,
        attempt=orphan.attempt,
        purpose=orphan.purpose,
        period=orphan.period,
        request_model=orphan.request_model,
        provider_name=orphan.provider_name,
        key_id=orphan.key_id,
        ticket_id=orphan.ticket_id,
        arm=orphan.arm,
        ticket_class=orphan.ticket_class,
        outcome="error",
        error_type="process_ended",
        reserved_at=orphan.reserved_at,
        price_id=orphan.price_id,
        duration_s=round(min((at - orphan.reserved_at).total_seconds(), LONGEST_S), 6),
        duration_source="measured",
        response_model=model,
        request_stream=request_stream,
        **billed,
    )


def voided(orphan: e.CallOrphaned, *, event_id: str, at: datetime, reason: str) -> e.CallVoided:
    """The orphan as not billed, and how that is known."""
    return e.CallVoided(
        id=event_id,
        subject=orphan.subject,
        time=at,
        client_id=orphan.client_id,
        attempt=orphan.attempt,
        purpose=orphan.purpose,
        period=orphan.period,
        request_model=orphan.request_model,
        provider_name=orphan.provider_name,
        key_id=orphan.key_id,
        ticket_id=orphan.ticket_id,
        arm=orphan.arm,
        ticket_class=orphan.ticket_class,
        reserved_at=orphan.reserved_at,
        error_type="not_billed",
        reason=reason,
    )
