"""Commands about the split: which policy a client has, and why a call went to its arm."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from ledger.output import DEFAULT_HOME, Format, FormatOption, HomeOption, say, show
from ledger.routing import PolicyName

if TYPE_CHECKING:
    from ledger.home import Home
    from router.standing import Standing, Standings, Terms

app = typer.Typer(no_args_is_help=True, add_completion=False)
policy = typer.Typer(no_args_is_help=True, help="Which arm answers: label, fixed, paced or floor.")
PANEL = "Split"
app.add_typer(policy, name="policy", rich_help_panel=PANEL)

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Default: halfpenny.toml in the home.")
]


@policy.command("set")
def policy_set(
    context: typer.Context,
    client_id: str,
    name: Annotated[str, typer.Argument(help="label, fixed, paced or floor.")],
    share: Annotated[list[str] | None, typer.Option(help="For fixed: ARM=SHARE, once an arm; they sum to 1.")] = None,
    target_edit_rate: Annotated[
        float | None, typer.Option(min=0, max=1, help="For floor: the edit rate to stay under.")
    ] = None,
    explore: Annotated[float | None, typer.Option(min=0, max=0.5, help="Share drawn against the policy.")] = None,
    minutes_per_quality: Annotated[
        float | None, typer.Option(help="Edit minutes that a unit of quality saves, for words.")
    ] = None,
    tickets: Annotated[int | None, typer.Option(min=0, help="Tickets a month, while there is no history.")] = None,
    seed: Annotated[str | None, typer.Option(help="Salts the draws.")] = None,
    second_look: Annotated[
        bool | None,
        typer.Option("--second-look/--no-second-look", help="Whether a better arm redoes drafts that look bad."),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    config: ConfigOption = None,
) -> None:
    """Set a client's policy, also beside a running service, like: halfpenny policy set acme paced --tickets 7750."""
    from ledger import events as e  # noqa: PLC0415 - --help need not load it
    from ledger.cli import stamp, write  # noqa: PLC0415
    from ledger.home import existing  # noqa: PLC0415
    from router.standing import check_policy  # noqa: PLC0415

    if name not in get_args(PolicyName):
        raise typer.BadParameter(f"{name!r} is no policy. Use one of {', '.join(get_args(PolicyName))}.")
    at, now = existing(Path(home)), stamp()
    event = e.PolicySet(
        id=now.event_id,
        subject=client_id,
        time=now.now,
        client_id=client_id,
        policy=name,  # type: ignore[arg-type]  # one of its literals
        shares=tuple(share) if share else None,
        target_edit_rate=target_edit_rate,
        explore=explore,
        minutes_per_quality=minutes_per_quality,
        tickets_per_month=tickets,
        second_look=second_look,
        seed=seed,
    )
    check_policy(_terms(at, config), event)
    write(context, at, event)
    say(f"Policy of {client_id}: {name}.")


@policy.command("show")
def policy_show(
    client_id: Annotated[str | None, typer.Argument(help="Default: every client.")] = None,
    home: HomeOption = DEFAULT_HOME,
    config: ConfigOption = None,
    form: FormatOption = Format.table,
) -> None:
    """The policies in force, and what they pay for quality now."""
    from ledger.errors import NotFound  # noqa: PLC0415
    from ledger.home import existing  # noqa: PLC0415

    standings = _standings(existing(Path(home)), config)
    if client_id is not None and client_id not in standings.clients:
        raise NotFound("client", client_id, "See them with: halfpenny client list.")
    rows = [_row(found) for found in standings.clients.values() if client_id in (None, found.client_id)]
    show(rows, form, empty="No client yet.")


def _row(found: Standing) -> dict[str, object]:
    state = found.state
    return {
        "client_id": found.client_id,
        "policy": state.config.policy,
        "set_at": None if found.policy_set_at is None else f"{found.policy_set_at:%Y-%m-%d %H:%M}Z",
        "shares": " ".join(f"{arm}={share:g}" for arm, share in state.config.shares),
        "target_edit_rate": None if state.config.target_quality is None else f"{1.0 - state.config.target_quality:.6g}",
        "explore": state.config.explore,
        "second_look": found.second_look,
        "period": found.period,
        "lambda": round(state.lambda_, 6),
        "too_little_known": state.is_cold,
        "trouble": found.policy_trouble,
    }


@app.command("explain", rich_help_panel=PANEL)
def explain(
    call_id: str,
    home: HomeOption = DEFAULT_HOME,
    config: ConfigOption = None,
    form: FormatOption = Format.table,
) -> None:
    """Why a call went to its arm: the decision as recorded, and its figures folded anew from the log."""
    from ledger.home import existing  # noqa: PLC0415
    from ledger.segments import read_all  # noqa: PLC0415
    from router.explain import explain as explained  # noqa: PLC0415

    at = existing(Path(home))
    found = explained(read_all(at), _terms(at, config), call_id).as_json()
    if form is not Format.table:
        show([found], form)
        return
    again, look = found.pop("recomputed"), found.pop("second_look")
    rows: list[dict[str, object]] = [{"figure": name, "value": value} for name, value in found.items()]
    show(rows, form)
    if isinstance(again, dict):
        if isinstance(look, dict):
            say("The draft looked bad:")
            show([{"figure": name, "value": value} for name, value in look.items()], form)
        say("Folded anew from the log up to the call:")
        offers = again.pop("offers")
        show([{"figure": name, "value": value} for name, value in again.items()], form)
        show(offers, form)


