"""What one call used, each token in exactly one bucket.

Reported totals keep the trade's names: `input_tokens` includes the cached ones,
`output_tokens` includes the reasoning ones. The buckets are exclusive and sum
to those totals. A count is absent, zero or positive, and the three are never
mixed up: absent means the provider did not say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from msgspec import Struct

BUCKETS = ("uncached_input", "cache_read", "cache_write", "plain_output", "reasoning")
LARGEST_COUNT = 100_000_000  # no model reads or writes as much in one call; a cost past DECIMAL(18,12) cannot be kept
# The names of both totals and of both details, in chat completions and in responses.
_CHAT = ("prompt_tokens", "completion_tokens", "prompt_tokens_details", "completion_tokens_details")
_RESPONSES = ("input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details")


class Usage(Struct, frozen=True, kw_only=True):
    """One call's counts as the provider reported them; `None` is "not said".

    Units: tokens. `input_tokens` and `output_tokens` are inclusive totals.
    """

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None

    @property
    def buckets(self) -> tuple[int, int, int, int, int]:
        """Exclusive counts in the order of BUCKETS; they sum to the two totals."""
        read, write = self.cache_read_tokens or 0, self.cache_write_tokens or 0
        reasoning = self.reasoning_tokens or 0
        return (self.input_tokens - read - write, read, write, self.output_tokens - reasoning, reasoning)


@dataclass(frozen=True, slots=True)
class UnknownUsage:
    """Counts that cannot be taken; `why` is one of absent, malformed, negative, excessive, inconsistent."""

    why: str


def read_usage(reported: object) -> Usage | UnknownUsage:
    """Read an OpenAI usage object, from chat completions or from responses.

    Shapes: a mapping with prompt_tokens/completion_tokens or input_tokens/output_tokens and
    optional *_details; None when the provider sent none. Never raises on what a provider sends.
    Source: OpenAI API reference, `usage` of chat completions and of responses.
    """
    if not _is_mapping(reported):
        return UnknownUsage("absent" if reported is None else "malformed")
    names = _CHAT if "prompt_tokens" in reported else _RESPONSES
    total_in, total_out, details_in, details_out = map(reported.get, names)
    details_in, details_out = details_in or {}, details_out or {}
    if total_in is None or total_out is None:
        return UnknownUsage("absent")
    if not _is_mapping(details_in) or not _is_mapping(details_out):
        return UnknownUsage("malformed")
    parts = (
        details_in.get("cached_tokens"),
        details_in.get("cache_write_tokens"),
        details_out.get("reasoning_tokens"),
    )
    for count in (total_in, total_out, *parts):
        if count is not None and not (type(count) is int and 0 <= count <= LARGEST_COUNT):
            return UnknownUsage(_fault(count))
    read, write, reasoning = parts
    if (read or 0) + (write or 0) > total_in or (reasoning or 0) > total_out:
        return UnknownUsage("inconsistent")
    return Usage(
        input_tokens=total_in,
        output_tokens=total_out,
        cache_read_tokens=read,
        cache_write_tokens=write,
        reasoning_tokens=reasoning,
    )


def _is_mapping(found: object) -> TypeGuard[Mapping[str, Any]]:
    return type(found) is dict or isinstance(found, Mapping)  # the abstract class is slow to answer


def _fault(count: object) -> str:
    if type(count) is not int:  # true is an int to isinstance
        return "malformed"
    return "negative" if count < 0 else "excessive"
