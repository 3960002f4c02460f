"""Which arm answers a ticket: `label` by its class, `fixed` by a share.

A draw is a hash, never a die, so a replay draws the same. It is taken over the ticket's id where there is one and the
call's id otherwise: a ticket asked again stays with its arm, and two runs over the same tickets agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from ledger.events import TicketClass

Arm = Literal["standard", "premium"]
_SIDES = 1 << 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketView:
    """What a policy sees of a ticket. Units: `request_bytes` bounds the input tokens."""

    client_id: str
    call_id: str
    ticket_class: TicketClass
    period: str
    request_bytes: int
    ticket_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The arm, how likely it was, and why; the figures it saw are absent where a policy looks at none.

    Units: `propensity` 0..1; `extra_cost_usd` and `budget_left_usd` are exact USD as text.
    """

    arm: Arm
    propensity: float
    policy: str
    reason: str
    class_score: float | None = None
    lambda_: float | None = None
    gain: float | None = None
    extra_cost_usd: str | None = None
    budget_left_usd: str | None = None
    tickets_expected: float | None = None


Policy = Callable[[TicketView], Decision]


def label(ticket: TicketView) -> Decision:
    """Simple to standard, complex to premium."""
    arm: Arm = "standard" if ticket.ticket_class == "simple" else "premium"
    return Decision(arm=arm, propensity=1.0, policy="label", reason=f"{ticket.ticket_class} tickets go to {arm}")


def fixed(standard_share: float, seed: str = "") -> Policy:
    """A policy that gives `standard_share` of the tickets to the standard arm, whatever their class."""

    def decide(ticket: TicketView) -> Decision:
        is_standard = draw(seed, ticket.client_id, ticket.ticket_id or ticket.call_id) < standard_share
        share = standard_share if is_standard else 1.0 - standard_share
        return Decision(
            arm="standard" if is_standard else "premium",
            propensity=round(share, 6),
            policy="fixed",
            reason=f"a fixed share of {standard_share:.0%} goes to standard, drawn by the id",
        )

    return decide


def draw(seed: str, client_id: str, unit: str) -> float:
    """A number in [0, 1), the same for the same three texts; each text is length-prefixed, so none runs into the next."""
    parts = "".join(f"{len(part)}:{part}" for part in (seed, client_id, unit))
    return int.from_bytes(blake2b(parts.encode(), digest_size=8).digest()) / _SIDES
