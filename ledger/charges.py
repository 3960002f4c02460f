"""What one call cost, what it may cost at worst, and what it would have cost.

A Charge is a Usage priced bucket by bucket. A hold is the worst case of a call
not made yet. The baseline is the same Usage at another model's price, so the
two differ by price alone. All sums are exact.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from ledger.money import TOKENS_PER_PRICE, ZERO
from ledger.prices import Rates
from ledger.usage import Usage


class Charge(Struct, frozen=True):
    """Exact USD of one call: a line per bucket in the order of usage.BUCKETS, and their sum."""

    lines: tuple[Decimal, Decimal, Decimal, Decimal, Decimal]
    total: Decimal


def charge(usage: Usage, rates: Rates) -> Charge:
    """Price every bucket of one call.

    Units: tokens are counts, rates USD per million tokens, lines exact USD.
    Source: ledger/README.md, "every token lands in exactly one bucket".
    """
    uncached, read, write, plain, reasoning = usage.buckets
    lines = (  # written out, since this is asked of every call
        uncached * rates[0] * TOKENS_PER_PRICE if uncached else ZERO,
        read * rates[1] * TOKENS_PER_PRICE if read else ZERO,
        write * rates[2] * TOKENS_PER_PRICE if write else ZERO,
        plain * rates[3] * TOKENS_PER_PRICE if plain else ZERO,
        reasoning * rates[4] * TOKENS_PER_PRICE if reasoning else ZERO,
    )
    return Charge(lines, sum(filter(None, lines), ZERO))


def worst_case(rates: Rates, *, input_tokens_at_most: int, output_tokens_at_most: int) -> Decimal:
    """The most a call can cost: every input token at the dearest input rate, every output token likewise.

    Units: exact USD. Shapes: `input_tokens_at_most` is the request's length in bytes, since no
    tokeniser makes more tokens than UTF-8 bytes; `output_tokens_at_most` already counts `n` choices.
    """
    dearest_in, dearest_out = max(rates[0], rates[1], rates[2]), max(rates[3], rates[4])
    return (input_tokens_at_most * dearest_in + output_tokens_at_most * dearest_out) * TOKENS_PER_PRICE
