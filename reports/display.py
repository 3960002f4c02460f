"""Figures in words: how amounts, shares, counts and days are written for people.

Everything arrives rounded; nothing here rounds money. One Style per report, so that another
language is another Style and no template changes.
"""

from __future__ import annotations

import datetime as dt
import unicodedata
from dataclasses import dataclass
from decimal import Decimal

from ledger.money import round_half_up

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
SIGNS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹", "KRW": "₩", "PLN": "PLN\u00a0", "CHF": "CHF\u00a0"}
MINUS = "\u2212"
_SCALES = ((Decimal(1_000_000_000), "G"), (Decimal(1_000_000), "M"), (Decimal(1_000), "k"))


@dataclass(frozen=True, slots=True)
class Style:
    """English, in one currency."""

    code: str

    def money(self, amount: Decimal | None, *, sign: bool = False) -> str:
        """An amount with all its decimals, like $1,234.50; with `sign`, a step: −$12.00 or +$3.10."""
        if amount is None:
            return "not known"
        before = MINUS if amount < 0 else "+" if sign and amount else ""
        return f"{before}{SIGNS.get(self.code, self.code + chr(0xA0))}{abs(amount):,f}"

    def rate(self, usd_per_mtok: str) -> str:
        """A price per million tokens, with at least two decimals."""
        whole, _, after = usd_per_mtok.partition(".")
        return f"{whole}.{after:0<2}"

    def whole(self, amount: Decimal) -> str:
        """An axis label: no decimals unless the amount has some."""
        return self.money(amount.quantize(Decimal(1)) if amount == amount.to_integral_value() else amount.normalize())

    def percent(self, share: Decimal | None, places: int = 1) -> str:
        """A share of 0..1, like 63.6%."""
        if share is None:
            return "–"
        value = round_half_up(share * 100, places)
        return f"{MINUS if value < 0 else ''}{abs(value):f}%"

    def span(self, low: Decimal | None, high: Decimal | None) -> str:
        """An interval of shares, like 16.4–17.7%."""
        return f"{self.percent(low)[:-1]}–{self.percent(high)}"

    def count(self, value: int) -> str:
        """Whole, in groups of three."""
        return f"{value:,}"

    def tokens(self, value: int) -> str:
        """About how many, like 14.1 M; exact below ten thousand."""
        if value < 10_000:
            return f"{value:,}"
        scale, letter = next(s for s in _SCALES if value >= s[0])
        amount = Decimal(value) / scale
        return f"{round_half_up(amount, 2 if amount < 10 else 1):f}\u00a0{letter}"

    def seconds(self, value: Decimal | None) -> str:
        """Like 1.42 s, or 12.3 s."""
        return "–" if value is None else f"{round_half_up(value, 2 if value < 10 else 1):f}\u00a0s"

    def day(self, day: dt.date) -> str:
        """Like 3 Oct."""
        return f"{day.day}\u00a0{MONTHS[day.month - 1][:3]}"

    def full_day(self, day: dt.date) -> str:
        """Like 3 October 2025."""
        return f"{day.day} {MONTHS[day.month - 1]} {day.year}"

    def days(self, first: dt.date, last: dt.date) -> str:
        """Like 6–12 Oct; both ends belong to it and lie in one month."""
        return self.day(first) if first == last else f"{first.day}–{self.day(last)}"

    def month(self, first_day: dt.date) -> str:
        """Like October 2025."""
        return f"{MONTHS[first_day.month - 1]} {first_day.year}"

    def moment(self, moment: dt.datetime | None) -> str:
        """Like 31 Oct 2025, 22:58 UTC."""
        if moment is None:
            return "no call yet"
        utc = moment.astimezone(dt.UTC)
        return f"{self.day(utc.date())} {utc.year}, {utc:%H:%M}\u00a0UTC"

    def plural(self, count: int, one: str, many: str) -> str:
        """A count with its noun."""
        return f"{self.count(count)} {one if count == 1 else many}"


def legible(text: str, most: int = 120) -> str:
    """A foreign text on one line: no control or direction mark, and not endless.

    >>> legible("a\\tb\\u202ec")
    'a b c'
    """
    shown = "".join(" " if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") else sign for sign in text)
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def model_name(model: str) -> str:
    """A model's short name: without its maker, and GPT in capitals.

    >>> model_name("openai/gpt-4o")
    'GPT-4o'
    """
    last = legible(model.rstrip("/").rpartition("/")[2] or model, 40)
    return "GPT" + last[3:] if last.lower().startswith("gpt-") else last


def model_names(models: tuple[str, ...]) -> str:
    """At most two short names; the rest counted."""
    names = tuple(dict.fromkeys(model_name(model) for model in models))
    more = f" + {len(names) - 2} more" if len(names) > 2 else ""
    return " + ".join(names[:2]) + more
