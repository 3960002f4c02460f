"""Both languages say the same, with the figures written as their readers write them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal as D
from pathlib import Path

import pytest
from pypdf import PdfReader

from ledger.errors import InvalidInput
from reports.build import BuiltReport, build
from reports.display import Style
from reports.words import CATALOGUES
from tests.made_home import Book, demo_month, write_home

NBSP = "\u00a0"


def home_of(directory: Path, config: str) -> Path:
    b = Book()
    b.client()
    b.baseline()
    b.budget("60")
    demo_month(b, "2025-10", a_day=12)
    home = write_home(directory, b.events)
    (home / "halfpenny.toml").write_text(config, encoding="utf-8")
    return home


def words_of(built: BuiltReport) -> str:
    pages = PdfReader(built.paths["report.pdf"]).pages
    return re.sub(r"\s+", " ", " ".join(one.extract_text() for one in pages))


def test_the_catalogues_have_the_same_keys_placeholders_and_columns() -> None:
    english, german = CATALOGUES["en"], CATALOGUES["de"]

    assert list(english) == list(german)
    for key, phrase in english.items():
        assert set(re.findall(r"\{(\w*)\}", phrase)) == set(re.findall(r"\{(\w*)\}", german[key])), key
        assert phrase.count("|") == german[key].count("|"), key
        assert phrase, key


def test_german_figures_are_written_as_germans_write_them() -> None:
    style = Style("EUR", "de")

    assert style.money(D("1234.50")) == f"1.234,50{NBSP}€"
    assert style.money(D("-0.42"), sign=True) == f"\u22120,42{NBSP}€"
    assert style.money(None) == "nicht bekannt"
    assert style.percent(D("0.636")) == f"63,6{NBSP}%"
    assert style.span(D("0.154"), D("0.165")) == f"15,4–16,5{NBSP}%"
    assert style.tokens(116_639_640) == f"116,6{NBSP}Mio."
    assert style.rate("2.5") == "2,50"
    assert style.day(date(2025, 10, 3)) == f"3.{NBSP}Okt."
    assert style.full_day(date(2025, 3, 31)) == "31. März 2025"
    assert style.days(date(2025, 10, 6), date(2025, 10, 12)) == f"6.–12.{NBSP}Okt."
    assert style.moment(datetime(2025, 10, 31, 22, 58, tzinfo=UTC)) == f"31.{NBSP}Okt. 2025, 22:58{NBSP}UTC"
    assert style.plural(1, "ticket") == "1 Ticket"


@pytest.mark.parametrize(("amount", "written"), [("2.665", "$2.665"), ("0.125", "$0.125"), ("1000000", "$1,000,000")])
def test_showing_a_figure_never_rounds_it(amount: str, written: str) -> None:
    assert Style("USD").money(D(amount)) == written


def test_the_configured_language_name_and_colours_are_in_the_report(tmp_path: Path) -> None:
    config = '[reports]\nprepared_by = "Ada"\nlanguages = { acme = "de" }\ncolours = ["#123456"]\naccent = "#654321"\nlogo = "logo.svg"\n'
    home = home_of(tmp_path, config)
    (home / "logo.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="10"><rect width="40" height="10"/></svg>'
    )

    built = build(home, "acme", "2025-10")

    web, paper, report = built.paths["report.html"].read_text(encoding="utf-8"), words_of(built), built.report
    assert report.language == "de"
    assert report.sentence.startswith("Ihr Support hat ")
    for text in (web, paper):
        assert "erstellt von Ada" in text
        assert Style("USD", "de").money(report.totals.spend).replace(NBSP, " ") in text.replace(NBSP, " ")
    assert "#123456" in web
    assert "--accent: #654321" in web
    assert 'src="data:image/svg+xml;base64,' in web
    english = {"Spend by day", "Budget used", "Edit rate", "The bill", "replies", "not known"}
    assert [phrase for phrase in english if phrase in paper] == []


def test_a_translation_is_the_same_revision_in_other_words_and_leaves_the_home_alone(tmp_path: Path) -> None:
    home = home_of(tmp_path / "home", "")
    first = build(home, "acme", "2025-10")

    again = build(home, "acme", "2025-10", out_dir=tmp_path / "de", language="de")

    assert not again.is_new
    assert (tmp_path / "de" / "report.csv").read_bytes() == first.paths["report.csv"].read_bytes()
    assert "Gespart" in (tmp_path / "de" / "report.html").read_text(encoding="utf-8")
    assert "Gespart" not in first.paths["report.html"].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "section",
    ['logo = "../secret.png"', 'logo = "logo.exe"', 'accent = "red;}"', 'language = "fr"', 'colours = ["red"]'],
)
def test_a_look_that_could_do_harm_is_refused(section: str, tmp_path: Path) -> None:
    home = home_of(tmp_path, f"[reports]\n{section}\n")

    with pytest.raises(InvalidInput, match=r"\[reports\]"):
        build(home, "acme", "2025-10")


def test_another_language_needs_a_directory_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="needs a directory"):
        build(home_of(tmp_path, ""), "acme", "2025-10", language="de")
