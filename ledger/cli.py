"""The ledger's commands: clients, keys, prices, budgets, and the log itself.

A command that writes takes the home's lock; when a service holds it, the same events go through the
service instead, which the front door knows how to reach (`Context.obj`, its Doors).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.admin import Stamp
from ledger.budgets import period_of
from ledger.errors import HomeInUse
from ledger.events import Event, Role
from ledger.home import Home, existing
from ledger.output import DEFAULT_HOME, AsOfOption, Format, FormatOption, HomeOption, say, show

if TYPE_CHECKING:
    from ledger.projections import State


@dataclass(frozen=True, slots=True)
class Doors:
    """How commands reach a service that has the lock; the front door fills it, since the ledger speaks no HTTP."""

    post_events: Callable[[Home, Sequence[Event]], None]
    post_seal: Callable[[Home], None]


app = typer.Typer(no_args_is_help=True, add_completion=False)
client = typer.Typer(no_args_is_help=True, help="Clients the freelancer works for.")
key = typer.Typer(no_args_is_help=True, help="Bearer keys by client and role.")
budget = typer.Typer(no_args_is_help=True, help="Monthly caps.")
baseline = typer.Typer(no_args_is_help=True, help="What the old bot would have paid.")
fx = typer.Typer(no_args_is_help=True, help="Dated exchange rates.")
PANEL = "Administration"
for name, group in (
    ("client", client),
    ("key", key),
    ("budget", budget),
    ("baseline", baseline),
    ("fx", fx),
):
    app.add_typer(group, name=name, rich_help_panel=PANEL)

REQUEST_EVENTS = 1000  # well below the largest request that is taken
ROLES = ("app", "agent", "client", "admin")
ValidFrom = Annotated[str | None, typer.Option("--valid-from", metavar="DATE", help="Default: now.")]


def stamp() -> Stamp:
    """A fresh id and this moment."""
    from uuid_utils.compat import uuid7  # noqa: PLC0415 - --help need not load it

    return Stamp(str(uuid7()), datetime.now(UTC))


def write(context: typer.Context, home: Home, *events: Event) -> None:
    """Append events: with the lock, or through the service that has it.

    Errors: HomeInUse when a process has the lock and no way to it is known; whatever `check` refuses.
    """
    from ledger.store import Ledger  # noqa: PLC0415

    try:
        ledger = Ledger.open(home.path, clock=lambda: datetime.now(UTC))
    except HomeInUse:
        doors: Doors | None = context.find_root().obj
        if doors is None:
            raise
        for part in _requests(events):
            doors.post_events(home, part)
        return
    try:
        ledger.append_now(*events)
    finally:
        ledger.close()


def seal_now(context: typer.Context, home: Home) -> bool:
    """Seal what the journal holds: with the lock, or through the service that has it; whether a service did. Errors: as write; NotSealed."""
    from ledger.store import Ledger  # noqa: PLC0415

    try:
        ledger = Ledger.open(home.path, clock=lambda: datetime.now(UTC))
    except HomeInUse:
        doors: Doors | None = context.find_root().obj
        if doors is None:
            raise
        doors.post_seal(home)
        return True
    try:
        ledger.seal()
    finally:
        ledger.close()
    return False


def _requests(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """The events in pieces that fit into a request each; of a correction the ledger itself finishes what was begun."""
    for at in range(0, len(events), REQUEST_EVENTS):
        yield events[at : at + REQUEST_EVENTS]


@client.command("add")
def client_add(
    context: typer.Context,
    client_id: str,
    home: HomeOption = DEFAULT_HOME,
    name: Annotated[str | None, typer.Option(help="What reports call the client; default: its id.")] = None,
    currency: Annotated[str, typer.Option(help="The currency of its reports, ISO 4217.")] = "EUR",
    zone: Annotated[str, typer.Option(help="Its time zone: months and days are its own.")] = "Europe/Berlin",
    edit_rate: Annotated[str | None, typer.Option(help="What an hour of its agents costs, USD.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Keep outside ticket ids as keyed hashes only.")] = False,
) -> None:
    """Add a client, like: halfpenny client add acme --currency EUR --zone Europe/Berlin."""
    from ledger import admin  # noqa: PLC0415

    event = admin.client_added(
        stamp(), client_id, name=name, currency=currency, zone_name=zone, edit_rate=edit_rate, private=private
    )
    write(context, existing(Path(home)), event)
    say(f"Client {client_id} added. Next: halfpenny key issue {client_id} --role app")


@client.command("list")
def client_list(home: HomeOption = DEFAULT_HOME, form: FormatOption = Format.table) -> None:
    """All clients."""
    rows = [
        {
            "client_id": c.subject,
            "name": c.display_name,
            "currency": c.currency,
            "zone": c.zone,
            "edit_usd_per_hour": c.edit_usd_per_hour,
            "private": c.private,
        }
        for c in state_of(home).clients.values()
    ]
    show(rows, form, empty="No client yet. Add one: halfpenny client add acme --currency EUR --zone Europe/Berlin")


@key.command("issue")
def key_issue(
    context: typer.Context,
    client_id: Annotated[str | None, typer.Argument(help="The client; none for an admin key.")] = None,
    role: Annotated[str, typer.Option(help="app, agent, client or admin.")] = "app",
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Issue a key and print it, alone, on stdout; it is shown once and only its hash is kept."""
    from ledger import admin  # noqa: PLC0415
    from ledger.home import key_hash, new_key  # noqa: PLC0415

    chosen = _role(role)
    at = existing(Path(home))
    secret, key_id = new_key()
    event = admin.key_issued(stamp(), key_id, key_hash(at.pepper(), secret), role=chosen, client_id=client_id)
    write(context, at, event)
    print(secret)


