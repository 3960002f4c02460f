"""The report as values: what report.json holds, and the only thing the renderers read.

Exact USD are texts (`*_usd`), since they have up to twelve decimals; printed amounts are
Decimals in the report's currency, already rounded; shares are 0..1, rounded to the tenth of a percent that is printed. Nothing here depends on
the wall clock, on random ids or on the order in which calls ran: two homes with the same facts
give the same bytes. The published shape is schemas/report.v1.json.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from decimal import Decimal
from typing import Literal

import msgspec
from msgspec import Struct

from reports.tokens import FromCache, Tokens
from reports.worked import Work

SCHEMA = "halfpenny.report.v1"
LineKind = Literal["reply", "classification", "other", "judge", "shadow", "failed", "estimated", "cached"]
Status = Literal["draft", "final", "reconciled", "restated"]
Effect = Literal["measure", "routing", "cache", "prices", "failed", "runs"]
Verdict = Literal["held", "fell", "rose"]
ChangeKey = Literal["spend", "baseline", "saved", "tickets", "calls"]


class Client(Struct, frozen=True, kw_only=True):
    """Whose report it is."""

    id: str
    name: str
    zone: str


class Month(Struct, frozen=True, kw_only=True):
    """The client's calendar month; days inclusive, `ends_at` exclusive, UTC."""

    name: str
    first_day: dt.date
    last_day: dt.date
    starts_at: dt.datetime
    ends_at: dt.datetime


class Money(Struct, frozen=True, kw_only=True):
    """The currency printed, and the recorded rate it was converted with; no pair for USD."""

    code: str
    places: int
    pair: str | None = None
    rate: str | None = None
    rate_valid_from: dt.datetime | None = None
    rate_source: str | None = None


class Line(Struct, frozen=True, kw_only=True):
    """One printed line of the bill; `spend` of all lines add up to the total.

    Shapes: `key` is the arm, else the model, else the kind; `models` by falling cost. `baseline` is absent without one. The line
    `cached` has a baseline alone: no call was made and no token used; what was avoided is in `from_cache`.
    """

    key: str
    kind: LineKind
    arm: str | None
    models: tuple[str, ...]
    calls: int
    tokens: Tokens
    cost_usd: str
    spend: Decimal
    baseline_usd: str | None
    baseline: Decimal | None


class Adjustment(Struct, frozen=True, kw_only=True):
    """Facts of one kind that came after an earlier month was closed; `amount` is printed, and zero for what costs nothing."""

    period: str
    kind: Literal["settled", "not_billed", "corrected", "edited", "scored"]
    facts: int
    cost_usd: str
    amount: Decimal


class Quality(Struct, frozen=True, kw_only=True):
    """What humans and judges made of drafts. `edit_rate` is the mean share of a draft's characters changed."""

    edits: int
    accepted: int
    touched: int
    rewritten: int
    discarded: int
    measured: int
    timed: int
    edit_minutes: Decimal
    coherence_scores: int
    edit_rate: Decimal | None = None
    edit_rate_low: Decimal | None = None
    edit_rate_high: Decimal | None = None
    touched_share: Decimal | None = None
    touched_low: Decimal | None = None
    touched_high: Decimal | None = None
    coherence: Decimal | None = None


class Lane(Struct, frozen=True, kw_only=True):
    """One arm's replies, or those of one model called directly. Units: seconds."""

    key: str
    arm: str | None
    models: tuple[str, ...]
    replies: int
    share: Decimal | None
    p50_s: Decimal | None
    p95_s: Decimal | None
    simulated_durations: int
    quality: Quality


class DayPart(Struct, frozen=True):
    """What one lane, or everything else (`key` "rest"), cost on a day; exact USD."""

    key: str
    cost_usd: str


class Day(Struct, frozen=True, kw_only=True):
    """One local day; parts in the order of lanes, then the rest."""

    date: dt.date
    replies: int
    parts: tuple[DayPart, ...]
    cost_usd: str
    baseline_usd: str | None


class Week(Struct, frozen=True, kw_only=True):
    """Drafts of one lane in one week, Monday to Sunday, cut at the month's ends."""

    first_day: dt.date
    last_day: dt.date
    key: str
    quality: Quality


