"""OpenAI's JSON as the simulated provider reads and writes it.

Reading is strict about what the simulation uses and indifferent to the rest, as providers are: unknown fields pass.
Writing gives the same bytes for the same answer, which is why `created` is a constant and ids are content hashes.
"""

from typing import Annotated, Literal

import msgspec

from router.simulation import MODELS, Answer, Prompt, Reply, chunks

MAX_MESSAGES = 4_096
MAX_CHOICES = 8
# A fixed moment (2025-10-01T00:00:00Z): two runs with one seed give the same bytes.
CREATED = 1_759_276_800
# Fast mode sends a stream in writes of about this size; one a chunk would measure the kernel, not the gateway.
_WRITE_BYTES = 32_768
# What the fault liar_usage claims, by content: more than was asked for, more cached than sent, less than nothing.
_LIES = ((1_000_003, 987_654_321, 0), (17, 3, 5_000_000), (-24_000, -4_300, 0))

_Count = Annotated[int, msgspec.Meta(ge=1)]
_NOTHING = msgspec.Raw(b"")


class RequestRefused(Exception):
    """The request cannot be served: status and the four keys of OpenAI's error shape."""

    def __init__(
        self, status: int, message: str, *, kind: str, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(message, kind=kind, param=param, code=code)


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[msgspec.Raw] | None = None
    tool_calls: msgspec.Raw = _NOTHING
    function_call: msgspec.Raw = _NOTHING


class _Part(msgspec.Struct):
    type: str
    text: str | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Request(msgspec.Struct):
    model: str
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: _Count | None = None
    max_completion_tokens: _Count | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=MAX_CHOICES)] | None = None
    tools: msgspec.Raw = _NOTHING
    functions: msgspec.Raw = _NOTHING
    response_format: msgspec.Raw = _NOTHING


_REQUESTS = msgspec.json.Decoder(_Request)
_PARTS = msgspec.json.Decoder(_Part)
_encode = msgspec.json.Encoder().encode


