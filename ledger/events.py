"""Every fact the ledger keeps: frozen values, in the past tense, flat.

The envelope follows CloudEvents 1.0 and the call follows OpenTelemetry GenAI
(`gen_ai.` dropped, dots to underscores). Whoever states a fact fills `id`,
`subject`, `time` and the payload; the journal alone fills `source`, `sequence`,
`recorded_at`, `prev`, `hash` and `crc`. A field that is not known is absent, never null
and never zero. Money is text, since a JSON number goes through a double.

A published version never changes (tests/test_schemas.py holds the digests); a
new shape is a new class with the next version in its tag, and codec.py reads the old one.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from ledger.afterwards import CallCorrected, HeadSigned, LogDropped, MonthAdjusted, PriceCorrected, SubjectErased
from ledger.call_events import (
    CallCached,
    CallClaimed,
    CallOrphaned,
    CallRefused,
    CallReserved,
    CallSettled,
    CallVoided,
)
from ledger.envelope import (
    STAMPS,
    CallEvent,
    Count,
    Digest,
    Disposition,
    Event,
    Figure,
    Hash,
    Moment,
    Month,
    Name,
    Outcome,
    Purpose,
    Rate,
    Role,
    Scope,
    Seconds,
    Share,
    TicketClass,
    UsageSource,
    Usd,
    Words,
)
from ledger.routing import ROUTING, ClassChecked, DraftSuspected, DriftAlarmed, PolicySet, SplitShifted, TicketDeferred

# What others take from here although it stands in a module beside it.
__all__ = (
    "STAMPS",
    "CallCached",
    "CallClaimed",
    "CallCorrected",
    "CallEvent",
    "CallOrphaned",
    "CallRefused",
    "CallReserved",
    "CallSettled",
    "CallVoided",
    "ClassChecked",
    "Count",
    "Digest",
    "Disposition",
    "DraftSuspected",
    "DriftAlarmed",
    "Event",
    "Figure",
    "Hash",
    "HeadSigned",
    "LogDropped",
    "Moment",
    "Month",
    "MonthAdjusted",
    "Name",
    "Outcome",
    "PolicySet",
    "PriceCorrected",
    "Purpose",
    "Rate",
    "Role",
    "Scope",
    "Seconds",
    "Share",
    "SplitShifted",
    "SubjectErased",
    "TicketClass",
    "TicketDeferred",
    "UsageSource",
    "Usd",
    "Words",
)


class DraftEdited(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.draft.edited.v1"):
    """A human is done with a draft; `subject` is the ticket. The period is that of the drafting call.

    Units: `edit_ratio` is the normalised Levenshtein distance over characters, absent when the draft was not at hand.
    """

    ticket_id: Name
    call_id: Name
    period: Month
    disposition: Disposition
    request_model: Name
    arm: Name | None = None
    ticket_class: TicketClass | None = None
    edit_ratio: Share | None = None
    edit_seconds: Seconds | None = None
    draft_characters: Count | None = None
    final_characters: Count | None = None
    key_id: Name | None = None


class ScoreRecorded(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.score.recorded.v1"):
    """One judgement of one draft by a rubric; `subject` is the call. `value` is 0..1, more is better."""

    call_id: Name
    period: Month
    rubric: Name
    criterion: Name
    value: Share
    scorer: Name
    request_model: Name
    rubric_version: Name | None = None
    ticket_id: Name | None = None
    arm: Name | None = None
    ticket_class: TicketClass | None = None
    run_id: Name | None = None
    blind: bool
    key_id: Name | None = None


class RatesEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A model's five rates, USD per million tokens, from `valid_from` (inclusive)."""

    model: Name
    valid_from: Moment
    rate_uncached_input: Rate
    rate_cache_read: Rate
    rate_cache_write: Rate
    rate_plain_output: Rate
    rate_reasoning: Rate
    price_source: Name
    retrieved_at: Name | None = None


