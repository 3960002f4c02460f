"""One month in every format: the same headline, lines that add up, and texts that stay texts."""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
import zipfile
from decimal import Decimal as D
from pathlib import Path
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest

from ledger import events as e
from ledger.money import round_half_up
from reports.build import FILES, BuiltReport, build
from reports.focus import COLUMNS
from tests.made_home import EPOCH, Book, demo_month, write_home

VALIDATOR = "HALFPENNY_FOCUS_VALIDATOR"  # path of focus-validator 1.0.0, in a virtual environment of its own
# What version 1.0.0 looks for under names that FOCUS never had, and a column of 0.5 one of its rules reads.
MISNAMED = {
    "InvoiceIssuer": "InvoiceIssuerName",
    "Provider": "ProviderName",
    "Publisher": "PublisherName",
    "ResourceID": "ResourceId",
    "ChargeType": "ChargeCategory",
}
NASTY = '=HYPERLINK("http://x","y")'
_XML = {"s": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}


def home_of(directory: Path, currency: str = "EUR") -> Path:
    b = Book()
    b.client(NASTY, currency=currency)
    b.baseline()
    b.budget("60")
    if currency != "USD":
        b.add(
            e.FxRecorded(
                id=b.new_id(),
                subject="EUR/USD",
                time=EPOCH,
                base_currency="EUR",
                quote_currency="USD",
                rate="1.1604",
                valid_from=EPOCH,
                rate_source="ECB",
            )
        )
    demo_month(b, "2025-10", a_day=12)
    return write_home(directory, b.events)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> BuiltReport:
    return build(home_of(tmp_path_factory.mktemp("home")), "acme", "2025-10", prepared_by="+Ada")


def cells(built: BuiltReport, sheet: int) -> dict[str, tuple[str, str]]:
    """(formula, value) by cell, as the file has them."""
    with zipfile.ZipFile(built.paths["report.xlsx"]) as archive:
        shared = [
            "".join(part.itertext())
            for part in ElementTree.fromstring(archive.read("xl/sharedStrings.xml")).findall("s:si", _XML)  # noqa: S314 -- our own file
        ]
        root = ElementTree.fromstring(archive.read(f"xl/worksheets/sheet{sheet}.xml"))  # noqa: S314
    found = {}
    for cell in root.iter(f"{{{_XML['s']}}}c"):
        value = cell.findtext("s:v", "", _XML)
        text = shared[int(value)] if cell.get("t") == "s" else value
        found[str(cell.get("r"))] = (cell.findtext("s:f", "", _XML), text)
    return found


def focus(built: BuiltReport) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(built.paths["focus.csv"].read_text(encoding="utf-8"))))


def test_every_file_has_the_same_bytes_when_it_is_built_again(built: BuiltReport, tmp_path: Path) -> None:
    again = build(home_of(tmp_path), "acme", "2025-10", prepared_by="+Ada")

    def of(one: BuiltReport) -> dict[str, bytes]:
        return {name: path.read_bytes() for name, path in one.paths.items()}

    assert [name for name in FILES if of(again)[name] != of(built)[name]] == []


def test_the_headline_is_the_same_in_the_workbook_the_line_items_and_the_focus_file(built: BuiltReport) -> None:
    totals, summary = built.report.totals, cells(built, 1)
    table = pq.read_table(io.BytesIO(built.paths["lines.parquet"].read_bytes())).to_pydict()
    rows = focus(built)

    assert [D(summary[f"B{row}"][1]) for row in (4, 5, 6)] == [totals.spend, totals.baseline, totals.saved]
    assert D(summary["B7"][1]) == totals.saved_share
    assert (summary["B8"][1], summary["B9"][1]) == (str(totals.tickets), str(totals.calls))
    assert sum(table["cost_usd"]) == D(totals.cost_usd) == sum(D(r["PricingCurrencyEffectiveCost"]) for r in rows)
    baseline = D(totals.baseline_usd or 0)
    assert sum(found or 0 for found in table["baseline_usd"]) == baseline
    assert sum(D(r["x_BaselineCost"] or 0) for r in rows) == baseline


def test_the_lines_of_the_bill_are_sums_of_line_items(built: BuiltReport) -> None:
    table = pq.read_table(io.BytesIO(built.paths["lines.parquet"].read_bytes())).to_pylist()

    for line in built.report.lines:
        mine = [row for row in table if row["line"] == f"{line.kind} {line.key}"]
        assert sum(row["cost_usd"] for row in mine) == D(line.cost_usd), line.key
        if line.baseline_usd is not None:
            assert sum(row["baseline_usd"] for row in mine) == D(line.baseline_usd), line.key


