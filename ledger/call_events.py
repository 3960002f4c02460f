"""The facts of a call: held for, then ended in exactly one way; or refused, served from the cache, or claimed by a key."""

from __future__ import annotations

from typing import Literal

from msgspec import field

from ledger.envelope import (
    CallEvent,
    Count,
    Digest,
    Event,
    Figure,
    Moment,
    Month,
    Name,
    Outcome,
    Purpose,
    Seconds,
    Share,
    TicketClass,
    UsageSource,
    Usd,
    Words,
)


class CallReserved(CallEvent, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.call.reserved.v1"):
    """Money set aside for one attempt; durable before anything goes upstream.

    Units: `hold_usd` is the worst case; `input_bytes` bounds the input tokens. For a routed call the
    decision stands here with the figures it saw; `class_reading` says whether the classifier's answer was clear.
    """

    hold_usd: Usd
    price_id: Name
    input_bytes: Count
    max_output_tokens: Count
    request_stream: bool
    client_retry: Count | None = None
    class_reading: Literal["clear", "unclear", "failed"] | None = None
    class_score: Share | None = None
    policy: Name | None = None
    propensity: Share | None = None
    lambda_: Figure | None = field(default=None, name="lambda")
    gain: Figure | None = None
    extra_cost_usd: Usd | None = None
    budget_left_usd: Usd | None = None
    tickets_expected: Figure | None = None
    reason: Words | None = None


class CallSettled(CallEvent, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.call.settled.v1"):
    """An attempt that was, or may have been, billed.

    Units: `usage_*` in tokens, totals inclusive as the provider reports them; `cost_*` exact USD per exclusive bucket;
    `duration_s` from the request upstream to its end. `usage_source` "estimated" means the hold was taken as cost.
    """

    outcome: Outcome
    reserved_at: Moment
    price_id: Name
    cost_usd: Usd
    usage_source: UsageSource
    duration_s: Seconds
    duration_source: Literal["measured", "simulated"]
    response_model: Name | None = None
    response_id: Name | None = None
    usage_input_tokens: Count | None = None
    usage_output_tokens: Count | None = None
    usage_cache_read_input_tokens: Count | None = None
    usage_cache_write_input_tokens: Count | None = None
    usage_reasoning_output_tokens: Count | None = None
    usage_anomaly: Name | None = None
    cost_uncached_input_usd: Usd | None = None
    cost_cache_read_usd: Usd | None = None
    cost_cache_write_usd: Usd | None = None
    cost_plain_output_usd: Usd | None = None
    cost_reasoning_usd: Usd | None = None
    request_stream: bool
    stream_complete: bool | None = None
    response_time_to_first_chunk: Seconds | None = None
    response_finish_reasons: tuple[Name, ...] | None = None
    error_type: Name | None = None
    http_status: Count | None = None


class CallVoided(CallEvent, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.call.voided.v1"):
    """An attempt that provably was not billed: refused connection, or rejected before processing."""

    reserved_at: Moment
    error_type: Name
    reason: Words
    http_status: Count | None = None


class CallOrphaned(CallEvent, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.call.orphaned.v1"):
    """A hold found without an end at start-up; it counts in full until an invoice or a person settles it."""

    reserved_at: Moment
    price_id: Name
    hold_usd: Usd
    reason: Words


class CallRefused(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.call.refused.v1"):
    """A call that was not made. `refusal` is budget, unpriced, rate or overload; the figures are the scope's at that moment."""

    refusal: Literal["budget", "unpriced", "rate", "overload"]
    reason: Words
    purpose: Purpose
    period: Month
    request_model: Name
    key_id: Name | None = None
    ticket_id: Name | None = None
    scope: Name | None = None
    hold_usd: Usd | None = None
    cap_usd: Usd | None = None
    settled_usd: Usd | None = None
    held_usd: Usd | None = None
    orphaned_usd: Usd | None = None


class CallCached(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.call.cached.v1"):
    """A reply that was served from the cache instead of a call; `subject` is the id the asker got. It cost nothing.

    Units: `avoided_usd` is what the source's tokens cost at `price_id`, the price in force at the hit; `avoided_*_tokens`
    are the source call's, never usage of this one. `stored_at` is when the source was kept.
    """

    source_call_id: Name
    purpose: Purpose
    period: Month
    request_model: Name
    provider_name: Name
    price_id: Name
    avoided_usd: Usd
    avoided_input_tokens: Count
    avoided_output_tokens: Count
    stored_at: Moment
    request_stream: bool
    avoided_cache_read_input_tokens: Count | None = None
    avoided_cache_write_input_tokens: Count | None = None
    avoided_reasoning_output_tokens: Count | None = None
    response_model: Name | None = None
    key_id: Name | None = None
    ticket_id: Name | None = None
    arm: Name | None = None
    ticket_class: TicketClass | None = None


class CallClaimed(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.call.claimed.v1"):
    """An Idempotency-Key was taken by a call, before anything went upstream; `subject` is the call.

    Shapes: both digests are keyed hashes, of the key and of the request, so neither can be turned back or compared
    between clients.
    """

    idempotency_digest: Digest
    request_digest: Digest
    key_id: Name | None = None
