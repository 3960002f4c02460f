"""Tells a configured address of each budget warning and drift alarm, by a signed POST, once its event is durable.

The event is the record; the hook is the doorbell. It is tried a few times with doubling waits; what nobody took is logged,
kept, and tried again after the next start. Its id is the event's, so a receiver can drop what it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

import aiohttp
import msgspec
import structlog

from ledger.events import BudgetWarned, DriftAlarmed
from ledger.webhooks import signed_headers
from router.config import Budget
from router.provider_config import BadConfig
from router.unsent import Unsent

TRIES = 5
FIRST_WAIT_S = 1.0  # doubled from try to try
TIMEOUT_S = 10.0
GOODBYE_S = 2.0  # for what is under way when the service stops
WAITING_AT_MOST = 256
RETRIED = frozenset((408, 425, 429))
_log = structlog.stdlib.get_logger()
Sleep = Callable[[float], Awaitable[object]]


class WarningHook:
    """Posts warnings to one address. Errors: BadConfig when there is an address and no secret to sign with."""

    def __init__(
        self,
        settings: Budget,
        environment: Mapping[str, str],
        *,
        now: Callable[[], datetime],
        sleep: Sleep = asyncio.sleep,
        unsent: Unsent | None = None,
    ) -> None:
        self._url, self._now, self._sleep = settings.webhook_url, now, sleep
        self._secret = environment.get(settings.webhook_secret_env, "").encode()
        if self._url and not self._secret:
            raise BadConfig(
                f"budget.webhook_url is set and {settings.webhook_secret_env} is not in the environment. "
                "Set it to the secret that signs what is sent, or remove the address."
            )
        self._unsent = unsent or Unsent(None)
        self._under_way: set[asyncio.Task[None]] = set()

    def tell(self, event: BudgetWarned | DriftAlarmed, durable: Awaitable[None]) -> None:
        """Send it in a task of its own once it is durable; nobody waits for it."""
        if self._url:
            self._unsent.keep(event)
            self._begin(event, durable)

    def resume(self, is_recorded: Callable[[BudgetWarned | DriftAlarmed], bool]) -> None:
        """Send what nobody had taken when the service ended; what the log does not have is not told."""
        if not self._url:
            return
        for event in self._unsent.all():
            if is_recorded(event):
                self._begin(event, None)
            else:
                self._unsent.drop(event.id)

    def _begin(self, event: BudgetWarned | DriftAlarmed, durable: Awaitable[None] | None) -> None:
        if len(self._under_way) >= WAITING_AT_MOST:
            _log.error("warning_not_told", event_id=event.id, why="too many wait")
            return
        task = asyncio.ensure_future(self._tell(event, durable))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def settle(self) -> None:
        """Let what is under way end, for a short time."""
        if not self._under_way:
            return
        _, waiting = await asyncio.wait(self._under_way, timeout=GOODBYE_S)
        for task in waiting:
            task.cancel()

    async def _tell(self, event: BudgetWarned | DriftAlarmed, durable: Awaitable[None] | None) -> None:
        if durable is not None:
            await durable
        body, why = payload(event), ""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
            for number in range(TRIES):
                if number:
                    await self._sleep(FIRST_WAIT_S * 2 ** (number - 1))
                headers = signed_headers(self._secret, event.id, int(self._now().timestamp()), body)
                try:
                    async with session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
                        status = answer.status
                except (aiohttp.ClientError, OSError, TimeoutError) as broke:
                    why = type(broke).__name__
                    continue
                if 200 <= status < 300:
                    self._unsent.drop(event.id)
                    return
                why = f"HTTP {status}"
                if 300 <= status < 500 and status not in RETRIED:
                    break
        _log.error("warning_not_told", event_id=event.id, why=why)


def payload(event: BudgetWarned | DriftAlarmed) -> bytes:
    """The raw body: the event's own fields under their names. Units: exact USD as text; threshold 0..1; of an alarm, as its event."""
    if isinstance(event, DriftAlarmed):
        own = msgspec.to_builtins(event)
        return msgspec.json.encode({**own, "type": "drift.alarmed", "time": f"{event.time:%Y-%m-%dT%H:%M:%SZ}"})
    said: dict[str, Any] = {
        "type": "budget.warned",
        "id": event.id,
        "scope": event.scope,
        "subject": event.subject,
        "client_id": event.client_id,
        "period": event.period,
        "threshold": event.threshold,
        "hard": event.hard,
        "cap_usd": event.cap_usd,
        "settled_usd": event.settled_usd,
        "held_usd": event.held_usd,
        "orphaned_usd": event.orphaned_usd,
        "time": f"{event.time:%Y-%m-%dT%H:%M:%SZ}",
    }
    return msgspec.json.encode(said)
