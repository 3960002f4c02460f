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
from enum import StrEnum
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
        as_of: AsOfOption = None,
        form: FormatOption = Format.table,
    ) -> None:
        """Build a client's month in every format; the same events give the same bytes."""
        from ledger.prices import moment_of  # noqa: PLC0415
        from reports.build import build  # noqa: PLC0415 - --help need not load DuckDB
        from reports.cli import described  # noqa: PLC0415
        from reports.job import issued  # noqa: PLC0415

        at = existing(Path(home))
        moment = None if as_of is None else moment_of(as_of)
        built = build(at.path, client_id, month, out_dir=out, language=language, config=config, as_of=moment)
        if moment is None:  # else it is no revision, and nothing was issued
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
    from reports.warehouse import dropped_from  # noqa: PLC0415

    at, moment = existing(Path(home)), None if as_of is None else moment_of(as_of)
    rows = asked(at.path, sql, moment)
    if (dropped := dropped_from(at)) is not None:
        say(f"Calls and edits of {dropped.period} and before were exported and dropped: no view has them.")
    show(rows, form, empty="No rows.")


@app.command(rich_help_panel=PANEL)
def snapshot(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, like acme.duckdb.")],
    home: HomeOption = DEFAULT_HOME,
    as_of: AsOfOption = None,
) -> None:
    """Put all events and views into one DuckDB file that needs nothing beside it, to be taken elsewhere."""
    from ledger.prices import moment_of  # noqa: PLC0415
    from reports.warehouse import taken_away  # noqa: PLC0415

    at = existing(Path(home))
    count, digest = taken_away(at.path, target, None if as_of is None else moment_of(as_of))
    print(f"{digest}  {target}")
    say(f"{count} events with every view. Any DuckDB from 1.4 on opens it: duckdb {target}")


class Kind(StrEnum):
    """What events can be exported as."""

    parquet = "parquet"
    jsonl = "jsonl"
    csv = "csv"


@app.command(rich_help_panel=PANEL)
def export(
    context: typer.Context,
    kind: Annotated[Kind, typer.Argument(help="parquet, jsonl or csv.")],
    target: Annotated[Path, typer.Argument(help="A new directory with --before, else a new file.")],
    before: Annotated[
        str | None,
        typer.Option(metavar="YYYY-MM", help="Whole segments up to this month, as halfpenny drop wants them."),
    ] = None,
    client_id: Annotated[str | None, typer.Option("--client", help="Only this client's events.")] = None,
    month: Annotated[str | None, typer.Option(metavar="YYYY-MM", help="Only what counts in this month.")] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Copy events out: whole months as sealed segments with their sums, or a file of a client's events or a month's."""
    from ledger.cli import seal_now  # noqa: PLC0415
    from ledger.exports import SUMS  # noqa: PLC0415
    from ledger.exports import export as copy  # noqa: PLC0415
    from reports.warehouse import exported  # noqa: PLC0415

    at = existing(Path(home))
    if before is None:
        count, digest = exported(at.path, target, kind.value, client_id, month)
        print(f"{digest}  {target}")
        say(f"{count} events.")
        return
    if kind is not Kind.parquet or client_id or month:
        raise InvalidInput("--before copies whole segments: say parquet, and neither --client nor --month.")
    seal_now(context, at)
    made = copy(at, target, before, now=datetime.now(UTC))
    say(
        f"{target} holds events {made.files[0].first_sequence} to {made.files[-1].last_sequence}, all of {made.period} and before among them."
    )
    say(f"Every event was read back. Check it anywhere: cd {target} && sha256sum -c {SUMS}")