@app.command("forecast", rich_help_panel=PANEL)
def forecast(
    client_id: Annotated[str | None, typer.Argument(metavar="[CLIENT]", help="Default: every client.")] = None,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="RFC 3339; default: the log's last moment.")] = None,
    home: HomeOption = DEFAULT_HOME,
    config: ConfigOption = None,
    form: FormatOption = Format.table,
) -> None:
    """What the month will have cost when it ends, with the interval eight months in ten should end in."""
    from datetime import datetime  # noqa: PLC0415

    from ledger.errors import InvalidInput, NotFound  # noqa: PLC0415
    from ledger.home import existing  # noqa: PLC0415
    from router.month_end import month_end  # noqa: PLC0415

    moment: float | None = None
    if at is not None:
        try:
            stated = datetime.fromisoformat(at)
        except ValueError:
            raise InvalidInput(f"{at!r} is not a time. Write it like 2026-11-23T12:00:00Z.") from None
        if stated.tzinfo is None:
            raise InvalidInput(f"{at!r} has no time zone. Write it like 2026-11-23T12:00:00Z.")
        moment = stated.timestamp()
    clients = _standings(existing(Path(home)), config).clients
    if client_id is not None and client_id not in clients:
        raise NotFound("client", client_id, "See which there are with: halfpenny client list.")
    rows: list[dict[str, object]] = []
    for name, standing in clients.items():
        if client_id not in (None, name) or not standing.period:
            continue
        when = max(standing.last_s, standing.state.volume.last_s) if moment is None else moment
        found = month_end(standing.state, when, standing.spent.get(standing.period))
        budget = None if found.budget_usd is None else round(found.budget_usd, 2)
        rows.append(
            {
                "client": name,
                "month": standing.period,
                "spent_usd": round(found.spent_usd, 4),
                "month_end_usd": round(found.expected_usd, 4),
                "low_80_usd": round(found.low_usd, 4),
                "high_80_usd": round(found.high_usd, 4),
                "budget_usd": budget,
                "tickets": found.tickets,
                "tickets_expected": round(found.tickets_expected),
            }
        )
    show(rows, form, empty="No client has had a call yet, so there is no month to foretell.")


@app.command("whatif", rich_help_panel=PANEL)
def whatif(
    asked: Annotated[
        str, typer.Option("--policy", help="label, fixed:0.5 (premium's share) or fixed:ARM=0.6,ARM=0.4.")
    ],
    month: Annotated[str, typer.Option(metavar="YYYY-MM", help="The client's calendar month.")],
    client: Annotated[str | None, typer.Option(help="Default: the only client there is.")] = None,
    home: HomeOption = DEFAULT_HOME,
    config: ConfigOption = None,
    form: FormatOption = Format.table,
) -> None:
    """What another policy would have cost and reached, from the log and its probabilities, with 95 % intervals."""
    from ledger.budgets import period_named  # noqa: PLC0415
    from ledger.errors import InvalidInput, NotFound  # noqa: PLC0415
    from ledger.home import existing  # noqa: PLC0415
    from ledger.segments import read_all  # noqa: PLC0415
    from router.logged import routed_month  # noqa: PLC0415
    from router.whatif import CannotTell, Estimate, evaluate, target_of  # noqa: PLC0415

    period_named(month, "UTC")
    at = existing(Path(home))
    standings = _standings(at, config)
    if client is None:
        if len(standings.clients) != 1:
            raise InvalidInput(f"There are {len(standings.clients)} clients; name one with --client.")
        client = next(iter(standings.clients))
    if client not in standings.clients:
        raise NotFound("client", client, "See which there are with: halfpenny client list.")
    arms = dict(standings.terms.class_arms)
    try:
        answer = evaluate(routed_month(read_all(at), client, month), target_of(asked, arms["simple"], arms["complex"]))
    except CannotTell as silent:
        raise InvalidInput(f"{asked} in {month}: {silent}") from None

    def row(what: str, how: str, found: Estimate | None, logged: float | None) -> dict[str, object]:
        said = (None, None, None) if found is None else (found.mean, found.low, found.high)
        shown = [None if value is None else round(value, 6) for value in (*said, logged)]
        return {
            "figure": what,
            "estimate": how,
            **dict(zip(("mean", "low_95", "high_95", "as_it_ran"), shown, strict=True)),
        }

    total, count = answer.logged_cost_usd * answer.tickets, answer.tickets
    show(
        [
            row("cost_usd", "doubly robust", answer.cost_robust.times(count), total),
            row("cost_usd", "self-normalised", answer.cost_snips.times(count), total),
            row("quality", "doubly robust", answer.quality_robust, answer.logged_quality),
            row("quality", "self-normalised", answer.quality_snips, answer.logged_quality),
        ],
        form,
    )
    say(
        f"{count} tickets, {answer.rated} rated; they hold as much as {answer.effective:.0f} and {answer.rated_effective:.0f} "
        f"of the asked policy's. {answer.unsupported:.1%} of its choices were never possible."
    )


def _terms(home: Home, config: Path | None) -> Terms:
    from router.config import load, terms_of  # noqa: PLC0415

    return terms_of(load(config or home.config, os.environ))


def _standings(home: Home, config: Path | None) -> Standings:
    """Where clients stand now, from what was kept and the events since."""
    from ledger.segments import read_all  # noqa: PLC0415
    from router.standing import Standings as Fresh  # noqa: PLC0415
    from router.standing_folds import apply  # noqa: PLC0415
    from router.standing_home import load as kept  # noqa: PLC0415

    terms = _terms(home, config)
    found = kept(home, terms) or Fresh(terms)
    for event in read_all(home, after=found.position):
        apply(found, event)
    return found
