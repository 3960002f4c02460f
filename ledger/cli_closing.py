"""The end of a month: holding the provider's invoice against the ledger, closing, and telling a closed month anew."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli import stamp, write
from ledger.errors import BadPeriod, InvalidInput, NotFound
from ledger.home import Home, existing
from ledger.money import text, usd
from ledger.output import DEFAULT_HOME, Format, FormatOption, HomeOption, say, show

if TYPE_CHECKING:
    from ledger.coverage import Cover, Coverage
    from ledger.events import Event, InvoiceRecorded
    from ledger.invoices import Invoice
    from ledger.reconciliation import Reconciled

app = typer.Typer(no_args_is_help=True, add_completion=False)
PANEL = "Reports"
ROWS_SHOWN = 40
CLOCK_HINT = 10  # so many shifted lines are another zone rather than a late batch
EXIT_MISMATCH = 4
BATCH = 1000  # events a request to the service may carry with room to spare
INVOICE_BYTES = 1 << 30
Month = Annotated[str, typer.Argument(metavar="YYYY-MM")]


@app.command(rich_help_panel=PANEL)
def close(
    context: typer.Context,
    client_id: str,
    month: Month,
    restate: Annotated[
        str | None, typer.Option("--restate", metavar="WHY", help="Tell a closed month anew, with what came later.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Close a client's month: its report is made of the events up to now, for good.

    What comes later is an adjustment of the next month, unless the month is told anew with --restate WHY.
    """
    from ledger.closing import month_closed, month_restated  # noqa: PLC0415
    from ledger.store import read_state  # noqa: PLC0415

    at = existing(Path(home))
    state = read_state(at)
    if restate is not None:
        again = month_restated(state, stamp(), client_id, month, restate)
        write(context, at, again)
        say(
            f"{month} of {client_id} is restated at event {again.up_to_sequence}: {again.calls} calls, {again.cost_usd} USD, "
            f"before {again.previous_cost_usd} USD. Next: halfpenny report build {client_id} {month}"
        )
        return
    event = month_closed(state, stamp(), client_id, month)
    write(context, at, event)
    say(f"{month} of {client_id} is closed at event {event.up_to_sequence}: {event.calls} calls, {event.cost_usd} USD.")


@app.command(rich_help_panel=PANEL)
def reconcile(
    context: typer.Context,
    invoice: Annotated[
        Path, typer.Argument(metavar="INVOICE", help="CSV of date, model, bucket, tokens, cost_usd; or provider.jsonl.")
    ],
    client_id: Annotated[str | None, typer.Option("--client", help="Only this client's calls; default: all.")] = None,
    month: Annotated[
        str | None, typer.Option("--month", metavar="YYYY-MM", help="Default: the days that the invoice bills.")
    ] = None,
    zone: Annotated[str, typer.Option(help="The time zone whose days the provider counts.")] = "UTC",
    provider: Annotated[str | None, typer.Option(help="Only calls to this provider.")] = None,
    tolerance: Annotated[
        str, typer.Option(metavar="USD|N%", help="How much may differ: an amount, or a share of the invoice.")
    ] = "0.1%",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compare and record nothing.")] = False,
    home: HomeOption = DEFAULT_HOME,
    form: FormatOption = Format.table,
) -> None:
    """Hold the provider's invoice against the ledger, line by line; exit 4 when more differs than is tolerated.

    Calls whose end is unknown are settled or voided where the invoice tells. Look into what is left in the order of the
    table: days, then token classes, then what is missing, then prices.
    """
    from ledger.coverage import Cover, coverage, ends_by_item, ends_by_total, lines_of  # noqa: PLC0415
    from ledger.invoices import read_invoice  # noqa: PLC0415
    from ledger.reconciliation import reconcile as compared  # noqa: PLC0415
    from ledger.segments import read_all  # noqa: PLC0415

    at = existing(Path(home))
    found = read_invoice(invoice.name, _content(invoice))
    first, last = found.days(zone) if month is None else _days(month)
    cover = Cover(first=first, last=last, zone=zone, client_id=client_id, provider=provider)
    side = coverage(read_all(at), cover, {item.request_id for item in found.items})
    now = stamp().now
    ends = ends_by_item(side, found.items, now) if found.is_itemised else ends_by_total(side, found.lines, now)
    lines, duplicates = lines_of(side, found, cover)
    result = compared(side.cells, lines, places=found.places, duplicates=duplicates)
    allowed = _tolerated(tolerance, result.invoice_usd)
    event = _recorded(found, cover, side, result, ends, month or _month_of(first, last), allowed)
    if not dry_run:
        _write_all(context, at, (*ends, event))
    _tell(event, result, form, is_recorded=not dry_run)
    if not event.within_tolerance:
        raise typer.Exit(EXIT_MISMATCH)


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > INVOICE_BYTES:
            raise InvalidInput(f"{path} has more than {INVOICE_BYTES} bytes. Split it by month.")
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound("file", str(path), "Name the invoice you downloaded.") from None
    except OSError as refused:
        raise InvalidInput(f"{path} cannot be read: {refused.strerror}.") from None