def _role(found: str) -> Role:
    for role in ROLES:
        if role == found:
            return role  # type: ignore[return-value]  # ROLES are the literals of Role
    raise typer.BadParameter(f"{found!r} is not a role. Use one of {', '.join(ROLES)}.")


@key.command("revoke")
def key_revoke(context: typer.Context, key_id: str, home: HomeOption = DEFAULT_HOME) -> None:
    """Revoke a key by its id, the part before the second underscore."""
    from ledger import admin  # noqa: PLC0415

    write(context, existing(Path(home)), admin.key_revoked(stamp(), key_id))
    say(f"Key {key_id} opens nothing any more.")


@key.command("list")
def key_list(home: HomeOption = DEFAULT_HOME, form: FormatOption = Format.table) -> None:
    """All keys: ids, roles and clients; never the keys."""
    rows = [
        {"key_id": k.key_id, "client_id": k.client_id, "role": k.role, "revoked": k.revoked}
        for k in state_of(home).keys.values()
    ]
    show(rows, form, empty="No key yet. Issue one: halfpenny key issue acme --role app")


@budget.command("set")
def budget_set(
    context: typer.Context,
    scope: Annotated[str, typer.Argument(help="A client id, a key id (hp_…), or whole.")],
    amount: Annotated[str | None, typer.Argument(help="USD a month.")] = None,
    hard: Annotated[bool, typer.Option("--hard/--soft", help="Refuse calls that do not fit, or only warn.")] = True,
    lift: Annotated[bool, typer.Option("--lift", help="Take the cap away.")] = False,
    home: HomeOption = DEFAULT_HOME,
    valid_from: ValidFrom = None,
) -> None:
    """Set a monthly cap, like: halfpenny budget set acme 300 --hard."""
    from ledger import admin  # noqa: PLC0415

    if (amount is None) != lift:
        raise typer.BadParameter("Say either an AMOUNT or --lift.")
    write(context, existing(Path(home)), admin.budget_set(stamp(), scope, amount, hard=hard, valid_from=valid_from))
    say(
        f"Budget of {scope}: "
        + ("no cap." if amount is None else f"{amount} USD a month, {'hard' if hard else 'soft'}.")
    )


