"""The log's own commands: what is in it, whether it still is what was written, and making the derived files anew."""

from __future__ import annotations

import json
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli import seal_now, state_of
from ledger.errors import NotFound
from ledger.home import Home, existing
from ledger.money import text
from ledger.output import DEFAULT_HOME, AsOfOption, Format, FormatOption, HomeOption, say, show

if TYPE_CHECKING:
    from ledger.events import Event
    from ledger.projections import State

app = typer.Typer(no_args_is_help=True, add_completion=False)
events = typer.Typer(no_args_is_help=True, help="The log, event by event.")
app.add_typer(events, name="events", rich_help_panel="The log")
PANEL = "The log"
_POLL_S = 0.5


@events.command("tail")
def events_tail(
    count: Annotated[int, typer.Option("-n", min=0, help="How many of the last events.")] = 20,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as events come in.")] = False,
    home: HomeOption = DEFAULT_HOME,
    form: FormatOption = Format.table,
) -> None:
    """The last events."""
    from ledger.segments import read_all  # noqa: PLC0415

    at = existing(Path(home))
    last = deque(read_all(at), maxlen=count)
    show([_row(event, form) for event in last], form)
    position = last[-1].sequence or 0 if last else 0
    while follow:
        time.sleep(_POLL_S)
        news = [event for event in read_all(at, after=position) if (event.sequence or 0) > position]
        for event in news:
            print(
                json.dumps(_whole(event))
                if form is Format.json
                else "  ".join(str(v) for v in _row(event, form).values())
            )
        position = news[-1].sequence or position if news else position


def _row(event: Event, form: Format) -> dict[str, object]:
    if form is Format.json:
        return _whole(event)
    kind = str(event.__struct_config__.tag).removeprefix("halfpenny.")
    whole = _whole(event)
    telling = ("purpose", "request_model", "outcome", "disposition", "refusal", "cost_usd", "hold_usd", "reason")
    said = ", ".join(str(whole[name]) for name in telling if name in whole)
    return {
        "sequence": event.sequence,
        "time": f"{event.time:%Y-%m-%d %H:%M:%S}",
        "type": kind,
        "client_id": event.client_id,
        "subject": event.subject,
        "says": said or None,
    }


def _whole(event: Event) -> dict[str, Any]:
    import msgspec  # noqa: PLC0415

    found: dict[str, Any] = msgspec.to_builtins(event)
    return found


@events.command("show")
def events_show(
    name: Annotated[str, typer.Argument(metavar="ID", help="An event id, a call id or a ticket id.")],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Every event with this id or subject, whole, as JSON."""
    from ledger.segments import read_all  # noqa: PLC0415

    found = [
        _whole(event)
        for event in read_all(existing(Path(home)))
        if name in (event.id, event.subject, getattr(event, "ticket_id", None), getattr(event, "call_id", None))
    ]
    if not found:
        raise NotFound("event, call or ticket", name, "See what there is with: halfpenny events tail.")
    print(json.dumps(found, indent=1, ensure_ascii=False))


@app.command(rich_help_panel=PANEL)
def verify(
    heads: Annotated[
        Path | None, typer.Option("--heads", metavar="FILE|DIR", help="Signed heads that were kept elsewhere.")
    ] = None,
    public_key: Annotated[
        str | None, typer.Option("--public-key", metavar="HEX", help="The key heads must bear; default: the home's.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    form: FormatOption = Format.table,
) -> None:
    """Check every sum, sequence, link and signed head of the log; exit 4 when anything is not what was written."""
    from ledger import heads as signed  # noqa: PLC0415
    from ledger.verify import verify as check  # noqa: PLC0415

    at = existing(Path(home))
    given = () if heads is None else signed.read(heads)
    trusted = None if public_key is None else signed.trusted_key(public_key)
    found = check(at)
    if found.is_ok and found.events:  # a log that is damaged cannot be read to its heads
        unlike, count = signed.check(at, given, trusted)
        found.findings += unlike
        found.notes += [f"{count} signed heads hold."] if count and not unlike else []
    if form is Format.json:
        print(json.dumps(found.as_json(), indent=1))
    else:
        for finding in found.findings:
            print(finding)
        for note in found.notes:
            say(note)
        say(str(found))
    if not found.is_ok:
        raise typer.Exit(4)


@app.command(rich_help_panel=PANEL)
def seal(context: typer.Context, home: HomeOption = DEFAULT_HOME) -> None:
    """Seal what the journal holds into Parquet now; beside a running service, the service does it."""
    by_service = seal_now(context, existing(Path(home)))
    say("The running service has sealed its journal." if by_service else "Sealed.")


@app.command(rich_help_panel=PANEL)
def rebuild(home: HomeOption = DEFAULT_HOME) -> None:
    """Make everything derived anew from the events: the state's snapshot and ledger.duckdb."""
    from ledger.store import rebuild as make_anew  # noqa: PLC0415

    position = make_anew(existing(Path(home)), lambda: datetime.now(UTC))
    say(f"Folded {position} events anew; snapshot.json and ledger.duckdb are new.")


@app.command(rich_help_panel=PANEL)
def status(home: HomeOption = DEFAULT_HOME, as_of: AsOfOption = None, form: FormatOption = Format.table) -> None:
    """What the ledger holds now: spend and budget by client, open holds, calls whose end is unknown."""
    from ledger.lock import owner  # noqa: PLC0415

    at = existing(Path(home))
    state = state_of(home, as_of)
    found = _status(at, state, owner(at.lock))
    if form is Format.json:
        print(json.dumps(found, indent=1))
        return
    say(f"{at.path}: {state.position} events; service: {found['service'] or 'not running'}")
    show(found["spend"], form, empty="No call yet.")
    for name, rows in (
        ("Open holds", found["holds"]),
        ("Orphaned holds: their end is unknown, they count in full", found["orphans"]),
    ):
        if rows:
            say(f"{name}: {len(rows)}")
            show(rows[:20], form)
            if len(rows) > 20:
                say(f"… and {len(rows) - 20} more; all with --format json")


def _status(at: Home, state: State, owner: Any) -> dict[str, Any]:
    months = sorted({(key.client_id, key.period) for key in state.spend})
    spend = []
    for client_id, period in months:
        total = state.total(client_id, period)
        account = state.account("client", client_id, period, state.client(client_id).zone)
        spend.append(
            {
                "client_id": client_id,
                "period": period,
                "calls": total.calls,
                "estimated": total.estimated,
                "cost_usd": text(total.cost_usd),
                **{k: v for k, v in account.as_json().items() if k.endswith("_usd")},
                "closed": (client_id, period) in state.closed,
            }
        )
    return {
        "home": str(at.path),
        "service": owner.url if owner is not None else None,
        "position": state.position,
        "spend": spend,
        "holds": [_hold(hold) for hold in state.holds.values()],
        "orphans": [_hold(orphan) for orphan in state.orphans.values()],
    }


def _hold(event: Any) -> dict[str, object]:
    return {
        "call_id": event.subject,
        "attempt": event.attempt,
        "client_id": event.client_id,
        "period": event.period,
        "request_model": event.request_model,
        "hold_usd": event.hold_usd,
        "time": f"{event.time:%Y-%m-%d %H:%M:%S}Z",
    }
