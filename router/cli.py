"""The router's commands: making a home, serving, and the simulated provider."""

from __future__ import annotations

import gc
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from ledger.home import Home, create, existing
from ledger.output import DEFAULT_HOME, HomeOption, say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ledger.store import Ledger
    from router.config import Config
    from router.doors import Route
    from router.jobs import Job

Jobs: TypeAlias = "Callable[[Ledger], Sequence[Job]]"

ON_SEALED = "router.standing_home:keep"  # by its name: loading it takes as long as all that a start waits for

app = typer.Typer(no_args_is_help=True, add_completion=False)
PANEL = "Running"
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Default: halfpenny.toml in the home.")
]
PortOption = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Instead of the configured one; 0 takes a free one.")
]
ClockOption = Annotated[
    str | None,
    typer.Option(help="wall, or request: a call's moment is its x-halfpenny-time header, to replay a month."),
]


@app.command(rich_help_panel=PANEL)
def init(
    home: HomeOption = DEFAULT_HOME,
    provider_url: Annotated[str | None, typer.Option(help="The provider's OpenAI-compatible address.")] = None,
    provider_key_env: Annotated[str | None, typer.Option(help="The variable that holds the provider's key.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Where the service listens.")] = None,
) -> None:
    """Make a home: its configuration, its secrets, and the shipped prices and baseline as its first events."""
    from router.config import default_text  # noqa: PLC0415 - --help need not load it

    made = make_home(Path(home), default_text(provider_url=provider_url, key_env=provider_key_env, port=port))
    say(f"{made.path} is ready. Next: halfpenny client add acme --currency EUR --zone Europe/Berlin --home {home}")


def make_home(path: Path, config: str) -> Home:
    """A new home with the shipped price book and baseline recorded. Errors: Conflict, HomeNotWritable."""
    from importlib.resources import files  # noqa: PLC0415

    from ledger import admin  # noqa: PLC0415
    from ledger.cli import stamp  # noqa: PLC0415
    from ledger.prices import read_book  # noqa: PLC0415
    from ledger.store import Ledger  # noqa: PLC0415

    home = create(path, config)
    ledger = Ledger.open(home.path, clock=lambda: datetime.now(UTC))
    try:
        book = read_book((files("ledger") / "pricebook.toml").read_text(encoding="utf-8"))
        ledger.append_now(*(admin.price_listed(stamp(), price) for price in book))
        old_bot = next(price for price in book if price.model == admin.BASELINE_MODEL)
        ledger.append_now(admin.baseline_set(stamp(), admin.DEFAULT_BASELINE, old_bot))
    finally:
        ledger.close()
    return home


def serve(
    home: HomeOption = DEFAULT_HOME, config: ConfigOption = None, port: PortOption = None, clock: ClockOption = None
) -> None:
    """Serve the gateway alone, without the reports' job: what `python -m router serve` does."""
    raise typer.Exit(run_service(Path(home), config, port=port, clock=clock))


def run_service(
    path: Path,
    config_file: Path | None,
    *,
    port: int | None = None,
    clock: str | None = None,
    jobs: Jobs | None = None,
    routes: Callable[[Ledger], Sequence[Route]] | None = None,
) -> int:
    """The whole service; returns its exit code. Errors: HomeError, BadConfig, Damage."""
    from ledger.sealer import Ahead  # noqa: PLC0415

    gc.disable()  # what a start loads stays to the end: walking over it while it grows is a tenth of the start
    os.umask(0o077)  # what is written under names of its own asks for its mode; this is for what libraries write
    home = existing(path)
    environment = dict(os.environ)
    for name, value in (("HALFPENNY_SERVER_PORT", port), ("HALFPENNY_SERVER_CLOCK", clock)):
        if value is not None:
            environment[name] = str(value)
    with Ahead(home, on_sealed=ON_SEALED) as ahead:  # it loads DuckDB while this loads the rest
        from router.config import load  # noqa: PLC0415
        from router.serving import run  # noqa: PLC0415

        config: Config = load(config_file or home.config, environment)
        return run(home, config, environment, ahead=ahead, jobs=jobs or (lambda _: ()), more=routes or (lambda _: ()))


@app.command(rich_help_panel=PANEL)
def simulate(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8485,
    log: Annotated[
        Path | None, typer.Option(help="Where to write what would be billed, a JSON line a request.")
    ] = None,
    seed: int = 7,
    mode: Annotated[
        str, typer.Option(help="fast answers at once and states the duration; real takes its time.")
    ] = "fast",
    chunk_words: Annotated[int, typer.Option(min=1, help="Words a chunk of a streamed reply.")] = 15,
    fault: Annotated[list[str] | None, typer.Option(help="NAME=SHARE[@MODEL], like 429=0.01; may be repeated.")] = None,
) -> None:
    """Run the simulated provider: OpenAI-compatible, seeded, with its own bill."""
    from router.simulator import main as simulator  # noqa: PLC0415

    arguments = ["--port", str(port), "--seed", str(seed), "--mode", mode, "--chunk-words", str(chunk_words)]
    arguments += [] if log is None else ["--log", str(log)]
    for stated in fault or ():
        arguments += ["--fault", stated]
    raise typer.Exit(simulator(arguments))
