"""Caps, holds and what is left, with the semantics of a card payment.

A hold is set aside before a call and resolves at most once: settled at the real
cost, voided, or orphaned (its end is unknown, so it counts in full). For every
scope and period `granted = available + held + orphaned + settled`. A period is
the client's calendar month in its own zone, from local midnight to local midnight.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from ledger.errors import BadPeriod, BudgetSpent, InvalidInput
from ledger.money import ZERO, text

WHOLE = "whole"  # the scope above all clients


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """A calendar month of one zone: `name` is YYYY-MM, `start` inclusive and `end` exclusive, both UTC."""

    name: str
    start: datetime
    end: datetime


@lru_cache(maxsize=256)
def zone(name: str) -> ZoneInfo:
    """The zone of this IANA name.

    Errors: InvalidInput when there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInput(f"{name!r} is not a time zone. Write an IANA name, like Europe/Berlin.") from None


@lru_cache(maxsize=4096)
def period_named(name: str, zone_name: str) -> Period:
    """The month written YYYY-MM in a zone.

    Errors: BadPeriod; InvalidInput for the zone.
    """
    match = re.fullmatch(r"([0-9]{4})-(0[1-9]|1[0-2])", name)
    if not match or match[1] in ("0000", "0001", "9999"):  # whose edges no zone can put into UTC
        raise BadPeriod(name)
    year, month = int(match[1]), int(match[2])
    local = zone(zone_name)
    first = datetime(year, month, 1, tzinfo=local)
    following = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=local)
    return Period(name, first.astimezone(UTC), following.astimezone(UTC))


def period_of(moment: datetime, zone_name: str) -> Period:
    """The month a moment falls into, in a zone."""
    return period_named(f"{moment.astimezone(zone(zone_name)):%Y-%m}", zone_name)


class Account(Struct, frozen=True, kw_only=True):
    """One scope in one period; `cap` None means no cap was set. Units: exact USD."""

    scope: str
    period: str
    cap: Decimal | None = None
    hard: bool = True
    settled: Decimal = ZERO
    held: Decimal = ZERO
    orphaned: Decimal = ZERO

    @property
    def spoken_for(self) -> Decimal:
        """Everything that counts against the cap."""
        return self.settled + self.held + self.orphaned

    @property
    def available(self) -> Decimal | None:
        """What a new hold may take; None without a cap. Negative once a cap was lowered below the spend."""
        return None if self.cap is None else self.cap - self.spoken_for

    def refuse_unless_fits(self, wanted: Decimal) -> None:
        """Errors: BudgetSpent when this account has a hard cap and the hold does not fit."""
        if self.cap is not None and self.hard and self.spoken_for + wanted > self.cap:
            raise BudgetSpent(
                scope=self.scope,
                period=self.period,
                cap=self.cap,
                settled=self.settled,
                held=self.held,
                orphaned=self.orphaned,
                wanted=wanted,
            )

    def as_json(self) -> dict[str, object]:
        """What /v1/budget and `halfpenny budget show` say: money as text."""
        left = self.available
        return {
            "scope": self.scope,
            "period": self.period,
            "hard": self.hard,
            "granted_usd": None if self.cap is None else text(self.cap),
            "settled_usd": text(self.settled),
            "held_usd": text(self.held),
            "orphaned_usd": text(self.orphaned),
            "available_usd": None if left is None else text(left),
        }
