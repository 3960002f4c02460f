"""Customers that keep a record of what they were told: calls with their cost, edits, refusals; and go on until stopped."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import aiohttp

from tests.running import LARGE, MEDIUM, Prepared

GONE = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, asyncio.IncompleteReadError)
SHARES = {"direct": 0.45, "routed": 0.15, "streamed": 0.2, "edit": 0.2}


@dataclass(slots=True)
class Told:
    """What customers were told. Shapes: calls by id with their cost, edits by event id, odd answers as sentences."""

    calls: dict[str, Decimal] = field(default_factory=dict)
    edits: list[str] = field(default_factory=list)
    refused: int = 0
    odd: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How much was acknowledged."""
        return len(self.calls) + len(self.edits)


@dataclass(slots=True)
class Customers:
    """Some customers at once over one gateway; seeded, though what interleaves is the machine's doing.

    `on_told` gets the id of each acknowledged call or edit, at once.
    """

    url: str
    keys: Prepared
    seed: int
    told: Told = field(default_factory=Told)
    on_told: Callable[[str], None] = lambda _: None
    pause_s: float = 0.0  # between two calls of one customer
    drafted: list[str] = field(default_factory=list)  # tickets that may be edited, each once
    made: int = 0

    async def work(self, stop: asyncio.Event, *, at_once: int, hanging: int = 0) -> None:
        """Go on until stopped or until the gateway is gone; `hanging` calls stay unanswered upstream all the time."""
        timeout = aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
            waiting = [asyncio.create_task(self._hang(session, number)) for number in range(hanging)]
            workers = [
                asyncio.create_task(self._worker(session, stop, f"{self.seed}.{number}")) for number in range(at_once)
            ]
            await asyncio.gather(*workers)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _worker(self, session: aiohttp.ClientSession, stop: asyncio.Event, seed: str) -> None:
        draw = random.Random(seed)
        while not stop.is_set():
            kind = draw.choices(tuple(SHARES), tuple(SHARES.values()))[0]
            with suppress(*GONE):
                if kind == "edit" and self.drafted:
                    await self._edit(session, self.drafted.pop(draw.randrange(len(self.drafted))))
                else:
                    await self._call(session, draw, kind)
                await asyncio.sleep(self.pause_s)
                continue
            return  # the gateway is gone

    async def _call(self, session: aiohttp.ClientSession, draw: random.Random, kind: str) -> None:
        self.made += 1
        ticket = f"T-{self.seed}-{self.made}"
        body: dict[str, Any] = {
            "model": "auto" if kind == "routed" else draw.choice((MEDIUM, LARGE)),
            "messages": [
                {"role": "user", "content": f"Ticket {ticket}: where is my card? " + "x" * draw.randrange(200)}
            ],
            "max_tokens": draw.randrange(8, 64),
            "metadata": {"ticket_id": ticket},
            "stream": kind == "streamed",
        }
        async with session.post(f"{self.url}/v1/chat/completions", json=body, headers=self._headers("app")) as answer:
            said = await answer.read()
            if answer.status == 429:
                self.told.refused += 1
                # A refusal is not waited out: the next call may fit.
                await asyncio.sleep(0.005)
                return
            if answer.status != 200:
                self.told.odd.append(f"{answer.status}: {said[:200]!r}")
                return
            call_id, cost = _read_stream(said) if kind == "streamed" else _read_headers(answer)
        if call_id in self.told.calls:
            self.told.odd.append(f"{call_id} was told twice")
        self.told.calls[call_id] = Decimal(cost)
        self.drafted.append(ticket)
        self.on_told(call_id)

    async def _edit(self, session: aiohttp.ClientSession, ticket: str) -> None:
        body = {
            "final_text": "Dear customer, here it is.",
            "draft_text": "Dear customer, it is here.",
            "edit_seconds": 12,
        }
        url = f"{self.url}/v1/tickets/{ticket}/edits"
        async with session.post(url, json=body, headers=self._headers("agent")) as answer:
            said = await answer.json()
            if answer.status != 200:
                self.told.odd.append(f"{answer.status}: {said}")
                return
        self.told.edits.append(said["id"])
        self.on_told(said["id"])

    async def _hang(self, session: aiohttp.ClientSession, number: int) -> None:
        body = {
            "model": MEDIUM,
            "messages": [{"role": "user", "content": "?"}],
            "max_tokens": 8,
            "metadata": {"ticket_id": f"H-{self.seed}-{number}"},
        }
        # Processed and billed, and never answered: the calls a crash leaves without an end.
        fault = "timeout" if number % 2 else "hang"
        with suppress(*GONE):
            headers = self._headers("app") | {"x-simulate-fault": fault}
            async with session.post(f"{self.url}/v1/chat/completions", json=body, headers=headers) as answer:
                self.told.odd.append(f"a hanging call was answered with {answer.status}")

    def _headers(self, role: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys.app_key if role == 'app' else self.keys.agent_key}"}


def _read_headers(answer: aiohttp.ClientResponse) -> tuple[str, str]:
    return answer.headers["x-halfpenny-call-id"], answer.headers["x-halfpenny-cost-usd"]


def _read_stream(said: bytes) -> tuple[str, str]:
    """The gateway's own object of a stream that came to its end; one cut short was not acknowledged."""
    events = [line.removeprefix(b"data: ") for line in said.splitlines() if line.startswith(b"data: ")]
    if not events or events[-1] != b"[DONE]":
        raise aiohttp.ClientPayloadError("the stream broke off")
    own = next(json.loads(event)["halfpenny"] for event in reversed(events[:-1]) if b'"halfpenny"' in event)
    return own["call_id"], own["cost_usd"]
