"""Arithmetic of printed figures: exact in, rounded once.

A printed line is rounded half up once, in the report's currency; a printed total is the
sum of its printed lines, so a reader with a pencil finds no missing cent. Divisions happen
here, in Decimal, never in SQL, where they would go through a double.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import NamedTuple

from ledger.money import ZERO, round_half_up

Z95 = Decimal("1.959963984540054")  # two-sided 95 % of the normal distribution
SHARE_PLACES = 3  # a tenth of a percent: what is printed, so that no share is rounded twice
_WIDE = Context(prec=50)
_PLACES = {
    "BIF": 0,
    "CLP": 0,
    "ISK": 0,
    "JPY": 0,
    "KRW": 0,
    "PYG": 0,
    "UGX": 0,
    "VND": 0,
    "XAF": 0,
    "XOF": 0,
}  # ISO 4217
_PLACES |= {"BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3}


class Interval(NamedTuple):
    """A figure with its 95 % interval; all three in the same unit, `low <= value <= high`."""

    value: Decimal
    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class Currency:
    """What a report prints: `per_usd` units of `code` for one USD, rounded to `places`."""

    code: str
    per_usd: Decimal
    places: int

    def exact(self, exact_usd: Decimal) -> Decimal:
        """Converted and not rounded: fifty digits."""
        return _WIDE.multiply(exact_usd, self.per_usd)

    def line(self, exact_usd: Decimal) -> Decimal:
        """One printed line: converted, then rounded half up once."""
        return round_half_up(_WIDE.multiply(exact_usd, self.per_usd), self.places)

    def fine(self, exact_usd: Decimal, extra: int = 1) -> Decimal:
        """A unit cost, with more places than money has."""
        return round_half_up(_WIDE.multiply(exact_usd, self.per_usd), self.places + extra)


def places_of(code: str) -> int:
    """How many decimals a currency is paid in. Source: ISO 4217, minor units."""
    return _PLACES.get(code, 2)


def divided(part: Decimal, whole: Decimal) -> Decimal:
    """A quotient with fifty digits, to be rounded by whoever prints it."""
    return _WIDE.divide(part, whole)


def share(part: Decimal | int, whole: Decimal | int, places: int = SHARE_PLACES) -> Decimal | None:
    """`part` of `whole` as 0..1, rounded half up; None when there is no whole."""
    if not whole:
        return None
    return round_half_up(divided(Decimal(part), Decimal(whole)), places)


def mean(total: Decimal, count: int, places: int = SHARE_PLACES) -> Decimal | None:
    """The mean of `count` values that sum to `total`, rounded half up; None of none."""
    return share(total, count, places)


def mean_of_shares(total: Decimal, squares: Decimal, count: int) -> Interval | None:
    """Mean of values between 0 and 1 with its 95 % interval, from their exact sum and sum of squares.

    Shapes: None below one value; with one value the interval is 0..1. Ends are kept within 0..1.
    Source: normal approximation, mean ± 1.96 s / sqrt(n), s² with n - 1.
    """
    value = mean(total, count)
    if value is None:
        return None
    if count == 1:
        return Interval(value, ZERO, Decimal(1))
    spread = _WIDE.divide(
        _WIDE.subtract(squares, _WIDE.divide(_WIDE.multiply(total, total), Decimal(count))), Decimal(count - 1)
    )
    reach = _WIDE.multiply(Z95, _WIDE.sqrt(_WIDE.divide(max(spread, ZERO), Decimal(count))))
    exact = divided(total, Decimal(count))
    return Interval(value, *_within(exact - reach, exact + reach, value))


def variance(total: Decimal, squares: Decimal, count: int) -> Decimal:
    """The sample variance of `count` values, n - 1, from their exact sum and sum of squares; zero below two."""
    if count < 2:
        return ZERO
    around = _WIDE.subtract(squares, _WIDE.divide(_WIDE.multiply(total, total), Decimal(count)))
    return max(_WIDE.divide(around, Decimal(count - 1)), ZERO)


def root(value: Decimal) -> Decimal:
    """The square root with fifty digits."""
    return _WIDE.sqrt(value)


def t95(freedom: int) -> Decimal:
    """The two-sided 95 % quantile of Student's distribution, to within 1 % from three degrees of freedom on.

    Source: Abramowitz and Stegun, 26.7.5.
    """
    z, n = Z95, Decimal(freedom)
    first = (z**3 + z) / (4 * n)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n * n)
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n * n * n)
    return z + first + second + third


def ratio_of_sums(pairs: Sequence[tuple[Decimal, Decimal]]) -> Interval | None:
    """The first parts' sum over the second parts', with its 95 % interval over the pairs; not rounded.

    Shapes: None below two pairs or without a whole. Source: Cochran, Sampling Techniques, 6.4 (linearised variance of a ratio),
    Student's quantile for the pairs there are.
    """
    count, whole = len(pairs), sum((second for _, second in pairs), ZERO)
    if count < 2 or not whole:
        return None
    ratio = divided(sum((first for first, _ in pairs), ZERO), whole)
    spread = sum(((first - ratio * second) ** 2 for first, second in pairs), ZERO)
    error = divided(root(divided(spread * count, Decimal(count - 1))), abs(whole))
    reach = t95(count - 1) * error
    return Interval(ratio, ratio - reach, ratio + reach)


def wilson(hits: int, count: int) -> Interval | None:
    """A share of yes or no with its 95 % Wilson interval; None of none.

    Source: Wilson 1927, score interval without continuity correction.
    """
    value = share(hits, count)
    if value is None:
        return None
    n, p, z2 = Decimal(count), divided(Decimal(hits), Decimal(count)), _WIDE.multiply(Z95, Z95)
    centre = _WIDE.add(p, _WIDE.divide(z2, 2 * n))
    inner = _WIDE.add(_WIDE.divide(_WIDE.multiply(p, 1 - p), n), _WIDE.divide(z2, 4 * n * n))
    reach = _WIDE.multiply(Z95, _WIDE.sqrt(inner))
    below = 1 + _WIDE.divide(z2, n)
    return Interval(value, *_within(_WIDE.divide(centre - reach, below), _WIDE.divide(centre + reach, below), value))


def _within(low: Decimal, high: Decimal, value: Decimal) -> tuple[Decimal, Decimal]:
    """Both ends rounded, inside 0..1, and never past the value they surround."""
    lower = min(max(round_half_up(low, SHARE_PLACES), ZERO), value)
    upper = max(min(round_half_up(high, SHARE_PLACES), Decimal(1)), value)
    return lower, upper


def total(lines: Iterable[Decimal]) -> Decimal:
    """Printed lines added up."""
    return sum(lines, ZERO)
