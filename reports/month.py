"""Reading one client's month: everything a report is made of, once.

Nothing is decided here. The position comes first: a closed month is read up to its
month.closed event, an open one up to the last event that concerns the client.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from ledger.budgets import Period, period_named
from ledger.errors import NotFound
from ledger.money import ZERO, text
from reports.errors import NoRate
from reports.facts import (
    AttemptsRow,
    Chain,
    ClientRow,
    EditRow,
    HistoryRow,
    HoursRow,
    InvoiceRow,
    ListedPrice,
    MonthFacts,
    MonthRow,
    OutcomeRow,
    Rate,
    ServiceRow,
    ShadowRow,
    SpendRow,
    lane_key,
)
from reports.figures import Currency, divided, places_of
from reports.hits import cached_row
from reports.late import adjustments
from reports.model import Price
from reports.replies import Replies, read_replies
from reports.warehouse import Row, Warehouse, one, opened
from reports.weeks import week_values

SETTLED, VOIDED = "halfpenny.call.settled.v1", "halfpenny.call.voided.v1"
RESERVED, REFUSED = "halfpenny.call.reserved.v1", "halfpenny.call.refused.v1"
CACHED = "halfpenny.call.cached.v1"
# What moves "data as of": calls begun, refused or answered from the cache, edits, scores; ends and orphans belong to what has begun.
TELLING = (RESERVED, REFUSED, CACHED, "halfpenny.draft.edited.v1", "halfpenny.score.recorded.v1")


def read_month(home: Path, client_id: str, period: str, as_of: dt.datetime | None = None) -> MonthFacts:
    """Everything a report of this client and month is made of, now or as known at a moment.

    Errors: NotFound for the client; BadPeriod; NoRate; NoLongerHere; Damage.
    """
    with opened(home, as_of) as warehouse:
        return _read(warehouse, client_id, period)


def _read(warehouse: Warehouse, client_id: str, name: str) -> MonthFacts:
    found = one(warehouse.rows("client", client=client_id))
    if found is None:
        hint = f"Add it with: halfpenny client add {client_id} --currency EUR --zone Europe/Berlin, or see: halfpenny client list."
        raise NotFound("client", client_id, hint)
    client = ClientRow._make(found)
    period = period_named(name, client.zone)
    closed_at, last, restatements = warehouse.rows("position", client=client_id, period=name)[0]
    sequence = int(last if closed_at is None else closed_at)
    warehouse.limit(sequence)
    who: dict[str, Any] = {"client": client_id, "period": name}
    cap = one(warehouse.rows("budget", client=client_id, ends_at=period.end))
    rate = _rate(warehouse, client, period, sequence)
    baseline = next((_price(row) for row in warehouse.rows("baseline")), None)
    attempts = [AttemptsRow._make(row) for row in warehouse.rows("attempts", **who)]
    spend = tuple(map(SpendRow._make, warehouse.rows("spend", **who)))
    used = Counter[str]()
    for row in spend:
        used[row.price_id] += row.calls
    replies = read_replies(warehouse, client.zone, **who)
    weeks = _weeks(warehouse, period, client, who)
    return MonthFacts(
        client=client,
        period=period,
        closed=closed_at is not None,
        chain=_chain(warehouse, sequence),
        as_of=max((row.last for row in attempts if row.type in TELLING), default=None),
        spend=spend,
        quality=_quality(weeks, warehouse.rows("scores", **who)),
        weeks=weeks,
        latency=replies.latency,
        outcomes=_outcomes(warehouse, who, attempts),
        tickets=warehouse.rows("tickets", **who)[0][0],
        cap=cap[0] if cap else None,
        is_hard=bool(cap and cap[0] is not None and cap[1]),
        prices=tuple(map(_price, warehouse.rows("prices", price_ids=list(used), calls=list(used.values())))),
        baseline=baseline,
        currency=_currency(client.currency, rate),
        rate=rate,
        restatements=restatements,
        invoice=next((InvoiceRow._make(row) for row in warehouse.rows("invoice", **who)), None),
        book=tuple(map(ListedPrice._make, warehouse.rows("book", ends_at=period.end, price_ids=list(used)))),
        months=tuple(map(MonthRow._make, warehouse.rows("months", **who))),
        previous=_edits_of(warehouse, client_id, month_before(name)),
        hours=tuple(map(HoursRow._make, warehouse.rows("hours", **who))),
        service=_service(replies, attempts),
        shadow=()
        if baseline is None or not any(row.purpose == "shadow" for row in spend)
        else tuple(map(ShadowRow._make, warehouse.rows("shadow", model=baseline.model, **who))),
        late=adjustments(warehouse, client_id, name, sequence),
        history=tuple(map(HistoryRow._make, warehouse.rows("history", client=client_id))),
        busiest=replies.busiest,
        cached=tuple(cached_row(row, baseline) for row in warehouse.rows("hits", zone=client.zone, **who))
        if any(row.type == CACHED for row in attempts)
        else (),
    )


def month_before(name: str) -> str:
    """The name of the month before.

    >>> month_before("2026-01")
    '2025-12'
    """
    year, month = int(name[:4]), int(name[5:])
    return f"{year - 1:04d}-12" if month == 1 else f"{year:04d}-{month - 1:02d}"


def _weeks(
    warehouse: Warehouse, period: Period, client: ClientRow, who: Mapping[str, Any]
) -> tuple[tuple[dt.date, str, EditRow], ...]:
    values = week_values(period, client.zone)
    warehouse.rows("strays", **who, **values)
    ids = {name: value for name, value in values.items() if not name.startswith("start_")}
    found = warehouse.rows("weeks", zone=client.zone, **who, **ids)
    return tuple((row[0], lane_key(row[1], row[2]), EditRow._make(row[3:])) for row in found)


def _quality(weeks: Iterable[tuple[dt.date, str, EditRow]], scores: Iterable[Row]) -> tuple[tuple[str, EditRow], ...]:
    """The month's edits and scores by lane: its weeks added up, and its scores."""
    found: dict[str, EditRow] = {}
    rows = [(key, row) for _, key, row in weeks] + [
        (lane_key(row[0], row[1]), EditRow._make(row[2:])) for row in scores
    ]
    for key, row in rows:
        found[key] = found[key].plus(row) if key in found else row
    return tuple(sorted(found.items()))


