"""A provider's unstreamed reply: what the ledger needs is read, the bytes stay as they are.

The gateway's own object is put before the last brace, so a client gets what the provider sent, to the byte, and one
key more.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from ledger.usage import UnknownUsage, Usage, read_usage
from router.plausible import doubt_of_messages

NAME_CHARACTERS = 256
FINISH_REASONS_AT_MOST = 128


class BadReply(ValueError):
    """A reply that is no chat completion; `str()` says why, without quoting it."""


class _Choice(msgspec.Struct):
    finish_reason: Any = None
    message: Raw = Raw(b"{}")


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    id: Any = None
    model: Any = None
    usage: Any = None


class _Message(msgspec.Struct):
    content: Any = None
    tool_calls: Any = None
    function_call: Any = None
    refusal: Any = None
    reasoning_content: Any = None


_COMPLETION = msgspec.json.Decoder(_Completion)
_MESSAGE = msgspec.json.Decoder(_Message)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What a reply says about itself. Shapes: `has_output` is whether any choice holds text or a tool call; `doubt`, what in the
    text speaks against the usage.
    """

    model: str | None
    response_id: str | None
    usage: Usage | UnknownUsage
    finish_reasons: tuple[str, ...]
    has_output: bool
    doubt: str | None = None


def read_reply(body: bytes) -> Reply:
    """Errors: BadReply for anything that is not a chat completion."""
    try:
        found = _COMPLETION.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadReply("its body is not a chat completion") from None
    usage = read_usage(found.usage)
    reasons = finish_reasons([choice.finish_reason for choice in found.choices])
    doubt = None
    if isinstance(usage, Usage) and "content_filter" not in reasons:
        doubt = doubt_of_messages([choice.message for choice in found.choices], usage)
    return Reply(
        model=name_or_none(found.model),
        response_id=name_or_none(found.id),
        usage=usage,
        finish_reasons=reasons,
        doubt=doubt,
        # Only a claim of no output has to be held against the text; reading every message would cost its length.
        has_output=isinstance(usage, Usage) and (usage.output_tokens > 0 or any(map(_has_output, found.choices))),
    )


def first_text(body: bytes) -> str:
    """The text of the first choice of a reply that was read before; empty when it holds none."""
    choices = _COMPLETION.decode(body).choices
    content = _MESSAGE.decode(choices[0].message).content if choices else None
    return content if isinstance(content, str) else ""


class Message(NamedTuple):
    """What the first choice of a reply says: its text, and whether it asks for tools or says that it refuses."""

    text: str
    calls_tools: bool
    is_refused: bool


def first_message(body: bytes) -> Message:
    """The first choice of a reply that was read before; one without a message says nothing."""
    choices = _COMPLETION.decode(body).choices
    try:
        said = _MESSAGE.decode(choices[0].message) if choices else _Message()
    except msgspec.DecodeError:
        said = _Message()
    text = said.content if isinstance(said.content, str) else ""
    return Message(text, bool(said.tool_calls or said.function_call), bool(said.refusal))


def spliced(body: bytes, extra: bytes) -> bytes:
    """The reply with more keys before its last brace. Shapes: `extra` is `"key":value` pairs, without braces."""
    return b"%b,%b}" % (body.rstrip()[:-1], extra)


def name_or_none(found: object) -> str | None:
    """A provider's id or model name as an event can hold it; None when it sent nothing usable."""
    return found[:NAME_CHARACTERS] if isinstance(found, str) and found else None


def finish_reasons(found: Any) -> tuple[str, ...]:
    """The finish reasons as an event can hold them."""
    named = [reason[:NAME_CHARACTERS] for reason in found if isinstance(reason, str) and reason]
    return tuple(named[:FINISH_REASONS_AT_MOST])


def _has_output(choice: _Choice) -> bool:
    try:
        message = _MESSAGE.decode(choice.message)
    except msgspec.DecodeError:
        return False
    return any((message.content, message.tool_calls, message.function_call, message.refusal, message.reasoning_content))
