"""Reading the classifier's answer: tolerant about form, strict about meaning, never silent about doubt."""

from __future__ import annotations

import json

import pytest

from router.classify import MARKER, UNCLEAR, read_answer, request_body


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("simple", "simple"),
        ("complex", "complex"),
        ("Simple.", "simple"),
        ("  COMPLEX\n", "complex"),
        ("**simple**", "simple"),
        ("`complex`", "complex"),
        ('"Simple"', "simple"),
        ("This ticket is complex.", "complex"),
        ("Class: simple", "simple"),
        ("simple simple", "simple"),
        ("_complex_", "complex"),
    ],
)
def test_a_clear_answer_is_read_whatever_its_form(answer: str, expected: str) -> None:
    assert read_answer(answer) == (expected, "clear")


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "medium",
        "It depends on the account.",
        "simple or complex",
        "not simple",
        "This isn't complex",
        "simplex",
        "complexity is low",
        "simply",
        "neither",
        "simple " + "word " * 60,
        "简单",
    ],
)
def test_anything_else_counts_as_complex_and_is_recorded_as_unclear(answer: str) -> None:
    assert read_answer(answer) == UNCLEAR == ("complex", "unclear")


def test_the_call_begins_with_the_marker_and_carries_the_ticket_cut_to_its_length() -> None:
    body = json.loads(
        request_body(
            "x" * 50, model="m", text_characters=20, max_completion_tokens=16, output_bound="max_completion_tokens"
        )
    )

    system, user = body["messages"]
    assert system["content"].splitlines()[0] == MARKER == "You sort support tickets."
    assert user == {"role": "user", "content": "x" * 20}
    assert (body["model"], body["max_completion_tokens"]) == ("m", 16)
