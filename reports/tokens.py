"""Counts of tokens: those a line of the bill used, and those that replies from the cache avoided."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct


class Tokens(Struct, frozen=True, kw_only=True):
    """Counts, each token in exactly one bucket."""

    uncached_input: int
    cache_read: int
    cache_write: int
    plain_output: int
    reasoning: int

    @property
    def input(self) -> int:
        """All tokens in, cached ones included."""
        return self.uncached_input + self.cache_read + self.cache_write

    @property
    def output(self) -> int:
        """All tokens out, reasoning included."""
        return self.plain_output + self.reasoning


class FromCache(Struct, frozen=True, kw_only=True):
    """Replies that were served from the cache instead of a call; no call, no usage and no spend of the month.

    Shapes: `drafts` of the `replies` answered a ticket, `compared` of them count in the baseline. `tokens` and `avoided_usd` are what
    they avoided, exact, at the prices in force at each hit; `avoided` is that, printed. The baseline is absent where none is compared.
    """

    replies: int
    drafts: int
    compared: int
    tokens: Tokens
    avoided_usd: str
    avoided: Decimal
    baseline_usd: str | None
    baseline: Decimal | None
