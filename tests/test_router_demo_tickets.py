"""The demo's month: its tickets, its contexts, and the people who edit the drafts."""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from statistics import fmean, median
from zoneinfo import ZoneInfo

import pytest
from rapidfuzz.distance import Levenshtein

from router.demo_sources import shipped_sources
from router.demo_tickets import (
    DemoTicket,
    coherence_score,
    demo_month,
    human_edit,
    is_scored,
    request_messages,
)
from router.reply_prose import prose
from router.simulation import MODELS, Prompt, simulate, true_class

SOURCES = shipped_sources()
MEDIUM, LARGE, FLASH = "mistralai/Mistral-Medium-3", "mistralai/Mistral-Large-3", "deepseek-ai/DeepSeek-V4-Flash"
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture(scope="module")
def october() -> tuple[DemoTicket, ...]:
    return demo_month(7, "2025-10", sources=SOURCES)


def test_the_sample_is_distinct_questions_with_their_source() -> None:
    texts = [ticket.text for ticket in SOURCES.tickets]

    assert Counter(ticket.source for ticket in SOURCES.tickets) == {"banking77": 5600, "clinc150": 1600}
    assert len({text.lower() for text in texts}) == 7200
    assert all(text == " ".join(text.split()) for text in texts)
    assert all(ticket.intent for ticket in SOURCES.tickets)


def test_the_knowledge_base_is_32_articles_that_share_no_paragraph() -> None:
    assert [article[:7] for article in SOURCES.articles] == [f"## A-{i:02d}" for i in range(1, 33)]
    assert SOURCES.rules.startswith("# Rules")
    assert 1_500 < len(SOURCES.rules) < 4_000
    assert 22_000 < sum(map(len, SOURCES.articles)) < 40_000
    paragraphs = [p for article in SOURCES.articles for p in article.split("\n\n")]
    assert len(set(paragraphs)) == len(paragraphs)
    # An article may only send the reader to one that exists.
    referred = {int(number) for number in re.findall(r"A-(\d\d)", "".join(SOURCES.articles) + SOURCES.rules)}
    assert max(referred) <= 32


@pytest.mark.parametrize(("month", "days"), [("2025-10", 31), ("2026-10", 31), ("2026-02", 28), ("2026-03", 31)])
def test_a_month_has_about_250_tickets_a_day_between_200_and_300(month: str, days: int) -> None:
    tickets = demo_month(7, month, sources=SOURCES)
    by_day = Counter(ticket.at.astimezone(BERLIN).date() for ticket in tickets)

    assert len(by_day) == days
    assert {day.strftime("%Y-%m") for day in by_day} == {month}
    assert all(200 <= count <= 300 for count in by_day.values())
    assert len(tickets) == pytest.approx(250 * days, rel=0.025)
    weekend = fmean(count for day, count in by_day.items() if day.weekday() >= 5)
    assert weekend < 0.9 * fmean(count for day, count in by_day.items() if day.weekday() < 5)


def test_tickets_are_in_order_and_named_apart_from_other_months(october: tuple[DemoTicket, ...]) -> None:
    later = demo_month(7, "2026-10", sources=SOURCES)

    assert [t.at for t in october] == sorted({t.at for t in october})
    assert all(t.at.tzinfo is UTC for t in october)
    assert october[0].ticket_id == "T-690001"
    assert october[-1].ticket_id == f"T-69{len(october):04d}"
    assert not {t.ticket_id for t in october} & {t.ticket_id for t in later}
    assert 7_600 <= len(october) <= 7_900


def test_people_write_by_day(october: tuple[DemoTicket, ...]) -> None:
    hours = Counter(ticket.at.astimezone(BERLIN).hour for ticket in october)

    assert sum(hours[hour] for hour in range(8, 20)) / len(october) > 0.7
    assert hours[3] < hours[10] / 10


def test_one_seed_gives_one_month_and_another_gives_another(october: tuple[DemoTicket, ...]) -> None:
    assert demo_month(7, "2025-10", sources=SOURCES) == october
    assert demo_month(8, "2025-10", sources=SOURCES) != october
    assert request_messages(7, october[5], sources=SOURCES) == request_messages(7, october[5], sources=SOURCES)


