"""What need not be made again: calls that took an Idempotency-Key, and whether they may have been billed.

A key that a call took belongs to its request. While the call may have been billed, the same key gives the same reply
or none; a call that was refused or provably not billed leaves its key free for the next try.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from ledger import events as e
from ledger.errors import Conflict

if TYPE_CHECKING:
    from ledger.projections import State

CLAIMS_KEPT = 50_000  # the newest; a retry comes within minutes


class Claim(NamedTuple):
    """Who took a key, for which request, and since when; `is_charged` once its call was settled or orphaned."""

    client_id: str
    idempotency_digest: str
    call_id: str
    request_digest: str
    claimed_at: datetime
    is_charged: bool = False


@dataclass(slots=True)
class Claims:
    """The newest claims, by client and key, and by call."""

    by_key: OrderedDict[tuple[str, str], Claim] = field(default_factory=OrderedDict)
    by_call: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add(self, claim: Claim) -> None:
        """Take a claim in; a later one for the same key takes its place."""
        key = claim.client_id, claim.idempotency_digest
        if (before := self.by_key.pop(key, None)) is not None:  # so that the newest is last
            del self.by_call[before.call_id]
        self.by_key[key] = claim
        self.by_call[claim.call_id] = key
        if len(self.by_key) > CLAIMS_KEPT:
            _, oldest = self.by_key.popitem(last=False)
            del self.by_call[oldest.call_id]

    def charge(self, call_id: str) -> None:
        """Note that this call was, or may have been, billed."""
        if (key := self.by_call.get(call_id)) is not None:
            self.by_key[key] = self.by_key[key]._replace(is_charged=True)


def call_claimed(state: State, event: e.CallClaimed) -> None:
    """Fold."""
    state.claims.add(
        Claim(event.client_id or "", event.idempotency_digest, event.subject, event.request_digest, event.time)
    )


def check_claimed(state: State, event: e.CallClaimed) -> None:
    """A call takes one key. Errors: Conflict."""
    if event.subject in state.claims.by_call:
        raise Conflict(f"Call {event.subject} has taken an Idempotency-Key already. Use one key a call.")
