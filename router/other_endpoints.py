"""Embeddings and responses: passed through like a chat completion, held and charged alike.

Both become a ChatRequest with another endpoint, so one path makes every call; here stands what differs: which request can be
held for, what a reply says about itself, and how a stream of responses ends. An embedding writes nothing, so its bound is 0.
A response is refused where its input lies with the provider or grows there, since no hold could cover it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from ledger.usage import UnknownUsage, Usage, read_usage
from router.chat_reply import BadReply, Reply, name_or_none
from router.chat_request import ChatRequest, passed_through, read_fields, read_request
from router.errors import BadRequest
from router.event_stream import BrokenStream, StreamScan
from router.plausible import doubt_of_items

# Fields of a response whose input the provider keeps or makes, so that its length is not known here.
_KEPT_THERE = ("previous_response_id", "conversation", "prompt")
_OWN_TOOLS = ("function", "custom")
_ENDED = ("response.completed", "response.incomplete")
_FAILED = ("response.failed", "response.cancelled", "error")
_CUT = "max_output_tokens"


class _Tool(msgspec.Struct):
    type: str


class _Embeddings(msgspec.Struct):
    data: list[Raw]
    model: Any = None
    usage: Any = None


class _Reasons(msgspec.Struct):
    reason: Any = None


class _Response(msgspec.Struct):
    id: Any = None
    model: Any = None
    status: Any = None
    usage: Any = None
    output: list[Raw] | None = None
    incomplete_details: _Reasons | None = None


class _Event(msgspec.Struct):
    type: str
    response: _Response | None = None


_TOOLS = msgspec.json.Decoder(list[_Tool] | None)
_BOOL = msgspec.json.Decoder(bool | None)
_EMBEDDINGS = msgspec.json.Decoder(_Embeddings)
_RESPONSE = msgspec.json.Decoder(_Response)
_EVENT = msgspec.json.Decoder(_Event)


def read_embedding_request(body: bytes) -> ChatRequest:
    """What POST /v1/embeddings asks for. Errors: BadRequest naming the field."""
    fields = read_fields(body)
    _require(fields, "input")
    return replace(passed_through(fields, "embeddings"), max_output_tokens=0, purpose="other", stream=False)


def read_response_request(body: bytes) -> ChatRequest:
    """What POST /v1/responses asks for.

    Errors: BadRequest naming the field, also for one that makes the length of the input unknown.
    """
    fields = read_fields(body)
    _require(fields, "input")
    for name in _KEPT_THERE:
        if bytes(fields.get(name, Raw(b"null"))) != b"null":
            raise BadRequest(
                f"{name} refers to input that lies with the provider, so its cost cannot be held. Send the whole input.",
                param=name,
            )
    try:
        if _BOOL.decode(fields.get("background", Raw(b"null"))):
            raise BadRequest("background is not taken: the call's end could not be recorded.", param="background")
        tools = _TOOLS.decode(fields.get("tools", Raw(b"null"))) or []
    except (msgspec.DecodeError, RecursionError):
        raise BadRequest("background must be true or false, tools a list of objects with a type.") from None
    for tool in tools:
        if tool.type not in _OWN_TOOLS:
            raise BadRequest(
                "tools may be of type function or custom: others read input at the provider, whose cost cannot be held.",
                param="tools",
            )
    return passed_through(fields, "responses")


REQUEST_AT = {
    "/v1/chat/completions": read_request,
    "/v1/embeddings": read_embedding_request,
    "/v1/responses": read_response_request,
}


def read_embeddings(body: bytes) -> Reply:
    """What a reply of embeddings says. Errors: BadReply."""
    try:
        found = _EMBEDDINGS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadReply("its body is not a list of embeddings") from None
    usage = found.usage
    if isinstance(usage, Mapping) and "prompt_tokens" in usage:
        usage = {"completion_tokens": 0, **usage}  # an embedding has none, and says nothing of them
    return Reply(
        model=name_or_none(found.model),
        response_id=None,
        usage=read_usage(usage),
        finish_reasons=(),
        has_output=False,
    )


def read_response(body: bytes) -> Reply:
    """What an unstreamed response says. Errors: BadReply, also for one that has not ended."""
    try:
        found = _RESPONSE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadReply("its body is not a response") from None
    if found.status not in ("completed", "incomplete"):
        raise BadReply("its status is not completed or incomplete")
    usage = read_usage(found.usage)
    return Reply(
        model=name_or_none(found.model),
        response_id=name_or_none(found.id),
        usage=usage,
        finish_reasons=(_reason(found),),
        has_output=bool(found.output),
        doubt=doubt_of_items(found.output, usage) if isinstance(usage, Usage) else None,
    )


class ResponseScan(StreamScan):
    """Reads a stream of response events: usage stands in the last, which is held back until the call is settled."""

    def __init__(self) -> None:
        super().__init__(choices=1, wants_usage=False)
        self._output: list[Raw] | None = None

    def doubt(self, usage: Usage | UnknownUsage) -> str | None:
        """As of an unstreamed response, whose output stands in the last event."""
        return doubt_of_items(self._output, usage) if self.is_complete and isinstance(usage, Usage) else None

    def _passing(self, whole: bytes) -> bytes:
        return self._read_events(whole)

    def _read_event(self, event: bytes) -> bytes:
        event = event.strip(b"\n")
        if not event or self.is_done:
            return b""
        data = b"\n".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
        if not data or data == b"[DONE]":
            return b"" if data else event + b"\n\n"
        try:
            found = _EVENT.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BrokenStream("an event is not one of a response") from None
        if found.response is not None:
            self.model = name_or_none(found.response.model) or self.model
            self.response_id = name_or_none(found.response.id) or self.response_id
            if found.response.usage is not None:
                self.usage = found.response.usage
        if found.type in _FAILED:
            self.error = found.type
            return b""
        if found.type in _ENDED and found.response is not None:
            self._reasons.append(_reason(found.response))
            self.is_done, self._output = True, found.response.output
            self._held.append(event + b"\n\n")
            return b""
        self.chunks += found.type.endswith(".delta")
        return event + b"\n\n"

    def closing(self, extra: bytes) -> bytes:
        """The last event with the gateway's own key beside the response; a stream of responses has no other end mark."""
        last = self._held[-1].rstrip(b"\n")
        spliced = b"%b,%b}" % (last[:-1], extra) if last.endswith(b"}") else last
        return b"".join((self._last, spliced, b"\n\n"))


def _reason(found: _Response) -> str:
    """Why it ended, in the words of chat completions where they have one."""
    if found.status == "completed":
        return "stop"
    why = found.incomplete_details.reason if found.incomplete_details else None
    return "length" if why == _CUT else name_or_none(why) or "incomplete"


def _require(fields: Mapping[str, Raw], name: str) -> None:
    if bytes(fields.get(name, Raw(b"null"))) in (b"null", b'""', b"[]"):
        raise BadRequest(f"{name} is missing or empty.", param=name)
