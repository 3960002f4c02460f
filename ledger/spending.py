"""What is counted of money: totals of settled attempts, and what counts against one budget."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from ledger.money import ZERO


class SpendKey(NamedTuple):
    """What spend is counted by; `model` is the one that was charged."""

    client_id: str
    period: str
    purpose: str
    model: str
    arm: str | None
    ticket_class: str | None


@dataclass(slots=True)
class Spend:
    """Exact totals of settled attempts. `unmeasured` calls have no token counts; `estimated` ones cost their hold."""

    calls: int = 0
    estimated: int = 0
    unmeasured: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal = ZERO


@dataclass(slots=True)
class Running:
    """What counts against one scope in one period. Units: exact USD."""

    settled: Decimal = ZERO
    held: Decimal = ZERO
    orphaned: Decimal = ZERO


@lru_cache(maxsize=4096)
def scopes(client_id: str | None, key_id: str | None) -> tuple[tuple[str, str], ...]:
    """Every scope a call of this client and key counts in, as (scope, id): whole, client, key."""
    found: tuple[tuple[str, str], ...] = (("whole", ""),)
    if client_id is not None:
        found += (("client", client_id),)
    return found if key_id is None else (*found, ("key", key_id))
