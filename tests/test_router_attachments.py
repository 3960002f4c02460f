"""Pictures are held for, files are refused: no cap is passed by what a request's bytes do not bound."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from ledger.events import CallReserved, CallSettled
from router.attachments import pictures_in
from router.errors import UnpricedCall
from tests.served_home import completion, http, scripted

PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
WORDS = {"type": "text", "text": "What is this?"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def user(*parts: object) -> dict[str, object]:
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize(
    ("messages", "pictures"),
    [
        ([user(WORDS)], 0),
        ([user(WORDS, PICTURE)], 1),
        ([user(PICTURE, PICTURE), {"role": "assistant", "content": "A cat."}, user(PICTURE)], 3),
        ([user({"type": "text", "text": json.dumps(PICTURE)})], 0),
        ([{"role": "user", "content": "image_url"}], 0),
        ([{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}], 1),
        ([{"type": "function_call_output", "output": [{"type": "input_image", "image_url": "u"}]}], 1),
        ([{"type": "input_image", "image_url": "u"}], 1),
        ("a text", 0),
        ([7, None, {"content": 7}, {"content": [7, {"type": ["image_url"]}]}], 0),
    ],
)
def test_pictures_are_counted(messages: Any, pictures: int) -> None:
    assert pictures_in(Raw(json.dumps(messages).encode()), "messages") == pictures
    assert pictures_in(None, "messages") == 0


@pytest.mark.parametrize(
    ("written", "meant"),
    [(b"\\u0069mage_url", "image_url"), (b"image\\u005furl", "image_url"), (b"ima\\u0067e_url", "image_url")],
)
def test_a_type_written_in_escapes_counts_as_well(written: bytes, meant: str) -> None:
    raw = json.dumps([user(PICTURE)]).encode().replace(b'"type": "image_url"', b'"type": "' + written + b'"')
    assert json.loads(raw)[0]["content"][0]["type"] == meant
    assert pictures_in(Raw(raw), "messages") == 1


@pytest.mark.parametrize("kind", ["file", "input_file", "document_url", "video_url"])
def test_what_nothing_bounds_is_refused(kind: str) -> None:
    with pytest.raises(UnpricedCall, match=f"type {kind} has no bound"):
        pictures_in(Raw(json.dumps([user({"type": kind})]).encode()), "messages")


@pytest.mark.anyio
async def test_a_picture_s_tokens_are_held_so_that_it_passes_no_cap(tmp_path: Path) -> None:
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        # as a provider counts a large picture of a few bytes
        usage = {"prompt_tokens": 36_000, "completion_tokens": 5, "total_tokens": 36_005}
        writer.write(http(completion(usage=usage)))
        await writer.drain()

    # a picture at 40,000 x 0.40 USD a million is 0.016; 36,000 come to 0.0144
    async with scripted(tmp_path, script, caps={"acme": "0.03"}) as running:
        asked = {"messages": [user(WORDS, PICTURE)], "max_tokens": 5}
        statuses = [(await running.chat(**asked))[0] for _ in range(2)]
        (held,) = running.events(CallReserved)
        (settled,) = running.events(CallSettled)

    assert statuses == [200, 429]
    assert Decimal(held.hold_usd) == (held.input_bytes * Decimal("0.40") + 5 * 2) / 10**6
    assert held.input_bytes > 40_000
    assert Decimal(settled.cost_usd) == Decimal("0.01441") < Decimal(held.hold_usd)
    assert settled.usage_anomaly is None


@pytest.mark.anyio
async def test_a_file_is_refused_before_anything_is_held(tmp_path: Path) -> None:
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("nothing is sent")

    async with scripted(tmp_path, script) as running:
        status, _, said = await running.chat(messages=[user({"type": "file", "file": {"file_id": "f"}})])
        assert (status, said["error"]["param"]) == (402, "messages")
        assert running.events(CallReserved) == []
