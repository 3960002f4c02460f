"""The line in which calls wait, in order, for holds to come free.

A worst-case hold is larger than what the call will cost, so a cap can look full while most of it will come back. A
call that does not fit is first made smaller, where its bound is ours to lower; it waits a bounded time behind those that
came before it, and is refused only then, or at once when no hold coming free could make room for it. A call whose client
hangs up meanwhile leaves the line, takes no hold and lets the next move up.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal

from ledger.errors import BudgetSpent
from ledger.events import CallReserved
from router.errors import ClientLeft
from router.shared_budget import SharedBudget

LOOK_AGAIN_S = 0.1  # neither what other gateways let go nor a client that hangs up is announced
Smaller = Callable[[Decimal], CallReserved | None]  # the same hold made to fit a room in USD, where it can be
Submit = Callable[[CallReserved], Awaitable[None]]  # raises at once when it does not fit; awaited, it is durable
Taken = tuple[Awaitable[None], CallReserved]
IsGone = Callable[[], bool]


@dataclass(slots=True, eq=False)
class _Waiter:
    """One call in the line. Units: `deadline` seconds of the loop's clock."""

    hold: CallReserved
    smaller: Smaller
    is_gone: IsGone
    deadline: float
    turn: asyncio.Event = field(default_factory=asyncio.Event)


class HoldLine:
    """One line a client; calls in flight are bounded at the door, and so is what waits here. Units: `wait_s` seconds."""

    def __init__(self, submit: Submit, *, wait_s: float, shared: SharedBudget | None = None) -> None:
        self._submit, self._wait_s, self._shared = submit, wait_s, shared
        self._lines: dict[str, deque[_Waiter]] = {}

    async def reserve(
        self,
        hold: CallReserved,
        smaller: Smaller = lambda _: None,
        *,
        at_most_s: float = math.inf,
        is_gone: IsGone = lambda: False,
    ) -> CallReserved:
        """Make the hold durable, waiting for room if need be, `at_most_s` long; gives the hold that was made.

        The check and the hold are one step inside the ledger, so any number of callers at once cannot overdraw.
        Errors: BudgetSpent with the figures of the last try; ClientLeft when `is_gone` says so in the line; WriteFailed.
        """
        client, taken = hold.client_id or "", None
        if client not in self._lines:
            try:
                taken = await self._take(hold, smaller)
            except BudgetSpent as spent:
                if not _may_come_free(spent, hold, smaller) or self._wait_s <= 0:
                    raise
        if taken is None:
            deadline = asyncio.get_running_loop().time() + min(self._wait_s, at_most_s)
            taken = await self._in_turn(client, _Waiter(hold, smaller, is_gone, deadline))
        await taken[0]
        return taken[1]

    def came_free(self) -> None:
        """Say that a hold ended: the first of every line tries again, since lines share the cap of the whole."""
        for line in self._lines.values():
            line[0].turn.set()

    async def _take(self, hold: CallReserved, smaller: Smaller) -> Taken:
        """The hold, or a smaller one that fits. Errors: BudgetSpent of the last try."""
        trying = hold
        while True:
            try:
                return self._submit(trying) if self._shared is None else await self._in_room(
                    self._shared, trying
                ), trying
            except BudgetSpent as spent:
                # Of several caps the next may leave less still; each try is smaller than the one before.
                less = smaller(spent.cap - spent.settled - spent.held - spent.orphaned)
                if less is None or less.max_output_tokens >= trying.max_output_tokens:
                    raise
                trying = less

    async def _in_room(self, shared: SharedBudget, hold: CallReserved) -> Awaitable[None]:
        """The hold in the ledger, if it fits there and with what the others hold."""
        async with shared.room(hold):
            return self._submit(hold)

    async def _in_turn(self, client: str, waiter: _Waiter) -> Taken:
        if not self._lines:
            asyncio.get_running_loop().call_later(LOOK_AGAIN_S, self._look_who_left)
        line = self._lines.setdefault(client, deque())
        line.append(waiter)
        if len(line) == 1:
            waiter.turn.set()  # nobody before us; room may have come free since the first try
        try:
            return await self._try_until(waiter, lambda: line[0] is waiter)
        finally:
            line.remove(waiter)
            if line:
                line[0].turn.set()
            else:
                del self._lines[client]

    async def _try_until(self, waiter: _Waiter, is_first: Callable[[], bool]) -> Taken:
        loop = asyncio.get_running_loop()
        began, hold, smaller = loop.time(), waiter.hold, waiter.smaller
        while True:
            until = waiter.deadline if self._shared is None else min(waiter.deadline, loop.time() + LOOK_AGAIN_S)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await waiter.turn.wait()
            if waiter.is_gone():
                raise ClientLeft(f"after {loop.time() - began:.1f} s in the line for room under its budget")
            is_last = loop.time() >= waiter.deadline  # one more try, for the figures the refusal states
            if not (is_last or waiter.turn.is_set() or is_first()):
                continue
            waiter.turn.clear()
            try:
                return await self._take(hold, smaller)
            except BudgetSpent as spent:
                if is_last or not _may_come_free(spent, hold, smaller):
                    raise

    def _look_who_left(self) -> None:
        """Wake those in the lines whose client has hung up, again and again while there is a line."""
        for line in self._lines.values():
            for waiter in line:
                if waiter.is_gone():
                    waiter.turn.set()
        if self._lines:
            asyncio.get_running_loop().call_later(LOOK_AGAIN_S, self._look_who_left)


def _may_come_free(spent: BudgetSpent, hold: CallReserved, smaller: Smaller) -> bool:
    """Whether the call would fit, itself or made smaller, if every call in flight cost nothing."""
    room = spent.cap - spent.settled - spent.orphaned
    return spent.held > 0 and (Decimal(hold.hold_usd) <= room or smaller(room) is not None)
