"""Replies served again to the client that paid for them, when it asks for exactly the same.

Off until a client's `ttl_s` is set: a cache changes what asking twice means. Only whole, measured replies are kept, and
only of classification and generation: a judge asked twice is asked for a second opinion. While a reply is being made,
the same question waits for it instead of being asked again. Every hit is an event with what it avoided; it costs nothing
and needs no room under a cap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta

from aiohttp import hdrs
from msgspec import Raw, Struct

from ledger.charges import charge
from ledger.errors import UnpricedModel
from ledger.events import CallCached, Event, Purpose
from ledger.money import text
from ledger.prices import Price, PriceBook
from router.config import Config
from router.replies import Kept, Source, client_key, digest, packed, unpacked
from router.reply_store import Place, ReplyStore, Room
from router.settlement import Asked

KEPT_PURPOSES = ("classification", "generation")
_NEVER, _NO_READ = "no-store", "no-cache"


class Hit(Struct, frozen=True, kw_only=True):
    """A reply from the cache, with the prices of what it avoided as they are now."""

    kept: Kept
    price: Price
    sorting_price: Price | None


class Seat:
    """One question's place in the cache, until its asker has an answer: others with the same question wait for it."""

    def __init__(self, cache: Cache, place: Place, moment: datetime, room: Room, *, may_read: bool) -> None:
        self._cache, self.place, self.moment, self.room, self.may_read = cache, place, moment, room, may_read

    def keep(self, kept: Kept | None) -> None:
        """The reply was made; None when it is not to be served again. Returns at once, and lets the others go on."""
        self._cache.keep(self, kept)


