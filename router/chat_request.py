"""A chat completion request: parsed once, its known fields read, all others carried as the bytes they came in.

The body is decoded to its top-level keys with raw values. What the gateway needs is read out of single values; what
it sets is put in as bytes; the rest is copied. So unknown fields pass through untouched, a key given twice counts
once (the last), and a 100 KB prompt is walked over a single time.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple, get_args

import msgspec
from msgspec import Raw

from ledger.events import Purpose
from router.attachments import pictures_in
from router.capabilities import OTHER_BOUND, Capabilities
from router.errors import BadRequest

AUTO = "auto"  # the model name that means: classify and route
NAME_CHARACTERS = 256  # of a model or ticket id; what an event can hold
OUTPUT_TOKENS_AT_MOST = 10_000_000
CHOICES_AT_MOST = 128
FIELDS_AT_MOST = 256  # OpenAI's contract has some forty
_KEY_BYTES = 24  # a key of a request with its marks

_SOME = re.compile(rb"\[[][ \t\r\n]*[^][ \t\r\n]")  # a list with something in it
_FIELDS = msgspec.json.Decoder(dict[str, Raw])
_TEXT = msgspec.json.Decoder(str)
_encode = msgspec.json.encode
PURPOSES: tuple[str, ...] = get_args(Purpose)
# Paths at the provider, and what bounds the output of each; an embedding has none.
Endpoint = Literal["chat/completions", "embeddings", "responses"]
_OWN_METADATA = ("ticket_id", "purpose")


class _Message(msgspec.Struct):
    role: str
    content: Raw = Raw(b"null")


class _Part(msgspec.Struct):
    text: str | None = None


class _Kind(NamedTuple):
    """A type a field may have besides null: its decoder, and its name in a sentence."""

    decoder: msgspec.json.Decoder[Any]
    words: str


_SWITCH = _Kind(msgspec.json.Decoder(bool | None), "true or false")
_NUMBER = _Kind(msgspec.json.Decoder(int | None), "a whole number")
_STRING = _Kind(msgspec.json.Decoder(str | None), "a text")
_OBJECT = _Kind(msgspec.json.Decoder(dict[str, Any] | None), "an object")
_LIST = _Kind(msgspec.json.Decoder(list[Raw] | None), "a list")
_MESSAGES = msgspec.json.Decoder(list[_Message])
_PARTS = msgspec.json.Decoder(list[_Part])


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asked for.

    Shapes: `fields` are the body's top-level values as bytes; `max_output_tokens` is the client's own bound over one
    choice, None when it gave none; `wants_usage` is stream_options.include_usage.
    """

    fields: dict[str, Raw]
    model: str
    stream: bool = False
    wants_usage: bool = False
    choices: int = 1
    max_output_tokens: int | None = None
    ticket_id: str | None = None
    purpose: Purpose = "generation"
    endpoint: Endpoint = "chat/completions"
    pictures: int = 0

    @property
    def bytes_at_most(self) -> int:
        """About what its body will have, rather more than less: what it came with, and room for what is imposed."""
        return sum(map(len, self.fields.values())) + _KEY_BYTES * (len(self.fields) + 2)


def read_request(body: bytes) -> ChatRequest:
    """The request a body states.

    Errors: BadRequest naming the field; the content is never quoted.
    """
    return _request_of(read_fields(body))


def _request_of(fields: dict[str, Raw]) -> ChatRequest:
    model = _model(fields)
    messages = fields.get("messages")
    if messages is None or _SOME.match(messages) is None:
        raise BadRequest("messages must be a list with at least one message.", param="messages")
    options = _field(fields, "stream_options", _OBJECT) or {}
    metadata = _field(fields, "metadata", _OBJECT) or {}
    return ChatRequest(
        fields=fields,
        model=model,
        stream=bool(_field(fields, "stream", _SWITCH)),
        wants_usage=options.get("include_usage") is True,
        choices=_count(fields, "n", CHOICES_AT_MOST) or 1,
        max_output_tokens=_output_bound(fields),
        ticket_id=name_of(metadata.get("ticket_id"), "metadata.ticket_id"),
        purpose=_purpose(metadata.get("purpose")),
        pictures=pictures_in(messages, "messages"),
    )


