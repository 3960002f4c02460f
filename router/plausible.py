"""Whether a reported usage can belong to the text that came with it.

Nobody's tokenizer is known here, so the text gives bounds and no count. They are wide enough for every tokenizer
they were measured on (tests/test_router_plausible.py has the figures): what falls outside is no matter of counting. It
is charged as reported, as what is over its hold is, and flagged; the reply is not believed further, so not kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from ledger.usage import Usage

OVER_TEXT, UNDER_TEXT = "usage_over_text", "usage_under_text"
# A reply within these is not looked at more closely: bytes of its JSON for one token.
_ORDINARY_LEAST, _ORDINARY_MOST, _FRAME_BYTES = 2.5, 6.0, 60
_SLACK = 16  # tokens of a choice that are in no text: its beginning, its end, its turn
_SLACK_CALL = 64  # of a tool call: how its name and place are written
_PROSE_BYTES = 1.75  # bytes a token at least, in prose of latin letters and spaces; in any other text 1
_TEXT_BYTES = 11.0  # bytes a token at most, of what has no spaces to count
_EVENT_BYTES = 2.5  # a stream with more text an event has a token in each
_EVENTS_SHARE = 0.8  # of a stream's events that bring a token
# In an event of a stream: its text; and what is no text of the reply, or fills events up to hide how long it is.
_CONTENT = re.compile(rb'"content"\s*:\s*"((?:[^"\\]|\\.)*)"')
_ODD = re.compile(
    rb'"(?:reasoning\w*|tool_calls|function_call|logprobs|audio|images)"\s*:\s*[^n\s]|"(?:obfuscation|p)"\s*:'
)
_ODD_MARKS = (b'"reasoning', b"_call", b'logprobs":{', b'logprobs": {', b'"audio', b'"images', b'"obfuscation', b'"p"')
_LOOKED_AT_BYTES = 4096  # of a block at its two ends; one event is shorter
_WORDS = re.compile(r"[^\s\d!-&(-/:-@\[-`{-~]+|\d{1,3}")  # no tokenizer joins two of them
_RUNS = re.compile(r"(.)\1{3,}", re.DOTALL)
_LETTERS = re.compile(r"[A-Za-z ]")


class Message(msgspec.Struct):
    """What of a message is written in tokens."""

    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None
    images: Any = None


_MESSAGE = msgspec.json.Decoder(Message)


def doubt_of_messages(messages: Sequence[msgspec.Raw], usage: Usage) -> str | None:
    """What speaks against a usage, by the raw messages of a reply's choices; None for nothing.

    An ordinary one costs a look at its length.
    """
    size = sum(map(len, messages)) - _FRAME_BYTES * len(messages)
    if size <= _ORDINARY_MOST * usage.output_tokens and _ORDINARY_LEAST * usage.output_tokens <= size:
        return None
    try:
        found = [_MESSAGE.decode(message) for message in messages]
    except msgspec.DecodeError:
        return None
    if any(message.audio or message.images for message in found):
        return None
    reasoned = usage.reasoning_tokens or 0
    texts, calls = [], 0
    for message in found:
        thought = () if reasoned else (message.reasoning_content or message.reasoning,)
        texts += [said for said in (message.content, message.refusal, *thought) if isinstance(said, str)]
        for asked in (message.tool_calls, message.function_call):
            if asked:
                calls += len(asked) if isinstance(asked, list) else 1
                texts.append(msgspec.json.encode(asked).decode())
    slack = _SLACK * len(found) + _SLACK_CALL * calls
    return doubt_of_text("\n".join(texts), _visible(usage), slack)


def doubt_of_text(text: str, tokens: int, slack: int) -> str | None:
    """The same of a text. Units: `slack` tokens more may be in no text."""
    size = len(text.encode(errors="replace"))
    if tokens > (size / _PROSE_BYTES if _is_prose(text, size) else size) + slack:
        return OVER_TEXT
    drawn = _RUNS.sub(r"\1", text)  # a line of dashes or an indentation is a token or a few
    least = max(len(_WORDS.findall(drawn)), len(drawn.encode(errors="replace")) / _TEXT_BYTES)
    return UNDER_TEXT if tokens < least - slack else None


def doubt_of_items(items: Sequence[msgspec.Raw] | None, usage: Usage) -> str | None:
    """The same of a response's output items, which are only known to be at least as long as their text."""
    if not items:
        return None
    size = sum(map(len, items))
    return OVER_TEXT if _visible(usage) > size + _SLACK * len(items) else None


class StreamText:
    """How much text a stream of one choice brought, by the length of its events; what cannot be told so is unknown.

    Shapes: events that come as they are differ in their text alone, so one at the beginning and one at the end tell how
    long the rest of each is. Units: bytes as JSON writes them, which are no fewer than the text's.
    """

    __slots__ = ("_events", "_first", "_is_odd", "_last", "_plain_bytes", "_plain_events", "_read_bytes")

    def __init__(self) -> None:
        self._plain_bytes = self._plain_events = self._read_bytes = self._events = 0
        self._first = self._last = b""
        self._is_odd = False

    def take_plain(self, block: bytes, events: int) -> None:
        """Whole events that nobody reads."""
        if not self._plain_events:
            self._first = block[:_LOOKED_AT_BYTES]
        self._last = block if len(block) <= _LOOKED_AT_BYTES else block[-_LOOKED_AT_BYTES:]
        self._plain_bytes += len(block)
        self._plain_events += events

    def take_read(self, event: bytes) -> None:
        """One event that is read anyway."""
        if size := _text_bytes(event):
            self._read_bytes += size
            self._events += 1
        if b'"reasoning' in event or b"_call" in event:
            self._is_odd = self._is_odd or _ODD.search(event) is not None

    def doubt(self, usage: Usage) -> str | None:
        """What speaks against a usage; None for nothing."""
        seen = self._seen()
        if seen is None:
            return None
        size, events = seen
        if _visible(usage) > size + _SLACK:
            return OVER_TEXT
        is_a_token_each = size >= _EVENT_BYTES * events
        return UNDER_TEXT if is_a_token_each and usage.output_tokens < _EVENTS_SHARE * events - _SLACK else None

    def _seen(self) -> tuple[int, int] | None:
        """Bytes of text, and events that brought some."""
        if self._is_odd or not self._plain_events + self._events:
            return None
        size, events = self._read_bytes, self._events + self._plain_events
        if self._plain_events:
            first, last = self._first.partition(b"\n\n")[0], self._last[:-2].rpartition(b"\n\n")[2]
            ends = first + last
            if any(mark in ends for mark in _ODD_MARKS) and _ODD.search(ends) is not None:
                return None
            of_first, of_last = _text_bytes(first), _text_bytes(last)
            if of_first is None or of_last is None or len(first) - of_first != len(last) - of_last:
                return None
            size += self._plain_bytes - self._plain_events * (len(first) + 2 - of_first)
        return size, events


def _text_bytes(event: bytes) -> int | None:
    """How long the text of an event is; None when it has none."""
    at = event.find(b'"content"')
    found = _CONTENT.match(event, at) if at >= 0 else None
    return None if found is None else found.end(1) - found.start(1)


def _visible(usage: Usage) -> int:
    return usage.output_tokens - (usage.reasoning_tokens or 0)


def _is_prose(text: str, size: int) -> bool:
    spaces = text.count(" ")
    return size > 0 and 0.1 <= spaces / size <= 0.3 and len(_LETTERS.findall(text)) >= 0.85 * size
