"""The room's own door: python -m reports. Data on stdout, the rest on stderr.

The front door's `halfpenny report` calls the same functions.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ledger.errors import BadPeriod, Damage, HomeError, InvalidInput, LedgerError
from reports.build import BuiltReport, build
from reports.dictionary import views_document
from reports.errors import Altered, NoRate


def described(built: BuiltReport) -> dict[str, object]:
    """What a built report is, for a machine: where its files are, and the headline."""
    report = built.report
    return {
        "client_id": report.client.id,
        "period": report.period.name,
        "revision": report.revision,
        "status": "draft" if report.status == "draft" else "final",
        "stage": report.status,
        "is_new": built.is_new,
        "up_to_sequence": built.up_to_sequence,
        "report_sha256": built.report_sha256,
        "sentence": report.sentence,
        "paths": {name: str(path) for name, path in built.paths.items()},
    }


def exit_code(refused: LedgerError) -> int:
    """1 failed, 2 asked wrongly, 4 does not verify, 5 the home cannot be used."""
    if isinstance(refused, (Damage, Altered)):
        return 4
    if isinstance(refused, HomeError):
        return 5
    return 2 if isinstance(refused, (InvalidInput, BadPeriod, NoRate)) else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        return _build(asked) if asked.command == "build" else _views()
    except LedgerError as refused:
        sys.stderr.write(f"{refused}\n")
        return exit_code(refused)
    except OSError as refused:
        sys.stderr.write(f"{refused.filename}: {refused.strerror}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m reports", description="Reads the ledger and shows it.")
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build", help="build the report of a client's month")
    building.add_argument("client")
    building.add_argument("month", help="YYYY-MM")
    building.add_argument("--home", type=Path, required=True)
    building.add_argument("--config", type=Path, help="another configuration than the home's own")
    building.add_argument("-o", "--out", type=Path, help="copy the files into this directory too")
    building.add_argument("--prepared-by", default="")
    building.add_argument("--language", help="en or de: a translation, into the directory given by -o alone")
    building.add_argument("--format", choices=("table", "json"), default="table")
    commands.add_parser("views", help="print schemas/views.md as the views' own comments say it")
    return parser


def _build(asked: argparse.Namespace) -> int:
    built = build(
        asked.home,
        asked.client,
        asked.month,
        out_dir=asked.out,
        prepared_by=asked.prepared_by,
        language=asked.language,
        config=asked.config,
    )
    if asked.format == "json":
        sys.stdout.write(json.dumps(described(built), indent=2, ensure_ascii=False) + "\n")
        return 0
    sys.stderr.write(built.report.sentence + "\n")
    sys.stdout.write("".join(f"{path}\n" for path in built.paths.values()))
    return 0


def _views() -> int:
    sys.stdout.write(views_document())
    return 0
