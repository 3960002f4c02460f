"""The front door: one command out of three rooms, and the service with the reports' job in it. No logic of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger import cli as ledger_commands
from ledger import cli_closing as closing_commands
from ledger import cli_hours as hours_commands
from ledger import cli_import as import_commands
from ledger import cli_keeping as keeping_commands
from ledger import cli_log as log_commands
from ledger import cli_orphans as orphan_commands
from ledger import cli_prices as price_commands
from ledger.errors import InvalidInput
from ledger.output import DEFAULT_HOME, HomeOption, run, say
from reports import commands as report_commands
from router import cli as router_commands
from router import cli_policy as policy_commands
from router.remote import post_events, post_seal

if TYPE_CHECKING:
    from ledger.events import Event
    from ledger.home import Home
    from ledger.projections import State
    from ledger.store import Ledger
    from router.doors import Route
    from router.jobs import Job

KEEPING_EVERY_S = 3600.0  # how often it is looked for a month that wants its signed head, and for texts that expired

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Cost and quality of LLM calls, event by event. Start with: halfpenny demo",
)


def issue(context: typer.Context, home: Home, event: Event) -> None:
    """Record that a report was built or delivered."""
    ledger_commands.write(context, home, event)


app.add_typer(router_commands.app)
app.add_typer(ledger_commands.app)
app.add_typer(price_commands.app)
app.add_typer(hours_commands.app)
app.add_typer(policy_commands.app)
app.add_typer(import_commands.app)
app.add_typer(log_commands.app)
app.add_typer(orphan_commands.app)
app.add_typer(keeping_commands.app)
app.add_typer(closing_commands.app)
app.add_typer(report_commands.commands(issue))


@app.command(rich_help_panel=router_commands.PANEL)
def serve(
    home: HomeOption = DEFAULT_HOME,
    config: router_commands.ConfigOption = None,
    port: router_commands.PortOption = None,
    clock: router_commands.ClockOption = None,
) -> None:
    """Serve the gateway and build each client's report when its month is over, until stopped.

    Like: GLOBAL_API_KEY=… halfpenny serve --home H
    """
    from ledger.home import existing  # noqa: PLC0415 - --help need not load it
    from reports.settings import of_home  # noqa: PLC0415

    at = Path(home)
    of_home(existing(at).under(config))  # a wrong key of [reports] is refused now, and not when the month is over
    code = router_commands.run_service(
        at,
        config,
        port=port,
        clock=clock,
        jobs=_report_job(at, config),
        routes=lambda ledger: report_routes(at, ledger.state),
    )
    raise typer.Exit(code)


def report_routes(path: Path, state: State) -> tuple[Route, ...]:
    """GET /v1/reports and the files below it: a client's key sees its own, an admin's all."""
    from ledger.home import existing  # noqa: PLC0415 - --help need not load it
    from reports.http import Reports  # noqa: PLC0415
    from router.doors import Route  # noqa: PLC0415

    pull, who = Reports(existing(path), state), ("client", "admin")
    return (
        Route("GET", "/v1/reports", lambda request, visit: pull.listed(request, visit.caller.client_id), who),
        Route(
            "GET", "/v1/reports/{client}/{file}", lambda request, visit: pull.file(request, visit.caller.client_id), who
        ),
    )


def _report_job(path: Path, config: Path | None) -> router_commands.Jobs:
    def jobs(ledger: Ledger) -> Sequence[Job]:
        from ledger import content  # noqa: PLC0415
        from ledger.errors import HomeError  # noqa: PLC0415
        from ledger.heads import is_due  # noqa: PLC0415
        from ledger.home import existing  # noqa: PLC0415 - --help need not load it
        from reports.couriers import Couriers  # noqa: PLC0415
        from reports.job import EVERY_S, build_due  # noqa: PLC0415
        from router.app import now_utc  # noqa: PLC0415
        from router.jobs import Job  # noqa: PLC0415

        home = existing(path).under(config)
        couriers = Couriers(home, os.environ, now_utc)

        async def build() -> None:
            try:
                await build_due(home, ledger.state, now_utc, ledger.append)
            finally:  # what was built before is delivered whatever failed now
                await couriers.deliver_due(ledger.state, ledger.append)

        async def sign() -> None:
            # In a process of its own, since it reads segments; it writes through this service like any command.
            if is_due(ledger.state, now_utc()):
                words = (sys.executable, "-m", "halfpenny", "head", "sign", "--home", str(path))
                child = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.PIPE)
                _, said = await child.communicate()
                if child.returncode:
                    raise HomeError(said.decode(errors="replace").strip())

        async def expire() -> None:
            await asyncio.to_thread(content.expire, home, now_utc())

        return (
            Job("reports", EVERY_S, build),
            Job("heads", KEEPING_EVERY_S, sign),
            Job("content", KEEPING_EVERY_S, expire),
        )

    return jobs


@app.command(rich_help_panel=router_commands.PANEL)
def demo(
    context: typer.Context,
    home: HomeOption = "demo-home",
    month: Annotated[
        str, typer.Option(metavar="YYYY-MM", help="Which month's prices: 2025-10 or 2026-10.")
    ] = "2025-10",
    seed: Annotated[int, typer.Option(help="The same seed gives the same figures.")] = 7,
    policy: Annotated[str, typer.Option(help="label, fixed or paced.")] = "label",
    budget: Annotated[str | None, typer.Option(metavar="USD", help="The month's hard cap.")] = None,
) -> None:
    """One month of real support tickets through the real gateway against a simulated provider, and the client's report."""
    from reports.build import build  # noqa: PLC0415
    from reports.cli import described  # noqa: PLC0415
    from reports.job import issued  # noqa: PLC0415
    from reports.summary import lines_of  # noqa: PLC0415

    try:
        from router import demo_run  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        if missing.name != "openai":
            raise
        raise InvalidInput(
            "The demo's customer needs the library openai. Install it with: pip install 'halfpenny[demo]'."
        ) from None
    stage = demo_run.prepare(Path(home), month, seed, policy=policy, budget_usd=budget or demo_run.BUDGET_USD)
    say(
        f"{len(stage.tickets)} tickets of {month}: simulated provider and gateway on loopback, ledger in {stage.home.path}"
    )
    with demo_run.progress(len(stage.tickets)) as on_ticket:
        sent = demo_run.perform(stage, seed, on_ticket)
    demo_run.finish(stage, month)
    built = build(stage.home.path, demo_run.CLIENT, month)
    issue(context, stage.home, issued(described(built), demo_run.moment_after(month)))
    for line in (*lines_of(built.report), *demo_run.checked(stage), *sent.refusals):
        print(line)
    for name, path in built.paths.items():
        if name != "manifest.json":
            print(f"  {path}")
    say(f"\nNext:  halfpenny query 'FROM savings' --home {home}")
    say(f"       halfpenny verify --home {home}   halfpenny status --home {home}   halfpenny events tail --home {home}")


def main() -> None:
    """The console script."""
    doors = ledger_commands.Doors(post_events=post_events, post_seal=post_seal)
    run(lambda: app(obj=doors))


if __name__ == "__main__":
    main()
