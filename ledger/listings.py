"""Prices and baselines as events state them, read into the values that charges are made with."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from ledger import events as e
from ledger.errors import Conflict
from ledger.prices import Price, Rates

if TYPE_CHECKING:
    from ledger.projections import State


def price_of(event: e.PriceListed) -> Price:
    """The price an event listed."""
    return Price(
        price_id=event.subject,
        provider=event.provider_name,
        model=event.model,
        rates=rates_of(event),
        valid_from=event.valid_from,
        valid_to=event.valid_to,
        context_tokens=event.context_tokens,
        max_output_tokens=event.max_output_tokens,
        source=event.price_source,
        retrieved_at=event.retrieved_at,
    )


def rates_of(event: e.PriceListed | e.BaselineSet) -> Rates:
    """The five rates an event carries. Units: USD per million tokens."""
    return Rates(
        Decimal(event.rate_uncached_input),
        Decimal(event.rate_cache_read),
        Decimal(event.rate_cache_write),
        Decimal(event.rate_plain_output),
        Decimal(event.rate_reasoning),
    )


def check_baseline(state: State, event: e.BaselineSet) -> None:
    """The baseline in force may be set again as it is, and changed under another name only. Errors: Conflict."""
    now = state.baseline
    if now is None or now.subject != event.subject:
        return
    if (now.model, rates_of(now)) != (event.model, rates_of(event)):
        raise Conflict(
            f"Baseline {event.subject!r} is frozen at {now.rate_uncached_input} in, {now.rate_plain_output} out for {now.model}. "
            "Give other prices another name with their date, like gpt-4o@2026-11-01."
        )
