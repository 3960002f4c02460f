"""A home's log and a provider's own books, held against each other and against the cap, as both grow.

The provider's log is the outside witness: every line in it is a request that was billed, whoever was there to read the reply.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from ledger import admin
from ledger import events as e
from ledger.budgets import Account
from ledger.cli import stamp
from ledger.home import Home
from ledger.money import text
from ledger.projections import CallKey, State, apply
from ledger.segments import read_all
from router.remote import post_events
from tests.running import CLIENT, ZONE


@dataclass(slots=True)
class Row:
    """One drill. Shapes: `wrong` are sentences; none when all is as promised."""

    name: str
    count: str
    seed: int
    found: str = ""
    wrong: list[str] = field(default_factory=list)


@dataclass
class Witness:
    """What the log says so far. Shapes: `ends` counts the ends of every attempt that was reserved."""

    home: Home
    books: Path
    state: State = field(default_factory=State)
    ends: dict[CallKey, int] = field(default_factory=dict)
    voided: set[CallKey] = field(default_factory=set)
    new: list[e.Event] = field(default_factory=list)  # since the look before

    def look(self) -> list[str]:
        """Read what is new in both, and say what is wrong in it."""
        wrong: list[str] = []
        self.new = list(read_all(self.home, after=self.state.position))
        for event in self.new:
            apply(self.state, event)
            if isinstance(event, e.CallReserved):
                self.ends[CallKey(event.subject, event.attempt)] = 0
                wrong += self._above_cap(event)
            elif isinstance(event, e.CallSettled | e.CallVoided | e.CallOrphaned):
                self._ended(event, wrong)
        billed = self.billed()
        wrong += [f"{name} is billed {count} times" for name, count in billed.items() if count > 1]
        wrong += [f"{name} is billed and was never held for" for name in billed if name not in self.ends]
        return wrong + [f"{name} is billed and voided" for name in billed if name in self.voided]

    def at_rest(self) -> list[str]:
        """The same once nothing is under way: no hold is left, and every attempt has one end."""
        wrong = self.look()
        wrong += [f"{key} is held at rest" for key in self.state.holds]
        wrong += [f"{key} has {count} ends" for key, count in self.ends.items() if count != 1]
        wrong += [f"{name} has {now.held} USD held at rest" for name, now in self.state.running.items() if now.held]
        return wrong

    def billed(self) -> Counter[CallKey]:
        """The attempts in the provider's books, without a line that is being written."""
        lines = self.books.read_bytes().rpartition(b"\n")[0].splitlines()
        ids = (json.loads(line)["request_id"].rpartition(".") for line in lines)
        return Counter(CallKey(call_id, int(attempt)) for call_id, _, attempt in ids)

    def account(self) -> Account:
        """The client's account this month."""
        return self.state.account("client", CLIENT, f"{datetime.now(UTC):%Y-%m}", ZONE)

    def give_room(self, more_usd: Decimal) -> None:
        """A hard cap that leaves just so much, set beside the running service as a command sets it."""
        cap = text(self.account().spoken_for + more_usd)
        post_events(self.home, [admin.budget_set(stamp(), CLIENT, cap, hard=True, valid_from="2025-01-01")])

    def _ended(self, event: e.CallSettled | e.CallVoided | e.CallOrphaned, wrong: list[str]) -> None:
        key = CallKey(event.subject, event.attempt)
        if key not in self.ends:
            wrong.append(f"{key} ends without a hold before it")
        self.ends[key] = self.ends.get(key, 0) + 1
        if isinstance(event, e.CallVoided):
            self.voided.add(key)

    def _above_cap(self, event: e.CallReserved) -> list[str]:
        account = self.state.account("client", CLIENT, event.period, ZONE)
        if account.cap is None or not account.hard or account.spoken_for <= account.cap:
            return []
        return [f"after event {event.sequence} {account.spoken_for} USD are taken of {account.cap}"]
