"""The administrative facts: pure makers of the events that commands append.

Each takes what a person typed and gives the event, or says what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

from ledger import events as e
from ledger.budgets import WHOLE, zone
from ledger.errors import InvalidInput
from ledger.money import text, usd
from ledger.prices import Price, Rates, moment_of, price_id, rates

DEFAULT_BASELINE = "gpt-4o@2026-10-01"
BASELINE_MODEL = "openai/gpt-4o"
_CLIENT_ID = re.compile(r"^[a-z0-9][a-z0-9_-]{0,62}$")
_CURRENCY = re.compile(r"^[A-Z]{3}$")


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the outside gives a new event: its id and its moment."""

    event_id: str
    now: datetime


def client_added(
    stamp: Stamp,
    client_id: str,
    *,
    name: str | None,
    currency: str,
    zone_name: str,
    edit_rate: str | None,
    private: bool,
) -> e.ClientAdded:
    """A new client. Errors: InvalidInput for the id, zone or currency; BadMoney for the rate."""
    if not _CLIENT_ID.match(client_id):
        raise InvalidInput(
            f"{client_id!r} is not a client id. Use lower-case letters, digits, - and _, at most 63, like acme."
        )
    if client_id == WHOLE:
        raise InvalidInput(f"{WHOLE!r} names the budget above all clients. Choose another client id.")
    zone(zone_name)
    if edit_rate is not None and usd(edit_rate) < 0:
        raise InvalidInput(f"{edit_rate} is below zero. An hour of an agent costs zero or more USD.")
    return e.ClientAdded(
        id=stamp.event_id,
        subject=client_id,
        client_id=client_id,
        time=stamp.now,
        display_name=name or client_id,
        currency=_currency(currency),
        zone=zone_name,
        private=private,
        edit_usd_per_hour=None if edit_rate is None else text(usd(edit_rate)),
    )


def _currency(found: str) -> str:
    if not _CURRENCY.match(found):
        raise InvalidInput(f"{found!r} is not a currency. Write its ISO 4217 code, like EUR.")
    return found


def budget_set(stamp: Stamp, scope_id: str, amount: str | None, *, hard: bool, valid_from: str | None) -> e.BudgetSet:
    """A monthly cap of the whole, a client or a key (which begins with hp_); no amount lifts it."""
    scope: e.Scope = "whole" if scope_id == WHOLE else "key" if scope_id.startswith("hp_") else "client"
    if amount is not None and usd(amount) < 0:
        raise InvalidInput(f"{amount} is below zero. A budget is zero or more USD a month.")
    return e.BudgetSet(
        id=stamp.event_id,
        subject=scope_id,
        client_id=scope_id if scope == "client" else None,
        time=stamp.now,
        scope=scope,
        hard=hard,
        valid_from=stamp.now if valid_from is None else moment_of(valid_from),
        cap_usd=None if amount is None else text(usd(amount)),
    )


def price_listed(stamp: Stamp, price: Price) -> e.PriceListed:
    """A price as an event."""
    return e.PriceListed(
        id=stamp.event_id,
        subject=price.price_id,
        time=stamp.now,
        provider_name=price.provider,
        model=price.model,
        valid_from=price.valid_from,
        valid_to=price.valid_to,
        context_tokens=price.context_tokens,
        max_output_tokens=price.max_output_tokens,
        price_source=price.source,
        retrieved_at=price.retrieved_at,
        **_rate_fields(price.rates),
    )


def new_price(
    model: str,
    *,
    taken: Iterable[str],
    provider: str,
    input: str,
    output: str,
    cache_read: str | None,
    valid_from: datetime,
    valid_to: str | None,
    source: str,
) -> Price:
    """A price as typed; a cached rate not given is the full one. Errors: BadMoney, BadMoment."""
    if not source.strip():
        raise InvalidInput(
            "A price needs its source. Say where it was read, like --source 'provider page, 2026-10-01'."
        )
    return Price(
        price_id=price_id(model, valid_from, taken),
        provider=provider,
        model=model,
        rates=rates(input, output, cache_read=cache_read),
        valid_from=valid_from,
        valid_to=None if valid_to is None else moment_of(valid_to),
        source=source,
    )


def baseline_set(stamp: Stamp, baseline_id: str, price: Price) -> e.BaselineSet:
    """The frozen baseline, at a listed price's rates."""
    return e.BaselineSet(
        id=stamp.event_id,
        subject=baseline_id,
        time=stamp.now,
        model=price.model,
        valid_from=price.valid_from,
        price_source=price.source,
        retrieved_at=price.retrieved_at,
        **_rate_fields(price.rates),
    )


class _RateFields(TypedDict):
    rate_uncached_input: str
    rate_cache_read: str
    rate_cache_write: str
    rate_plain_output: str
    rate_reasoning: str


def _rate_fields(found: Rates) -> _RateFields:
    return {
        "rate_uncached_input": text(found.uncached_input),
        "rate_cache_read": text(found.cache_read),
        "rate_cache_write": text(found.cache_write),
        "rate_plain_output": text(found.plain_output),
        "rate_reasoning": text(found.reasoning),
    }


def fx_recorded(stamp: Stamp, base: str, quote: str, rate: str, *, on: str, source: str) -> e.FxRecorded:
    """One dated rate: 1 base is `rate` quote. Errors: InvalidInput, BadMoney, BadMoment."""
    if usd(rate) <= 0:
        raise InvalidInput(f"{rate} is not a rate. 1 {base} is some positive amount of {quote}.")
    if base == quote:
        raise InvalidInput(f"1 {base} is 1 {quote} always. Name two currencies, like EUR USD.")
    return e.FxRecorded(
        id=stamp.event_id,
        subject=f"{_currency(base)}/{_currency(quote)}",
        time=stamp.now,
        base_currency=base,
        quote_currency=quote,
        rate=text(usd(rate)),
        valid_from=moment_of(on),
        rate_source=source,
    )


def key_issued(stamp: Stamp, key_id: str, hashed: str, *, role: e.Role, client_id: str | None) -> e.KeyIssued:
    """A key's hash and role; a key that is not an admin's belongs to a client."""
    if role == "admin" and client_id is not None:
        raise InvalidInput("An admin key belongs to no client. Leave the client out, or choose another role.")
    if role != "admin" and client_id is None:
        raise InvalidInput(
            f"A key with role {role} belongs to a client. Name one: halfpenny key issue CLIENT --role {role}."
        )
    return e.KeyIssued(
        id=stamp.event_id, subject=key_id, client_id=client_id, time=stamp.now, role=role, key_hash=hashed
    )


def key_revoked(stamp: Stamp, key_id: str) -> e.KeyRevoked:
    """The end of a key."""
    return e.KeyRevoked(id=stamp.event_id, subject=key_id, time=stamp.now)
