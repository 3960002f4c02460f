"""The line in which calls wait, in order, for holds to come free.

A worst-case hold is larger than what the call will cost, so a cap can look full while most of it will come back. A
call that does not fit is first made smaller, where its bound is ours to lower; it waits a bounded time behind those that
came before it, and is refused only then, or at once when no hold coming free could make room for it.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from decimal import Decimal

from ledger.errors import BudgetSpent
from ledger.events import CallReserved
from router.shared_budget import SharedBudget

LOOK_AGAIN_S = 0.1  # what other gateways let go is not announced
Smaller = Callable[[Decimal], CallReserved | None]  # the same hold made to fit a room in USD, where it can be
Submit = Callable[[CallReserved], Awaitable[None]]  # raises at once when it does not fit; awaited, it is durable
Taken = tuple[Awaitable[None], CallReserved]


class HoldLine:
    """One line a client; calls in flight are bounded at the door, and so is what waits here. Units: `wait_s` seconds."""

    def __init__(self, submit: Submit, *, wait_s: float, shared: SharedBudget | None = None) -> None:
        self._submit, self._wait_s, self._shared = submit, wait_s, shared
        self._lines: dict[str, deque[asyncio.Event]] = {}

    async def reserve(
        self, hold: CallReserved, smaller: Smaller = lambda _: None, *, at_most_s: float = math.inf
    ) -> CallReserved:
        """Make the hold durable, waiting for room if need be, `at_most_s` long; gives the hold that was made.

        The check and the hold are one step inside the ledger, so any number of callers at once cannot overdraw.
        Errors: BudgetSpent with the figures of the last try; WriteFailed.
        """
        client = hold.client_id or ""
        if client not in self._lines:
            try:
                durable, made = await self._take(hold, smaller)
            except BudgetSpent as spent:
                if not _may_come_free(spent, hold, smaller) or self._wait_s <= 0:
                    raise
                durable, made = await self._in_turn(client, hold, smaller, min(self._wait_s, at_most_s))
        else:
            durable, made = await self._in_turn(client, hold, smaller, min(self._wait_s, at_most_s))
        await durable
        return made

    def came_free(self) -> None:
        """Say that a hold ended: the first of every line tries again, since lines share the cap of the whole."""
        for line in self._lines.values():
            line[0].set()

    async def _take(self, hold: CallReserved, smaller: Smaller) -> Taken:
        """The hold, or a smaller one that fits. Errors: BudgetSpent of the last try."""
        trying = hold
        while True:
            try:
                return await self._submitted(trying), trying
            except BudgetSpent as spent:
                # Of several caps the next may leave less still; each try is smaller than the one before.
                less = smaller(spent.cap - spent.settled - spent.held - spent.orphaned)
                if less is None or less.max_output_tokens >= trying.max_output_tokens:
                    raise
                trying = less

    async def _submitted(self, hold: CallReserved) -> Awaitable[None]:
        """The hold in the ledger, if it fits there and, where the budget is shared, with what the others hold."""
        if self._shared is None:
            return self._submit(hold)
        async with self._shared.room(hold):
            return self._submit(hold)

    async def _in_turn(self, client: str, hold: CallReserved, smaller: Smaller, wait_s: float) -> Taken:
        line = self._lines.setdefault(client, deque())
        turn = asyncio.Event()
        line.append(turn)
        deadline = asyncio.get_running_loop().time() + wait_s
        if len(line) == 1:
            turn.set()  # nobody before us; room may have come free since the first try
        try:
            return await self._try_until(deadline, turn, lambda: line[0] is turn, hold, smaller)
        finally:
            line.remove(turn)
            if line:
                line[0].set()
            else:
                del self._lines[client]

    async def _try_until(
        self, deadline: float, turn: asyncio.Event, is_first: Callable[[], bool], hold: CallReserved, smaller: Smaller
    ) -> Taken:
        loop = asyncio.get_running_loop()
        while True:
            until = deadline if self._shared is None else min(deadline, loop.time() + LOOK_AGAIN_S)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await turn.wait()
            is_last = loop.time() >= deadline  # one more try, for the figures the refusal states
            if not (is_last or turn.is_set() or is_first()):
                continue
            turn.clear()
            try:
                return await self._take(hold, smaller)
            except BudgetSpent as spent:
                if is_last or not _may_come_free(spent, hold, smaller):
                    raise


def _may_come_free(spent: BudgetSpent, hold: CallReserved, smaller: Smaller) -> bool:
    """Whether the call would fit, itself or made smaller, if every call in flight cost nothing."""
    room = spent.cap - spent.settled - spent.orphaned
    return spent.held > 0 and (Decimal(hold.hold_usd) <= room or smaller(room) is not None)
