"""The provider's own log held against the ledger, call by call.

The log is the outside witness: it is written by the other side of the wire and knows nothing of ours. Tokens are
compared call by call; cost is made anew from the log's tokens and the price each call froze.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from ledger.events import CallSettled, Event, PriceListed
from ledger.listings import rates_of
from ledger.money import TOKENS_PER_PRICE, ZERO, text


class Billed(NamedTuple):
    """One line of the provider's log. Units: tokens."""

    model: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(slots=True)
class Comparison:
    """Both sides, and where they differ. Shapes: `differences` are sentences, at most one a call."""

    calls: int = 0
    tokens: int = 0
    cost: Decimal = ZERO
    estimated: int = 0
    differences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if self.differences:
            return f"{len(self.differences)} differences to the provider's own log, first: {self.differences[0]}"
        said = f"the provider's own log agrees on all {self.calls:,} calls, {self.tokens:,} tokens and {text(self.cost)} USD"
        return said + (f"; {self.estimated} more calls are estimates" if self.estimated else "")


def read_bill(path: Path) -> dict[str, Billed]:
    """The log by request id, `call_id.attempt`. Errors: ValueError when a request id stands twice."""
    bill: dict[str, Billed] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            request_id = row["request_id"]
            if request_id in bill:
                raise ValueError(f"{path} bills {request_id} twice")
            bill[request_id] = Billed(
                row["model"], row["prompt_tokens"], row["cached_tokens"], row["completion_tokens"]
            )
    return bill


def compare(events: Iterable[Event], bill: Mapping[str, Billed]) -> Comparison:
    """Every settled call against its line in the bill, and every line against its call."""
    prices: dict[str, PriceListed] = {}
    found, unseen = Comparison(), set(bill)
    for event in events:
        if isinstance(event, PriceListed):
            prices[event.subject] = event
        elif isinstance(event, CallSettled):
            request_id = f"{event.subject}.{event.attempt}"
            unseen.discard(request_id)
            if event.usage_source == "estimated":
                found.estimated += 1
            else:
                _count(found, event, request_id, bill.get(request_id), prices[event.price_id])
    found.differences += [f"{request_id} is billed and not in the ledger" for request_id in sorted(unseen)]
    return found


def _count(found: Comparison, event: CallSettled, request_id: str, billed: Billed | None, price: PriceListed) -> None:
    if billed is None:
        found.differences.append(f"{request_id} is settled and not billed")
        return
    rates = rates_of(price)
    uncached = billed.prompt_tokens - billed.cached_tokens
    cost = (
        uncached * rates.uncached_input
        + billed.cached_tokens * rates.cache_read
        + billed.completion_tokens * rates.plain_output
    ) * TOKENS_PER_PRICE
    ours = (
        event.response_model,
        event.usage_input_tokens,
        event.usage_cache_read_input_tokens or 0,
        event.usage_output_tokens,
    )
    if ours != tuple(billed) or Decimal(event.cost_usd) != cost:
        found.differences.append(
            f"{request_id}: ledger {ours} {event.cost_usd} USD, provider {tuple(billed)} {text(cost)} USD"
        )
        return
    found.calls += 1
    found.tokens += billed.prompt_tokens + billed.completion_tokens
    found.cost += cost