class Step(Struct, frozen=True, kw_only=True):
    """One step from the baseline to what was spent; printed amounts, negative saves. `key` is an effect's, or the kind."""

    key: str
    kind: Literal["baseline", "effect", "spend"]
    amount: Decimal


class Previous(Struct, frozen=True, kw_only=True):
    """The month before, as far as its events exist. `spend_change` is a share of its spend.

    Shapes: `verdict` on the edit rate: "held" unless the 95 % interval of the difference leaves out no change.
    """

    first_day: dt.date
    spend: Decimal
    spend_change: Decimal | None
    edit_rate: Decimal | None
    verdict: Verdict | None


class Happening(Struct, frozen=True, kw_only=True):
    """Something that moved the month's money, and by how much; a positive amount was spent on top.

    Shapes: `day` for what happened on one, `more_days` further such days; `count` calls or replies; `key` a lane, model or kind.
    """

    kind: Literal["volume", "failed", "refused", "price", "split"]
    key: str
    day: dt.date | None
    more_days: int
    count: int
    usual: Decimal | None
    share: Decimal | None
    amount: Decimal


class PriceChange(Struct, frozen=True, kw_only=True):
    """A model's price changed within the month. Units: USD per million tokens; `amount` is what the change cost, negative saved."""

    model: str
    day: dt.date
    input_before: str
    output_before: str
    input_after: str
    output_after: str
    amount: Decimal


class Service(Struct, frozen=True, kw_only=True):
    """How fast and how reliably replies came. Units: seconds; `busiest_hour` in the client's zone, without an offset."""

    p50_s: Decimal | None
    p95_s: Decimal | None
    first_chunk_p50_s: Decimal | None
    first_chunk_p95_s: Decimal | None
    busiest_hour: dt.datetime | None
    busiest_replies: int
    attempts: int
    repeated: int
    failed: int


class Forecast(Struct, frozen=True, kw_only=True):
    """The next month's spend with its 80 % interval, from this month's working days and weekends."""

    first_day: dt.date
    spend: Decimal
    low: Decimal
    high: Decimal
    days_seen: int


class Method(Struct, frozen=True, kw_only=True):
    """The baseline by one method, with its 95 % interval where one can be had.

    Shapes: no interval where nothing is drawn; `discounted` and `undiscounted` with and without a discount on cached input, one of
    which is the amount; `basis` how many calls, old tickets, or tickets run again it rests on; `factor` with its interval, what
    the tickets really cost the old model over what their tokens would; `per_ticket` and the days (inclusive) of old bills.
    """

    name: Literal["repriced", "history", "shadow"]
    amount: Decimal
    low: Decimal | None
    high: Decimal | None
    basis: int
    discounted: Decimal | None = None
    undiscounted: Decimal | None = None
    factor: tuple[Decimal, ...] | None = None
    per_ticket: Decimal | None = None
    first_day: dt.date | None = None
    last_day: dt.date | None = None


class Invoice(Struct, frozen=True, kw_only=True):
    """How the provider's invoice and the ledger compare; printed amounts, residuals are invoice minus ledger."""

    name: str
    invoiced: Decimal
    ledger: Decimal
    residuals: tuple[tuple[str, Decimal], ...]
    is_within_tolerance: bool


class Change(Struct, frozen=True, kw_only=True):
    """A headline figure that differs from the revision before."""

    key: ChangeKey
    before: Decimal | None
    now: Decimal | None


class Totals(Struct, frozen=True, kw_only=True):
    """The headline. `spend` is the sum of printed lines, `adjusted` that of the adjustments of earlier months, `due` both; `baseline` by the method that is the headline's, `saved` their difference.

    Shapes: `tickets` that got a reply, from the cache too; `replies` those that were made. `baseline_usd` is always that of the repriced lines, exact. The 95 % interval of `saved` is the headline method's or, where
    that has none, the one over days (`interval` says which); absent when neither can be had.
    """

    tickets: int
    replies: int
    calls: int
    cost_usd: str
    spend: Decimal
    baseline_usd: str | None
    baseline: Decimal | None
    saved: Decimal | None
    saved_share: Decimal | None
    adjusted: Decimal
    due: Decimal
    saved_low: Decimal | None = None
    saved_high: Decimal | None = None
    saved_share_low: Decimal | None = None
    saved_share_high: Decimal | None = None
    interval: Literal["method", "days"] | None = None


