"""The reports' commands for the front door: build, list, query.

Building only reads and renders. `report.issued` is appended by whoever appends for the caller, so that this room
never writes the ledger.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.errors import HomeInUse, InvalidInput, NotFound
from ledger.home import Home, existing
from ledger.money import text
from ledger.output import DEFAULT_HOME, AsOfOption, Format, FormatOption, HomeOption, say, show

if TYPE_CHECKING:
    from ledger.events import Event
    from reports.build import BuiltReport
    from reports.delivery import Wanted
    from reports.difference import Json

app = typer.Typer(no_args_is_help=True, add_completion=False)
report = typer.Typer(no_args_is_help=True, help="The monthly client report.")
PANEL = "Reports"
IN_USE_S = 10.0  # how long another command may hold the home before this one gives up
RETRY_S = 0.1
app.add_typer(report, name="report", rich_help_panel=PANEL)

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Default: halfpenny.toml in the home.")
]
Issue = Callable[[typer.Context, Home, "Event"], None]


def commands(issue: Issue) -> typer.Typer:
    """The commands, with the way to append what they did."""

    @report.command("build")
    def build_report(
        context: typer.Context,
        client_id: str,
        month: Annotated[str, typer.Argument(metavar="YYYY-MM")],
        home: HomeOption = DEFAULT_HOME,
        out: Annotated[Path | None, typer.Option("-o", metavar="DIR", help="Copy the files there too.")] = None,
        language: Annotated[
            str | None, typer.Option(help="en or de: the same revision in another language, into -o DIR alone.")
        ] = None,
        config: ConfigOption = None,
        form: FormatOption = Format.table,
    ) -> None:
        """Build a client's month in every format; the same events give the same bytes."""
        from reports.build import build  # noqa: PLC0415 - --help need not load DuckDB
        from reports.cli import described  # noqa: PLC0415
        from reports.job import issued  # noqa: PLC0415

        at = existing(Path(home))
        built = build(at.path, client_id, month, out_dir=out, language=language, config=config)
        _issue_once(lambda: issue(context, at, issued(described(built), datetime.now(UTC))), at, built)
        if form is Format.json:
            print(json.dumps(described(built), indent=1, ensure_ascii=False))
            return
        say(built.report.sentence)
        for path in built.paths.values():
            print(path)

    @report.command("send")
    def send_report(
        context: typer.Context,
        client_id: str,
        month: Annotated[str, typer.Argument(metavar="YYYY-MM")],
        again: Annotated[bool, typer.Option("--again", help="Also to those who have it already.")] = False,
        home: HomeOption = DEFAULT_HOME,
        config: ConfigOption = None,
    ) -> None:
        """Send the last revision to the client's recipients in [reports.delivery]; each gets it once."""
        import asyncio  # noqa: PLC0415

        from reports.couriers import Couriers  # noqa: PLC0415
        from reports.settings import of_home  # noqa: PLC0415

        at = existing(Path(home)).under(config)
        couriers = Couriers(at, os.environ, lambda: datetime.now(UTC))
        for one, is_known in _to_send(at, client_id, month):
            if is_known and not again:
                say(f"{one.channel}: delivered before. Send it once more with --again.")
                continue

            async def append(event: Event, is_known: bool = is_known) -> None:
                if not is_known:
                    issue(context, at, event)

            asyncio.run(couriers.deliver(one, of_home(at), append))
            say(f"{one.channel}: taken, as {one.message_id}.")

    return app


def _to_send(home: Home, client_id: str, month: str) -> list[tuple[Wanted, bool]]:
    """The deliveries of a month's last revision, and whether each was made. Errors: NotFound, InvalidInput."""
    from ledger.store import read_state  # noqa: PLC0415
    from reports.delivery import addressed  # noqa: PLC0415
    from reports.settings import of_home  # noqa: PLC0415

    state = read_state(home)
    event = state.issued.get((client_id, month))
    if event is None:
        raise NotFound("report", f"{client_id} {month}", f"Build it: halfpenny report build {client_id} {month}.")
    found = [(one, one.key in state.closings.delivered) for one in addressed(event, of_home(home), home.pepper())]
    if not found:
        raise InvalidInput(
            f"Nobody is to get reports of {client_id}. Name them in {home.config}: [reports.delivery.{client_id}] with mail_to "
            "(and [reports.mail] with host and sender) or webhook_url."
        )
    return found


