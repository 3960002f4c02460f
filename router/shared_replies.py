"""Kept replies in a Redis or Valkey, for several gateways; the same promises as the store in the home.

Every request has a deadline. After one that failed or was late the server is left alone for some seconds, so that a frozen
one costs a call its deadline once and not each time. A flushed server has nothing, which is no fault.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import structlog

from router.config import Cache as Settings
from router.provider_config import BadConfig
from router.reply_store import Place, Room

if TYPE_CHECKING:
    from redis.asyncio import Redis

Found = TypeVar("Found")
LEFT_ALONE_S = 5.0
_log = structlog.stdlib.get_logger()


class SharedStore:
    """Replies in a server. Sizes of a shelf are the server's to bound, by its own maxmemory. Units: `timeout_s` seconds."""

    def __init__(self, server: Redis, timeout_s: float) -> None:
        self._server, self._timeout_s = server, timeout_s
        self._not_before = 0.0

    async def get(self, place: Place, _: datetime) -> bytes | None:
        """The stored bytes; None when there are none, or the server did not say in time."""
        found = await self._bounded(lambda: self._server.get(_name(place)))
        return found if isinstance(found, bytes) else None

    async def put(self, place: Place, value: Callable[[], bytes], _: datetime, room: Room) -> None:
        """Keep what `value` makes, for as long as the room says, by the server's own clock."""
        stored = await asyncio.get_running_loop().run_in_executor(None, value)
        await self._bounded(lambda: self._server.set(_name(place), stored, px=max(int(room.ttl_s * 1000), 1)))

    async def close(self) -> None:
        """Close the connections."""
        await self._server.aclose()

    async def _bounded(self, ask: Callable[[], Awaitable[Found]]) -> Found | None:
        from redis.exceptions import RedisError  # noqa: PLC0415 (only where one is configured)

        loop = asyncio.get_running_loop()
        if loop.time() < self._not_before:
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                return await ask()
        except (RedisError, OSError) as broke:  # TimeoutError is an OSError
            self._not_before = loop.time() + LEFT_ALONE_S
            _log.warning("replies_out_of_reach", error=type(broke).__name__, left_alone_s=LEFT_ALONE_S)
            return None


def shared_store(settings: Settings) -> SharedStore | None:
    """The configured server, or None when replies lie in the home. Errors: BadConfig without the library, or for an odd address."""
    if not settings.url:
        return None
    try:
        from redis.asyncio import Redis  # noqa: PLC0415 (an extra)
    except ImportError:
        raise BadConfig("cache.url needs the library redis. Install it with: pip install 'halfpenny[cache]'.") from None
    try:
        server = Redis.from_url(
            settings.url,
            socket_timeout=settings.timeout_s,
            socket_connect_timeout=settings.timeout_s,
            max_connections=64,
        )
    except ValueError:
        raise BadConfig("cache.url is not an address of a server. Write it like redis://127.0.0.1:6379/0.") from None
    return SharedStore(server, settings.timeout_s)


def _name(place: Place) -> str:
    return f"halfpenny {place.shelf} {place.digest.hex()}"