def _edits_of(warehouse: Warehouse, client_id: str, period: str) -> EditRow | None:
    """All edits and scores of a month added up; None when there is none."""
    found = one(warehouse.rows("quality", client=client_id, period=period))
    return None if found is None else EditRow._make(found)


def _service(replies: Replies, attempts: Iterable[AttemptsRow]) -> ServiceRow:
    ended = [row for row in attempts if row.type in (SETTLED, VOIDED)]
    p50, p95 = replies.durations
    first_p50, first_p95 = replies.first_chunks
    return ServiceRow(
        p50_s=p50,
        p95_s=p95,
        first_p50_s=first_p50,
        first_p95_s=first_p95,
        attempts=sum(row.attempts for row in ended),
        repeated=sum(row.attempts for row in ended if row.is_repeated),
        failed=sum(row.attempts for row in ended if row.name != "ok"),
    )


def _outcomes(warehouse: Warehouse, who: Mapping[str, Any], attempts: Iterable[AttemptsRow]) -> tuple[OutcomeRow, ...]:
    """How attempts ended, and what is held without an end; looked for only when there are fewer ends than holds."""
    told: Counter[tuple[str, str]] = Counter()
    open_holds = 0
    for row in attempts:
        if row.type in (SETTLED, VOIDED):
            told["ended", "voided" if row.type == VOIDED else row.name] += row.attempts
            open_holds -= row.attempts
        elif row.type == REFUSED:
            told["refused", row.name] += row.attempts
        elif row.type == RESERVED:
            open_holds += row.attempts
    found = [OutcomeRow(what, name, count, ZERO) for (what, name), count in told.items()]
    if open_holds:
        found += [OutcomeRow._make(row) for row in warehouse.rows("holds", **who)]
    return tuple(sorted(found))


def _chain(warehouse: Warehouse, sequence: int) -> Chain:
    source, digest = warehouse.rows("head", sequence=sequence)[0]
    return Chain(sequence, source, bytes(digest).hex())


def _rate(warehouse: Warehouse, client: ClientRow, period: Period, sequence: int) -> Rate | None:
    if client.currency == "USD":
        return None
    found = one(warehouse.rows("fx", currency=client.currency, ends_at=period.end, sequence=sequence))
    if found is None:
        last_day = (period.end - dt.timedelta(microseconds=1)).date()
        raise NoRate(client.currency, client.client_id, last_day.isoformat())
    return Rate._make(found)


def _currency(code: str, rate: Rate | None) -> Currency:
    per_usd = Decimal(1) if rate is None else rate.rate if rate.base == "USD" else inverse(rate.rate)
    return Currency(code, per_usd, places_of(code))


def inverse(rate: Decimal) -> Decimal:
    """How much of the base one of the quote is, with fifty digits."""
    return divided(Decimal(1), rate)


def _price(row: Row) -> Price:
    price_id, model, *rates, valid_from, source, retrieved_at, calls, provider = row
    texts = [text(rate) for rate in rates]
    return Price(
        price_id=price_id,
        model=model,
        uncached_input=texts[0],
        cache_read=texts[1],
        cache_write=texts[2],
        plain_output=texts[3],
        reasoning=texts[4],
        valid_from=valid_from.astimezone(dt.UTC),
        source=source,
        retrieved_at=retrieved_at,
        calls=calls,
        provider=provider,
    )
