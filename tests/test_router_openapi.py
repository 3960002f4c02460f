"""/openapi.json says what the routes are, and the server answers as it says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from router.doors import PUBLIC
from router.openapi import OPERATIONS, plain
from tests.served_home import MEDIUM
from tests.test_router_security import whole

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def validator(said: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    """Of one schema of the document, references into the document included."""
    return Draft202012Validator(schema | {"components": said["components"]})


async def test_the_document_has_every_route_with_its_keys_and_each_has_words_of_its_own(tmp_path: Path) -> None:
    async with whole(tmp_path) as running:
        status, headers, said = await running.ask("GET", "/openapi.json", key=None)
        routes = running.service.routes

    assert (status, headers["content-type"].partition(";")[0], said["openapi"]) == (200, "application/json", "3.1.0")
    told = {(method.upper(), path) for path, methods in said["paths"].items() for method in methods}
    assert told == {(route.method, plain(route.path)) for route in routes}
    for route in routes:
        shown = said["paths"][plain(route.path)][route.method.lower()]
        assert (route.method, plain(route.path)) in OPERATIONS, (
            "say in router/openapi.py what this route takes and gives"
        )
        assert shown["security"] == ([] if route.roles == PUBLIC else [{"key": []}])
        assert all(role in shown["description"] for role in route.roles if role != "public")
        named = {one["name"] for one in shown.get("parameters", ()) if one["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)", route.path))
    ids = [shown["operationId"] for methods in said["paths"].values() for shown in methods.values()]
    assert len(ids) == len(set(ids))


async def test_every_schema_is_one_and_every_reference_leads_somewhere(tmp_path: Path) -> None:
    async with whole(tmp_path) as running:
        said = (await running.ask("GET", "/openapi.json"))[2]

    for schema in said["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for reference in re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(said)):
        assert reference in said["components"]["schemas"]


ASKED: tuple[tuple[str, str, str, Any], ...] = (
    ("POST", "/v1/chat/completions", "app", {"model": MEDIUM, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}),
    ("POST", "/v1/chat/completions", "app", {"model": "auto", "messages": [{"role": "user", "content": "Hi"}], "n": None}),
    ("POST", "/v1/chat/completions", "app", {"model": "nobody-listed-this", "messages": [{"role": "user", "content": "Hi"}]}),
    ("POST", "/v1/chat/completions", "app", {"model": MEDIUM}),
    ("POST", "/v1/tickets", "app", {"text": "Where is my card?", "ticket_id": "T-1"}),
    ("POST", "/v1/tickets", "app", {"text": ""}),
    ("POST", "/v1/tickets/T-1/edits", "agent", {"final_text": "x", "disposition": "edited", "edit_seconds": 3}),
    ("POST", "/v1/tickets/T-1/edits", "agent", {"final_text": "x", "edit_seconds": -1}),
    ("POST", "/v1/tickets/T-9/edits", "agent", {"final_text": "x", "disposition": "edited"}),
    ("POST", "/v1/scores", "agent", {"rubric": "r", "criterion": "c", "value": 0.5, "scorer": "h", "ticket_id": "T-1"}),
    ("POST", "/v1/scores", "agent", {"rubric": "r", "criterion": "c", "value": 2, "scorer": "h", "ticket_id": "T-1"}),
    ("GET", "/v1/models", "app", None),
    ("GET", f"/v1/models/{MEDIUM}", "app", None),
    ("GET", "/v1/models/none", "app", None),
    ("GET", "/v1/budget", "app", None),
    ("GET", "/v1/budget", "revoked", None),
    ("GET", "/v1/split", "client", None),
    ("GET", "/v1/quality", "boss", None),
    ("GET", "/v1/reports", "app", None),
    ("GET", "/v1/reports", "client", None),
    ("GET", "/v1/reports/acme/1999-01.json", "client", None),
    ("POST", "/v1/admin/events", "boss", [{"type": "halfpenny.key.revoked.v1", "subject": "hp_other"}]),
    ("POST", "/v1/admin/events", "boss", []),
    ("POST", "/v1/admin/seal", "boss", {}),
    ("GET", "/healthz", "app", None),
    ("GET", "/readyz", "app", None),
)  # fmt: skip


async def test_the_server_takes_and_gives_what_the_document_says(tmp_path: Path) -> None:
    async with whole(tmp_path) as running:
        said = (await running.ask("GET", "/openapi.json"))[2]
        for method, path, key, body in ASKED:
            status, headers, given = await running.ask(method, path, body, key=key)

            shown = next(
                methods[method.lower()]
                for known, methods in said["paths"].items()
                if method.lower() in methods and re.fullmatch(re.sub(r"\\{\w+\\}", "(.+)", re.escape(known)), path)
            )
            assert str(status) in shown["responses"], (method, path, status)
            media = shown["responses"][str(status)]["content"][headers["content-type"].partition(";")[0]]
            validator(said, media["schema"]).validate(given)
            if body is not None and "requestBody" in shown:
                taken = validator(said, shown["requestBody"]["content"]["application/json"]["schema"])
                # What is refused as a 400 is refused by the schema too, and what is taken passes it.
                assert taken.is_valid(body) == (status != 400), (path, body, status)