def test_about_12_of_100_tickets_repeat_one_of_the_last_days_byte_for_byte(october: tuple[DemoTicket, ...]) -> None:
    first = {ticket.ticket_id: ticket for ticket in october}
    repeats = [ticket for ticket in october if ticket.is_repeat]

    assert len(repeats) / len(october) == pytest.approx(0.12, abs=0.015)
    assert len({t.text for t in october}) == len(october) - len(repeats)
    assert all(first[t.origin_id].text == t.text and not first[t.origin_id].is_repeat for t in repeats)
    gaps = [(ticket.at - first[ticket.origin_id].at).total_seconds() for ticket in repeats]
    assert min(gaps) > 0
    assert median(gaps) < 4 * 86_400
    asked = [request_messages(7, t, sources=SOURCES) for t in (repeats[0], first[repeats[0].origin_id])]
    assert asked[0] == asked[1]


def test_a_request_holds_rules_articles_past_messages_and_the_ticket(october: tuple[DemoTicket, ...]) -> None:
    for ticket in october[::500]:
        system, past, last = request_messages(7, ticket, sources=SOURCES)

        assert last == {"role": "user", "content": ticket.text}
        assert system["role"] == "system"
        assert system["content"].startswith(SOURCES.rules)
        assert 6 <= sum(article in system["content"] for article in SOURCES.articles) <= 32
        assert past["content"].startswith("# The conversation so far")
        size = sum(len(m["content"].encode()) for m in (system, past, last))
        assert size == pytest.approx(4 * ticket.prompt_tokens, rel=0.05)


def test_the_month_comes_out_at_the_freelancers_figures(october: tuple[DemoTicket, ...]) -> None:
    """Every third ticket, routed by the classifier's word as the `label` policy does."""
    ratios: dict[str, list[float]] = {MEDIUM: [], LARGE: []}
    tokens: dict[str, list[int]] = {"simple": [], "complex": []}
    prompts: list[int] = []
    seconds: list[int] = []
    dispositions: dict[str, Counter[str]] = {MEDIUM: Counter(), LARGE: Counter()}
    sample = october[::3]
    for ticket in sample:
        sorting = (("system", "You sort support tickets."), ("user", ticket.text))
        word = simulate(7, Prompt(model=MODELS[FLASH], messages=sorting)).replies[0].text.lower()
        model = MEDIUM if "simple" in word else LARGE
        messages = tuple((m["role"], m["content"]) for m in request_messages(7, ticket, sources=SOURCES))
        answer = simulate(7, Prompt(model=MODELS[model], messages=messages))
        draft = answer.replies[0].text
        edit = human_edit(7, ticket.ticket_id, model, ticket.truth, draft)
        ratios[model].append(Levenshtein.normalized_distance(draft, edit.final_text))
        dispositions[model][edit.disposition] += 1
        tokens[ticket.truth].append(answer.completion_tokens)
        prompts.append(answer.prompt_tokens)
        seconds.append(edit.edit_seconds)

    both = tokens["simple"] + tokens["complex"]
    assert 0.63 <= len(ratios[MEDIUM]) / len(sample) <= 0.67
    assert fmean(prompts) == pytest.approx(24_000, rel=0.03)
    assert fmean(both) == pytest.approx(4_300, rel=0.03)
    assert fmean(tokens["complex"]) > 1.25 * fmean(tokens["simple"])
    assert max(prompts) < 80_000
    assert min(prompts) > 6_000
    assert max(both) < 20_000
    # 24,000 and 4,300 tokens, 7,750 times, at 2.50 and 10.00 USD per million: 465.00 + 333.25.
    cost = (fmean(prompts) * 2.5 + fmean(both) * 10) / 1e6 * len(october)
    assert cost == pytest.approx(798, rel=0.03)
    assert fmean(ratios[MEDIUM]) == pytest.approx(0.22, abs=0.012)
    assert fmean(ratios[LARGE]) == pytest.approx(0.08, abs=0.012)
    as_is = {model: counts["as_is"] / counts.total() for model, counts in dispositions.items()}
    assert as_is[MEDIUM] == pytest.approx(0.36, abs=0.04)
    assert as_is[LARGE] == pytest.approx(0.62, abs=0.04)
    assert dispositions[MEDIUM]["discarded"] / len(ratios[MEDIUM]) < 0.05
    assert 60 < median(seconds) < 240
    assert min(seconds) >= 5
    assert max(seconds) < 3_600


