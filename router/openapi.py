"""GET /openapi.json: the API as OpenAPI 3.1, made of the routes themselves.

Paths, methods and roles come from the one table of routes, so they cannot be forgotten; what a route takes and gives stands
here, by its path. A route without an entry is still listed, with any JSON as its answer, and a test asks for the entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import msgspec

from router.doors import JSON, PUBLIC, Route
from router.feedback import Edit, Score

VERSION = "1"
_NAME = re.compile(r"{(\w+)(?::[^}]*)?}")
Schema = dict[str, Any]


class Operation(NamedTuple):
    """What a path takes and gives. Shapes: `takes` and `gives` name a schema; `media` is the answer's type."""

    summary: str
    gives: str = "Object"
    takes: str | None = None
    media: tuple[str, ...] = (JSON,)
    query: tuple[str, ...] = ()
    refuses: tuple[int, ...] = ()


STREAM = "text/event-stream"
_MADE = (402, 404, 409, 429, 500, 502, 503, 504)  # of a call that goes to a provider
_ANY = ("application/octet-stream",)
OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", "/v1/chat/completions"): Operation(
        "A chat completion; model auto sorts and routes it.",
        "ChatCompletion",
        "ChatRequest",
        (JSON, STREAM),
        refuses=_MADE,
    ),
    ("POST", "/v1/tickets"): Operation(
        "Sort a ticket and draft its reply.", "ChatCompletion", "TicketRequest", (JSON, STREAM), refuses=_MADE
    ),
    ("POST", "/v1/embeddings"): Operation(
        "Embeddings, passed through and charged.", "Listed", "ModelRequest", refuses=_MADE
    ),
    ("POST", "/v1/responses"): Operation(
        "A response, passed through and charged.", "Object", "ModelRequest", (JSON, STREAM), refuses=_MADE
    ),
    ("POST", "/v1/tickets/{id}/edits"): Operation(
        "A human is done with a draft.", "Recorded", "Edit", refuses=(404, 409)
    ),
    ("POST", "/v1/scores"): Operation("One judgement of one draft.", "Recorded", "Score", refuses=(404, 409)),
    ("GET", "/v1/models"): Operation("Every model with a price now, and auto.", "Models"),
    ("GET", "/v1/models/{id}"): Operation("One model.", "Model", refuses=(404,)),
    ("GET", "/v1/budget"): Operation("What is granted, held, settled and left.", "Listed", query=("period",)),
    ("GET", "/v1/split"): Operation("The policy, its arms, and the shares of drafts."),
    ("GET", "/v1/quality"): Operation("What humans did with the drafts, and how fast models were."),
    ("GET", "/v1/reports"): Operation("The last revision of each month.", "Listed", query=("client", "month")),
    ("GET", "/v1/reports/{client}/{file}"): Operation(
        "A report's file, YYYY-MM.FORMAT.", "File", media=_ANY, query=("revision",), refuses=(404, 416)
    ),
    ("POST", "/v1/admin/events"): Operation(
        "Events of commands beside the service.", "Listed", "Events", refuses=(404, 409)
    ),
    ("POST", "/v1/admin/seal"): Operation("Seal what is in the journal now.", refuses=(409,)),
    ("GET", "/metrics"): Operation("Metrics in Prometheus' text form.", "Text", media=("text/plain",)),
    ("GET", "/healthz"): Operation("The process answers.", "Status"),
    ("GET", "/readyz"): Operation("Calls are taken.", "Status", refuses=(503,)),
    ("GET", "/openapi.json"): Operation("This document."),
}


def document(routes: Iterable[Route]) -> bytes:
    """The document of these routes, as JSON."""
    paths: dict[str, Schema] = {}
    for route in routes:
        path = plain(route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, path)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
            "info": {
                "title": "Halfpenny",
                "version": VERSION,
                "description": "OpenAI's API with budgets, a ledger and a router behind it.",
            },
            "paths": paths,
            "components": {
                "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "A key hp_…"}},
                "schemas": schemas(),
            },
        }
    )


def plain(path: str) -> str:
    """A route's path as OpenAPI writes it: names without patterns."""
    return _NAME.sub(r"{\1}", path)


def _operation(route: Route, path: str) -> Schema:
    said = OPERATIONS.get((route.method, path), Operation(f"{route.method} {path}"))
    is_public = route.roles == PUBLIC
    words = re.findall(r"\w+", path)
    shown: Schema = {
        "summary": said.summary,
        "operationId": "_".join((route.method.lower(), *words)),
        "description": "Anyone." if is_public else f"Keys of role {', '.join(route.roles)}.",
        "security": [] if is_public else [{"key": []}],
        "responses": _responses(said, is_public=is_public, has_body=route.method == "POST"),
    }
    if parameters := [*_parameters(_NAME.findall(path), "path"), *_parameters(said.query, "query")]:
        shown["parameters"] = parameters
    if said.takes is not None:
        shown["requestBody"] = {"required": True, "content": {JSON: {"schema": _reference(said.takes)}}}
    return shown


