"""The reports' commands for the front door: build, list, query.

Building only reads and renders. `report.issued` is appended by whoever appends for the caller, so that this room
never writes the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.home import Home, existing
from ledger.output import DEFAULT_HOME, Format, FormatOption, HomeOption, say, show

if TYPE_CHECKING:
    from ledger.events import ReportIssued

app = typer.Typer(no_args_is_help=True, add_completion=False)
report = typer.Typer(no_args_is_help=True, help="The monthly client report.")
PANEL = "Reports"
app.add_typer(report, name="report", rich_help_panel=PANEL)

Issue = Callable[[typer.Context, Home, "ReportIssued"], None]


def commands(issue: Issue) -> typer.Typer:
    """The commands, with the way to append report.issued."""

    @report.command("build")
    def build_report(  # noqa: PLR0917 - options of a command
        context: typer.Context,
        client_id: str,
        month: Annotated[str, typer.Argument(metavar="YYYY-MM")],
        home: HomeOption = DEFAULT_HOME,
        out: Annotated[Path | None, typer.Option("-o", metavar="DIR", help="Copy the files there too.")] = None,
        form: FormatOption = Format.table,
    ) -> None:
        """Build a client's month: report.json, .html, .pdf and .csv; the same events give the same bytes."""
        from reports.build import build  # noqa: PLC0415 - --help need not load DuckDB
        from reports.cli import described  # noqa: PLC0415
        from reports.job import issued  # noqa: PLC0415
        from reports.settings import of_home  # noqa: PLC0415

        at = existing(Path(home))
        built = build(at.path, client_id, month, out_dir=out, prepared_by=of_home(at).prepared_by)
        if built.is_new:
            issue(context, at, issued(described(built), datetime.now(UTC)))
        if form is Format.json:
            print(json.dumps(described(built), indent=1, ensure_ascii=False))
            return
        say(built.report.sentence)
        for path in built.paths.values():
            print(path)

    return app


@report.command("list")
def report_list(
    client_id: Annotated[str | None, typer.Argument(help="Only this client.")] = None,
    home: HomeOption = DEFAULT_HOME,
    form: FormatOption = Format.table,
) -> None:
    """The reports that were issued, the latest revision of each month."""
    from ledger.store import read_state  # noqa: PLC0415
    from reports.build import directory_of  # noqa: PLC0415

    at = existing(Path(home))
    rows = [
        {
            "client_id": client,
            "period": period,
            "revision": event.revision,
            "status": event.status,
            "up_to_sequence": event.up_to_sequence,
            "path": str(directory_of(at, client, period) / f"r{event.revision}"),
        }
        for (client, period), event in sorted(read_state(at).issued.items())
        if client_id in (None, client)
    ]
    show(rows, form, empty="No report yet. Build one: halfpenny report build CLIENT YYYY-MM")


@app.command(rich_help_panel=PANEL)
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT over the views, like: SELECT * FROM savings")],
    home: HomeOption = DEFAULT_HOME,
    form: FormatOption = Format.table,
) -> None:
    """Ask the ledger in SQL, read only, every segment's SHA-256 checked first; also while the service runs."""
    from reports.warehouse import asked  # noqa: PLC0415

    show(asked(existing(Path(home)).path, sql), form, empty="No rows.")