def test_what_a_person_did_fits_what_it_is_called() -> None:
    draft = prose(7).passage(0.4, 17_000)
    seen: dict[str, list[tuple[float, int]]] = {}
    for i in range(1500):
        edit = human_edit(7, f"T-{i}", "standard", "simple", draft)
        ratio = Levenshtein.normalized_distance(draft, edit.final_text)
        seen.setdefault(edit.disposition, []).append((ratio, edit.edit_seconds))

    assert set(seen) == {"as_is", "edited", "rewritten", "discarded"}
    assert {ratio for ratio, _ in seen["as_is"]} == {0.0}
    assert all(0 < ratio <= 0.53 for ratio, _ in seen["edited"])
    assert all(0.4 < ratio <= 0.85 for ratio, _ in seen["rewritten"])
    assert all(ratio > 0.85 for ratio, _ in seen["discarded"])
    means = [fmean(seconds for _, seconds in seen[name]) for name in ("as_is", "edited", "rewritten")]
    assert means == sorted(means)


def test_quality_goes_with_the_model_and_the_ticket_and_not_with_the_month() -> None:
    draft = prose(7).passage(0.4, 4_000)

    def mean(writer: str, truth: str) -> float:
        edits = [human_edit(7, f"T-{i}", writer, truth, draft) for i in range(1200)]  # type: ignore[arg-type]
        return fmean(Levenshtein.normalized_distance(draft, edit.final_text) for edit in edits)

    ratios = [mean(w, t) for w, t in ((LARGE, "simple"), (LARGE, "complex"), (MEDIUM, "simple"), (MEDIUM, "complex"))]
    assert ratios == sorted(ratios)
    assert ratios[3] > 0.28
    assert mean("premium", "complex") == ratios[1]
    assert mean("standard", "simple") == ratios[2]


def test_an_edit_of_any_draft_is_a_text_and_repeatable() -> None:
    for draft in ("", "x", "ok.", "Überweisung €€€ 😀 " * 3, "word " * 50_000):
        for i in range(60):
            edit = human_edit(7, f"T-{i}", MEDIUM, "complex", draft)
            assert edit == human_edit(7, f"T-{i}", MEDIUM, "complex", draft)
            assert edit.edit_seconds > 0
            assert (edit.disposition == "as_is") <= (edit.final_text == draft)


def test_coherence_is_rated_for_one_in_ten_with_means_84_and_91(october: tuple[DemoTicket, ...]) -> None:
    rated = [ticket.ticket_id for ticket in october if is_scored(7, ticket.ticket_id)]

    assert len(rated) / len(october) == pytest.approx(0.10, abs=0.012)
    for writer, mean in ((MEDIUM, 0.84), (LARGE, 0.91)):
        scores = [coherence_score(7, ticket_id, writer) for ticket_id in rated]
        assert fmean(scores) == pytest.approx(mean, abs=0.006)
        assert min(scores) > 0.6
        assert max(scores) < 1.0
        assert scores[0] == coherence_score(7, rated[0], writer)


def test_a_tickets_truth_is_the_simulations(october: tuple[DemoTicket, ...]) -> None:
    assert all(ticket.truth == true_class(7, ticket.text) for ticket in october[:300])


def test_the_night_the_clocks_go_back_has_its_tickets_once() -> None:
    tickets = demo_month(7, "2025-10", sources=SOURCES)
    first = datetime(2025, 10, 25, 22, tzinfo=UTC)
    night = [t for t in tickets if first <= t.at < first + timedelta(hours=25)]

    assert {t.at.astimezone(BERLIN).date().isoformat() for t in night} == {"2025-10-26"}
    assert 200 <= len(night) <= 300
