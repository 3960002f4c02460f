"""Asking the cheap model how hard a ticket is, and reading its answer.

The reading is strict about meaning and tolerant about form: case, punctuation, markdown and a short sentence are
fine as long as exactly one of the two words is named. Anything else counts as complex and is recorded as unclear,
so that oddly worded answers are seen and not sent to the dear model unnoticed.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

import msgspec

from ledger.events import TicketClass
from router.capabilities import OutputBound

Reading = Literal["clear", "unclear", "failed"]

MARKER = "You sort support tickets."  # the first line; a simulated or recorded provider knows the call by it
INSTRUCTION = f"""{MARKER}
Answer with exactly one word and nothing else: simple or complex.
simple: one question that a standard answer settles.
complex: several questions, a dispute, money at risk, or facts that must be weighed."""

ANSWER_CHARACTERS = 200  # "a short sentence"; a longer answer did not do as asked
_WORD = re.compile(r"[^\W_]+")
_NEGATIONS = frozenset(("not", "no", "never", "neither", "nor", "isn", "t", "hardly", "less"))


class TicketReading(NamedTuple):
    """The class a ticket is treated as, and whether the answer said so."""

    ticket_class: TicketClass
    reading: Reading


FAILED = TicketReading("complex", "failed")
UNCLEAR = TicketReading("complex", "unclear")


def request_body(
    ticket: str, *, model: str, text_characters: int, max_completion_tokens: int, output_bound: OutputBound
) -> bytes:
    """The classification call. Shapes: the ticket is cut after `text_characters`; its beginning says what it is about."""
    return msgspec.json.encode(
        {
            "model": model,
            "messages": [
                {"role": "system", "content": INSTRUCTION},
                {"role": "user", "content": ticket[:text_characters]},
            ],
            "temperature": 0,
            output_bound: max_completion_tokens,
        }
    )


def read_answer(answer: str) -> TicketReading:
    """The class an answer names.

    Shapes: clear when exactly one of the words simple and complex stands in a short answer without a negation.

    >>> read_answer("**Simple**.")
    TicketReading(ticket_class='simple', reading='clear')
    >>> read_answer("It is not simple")
    TicketReading(ticket_class='complex', reading='unclear')
    """
    if len(answer) > ANSWER_CHARACTERS:
        return UNCLEAR
    words = {word.lower() for word in _WORD.findall(answer)}
    named = words & {"simple", "complex"}
    if len(named) != 1 or words & _NEGATIONS:
        return UNCLEAR
    return TicketReading("simple" if "simple" in named else "complex", "clear")
