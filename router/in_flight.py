"""The calls under way, by the tasks that make them."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class InFlight(set[asyncio.Task[object]]):
    """Tasks that make a call. A request's is its connection's, which lives on when the call has ended and left this set."""

    def __init__(self) -> None:
        super().__init__()
        self._ended: asyncio.Event | None = None
        self._watched: dict[object, asyncio.Event] = {}

    def discard(self, task: object) -> None:
        """A call has ended."""
        super().discard(task)
        if self._watched and (watched := self._watched.pop(task, None)) is not None:
            watched.set()
        if not self and self._ended is not None:
            self._ended.set()

    async def left(self, task: asyncio.Task[object]) -> None:
        """Wait until the call that a task makes now has ended."""
        if task in self:
            await self._watched.setdefault(task, asyncio.Event()).wait()

    async def emptied(self, within_s: float) -> None:
        """Wait until no call is under way, but no longer than this."""
        if not self:
            return
        self._ended = asyncio.Event()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._ended.wait()
