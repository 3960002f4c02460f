"""A provider's event stream on its way to the client: forwarded as bytes, read only where it says something.

Whole events go on as they came. Only blocks with a finish reason, a usage object, an error, an end or an odd
shape are taken apart. From the last finish reason on events are held back, so that the call can be settled first:
then the gateway's own object goes into the usage chunk if the client asked for one, else into the last finish
chunk (clients keep unknown fields of a chunk; an extra chunk without choices breaks those who index choices[0]).

A stream ends well only with a finish reason and a `[DONE]` whose line is complete. A client takes a stream
that was cut for a whole one, so a cut stream gets an error frame and no `[DONE]`.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ledger.usage import UnknownUsage, Usage
from router.chat_reply import finish_reasons, name_or_none
from router.plausible import StreamText

EVENT_BYTES_AT_MOST = 2**20  # one event, or all those held back
DONE = b"data: [DONE]\n\n"
_SIGNAL = re.compile(rb'"finish_reason"\s*:\s*"|"usage"\s*:\s*\{|"error"\s*:')
_OF_TEXT = frozenset(("stop", "length"))  # finish reasons of a reply that is text alone
_BOM = b"\xef\xbb\xbf"


class BrokenStream(ValueError):
    """Bytes that are no event stream of chat chunks; `str()` names what was wrong, without quoting it."""


class _Choice(msgspec.Struct):
    index: Any = 0
    finish_reason: Any = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    id: Any = None
    model: Any = None
    created: Any = None
    usage: Any = None
    error: Any = None


_CHUNK = msgspec.json.Decoder(_Chunk)


class StreamScan:
    """Reads one stream as it passes; feed it blocks in order.

    Shapes: `is_amid` while an event has begun and the last block did not end one; `usage` is the last usage object sent, as it came; `finish_reasons` in the order of arrival; `error` is the
    provider's error object when it sent one inside the stream.
    """

    def __init__(self, *, choices: int, wants_usage: bool) -> None:
        self._choices, self._wants_usage = choices, wants_usage
        self._tail = self._last = b""
        self._ended_in_cr = self._has_begun = False
        self._finished: set[object] = set()
        self._reasons: list[object] = []
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._usage_event: bytes | None = None
        self._is_first = True
        self._text = StreamText()
        self._created: object = None
        self.model: str | None = None
        self.response_id: str | None = None
        self.usage: object = None
        self.error: object = None
        self.is_done = self.is_amid = False
        self.chunks = 0

    @property
    def finish_reasons(self) -> tuple[str, ...]:
        """As far as an event can hold them."""
        return finish_reasons(self._reasons)

    @property
    def is_complete(self) -> bool:
        """Whether the stream said that it had finished, and then that it was done."""
        return self.is_done and bool(self._reasons) and self.error is None

    def doubt(self, usage: Usage | UnknownUsage) -> str | None:
        """What in the text of a stream of one choice speaks against its usage; None for nothing, or where that cannot be told."""
        is_plain = self.is_complete and self._choices == 1 and set(self._reasons) <= _OF_TEXT
        return self._text.doubt(usage) if is_plain and isinstance(usage, Usage) else None

    def feed(self, block: bytes) -> bytes:
        """Take the next bytes; returns those that may go to the client now.

        Shapes: whole events, in order; what is held back or incomplete stays here. The block with the stream's end
        stays here too, since its words and the end can then go out in one write.
        Errors: BrokenStream for a chunk that is not JSON or an event without an end.
        """
        whole = self._whole_events(block)
        if not whole:
            # A comment that keeps the connection may stay open.
            self.is_amid = self._tail.lstrip()[:1] not in (b"", b":")
            return b""
        self.is_amid = False
        if self.is_done:
            return b""
        ready = self._passing(whole)
        if not self.is_done:
            return ready
        self._last = ready
        return b""

    def _passing(self, whole: bytes) -> bytes:
        read = b""
        if self._is_first:  # who answers stands in the first event
            end = whole.index(b"\n\n") + 2
            read, whole = self._read_events(whole[:end]), whole[end:]
        if self._held:
            return read + self._read_events(whole)
        signal = _SIGNAL.search(whole)
        end = len(whole) if signal is None else whole.rfind(b"\n\n", 0, signal.start()) + 2
        if end < 2:
            return read + self._read_events(whole)
        plain = whole[:end]
        events = _plain_events(plain)
        if not events:
            return read + self._read_events(whole)
        self.chunks += events
        self._text.take_plain(plain, events)
        return b"".join((read, plain, self._read_events(whole[end:])))

    def closing(self, extra: bytes) -> bytes:
        """What is left to send once the call is settled: the last words, the gateway's object in the last event, the end.

        Shapes: `extra` is a `"key":value` pair, without braces.
        """
        held = list(self._held)
        if self._wants_usage:
            held.append(self._usage_event or self._usage_chunk())
        for at in range(len(held) - 1, -1, -1):
            if held[at].endswith(b"}\n\n"):
                held[at] = b"%b,%b}\n\n" % (held[at][:-3], extra)
                break
        return b"".join((self._last, *held, DONE))

    def _whole_events(self, block: bytes) -> bytes:
        if b"\r" in block or self._ended_in_cr:
            block = self._with_newlines(block)
        if self._tail:
            block = self._tail + block
        end = block.rfind(b"\n\n") + 2
        if end < 2:
            end = 0
        self._tail = block[end:]
        if len(self._tail) > EVENT_BYTES_AT_MOST:
            raise BrokenStream("an event has no end")
        if self._has_begun or not end:
            return block[:end]
        self._has_begun = True
        return block[:end].removeprefix(_BOM)

    def _with_newlines(self, block: bytes) -> bytes:
        """CRLF and CR line ends as LF; an LF at the very start belongs to a CR before it."""
        if self._ended_in_cr:
            block = block.removeprefix(b"\n")
        self._ended_in_cr = block.endswith(b"\r")
        return block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _read_events(self, events: bytes) -> bytes:
        return b"".join(map(self._read_event, events[:-2].split(b"\n\n"))) if events else b""

    def _read_event(self, event: bytes) -> bytes:
        event = event.lstrip(b"\n")
        if not event or self.is_done:
            return b""
        data = _data_of(event)
        if data is None:  # a comment or another field; it means nothing to us and passes
            return b"" if self._held else event + b"\n\n"
        if data == b"[DONE]":
            self.is_done = True
            return b""
        chunk = self._read_chunk(data)
        if chunk.error is not None:
            self.error = chunk.error
            return b""
        if chunk.usage is not None:
            self.usage = chunk.usage
            if not chunk.choices:
                self._usage_event = event + b"\n\n"
                return b""
        self.chunks += 1
        self._text.take_read(event)
        return self._pass_or_hold(event + b"\n\n", chunk)

    def _pass_or_hold(self, event: bytes, chunk: _Chunk) -> bytes:
        for choice in chunk.choices or ():
            if choice.finish_reason is not None:
                self._finished.add(str(choice.index))
                self._reasons.append(choice.finish_reason)
        if not self._held and len(self._finished) < self._choices:
            return event
        self._held.append(event)
        self._held_bytes += len(event)
        if self._held_bytes > EVENT_BYTES_AT_MOST:
            raise BrokenStream("too much follows the finish reason")
        return b""

    def _read_chunk(self, data: bytes) -> _Chunk:
        try:
            chunk = _CHUNK.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BrokenStream("an event is not a chat chunk") from None
        if self._is_first:
            self._is_first = False
            self.model, self.response_id = name_or_none(chunk.model), name_or_none(chunk.id)
            self._created = chunk.created
        return chunk

    def _usage_chunk(self) -> bytes:
        """The chunk a client asked for when the provider sent none: with the usage that another chunk had, null when it is not known."""
        created = self._created if isinstance(self._created, int) else 0
        chunk = {
            "id": self.response_id or "",
            "object": "chat.completion.chunk",
            "created": created,
            "model": self.model or "",
            "choices": [],
            "usage": self.usage,
        }
        return b"data: %b\n\n" % msgspec.json.encode(chunk)


class Collected:
    """The blocks of a stream, as long as they stay within `at_most` bytes; what is larger is let go."""

    __slots__ = ("_at_most", "_blocks", "_size")

    def __init__(self, at_most: int) -> None:
        self._at_most, self._size = at_most, 0
        self._blocks: list[bytes] = []

    def take(self, block: bytes) -> None:
        """Add the next block."""
        if self._at_most:
            self._size += len(block)
            self._blocks.append(block)
            if self._size > self._at_most:
                self._at_most = 0
                self._blocks.clear()

    @property
    def body(self) -> bytes:
        """All of it, or nothing."""
        return b"".join(self._blocks)


def error_frame(error: bytes) -> bytes:
    """An error object as the last event of a stream; OpenAI's clients raise on it."""
    return b"data: %b\n\n" % error


def _plain_events(events: bytes) -> int:
    """How many events there are if every one is a `data: {…}` line and nothing else stands between them; else 0."""
    number = events.count(b"}\n\ndata: {") + 1
    is_plain = events.startswith(b"data: {") and events.endswith(b"}\n\n") and events.count(b"\n") == 2 * number
    return number if is_plain else 0


def _data_of(event: bytes) -> bytes | None:
    if event.startswith(b"data:") and b"\n" not in event:
        return event[5:].strip()
    lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines).strip() if lines else None