def _parameters(names: Iterable[str], place: str) -> list[Schema]:
    least = 1 if place == "path" else 0  # an empty query asks nothing
    return [
        {"name": name, "in": place, "required": place == "path", "schema": {"type": "string", "minLength": least}}
        for name in names
    ]


def _responses(said: Operation, *, is_public: bool, has_body: bool) -> Schema:
    # A stream's events are chunks, which OpenAPI 3.1 cannot say; so nothing is said of them.
    given = {media: {} if media == STREAM else {"schema": _reference(said.gives)} for media in said.media}
    statuses = {400, *said.refuses}
    if not is_public:
        statuses |= {401, 403}
    if has_body:
        statuses |= {408, 413}
    refused = {
        "description": "Refused; the message says what to do.",
        "content": {JSON: {"schema": _reference("Error")}},
    }
    return {
        "200": {"description": "Done.", "content": given},
        **{str(status): refused for status in sorted(statuses)},
        "default": refused,
    }


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: tuple[str, ...], **properties: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": True}


@cache
def schemas() -> dict[str, Schema]:
    """Every schema by its name; those of edits and scores are made of the types that read them."""
    text, count = {"type": "string"}, {"type": "integer", "minimum": 0}
    maybe_text = {"type": ["string", "null"]}
    name = {"type": "string", "minLength": 1, "maxLength": 256}
    message = _object(("role",), role=text, content={"type": ["string", "array", "null"]}, tool_calls={"type": "array"})
    usage = _object(
        ("prompt_tokens", "completion_tokens"), prompt_tokens=count, completion_tokens=count, total_tokens=count
    )
    choice = _object(("index", "message"), index=count, message=message, finish_reason=maybe_text)
    model = _object(
        ("id", "object", "created", "owned_by"), id=text, object={"const": "model"}, created=count, owned_by=text
    )
    options: dict[str, Schema] = {
        "stream": {"type": ["boolean", "null"]},
        "n": {"type": ["integer", "null"], "minimum": 1, "maximum": 128},
        "max_tokens": {"type": ["integer", "null"], "minimum": 1, "maximum": 10_000_000},
        "max_completion_tokens": {"type": ["integer", "null"], "minimum": 1, "maximum": 10_000_000},
        "metadata": {"type": ["object", "null"]},
        "stream_options": {"type": ["object", "null"]},
    }
    own = _object(
        ("call_id", "cost_usd"),
        call_id=text,
        cost_usd=maybe_text,
        arm=maybe_text,
        reason=text,
        cached={"type": "boolean"},
    )
    own["properties"]["class"] = maybe_text
    _, bodies = msgspec.json.schema_components([Edit, Score], ref_template="#/components/schemas/{name}")
    return {
        **bodies,
        "Error": {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": {
                    "type": "object",
                    "required": ["message", "type", "param", "code"],
                    "properties": {"message": text, "type": text, "param": maybe_text, "code": maybe_text},
                }
            },
        },
        "ChatRequest": _object(
            ("model", "messages"), model=name | {"examples": ["auto"]}, messages={"type": "array", "minItems": 1, "items": message}, **options
        ),
        "TicketRequest": _object(
            ("text",), text={"type": "string", "minLength": 1}, ticket_id={"type": ["string", "null"], "minLength": 1, "maxLength": 256}, **options
        ),
        "ModelRequest": _object(("model",), model=name),
        "ChatCompletion": _object(
            ("id", "object", "created", "model", "choices"),
            id=text, object={"const": "chat.completion"}, created=count, model=text,
            choices={"type": "array", "items": choice}, usage=usage, halfpenny=own, ticket_id=text, draft=maybe_text,
        ),
        "Recorded": _object(("id", "object"), id=text, object=text, call_id=maybe_text, ticket_id=maybe_text),
        "Model": model,
        "Models": _object(("object", "data"), object={"const": "list"}, data={"type": "array", "items": _reference("Model")}),
        "Listed": _object(("object", "data"), object=text, data={"type": "array", "items": {"type": "object"}}),
        "Events": {"type": "array", "minItems": 1, "maxItems": 10_000, "items": {"type": "object", "required": ["type"]}},
        "Status": _object(("status",), status=text),
        "Object": {"type": "object"},
        "Text": {"type": "string"},
        "File": {},
    }  # fmt: skip
