"""Whether a usage can belong to its text.

Measured on 45,744 pairs of a text and a tokenizer (cl100k, o200k, Mistral's tekken and its first sentencepiece, Qwen,
Llama 3; tickets, prompts, program text, tables, digits, base64, 20 languages, other scripts, emoji): bytes a token 0.99 to 50, in prose of
latin letters 1.91 to 7, in any text but drawn lines at most 10.1; not one was flagged, with other letters as they are or escaped. The cases below are like them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from served_home import completion, http, scripted, sse

from ledger.events import CallSettled
from ledger.usage import Usage
from router.plausible import OVER_TEXT, UNDER_TEXT, doubt_of_items, doubt_of_messages, doubt_of_text

PROSE = "We have looked at your order and it will be sent tomorrow. " * 30  # 1,770 bytes, 360 words


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def usage(output: int, reasoning: int | None = None) -> Usage:
    return Usage(input_tokens=10, output_tokens=output, reasoning_tokens=reasoning)


def raw(**fields: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps({"role": "assistant", "content": None, "refusal": None} | fields).encode())


HONEST = [
    # text, the fewest and the most tokens that the measured tokenizers make of it
    (PROSE, 391, 391),
    ("Die Überweisung wurde zurückgebucht, bitte prüfen Sie Ihre Kontonummer. " * 20, 321, 461),
    ("銀行口座の確認が必要です。" * 50, 400, 850),
    ("Наши записи показывают, что перевод выполнен. " * 30, 301, 540),
    ("7686830079604566126160393401316295" * 30, 340, 1021),
    ("-" * 78 + "\nHeading\n" + "=" * 78 + "\n", 5, 17),
    ("  " * 400 + "x = 1\n", 12, 55),
    ("🙏🚀" * 100, 200, 800),
    ("OK", 1, 1),
    ("", 0, 0),
]


@pytest.mark.parametrize(("text", "least", "most"), HONEST)
def test_no_tokenizer_makes_an_honest_count_look_odd(text: str, least: int, most: int) -> None:
    assert [doubt_of_text(text, tokens, 16) for tokens in (least, most)] == [None, None]


def test_prose_is_doubted_below_its_words_and_above_what_letters_can_be() -> None:
    # 360 words: fewer than 360 - 16 tokens cannot write them. 1,770 / 1.75 + 16 = 1,027.4 is the most.
    told = [doubt_of_text(PROSE, tokens, 16) for tokens in (343, 344, 1027, 1028)]

    assert told == [UNDER_TEXT, None, None, OVER_TEXT]


def test_a_usage_is_held_against_what_is_visible() -> None:
    said = raw(content=PROSE)
    thought = raw(content=PROSE, reasoning_content="Let me think about this order. " * 100)

    assert doubt_of_messages([said], usage(5_400, 5_000)) is None  # 400 are visible
    assert doubt_of_messages([said], usage(5_400)) == OVER_TEXT
    assert doubt_of_messages([thought], usage(1_100)) is None  # shown, and not told apart
    assert doubt_of_messages([thought], usage(1_100, 700)) is None
    assert doubt_of_messages([thought], usage(200)) == UNDER_TEXT


def test_tool_calls_count_and_pictures_and_sound_cannot_be_told() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "find", "arguments": json.dumps({"q": PROSE})}}

    assert doubt_of_messages([raw(tool_calls=[call])], usage(420)) is None
    assert doubt_of_messages([raw(tool_calls=[call])], usage(60)) == UNDER_TEXT
    assert doubt_of_messages([raw(tool_calls=[call])], usage(9_000)) == OVER_TEXT
    assert doubt_of_messages([raw(audio={"data": "UklGR" * 10_000})], usage(300)) is None


def test_what_is_beside_the_text_is_not_taken_for_it() -> None:
    sources = [{"type": "url_citation", "url_citation": {"url": f"https://example.org/{n}"}} for n in range(200)]

    assert doubt_of_messages([raw(content="See these.", annotations=sources)], usage(4)) is None


def test_several_choices_are_weighed_together() -> None:
    assert doubt_of_messages([raw(content=PROSE)] * 3, usage(1_200)) is None
    assert doubt_of_messages([raw(content=PROSE)] * 3, usage(400)) == UNDER_TEXT


def test_a_response_has_no_more_tokens_than_its_items_have_bytes() -> None:
    item = msgspec.Raw(
        json.dumps({"type": "message", "content": [{"type": "output_text", "text": "x" * 100}]}).encode()
    )

    assert doubt_of_items([item], usage(100)) is None
    assert doubt_of_items([item], usage(5_000)) == OVER_TEXT
    assert doubt_of_items([item], usage(5_000, 4_950)) is None


@pytest.mark.anyio
@pytest.mark.parametrize(("tokens", "expected"), [(400, None), (200, UNDER_TEXT), (2_000, OVER_TEXT)])
async def test_a_whole_reply_whose_usage_cannot_be_its_texts_is_charged_as_reported_and_flagged(
    tmp_path: Path, tokens: int, expected: str | None
) -> None:
    async def answer(_: bytes, writer: Any) -> None:
        writer.write(http(completion(PROSE, usage={"prompt_tokens": 10, "completion_tokens": tokens})))

    async with scripted(tmp_path, answer) as running:
        status, _, _ = await running.chat(max_tokens=4_000)

        (event,) = running.events(CallSettled)
        assert (status, event.usage_source, event.usage_anomaly) == (200, "reported", expected)
        assert event.usage_output_tokens == tokens
        # 10 at 0.40 and the tokens at 2.00 a million.
        assert event.cost_usd == {400: "0.000804", 200: "0.000404", 2_000: "0.004004"}[tokens]


WORDS = [" word"] * 400
STREAMS: dict[str, tuple[list[Any], int, str | None]] = {
    "a token an event": (WORDS, 400, None),
    "more tokens than bytes": (WORDS, 2_200, OVER_TEXT),
    "fewer tokens than events": (WORDS, 250, UNDER_TEXT),
    "several words an event": ([" word word word"] * 130, 390, None),
    "a letter an event": (list("word " * 100), 110, None),
    "nothing but a few large events": ([PROSE] * 3, 1_200, None),
    "quotes and line ends": (['"', "\\", "\n", "word"] * 100, 380, None),
    "padding that hides the length": (
        [{"choices": [{"index": 0, "delta": {"content": " w"}}], "obfuscation": "x" * n} for n in range(60)],
        2_200,
        None,
    ),
    "thoughts first": (
        [{"choices": [{"index": 0, "delta": {"reasoning_content": " hm"}}]}] * 200 + WORDS,
        2_200,
        None,
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize(("said", "tokens", "expected"), STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("size", [180, 4_096, 10**6])
async def test_a_streams_usage_is_held_against_the_length_of_its_events(
    tmp_path: Path, said: list[Any], tokens: int, expected: str | None, size: int
) -> None:
    told = {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": tokens}}
    body = sse(*said, None, told)

    async def answer(_: bytes, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        for at in range(0, len(body), size):
            writer.write(body[at : at + size])
            await writer.drain()

    async with scripted(tmp_path, answer) as running:
        status, _ = await running.stream(max_tokens=4_000)

        (event,) = running.events(CallSettled)
        assert (status, event.outcome, event.usage_source) == (200, "ok", "reported")
        assert event.usage_anomaly == expected
