"""The contract asked from outside: schemathesis over our own OpenAPI, compatcanary over OpenAI's.

    make check-contract     installs both in build/contract and runs this; some two minutes

The gateway is the real process. Behind it stands the simulator for the first; for the second a provider of a few
lines that can also be forced to a tool or to a schema, which the simulator cannot: what is asked there is whether the gateway
lets them through.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.running import MEDIUM, ROOT, Prepared, gateway, prepared, provider

TOOLS = ROOT / "build" / "contract"
SCHEMATHESIS, CANARY = TOOLS / "bin" / "schemathesis", TOOLS / "node_modules" / ".bin" / "compatcanary"
CHECKS = "not_a_server_error,response_schema_conformance,content_type_conformance,status_code_conformance,negative_data_rejection"
CASES = 50


def main() -> int:
    """Run both and print what each says; the exit code is theirs."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        made = prepared(path / "home")
        with provider(path) as upstream, gateway(made.home, upstream.url) as served:
            fuzzed = [_fuzzed(path, served.url, key) for key in (made.app_key, made.agent_key, made.home.admin_token())]
        return max(*fuzzed, asyncio.run(_canary(made)))


def _fuzzed(path: Path, url: str, key: str) -> int:
    """Every route with a key of one role: a refusal of the role is an answer too."""
    words = ("run", f"{url}/openapi.json", "-H", f"Authorization: Bearer {key}", "-c", CHECKS, "-n", str(CASES))
    more = ("--phases", "examples,coverage,fuzzing", "--seed", "1", "--no-color", "--exclude-path", "/v1/admin/seal")
    return subprocess.run((str(SCHEMATHESIS), *words, *more), cwd=path, check=False).returncode


async def _canary(made: Prepared) -> int:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", _answer)
    async with TestServer(app) as server:
        return await asyncio.to_thread(_scanned, made, f"http://127.0.0.1:{server.port}")


def _scanned(made: Prepared, url: str) -> int:
    with gateway(made.home, url) as served:
        words = ("scan", "--base-url", f"{served.url}/v1", "--model", MEDIUM, "--profile", "chat", "--fail-on", "any")
        return subprocess.run(
            (str(CANARY), *words), env=os.environ | {"OPENAI_API_KEY": made.app_key}, check=False
        ).returncode


async def _answer(request: web.Request) -> web.StreamResponse:
    """A completion as it was forced: the tool's arguments, or the content, are the least the schema allows."""
    asked = await request.json()
    message: dict[str, Any] = {"role": "assistant", "content": "Hello"}
    finish = "stop"
    if asked.get("tools") and isinstance(asked.get("tool_choice"), dict):
        function = asked["tools"][0]["function"]
        arguments = json.dumps(_least(function["parameters"]))
        call = {"id": "call_1", "type": "function", "function": {"name": function["name"], "arguments": arguments}}
        message, finish = {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"
    elif (asked.get("response_format") or {}).get("type") == "json_schema":
        message["content"] = json.dumps(_least(asked["response_format"]["json_schema"]["schema"]))
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    head = {"id": "chatcmpl-1", "created": 1, "model": asked["model"]}
    if not asked.get("stream"):
        choices = [{"index": 0, "message": message, "finish_reason": finish}]
        return web.json_response(head | {"object": "chat.completion", "choices": choices, "usage": usage})
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for delta, end in (({"role": "assistant", "content": "Hel"}, None), ({"content": "lo"}, None), ({}, "stop")):
        choices = [{"index": 0, "delta": delta, "finish_reason": end}]
        await response.write(_event(head | {"object": "chat.completion.chunk", "choices": choices}))
    await response.write(_event(head | {"object": "chat.completion.chunk", "choices": [], "usage": usage}))
    await response.write(b"data: [DONE]\n\n")
    return response


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _least(schema: dict[str, Any]) -> Any:
    if "const" in schema or schema.get("enum"):
        return schema.get("const", (schema.get("enum") or [None])[0])
    if schema.get("type") == "object":
        return {name: _least(of) for name, of in schema.get("properties", {}).items()}
    return {"array": [], "integer": 1, "number": 1, "boolean": True}.get(schema.get("type", ""), "x")


if __name__ == "__main__":
    sys.exit(main())
