"""The demo's customer: one month of tickets through the gateway, and what people did with the drafts.

Customers of the gateway like any other, no back door: the support app with the real `openai` client, the help desk
with plain HTTP. The moment of a ticket travels in a header, so that a month takes a minute; nothing drawn
depends on the order in which calls end.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import aiohttp
import openai

from router.demo_tickets import (
    DemoSources,
    DemoTicket,
    HumanEdit,
    coherence_score,
    human_edit,
    is_scored,
    request_messages,
)
from router.seeded import unit

AT_ONCE = 24  # tickets in flight; more would only wait for the two cores
STREAMED_SHARE = 0.05
UNHANDLED_SHARE = 0.01  # drafts nobody got to by the end of the month: unknown, not zero
_TIMEOUT_S = 120.0


@dataclass(slots=True)
class Sent:
    """What came of the month: counts, and the first few refusals in the gateway's own words."""

    drafted: int = 0
    edited: int = 0
    scored: int = 0
    refused: int = 0
    refusals: list[str] = field(default_factory=list)


async def send_month(
    base_url: str,
    *,
    app_key: str,
    agent_key: str,
    seed: int,
    tickets: Sequence[DemoTicket],
    sources: DemoSources,
    on_ticket: Callable[[], None],
) -> Sent:
    """Send every ticket, take in every edit and score; AT_ONCE at a time.

    Errors: openai.APIConnectionError when the gateway is gone; calls it refuses are counted, not raised.
    """
    sent = Sent()
    waiting = iter(tickets)
    async with (
        openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key=app_key, timeout=_TIMEOUT_S, max_retries=0) as app,
        aiohttp.ClientSession(base_url=base_url, headers={"authorization": f"Bearer {agent_key}"}) as desk,
    ):
        customer = _Customer(app, desk, seed, sources, sent, on_ticket)
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(customer.work(waiting))
    return sent


@dataclass(slots=True)
class _Customer:
    app: openai.AsyncOpenAI
    desk: aiohttp.ClientSession
    seed: int
    sources: DemoSources
    sent: Sent
    on_ticket: Callable[[], None]

    async def work(self, waiting: Iterator[DemoTicket]) -> None:
        """Take tickets until none is left."""
        for ticket in waiting:
            try:
                await self._handle(ticket)
            except openai.APIStatusError as refusal:
                self.sent.refused += 1
                if len(self.sent.refusals) < 3:
                    self.sent.refusals.append(f"{ticket.ticket_id}: {refusal.message}")
            self.on_ticket()

    async def _handle(self, ticket: DemoTicket) -> None:
        model, draft = await self._draft(ticket)
        self.sent.drafted += 1
        answered = ticket.at + timedelta(seconds=5)
        if is_scored(self.seed, ticket.ticket_id):
            await self._score(ticket, model, answered)
        if unit("unhandled", self.seed, ticket.ticket_id) >= UNHANDLED_SHARE:
            await self._edit(
                ticket, human_edit(self.seed, ticket.ticket_id, model, ticket.truth, draft), draft, answered
            )

    async def _draft(self, ticket: DemoTicket) -> tuple[str, str]:
        """The model that wrote, and what it wrote."""
        # In extra_body the client sends messages as they are; as an argument it walks over them for 2 ms a call.
        request = {
            "model": "auto",
            "messages": [],
            "metadata": {"ticket_id": ticket.ticket_id},
            "extra_body": {"messages": request_messages(self.seed, ticket, sources=self.sources)},
            "extra_headers": _at(ticket.at),
        }
        if unit("streamed", self.seed, ticket.origin_id) >= STREAMED_SHARE:
            reply = await self.app.chat.completions.create(**request)  # type: ignore[call-overload]
            return reply.model, reply.choices[0].message.content or ""
        model, parts = "", []
        async for chunk in await self.app.chat.completions.create(**request, stream=True):  # type: ignore[call-overload]
            model = chunk.model or model
            parts += [choice.delta.content or "" for choice in chunk.choices]
        return model, "".join(parts)

    async def _edit(self, ticket: DemoTicket, edit: HumanEdit, draft: str, answered: datetime) -> None:
        said = {
            "draft_text": draft,
            "final_text": edit.final_text,
            "edit_seconds": edit.edit_seconds,
            "disposition": edit.disposition,
        }
        await self._post(f"/v1/tickets/{ticket.ticket_id}/edits", said, answered + timedelta(seconds=edit.edit_seconds))
        self.sent.edited += 1

    async def _score(self, ticket: DemoTicket, model: str, answered: datetime) -> None:
        said = {
            "ticket_id": ticket.ticket_id,
            "rubric": "support-draft",
            "rubric_version": "1",
            "criterion": "coherence",
            "value": coherence_score(self.seed, ticket.ticket_id, model),
            "scorer": "human",
            "blind": True,
        }
        await self._post("/v1/scores", said, answered)
        self.sent.scored += 1

    async def _post(self, path: str, said: dict[str, object], moment: datetime) -> None:
        async with self.desk.post(path, json=said, headers=_at(moment)) as reply:
            if reply.status >= 400:
                raise RuntimeError(f"{path} was refused with {reply.status}: {await reply.text()}")


def _at(moment: datetime) -> dict[str, str]:
    """The moment for the gateway's books, and for the simulated provider's own."""
    return {"x-halfpenny-time": moment.isoformat(), "x-simulate-time": moment.isoformat()}
