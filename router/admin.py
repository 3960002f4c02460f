"""The handlers for commands that run beside the service: they write through it, since one process writes a home."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import msgspec
from aiohttp import web

from ledger import codec
from ledger.codec import BadLine
from ledger.events import STAMPS, Event
from router.doors import Visit, answer
from router.errors import BadRequest, HttpError

EVENTS_AT_MOST = 10_000
Seal = Callable[[], Awaitable[object]]


class Admin:
    """Handlers over one ledger. `submit` takes events all or none; `seal` is absent where nothing can be sealed."""

    def __init__(
        self,
        *,
        submit: Callable[..., Awaitable[None]],
        seal: Seal | None,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._submit, self._seal, self._now, self._new_id = submit, seal, now, new_id

    async def append(self, _: web.Request, visit: Visit) -> web.StreamResponse:
        """POST /v1/admin/events: a list of event objects without stamps; id and time are filled in where absent."""
        events = self._read(visit.body)
        await self._submit(*events)
        return answer(msgspec.json.encode({"object": "list", "data": [{"id": event.id} for event in events]}))

    async def seal(self, _: web.Request, __: Visit) -> web.StreamResponse:
        """POST /v1/admin/seal: seal what is in the journal now."""
        if self._seal is None:
            raise HttpError(409, "This service seals nothing.", code="conflict")
        return answer(msgspec.json.encode({"object": "seal", "sealed": await self._seal()}))

    def _read(self, body: bytes) -> list[Event]:
        try:
            found = msgspec.json.decode(body, type=list[dict[str, Any]])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BadRequest("The body must be a JSON list of event objects.") from None
        if not 0 < len(found) <= EVENTS_AT_MOST:
            raise BadRequest(f"Send 1 to {EVENTS_AT_MOST} events; {len(found)} came.")
        return [self._event(number, said) for number, said in enumerate(found, 1)]

    def _event(self, number: int, said: dict[str, Any]) -> Event:
        if stamps := [name for name in STAMPS if name in said]:
            raise BadRequest(f"Event {number} bears {', '.join(stamps)}, which only the journal stamps.")
        filled = {"id": self._new_id(), "time": self._now(), **said}
        try:
            return codec.decode(msgspec.json.encode(filled))
        except BadLine as wrong:
            raise BadRequest(f"Event {number}: {wrong}.") from None