def test_the_workbooks_figures_are_formulas_that_lead_to_the_line_items(built: BuiltReport) -> None:
    summary, bill, items = cells(built, 1), cells(built, 2), cells(built, 6)
    last = len(built.report.lines) + 2

    assert summary["B4"][0] == f"'Bill'!J{last}"
    assert bill[f"J{last}"][0] == f"SUM(J2:J{last - 1})"
    assert bill["J2"][0] == "ROUND(H2*'Summary'!$B$3,2)"
    assert re.fullmatch(r"SUMIFS\('Line items'!\$L\$2:\$L\$\d+,'Line items'!\$B\$2:\$B\$\d+,\$A2\)", bill["H2"][0])
    assert items["L2"][0] == "J2*K2/1000000"
    assert D(items["L2"][1]) == D(items["J2"][1]) * D(items["K2"][1]) / 1_000_000


def test_a_spreadsheet_that_computes_the_workbook_finds_our_own_figures(built: BuiltReport) -> None:
    """The formulas, done by hand over the cells they name."""
    bill, items = cells(built, 2), cells(built, 6)
    rate = D(cells(built, 1)["B3"][1])
    rows = range(2, 2 + sum(1 for cell in items if re.fullmatch(r"A\d+", cell)) - 1)
    for row, line in enumerate(built.report.lines, 2):
        key = bill[f"A{row}"][1]
        cost = sum(D(items[f"L{n}"][1]) for n in rows if items[f"B{n}"][1] == key)
        assert round_half_up(cost * rate, 2) == line.spend == D(bill[f"J{row}"][1])


def test_focus_unit_price_times_quantity_is_the_cost_to_the_last_digit(built: BuiltReport) -> None:
    rows = focus(built)
    used = [row for row in rows if row["ChargeCategory"] == "Usage"]

    assert {row["ChargeCategory"] for row in rows} == {"Usage", "Adjustment"}
    for row in used:
        quantity = D(row["PricingQuantity"])
        assert quantity * 1_000_000 == D(row["ConsumedQuantity"])
        assert D(row["ListUnitPrice"]) * quantity == D(row["ListCost"]) == D(row["BilledCost"])
        assert D(row["PricingCurrencyListUnitPrice"]) * quantity == D(row["PricingCurrencyEffectiveCost"])
    for row in rows:
        assert row["ContractedCost"] == row["EffectiveCost"] == row["BilledCost"]
        assert row["BillingPeriodStart"] <= row["ChargePeriodStart"] < row["ChargePeriodEnd"] <= row["BillingPeriodEnd"]
    exact = D(built.report.totals.cost_usd) / D("1.1604")
    assert abs(sum(D(row["BilledCost"]) for row in rows) - exact) < D("0.000001")


def test_focus_columns_of_our_own_come_last_and_a_price_id_names_no_date_or_amount(built: BuiltReport) -> None:
    custom = [name.startswith("x_") for name in COLUMNS]

    assert custom == sorted(custom)
    assert len(set(COLUMNS)) == len(COLUMNS)
    for row in focus(built):
        assert re.search(r"\d{4}-\d{2}|USD|EUR", row["SkuPriceId"]) is None
        assert row["ProviderName"] == row["InvoiceIssuerName"]


def test_no_text_of_a_client_becomes_a_formula(built: BuiltReport) -> None:
    for sheet in range(1, 7):
        for formula, _ in cells(built, sheet).values():
            assert re.fullmatch(
                r"[A-Z0-9$:!'+*/(),\- ]*", formula.replace("Line items", "").replace("Summary", "").replace("Bill", "")
            )
    with zipfile.ZipFile(built.paths["report.xlsx"]) as archive:
        assert not [name for name in archive.namelist() if "externalLink" in name or "vba" in name.lower()]
    for path in (built.paths["report.csv"], built.paths["focus.csv"]):
        for row in csv.reader(io.StringIO(path.read_text(encoding="utf-8"))):
            assert not [cell for cell in row if cell.startswith(("=", "+", "@")) or re.match(r"-\D", cell)]


@pytest.mark.skipif(
    VALIDATOR not in os.environ,
    reason=f"{VALIDATOR} does not name the program focus-validator 1.0.0; .ci/run installs it and sets it",
)
def test_focus_validator_finds_nothing(built: BuiltReport, tmp_path: Path) -> None:
    rows = [row | {wrong: row[right] for wrong, right in MISNAMED.items()} for row in focus(built)]
    path = tmp_path / "focus.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    program = Path(os.environ[VALIDATOR])
    (package,) = program.parent.parent.glob("lib/python3*/site-packages")

    run = subprocess.run(
        [str(program), "--data-file", str(path), "--validate-version", "1.0", "--column-namespace", "x_"],
        cwd=package,  # its list of currencies is opened relative to the working directory
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert "Validation succeeded" in run.stdout, run.stdout