class ChatCall(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was understood."""

    prompt: Prompt
    stream: bool
    include_usage: bool


def error_body(message: str, *, kind: str, param: str | None = None, code: str | None = None) -> bytes:
    """OpenAI's error shape: `{"error": {message, type, param, code}}`, all four keys always there."""
    return _encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


def read_call(body: bytes) -> ChatCall:
    """The body of POST /v1/chat/completions.

    Errors: RequestRefused 400 for anything that is not such a body, 404 for a model that is not served. The sentence
    names the field and never quotes the content.
    """
    try:
        request = _REQUESTS.decode(body)
        texts, extra = _split_messages(request.messages)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestRefused(400, f"Invalid request body: {error}.", kind="invalid_request_error") from None
    model = MODELS.get(request.model)
    if model is None:
        raise RequestRefused(
            404,
            f"The model {request.model[:100]!r} is not served here. Known models: {', '.join(MODELS)}.",
            kind="invalid_request_error",
            param="model",
            code="model_not_found",
        )
    for raw in (request.tools, request.functions, request.response_format):
        extra += bytes(raw)
    prompt = Prompt(
        model=model,
        messages=texts,
        extra=extra,
        max_tokens=request.max_completion_tokens or request.max_tokens,
        n=request.n or 1,
    )
    options = request.stream_options
    return ChatCall(prompt=prompt, stream=bool(request.stream), include_usage=bool(options and options.include_usage))


def usage_object(answer: Answer, fault: str | None = None) -> dict[str, object] | None:
    """The usage the reply states: the truth, unless the fault is one of the three about usage."""
    prompt, completion, cached = answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens
    total = prompt + completion
    match fault:
        case "no_usage":
            return None
        case "zero_usage":
            prompt = completion = cached = total = 0
        case "liar_usage":
            prompt, completion, cached = _LIES[int(answer.content_id[:8], 16) % len(_LIES)]
            total = 42
        case _:
            pass
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def completion_body(answer: Answer, model: str, fault: str | None = None) -> bytes:
    """An unstreamed reply. Shapes: object chat.completion; usage absent under no_usage."""
    body: dict[str, object] = {
        "id": completion_id(answer),
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": [_choice(index, reply) for index, reply in enumerate(answer.replies)],
        "system_fingerprint": "fp_simulated",
    }
    usage = usage_object(answer, fault)
    if usage is not None:
        body["usage"] = usage
    return _encode(body)


class StreamPieces(msgspec.Struct, frozen=True, kw_only=True):
    """A streamed reply, ready to be sent.

    Shapes: server-sent events as bytes, head before and tail after; content[i] carries the text encoded[i], which is
    the inside of a JSON string.
    """

    head: bytes
    content: list[bytes]
    encoded: list[bytes]
    tail: bytes

    def said(self, events: int) -> str:
        """The text of the first so many content events."""
        return msgspec.json.decode(b'"' + b"".join(self.encoded[:events]) + b'"', type=str)


def stream_pieces(
    answer: Answer, model: str, *, include_usage: bool, words: int, fault: str | None = None
) -> StreamPieces:
    """A reply as a stream: role, content, finish, usage if asked for, [DONE].

    Shapes: one head event a choice, chunks of so many words, choices one after the other.
    """
    usage_null: dict[str, object] = {"usage": None} if include_usage and fault != "no_usage" else {}
    frame = {
        "id": completion_id(answer),
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": model,
        "system_fingerprint": "fp_simulated",
    } | usage_null

    def event(choices: list[dict[str, object]], **more: object) -> bytes:
        return b"data: " + _encode(frame | {"choices": choices} | more) + b"\n\n"

    def delta(index: int, content: dict[str, object], finish: str | None = None) -> bytes:
        return event([{"index": index, "delta": content, "logprobs": None, "finish_reason": finish}])

    head = b"".join(delta(i, {"role": "assistant", "content": ""}) for i in range(len(answer.replies)))
    encoded: list[bytes] = []
    content: list[bytes] = []
    for index, reply in enumerate(answer.replies):
        # One event is encoded, and one text, which is then cut at spaces (no escape holds one) and put between the
        # halves of that event: several times cheaper than encoding each chunk.
        before, after = delta(index, {"content": "\0"}).split(b"\\u0000")
        parts = chunks(_encode(reply.text)[1:-1], words)
        encoded += parts
        content += [before + part + after for part in parts]
    tail = b"".join(delta(i, {}, reply.finish_reason) for i, reply in enumerate(answer.replies))
    usage = usage_object(answer, fault)
    if include_usage and usage is not None:
        tail += event([], usage=usage)
    return StreamPieces(head=head, content=content, encoded=encoded, tail=tail + b"data: [DONE]\n\n")


def models_body() -> bytes:
    """The reply to GET /v1/models."""
    return _encode(
        {
            "object": "list",
            "data": [
                {"id": name, "object": "model", "created": CREATED, "owned_by": name.rpartition("/")[0] or "openai"}
                for name in MODELS
            ],
        }
    )  # fmt: skip


def completion_id(answer: Answer) -> str:
    """The id of the reply, from the content of the request."""
    return f"chatcmpl-{answer.content_id[:24]}"


def _choice(index: int, reply: Reply) -> dict[str, object]:
    return {
        "index": index,
        "message": {"role": "assistant", "content": reply.text, "refusal": None},
        "logprobs": None,
        "finish_reason": reply.finish_reason,
    }


def _split_messages(messages: list[_Message]) -> tuple[tuple[tuple[str, str], ...], bytes]:
    """(role, text) of each message, and the bytes of all that is not text."""
    texts: list[tuple[str, str]] = []
    extra = b""
    for message in messages:
        text = message.content
        if isinstance(text, list):
            joined = []
            for raw in text:
                part = _PARTS.decode(raw)
                if part.text is None:
                    extra += bytes(raw)
                else:
                    joined.append(part.text)
            text = "".join(joined)
        texts.append((message.role, text or ""))
        extra += bytes(message.tool_calls) + bytes(message.function_call)
    return tuple(texts), extra


def groups(events: list[bytes], writes: int | None) -> list[bytes]:
    """The events joined into so many writes, or into writes of about _WRITE_BYTES; the first event goes alone."""
    if not events:
        return []
    size = len(events) // writes + 1 if writes else max(_WRITE_BYTES // len(events[0]), 1)
    return [events[0], *(b"".join(events[i : i + size]) for i in range(1, len(events), size))]


def with_a_broken_event(pieces: StreamPieces) -> StreamPieces:
    """The same stream with its middle event cut in two."""
    middle = len(pieces.content) // 2
    broken = [*pieces.content]
    if broken:
        broken[middle] = broken[middle][: len(broken[middle]) * 2 // 3] + b"\n\n"
    return msgspec.structs.replace(pieces, content=broken)
