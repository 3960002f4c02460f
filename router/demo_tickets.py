"""A month of support tickets, and what people then do with the drafts.

The stream: 200 to 300 tickets a day, more on weekdays, at the hours at which people write; 12 % are exact repeats of
a ticket of the days before. Each is asked with a context of some 24,000 tokens: rules, articles, past messages.

The people: how much of a draft is changed depends on the model that wrote it and on whether the ticket is truly
complex, never on a price. The means are the freelancer's figures, as they come out when simple tickets go to Medium
and complex ones to Large: 22 % and 8 % of the characters changed, coherence 84 and 91 of 100.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from typing import Literal
from zoneinfo import ZoneInfo

from router.reply_prose import prose
from router.seeded import digest, lognormal, lognormal_with_mean, pick, slot, unit
from router.simulation import BYTES_PER_TOKEN, TicketTruth, true_class

Disposition = Literal["as_is", "edited", "rewritten", "discarded"]

FEWEST_A_DAY, MOST_A_DAY = 200, 300
_WEEKDAY_MEAN, _WEEKEND_MEAN = 262, 216
REPEAT_SHARE = 0.12
_REPEAT_WITHIN = timedelta(days=4)
# Tickets by hour of the client's day, midnight first; only the proportions matter.
_WEEKDAY_HOURS = (4, 3, 2, 2, 2, 4, 10, 22, 44, 62, 66, 60, 52, 54, 58, 56, 52, 48, 42, 38, 34, 26, 16, 8)
_WEEKEND_HOURS = (8, 6, 4, 3, 2, 3, 6, 12, 24, 38, 48, 50, 46, 42, 42, 42, 42, 44, 44, 42, 38, 30, 22, 14)

# Input tokens of a generation call, by true class; over the month about 24,000.
_PROMPT_TOKENS = {"simple": 22_600.0, "complex": 27_000.0}
_PROMPT_SIGMA = 0.34
_FEWEST_TOKENS, _MOST_TOKENS = 7_000, 70_000
_PAST_REPLY_BYTES = 7_000

_MEDIUM, _LARGE = "standard", "premium"
# (as_is, edited, rewritten, discarded) by arm and true class, then the mean edit ratio of an edited draft.
_OUTCOMES: dict[tuple[str, TicketTruth], tuple[tuple[float, float, float, float], float]] = {
    (_MEDIUM, "simple"): ((0.360, 0.500, 0.115, 0.025), 0.246),
    (_MEDIUM, "complex"): ((0.190, 0.530, 0.220, 0.060), 0.300),
    (_LARGE, "simple"): ((0.740, 0.234, 0.022, 0.004), 0.160),
    (_LARGE, "complex"): ((0.600, 0.360, 0.034, 0.006), 0.166),
}
_EDITED_SIGMA = 0.55
_LEAST_RATIO, _MOST_EDITED_RATIO = 0.004, 0.50
# A rewritten draft keeps its frame; 45 to 80 % of it goes.
_REWRITTEN_RATIO = (0.45, 0.80)
# A passage of k characters that gives way to r others, r much smaller than k, is about k - 0.99 r edits: nearly
# every new character is found in order in the old passage. Measured over the demo's prose.
_INSERTED_SHARE = 0.20
_FOUND_AGAIN = 0.99
_OWN_REPLY_BYTES = 900

_COHERENCE = {_MEDIUM: (0.84, 0.14), _LARGE: (0.91, 0.08)}
SCORED_SHARE = 0.10


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketText:
    """A question as a customer wrote it. Shapes: source is banking77 or clinc150, intent theirs."""

    source: str
    intent: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSources:
    """What a demo month is made of. Shapes: texts differ from one another; articles start with their heading."""

    tickets: tuple[TicketText, ...]
    rules: str
    articles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoTicket:
    """One ticket of the demo month.

    Shapes: ticket_id like "T-690123"; at is UTC; origin_id is the ticket it repeats, or its own id. Two tickets with
    one origin send the same bytes. prompt_tokens is what its context aims at.
    """

    ticket_id: str
    at: datetime
    text: str
    intent: str
    origin_id: str
    truth: TicketTruth
    prompt_tokens: int

    @property
    def is_repeat(self) -> bool:
        """Whether an earlier ticket asked exactly this."""
        return self.origin_id != self.ticket_id


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanEdit:
    """What a person made of a draft. Units: edit_seconds from opening the draft to sending."""

    final_text: str
    edit_seconds: int
    disposition: Disposition


def demo_month(seed: int, month: str, zone: str = "Europe/Berlin", *, sources: DemoSources) -> tuple[DemoTicket, ...]:
    """The tickets of one month, in the order of their times.

    Shapes: month "2025-10" in the given zone; about 250 a day. Ids differ between months.
    Errors: ValueError for a month not written so, ZoneInfoNotFoundError for a zone that does not exist.
    """
    first = date.fromisoformat(month + "-01")
    moments: list[datetime] = []
    day = first
    while day.month == first.month:
        moments += _moments_of(seed, day, ZoneInfo(zone))
        day += timedelta(days=1)
    moments.sort()
    # Each text is used once before any is used again; only declared repeats are repeats.
    order = sorted(sources.tickets, key=lambda ticket: digest("order", seed, month, ticket.text))
    number = ((first.year - 2020) * 12 + first.month - 1) * 10_000
    tickets: list[DemoTicket] = []
    times: list[datetime] = []
    fresh = 0
    for at in moments:
        number += 1
        ticket_id = f"T-{number:06d}"
        material = digest("ticket", seed, ticket_id)
        earliest = bisect_left(times, at - _REPEAT_WITHIN)
        if slot(material, 0) < REPEAT_SHARE and earliest < len(tickets):
            before = tickets[earliest + pick(slot(material, 1), len(tickets) - earliest)]
            tickets.append(_repeat(before, ticket_id, at))
        else:
            source = order[fresh % len(order)]
            fresh += 1
            truth = true_class(seed, source.text)
            tokens = lognormal_with_mean(slot(material, 2), mean=_PROMPT_TOKENS[truth], sigma=_PROMPT_SIGMA)
            tickets.append(
                DemoTicket(
                    ticket_id=ticket_id,
                    at=at,
                    text=source.text,
                    intent=source.intent,
                    origin_id=ticket_id,
                    truth=truth,
                    prompt_tokens=int(min(max(tokens, _FEWEST_TOKENS), _MOST_TOKENS)),
                )
            )
        times.append(at)
    return tuple(tickets)


def request_messages(seed: int, ticket: DemoTicket, *, sources: DemoSources) -> list[dict[str, str]]:
    """The chat messages this ticket is asked with, assembled on demand (a month of them is 750 MB).

    Shapes: system (rules, then articles in their order), the conversation so far as one message, last the ticket.
    One message, not one a turn, as help desks export it: the `openai` client looks at every message it sends for
    about 0.1 ms. Units: together about ticket.prompt_tokens times four bytes, ASCII but for what customers wrote.
    """
    material = digest("context", seed, ticket.origin_id)
    kept = 0.45 + 0.55 * slot(material, 0)
    articles = [
        article
        for index, article in enumerate(sources.articles)
        if unit("article", seed, ticket.origin_id, index) < kept
    ]
    system = "\n\n".join((sources.rules, "# Articles", *articles))
    turns = ["# The conversation so far"]
    left = ticket.prompt_tokens * BYTES_PER_TOKEN - len(system) - len(ticket.text)
    past = prose(seed)
    while left > 400:
        material = digest("past", seed, ticket.origin_id, len(turns))
        question = sources.tickets[pick(slot(material, 0), len(sources.tickets))].text
        length = int(lognormal_with_mean(slot(material, 1), mean=_PAST_REPLY_BYTES, sigma=0.4))
        answer = past.passage(slot(material, 2), min(length, left))
        turns.append(f"Customer: {question}\n\nAgent: {answer}")
        left -= len(turns[-1])
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": "\n\n".join(turns)},
        {"role": "user", "content": ticket.text},
    ]


def human_edit(seed: int, ticket_id: str, writer: str, ticket_class: TicketTruth, draft: str) -> HumanEdit:
    """What the person who got this draft made of it.

    Shapes: writer is an arm ("standard", "premium") or a model's name, where any name with "Large" in it, and
    GPT-4o, count as premium; ticket_class should be the true one, `true_class(seed, text)` (with the class that the
    classifier gave, the means move by less than half a point). One passage is replaced, so that comparing is cheap.
    Errors: none; an empty draft is discarded.
    """
    arm = _arm(writer)
    shares, edited_mean = _OUTCOMES[arm, ticket_class]
    material = digest("edit", seed, ticket_id, arm)
    outcome = bisect_right(tuple(accumulate(shares[:3])), slot(material, 0))
    disposition: Disposition = ("as_is", "edited", "rewritten", "discarded")[outcome]
    if not draft:
        disposition = "discarded"
    typed = 0
    match disposition:
        case "as_is":
            final = draft
        case "discarded":
            final = prose(seed).passage(slot(material, 1), int(_OWN_REPLY_BYTES * (0.5 + slot(material, 2))))
            typed = len(final)
        case _:
            ratio = lognormal_with_mean(slot(material, 1), mean=edited_mean, sigma=_EDITED_SIGMA)
            ratio = min(max(ratio, _LEAST_RATIO), _MOST_EDITED_RATIO)
            if disposition == "rewritten":
                low, high = _REWRITTEN_RATIO
                ratio = low + (high - low) * slot(material, 1)
            final, typed = _replace_passage(seed, draft, ratio, material)
    return HumanEdit(
        final_text=final,
        edit_seconds=_seconds(len(draft), typed, abs(len(draft) - len(final)) + typed, slot(material, 6)),
        disposition=disposition,
    )


def is_scored(seed: int, ticket_id: str) -> bool:
    """Whether the ticket is in the sample whose drafts are rated for coherence: one in ten."""
    return unit("scored", seed, ticket_id) < SCORED_SHARE


def coherence_score(seed: int, ticket_id: str, writer: str) -> float:
    """The rated coherence of this draft, 0..1 with three decimals; means 0.84 (standard) and 0.91 (premium).

    Shapes: writer as in human_edit. Defined for every ticket; is_scored says which are rated.
    """
    arm = _arm(writer)
    mean, spread = _COHERENCE[arm]
    material = digest("coherence", seed, ticket_id, arm)
    # The sum of two uniform draws: bounded, symmetric, so that nothing has to be cut off and the mean is exact.
    return round(mean + spread * (slot(material, 0) + slot(material, 1) - 1), 3)


def _moments_of(seed: int, day: date, zone: ZoneInfo) -> list[datetime]:
    weekend = day.weekday() >= 5
    mean = _WEEKEND_MEAN if weekend else _WEEKDAY_MEAN
    swing = unit("day", seed, day) + unit("day's swing", seed, day) - 1
    count = min(max(round(mean * (1 + 0.14 * swing)), FEWEST_A_DAY), MOST_A_DAY)
    bounds = tuple(accumulate(_WEEKEND_HOURS if weekend else _WEEKDAY_HOURS))
    moments = []
    for index in range(count):
        material = digest("moment", seed, day, index)
        hour = bisect_right(bounds, slot(material, 0) * bounds[-1])
        local = datetime(day.year, day.month, day.day, tzinfo=zone) + timedelta(
            hours=hour, microseconds=pick(slot(material, 1), 3_600_000_000)
        )
        moments.append(local.astimezone(UTC))
    return moments


def _repeat(before: DemoTicket, ticket_id: str, at: datetime) -> DemoTicket:
    return DemoTicket(
        ticket_id=ticket_id,
        at=at,
        text=before.text,
        intent=before.intent,
        origin_id=before.origin_id,
        truth=before.truth,
        prompt_tokens=before.prompt_tokens,
    )


def _arm(writer: str) -> str:
    if writer in (_MEDIUM, _LARGE):
        return writer
    return _LARGE if "large" in writer.lower() or "gpt-4o" in writer else _MEDIUM


def _replace_passage(seed: int, draft: str, ratio: float, material: bytes) -> tuple[str, int]:
    """The draft with one passage replaced by a shorter one, so that about ratio of its characters change."""
    target = ratio * len(draft)
    wanted = int(_INSERTED_SHARE * target)
    inserted = prose(seed).passage(slot(material, 3), wanted)[:wanted].rpartition(" ")[0]
    removed = min(max(round(target + _FOUND_AGAIN * len(inserted)), 1), len(draft))
    start = pick(slot(material, 4), len(draft) - removed + 1)
    # People start and stop at words; a draft without any is cut where it is.
    start = draft.rfind(" ", 0, start) + 1
    stop = start + removed
    space = draft.find(" ", stop, stop + 30)
    return draft[:start] + inserted + draft[space if space > 0 else stop :], len(inserted)


def _seconds(read: int, typed: int, cut: int, draw: float) -> int:
    """Skimming at 400 characters a second, typing at 5, and a second of thought for every 40 characters cut."""
    seconds = 8 + read / 400 + typed / 5 + cut / 40
    return round(lognormal(draw, median=seconds, sigma=0.35))
