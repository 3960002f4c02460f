"""What the ledger holds for the days an invoice covers, and what the invoice tells of calls whose end is unknown.

An itemised invoice decides every orphan by its request id. An aggregated one decides only where nothing is left to
choose: a day and model that agree to the token had no further call billed, and one orphan alone beside tokens that only
it can have used is settled with them. Everything else stays open, at its full hold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from uuid_utils.compat import uuid7

from ledger import events as e
from ledger import orphans
from ledger.budgets import zone
from ledger.charges import charge
from ledger.errors import UnpricedModel
from ledger.invoices import Invoice, Item, Line
from ledger.listings import price_of
from ledger.money import ZERO
from ledger.prices import PriceBook, Rates
from ledger.projections import CallKey
from ledger.reconciliation import UNMEASURED, Amount, Cell, Residual
from ledger.usage import BUCKETS, Usage

NOT_BILLED = "The provider's invoice for that time does not have it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """Which calls: those begun on these days, both inclusive, of the provider's zone; of one client or of all."""

    first: date
    last: date
    zone: str
    client_id: str | None = None
    provider: str | None = None

    def day(self, moment: datetime) -> date | None:
        """The day of a moment, or None outside."""
        found = moment.astimezone(zone(self.zone)).date()
        return found if self.first <= found <= self.last else None

    def takes(self, event: e.CallEvent) -> bool:
        """Whether it is one of the client's and provider's calls."""
        return self.client_id in (None, event.client_id) and self.provider in (None, event.provider_name)


class Orphan(NamedTuple):
    """A call whose end is unknown."""

    event: e.CallOrphaned
    day: date
    request_stream: bool


class Place(NamedTuple):
    """Where a settled call was counted, and at which price."""

    day: date
    price_id: str


@dataclass(slots=True)
class Coverage:
    """The ledger's side. Shapes: `placed` by request id, of those asked for; `position` the last event read."""

    cells: dict[Cell, Amount] = field(default_factory=dict)
    placed: dict[str, Place] = field(default_factory=dict)
    orphans: list[Orphan] = field(default_factory=list)
    prices: PriceBook = field(default_factory=PriceBook)
    providers: set[str] = field(default_factory=set)
    position: int = 0

    def add(self, event: e.CallSettled, day: date) -> None:
        """Count a settled call."""
        model = event.response_model or event.request_model
        left = Decimal(event.cost_usd)
        if (usage := _usage(event)) is not None:
            costs = (getattr(event, f"cost_{bucket}_usd") for bucket in BUCKETS)
            for bucket, tokens, cost in zip(BUCKETS, usage.buckets, costs, strict=True):
                amount = ZERO if cost is None else Decimal(cost)
                left -= amount
                if tokens or amount:
                    self.cells.setdefault(Cell(day, model, bucket), Amount()).add(tokens, amount)
        if left or usage is None:
            self.cells.setdefault(Cell(day, model, UNMEASURED), Amount()).add(0, left)

    def rates(self, model: str, moment: datetime, price_id: str | None) -> Rates | None:
        """What a call was charged with: the frozen price if it is that model's, else the model's own; None for neither."""
        frozen = None if price_id is None else self.prices.by_id(price_id)
        if frozen is not None and frozen.model == model:
            return frozen.rates
        try:
            return self.prices.price_at(model, moment).rates
        except UnpricedModel:
            return None if frozen is None else frozen.rates


def _usage(event: e.CallSettled) -> Usage | None:
    if event.usage_source == "estimated" or event.usage_input_tokens is None or event.usage_output_tokens is None:
        return None
    return Usage(
        input_tokens=event.usage_input_tokens,
        output_tokens=event.usage_output_tokens,
        cache_read_tokens=event.usage_cache_read_input_tokens,
        cache_write_tokens=event.usage_cache_write_input_tokens,
        reasoning_tokens=event.usage_reasoning_output_tokens,
    )


def request_id(event: e.CallEvent) -> str:
    """What the provider was told a call is called."""
    return f"{event.subject}.{event.attempt}"


def coverage(events: Iterable[e.Event], cover: Cover, ids: Collection[str] = ()) -> Coverage:
    """The ledger's side of what an invoice covers, in one pass. Shapes: `ids` are the request ids it bills."""
    found = Coverage()
    streams: dict[CallKey, bool] = {}
    open_ones: dict[CallKey, e.CallOrphaned] = {}
    for event in events:
        found.position = event.sequence or found.position
        if isinstance(event, e.PriceListed):
            found.prices.add(price_of(event))
        if not isinstance(event, e.CallEvent) or not cover.takes(event):
            continue
        key = CallKey(event.subject, event.attempt)
        if isinstance(event, e.CallReserved):
            streams[key] = event.request_stream
        elif isinstance(event, e.CallOrphaned):
            open_ones[key] = event
        else:
            streams.pop(key, None)
            open_ones.pop(key, None)
        if isinstance(event, e.CallSettled) and (day := cover.day(event.reserved_at)) is not None:
            found.providers.add(event.provider_name)
            found.add(event, day)
            if (name := request_id(event)) in ids:
                found.placed[name] = Place(day, event.price_id)
    for key, orphan in open_ones.items():
        if (day := cover.day(orphan.reserved_at)) is not None:
            found.orphans.append(Orphan(orphan, day, streams.get(key, False)))
    return found


