"""The commands that keep a ledger: signed heads, backups and the way back, and what goes when a contract wants it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ledger.cli import seal_now, stamp, state_of, write
from ledger.errors import Conflict
from ledger.home import existing
from ledger.output import DEFAULT_HOME, Format, FormatOption, HomeOption, say, show

app = typer.Typer(no_args_is_help=True, add_completion=False)
head = typer.Typer(no_args_is_help=True, help="Signed monthly heads, so that a rewritten past shows.")
PANEL = "The log"
app.add_typer(head, name="head", rich_help_panel=PANEL)


@head.command("sign")
def head_sign(context: typer.Context, home: HomeOption = DEFAULT_HOME) -> None:
    """Sign every month that is over and has no head yet; a running service does it by itself."""
    from ledger import heads  # noqa: PLC0415

    at = existing(Path(home))
    state, now = state_of(home), datetime.now(UTC)
    for event in state.heads.values():
        if not (at.heads / f"{event.subject}.json").exists():
            heads.keep(at, event)  # what a crash left unwritten
    signed = [heads.signed(at, stamp(), month, reached) for month, reached in heads.due(at, state, now)]
    for event in signed:
        write(context, at, event)
        path = heads.keep(at, event)
        say(f"{event.subject}: signed at event {event.head_sequence}. Keep {path} somewhere else too.")
    if not signed:
        say("No month is over that has no head yet.")


@head.command("list")
def head_list(home: HomeOption = DEFAULT_HOME, form: FormatOption = Format.table) -> None:
    """The signed heads."""
    rows = [
        {"month": one.subject, "sequence": one.head_sequence, "hash": one.head_hash, "cost_sum": one.head_cost_sum}
        for one in state_of(home).heads.values()
    ]
    show(rows, form, empty="No head yet. Sign the months that are over: halfpenny head sign")


@head.command("key")
def head_key(home: HomeOption = DEFAULT_HOME) -> None:
    """Print the public key, alone, on stdout; give it and the heads to whoever is to check the log."""
    from ledger import heads  # noqa: PLC0415

    print(heads.public_key(existing(Path(home))))


@app.command(rich_help_panel=PANEL)
def backup(
    target: Annotated[Path, typer.Argument(metavar="DIR|FILE.tar", help="A new directory, or a new .tar file.")],
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="The secrets too; they are better kept elsewhere.")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Copy the home as it stands between two events, also while the service writes."""
    from ledger.backups import backup as copy  # noqa: PLC0415

    made = copy(existing(Path(home)), target, with_keys=with_keys)
    say(f"{target} holds every event up to {made.sequence}, verified; the chain ends in {made.last_hash}.")
    if not with_keys:
        say("Its secrets are not in it: keep HOME/keys too, elsewhere. Without them no issued key opens anything.")


@app.command(rich_help_panel=PANEL)
def restore(
    source: Annotated[Path, typer.Argument(metavar="DIR|FILE.tar", help="What halfpenny backup wrote.")],
    keys: Annotated[Path | None, typer.Option("--keys", metavar="DIR", help="Where HOME/keys was kept.")] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Make a home out of a backup, where none is yet."""
    from ledger.backups import restore as back  # noqa: PLC0415

    made = back(source, Path(home), lambda: datetime.now(UTC), keys=keys)
    say(
        f"{home} holds every event up to {made.sequence}, verified. Stop the service of the old home: two would fork the log."
    )
    if not made.has_keys:
        say(f"It has no secrets yet: copy what was kept of HOME/keys to {Path(home) / 'keys'}.")


@app.command(rich_help_panel=PANEL)
def erase(
    context: typer.Context,
    client_id: str,
    reason: Annotated[str, typer.Option(help="Why, without naming the person.")],
    ticket: Annotated[str | None, typer.Option(help="Only this ticket, by its id in the ledger; default: all.")] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Destroy the keys of the texts kept of a client or a ticket, for good; counts and costs stay, and hold no text."""
    from ledger import content  # noqa: PLC0415
    from ledger.events import SubjectErased  # noqa: PLC0415

    at, now = existing(Path(home)), stamp()
    state_of(home).client(client_id)
    destroyed = content.erase(at, client_id, ticket)
    event = SubjectErased(
        id=now.event_id,
        subject=client_id,
        time=now.now,
        client_id=client_id,
        ticket_id=ticket,
        reason=reason.strip()[:2000],
    )
    write(context, at, event)
    whose = client_id if ticket is None else f"ticket {ticket} of {client_id}"
    say(f"The texts of {whose} can no longer be read: {destroyed} keys destroyed, and none is ever made again.")


@app.command(rich_help_panel=PANEL)
def drop(
    context: typer.Context,
    export: Annotated[Path, typer.Argument(metavar="EXPORT", help="What halfpenny export parquet wrote.")],
    reason: Annotated[str, typer.Option(help="Why: the contract that asks for it.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    home: HomeOption = DEFAULT_HOME,
    form: FormatOption = Format.table,
) -> None:
    """Drop the calls and edits of closed months that an export holds; totals, closings and reports stay. For good."""
    from ledger import dropping  # noqa: PLC0415
    from ledger import manifest as manifests  # noqa: PLC0415
    from ledger.disk import REAL  # noqa: PLC0415
    from ledger.money import text  # noqa: PLC0415

    at = existing(Path(home))
    seal_now(context, at)
    state = state_of(home)
    plan = dropping.planned(at, export, state)
    show([{"client_id": client_id, "month": month, "events": count, "closed_at_usd": text(state.total(client_id, month).cost_usd)}
          for (client_id, month), count in sorted(plan.months.items())], form)  # fmt: skip
    events = f"{sum(plan.months.values())} events of {plan.listed.period} and before"
    if dry_run:
        say(f"{events} would be dropped, all of them in {export}; nothing was.")
        return
    event = dropping.prepare(at, plan, stamp(), reason.strip()[:2000])
    write(context, at, event)
    seal_now(context, at)
    if (now := manifests.load(at, REAL).dropped) is None or now.event_id != event.id:
        raise Conflict(
            "The drop is recorded and not carried out yet: whoever seals next does it. See halfpenny doctor."
        )
    say(f"{events} are dropped, for good; event log.dropped says so and is signed. Keep {export}.")


@app.command(rich_help_panel="Running")
def doctor(home: HomeOption = DEFAULT_HOME, form: FormatOption = Format.table) -> None:
    """Look at every part of a home when something is odd: what was found, and what to do next. Exit 1 when something is bad."""
    from ledger.doctor import examined  # noqa: PLC0415

    found = examined(existing(Path(home)), datetime.now(UTC))
    show([check._asdict() for check in found], form)
    bad = sum(check.verdict == "bad" for check in found)
    say("Nothing is wrong with it." if not bad else f"{bad} of {len(found)} checks are bad; begin with the first.")
    if bad:
        raise typer.Exit(1)
