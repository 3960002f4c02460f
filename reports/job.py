"""The monthly job: months closed when they may be, and every report that is due built by a child process, issued once.

The child renders, so that DuckDB and the PDF never load into the service. What makes a report once and only
once is the ledger: its report.issued takes the month off the list, and a child that is asked again after
a crash finds the revision it made before.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from uuid_utils.compat import uuid7

from ledger.admin import Stamp
from ledger.budgets import period_named
from ledger.closing import month_closed
from ledger.closings import invoice_of, position_of
from ledger.errors import Conflict, InvalidInput, LedgerError
from ledger.events import Event, InvoiceRecorded, ReportIssued
from ledger.home import Home
from ledger.projections import State
from reports.schedule import ClientMonths, Due, closable, due
from reports.settings import of_home

Append = Callable[[Event], Awaitable[object]]
EVERY_S = 600.0
CHILD_S = 900.0  # a month of a hundred million calls


class NotBuilt(LedgerError):
    """A report that is due and was not built; it is tried again at the job's next turn."""

    def __init__(self, wanted: Due, said: str) -> None:
        super().__init__(
            f"The report of {wanted.client_id} for {wanted.period} was not built: {said.strip() or 'no reason given'}"
        )


async def build_due(home: Home, state: State, now: Callable[[], datetime], append: Append) -> int:
    """Close what may be closed, then build and issue everything that is due, oldest first; how many reports that was.

    Shapes: closing comes first, so that a month that was missed altogether gets one report and no draft before it.
    Errors: NotBuilt for the first that failed, once the others were tried; WriteFailed.
    """
    await close_due(home, state, now, append)
    built, failed = 0, None
    for wanted in due(months_of(state), now()):
        try:
            said = await _built_by_child(home, wanted)
            built += await _issue(issued(said, now()), append)
        except NotBuilt as refused:
            failed = failed or refused
    if failed is not None:
        raise failed
    return built


async def _issue(event: ReportIssued, append: Append) -> bool:
    """Whether this revision was not issued already, by a command while the child was at work."""
    try:
        await append(event)
    except Conflict:
        return False
    return True


async def close_due(home: Home, state: State, now: Callable[[], datetime], append: Append) -> int:
    """Close every month that agrees with its invoice or whose day has come; one with calls in flight waits."""
    count = 0
    for one in closable(months_of(state), now(), of_home(home).final_day):
        try:
            await append(month_closed(state, Stamp(str(uuid7()), now()), one.client_id, one.period))
        except InvalidInput:  # in flight still, or closed by a command just now
            continue
        count += 1
    return count


def months_of(state: State) -> tuple[ClientMonths, ...]:
    """What the schedule needs of every client. Shapes: `first_call_at` is the start of the first month with a call."""
    first: dict[str, str] = {}
    for key in state.spend:
        first[key.client_id] = min(first.get(key.client_id, key.period), key.period)
    return tuple(
        ClientMonths(
            client_id=client_id,
            zone=client.zone,
            first_call_at=period_named(first[client_id], client.zone).start if client_id in first else None,
            closed=frozenset(period for owner, period in state.closed if owner == client_id),
            issued={period: event.status for (owner, period), event in state.issued.items() if owner == client_id},
            issued_up_to={
                period: event.up_to_sequence for (owner, period), event in state.issued.items() if owner == client_id
            },
            stands_at={
                period: position_of(state, client_id, period) or 0
                for owner, period in state.closed
                if owner == client_id
            },
            reconciled=frozenset(period for period, one in _invoices(state, client_id).items() if one.within_tolerance),
            issued_at={
                period: event.sequence or 0 for (owner, period), event in state.issued.items() if owner == client_id
            },
            invoiced_at={period: one.sequence or 0 for period, one in _invoices(state, client_id).items()},
        )
        for client_id, client in state.clients.items()
    )


def _invoices(state: State, client_id: str) -> dict[str, InvoiceRecorded]:
    """The last invoice of each month that has one, the client's own or one over all."""
    covered = {period for owner, period in state.closings.invoices if owner in ("", client_id)}
    found = {period: invoice_of(state, client_id, period) for period in covered}
    return {period: invoice for period, invoice in found.items() if invoice is not None}


def issued(described: Mapping[str, Any], moment: datetime) -> ReportIssued:
    """The fact that a report was built. Shapes: `described` as reports.cli.described gives it."""
    return ReportIssued(
        id=str(uuid7()),
        subject=described["client_id"],
        client_id=described["client_id"],
        time=moment,
        period=described["period"],
        revision=described["revision"],
        up_to_sequence=described["up_to_sequence"],
        report_sha256=described["report_sha256"],
        status=described["status"],
    )


async def _built_by_child(home: Home, wanted: Due) -> dict[str, Any]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "reports",
        "build",
        wanted.client_id,
        wanted.period,
        "--home",
        str(home.path),
        "--config",
        str(home.config),
        "--format",
        "json",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(CHILD_S):
            said, complained = await child.communicate()
    except TimeoutError:
        raise NotBuilt(wanted, f"it took longer than {CHILD_S:.0f} s") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        raise NotBuilt(wanted, complained.decode(errors="replace"))
    found: dict[str, Any] = json.loads(said)
    return found
