"""Exact money: Decimal in code, text on every wire.

One amount is at most 999,999.999999999999 USD with twelve decimals, which is
what DECIMAL(18,12) holds. A price of one cent per million tokens is 10 nano
dollars a token, so nine decimals would not be enough. Nothing here rounds,
except `round_half_up`, which a printed line calls once.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation

from ledger.errors import BadMoney

PLACES = 12
QUANTUM = Decimal(1).scaleb(-PLACES)
ZERO = Decimal(0)
LIMIT = Decimal(1_000_000)  # exclusive: DECIMAL(18,12) has six digits before the point
TOKENS_PER_PRICE = Decimal("0.000001")  # prices are per million tokens

_EXACT = Context(prec=60)


def usd(found: str | int | Decimal) -> Decimal:
    """The exact amount a text, whole number or Decimal says.

    Units: USD. Shapes: at most twelve decimals, below one million either way.
    Errors: BadMoney for a float, NaN, an exponent past twelve decimals, or too much.
    """
    if isinstance(found, bool) or not isinstance(found, str | int | Decimal):
        raise BadMoney(found, "a float or other type is never exact")
    try:
        value = Decimal(found)
    except InvalidOperation:
        raise BadMoney(found, "it is not a number") from None
    if not value.is_finite():
        raise BadMoney(found, "it is not finite")
    if abs(value) >= LIMIT:
        raise BadMoney(found, "it is a million or more")
    if value != value.quantize(QUANTUM, context=_EXACT):  # a comparison is exact, however many digits came
        raise BadMoney(found, "it has more than twelve decimals")
    return value


def text(value: Decimal) -> str:
    """The one way an amount is written: plain digits, no exponent, no trailing zeros.

    >>> text(Decimal("0.0123400"))
    '0.01234'
    """
    if not value:
        return "0"
    plain = str(value)
    if "E" in plain:
        plain = format(value, "f")
    if plain[-1] == "0" and "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return plain


def round_half_up(value: Decimal, places: int = 2) -> Decimal:
    """Half up, away from zero; once per printed line, never per call.

    >>> round_half_up(Decimal("2.665"))
    Decimal('2.67')
    """
    return value.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP, context=_EXACT)
