"""The events that come after the fact: what a call costs as now known, what a closed month missed, what was signed or erased.

A fact is never edited. A correction names the event it corrects and carries the amounts before and after, so that "as billed"
and "as now known" are both one sum.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ledger.envelope import CallEvent, Count, Digest, Event, Hash, Moment, Month, Name, UsageSource, Usd, Words

CostSum = Annotated[str, Meta(pattern=r"^(0|-?(0\.[0-9]{0,11}[1-9]|[1-9][0-9]{0,24}(\.[0-9]{0,11}[1-9])?))$")]
Signature = Annotated[str, Meta(pattern=r"^[0-9a-f]{128}$")]


class PriceCorrected(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.price.corrected.v1"):
    """Calls cost something else at the book's prices than they were charged: the head of a batch that is recorded whole.

    Shapes: `subject` is the price that was listed, or `book`; `corrections` call.corrected and `adjustments`
    month.adjusted follow, over the events up to `up_to_sequence`. Units: exact USD, after minus before.
    """

    corrections: Count
    adjustments: Count
    up_to_sequence: Count
    difference_usd: Usd
    reason: Words


class CallCorrected(CallEvent, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.call.corrected.v1"):
    """What a settled attempt costs as now known; `subject` is the call, `corrects` the id of its call.settled, which stays.

    Units: exact USD; `cost_usd` and its lines are the whole new cost, `difference_usd` is that minus `previous_cost_usd`.
    """

    corrects: Name
    correction: Name
    reserved_at: Moment
    previous_price_id: Name
    price_id: Name
    previous_cost_usd: Usd
    cost_usd: Usd
    difference_usd: Usd
    usage_source: UsageSource
    response_model: Name | None = None
    cost_uncached_input_usd: Usd | None = None
    cost_cache_read_usd: Usd | None = None
    cost_cache_write_usd: Usd | None = None
    cost_plain_output_usd: Usd | None = None
    cost_reasoning_usd: Usd | None = None


class MonthAdjusted(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.month.adjusted.v1"):
    """What a correction means for a month that was closed before it; `subject` is the client. The next month tells it.

    Shapes: one a client, closed month, model and pair of prices; the call.corrected of the same `correction` are its parts,
    so that a sum takes either. Units: exact USD, after minus before.
    """

    period: Month
    correction: Name
    model: Name
    previous_price_id: Name
    price_id: Name
    calls: Count
    previous_cost_usd: Usd
    difference_usd: Usd
    up_to_sequence: Count


class HeadSigned(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.head.signed.v1"):
    """The log up to a month's end, signed (Ed25519); `subject` is the month in UTC. A rewritten past no longer matches it.

    Shapes: `head_hash` is that of event `head_sequence`; `signature` covers what ledger/heads.py writes down, in hex.
    Units: `head_cost_sum` is the exact sum of cost_usd over all events up to there.
    """

    head_sequence: Count
    head_hash: Hash
    head_cost_sum: CostSum
    public_key: Digest
    signature: Signature


class LogDropped(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.log.dropped.v1"):
    """Whole months left the log after they were exported; `subject` is the last of them. Signed, so that the gap is no loss unseen.

    Shapes: of the events up to `head_sequence`, whose hash is `head_hash`, `events_dropped` are no longer here; the others lie
    in the segment of `kept_sha256`, and the state after all of them in the file of `state_sha256`; `export_sha256` is that
    of the export's list; `signature` covers what ledger/dropping.py writes down. Units: `head_cost_sum` as in head.signed.
    """

    period: Month
    head_sequence: Count
    head_hash: Hash
    head_cost_sum: CostSum
    events_dropped: Count
    kept_sha256: Digest
    state_sha256: Digest
    export_sha256: Digest
    reason: Words
    public_key: Digest
    signature: Signature


class SubjectErased(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.subject.erased.v1"):
    """The content kept of a client, or of one of its tickets, can no longer be read: its key was destroyed.

    Shapes: `subject` is the client; `ticket_id` is absent when all of it was erased. Counts and costs stay.
    """

    ticket_id: Name | None = None
    reason: Words