def passed_through(fields: dict[str, Raw], endpoint: Endpoint) -> ChatRequest:
    """A request of another endpoint, whose body nobody here reads more of. Errors: BadRequest naming the field."""
    metadata = _field(fields, "metadata", _OBJECT) or {}
    return ChatRequest(
        fields=fields,
        model=_model(fields),
        stream=bool(_field(fields, "stream", _SWITCH)),
        max_output_tokens=_count(fields, "max_output_tokens", OUTPUT_TOKENS_AT_MOST),
        ticket_id=name_of(metadata.get("ticket_id"), "metadata.ticket_id"),
        purpose=_purpose(metadata.get("purpose")),
        endpoint=endpoint,
        pictures=pictures_in(fields.get("input"), "input") if endpoint == "responses" else 0,
    )


def read_fields(body: bytes) -> dict[str, Raw]:
    """The top-level keys of a JSON object with their raw values. Errors: BadRequest."""
    try:
        if not body.isascii():
            body.decode()
        fields = _FIELDS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as refused:
        raise BadRequest(f"The body is not a JSON object: {_place(refused)}.") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply.") from None
    if len(fields) > FIELDS_AT_MOST:
        raise BadRequest(f"The body has {len(fields)} fields; {FIELDS_AT_MOST} are taken.")
    return fields


def last_user_text(fields: dict[str, Raw]) -> str:
    """The text of the last user message, the ticket of a routed call.

    Shapes: of a message in parts, the texts one after the other.
    Errors: BadRequest when there is none or it is empty.
    """
    try:
        messages = _MESSAGES.decode(fields["messages"])
        for message in reversed(messages):
            if message.role == "user":
                return required_text(_content(message.content), "messages")
    except (msgspec.DecodeError, RecursionError):
        raise BadRequest("messages must be a list of objects with a role and a content.", param="messages") from None
    raise BadRequest('model "auto" needs a message of role user: it is the ticket to sort.', param="messages")


def all_text(fields: dict[str, Raw]) -> str:
    """The texts of all messages, one a line, of a request whose ticket was read before."""
    found: list[str] = []
    for message in _MESSAGES.decode(fields["messages"]):
        try:
            found.append(_content(message.content) or "")
        except (msgspec.DecodeError, BadRequest):
            continue  # no text: the provider judges what it is
    return "\n".join(found)


def upstream_body(request: ChatRequest, *, model: str, max_output_tokens: int, takes: Capabilities) -> bytes:
    """The bytes that go to the provider.

    Shapes: the client's body with the model replaced, the bound imposed where the client set none and else under the
    name the provider takes, usage asked for in a stream, and what the provider refuses and the gateway's own metadata taken out.
    """
    fields = dict(request.fields)
    if request.model != model:
        fields["model"] = _raw(model)
    is_chat = request.endpoint == "chat/completions"
    if is_chat:
        _set_bound(fields, request.max_output_tokens, max_output_tokens, takes)
        _set_stream_usage(fields, request, takes)
    elif request.max_output_tokens is None:
        fields["max_output_tokens"] = _raw(max_output_tokens)
    if is_chat and not takes.takes_metadata:
        fields.pop("metadata", None)
    elif "metadata" in fields:
        _strip_metadata(fields)
    return _encode(fields)


def ticket_fields(body: bytes) -> tuple[dict[str, Raw], str, str | None]:
    """What POST /v1/tickets states: its other fields, the ticket's text, the ticket's id if it has one.

    Shapes: {ticket_id?, text, stream?, messages?, …}; other fields are those of a chat completion.
    Errors: BadRequest.
    """
    fields = read_fields(body)
    if "text" not in fields:
        raise BadRequest("text is missing. Send the ticket as text.", param="text")
    ticket = required_text(_field(fields, "text", _STRING), "text")
    ticket_id = name_of(_field(fields, "ticket_id", _STRING), "ticket_id")
    return {name: raw for name, raw in fields.items() if name not in ("text", "ticket_id")}, ticket, ticket_id


def ticket_request(fields: dict[str, Raw], ticket: str, ticket_id: str, *, system_prompt: str) -> ChatRequest:
    """The drafting call of a ticket: the prompt, the context the client sent, and the ticket last.

    Errors: BadRequest.
    """
    context = _field(fields, "messages", _LIST) or []
    try:
        _MESSAGES.decode(_encode(context))
    except (msgspec.DecodeError, RecursionError):
        raise BadRequest("messages must be a list of objects with a role and a content.", param="messages") from None
    messages = [_raw({"role": "system", "content": system_prompt}), *context, _raw({"role": "user", "content": ticket})]
    metadata = {**(_field(fields, "metadata", _OBJECT) or {}), "ticket_id": ticket_id}
    return _request_of({**fields, "model": _raw(AUTO), "messages": _raw(messages), "metadata": _raw(metadata)})