def _issue_once(issue: Callable[[], None], home: Home, built: BuiltReport) -> None:
    """Say that it was built, unless that was said; also what a process that was killed in between left unsaid.

    Errors: HomeInUse when another command holds the home for too long.
    """
    until = time.monotonic() + IN_USE_S
    while not _is_issued(home, built):
        try:
            issue()
        except (HomeInUse, InvalidInput):  # another process writes, or said the same first
            if time.monotonic() > until:
                raise
            time.sleep(RETRY_S)


def _is_issued(home: Home, built: BuiltReport) -> bool:
    from ledger.store import read_state  # noqa: PLC0415

    last = read_state(home).issued.get((built.report.client.id, built.report.period.name))
    return last is not None and last.revision >= built.report.revision


@report.command("diff")
def report_diff(
    client_id: str,
    month: Annotated[str, typer.Argument(metavar="YYYY-MM")],
    before: Annotated[
        int | None, typer.Option("--from", min=1, help="The earlier revision; default: the last but one.")
    ] = None,
    after: Annotated[int | None, typer.Option("--to", min=1, help="The later one; default: the last.")] = None,
    home: HomeOption = DEFAULT_HOME,
    form: FormatOption = Format.table,
) -> None:
    """What two revisions of a month say differently, and what was recorded since the last one."""
    from reports.difference import differences  # noqa: PLC0415
    from reports.places import directory_of, revisions  # noqa: PLC0415

    at = existing(Path(home))
    place = directory_of(at, client_id, month)
    known = revisions(place)
    if not known:
        raise NotFound("report", f"{client_id} {month}", f"Build it: halfpenny report build {client_id} {month}.")
    last = after or known[-1]
    first = before or max((one for one in known if one < last), default=last)
    rows = [
        {"figure": one.figure, "before": one.before, "after": one.after, "change": one.change}
        for one in differences(_report(place, first), _report(place, last))
    ]
    show(rows, form, empty=f"Revisions {first} and {last} say the same." if first != last else "There is one revision.")
    _tell_late(at, client_id, month)


def _report(place: Path, revision: int) -> Json:
    try:
        found: Json = json.loads((place / f"r{revision}" / "report.json").read_bytes())
    except FileNotFoundError:
        raise NotFound("revision", f"{revision}", f"See what there is in {place}.") from None
    return found


def _tell_late(home: Home, client_id: str, month: str) -> None:
    """What the month's report does not have, and what it makes good of the months before."""
    from ledger.closings import position_of  # noqa: PLC0415
    from ledger.store import read_state  # noqa: PLC0415
    from reports.late import adjustments, late_facts  # noqa: PLC0415
    from reports.warehouse import opened  # noqa: PLC0415

    state = read_state(home)
    position = position_of(state, client_id, month)
    with opened(home.path) as warehouse:
        made_good = adjustments(warehouse, client_id, month)
        late = () if position is None else late_facts(warehouse, client_id, month, position)
    for one in made_good:
        say(
            f"Adjustment of {one.period}, told in {month}: {one.facts} {one.kind.replace('_', ' ')}, {text(one.cost_usd)} USD."
        )
    for one in late:
        say(
            f"Since event {position}, in no revision: {one.facts} {one.kind.replace('_', ' ')}, {text(one.cost_usd)} USD."
        )
    if late:
        say(f"They are adjustments of the next month, or: halfpenny close {client_id} {month} --restate WHY")


@report.command("list")
def report_list(
    client_id: Annotated[str | None, typer.Argument(help="Only this client.")] = None,
    home: HomeOption = DEFAULT_HOME,
    form: FormatOption = Format.table,
) -> None:
    """The reports that were issued, the latest revision of each month."""
    from ledger.store import read_state  # noqa: PLC0415
    from reports.places import directory_of  # noqa: PLC0415

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
    as_of: AsOfOption = None,
    form: FormatOption = Format.table,
) -> None:
    """Ask the ledger in SQL, every segment's SHA-256 checked first; also while the service runs.

    It runs for at most a minute, in a process of its own that can write nothing.
    """
    from ledger.prices import moment_of  # noqa: PLC0415
    from reports.asking import asked  # noqa: PLC0415

    moment = None if as_of is None else moment_of(as_of)
    show(asked(existing(Path(home)).path, sql, moment), form, empty="No rows.")
