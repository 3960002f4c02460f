"""The simulated provider's other two endpoints, POST /v1/embeddings and /v1/responses, with the same bill and two faults.

Shapes: the fault cut_stream breaks a response's stream off in the middle, 500 refuses; all else is as for a completion.
"""

import math
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from router.seeded import digest
from router.simulation import MODELS, Answer, simulate, text_tokens
from router.simulator_wire import CREATED, RequestRefused, completion_id, error_body, read_call

DIMENSIONS = 16
EMBEDDERS = ("mistralai/Mistral-Embed", "text-embedding-3-small")
Bill = Callable[[web.Request, dict[str, object]], None]
_encode = msgspec.json.encode


class _Embed(msgspec.Struct):
    model: str
    input: str | list[str]


class _Respond(msgspec.Struct):
    model: str
    input: str | list[Any]
    instructions: str | None = None
    max_output_tokens: int | None = None
    stream: bool | None = None


_EMBED = msgspec.json.Decoder(_Embed)
_RESPOND = msgspec.json.Decoder(_Respond)


class Beside:
    """Handlers; `bill` puts a line into the provider's books."""

    def __init__(self, seed: int, bill: Bill) -> None:
        self._seed, self._bill = seed, bill

    async def create_embeddings(self, http: web.Request) -> web.StreamResponse:
        """One vector a text, made of its digest; tokens by the simulator's one rule."""
        asked = _read(_EMBED, await http.read())
        if asked.model not in EMBEDDERS:
            raise RequestRefused(
                404, f"Known embedding models: {', '.join(EMBEDDERS)}.", kind="invalid_request_error", param="model"
            )
        if _fault(http) == "500":
            return _broken()
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        tokens = sum(map(text_tokens, texts))
        data = [{"object": "embedding", "index": index, "embedding": _vector(text)} for index, text in enumerate(texts)]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        self._bill(http, {"model": asked.model, "prompt_tokens": tokens, "completion_tokens": 0, "cached_tokens": 0})
        body = {"object": "list", "data": data, "model": asked.model, "usage": usage}
        return web.Response(body=_encode(body), content_type="application/json")

    async def create_response(self, http: web.Request) -> web.StreamResponse:
        """The reply of the same words as a completion, in the shape of a response."""
        asked = _read(_RESPOND, await http.read())
        if asked.model not in MODELS:
            raise RequestRefused(
                404, f"Known models: {', '.join(MODELS)}.", kind="invalid_request_error", param="model"
            )
        if _fault(http) == "500":
            return _broken()
        chat = {
            "model": asked.model,
            "messages": [
                {"role": "user", "content": asked.input if isinstance(asked.input, str) else str(asked.input)}
            ],
        } | ({"max_completion_tokens": asked.max_output_tokens} if asked.max_output_tokens else {})
        answer = simulate(self._seed, read_call(_encode(chat)).prompt)
        whole = _response(answer, asked.model)
        is_cut = _fault(http) == "cut_stream"
        self._bill(
            http,
            {
                "model": asked.model,
                "prompt_tokens": answer.prompt_tokens,
                "completion_tokens": answer.completion_tokens,
                "cached_tokens": answer.cached_tokens,
            },
        )
        if not asked.stream:
            return web.Response(body=_encode(whole), content_type="application/json")
        return await _stream(http, whole, answer.replies[0].text, is_cut=is_cut)


async def _stream(http: web.Request, whole: dict[str, Any], text: str, *, is_cut: bool) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(http)
    begun = whole | {"status": "in_progress", "output": [], "usage": None}
    item = whole["output"][0]
    part = item["content"][0]
    at = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    words = [word if number == 0 else " " + word for number, word in enumerate(text.split(" "))]
    events: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": begun}),
        ("response.output_item.added", {"output_index": 0, "item": item | {"status": "in_progress", "content": []}}),
        ("response.content_part.added", at | {"part": part | {"text": ""}}),
        *(("response.output_text.delta", at | {"delta": word, "logprobs": []}) for word in words),
        ("response.output_text.done", at | {"text": text, "logprobs": []}),
        ("response.content_part.done", at | {"part": part}),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        (f"response.{whole['status']}", {"response": whole}),
    ]
    for number, (kind, said) in enumerate(events[: len(events) // 2] if is_cut else events):
        await response.write(_event(number, kind, said))
    return response


def _response(answer: Answer, model: str) -> dict[str, Any]:
    reply = answer.replies[0]
    name = completion_id(answer)
    is_whole = reply.finish_reason == "stop"
    content = [{"type": "output_text", "text": reply.text, "annotations": []}]
    usage = {
        "input_tokens": answer.prompt_tokens,
        "input_tokens_details": {"cached_tokens": answer.cached_tokens},
        "output_tokens": answer.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
    }
    return {
        "id": f"resp_{name}",
        "object": "response",
        "created_at": CREATED,
        "status": "completed" if is_whole else "incomplete",
        "incomplete_details": None if is_whole else {"reason": "max_output_tokens"},
        "error": None,
        "model": model,
        "output": [
            {"id": f"msg_{name}", "type": "message", "status": "completed", "role": "assistant", "content": content}
        ],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
    }


def _event(number: int, kind: str, more: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (
        kind.encode(),
        _encode({"type": kind, "sequence_number": number} | more),
    )


def _vector(text: str) -> list[float]:
    """A unit vector of the text's digest."""
    raw = [byte - 127.5 for byte in digest("embedding", text)[:DIMENSIONS]]
    length = math.sqrt(sum(value * value for value in raw))
    return [value / length for value in raw]


def _read(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestRefused(400, f"Invalid request body: {error}.", kind="invalid_request_error") from None


def _fault(http: web.Request) -> str | None:
    return http.headers.get("x-simulate-fault")


def _broken() -> web.Response:
    said = error_body("The server had an error while processing the request.", kind="server_error")
    return web.Response(body=said, status=500, content_type="application/json")