class Cache:
    """The cache over a store. All it needs from outside comes in here."""

    def __init__(
        self,
        store: ReplyStore,
        config: Config,
        *,
        pepper: bytes,
        prices: PriceBook,
        submit: Callable[[Event], Awaitable[None]],
        new_id: Callable[[], str],
    ) -> None:
        self._store, self._settings = store, config.cache
        self._is_on = self._settings.ttl_s > 0 or any(own.ttl_s for own in self._settings.clients.values())
        self._pepper, self._prices, self._submit, self._new_id = pepper, prices, submit, new_id
        self._keys: dict[str, bytes] = {}
        self._making: dict[Place, asyncio.Event] = {}
        self._keeping: set[asyncio.Task[None]] = set()
        self.hits = self.misses = 0

    def seat(
        self, asked: Asked, parts: Callable[[], Iterable[bytes | Raw]], headers: Mapping[str, str], *, purpose: Purpose
    ) -> Seat | None:
        """A place for this question; None when it is not to be cached at all.

        Shapes: `headers` are the request's; Cache-Control no-store keeps out of the cache, no-cache asks anew.
        """
        if not self._is_on:
            return None
        room = self._room(asked.client_id)
        said = headers.get(hdrs.CACHE_CONTROL, "").lower()
        if room.ttl_s <= 0 or purpose not in KEPT_PURPOSES or _NEVER in said:
            return None
        key = self._keys.get(asked.client_id)
        if key is None:
            key = self._keys[asked.client_id] = client_key(self._pepper, asked.client_id, "cache")
        place = Place(f"cache {asked.client_id}", digest(key, parts()))
        return Seat(self, place, asked.moment, room, may_read=_NO_READ not in said)

    async def find(self, seat: Seat) -> Hit | None:
        """The reply to serve; or None, and then it is to be made and said to the seat, whatever comes of it."""
        deadline = asyncio.get_running_loop().time() + self._settings.join_s
        while seat.may_read:
            if (hit := await self._look(seat)) is not None:
                self.hits += 1
                return hit
            making = self._making.get(seat.place)
            if making is None:
                break
            try:
                async with asyncio.timeout_at(deadline):
                    await making.wait()
            except TimeoutError:
                break
        self.misses += 1
        self._making.setdefault(seat.place, asyncio.Event())
        return None

    async def record(self, asked: Asked, hit: Hit, *, stream: bool) -> None:
        """Write down what was avoided; returns once it is durable."""
        kept = hit.kept
        events = [self._event(asked, asked.call_id, kept, kept.source, hit.price, "generation", stream=stream)]
        if kept.sorting is not None and hit.sorting_price is not None:
            sorting = self._event(
                asked, self._new_id(), kept, kept.sorting, hit.sorting_price, "classification", stream=False
            )
            events.insert(0, sorting)
        for event in events[:-1]:
            self._submit(event)  # durable no later than the one after it
        await self._submit(events[-1])

    async def record_sorting(self, asked: Asked, hit: Hit) -> None:
        """The same for a classification alone."""
        kept = hit.kept
        await self._submit(
            self._event(asked, self._new_id(), kept, kept.source, hit.price, "classification", stream=False)
        )

    @property
    def stream_bytes(self) -> int:
        """How much of a stream is collected to be kept."""
        return self._settings.max_reply_bytes

    def keep(self, seat: Seat, kept: Kept | None) -> None:
        """Take a reply in, in the background, and then let those who wait for it look."""
        if kept is None or len(kept.body) > self._settings.max_reply_bytes:
            self._made(seat.place)
            return
        task = asyncio.get_running_loop().create_task(self._put(seat, kept))
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def settle(self) -> None:
        """Wait for what is being kept."""
        if self._keeping:
            await asyncio.wait(self._keeping)

    async def _put(self, seat: Seat, kept: Kept) -> None:
        try:
            await self._store.put(seat.place, lambda: packed(kept), seat.moment, seat.room)
        finally:
            self._made(seat.place)

    def _made(self, place: Place) -> None:
        if (making := self._making.pop(place, None)) is not None:
            making.set()

    async def _look(self, seat: Seat) -> Hit | None:
        stored = await self._store.get(seat.place, seat.moment)
        kept = None if stored is None else unpacked(stored)
        # A store may keep longer than it was told, and the client's time may have been shortened since.
        if kept is None or seat.moment - kept.stored_at > timedelta(seconds=seat.room.ttl_s):
            return None
        try:
            price = self._prices.price_at(kept.source.model, seat.moment)
            sorting = None if kept.sorting is None else self._prices.price_at(kept.sorting.model, seat.moment)
        except UnpricedModel:
            return None  # asked anew it is refused, and says why
        return Hit(kept=kept, price=price, sorting_price=sorting)

    def _room(self, client_id: str) -> Room:
        settings, own = self._settings, self._settings.clients.get(client_id)
        ttl_s = settings.ttl_s if own is None or own.ttl_s is None else own.ttl_s
        at_most = settings.max_bytes if own is None or own.max_bytes is None else own.max_bytes
        return Room(bytes_at_most=at_most, replies_at_most=settings.max_replies, ttl_s=ttl_s)

    def _event(
        self, asked: Asked, call_id: str, kept: Kept, source: Source, price: Price, purpose: Purpose, *, stream: bool
    ) -> CallCached:
        usage = source.usage
        return CallCached(
            id=self._new_id(),
            subject=call_id,
            time=asked.moment,
            client_id=asked.client_id,
            source_call_id=source.call_id,
            purpose=purpose,
            period=asked.period,
            request_model=source.model,
            provider_name=source.provider_name,
            price_id=price.price_id,
            avoided_usd=text(charge(usage, price.rates).total),
            avoided_input_tokens=usage.input_tokens,
            avoided_output_tokens=usage.output_tokens,
            stored_at=kept.stored_at,
            request_stream=stream,
            avoided_cache_read_input_tokens=usage.cache_read_tokens,
            avoided_cache_write_input_tokens=usage.cache_write_tokens,
            avoided_reasoning_output_tokens=usage.reasoning_tokens,
            response_model=source.response_model,
            key_id=asked.key_id,
            ticket_id=asked.ticket_id,
            arm=kept.arm if purpose == "generation" else None,
            ticket_class=kept.ticket_class if purpose == "generation" else None,
        )
