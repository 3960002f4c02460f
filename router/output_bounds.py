"""How many tokens a reply may have where its request does not say.

A bound far above what replies have holds money that never gets spent: a cap looks full while most of it will come
back. So where room is scarce the bound is what replies of the same kind (client, model, purpose, class) had, with a
margin; where it is plentiful, the configured most, since a bound that is too low cuts a reply that was paid for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

BUCKETS = 96  # four to each doubling, up to 2**25 tokens
REMEMBERED = 2_000  # replies; then every count is halved, so that what replies were long ago fades
KNOWN_FROM = 50  # replies; from so many the longest but one in a hundred is about the longest seen
SHARE = Decimal("0.99")  # of replies that fit the least bound
PLENTY = 128  # the most is imposed while so many holds of it fit into the room left


class Bounds(NamedTuple):
    """What one choice may write: where there is plenty of room, usually, and at least before a refusal. Units: tokens."""

    most: int
    usual: int
    least: int


@dataclass(slots=True)
class Written:
    """How long replies of one kind were. Shapes: `counts` by bucket of length; a reply that was cut counts as twice its length."""

    counts: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    total: int = 0

    def take(self, tokens: int, *, is_cut: bool) -> None:
        """One reply more. Units: tokens of all its choices."""
        self.counts[_bucket(2 * tokens if is_cut else tokens)] += 1
        self.total += 1
        if self.total >= REMEMBERED:
            self.counts = [count >> 1 for count in self.counts]
            self.total = sum(self.counts)

    def at_most(self, share: Decimal) -> int:
        """The length that this share of replies does not exceed, rounded up to its bucket's end. Units: tokens."""
        wanted, seen = self.total * share, 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if seen >= wanted:
                return _longest(bucket)
        return _longest(BUCKETS - 1)


def kind_of(model: str, purpose: str, ticket_class: str | None) -> str:
    """What replies are alike by, within a client."""
    return f"{model} {purpose} {ticket_class or '-'}"


def bounds_of(written: Written | None, *, most: int, cold_start: int, cold_least: int) -> Bounds:
    """The bounds of a kind: of what was written, half as much again; the configured ones while too little was. Units: tokens."""
    if written is None or written.total < KNOWN_FROM:
        return Bounds(most, min(most, cold_start), min(most, cold_least))
    long = written.at_most(SHARE)
    return Bounds(most, min(most, long * 3 // 2), min(most, long))


def imposed(bounds: Bounds, worst: Callable[[int], Decimal], room: Decimal | None) -> int:
    """The bound to ask with. Shapes: `worst` is the hold at a bound; `room` what hard caps leave, None without one."""
    is_plenty = room is None or worst(bounds.most) * PLENTY <= room
    return bounds.most if is_plenty else bounds.usual


def _bucket(tokens: int) -> int:
    """Four to a doubling: by the leading bit and the two after it."""
    if tokens < 4:
        return max(tokens, 0)
    top = tokens.bit_length() - 3
    return min(4 * top + (tokens >> top), BUCKETS - 1)


def _longest(bucket: int) -> int:
    if bucket < 4:
        return bucket
    top, leading = divmod(bucket, 4)
    # Numbers of 3 + n bits, from n = 0, begin at bucket 4 + 4 n.
    return ((leading + 5) << (top - 1)) - 1
