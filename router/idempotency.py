"""One Idempotency-Key, one call: the same request again gets the answer it got, and nothing is charged twice.

The key is claimed by an event before anything goes upstream, so it holds across a restart; the answer lies in the home's
store. Two at once with one key are one call: the second waits. A call that was refused or provably not billed leaves its key
free. One that may have been billed and whose answer is lost, by a kill for instance, keeps it: asked again, it is a 409, since
asking the provider again would be the second charge the key was to prevent.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import msgspec
from aiohttp import web
from msgspec import Struct

from ledger.events import CallClaimed, Event
from ledger.reuse import Claims
from router.chat_request import name_of
from router.config import Idempotency as Settings
from router.doors import Visit
from router.errors import HttpError, KeyReused, KeyUnfinished
from router.event_stream import Collected
from router.replies import client_key, digest
from router.reply_store import Place, ReplyStore, Room
from router.stream_client import RECORDED

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"  # Stripe's name for it
ANSWER_BYTES_AT_MOST = 8 * 2**20
ANSWERS_AT_MOST = 20_000  # of one client
_encode = msgspec.msgpack.encode

Respond = Callable[[], Awaitable[web.StreamResponse]]


class Answered(Struct, frozen=True, kw_only=True):
    """An answer as it went out. Shapes: a stream's body is all its bytes."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_stream: bool = False


_DECODER = msgspec.msgpack.Decoder(Answered)


class _Running(Struct):
    request_digest: bytes
    ended: asyncio.Event


class Once:
    """Answers each key once. All it needs from outside comes in here."""

    def __init__(
        self,
        store: ReplyStore,
        settings: Settings,
        *,
        pepper: bytes,
        claims: Claims,
        submit: Callable[[Event], Awaitable[None]],
        new_id: Callable[[], str],
    ) -> None:
        self._store, self._pepper, self._claims = store, pepper, claims
        self._submit, self._new_id = submit, new_id
        self._room = Room(settings.max_bytes, ANSWERS_AT_MOST, settings.keep_s)
        self._running: dict[Place, _Running] = {}

    async def answer(
        self, request: web.Request, visit: Visit, moment: datetime, body: bytes, respond: Respond
    ) -> web.StreamResponse:
        """What `respond` makes, or what it made for the same key and request before; for a request that has a key.

        Errors: BadRequest for a key that is none; KeyReused, KeyUnfinished (409); as `respond`.
        """
        said = str(name_of(request.headers[HEADER], HEADER))
        key = client_key(self._pepper, visit.client_id, "idempotency keys")
        place = Place(f"idempotency {visit.client_id}", digest(key, (b"key", said.encode())))
        asked = digest(key, (b"request", request.path.encode(), body))
        while (running := self._running.get(place)) is not None:
            if running.request_digest != asked:
                raise KeyReused
            await running.ended.wait()
        running = self._running[place] = _Running(asked, asyncio.Event())
        try:
            before = await self._before(visit, moment, place, asked)
            if before is not None:
                return await _again(request, before)
            # Not waited for: the log is in order, so the claim is durable no later than the hold that follows.
            self._submit(
                CallClaimed(
                    id=self._new_id(),
                    subject=visit.request_id,
                    time=moment,
                    client_id=visit.client_id,
                    idempotency_digest=place.digest.hex(),
                    request_digest=asked.hex(),
                    key_id=visit.caller.key_id,
                )
            )
            return await self._made(request, moment, place, visit, respond)
        finally:
            del self._running[place]
            running.ended.set()

    async def _before(self, visit: Visit, moment: datetime, place: Place, asked: bytes) -> Answered | None:
        claim = self._claims.by_key.get((visit.client_id, place.digest.hex()))
        if claim is None or moment - claim.claimed_at >= timedelta(seconds=self._room.ttl_s):
            return None
        stored = await self._store.get(place, moment)
        if claim.request_digest != asked.hex():
            if stored is None and not claim.is_charged:
                return None  # nothing came of the first, so its key is free
            raise KeyReused
        if stored is not None:
            return _DECODER.decode(zlib.decompress(stored))
        if claim.is_charged:
            raise KeyUnfinished(claim.call_id)
        return None

    async def _made(
        self, request: web.Request, moment: datetime, place: Place, visit: Visit, respond: Respond
    ) -> web.StreamResponse:
        recorded = request[RECORDED] = Collected(ANSWER_BYTES_AT_MOST)
        try:
            response = await respond()
        except HttpError as failed:
            claim = self._claims.by_key.get((visit.client_id, place.digest.hex()))
            if claim is not None and claim.is_charged:
                headers = {**failed.headers, "Content-Type": "application/json"}
                await self._keep(place, moment, Answered(status=failed.status, headers=headers, body=failed.body))
            raise
        whole = response.body if isinstance(response, web.Response) else None
        headers = {
            name: value for name, value in response.headers.items() if name.lower().startswith(("x-", "content-type"))
        }
        answered = Answered(
            status=response.status,
            headers=headers,
            body=whole if isinstance(whole, bytes) else recorded.body,
            is_stream=not isinstance(response, web.Response),
        )
        if answered.body and len(answered.body) <= ANSWER_BYTES_AT_MOST:
            await self._keep(place, moment, answered)
        return response

    async def _keep(self, place: Place, moment: datetime, answered: Answered) -> None:
        await self._store.put(place, lambda: zlib.compress(_encode(answered), 1), moment, self._room)


async def _again(request: web.Request, answered: Answered) -> web.StreamResponse:
    headers = {**answered.headers, REPLAYED: "true"}
    if not answered.is_stream:
        return web.Response(status=answered.status, headers=headers, body=answered.body)
    response = web.StreamResponse(status=answered.status, headers=headers)
    await response.prepare(request)
    await response.write_eof(answered.body)
    return response