def _days(month: str) -> tuple[date, date]:
    if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", month) or month < "0002":
        raise BadPeriod(month)
    year, number = int(month[:4]), int(month[5:])
    return date(year, number, 1), date(year, number, calendar.monthrange(year, number)[1])


def _month_of(first: date, last: date) -> str:
    if (first.year, first.month) != (last.year, last.month):
        raise InvalidInput(
            f"The invoice bills from {first} to {last}, more than one month. Name one with --month YYYY-MM."
        )
    return f"{first:%Y-%m}"


def _tolerated(said: str, invoice_usd: Decimal) -> Decimal:
    """Units: USD. Errors: BadMoney, InvalidInput."""
    allowed = usd(said.removesuffix("%"))
    if allowed < 0:
        raise InvalidInput(
            f"{said!r} is below zero. A tolerance is an amount in USD, like 1.00, or a share, like 0.1%."
        )
    return usd((abs(invoice_usd) * allowed / 100).quantize(Decimal("1e-12"))) if said.endswith("%") else allowed


def _recorded(
    invoice: Invoice,
    cover: Cover,
    side: Coverage,
    result: Reconciled,
    ends: Iterable[Event],
    month: str,
    allowed: Decimal,
) -> InvoiceRecorded:
    from ledger import events as e  # noqa: PLC0415
    from ledger.budgets import zone  # noqa: PLC0415
    from ledger.reconciliation import KINDS  # noqa: PLC0415

    made, local = stamp(), zone(cover.zone)
    residuals: dict[str, Any] = {f"residual_{kind}_usd": text(result.total(kind)) for kind in KINDS}
    settled = sum(isinstance(end, e.CallSettled) for end in ends)
    voided = sum(isinstance(end, e.CallVoided) for end in ends)
    return e.InvoiceRecorded(
        id=made.event_id,
        subject=invoice.name[:256],
        client_id=cover.client_id,
        time=made.now,
        provider_name=cover.provider or ", ".join(sorted(side.providers))[:256] or "unknown",
        period=month,
        starts_at=datetime.combine(cover.first, time(), local).astimezone(UTC),
        ends_at=datetime.combine(cover.last + timedelta(days=1), time(), local).astimezone(UTC),
        invoice_zone=cover.zone,
        invoice_sha256=invoice.sha256,
        invoice_lines=len(invoice.lines) + len(invoice.items),
        invoice_usd=text(result.invoice_usd),
        ledger_usd=text(result.ledger_usd),
        mismatch_usd=text(result.mismatch),
        tolerance_usd=text(allowed),
        within_tolerance=result.mismatch <= allowed,
        orphans_settled=settled,
        orphans_voided=voided,
        orphans_open=len(side.orphans),
        up_to_sequence=side.position,
        **residuals,
    )


def _write_all(context: typer.Context, home: Home, events: Iterable[Event]) -> None:
    for batch in _batches(events):
        write(context, home, *batch)


def _batches(events: Iterable[Event]) -> Iterator[list[Event]]:
    """Batches in which no subject stands twice, since each event must see what came before it."""
    batch: list[Event] = []
    subjects: set[str] = set()
    for event in events:
        if event.subject in subjects or len(batch) == BATCH:
            yield batch
            batch, subjects = [], set()
        batch.append(event)
        subjects.add(event.subject)
    if batch:
        yield batch


def _tell(event: InvoiceRecorded, result: Reconciled, form: Format, *, is_recorded: bool) -> None:
    from ledger.reconciliation import KINDS  # noqa: PLC0415

    rows: list[dict[str, object]] = [
        {
            "kind": one.kind,
            "date": str(one.day),
            "model": one.model,
            "bucket": one.bucket,
            "tokens": one.tokens,
            "difference_usd": one.usd,
            "says": one.says or None,
        }
        for one in result.residuals
    ]
    if form is not Format.table:
        show(rows, form)
    else:
        telling = [row for row in rows if row["kind"] != "rounding"]
        if telling:
            show(telling[:ROWS_SHOWN], form)
        if len(telling) > ROWS_SHOWN:
            say(f"… and {len(telling) - ROWS_SHOWN} more; all with --format csv")
        show(
            [
                {"kind": kind, "lines": sum(r["kind"] == kind for r in rows), "difference_usd": result.total(kind)}
                for kind in KINDS
            ],
            form,
        )
    say(
        f"Invoice {event.subject}: {event.invoice_lines} lines, {event.invoice_usd} USD; the ledger has {event.ledger_usd} USD."
    )
    if event.orphans_settled or event.orphans_voided or event.orphans_open:
        say(
            f"Calls of unknown end: {event.orphans_settled} settled by the invoice, {event.orphans_voided} not billed, "
            f"{event.orphans_open} still open."
        )
    if sum(row["kind"] == "clock" for row in rows) >= CLOCK_HINT:
        say(
            f"Many days differ by what their neighbours have: does the provider count days in {event.invoice_zone}? See --zone."
        )
    verdict = "agree" if event.within_tolerance else "do NOT agree"
    say(
        f"They {verdict}: {event.mismatch_usd} USD unexplained, {event.tolerance_usd} tolerated."
        + ("" if is_recorded else " Nothing was recorded.")
    )
