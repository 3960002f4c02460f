"""How every command speaks: data on stdout, the rest on stderr, one exit code per kind of trouble.

Exit codes: 0 ok, 1 went wrong, 2 asked wrongly, 3 over budget, 4 does not verify, 5 something
needed is unreachable.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

import typer

from ledger.errors import BudgetSpent, Damage, HomeError, InvalidInput, LedgerError, NotFound, UnpricedModel
from ledger.money import text


class Format(StrEnum):
    """What a command prints its data as."""

    table = "table"
    json = "json"
    csv = "csv"


FormatOption = Annotated[Format, typer.Option("--format", help="How to print the data.")]
HomeOption = Annotated[
    str, typer.Option("--home", envvar="HALFPENNY_HOME", metavar="DIR", help="The home directory of the ledger.")
]
AsOfOption = Annotated[
    str | None,
    typer.Option("--as-of", metavar="MOMENT", help="As it was known then: by what was recorded up to that moment."),
]
DEFAULT_HOME = "halfpenny-home"

_EXITS: tuple[tuple[type[LedgerError], int], ...] = (
    (BudgetSpent, 3),
    (Damage, 4),
    (HomeError, 5),
    (InvalidInput, 2),
    (NotFound, 2),
    (UnpricedModel, 2),
)


def exit_code(trouble: LedgerError) -> int:
    """The exit code of a refusal; a class of another room that is none of these states its own."""
    stated: int | None = getattr(trouble, "exit_code", None)
    return stated if stated is not None else next((code for kind, code in _EXITS if isinstance(trouble, kind)), 1)


def run(app: Callable[[], object]) -> None:
    """Run a command line; a LedgerError is one line on stderr and its exit code.

    Errors: SystemExit, always with the code.
    """
    try:
        app()
    except LedgerError as trouble:
        print(f"halfpenny: {trouble}", file=sys.stderr)
        raise SystemExit(exit_code(trouble)) from None
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has left, as `| head` does
        raise SystemExit(0) from None


def say(line: str) -> None:
    """A line for the person at the terminal, on stderr."""
    print(line, file=sys.stderr)


def show(rows: Sequence[Mapping[str, object]], form: Format = Format.table, *, empty: str = "Nothing yet.") -> None:
    """Print rows on stdout as a table, as JSON or as CSV; all rows have the same keys in the same order."""
    if form is Format.json:
        print(json.dumps(list(rows), indent=1, default=_plain, ensure_ascii=False))
    elif form is Format.csv:
        if rows:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(rows[0].keys())
            writer.writerows([_plain(value) for value in row.values()] for row in rows)
    elif not rows:
        say(empty)
    else:
        _table(rows)


def _plain(value: object, absent: str = "") -> str:
    if isinstance(value, Decimal):
        return text(value)
    return absent if value is None else str(value)


def _table(rows: Sequence[Mapping[str, object]]) -> None:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - a tenth of a second that --help need not wait for
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name, value in rows[0].items():
        numeric = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
        table.add_column(name, justify="right" if numeric or name.endswith(("_usd", "_s")) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_plain(value, "—")) for value in row.values()))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
