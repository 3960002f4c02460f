"""The freelancer's hours and their payback as values: a part of report.json."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Literal

from msgspec import Struct


class WorkLine(Struct, frozen=True, kw_only=True):
    """Hours of one activity at one rate, in the report's currency; no fee without a rate."""

    activity: str
    hours: Decimal
    rate: Decimal | None
    fee: Decimal | None


class Work(Struct, frozen=True, kw_only=True):
    """The freelancer's hours up to the month's end, and when the saving has paid for them.

    Shapes: `fee` absent when some hours have no rate; `saved` is all that was saved up to the month's end;
    `break_even` the first day of the month in which it reaches the fee, reached or expected at this month's saving.
    """

    lines: tuple[WorkLine, ...]
    hours: Decimal
    fee: Decimal | None
    saved: Decimal | None
    verdict: Literal["reached", "expected", "never", "unknown"]
    break_even: dt.date | None
