"""The commands that log and list the freelancer's hours; a command group of the ledger beside ledger/cli.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ledger.cli import PANEL, stamp, write
from ledger.home import existing
from ledger.output import DEFAULT_HOME, Format, FormatOption, HomeOption, say, show

app = typer.Typer(no_args_is_help=True, add_completion=False)
hours = typer.Typer(no_args_is_help=True, help="The freelancer's own hours, for the report's payback.")
app.add_typer(hours, name="hours", rich_help_panel=PANEL)


@hours.callback()
def _group() -> None:
    """The freelancer's own hours, for the report's payback."""


@hours.command("log")
def hours_log(
    context: typer.Context,
    client_id: str,
    hours: Annotated[str, typer.Option(help="How many, like 4 or 1.5.")],
    what: Annotated[str, typer.Option(help="What they went into, like integration.")],
    on: Annotated[str, typer.Option(metavar="DATE", help="The day, YYYY-MM-DD.")],
    home: HomeOption = DEFAULT_HOME,
    rate: Annotated[str | None, typer.Option(help="What an hour is billed at, in the client's currency.")] = None,
) -> None:
    """Log hours, like: halfpenny hours log acme --hours 4 --what integration --on 2026-10-02 --rate 80."""
    from ledger.hours import hours_logged  # noqa: PLC0415 - --help need not load it
    from ledger.store import read_state  # noqa: PLC0415

    at = existing(Path(home))
    now = stamp()
    event = hours_logged(
        read_state(at), client_id, event_id=now.event_id, now=now.now, hours=hours, activity=what, on=on, rate=rate
    )
    write(context, at, event)
    say(f"{event.hours} hours of {event.activity} on {event.worked_on} logged for {client_id}.")


@hours.command("list")
def hours_list(
    client_id: Annotated[str | None, typer.Argument(help="Only this client.")] = None,
    home: HomeOption = DEFAULT_HOME,
    form: FormatOption = Format.table,
) -> None:
    """Every hour that was logged, in the order of its day."""
    from ledger.events import HoursLogged  # noqa: PLC0415
    from ledger.segments import read_all  # noqa: PLC0415

    found = [event for event in read_all(existing(Path(home))) if isinstance(event, HoursLogged)]
    rows = [
        {
            "client_id": event.subject,
            "worked_on": event.worked_on,
            "hours": event.hours,
            "activity": event.activity,
            "hourly_rate": event.hourly_rate,
            "currency": event.currency,
        }
        for event in sorted(found, key=lambda event: (event.subject, event.worked_on, event.sequence or 0))
        if client_id in (None, event.subject)
    ]
    show(
        rows,
        form,
        empty="No hours yet. Log some: halfpenny hours log acme --hours 4 --what integration --on 2026-10-02",
    )
