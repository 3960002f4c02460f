"""A provider's reply: read for the ledger, handed on to the byte."""

from __future__ import annotations

import json

import pytest

from ledger.usage import UnknownUsage, Usage
from router.chat_reply import BadReply, finish_reasons, first_text, name_or_none, read_reply, spliced

CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}


def body(**fields: object) -> bytes:
    return json.dumps({"id": "c-1", "model": "m", "choices": [CHOICE]} | fields).encode()


def test_a_reply_says_who_answered_what_was_used_and_why_it_ended() -> None:
    reply = read_reply(body(usage={"prompt_tokens": 10, "completion_tokens": 5}))

    assert (reply.model, reply.response_id, reply.finish_reasons) == ("m", "c-1", ("stop",))
    assert reply.usage == Usage(input_tokens=10, output_tokens=5)
    assert reply.has_output


@pytest.mark.parametrize(
    ("usage", "why"),
    [
        (None, "absent"),
        ({}, "absent"),
        ("many", "malformed"),
        ([1], "malformed"),
        ({"prompt_tokens": "10", "completion_tokens": 5}, "malformed"),
        ({"prompt_tokens": 10.5, "completion_tokens": 5}, "malformed"),
        ({"prompt_tokens": -1, "completion_tokens": 5}, "negative"),
    ],
)
def test_a_usage_that_cannot_be_taken_is_unknown_and_the_reply_still_stands(usage: object, why: str) -> None:
    assert read_reply(body(usage=usage)).usage == UnknownUsage(why)


@pytest.mark.parametrize(
    ("message", "has_output"),
    [
        ({"content": "x"}, True),
        ({"content": ""}, False),
        ({"content": None, "tool_calls": [{"id": "1"}]}, True),
        ({"content": None, "refusal": "No."}, True),
        ({}, False),
        (None, False),
    ],
)
def test_a_claim_of_no_output_is_held_against_the_message(message: object, has_output: bool) -> None:
    reply = read_reply(
        body(choices=[CHOICE | {"message": message}], usage={"prompt_tokens": 9, "completion_tokens": 0})
    )

    assert reply.has_output == has_output


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"<html>",
        b"{}",
        b'{"choices":1}',
        b'{"choices":[1]}',
        b'{"error":{}}',
        body()[:-5],
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_what_is_no_completion_is_a_bad_reply(sent: bytes) -> None:
    with pytest.raises(BadReply):
        read_reply(sent)


def test_the_gateways_keys_go_before_the_last_brace_and_every_other_byte_stays() -> None:
    sent = b'{ "choices" : [],\n "x": 1.00 }\n '

    assert spliced(sent, b'"halfpenny":{"a":1}') == b'{ "choices" : [],\n "x": 1.00 ,"halfpenny":{"a":1}}'


def test_the_first_choices_text_is_the_draft() -> None:
    assert first_text(body()) == "Hello"
    assert first_text(body(choices=[])) == ""
    assert first_text(body(choices=[CHOICE | {"message": {"content": None}}])) == ""


def test_names_from_outside_fit_an_event() -> None:
    assert name_or_none("m" * 1000) == "m" * 256
    assert [name_or_none(found) for found in (None, "", 7, ["m"])] == [None] * 4
    assert finish_reasons(["stop", None, 7, ""]) == ("stop",)