def name_of(found: object, param: str) -> str | None:
    """An id from outside: None when absent, else one line of 1 to 256 printable characters. Errors: BadRequest."""
    if found is None:
        return None
    if not isinstance(found, str) or not 0 < len(found) <= NAME_CHARACTERS or not found.isprintable():
        raise BadRequest(f"{param} must be a text of 1 to {NAME_CHARACTERS} printable characters.", param=param)
    return found


def required_text(found: str | None, param: str) -> str:
    """A text with something in it. Errors: BadRequest."""
    if found is None or not found.strip():
        raise BadRequest("The ticket is empty. Send its text.", param=param)
    return found


def _model(fields: dict[str, Raw]) -> str:
    model = name_of(_field(fields, "model", _STRING), "model")
    if model is None:
        raise BadRequest(f'model is missing. Name one from GET /v1/models, or "{AUTO}".', param="model")
    return model


def _output_bound(fields: dict[str, Raw]) -> int | None:
    new = _count(fields, "max_completion_tokens", OUTPUT_TOKENS_AT_MOST)
    old = _count(fields, "max_tokens", OUTPUT_TOKENS_AT_MOST)
    return new if old is None else old if new is None else max(new, old)


def _count(fields: dict[str, Raw], name: str, at_most: int) -> int | None:
    found: int | None = _field(fields, name, _NUMBER)
    if found is not None and not 1 <= found <= at_most:
        raise BadRequest(f"{name} must be a whole number from 1 to {at_most}.", param=name)
    return found


def _purpose(found: object) -> Any:
    if found is None:
        return "generation"
    if found not in PURPOSES:
        raise BadRequest(f"metadata.purpose must be one of {', '.join(PURPOSES)}.", param="metadata.purpose")
    return found


def _field(fields: dict[str, Raw], name: str, kind: _Kind) -> Any:
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return kind.decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        raise BadRequest(f"{name} must be {kind.words}.", param=name) from None


def _set_bound(fields: dict[str, Raw], own: int | None, imposed: int, takes: Capabilities) -> None:
    if own is None:
        for null in OTHER_BOUND:
            fields.pop(null, None)
        fields[takes.imposed_bound] = _raw(imposed)
    elif takes.output_bound is not None and OTHER_BOUND[takes.output_bound] in fields:
        del fields[OTHER_BOUND[takes.output_bound]]
        fields[takes.output_bound] = _raw(own)


def _set_stream_usage(fields: dict[str, Raw], request: ChatRequest, takes: Capabilities) -> None:
    asks = request.stream and takes.asks_stream_usage and not request.wants_usage
    if takes.takes_stream_usage and not asks:
        return
    options = _field(fields, "stream_options", _OBJECT) or {}
    if asks:
        options["include_usage"] = True
    else:
        options.pop("include_usage", None)
    if options:
        fields["stream_options"] = _raw(options)
    else:
        fields.pop("stream_options", None)


def _content(raw: Raw) -> str | None:
    if bytes(raw)[:1] == b"[":
        return "\n".join(part.text for part in _PARTS.decode(raw) if part.text)
    return None if bytes(raw) == b"null" else _TEXT.decode(raw)


def _strip_metadata(fields: dict[str, Raw]) -> None:
    """Our own keys go no further: a provider has no business with ticket ids, and some refuse metadata altogether."""
    metadata = _field(fields, "metadata", _OBJECT) or {}
    rest = {name: value for name, value in metadata.items() if name not in _OWN_METADATA}
    if not rest:
        fields.pop("metadata", None)
    elif len(rest) < len(metadata):
        fields["metadata"] = _raw(rest)


def foreign_metadata(fields: dict[str, Raw]) -> bytes:
    """The client's metadata without the gateway's own keys, in the order of its keys: what may change an answer."""
    if "metadata" not in fields:
        return b""
    metadata = _field(fields, "metadata", _OBJECT) or {}
    return _encode({name: value for name, value in sorted(metadata.items()) if name not in _OWN_METADATA})


def _raw(value: object) -> Raw:
    return Raw(_encode(value))


def _place(refused: Exception) -> str:
    """The complaint without any of the content. UnicodeDecodeError would quote the byte only, msgspec nothing."""
    if isinstance(refused, UnicodeDecodeError):
        return f"byte {refused.start} is not UTF-8"
    complaint = str(refused).removeprefix("JSON is malformed: ")
    return complaint[:1].lower() + complaint[1:]
