"""The command that imports what was before: the old bot's bills; a command group of the ledger beside ledger/cli.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli import PANEL, stamp, write
from ledger.errors import InvalidInput, NotFound
from ledger.home import existing
from ledger.output import DEFAULT_HOME, HomeOption, say

if TYPE_CHECKING:
    from ledger.bills import Bill
    from ledger.events import BillImported
    from ledger.history import Planned

app = typer.Typer(no_args_is_help=True, add_completion=False)
imports = typer.Typer(no_args_is_help=True, help="What was before: old bills.")
app.add_typer(imports, name="import", rich_help_panel=PANEL)
BILL_BYTES = 1 << 28
BATCH = 1000  # events a request to the service may carry with room to spare


@imports.callback()
def _group() -> None:
    """What was before: old bills."""


@imports.command("openai")
def import_openai(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A costs or usage export of the platform, CSV or JSON.")],
    client_id: Annotated[str, typer.Option("--client", help="Whose old bot it was.")],
    tickets_per_month: Annotated[
        int | None,
        typer.Option(metavar="N", help="How many tickets it answered a month; or a column `tickets` of each day."),
    ] = None,
    model: Annotated[str, typer.Option(help="Only lines whose name begins so, like gpt-4o.")] = "",
    project: Annotated[str, typer.Option(metavar="ID", help="Only this project's lines.")] = "",
    skip_bad_rows: Annotated[bool, typer.Option("--skip-bad-rows", help="Leave out rows that cannot be read.")] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Import the old bot's bills, so that a report can say what a ticket cost then; what is known is not added again.

    Like: halfpenny import openai costs.csv --client acme --tickets-per-month 7750
    """
    from ledger.bills import read_bill  # noqa: PLC0415 - --help need not load it
    from ledger.history import planned  # noqa: PLC0415
    from ledger.store import read_state  # noqa: PLC0415

    at = existing(Path(home))
    bill = read_bill(file.name, _content(file), model=model, project=project, skip_bad=skip_bad_rows)
    now = stamp()
    found = planned(
        read_state(at), client_id, bill, import_id=now.event_id, now=now.now, tickets_per_month=tickets_per_month
    )
    for batch in _batches(found.events):
        write(context, at, *batch)
    _tell(bill, found, client_id)


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > BILL_BYTES:
            raise InvalidInput(f"{path} has more than {BILL_BYTES} bytes. Export fewer months at once.")
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound("file", str(path), "Name the export you downloaded.") from None
    except OSError as refused:
        raise InvalidInput(f"{path} cannot be read: {refused.strerror}.") from None


def _batches(events: Sequence[BillImported]) -> Iterator[list[BillImported]]:
    """Batches of whole days, so that what is killed in between leaves no day told by half."""
    batch: list[BillImported] = []
    for place, event in enumerate(events):
        if len(batch) >= BATCH and event.starts_at != events[place - 1].starts_at:
            yield batch
            batch = []
        batch.append(event)
    if batch:
        yield batch


def _tell(bill: Bill, found: Planned, client_id: str) -> None:
    from ledger.bills import told  # noqa: PLC0415
    from ledger.money import ZERO, text  # noqa: PLC0415

    if bill.bad:
        say(f"{len(bill.bad)} rows left out: {told(bill.bad)}.")
    if bill.is_cut:
        say("The file says that more pages follow it: export the rest too.")
    cost = sum((line.cost for line in bill.lines if line.cost is not None), ZERO)
    first, last = bill.lines[0].starts_at, max(line.ends_at for line in bill.lines)
    amount = f", {text(cost)} USD" if bill.kind == "costs" else ""
    say(
        f"{bill.name}: {bill.kind} from {first:%Y-%m-%d} until {last:%Y-%m-%d}{amount}. For {client_id}: {found.days} new days, "
        f"{found.replaced} told anew, {found.known} known as they are."
    )
    if all(line.tickets is None for line in bill.lines) and not any(e.monthly_tickets for e in found.events):
        say(
            "How many tickets the old bot answered is not known, so no cost per ticket follows from it. Import it again with"
        )
        say("--tickets-per-month N, or with a column `tickets`; nothing is counted twice.")
