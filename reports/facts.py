"""What one client's month is made of: the values a report is composed from, as they were read.

Grain, units and order are those of the queries of the same names in reports/queries.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from operator import add
from typing import NamedTuple

from ledger.budgets import Period
from reports.figures import Currency
from reports.model import Price


class ClientRow(NamedTuple):
    """Who the report is for; `edit_usd_per_hour` absent when nobody said what an hour costs."""

    client_id: str
    name: str
    currency: str
    zone: str
    edit_usd_per_hour: Decimal | None


class SpendRow(NamedTuple):
    """Settled calls of one local day that have everything below in common. Units: exact USD."""

    date: dt.date
    purpose: str
    request_model: str
    model: str
    arm: str | None
    price_id: str
    is_ok: bool
    is_measured: bool
    calls: int
    estimated_calls: int
    counted_calls: int
    calls_without_usage: int
    uncached_input: int
    cache_read: int
    cache_write: int
    plain_output: int
    reasoning: int
    cost: Decimal
    cost_uncached_input: Decimal
    cost_cache_read: Decimal
    cost_cache_write: Decimal
    cost_plain_output: Decimal
    cost_reasoning: Decimal
    baseline: Decimal | None


class CachedRow(NamedTuple):
    """Replies from the cache of one local day that have everything below in common.

    Units: tokens that were avoided; `avoided` exact USD at the prices in force; `baseline` exact USD, absent where none is compared.
    """

    date: dt.date
    purpose: str
    request_model: str
    model: str
    arm: str | None
    price_id: str
    replies: int
    uncached_input: int
    cache_read: int
    cache_write: int
    plain_output: int
    reasoning: int
    avoided: Decimal
    baseline: Decimal | None


class EditRow(NamedTuple):
    """What humans and judges made of drafts that have arm or model in common; exact sums."""

    edits: int
    accepted: int
    touched: int
    rewritten: int
    discarded: int
    measured: int
    ratio_sum: Decimal
    ratio_squares: Decimal
    timed: int
    seconds: Decimal
    scores: int
    score_sum: Decimal

    def plus(self, other: EditRow) -> EditRow:
        """Both added up, field by field."""
        return EditRow(*map(add, self, other))


class LatencyRow(NamedTuple):
    """Durations of one lane's replies, seconds."""

    key: str
    p50_s: Decimal
    p95_s: Decimal
    simulated: int


def lane_key(direct_model: str | None, arm: str | None) -> str:
    """A lane's key: its arm, else the model that was called directly."""
    return arm if arm is not None else str(direct_model)


class AttemptsRow(NamedTuple):
    """Events of one type: `name` is an end's outcome or a refusal's kind, `is_repeated` says a second attempt or later."""

    type: str
    name: str
    is_repeated: bool
    attempts: int
    last: dt.datetime


class OutcomeRow(NamedTuple):
    """Attempts by their end ("ended") or refusals by their kind ("refused"); `usd` is held without an end."""

    what: str
    name: str
    attempts: int
    usd: Decimal


class Rate(NamedTuple):
    """A recorded rate as it was written: 1 of the pair's first is `rate` of its second."""

    pair: str
    base: str
    rate: Decimal
    valid_from: dt.datetime
    source: str


class ListedPrice(NamedTuple):
    """One price of the book with when it was in force. Units: USD per million tokens."""

    price_id: str
    model: str
    uncached_input: Decimal
    cache_read: Decimal
    cache_write: Decimal
    plain_output: Decimal
    reasoning: Decimal
    valid_from: dt.datetime
    in_force_to: dt.datetime | None


class MonthRow(NamedTuple):
    """One month's money; `saved` absent without a baseline. Units: exact USD."""

    period: str
    spend: Decimal
    saved: Decimal | None


class HoursRow(NamedTuple):
    """Hours of one activity at one rate, which is in the client's currency."""

    activity: str
    rate: Decimal | None
    currency: str | None
    hours: Decimal


class ServiceRow(NamedTuple):
    """Durations of replies, seconds, and attempts of every purpose."""

    p50_s: Decimal | None
    p95_s: Decimal | None
    first_p50_s: Decimal | None
    first_p95_s: Decimal | None
    attempts: int
    repeated: int
    failed: int


class InvoiceRow(NamedTuple):
    """A provider's invoice against the ledger. Units: exact USD; residuals are invoice minus ledger."""

    name: str
    invoiced: Decimal
    ledger: Decimal
    missing: Decimal
    duplicate: Decimal
    price: Decimal
    kind: Decimal
    clock: Decimal
    rounding: Decimal
    is_within: bool


class ShadowRow(NamedTuple):
    """One ticket that the baseline's model answered once more. Units: exact USD; tokens of the replies it got."""

    cost: Decimal
    tokens_in: int
    tokens_out: int


class HistoryRow(NamedTuple):
    """One day of the old bot's bills. Units: exact USD, tokens; `cost` absent where a bill has tokens alone."""

    day: dt.date
    kind: str
    cost: Decimal | None
    tokens_in: int
    cached: int
    tokens_out: int
    tickets: int | None
    monthly_tickets: int | None


class LateRow(NamedTuple):
    """Facts of one kind in an earlier month that came after it was closed. Units: exact USD, zero for what costs nothing."""

    period: str
    kind: str
    facts: int
    cost_usd: Decimal


class Chain(NamedTuple):
    """Where in the journal the month ends."""

    sequence: int
    source: str
    hash: str


class MonthFacts(NamedTuple):
    """All of it; `closed` says whether a month.closed event set the position."""

    client: ClientRow
    period: Period
    closed: bool
    chain: Chain
    as_of: dt.datetime | None
    spend: tuple[SpendRow, ...]
    quality: tuple[tuple[str, EditRow], ...]
    weeks: tuple[tuple[dt.date, str, EditRow], ...]
    latency: tuple[LatencyRow, ...]
    outcomes: tuple[OutcomeRow, ...]
    tickets: int
    cap: Decimal | None
    is_hard: bool
    prices: tuple[Price, ...]
    baseline: Price | None
    currency: Currency
    rate: Rate | None
    restatements: int
    invoice: InvoiceRow | None
    book: tuple[ListedPrice, ...]
    months: tuple[MonthRow, ...]
    previous: EditRow | None
    hours: tuple[HoursRow, ...]
    service: ServiceRow
    busiest: tuple[dt.datetime, int] | None
    shadow: tuple[ShadowRow, ...]
    history: tuple[HistoryRow, ...]
    late: tuple[LateRow, ...]
    cached: tuple[CachedRow, ...]

    @property
    def compared(self) -> tuple[SpendRow | CachedRow, ...]:
        """What has a baseline: measured calls, and what the cache answered."""
        rows: list[SpendRow | CachedRow] = [*self.spend, *self.cached]
        return tuple(row for row in rows if row.baseline is not None)
