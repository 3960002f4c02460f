"""Reading one client's month: everything a report is made of, once.

Nothing is decided here. The position comes first: a closed month is read up to its
month.closed event, an open one up to the last event that concerns the client.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

from ledger.budgets import Period, period_named
from ledger.errors import NotFound
from ledger.money import text
from reports.errors import NoRate
from reports.facts import Chain, ClientRow, EditRow, LatencyRow, MonthFacts, OutcomeRow, Rate, SpendRow
from reports.figures import Currency, divided, places_of
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
    closed_at, last = warehouse.rows("position", client=client_id, period=name)[0]
    sequence = int(last if closed_at is None else closed_at)
    warehouse.limit(sequence)
    who: dict[str, Any] = {"client": client_id, "period": name}
    cap = one(warehouse.rows("budget", client=client_id, ends_at=period.end))
    rate = _rate(warehouse, client, period, sequence)
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
        outcomes=tuple(map(OutcomeRow._make, warehouse.rows("outcomes", **who))),
        tickets=warehouse.rows("tickets", **who)[0][0],
        cap=cap[0] if cap else None,
        is_hard=bool(cap and cap[0] is not None and cap[1]),
        prices=tuple(map(_price, warehouse.rows("prices", **who))),
        baseline=next((_price(row) for row in warehouse.rows("baseline")), None),
        currency=_currency(client.currency, rate),
        rate=rate,
    )


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
    price_id, model, *rates, valid_from, source, retrieved_at, calls = row
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
    )
