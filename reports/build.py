"""Building a report: read the month, compose it, render it, put the revision in place.

A revision is a directory that appears whole, by rename, and never changes. Whether a new one is
needed is told by report.json alone: the same facts make the same bytes, so building again
finds the revision it made before. Nothing is written but below HOME/reports (and `out_dir`), and
no event is appended; whoever asked appends report.issued.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ledger.disk import DIRECTORY_MODE, FILE_MODE, REAL
from ledger.home import Home, existing
from reports import model
from reports.charts import PAPER, SCREEN
from reports.compose import compose
from reports.errors import Altered
from reports.facts import MonthFacts
from reports.html import html
from reports.model import Report, sha256
from reports.month import read_month
from reports.page import page
from reports.pdf import pdf
from reports.pictures import pictures
from reports.tables import as_csv

FILES = ("report.json", "report.html", "report.pdf", "report.csv", "manifest.json")
_REVISION = re.compile(r"r([1-9][0-9]{0,5})")
ATTEMPTS = 20  # other processes that may build the same month at once


@dataclass(frozen=True, slots=True)
class BuiltReport:
    """A revision in place. Shapes: `paths` by file name; `is_new` false when it was there already."""

    report: Report
    directory: Path
    paths: Mapping[str, Path]
    up_to_sequence: int
    report_sha256: str
    is_new: bool


def build(home: Path, client: str, period: str, *, out_dir: Path | None = None, prepared_by: str = "") -> BuiltReport:
    """The report of a client's month, built or found; with `out_dir` its files are copied there too.

    Errors: NotAHome, NotFound for the client, BadPeriod, NoRate, Damage, DoesNotRender, Altered; OSError.
    """
    facts = read_month(home, client, period)
    place = directory_of(existing(home), client, period)
    for _ in range(ATTEMPTS):
        built = _found(place, facts, prepared_by) or _made(place, facts, prepared_by)
        if built is not None:
            if out_dir is not None:
                _copy(built, out_dir)
            return built
    raise Altered(place)


def directory_of(home: Home, client: str, period: str) -> Path:
    """Where a month's revisions lie. Shapes: whatever a client is called, its directory is one name below HOME/reports."""
    name = quote(client, safe="")
    return home.reports / (name.replace(".", "%2E") if name.startswith(".") else name) / period


def revisions(place: Path) -> tuple[int, ...]:
    """The revisions of a month, in order; none when it was never built."""
    if not place.is_dir():
        return ()
    return tuple(sorted(int(found[1]) for entry in place.iterdir() if (found := _REVISION.fullmatch(entry.name))))


def _found(place: Path, facts: MonthFacts, prepared_by: str) -> BuiltReport | None:
    """The latest revision, when it is the report of these facts."""
    known = revisions(place)
    if not known:
        return None
    directory = place / f"r{known[-1]}"
    report = compose(facts, prepared_by=prepared_by, revision=known[-1])
    written = model.written(report)
    kept = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    if kept["files"]["report.json"] != sha256(written):
        return None
    for name, digest in kept["files"].items():
        if sha256((directory / name).read_bytes()) != digest:
            raise Altered(directory / name)
    return _built(report, directory, kept["up_to_sequence"], sha256(written), is_new=False)


def _made(place: Path, facts: MonthFacts, prepared_by: str) -> BuiltReport | None:
    """A new revision; None when another process took its number first."""
    revision = max(revisions(place), default=0) + 1
    report = compose(facts, prepared_by=prepared_by, revision=revision)
    files = rendered(report, facts)
    place.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".building-", dir=place))
    try:
        for name, content in files.items():
            _write(temporary / name, content)
        REAL.sync_dir(temporary)
        directory = place / f"r{revision}"
        try:
            os.rename(temporary, directory)  # fails when the other directory is there, since it is never empty
        except OSError:
            if directory.is_dir():
                return None
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # nothing is left of one that was not put in place
    REAL.sync_dir(place)
    return _built(report, directory, facts.chain.sequence, sha256(files["report.json"]), is_new=True)


def rendered(report: Report, facts: MonthFacts) -> dict[str, bytes]:
    """Every file of a revision by name; the manifest last, over the others."""
    written, words = model.written(report), page(report)
    files = {
        "report.json": written,
        "report.html": html(words, pictures(report, SCREEN)),
        "report.pdf": pdf(
            words, pictures(report, PAPER), author=report.prepared_by, date=facts.period.end, attached=written
        ),
        "report.csv": as_csv(report),
    }
    manifest = {
        "schema": "halfpenny.report.manifest.v1",
        "client_id": report.client.id,
        "period": report.period.name,
        "revision": report.revision,
        "status": report.status,
        "source": facts.chain.source,
        "up_to_sequence": facts.chain.sequence,
        "head_hash": facts.chain.hash,
        "lines_sha256": report.lines_sha256,
        "files": {name: sha256(content) for name, content in files.items()},
    }
    return files | {"manifest.json": json.dumps(manifest, indent=2).encode() + b"\n"}


def _built(report: Report, directory: Path, sequence: int, digest: str, *, is_new: bool) -> BuiltReport:
    return BuiltReport(report, directory, {name: directory / name for name in FILES}, sequence, digest, is_new)


def _write(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _copy(built: BuiltReport, out_dir: Path) -> None:
    out_dir.mkdir(parents=True, exist_ok=True)
    for name, path in built.paths.items():
        shutil.copyfile(path, out_dir / name)
