"""A stream on its way: forwarded to the byte, read where it speaks, and never whole when it was cut."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from served_home import USAGE, sse

from router.event_stream import DONE, EVENT_BYTES_AT_MOST, BrokenStream, StreamScan

OWN = b'"halfpenny":{"call_id":"c"}'
WHOLE = sse("Hel", "lo", " there", None, USAGE)


def passed(*blocks: bytes, asked: bool = False, choices: int = 1) -> tuple[bytes, StreamScan]:
    """What reaches the client while the stream runs, and the scan at its end."""
    scan = StreamScan(choices=choices, wants_usage=asked)
    return b"".join(scan.feed(block) for block in blocks), scan


def received(*blocks: bytes, choices: int = 1) -> bytes:
    """All that a client gets that did not ask for usage, without the gateway's own key."""
    now, scan = passed(*blocks, choices=choices)
    return (now + scan.closing(OWN)).replace(b"," + OWN, b"")


def events(stream: bytes) -> list[Any]:
    """The data of each event, [DONE] as text."""
    found = [event.removeprefix(b"data: ") for event in stream.split(b"\n\n") if event.startswith(b"data: ")]
    return [data.decode() if data == b"[DONE]" else json.loads(data) for data in found]


def test_a_client_that_did_not_ask_gets_no_usage_chunk_and_the_cost_in_the_finish_chunk() -> None:
    now, scan = passed(WHOLE.removesuffix(DONE), DONE)

    later = scan.closing(OWN)

    assert now == sse("Hel", "lo", " there", done=False)
    finish, done = events(later)
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert (finish["halfpenny"], done) == ({"call_id": "c"}, "[DONE]")
    assert scan.usage == USAGE["usage"]


def test_a_client_that_asked_gets_the_usage_chunk_with_the_cost_in_it() -> None:
    _, scan = passed(WHOLE.removesuffix(DONE), DONE, asked=True)

    finish, usage, done = events(scan.closing(OWN))

    assert "halfpenny" not in finish
    assert (usage["choices"], usage["usage"], usage["halfpenny"]) == ([], USAGE["usage"], {"call_id": "c"})
    assert done == "[DONE]"


def test_a_usage_that_never_came_is_null_in_the_chunk_the_client_asked_for() -> None:
    _, scan = passed(sse("Hi", None), asked=True)

    usage = events(scan.closing(OWN))[-2]

    assert (usage["choices"], usage["usage"], usage["id"]) == ([], None, "chatcmpl-1")


def test_a_stream_cut_at_any_byte_is_never_whole() -> None:
    for end in range(len(WHOLE)):
        _, scan = passed(WHOLE[:end])

        assert not scan.is_complete, WHOLE[:end][-30:]

    assert passed(WHOLE)[1].is_complete


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_blocks_of_any_size_and_any_line_end_say_the_same(ending: str) -> None:
    sent = b": hello\n\nevent: x\ndata: {}\n\n".replace(b"data: {}\n", b"") + WHOLE
    encoded = b"\xef\xbb\xbf" + sent.replace(b"\n", ending.encode())
    expected = received(sent)
    draws = random.Random(7)
    for _ in range(200):
        cuts = sorted(draws.sample(range(1, len(encoded)), 9))
        blocks = [encoded[a:b] for a, b in zip([0, *cuts], [*cuts, len(encoded)], strict=True)]

        now, scan = passed(*blocks)

        assert (now + scan.closing(OWN)).replace(b"," + OWN, b"") == expected
        assert (scan.is_complete, scan.finish_reasons, scan.model) == (True, ("stop",), "mistralai/Mistral-Medium-3")


def test_one_byte_at_a_time_says_the_same() -> None:
    pieces = [WHOLE[at : at + 1] for at in range(len(WHOLE))]

    assert received(*pieces) == received(WHOLE) == sse("Hel", "lo", " there", None)
    assert passed(*pieces)[1].is_complete


