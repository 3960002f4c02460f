"""A revision: whole or not there, the same bytes from the same facts, and the same figures in every format."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal as D
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pypdf import PdfReader

import schemas
from ledger.errors import BadPeriod, NotAHome, NotFound
from ledger.home import Home, create
from ledger.store import Ledger
from reports import model
from reports.build import FILES, BuiltReport, build
from reports.charts import SCREEN
from reports.display import Style
from reports.errors import Altered
from reports.html import html
from reports.page import page
from reports.pictures import pictures
from reports.places import directory_of, revisions
from reports.tables import HEAD
from tests.made_home import EPOCH, MEDIUM, Book, demo_month, write_home

NASTY = '=cmd|"/C calc"!A0 <script>alert(1)</script> #read("/etc/passwd") $x$ *b* ]] \\'


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    b = Book()
    b.client(NASTY)
    b.baseline()
    b.budget("60")
    demo_month(b, "2025-10", a_day=15)
    return write_home(tmp_path_factory.mktemp("home"), b.events)


@pytest.fixture(scope="module")
def built(home: Path) -> BuiltReport:
    return build(home, "acme", "2025-10", prepared_by="Ada & Co")


def pdf_text(built: BuiltReport) -> str:
    pages = PdfReader(built.paths["report.pdf"]).pages
    return re.sub(r"\s+", " ", " ".join(one.extract_text() for one in pages))


def test_a_revision_holds_every_file_and_nothing_else(built: BuiltReport, home: Path) -> None:
    assert sorted(entry.name for entry in built.directory.iterdir()) == sorted(FILES)
    assert [entry.name for entry in (home / "reports" / "acme" / "2025-10").iterdir()] == ["r1"]
    assert built.is_new
    assert {oct(path.stat().st_mode)[-3:] for path in built.paths.values()} == {"600"}


def test_building_again_finds_the_same_revision(built: BuiltReport, home: Path) -> None:
    again = build(home, "acme", "2025-10", prepared_by="Ada & Co")

    assert (again.is_new, again.directory, again.report_sha256) == (False, built.directory, built.report_sha256)
    assert again.report == built.report


def test_the_same_facts_make_the_same_bytes(built: BuiltReport, home: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "copy"
    shutil.copytree(home, elsewhere)
    shutil.rmtree(elsewhere / "reports")

    again = build(elsewhere, "acme", "2025-10", prepared_by="Ada & Co")

    assert again.is_new
    assert {n: p.read_bytes() for n, p in again.paths.items()} == {n: p.read_bytes() for n, p in built.paths.items()}


def test_new_facts_make_the_next_revision_and_leave_the_old_one(tmp_path: Path) -> None:
    b = Book()
    b.client()
    b.baseline()
    at = b.prices.by_model[MEDIUM][0].valid_from.replace(month=10)
    b.call("generation", MEDIUM, at, (1000, 100))
    one = build(write_home(tmp_path, b.events), "acme", "2025-10")
    first = one.paths["report.json"].read_bytes()
    b.call("generation", MEDIUM, at, (1000, 100))
    two = build(write_home(tmp_path, b.events), "acme", "2025-10")

    assert (one.report.revision, two.report.revision, two.is_new) == (1, 2, True)
    assert one.paths["report.json"].read_bytes() == first
    assert revisions(two.directory.parent) == (1, 2)


def test_several_builders_at_once_make_one_revision(home: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "copy"
    shutil.copytree(home, elsewhere, ignore=shutil.ignore_patterns("reports"))

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: build(elsewhere, "acme", "2025-10"), range(4)))

    assert {one.directory.name for one in found} == {"r1"}
    assert sum(one.is_new for one in found) == 1
    assert [entry.name for entry in (elsewhere / "reports" / "acme" / "2025-10").iterdir()] == ["r1"]


def test_an_altered_file_is_named_and_not_served(home: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "copy"
    shutil.copytree(home, elsewhere, ignore=shutil.ignore_patterns("reports"))
    one = build(elsewhere, "acme", "2025-10")
    one.paths["report.csv"].chmod(0o600)
    one.paths["report.csv"].write_bytes(b"nothing was spent")

    with pytest.raises(Altered, match=r"report\.csv is not what was built"):
        build(elsewhere, "acme", "2025-10")


def test_the_files_are_copied_where_they_are_wanted(built: BuiltReport, home: Path, tmp_path: Path) -> None:
    build(home, "acme", "2025-10", prepared_by="Ada & Co", out_dir=tmp_path / "out" / "here")

    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "here").iterdir()} == {
        name: path.read_bytes() for name, path in built.paths.items()
    }


def test_the_manifest_vouches_for_every_file(built: BuiltReport) -> None:
    manifest = json.loads(built.paths["manifest.json"].read_text(encoding="utf-8"))

    assert manifest["files"] == {name: model.sha256(built.paths[name].read_bytes()) for name in FILES[:-1]}
    assert (manifest["up_to_sequence"], manifest["source"]) == (built.up_to_sequence, "homes/made")
    assert re.fullmatch(r"[0-9a-f]{32}", manifest["head_hash"])


def test_report_json_is_valid_and_reads_back(built: BuiltReport) -> None:
    content = built.paths["report.json"].read_bytes()
    schema = json.loads((Path(schemas.__file__).parent / "report.v1.json").read_text(encoding="utf-8"))

    assert list(Draft202012Validator(schema).iter_errors(json.loads(content))) == []
    assert model.read(content) == built.report


def test_the_published_schema_is_the_codes() -> None:
    schema = json.loads((Path(schemas.__file__).parent / "report.v1.json").read_text(encoding="utf-8"))

    assert {"$ref": schema["$ref"], "$defs": schema["$defs"]} == msgspec.json.schema(model.Report)
    Draft202012Validator.check_schema(schema)


def test_no_figure_of_report_json_is_a_double(built: BuiltReport) -> None:
    found: list[object] = []
    json.loads(built.paths["report.json"].read_bytes(), parse_float=found.append)

    assert found == []


def test_every_headline_figure_is_the_same_in_all_formats(built: BuiltReport) -> None:
    report, style = built.report, Style("USD")
    assert report.totals.baseline is not None
    assert report.totals.saved is not None
    money = [report.totals.spend, report.totals.baseline, report.totals.saved, report.accepted_reply.total]
    shares = [report.totals.saved_share, report.quality.edit_rate]
    wanted = [*map(style.money, money), *map(style.percent, shares), style.count(report.totals.tickets)]
    web = built.paths["report.html"].read_text(encoding="utf-8")
    paper = pdf_text(built)
    rows = list(csv.DictReader(io.StringIO(built.paths["report.csv"].read_text(encoding="utf-8"))))

    assert [figure for figure in wanted if figure not in web] == []
    assert [figure for figure in wanted if figure not in paper] == []
    last = rows[-1]
    assert [last["spend"], last["baseline"], last["saved"]] == [
        f"{amount:f}" for amount in money[:3] if amount is not None
    ]


def test_every_line_of_the_bill_is_printed_in_both_documents(built: BuiltReport) -> None:
    web, paper, style = built.paths["report.html"].read_text(encoding="utf-8"), pdf_text(built), Style("USD")

    for line in built.report.lines:
        assert style.money(line.spend) in web, line.key
        assert style.money(line.spend) in paper, line.key


def test_the_csv_adds_up(built: BuiltReport) -> None:
    rows = list(csv.DictReader(io.StringIO(built.paths["report.csv"].read_text(encoding="utf-8"))))
    by_record = {kind: [row for row in rows if row["record"] == kind] for kind in ("day", "day_total", "line", "total")}
    total = by_record["total"][0]

    assert tuple(rows[0]) == HEAD
    for kind in ("day", "day_total", "line"):
        assert sum(D(row["cost_usd"]) for row in by_record[kind]) == D(total["cost_usd"]), kind
    assert sum(D(row["spend"]) for row in by_record["line"]) == D(total["spend"])
    assert sum(D(row["baseline_usd"] or 0) for row in by_record["day_total"]) == D(total["baseline_usd"])


def test_a_hostile_name_stays_text_in_every_format(built: BuiltReport) -> None:
    web = built.paths["report.html"].read_text(encoding="utf-8")

    assert "<script" not in web
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in web
    assert '<script>alert(1)</script> #read("/etc/passwd") $x$ *b* ]] \\' in pdf_text(built)


def test_the_page_asks_nobody_for_anything(built: BuiltReport) -> None:
    web = built.paths["report.html"].read_text(encoding="utf-8")
    bare = web.replace("http://www.w3.org/2000/svg", "")  # a name, never fetched

    assert re.findall(r"https?://|\bsrc=|@import|<link|<script|<iframe|\bhref=|\son\w+=|\bstyle=", bare) == []
    assert "default-src &#39;none&#39;" in web or "default-src 'none'" in web
    assert re.search(r"style-src 'sha256-[A-Za-z0-9+/=]{44}'", web)


def test_the_pdf_is_archival_tagged_and_carries_its_figures(built: BuiltReport) -> None:
    reader = PdfReader(built.paths["report.pdf"])
    metadata = reader.xmp_metadata
    assert metadata is not None

    assert reader.attachments["report.json"] == [built.paths["report.json"].read_bytes()]
    assert (metadata.pdfaid_part, metadata.pdfaid_conformance) == ("3", "A")
    assert reader.trailer["/Root"]["/MarkInfo"]["/Marked"]  # type: ignore[index]
    assert 2 <= len(reader.pages) <= 4
    assert all("Inter" in str(font) for one in reader.pages for font in _fonts(one))


def _fonts(one: object) -> list[str]:
    fonts = one["/Resources"].get("/Font", {})  # type: ignore[index]
    return [fonts[name].get_object()["/BaseFont"] for name in fonts]


@pytest.mark.parametrize("client", ["../../etc", "..", ".", "a/b", "a\\b", "nul\u0000", "%2e%2e", "~", "C:"])
def test_whatever_a_client_is_called_its_reports_lie_one_name_below(client: str, home: Path) -> None:
    place = directory_of(Home(home), client, "2025-10")

    assert place.parent.parent == home / "reports"
    assert place.parent.name not in (".", "..")
    assert "\u0000" not in place.parent.name


def test_asked_wrongly_nothing_is_written(home: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no client 'nobody'"):
        build(home, "nobody", "2025-10")
    with pytest.raises(BadPeriod):
        build(home, "acme", "2025-13")
    with pytest.raises(NotAHome):
        build(tmp_path, "acme", "2025-10")
    assert not (home / "reports" / "nobody").exists()
    assert list(tmp_path.iterdir()) == []


def test_every_chart_of_the_page_is_drawn(built: BuiltReport) -> None:
    words = page(built.report)
    named = {block.chart for section in words.sections for block in section.blocks if block.kind == "chart"}

    drawn = pictures(built.report, SCREEN)

    assert named == set(drawn) == {"daily", "waterfall", "weeks", "budget"}
    assert html(words, drawn) == built.paths["report.html"].read_bytes()


def test_a_month_of_nothing_and_one_of_little_render_too(tmp_path: Path) -> None:
    b = Book()
    b.client(hourly=None)
    at = b.prices.by_model[MEDIUM][0].valid_from.replace(month=10)
    b.call("generation", MEDIUM, at, (0, 0))
    home = write_home(tmp_path, b.events)

    assert "Your support desk received 1 reply for $0.00." in pdf_text(build(home, "acme", "2025-10"))
    assert "No call was made in this month" in pdf_text(build(home, "acme", "2025-11"))


def test_a_real_home_gives_the_report_of_the_same_events(tmp_path: Path) -> None:
    """Half of it sealed to Parquet, half of it in the live journal, open in a writer."""
    b = Book()
    b.client(hourly="24")
    b.baseline()
    b.budget("60")
    demo_month(b, "2025-10", a_day=6)
    real = create(tmp_path / "real", "").path
    half = len(b.events) // 2
    ledger = Ledger.open(real, clock=lambda: EPOCH)
    try:
        for event in b.events[:half]:
            ledger.append_now(event)
        ledger.seal()
        for event in b.events[half:]:
            ledger.append_now(event)

        found = build(real, "acme", "2025-10")
    finally:
        ledger.close()

    made = build(write_home(tmp_path / "made", b.events), "acme", "2025-10")
    assert found.report == made.report
    assert found.report_sha256 == made.report_sha256
    assert found.paths["report.pdf"].read_bytes() == made.paths["report.pdf"].read_bytes()
