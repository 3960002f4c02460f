"""Figures in words: how amounts, shares, counts and days are written for people, in their language.

Everything arrives rounded; nothing here rounds money. babel knows how a language writes numbers and days, and is asked for
nothing else: it rounds half to even, so it is only given figures that fit its pattern. One Style per report.
"""

from __future__ import annotations

import datetime as dt
import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from babel import Locale
from babel.dates import format_date
from babel.numbers import format_decimal, get_currency_symbol

from ledger.money import round_half_up
from reports.words import Words

MINUS = "\u2212"
NBSP = "\u00a0"
_SCALES = ((Decimal(1_000_000_000), 0), (Decimal(1_000_000), 1), (Decimal(1_000), 2))


@dataclass(frozen=True, slots=True)
class Style:
    """One language, in one currency."""

    code: str
    language: str = "en"

    @property
    def say(self) -> Words:
        """The language's words."""
        return Words(self.language)

    def money(self, amount: Decimal | None, *, sign: bool = False) -> str:
        """An amount with all its decimals, like $1,234.50; with `sign`, a step: −$12.00 or +$3.10."""
        if amount is None:
            return self.unknown
        before = MINUS if amount < 0 else "+" if sign and amount else ""
        symbol, is_first = _symbol(self.code, self.language)
        number = self._number(abs(amount))
        return f"{before}{symbol}{number}" if is_first else f"{before}{number}{NBSP}{symbol}"

    @property
    def unknown(self) -> str:
        """What is written for a figure nobody has."""
        return self.say("unknown")

    def _number(self, value: Decimal, least: int = 0) -> str:
        """Grouped, with the decimals it has, and at least so many."""
        exponent = value.as_tuple().exponent
        places = max(-exponent if isinstance(exponent, int) else 0, least)
        return str(format_decimal(value, "#,##0" + ("." + "0" * places if places else ""), locale=self.language))

    def number(self, value: Decimal) -> str:
        """A figure without a unit."""
        return self._number(value)

    def rate(self, usd_per_mtok: str) -> str:
        """A price per million tokens, with at least two decimals."""
        return self._number(Decimal(usd_per_mtok), 2)

    def whole(self, amount: Decimal) -> str:
        """An axis label: no decimals unless the amount has some."""
        plain = amount.quantize(Decimal(1)) if amount == amount.to_integral_value() else amount.normalize()
        return self.money(plain)

    def percent(self, share: Decimal | None, places: int = 1) -> str:
        """A share of 0..1, like 63.6%."""
        return "–" if share is None else self._points(share, places) + self._percent_sign

    def _points(self, share: Decimal, places: int = 1) -> str:
        value = round_half_up(share * 100, places)
        return (MINUS if value < 0 else "") + self._number(abs(value))

    @property
    def _percent_sign(self) -> str:
        return "%" if self.language == "en" else f"{NBSP}%"

    def span(self, low: Decimal | None, high: Decimal | None) -> str:
        """An interval of shares, like 16.4–17.7%."""
        return "–" if low is None or high is None else f"{self._points(low)}–{self.percent(high)}"

    def count(self, value: int) -> str:
        """Whole, in groups of three."""
        return self._number(Decimal(value))

    def tokens(self, value: int) -> str:
        """About how many, like 14.1 M; exact below ten thousand."""
        if value < 10_000:
            return self.count(value)
        scale, place = next(found for found in _SCALES if value >= found[0])
        amount = Decimal(value) / scale
        return self._number(round_half_up(amount, 2 if amount < 10 else 1)) + NBSP + self.say.listed("scales")[place]

    def seconds(self, value: Decimal | None) -> str:
        """Like 1.42 s, or 12.3 s."""
        return "–" if value is None else self._number(round_half_up(value, 2 if value < 10 else 1)) + f"{NBSP}s"

    def day(self, day: dt.date) -> str:
        """Like 3 Oct."""
        return self._date(day, self.say("date.day")).replace(" ", NBSP)

    def full_day(self, day: dt.date) -> str:
        """Like 3 October 2025."""
        return self._date(day, self.say("date.full"))

    def days(self, first: dt.date, last: dt.date) -> str:
        """Like 6–12 Oct; both ends belong to it and lie in one month."""
        return self.day(first) if first == last else f"{self._date(first, self.say('date.number'))}–{self.day(last)}"

    def month(self, first_day: dt.date) -> str:
        """Like October 2025."""
        return self._date(first_day, "LLLL y")

    def month_name(self, first_day: dt.date) -> str:
        """Like October."""
        return self._date(first_day, "LLLL")

    def _date(self, day: dt.date, pattern: str) -> str:
        return str(format_date(day, pattern, locale=self.language))

    def moment(self, moment: dt.datetime | None) -> str:
        """Like 31 Oct 2025, 22:58 UTC."""
        if moment is None:
            return self.say("no_call_yet")
        utc = moment.astimezone(dt.UTC)
        return f"{self.day(utc.date())} {utc.year}, {utc:%H:%M}{NBSP}UTC"

    def plural(self, count: int, noun: str) -> str:
        """A count with its noun, by the noun's key."""
        return f"{self.count(count)} {self.say.noun(noun, count)}"


@lru_cache(maxsize=64)
def _symbol(code: str, language: str) -> tuple[str, bool]:
    """A currency's sign, and whether it stands before the amount; a sign of letters keeps its distance."""
    symbol = str(get_currency_symbol(code, locale=language))
    is_first = Locale.parse(language).currency_formats["standard"].pattern.startswith("¤")
    return (symbol + NBSP if is_first and symbol[-1].isalpha() else symbol), is_first


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
    """At most two short names; the rest counted.

    >>> model_names(("a/x", "b/y", "c/z"))
    'x + y + 1'
    """
    names = tuple(dict.fromkeys(model_name(model) for model in models))
    more = f" + {len(names) - 2}" if len(names) > 2 else ""
    return " + ".join(names[:2]) + more