class PriceListed(RatesEvent, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.price.listed.v1"):
    """A price entered the book; `subject` is the price id."""

    provider_name: Name
    valid_to: Moment | None = None
    context_tokens: Count | None = None
    max_output_tokens: Count | None = None


class BaselineSet(RatesEvent, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.baseline.set.v1"):
    """What the old bot would have paid, frozen; `subject` is the baseline id, like gpt-4o@2026-10-01."""


class FxRecorded(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.fx.recorded.v1"):
    """One dated rate: 1 `base_currency` is `rate` `quote_currency`; `subject` is like EUR/USD."""

    base_currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]
    quote_currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]
    rate: Rate
    valid_from: Moment
    rate_source: Name


class BudgetSet(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.budget.set.v1"):
    """A monthly cap of a scope, for every period that ends after `valid_from`; absent `cap_usd` lifts it.

    Shapes: `subject` is whole, a client id or a key id.
    """

    scope: Scope
    hard: bool
    valid_from: Moment
    cap_usd: Usd | None = None


class BudgetWarned(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.budget.warned.v1"):
    """Spend reached a share of a cap, hard or soft; once for each period, threshold and cap. `subject` is as in budget.set.

    Units: `threshold` a share of `cap_usd`, 1 being all of it; the figures are the account's at that moment.
    """

    scope: Scope
    period: Month
    threshold: Share
    hard: bool
    cap_usd: Usd
    settled_usd: Usd
    held_usd: Usd
    orphaned_usd: Usd


class ClientAdded(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.client.added.v1"):
    """A client the freelancer works for; `subject` is its id. Money: what an hour of its agents costs, USD."""

    display_name: Name
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]
    zone: Name
    private: bool
    edit_usd_per_hour: Usd | None = None


class KeyIssued(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.key.issued.v1"):
    """A bearer key; only its keyed hash is kept. `subject` is the key id, which is the key's visible prefix."""

    role: Role
    key_hash: Digest


class KeyRevoked(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.key.revoked.v1"):
    """A key no longer opens anything; `subject` is the key id."""


class MonthClosed(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.month.closed.v1"):
    """A client's month is closed; `subject` is the client. The report is made of events up to `up_to_sequence`."""

    period: Month
    up_to_sequence: Count
    calls: Count
    cost_usd: Usd


class ReportIssued(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.report.issued.v1"):
    """A report was built; `subject` is the client. `report_sha256` is that of its report.json."""

    period: Month
    revision: Annotated[int, Meta(ge=1)]
    up_to_sequence: Count
    report_sha256: Digest
    status: Literal["draft", "final"]


class InvoiceRecorded(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.invoice.recorded.v1"):
    """A provider's invoice was held against the ledger; `subject` is its name, `client_id` absent when over all clients.

    Shapes: days are those of `invoice_zone`, from `starts_at` to before `ends_at`. Every residual is invoice minus ledger;
    they sum to `invoice_usd` minus `ledger_usd`. `mismatch_usd` is what counts against the tolerance.
    """

    provider_name: Name
    period: Month
    starts_at: Moment
    ends_at: Moment
    invoice_zone: Name
    invoice_sha256: Digest
    invoice_lines: Count
    invoice_usd: Usd
    ledger_usd: Usd
    residual_missing_usd: Usd
    residual_duplicate_usd: Usd
    residual_price_usd: Usd
    residual_class_usd: Usd
    residual_clock_usd: Usd
    residual_rounding_usd: Usd
    mismatch_usd: Usd
    tolerance_usd: Usd
    within_tolerance: bool
    orphans_settled: Count
    orphans_voided: Count
    orphans_open: Count
    up_to_sequence: Count


class MonthRestated(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.month.restated.v1"):
    """A closed month is told anew with what came later; `subject` is the client. The report that was issued stays.

    Shapes: `restatement` counts from 1; the report is made of events up to `up_to_sequence`.
    """

    period: Month
    restatement: Annotated[int, Meta(ge=1)]
    up_to_sequence: Count
    calls: Count
    cost_usd: Usd
    previous_cost_usd: Usd
    reason: Words


class ReportDelivered(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.report.delivered.v1"):
    """A revision reached a recipient; `subject` is the client. `target` is a keyed hash of the address, never the address.

    Shapes: `message_id` is the same on every attempt, so that a receiver can drop what it has.
    """

    period: Month
    revision: Annotated[int, Meta(ge=1)]
    report_sha256: Digest
    channel: Literal["mail", "webhook"]
    target: Digest
    message_id: Name
    attempts: Count


class HoursLogged(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.hours.logged.v1"):
    """Time the freelancer worked for a client; `subject` is the client. The fee is hours times the hourly rate, if there is one.

    Units: `hourly_rate` in `currency`; `worked_on` a day in the client's zone, which lies in `period`.
    """

    period: Month
    worked_on: Annotated[str, Meta(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$")]
    hours: Rate
    activity: Name
    hourly_rate: Rate | None = None
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$")] | None = None


class BillImported(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.bill.imported.v1"):
    """One line of the old bot's bills, from its provider's own export; `subject` is the line with its day.

    Shapes: the last import that tells a day tells it whole. Units: `cost_usd` is absent in a usage export, which has
    tokens; `tickets` were answered on that day, `monthly_tickets` in a whole month.
    """

    provider_name: Name
    bill_kind: Literal["costs", "usage"]
    bill_sha256: Digest
    import_id: Name
    starts_at: Moment
    ends_at: Moment
    bill_line: Name
    project: Name | None = None
    cost_usd: Usd | None = None
    requests: Count | None = None
    usage_input_tokens: Count | None = None
    usage_output_tokens: Count | None = None
    usage_cache_read_input_tokens: Count | None = None
    tickets: Count | None = None
    monthly_tickets: Count | None = None


EVENTS: tuple[type[Event], ...] = (
    CallReserved,
    CallSettled,
    CallVoided,
    CallOrphaned,
    CallRefused,
    CallCached,
    CallClaimed,
    DraftEdited,
    ScoreRecorded,
    PriceListed,
    BaselineSet,
    FxRecorded,
    BudgetSet,
    BudgetWarned,
    ClientAdded,
    KeyIssued,
    KeyRevoked,
    MonthClosed,
    ReportIssued,
    InvoiceRecorded,
    MonthRestated,
    ReportDelivered,
    HoursLogged,
    BillImported,
    *ROUTING,
    PriceCorrected,
    CallCorrected,
    MonthAdjusted,
    HeadSigned,
    SubjectErased,
    LogDropped,
)
