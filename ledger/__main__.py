"""`python -m ledger`: the ledger's commands alone; it cannot reach a running service."""

import typer

from ledger import cli, cli_closing, cli_log, cli_orphans, cli_prices
from ledger.output import run

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.add_typer(cli.app)
app.add_typer(cli_prices.app)
app.add_typer(cli_log.app)
app.add_typer(cli_orphans.app)
app.add_typer(cli_closing.app)
run(app)
