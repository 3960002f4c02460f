"""Drafts kept for some days, so that a later edit of a ticket need not send them again; only where the configuration asks."""

from __future__ import annotations

from datetime import UTC, datetime

from ledger import content
from ledger.home import Home
from router.config import Config


class Drafts:
    """A home's kept drafts, by the wall clock."""

    def __init__(self, home: Home, days: int) -> None:
        self._home, self._days = home, days

    def keep(self, client_id: str, ticket_id: str, text: str) -> bool:
        """Keep a ticket's draft; False when it was erased."""
        until = content.until(datetime.now(UTC), self._days)
        return content.keep(self._home, client_id, ticket_id, text, until=until)

    def kept(self, client_id: str, ticket_id: str) -> str | None:
        """The draft kept of a ticket, or None."""
        return content.kept(self._home, client_id, ticket_id, now=datetime.now(UTC))


def drafts_of(home: Home, config: Config) -> Drafts | None:
    """Where drafts are kept, if the configuration asks for it."""
    return Drafts(home, config.content.keep_days) if config.content.keep_days else None
