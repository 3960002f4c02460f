"""The repeats of the demo's month, as far as one day of it goes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ledger.events import CallCached
from router.demo_month import send_month
from router.demo_sources import shipped_sources
from router.demo_tickets import demo_month
from tests.served_home import key_of, simulated

TICKETS = 300


@pytest.mark.anyio
async def test_of_the_demos_repeats_most_are_caught_and_nothing_else(tmp_path: Path) -> None:
    sources = shipped_sources()
    tickets = demo_month(7, "2025-10", sources=sources)[:TICKETS]
    asked = Counter(ticket.text for ticket in tickets)
    # Some are asked at once, so of two equal ones either may be first: what counts is the text.
    repeats, again = sum(asked.values()) - len(asked), {t.ticket_id for t in tickets if asked[t.text] > 1}
    settings = 'server.clock = "request"\ncache.ttl_s = 604800\nprovider.retries = 2'
    async with simulated(tmp_path, settings=settings) as running:
        sent = await send_month(
            running.url, app_key=key_of("app"), agent_key=key_of("agent"), seed=7, tickets=tickets, sources=sources,
            on_ticket=lambda: None,
        )  # fmt: skip
        hits = {hit.ticket_id for hit in running.events(CallCached) if hit.purpose == "generation"}

    assert (sent.drafted, sent.refused) == (TICKETS, 0)
    assert repeats > 15
    assert hits <= again
    assert len(hits) >= 0.4 * repeats
