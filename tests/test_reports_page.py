"""How figures are written and drawn: words that fit what happened, ticks that fit what is drawn, text that is no formula."""

from __future__ import annotations

from datetime import date
from decimal import Decimal as D
from xml.dom import minidom

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import InvalidInput
from reports.charts import PAPER, Bar, Key, Scale, bars, ticks
from reports.display import Style, legible, model_name, model_names
from reports.model import Price, Quality, Totals
from reports.sentence import sentence
from reports.settings import Settings, read_settings
from reports.tables import plain

BASELINE = Price(
    price_id="gpt-4o@2026-10-01",
    model="openai/gpt-4o",
    uncached_input="2.5",
    cache_read="2.5",
    cache_write="2.5",
    plain_output="10",
    reasoning="10",
    valid_from="2026-10-01T00:00:00Z",  # type: ignore[arg-type]
    source="list",
)
NO_EDITS = Quality(
    edits=0, accepted=0, touched=0, rewritten=0, discarded=0, measured=0, timed=0, edit_minutes=D(0), coherence_scores=0
)


def said(spend: str, baseline: str) -> str:
    saved = D(baseline) - D(spend)
    totals = Totals(
        adjusted=D(0),
        due=D(0),
        tickets=1,
        replies=1,
        calls=2,
        cost_usd=spend,
        spend=D(spend),
        baseline_usd=baseline,
        baseline=D(baseline),
        saved=saved,
        saved_share=round(saved / D(baseline), 4),
    )
    return "".join(words for words, _ in sentence(totals, NO_EDITS, Style("USD"), BASELINE))


def test_the_headline_says_what_happened() -> None:
    assert said("1.00", "4.00").startswith(
        "Your support desk answered 1 ticket with AI drafts for $1.00. "
        "On GPT-4o the same work would have cost $4.00: you saved $3.00 (75.0%)."
    )
    assert "that is $1.00 less than was spent, so nothing was saved" in said("5.00", "4.00")
    assert "exactly what was spent" in said("4.00", "4.00")
    assert said("1.00", "4.00").endswith("how good the drafts were is not known.")


@pytest.mark.parametrize(
    ("amount", "written"), [("1234.5", "$1,234.5"), ("-0.42", "\u2212$0.42"), ("0.00", "$0.00"), ("6.75", "$6.75")]
)
def test_money_is_written_with_the_decimals_it_has(amount: str, written: str) -> None:
    assert Style("USD").money(D(amount)) == written


def test_figures_in_words() -> None:
    style = Style("EUR")

    assert style.money(D("3.10"), sign=True) == "+€3.10"
    assert style.money(None) == "not known"
    assert style.percent(D("-0.1234")) == "\u221212.3%"
    assert style.span(D("0.1540"), D("0.1650")) == "15.4–16.5%"
    assert style.tokens(9_999) == "9,999"
    assert style.tokens(116_639_640) == "116.6\u00a0M"
    assert style.rate("2.5") == "2.50"
    assert style.rate("0.123456") == "0.123456"
    assert style.days(date(2025, 10, 6), date(2025, 10, 12)) == "6–12\u00a0Oct"
    assert style.whole(D("2.5")) == "€2.5"
    assert style.whole(D("40")) == "€40"


def test_a_models_short_name() -> None:
    assert model_name("mistralai/Mistral-Medium-3") == "Mistral-Medium-3"
    assert model_name("gpt-4o") == "GPT-4o"
    assert model_names(("a/x", "b/y", "c/z")) == "x + y + 1"
    assert model_name("m" * 300) == "m" * 39 + "…"
    assert legible("a\x00b\u202ec\nd") == "a b c d"  # else a name could turn the line it stands in round


@given(st.decimals("0.0001", "1000000", places=4), st.integers(3, 8))
def test_ticks_start_at_zero_reach_past_the_most_and_are_few(most: D, about: int) -> None:
    at = ticks(most, about)

    assert at[0] == 0
    assert at[-2] < most <= at[-1]
    assert len(at) <= about + 2


def test_a_chart_is_well_formed_whatever_its_labels_say() -> None:
    found = [
        Bar("<1>", (D(1), D(0)), D(2), 'a & "b"'),
        Bar("2", (D(0), D(3)), None, "]]>"),
        Bar("3", (D(1), D(1)), D(1), ""),
    ]

    drawn = bars(found, Scale(ticks(D(3)), ("a", "b", "<c>", "d")), [Key("<k>", "#000")], ("#111", "#222"), PAPER)

    root = minidom.parseString(drawn).documentElement  # noqa: S318 -- our own bytes
    assert root is not None
    assert root.tagName == "svg"
    assert drawn.count("<rect") == 1 + 4  # the legend, and no bar for nothing
    assert drawn.count("M") >= 2  # the baseline starts again after the gap


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\r=1"])
def test_a_text_a_spreadsheet_would_run_gets_an_apostrophe(text: str) -> None:
    assert plain(text) == "'" + text
    assert plain("standard") == "standard"


def test_settings_name_what_they_do_not_know() -> None:
    assert read_settings({"prepared_by": "Ada"}) == Settings(prepared_by="Ada")
    with pytest.raises(InvalidInput, match="crest"):
        read_settings({"crest": "x"})