@budget.command("show")
def budget_show(
    scope: Annotated[str | None, typer.Argument(help="A client id; default: every client and the whole.")] = None,
    month: Annotated[str | None, typer.Option(metavar="YYYY-MM", help="Default: the client's present month.")] = None,
    home: HomeOption = DEFAULT_HOME,
    as_of: AsOfOption = None,
    form: FormatOption = Format.table,
) -> None:
    """What is granted, settled, held and left."""
    state, now = state_of(home, as_of), moment_or_now(as_of)
    if scope is not None and scope != "whole":
        state.client(scope)
    rows = []
    for client_id, added in state.clients.items():
        if scope in (None, client_id):
            period = month or period_of(now, added.zone).name
            rows.append(state.account("client", client_id, period, added.zone).as_json())
    if scope in (None, "whole"):
        rows.append(state.account("whole", "", month or period_of(now, "UTC").name).as_json())
    show(rows, form)


@baseline.command("set")
def baseline_set(
    context: typer.Context,
    baseline_id: Annotated[str, typer.Argument(help="A name with a date, like gpt-4o@2026-10-01.")],
    model: Annotated[str, typer.Option(help="The listed model whose price at --valid-from is frozen.")],
    home: HomeOption = DEFAULT_HOME,
    valid_from: ValidFrom = None,
) -> None:
    """Freeze the baseline at a listed price."""
    from ledger import admin  # noqa: PLC0415
    from ledger.prices import moment_of  # noqa: PLC0415

    now = stamp()
    at = now.now if valid_from is None else moment_of(valid_from)
    event = admin.baseline_set(now, baseline_id, state_of(home).prices.price_at(model, at))
    write(context, existing(Path(home)), event)
    say(f"Baseline {baseline_id} is {model} at {event.rate_uncached_input} in, {event.rate_plain_output} out.")


@baseline.command("show")
def baseline_show(home: HomeOption = DEFAULT_HOME, form: FormatOption = Format.table) -> None:
    """The baseline in force."""
    found = state_of(home).baseline
    rows: list[dict[str, object]] = []
    if found is not None:
        rows = [
            {
                "baseline_id": found.subject,
                "model": found.model,
                "input_usd": found.rate_uncached_input,
                "cache_read_usd": found.rate_cache_read,
                "output_usd": found.rate_plain_output,
                "source": found.price_source,
            }
        ]
    show(rows, form, empty="No baseline. Set one: halfpenny baseline set gpt-4o@2026-10-01 --model openai/gpt-4o")


@fx.command("add")
def fx_add(
    context: typer.Context,
    base: Annotated[str, typer.Argument(help="1 unit of this currency …")],
    quote: Annotated[str, typer.Argument(help="… is RATE of this one.")],
    rate: str,
    on: Annotated[str, typer.Option(metavar="DATE", help="The day of the rate.")],
    source: Annotated[str, typer.Option(help="Who published it.")],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Record a dated rate, like: halfpenny fx add EUR USD 1.1604 --on 2026-10-30 --source ECB."""
    from ledger import admin  # noqa: PLC0415

    write(context, existing(Path(home)), admin.fx_recorded(stamp(), base, quote, rate, on=on, source=source))
    say(f"1 {base} = {rate} {quote} on {on}.")


def state_of(home: str, as_of: str | None = None) -> State:
    """A home's state, now or as it was known at a moment. Errors: NotAHome, Damage, BadMoment."""
    from ledger.prices import moment_of  # noqa: PLC0415
    from ledger.store import read_state, state_as_of  # noqa: PLC0415

    at = existing(Path(home))
    return read_state(at) if as_of is None else state_as_of(at, moment_of(as_of))


def moment_or_now(as_of: str | None) -> datetime:
    """The moment a person asks about. Errors: BadMoment."""
    from ledger.prices import moment_of  # noqa: PLC0415

    return datetime.now(UTC) if as_of is None else moment_of(as_of)