def ends_by_item(found: Coverage, items: Sequence[Item], now: datetime) -> tuple[e.CallSettled | e.CallVoided, ...]:
    """The end of every orphan, as an itemised invoice tells it; settled ones are counted in `found`."""
    by_id = {item.request_id: item for item in items}
    ends: list[e.CallSettled | e.CallVoided] = []
    for orphan in found.orphans:
        item = by_id.get(request_id(orphan.event))
        if item is None:
            ends.append(_voided(orphan, now))
            continue
        usage = Usage(
            input_tokens=item.input_tokens,
            output_tokens=item.output_tokens,
            cache_read_tokens=item.cached_tokens or None,
        )
        settled = _settled(found, orphan, usage, item.model, max(item.time, orphan.event.reserved_at))
        if settled is not None:
            ends.append(settled)
            found.placed[item.request_id] = Place(orphan.day, settled.price_id)
    found.orphans = _still_open(found.orphans, ends)
    return tuple(ends)


def ends_by_total(found: Coverage, lines: Sequence[Line], now: datetime) -> tuple[e.CallSettled | e.CallVoided, ...]:
    """The end of those orphans that the totals of a day and model leave no choice about."""
    differing: dict[tuple[date, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    buckets = {line.bucket for line in lines}
    for line in lines:
        differing[line.day, line.model][line.bucket] += line.tokens
    for cell, amount in found.cells.items():
        into = "plain_output" if cell.bucket == "reasoning" and "reasoning" not in buckets else cell.bucket
        differing[cell.day, cell.model][into] -= amount.tokens
    by_place: dict[tuple[date, str], list[Orphan]] = defaultdict(list)
    for orphan in found.orphans:
        by_place[orphan.day, orphan.event.request_model].append(orphan)
    ends: list[e.CallSettled | e.CallVoided] = []
    for (day, model), alone in by_place.items():
        neighbours = [differing.get((day + timedelta(days=by), model), {}) for by in (-1, 1)]
        if Cell(day, model, UNMEASURED) in found.cells or any(any(one.values()) for one in neighbours):
            continue  # the difference may be another call's, or another day's
        left = {bucket: tokens for bucket, tokens in differing[day, model].items() if tokens}
        if not left:
            ends += [_voided(orphan, now) for orphan in alone]
        elif len(alone) == 1 and (usage := _only(left)) is not None:
            settled = _settled(found, alone[0], usage, model, alone[0].event.reserved_at)
            if settled is not None:
                ends.append(settled)
    found.orphans = _still_open(found.orphans, ends)
    return tuple(ends)


def _only(left: Mapping[str, int]) -> Usage | None:
    """The tokens as those of one call; None when they cannot be."""
    if min(left.values()) < 0 or not set(left) <= set(BUCKETS):
        return None
    counts = [left.get(bucket, 0) for bucket in BUCKETS]
    return Usage(
        input_tokens=sum(counts[:3]),
        output_tokens=sum(counts[3:]),
        cache_read_tokens=counts[1] or None,
        cache_write_tokens=counts[2] or None,
        reasoning_tokens=counts[4] or None,
    )


def _still_open(orphans: Iterable[Orphan], ends: Iterable[e.CallEvent]) -> list[Orphan]:
    ended = {request_id(end) for end in ends}
    return [orphan for orphan in orphans if request_id(orphan.event) not in ended]


def _settled(found: Coverage, orphan: Orphan, usage: Usage, model: str, at: datetime) -> e.CallSettled | None:
    """The orphan with these tokens, counted in `found`; None when that is more than its hold, and so not its own."""
    event = orphan.event
    rates = found.rates(model, event.reserved_at, event.price_id)
    if rates is None or charge(usage, rates).total > Decimal(event.hold_usd):
        return None
    settled = orphans.settled(
        event, usage, rates, event_id=str(uuid7()), model=model, at=at, request_stream=orphan.request_stream
    )
    found.add(settled, orphan.day)
    return settled


def _voided(orphan: Orphan, now: datetime) -> e.CallVoided:
    return orphans.voided(orphan.event, event_id=str(uuid7()), at=now, reason=NOT_BILLED)


def lines_of(found: Coverage, invoice: Invoice, cover: Cover) -> tuple[tuple[Line, ...], tuple[Residual, ...]]:
    """The invoice's lines within the cover, and the duplicates among its items.

    Shapes: items become one line a day, model and bucket. A request the ledger knows counts on the ledger's day, so that
    a clock is no difference here; each is priced with what its call was charged with, since items bear no amounts.
    """
    if not invoice.is_itemised:
        return tuple(line for line in invoice.lines if cover.first <= line.day <= cover.last), ()
    sums: dict[Cell, Amount] = {}
    first: dict[str, int] = {}
    duplicates: list[Residual] = []
    for item in invoice.items:
        place = found.placed.get(item.request_id)
        day = place.day if place is not None else cover.day(item.time)
        if day is None:
            continue
        rates = found.rates(item.model, item.time, None if place is None else place.price_id)
        counts = (item.input_tokens - item.cached_tokens, item.cached_tokens, item.output_tokens)
        usage = Usage(
            input_tokens=item.input_tokens, output_tokens=item.output_tokens, cache_read_tokens=item.cached_tokens
        )
        costs = (ZERO,) * 5 if rates is None else charge(usage, rates).lines
        seen = first.setdefault(item.request_id, item.number)
        for bucket, tokens, cost in zip(
            ("uncached_input", "cache_read", "plain_output"), counts, (*costs[:2], costs[3]), strict=True
        ):
            if not tokens:
                continue
            if seen != item.number:
                says = f"line {item.number} bills {item.request_id} again, first in line {seen}"
                duplicates.append(Residual(day, item.model, bucket, "duplicate", tokens, cost, says))
            else:
                sums.setdefault(Cell(day, item.model, bucket), Amount()).add(tokens, cost)
    lines = tuple(Line(*cell, amount.tokens, amount.cost, 0) for cell, amount in sums.items())
    return lines, tuple(duplicates)
