"""`python -m router`: the gateway alone; the front door adds the reports' job."""

import typer

from ledger.output import run
from router import cli

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.add_typer(cli.app)
app.command(rich_help_panel=cli.PANEL)(cli.serve)
run(app)
