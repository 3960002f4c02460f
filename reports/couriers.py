"""Carrying reports out: mail by SMTP, a webhook by POST; tried a few times, then again at the job's next turns.

A refusal for good (an SMTP 5xx, an HTTP 4xx) is not repeated at once. Waits double from turn to turn and end after a
week; what was taken is recorded in the ledger and never sent again. Secrets come from the environment alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import aiohttp
from uuid_utils.compat import uuid7

from ledger.closings import Delivery
from ledger.errors import Conflict, InvalidInput, LedgerError
from ledger.events import Event
from ledger.home import Home
from ledger.projections import State
from ledger.webhooks import signed_headers
from reports.delivery import Wanted, delivered, mail, payload, wanted
from reports.errors import Altered
from reports.places import MANIFEST, directory_of
from reports.settings import Mail, Settings, of_home

TRIES = 4
FIRST_WAIT_S = 1.0  # doubled from try to try
SMTP_TIMEOUT_S = 60.0
WEBHOOK_TIMEOUT_S = 30.0
NEXT_TURN = timedelta(minutes=10)  # doubled from turn to turn
NEXT_TURN_AT_MOST = timedelta(days=1)
RETRIED_STATUS = (408, 425, 429)
Append = Callable[[Event], Awaitable[object]]
Sleep = Callable[[float], Awaitable[object]]


class NotDelivered(LedgerError):
    """A report a recipient did not take; the address itself is not said, since logs keep what is said."""

    def __init__(self, one: Wanted, why: str, *, is_final: bool = False) -> None:
        self.is_final = is_final
        issued = one.issued
        super().__init__(
            f"Revision {issued.revision} of {issued.period} for {issued.subject} was not taken by {one.channel}: {why}. "
            f"Try it by hand with: halfpenny report send {issued.subject} {issued.period}."
        )


class Late(NamedTuple):
    """A delivery that failed before: when it may be tried again, and the wait after that."""

    until: datetime
    wait: timedelta


class Couriers:
    """Delivers what is due. `late` lives as long as the service does; a restart tries everything once more."""

    def __init__(
        self, home: Home, environment: Mapping[str, str], now: Callable[[], datetime], *, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._home, self._environment, self._now, self._sleep = home, environment, now, sleep
        self._late: dict[Delivery, Late] = {}

    async def deliver_due(self, state: State, append: Append) -> int:
        """Deliver everything that is due; how many that was.

        Errors: NotDelivered, InvalidInput or Altered for the first that failed, once the others were tried; WriteFailed.
        """
        settings, moment = of_home(self._home), self._now()
        done = 0
        failed: LedgerError | None = None
        for one in wanted(state, settings, self._home.pepper(), moment):
            late = self._late.get(one.key)
            if late is not None and moment < late.until:
                continue
            try:
                await self.deliver(one, settings, append)
            except (NotDelivered, InvalidInput, Altered) as refused:
                wait = NEXT_TURN if late is None else min(late.wait * 2, NEXT_TURN_AT_MOST)
                self._late[one.key] = Late(moment + wait, wait)
                failed = failed or refused
                continue
            self._late.pop(one.key, None)
            done += 1
        if failed is not None:
            raise failed
        return done

    async def deliver(self, one: Wanted, settings: Settings, append: Append) -> None:
        """Send one, with a few tries, and record it once taken. Errors: NotDelivered, Altered, InvalidInput, WriteFailed."""
        send = self._sender(one, settings)
        for attempt in range(1, TRIES + 1):
            try:
                await send()
                break
            except NotDelivered as refused:
                if refused.is_final or attempt == TRIES:
                    raise
                await self._sleep(FIRST_WAIT_S * 2 ** (attempt - 1))
        with suppress(Conflict):  # sent a second time on purpose, or by another process at the same moment
            await append(delivered(one, str(uuid7()), self._now(), attempt))

    def _sender(self, one: Wanted, settings: Settings) -> Callable[[], Awaitable[None]]:
        issued = one.issued
        directory = directory_of(self._home, issued.subject, issued.period) / f"r{issued.revision}"
        written = _checked(directory, "report.json")
        if hashlib.sha256(written).hexdigest() != issued.report_sha256:
            raise Altered(directory / "report.json")
        if one.channel == "webhook":
            name = settings.delivery[issued.subject].webhook_secret_env
            secret = self._secret(name)
            body = payload(one, written)
            return lambda: _post(one, body, secret, int(self._now().timestamp()))
        server = settings.mail
        if server is None:
            raise InvalidInput("[reports.mail] in halfpenny.toml is missing. Say host and sender there.")
        password = self._secret(server.password_env) if server.user else None
        return lambda: _mail(one, server, password, written, _checked(directory, "report.pdf"))

    def _secret(self, name: str) -> str:
        found = self._environment.get(name, "")
        if not found:
            raise InvalidInput(f"The variable {name} is not set. It holds the secret with which reports are delivered.")
        return found


def _checked(directory: Path, name: str) -> bytes:
    """A file of a revision, as it was built. Errors: Altered."""
    try:
        content = (directory / name).read_bytes()
        expected = json.loads((directory / MANIFEST).read_bytes())["files"][name]
    except (OSError, ValueError, KeyError):
        raise Altered(directory / name) from None
    if hashlib.sha256(content).hexdigest() != expected:
        raise Altered(directory / name)
    return content


async def _mail(one: Wanted, server: Mail, password: str | None, written: bytes, pdf: bytes) -> None:
    import aiosmtplib  # noqa: PLC0415 - a service that sends no mail does without it

    try:
        await aiosmtplib.send(
            mail(one, server.sender, written, pdf),
            hostname=server.host,
            port=server.port,
            username=server.user or None,
            password=password,
            start_tls=server.security == "starttls",
            use_tls=server.security == "tls",
            timeout=SMTP_TIMEOUT_S,
        )
    except aiosmtplib.SMTPRecipientsRefused as refused:
        codes = sorted({one.code for one in refused.recipients})
        raise NotDelivered(one, f"SMTP {codes}", is_final=all(code >= 500 for code in codes)) from None
    except aiosmtplib.SMTPResponseException as refused:
        raise NotDelivered(one, f"SMTP {refused.code}", is_final=refused.code >= 500) from None
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as broke:
        raise NotDelivered(one, type(broke).__name__) from None


async def _post(one: Wanted, body: bytes, secret: str, timestamp: int) -> None:
    """A redirect is a refusal: the body goes to the configured address and nowhere else."""
    headers = signed_headers(secret.encode(), one.message_id, timestamp, body)
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WEBHOOK_TIMEOUT_S), trust_env=False) as session,
            session.post(one.address, data=body, headers=headers, allow_redirects=False) as reply,
        ):
            status = reply.status
    except (aiohttp.ClientError, OSError, TimeoutError) as broke:
        raise NotDelivered(one, type(broke).__name__) from None
    if not 200 <= status < 300:
        raise NotDelivered(one, f"HTTP {status}", is_final=300 <= status < 500 and status not in RETRIED_STATUS)
