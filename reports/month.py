"""Reading one client's month: everything a report is made of, once.

Nothing is decided here. The position comes first: a closed month is read up to its
month.closed event, an open one up to the last event that concerns the client.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from functools import reduce
from pathlib import Path
from typing import Any

from ledger.budgets import Period, period_named
from ledger.errors import NotFound
from ledger.money import text
from reports.errors import NoRate
from reports.facts import (
    Chain,
    ClientRow,
    EditRow,
    HistoryRow,
    HoursRow,
    InvoiceRow,
    LatencyRow,
    ListedPrice,
    MonthFacts,
    MonthRow,
    OutcomeRow,
    Rate,
    ServiceRow,
    ShadowRow,
    SpendRow,
)
from reports.figures import Currency, divided, places_of
from reports.late import adjustments
from reports.model import Price
from reports.warehouse import Row, Warehouse, one, opened


def read_month(home: Path, client_id: str, period: str) -> MonthFacts:
    """Everything a report of this client and month is made of.

    Errors: NotFound for the client; BadPeriod; NoRate; Damage.
    """
    with opened(home) as warehouse:
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
    return MonthFacts(
        client=client,
        period=period,
        closed=closed_at is not None,
        chain=_chain(warehouse, sequence),
        as_of=warehouse.rows("as_of", **who)[0][0],
        spend=tuple(map(SpendRow._make, warehouse.rows("spend", **who))),
        quality=tuple((_key(row[0], row[1]), EditRow._make(row[2:])) for row in warehouse.rows("quality", **who)),
        weeks=tuple(
            (row[0], _key(row[1], row[2]), EditRow._make(row[3:]))
            for row in warehouse.rows("weeks", zone=client.zone, **who)
        ),
        latency=tuple(LatencyRow(_key(row[0], row[1]), *row[2:]) for row in warehouse.rows("latency", **who)),
        outcomes=_outcomes(warehouse, who),
        tickets=warehouse.rows("tickets", **who)[0][0],
        cap=cap[0] if cap else None,
        is_hard=bool(cap and cap[0] is not None and cap[1]),
        prices=tuple(map(_price, warehouse.rows("prices", **who))),
        baseline=baseline,
        currency=_currency(client.currency, rate),
        rate=rate,
        restatements=restatements,
        invoice=next((InvoiceRow._make(row) for row in warehouse.rows("invoice", **who)), None),
        book=tuple(map(ListedPrice._make, warehouse.rows("book", ends_at=period.end, **who))),
        months=tuple(map(MonthRow._make, warehouse.rows("months", **who))),
        previous=_edits_of(warehouse, client_id, month_before(name)),
        hours=tuple(map(HoursRow._make, warehouse.rows("hours", **who))),
        service=ServiceRow._make(warehouse.rows("service", **who)[0]),
        shadow=()
        if baseline is None
        else tuple(map(ShadowRow._make, warehouse.rows("shadow", model=baseline.model, **who))),
        late=adjustments(warehouse, client_id, name, sequence),
        history=tuple(map(HistoryRow._make, warehouse.rows("history", client=client_id))),
        busiest=next(((row[0], row[1]) for row in warehouse.rows("busiest", zone=client.zone, **who)), None),
    )


def month_before(name: str) -> str:
    """The name of the month before.

    >>> month_before("2026-01")
    '2025-12'
    """
    year, month = int(name[:4]), int(name[5:])
    return f"{year - 1:04d}-12" if month == 1 else f"{year:04d}-{month - 1:02d}"


def _edits_of(warehouse: Warehouse, client_id: str, period: str) -> EditRow | None:
    """All edits of a month added up; None when there is none."""
    rows = [EditRow._make(row[2:]) for row in warehouse.rows("quality", client=client_id, period=period)]
    return reduce(EditRow.plus, rows) if rows else None


def _outcomes(warehouse: Warehouse, who: Mapping[str, Any]) -> tuple[OutcomeRow, ...]:
    """How attempts ended, and what is held without an end; looked for only when there are fewer ends than holds."""
    found = [OutcomeRow._make(row) for row in warehouse.rows("outcomes", **who)]
    reserved = sum(row.attempts for row in found if row.what == "reserved")
    ended = sum(row.attempts for row in found if row.what == "ended" and row.name != "orphaned")
    told = [row for row in found if row.what != "reserved" and (row.what, row.name) != ("ended", "orphaned")]
    if reserved != ended:
        told += [OutcomeRow._make(row) for row in warehouse.rows("holds", **who)]
    return tuple(sorted(told))


def _chain(warehouse: Warehouse, sequence: int) -> Chain:
    source, digest = warehouse.rows("head", sequence=sequence)[0]
    return Chain(sequence, source, bytes(digest).hex())


def _key(direct_model: str | None, arm: str | None) -> str:
    """A lane's key: its arm, else the model that was called directly."""
    return arm if arm is not None else str(direct_model)


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
