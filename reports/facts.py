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
