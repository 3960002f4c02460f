"""Building a report: read the month, compose it, render it, put the revision in place.

A revision is a directory that appears whole, by rename, and never changes. Whether a new one is
needed is told by report.json alone: the same facts make the same bytes, so building again
finds the revision it made before. Nothing is written but below HOME/reports (and `out_dir`), and
no event is appended; whoever asked appends report.issued.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import msgspec

from ledger.disk import DIRECTORY_MODE, FILE_MODE, REAL
from ledger.errors import InvalidInput, NoLongerHere
from ledger.home import Home, existing
from ledger.manifest import Dropped
from ledger.store import state_as_of
from reports import model
from reports.charts import PAPER, SCREEN
from reports.compose import compose
from reports.errors import Altered
from reports.facts import MonthFacts
from reports.focus import as_focus
from reports.html import html
from reports.items import items
from reports.lines import as_parquet
from reports.look import Look, look_of
from reports.model import Report, sha256
from reports.month import read_month
from reports.page import page
from reports.pdf import pdf
from reports.pictures import pictures
from reports.places import directory_of, revisions
from reports.settings import of_home
from reports.tables import as_csv
from reports.warehouse import dropped_from
from reports.words import LANGUAGES
from reports.workbook import as_xlsx

FILES = (
    *("report.json", "report.html", "report.pdf", "report.csv", "report.xlsx", "focus.csv", "lines.parquet"),
    "manifest.json",
)
ATTEMPTS = 20  # other processes that may build the same month at once


@dataclass(frozen=True, slots=True)
class Print:
    """How a report is written: by whom, in which language, in which look."""

    prepared_by: str
    language: str
    look: Look


@dataclass(frozen=True, slots=True)
class BuiltReport:
    """A revision in place. Shapes: `paths` by file name; `is_new` false when it was there already."""

    report: Report
    directory: Path
    paths: Mapping[str, Path]
    up_to_sequence: int
    report_sha256: str
    is_new: bool


def build(
    home: Path,
    client: str,
    period: str,
    *,
    out_dir: Path | None = None,
    prepared_by: str = "",
    language: str | None = None,
    config: Path | None = None,
    as_of: datetime | None = None,
) -> BuiltReport:
    """The report of a client's month, built or found; with `out_dir` its files are copied there too.

    Who prepared it and how it looks is the section [reports] of the home's configuration, or of `config`, unless `prepared_by` says who. Another `language` than
    the client's is a translation: the same revision and figures, written to `out_dir` alone. `as_of` a moment it is the report that
    would have been built then, the revisions of then before it, written to `out_dir` alone.
    Errors: NotAHome, NotFound for the client, BadPeriod, NoRate, Damage, DoesNotRender, Altered, InvalidInput; OSError.
    """
    if language is not None and (out_dir is None or language not in LANGUAGES):
        raise InvalidInput(f"A report in {language!r} needs a directory (-o) and one of {', '.join(LANGUAGES)}.")
    at = existing(home).under(config)
    settings = of_home(at)
    how = Print(prepared_by or settings.prepared_by, settings.language_of(client), look_of(at, settings))
    place = directory_of(at, client, period)
    gone = dropped_from(at)
    if as_of is not None:
        return _as_known(at, client, period, as_of, how, out_dir)
    if gone is not None and period <= gone.period:
        return _still_there(place, client, period, gone, language, out_dir)
    facts = read_month(home, client, period)
    if (
        gone is not None
        and facts.closed
        and (told := _last(place)) is not None
        and told.up_to_sequence == facts.chain.sequence
    ):
        # It looks back on months that are no longer here.
        return _still_there(place, client, period, gone, language, out_dir)
    for _ in range(ATTEMPTS):
        built = _found(place, facts, how) or _made(place, facts, how)
        if built is not None:
            if language not in (None, built.report.language):
                _translate(built, facts, replace(how, language=str(language)), Path(str(out_dir)))
            elif out_dir is not None:
                _copy(built, out_dir)
            return built
    raise Altered(place)


def _as_known(home: Home, client: str, period: str, moment: datetime, how: Print, out_dir: Path | None) -> BuiltReport:
    """The report of a moment: a revision that was there then, or the one that would have come next. Errors: InvalidInput, NoLongerHere."""
    if out_dir is None:
        raise InvalidInput("A report of what was known then is no revision and needs a directory: -o DIR.")
    facts, place = read_month(home.path, client, period, moment), directory_of(home, client, period)
    issued = state_as_of(home, moment).issued.get((client, period))
    last = 0 if issued is None else issued.revision
    if (built := _found(place, facts, how, last)) is not None:
        _copy(built, out_dir)
        return built
    report = _report(place, facts, last + 1, how)
    files = rendered(report, facts, how.look)
    out_dir.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (out_dir / name).write_bytes(content)
    return _built(report, out_dir, facts.chain.sequence, sha256(files["report.json"]), is_new=False)


def _last(place: Path) -> BuiltReport | None:
    """The latest revision as it was built, whatever the events say now. Errors: Altered."""
    known = revisions(place)
    if not known:
        return None
    directory = place / f"r{known[-1]}"
    kept = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    for name, digest in kept["files"].items():
        if sha256((directory / name).read_bytes()) != digest:
            raise Altered(directory / name)
    written = (directory / "report.json").read_bytes()
    return _built(model.read(written), directory, kept["up_to_sequence"], sha256(written), is_new=False)


def _still_there(
    place: Path, client: str, period: str, gone: Dropped, language: str | None, out_dir: Path | None
) -> BuiltReport:
    """The revision that was issued, of a month whose events were dropped. Errors: NoLongerHere; Altered."""
    built = _last(place)
    if built is None or language not in (None, built.report.language):
        raise NoLongerHere(f"The report of {client} for {period}" + (f" in {language!r}" if built else ""), gone.period)
    if out_dir is not None:
        _copy(built, out_dir)
    return built


def _report(place: Path, facts: MonthFacts, revision: int, how: Print) -> Report:
    """The report as this revision of it; what changed is told against the one before."""
    before = _before(place, revision)
    return compose(facts, prepared_by=how.prepared_by, revision=revision, language=how.language, before=before)


def _before(place: Path, revision: int) -> Report | None:
    """The revision before; None when there is none, or it is of a shape that is no longer read."""
    try:
        return model.read((place / f"r{revision - 1}" / "report.json").read_bytes())
    except (FileNotFoundError, msgspec.ValidationError):
        return None


def _translate(built: BuiltReport, facts: MonthFacts, how: Print, out_dir: Path) -> None:
    report = _report(built.directory.parent, facts, built.report.revision, how)
    out_dir.mkdir(parents=True, exist_ok=True)
    for name, content in rendered(report, facts, how.look).items():
        (out_dir / name).write_bytes(content)


def _found(place: Path, facts: MonthFacts, how: Print, through: int | None = None) -> BuiltReport | None:
    """The latest revision, of all or of those up to one, when it is the report of these facts."""
    known = [one for one in revisions(place) if through is None or one <= through]
    if not known:
        return None
    directory = place / f"r{known[-1]}"
    report = _report(place, facts, known[-1], how)
    written = model.written(report)
    kept = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    if kept["files"]["report.json"] != sha256(written):
        return None
    for name, digest in kept["files"].items():
        if sha256((directory / name).read_bytes()) != digest:
            raise Altered(directory / name)
    return _built(report, directory, facts.chain.sequence, sha256(written), is_new=False)


def _made(place: Path, facts: MonthFacts, how: Print) -> BuiltReport | None:
    """A new revision; None when another process took its number first."""
    revision = max(revisions(place), default=0) + 1
    report = _report(place, facts, revision, how)
    files = rendered(report, facts, how.look)
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


def rendered(report: Report, facts: MonthFacts, look: Look) -> dict[str, bytes]:
    """Every file of a revision by name; the manifest last, over the others."""
    written, words, lines = model.written(report), page(report), items(facts)
    files = {
        "report.json": written,
        "report.html": html(words, pictures(report, look.painted(SCREEN)), look),
        "report.pdf": pdf(
            words,
            pictures(report, look.painted(PAPER)),
            author=report.prepared_by,
            date=facts.period.end,
            attached=written,
            look=look,
        ),
        "report.csv": as_csv(report),
        "report.xlsx": as_xlsx(report, lines, created=facts.period.end),
        "focus.csv": as_focus(report, lines),
        "lines.parquet": as_parquet(report, lines),
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