class Reply(Struct, frozen=True, kw_only=True):
    """Cost of one accepted reply; what is not known is absent. Parts have one more decimal than money."""

    accepted: int
    llm: Decimal | None
    edit: Decimal | None
    total: Decimal | None
    per_hour: Decimal | None
    edit_usd_per_hour: str | None


class Budget(Struct, frozen=True, kw_only=True):
    """The client's cap in the month, and what counts against it."""

    cap: Decimal | None
    is_hard: bool
    used: Decimal
    used_share: Decimal | None
    held: Decimal
    orphaned: Decimal
    cap_usd: str | None
    settled_usd: str
    held_usd: str
    orphaned_usd: str


class Count(Struct, frozen=True):
    """How many of something, by name."""

    name: str
    count: int


class Unknowns(Struct, frozen=True, kw_only=True):
    """What the figures do not know, counted; unknown is never zero."""

    estimated_calls: int
    estimated: Decimal
    estimated_share: Decimal | None
    calls_without_usage: int
    counted_calls: int
    calls_without_baseline: int
    open_holds: int
    open: Decimal
    orphaned_calls: int
    orphaned: Decimal
    voided_calls: int
    simulated_durations: int
    replies_without_human: int
    refused: tuple[Count, ...]


class Price(Struct, frozen=True, kw_only=True):
    """A price calls were charged with, or the baseline's. Units: USD per million tokens."""

    price_id: str
    model: str
    uncached_input: str
    cache_read: str
    cache_write: str
    plain_output: str
    reasoning: str
    valid_from: dt.datetime
    source: str
    retrieved_at: str | None = None
    calls: int | None = None
    provider: str = ""


class Report(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="schema", tag=SCHEMA):
    """One client's month.

    Shapes: lanes and lines standard first, then premium, then by name. `from_cache` is absent when no reply came from there, so that
    such a month has the bytes it had before there was a cache.
    """

    client: Client
    period: Month
    prepared_by: str
    status: Status
    revision: int
    language: str
    data_as_of: dt.datetime | None
    currency: Money
    sentence: str
    totals: Totals
    accepted_reply: Reply
    quality: Quality
    budget: Budget
    lines: tuple[Line, ...]
    adjustments: tuple[Adjustment, ...]
    lanes: tuple[Lane, ...]
    days: tuple[Day, ...]
    weeks: tuple[Week, ...]
    steps: tuple[Step, ...]
    outcomes: tuple[Count, ...]
    unknowns: Unknowns
    previous: Previous | None
    happened: tuple[Happening, ...]
    price_changes: tuple[PriceChange, ...]
    service: Service
    forecast: Forecast | None
    work: Work | None
    methods: tuple[Method, ...]
    invoice: Invoice | None
    changes: tuple[Change, ...]
    price_book_sha256: str
    baseline_method: Literal["repriced", "history", "shadow"]
    baseline: Price | None
    prices: tuple[Price, ...]
    lines_sha256: str
    from_cache: FromCache | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was asked: no call was made and no reply served from the cache."""
        return not self.totals.calls and self.from_cache is None

    @property
    def id(self) -> str:
        """What the report is called in a letter: client, month, revision."""
        return f"{self.client.id}-{self.period.name}-r{self.revision}"


_encoder = msgspec.json.Encoder(decimal_format="string")
_decoder = msgspec.json.Decoder(Report)


def written(report: Report) -> bytes:
    """The bytes of report.json: keys in the order of the classes, two spaces, a newline at the end."""
    return msgspec.json.format(_encoder.encode(report), indent=2) + b"\n"


def read(content: bytes) -> Report:
    """The report these bytes say. Errors: msgspec.ValidationError for another shape."""
    return _decoder.decode(content)


def sha256(content: bytes) -> str:
    """In hex."""
    return hashlib.sha256(content).hexdigest()