def test_a_text_that_talks_about_usage_and_done_is_only_text() -> None:
    words = ['"usage":{"prompt_tokens":1}', "[DONE]", "data: [DONE]\n\n", '"finish_reason":"stop"', '"error":']

    sent = sse("first", *words, None, USAGE)

    assert received(sent) == sse("first", *words, None)
    _, scan = passed(sent)
    assert scan.usage == USAGE["usage"]


def test_usage_null_in_every_chunk_is_no_usage() -> None:
    def chunk(word: str | None) -> dict[str, object]:
        finish = "stop" if word is None else None
        return {"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": finish}], "usage": None}

    _, scan = passed(sse(chunk("a"), chunk("b"), chunk(None), USAGE))

    assert (scan.usage, scan.is_complete) == (USAGE["usage"], True)


def test_of_two_usage_chunks_the_last_counts() -> None:
    second = {"choices": [], "usage": {"prompt_tokens": 99, "completion_tokens": 1}}

    assert passed(sse("a", None, USAGE, second))[1].usage == second["usage"]


def test_usage_in_the_finish_chunk_is_read_and_stays_there() -> None:
    both = {
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
    }

    _, scan = passed(sse("a", both))

    assert scan.usage == both["usage"]
    assert events(scan.closing(OWN))[-2]["usage"] == both["usage"]


def test_usage_in_the_finish_chunk_is_repeated_in_the_chunk_the_client_asked_for() -> None:
    # It was null there, so a client of a provider that sends usage unasked never learnt what it had asked for.
    finish = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": USAGE["usage"]}

    now, scan = passed(sse("Hi", finish), asked=True)

    *_, last, done = events(now + scan.closing(OWN))
    assert (last["choices"], last["usage"], done) == ([], USAGE["usage"], "[DONE]")


def test_with_two_choices_events_flow_until_both_have_finished() -> None:
    def chunk(index: int, finish: str | None) -> dict[str, object]:
        return {"choices": [{"index": index, "delta": {"content": "x"}, "finish_reason": finish}]}

    sent = sse(chunk(0, None), chunk(0, "stop"), chunk(1, None), chunk(1, "length"), USAGE)
    now, scan = passed(sent.removesuffix(DONE), DONE, choices=2)

    assert [event["choices"][0]["index"] for event in events(now)] == [0, 0, 1]
    assert scan.finish_reasons == ("stop", "length")
    assert [event["halfpenny"] for event in events(scan.closing(OWN))[:-1]] == [{"call_id": "c"}]


def test_an_end_without_a_finish_reason_is_not_whole() -> None:
    assert not passed(sse("a", "b"))[1].is_complete


def test_an_error_inside_the_stream_ends_it() -> None:
    now, scan = passed(sse("a", {"error": {"message": "overloaded"}}, None))

    assert (scan.is_complete, scan.error) == (False, {"message": "overloaded"})
    assert b"overloaded" not in now


def test_what_follows_the_end_is_left_out() -> None:
    assert received(WHOLE + sse("late"), sse("later")) == received(WHOLE)


def test_the_last_words_and_the_end_go_out_together() -> None:
    now, scan = passed(WHOLE)

    assert now == b""
    assert scan.closing(OWN).startswith(sse("Hel", "lo", " there", done=False))


@pytest.mark.parametrize(
    "broken",
    [
        b'data: {"choices":[{"index":0,"del\n\n',
        b"data: nonsense\n\n",
        b'data: "text"\n\n',
        b"data: {\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
    ],
)
@pytest.mark.parametrize("before", [b"", sse("a", "b", done=False)])
def test_an_event_that_is_no_chunk_breaks_the_stream(broken: bytes, before: bytes) -> None:
    with pytest.raises(BrokenStream):
        passed(before, broken + sse("c", None))


def test_an_event_without_an_end_is_not_collected_for_ever() -> None:
    with pytest.raises(BrokenStream):
        passed(sse("a", done=False), *([b"x" * 65_536] * (EVENT_BYTES_AT_MOST // 65_536 + 2)))
