"""What one call is while it is made: over all its attempts, one attempt at a time, and once it has ended well."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Protocol

from msgspec import Struct

from ledger.events import CallReserved, CallSettled
from ledger.money import ZERO
from router.chat_reply import Reply
from router.fallback import Way
from router.settlement import Order
from router.upstream import Answer


class Client(Protocol):
    """The reader of a stream. Writing never raises: a reader that has left is `is_gone`, and is written to no more."""

    @property
    def is_gone(self) -> bool: ...

    @property
    def is_started(self) -> bool: ...

    async def write(self, data: bytes) -> None: ...

    async def finish(self, data: bytes) -> None: ...

    def show(self, headers: Mapping[str, str]) -> None: ...


class Done(Struct, frozen=True, kw_only=True):
    """A call that ended well.

    Units: `cost_usd` is the sum over all its attempts. Shapes: `body` and `reply` are those of an unstreamed call; of a stream that
    was collected, `body` is all its bytes; `instead_of` is the model that was asked where another one answered.
    """

    settled: CallSettled
    cost_usd: Decimal
    headers: dict[str, str]
    body: bytes = b""
    reply: Reply | None = None
    instead_of: str | None = None


class Run(Struct):
    """A call under way over all its attempts. Units: `until` seconds of the monotonic clock, known from the first attempt on."""

    client: Client | None
    is_client_gone: Callable[[], bool]
    receive: Callable[[Attempt, Answer], Awaitable[Done]]
    meanwhile: Callable[[Done], None] | None = None  # gets what a whole reply came to before that is durable
    attempts: int = 0
    cost_usd: Decimal = ZERO
    until: float = math.inf
    instead_of: str | None = None  # the model that was asked, once another one is asked in its place

    @property
    def is_started(self) -> bool:
        """Whether anything has reached the reader of a stream."""
        return self.client is not None and self.client.is_started

    def done(self, settled: CallSettled, *, headers: dict[str, str], body: bytes, reply: Reply | None = None) -> Done:
        """What it came to."""
        return Done(
            settled=settled,
            cost_usd=self.cost_usd,
            headers=headers,
            body=body,
            reply=reply,
            instead_of=self.instead_of,
        )


class Attempt(Struct):
    """One attempt under way. Units: `began` seconds of the monotonic clock."""

    order: Order
    hold: CallReserved
    began: float
    way: Way
    run: Run
    is_ended: bool = False
    answer: Answer | None = None
