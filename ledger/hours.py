"""The hours the freelancer bills a client: the fact that they were worked, and what they cost."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from ledger import events as e
from ledger.errors import InvalidInput
from ledger.money import text, usd

if TYPE_CHECKING:
    from ledger.projections import State

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
HOURS_A_DAY = Decimal(24)


def hours_logged(
    state: State, client_id: str, *, event_id: str, now: datetime, hours: str, activity: str, on: str, rate: str | None
) -> e.HoursLogged:
    """Hours of one day. Shapes: `rate` in the client's currency, absent when they are not billed.

    Errors: NotFound for the client; InvalidInput for hours, day or activity; BadMoney for figures that are none.
    """
    client = state.client(client_id)
    day = _day(on)
    if not 0 < usd(hours) <= HOURS_A_DAY:
        raise InvalidInput(f"{hours} hours do not fit into a day. Give more than 0 and at most 24, like --hours 4.")
    if not activity.strip():
        raise InvalidInput("Hours need what they went into. Name it, like --what integration.")
    if rate is not None and usd(rate) < 0:
        raise InvalidInput(f"{rate} is below zero. An hour is billed at zero or more {client.currency}.")
    return e.HoursLogged(
        id=event_id,
        subject=client_id,
        client_id=client_id,
        time=now,
        period=f"{day:%Y-%m}",
        worked_on=day.isoformat(),
        hours=text(usd(hours)),
        activity=activity.strip(),
        hourly_rate=None if rate is None else text(usd(rate)),
        currency=None if rate is None else client.currency,
    )


def _day(found: str) -> date:
    try:
        if not _DAY.fullmatch(found):
            raise ValueError
        return date.fromisoformat(found)
    except ValueError:
        raise InvalidInput(f"{found!r} is not a day. Write it as YYYY-MM-DD, like 2026-10-03.") from None


def check_logged(state: State, event: e.HoursLogged) -> None:
    """Hours belong to a client that is there, and a rate to its currency. Errors: NotFound, InvalidInput."""
    client = state.client(event.subject)
    if event.currency not in (None, client.currency):
        raise InvalidInput(f"{event.subject} is billed in {client.currency}, not in {event.currency}.")
    if not event.worked_on.startswith(event.period):
        raise InvalidInput(f"{event.worked_on} does not lie in {event.period}.")
