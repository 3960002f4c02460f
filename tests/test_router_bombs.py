"""What grows when it is read: bombs, bodies without end, JSON that decoding blows up; against the real process and its memory."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from router.bodies import PIECES_AT_MOST
from router.chat_request import ChatRequest
from router.config import Server
from tests.running import MEDIUM, Running, gateway, prepared, provider
from tests.served_home import simulated
from tests.test_router_security import HOSTILE

LARGEST = Server().max_body_bytes
RISE_AT_MOST_MB = 50  # of the matrix
ANSWER_S = 5.0  # the matrix says 1, on a machine with nothing else to do
CHAT, EMBEDDINGS, RESPONSES, TICKETS = "/v1/chat/completions", "/v1/embeddings", "/v1/responses", "/v1/tickets"
EDITS, SCORES, EVENTS = "/v1/tickets/T-1/edits", "/v1/scores", "/v1/admin/events"
GZIP_HEAD = bytes.fromhex("1f8b08000000000000ff")
ASKED = f'"model":"{MEDIUM}","messages":[{{"role":"user","content":"x"}}]'.encode()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True)
class Stage:
    """A running gateway, and keys to it."""

    running: Running
    app_key: str
    admin_key: str

    @property
    def pid(self) -> int:
        return self.running.process.pid


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    path = tmp_path_factory.mktemp("bombs")
    keys = prepared(path / "home")
    with provider(path) as behind, gateway(keys.home, behind.url) as running:
        yield Stage(running, keys.app_key, keys.home.admin_token())


def resident_mb(pid: int) -> float:
    """What a process has in memory now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def most_resident_mb(pid: int) -> float:
    """What it ever had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (peak,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024


def cpu_s(pid: int) -> float:
    """The processor time it took so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def told(
    stage: Stage, path: str, body: bytes, *, key: str | None = None, encoding: str = "", length: int | None = None
) -> tuple[int, Any]:
    """Status and JSON of one POST. `length` promises as many bytes, 0 none at all but chunks; the body is then sent
    again and again, until the answer is there and at most for 64 MB."""
    url = urlsplit(stage.running.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    chosen = key or (stage.admin_key if path == EVENTS else stage.app_key)
    framing = "Transfer-Encoding: chunked" if length == 0 else f"Content-Length: {length or len(body)}"
    encoded = f"Content-Encoding: {encoding}\r\n" if encoding else ""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {chosen}\r\n{encoded}{framing}\r\n\r\n"
    writer.write(head.encode())
    began = time.monotonic()
    answer = asyncio.create_task(_answer(reader))
    piece = b"%x\r\n%b\r\n" % (len(body), body) if length == 0 else body
    try:
        for _ in range(1 if length is None else 2**26 // len(body)):
            writer.write(piece)
            await writer.drain()
            if answer.done() and length is not None:
                break
    except ConnectionError:
        pass  # it closed, having answered
    try:
        got = await asyncio.wait_for(answer, ANSWER_S * 4)
    finally:
        writer.close()
    assert time.monotonic() - began < ANSWER_S, (path, head, len(body))
    return got


async def _answer(reader: asyncio.StreamReader) -> tuple[int, Any]:
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    return int(head.split(b" ")[1]), json.loads(await reader.readexactly(int(fields[b"content-length"])))


def filled(before: bytes, unit: bytes, after: bytes, pieces: int | None = None) -> bytes:
    """As many units as the largest body holds, or as the most pieces of JSON allow where `pieces` says how many one has."""
    room = (LARGEST - len(before) - len(after)) // len(unit)
    return before + unit * (room if pieces is None else min(room, (PIECES_AT_MOST - 100) // pieces)) + after


def keyed(before: bytes, after: bytes, size: int) -> bytes:
    """Keys that all differ, up to a size in bytes."""
    return before + b"".join(b',"%05x":1' % number for number in range(size // 10)) + after


MODEL = f'{{"model":"{MEDIUM}",'.encode()
AUTO = b'{"model":"auto","messages":[{"role":"user","content":[{"type":"text","text":"x"}'
META = b"{" + ASKED + b',"metadata":{"a":[1'
# What a body of four megabytes can become: a hundred and more, before there was a bound to its pieces.
CROWDED: tuple[tuple[str, bytes], ...] = (
    (CHAT, keyed(b"{" + ASKED, b"}", LARGEST - 200)),
    (CHAT, keyed(b"{" + ASKED, b"}", 1_200_000)),
    (CHAT, keyed(META + b"]", b"}}", LARGEST - 200)),
    (CHAT, filled(META, b",[]", b"]}}")),
    (CHAT, filled(META, b",{}", b"]}}")),
    (CHAT, filled(META, b',{"a":1}', b']},"n":0}', pieces=4)),
    (CHAT, filled(META, b',"ab"', b"]}}")),
    (CHAT, filled(AUTO, b",{}", b"]}]}")),
    (CHAT, filled(AUTO, b",{}", b"]}]}", pieces=2)),
    (CHAT, filled(MODEL + b'"messages":[{"role":"x"}', b',{"role":""}', b"]}")),
    (CHAT, filled(MODEL + b'"messages":[{"role":"user","content":"', b"\\ud83d\\ude00", b'"}]}')),
    (EMBEDDINGS, filled(MODEL + b'"input":[[]', b",[]", b"]}")),
    (EMBEDDINGS, filled(MODEL + b'"input":[1', b",1", b"]}", pieces=1)),
    (RESPONSES, filled(MODEL + b'"input":"x","tools":[{"type":"function"}', b',{"type":""}', b"]}", pieces=5)),
    (TICKETS, filled(b'{"text":"x","messages":[1', b",1", b"]}")),
    (TICKETS, filled(b'{"text":"x","messages":[1', b",1", b"]}", pieces=1)),
    (TICKETS, filled(b'{"text":"x', b"y", b'"}')),
    (EDITS, filled(b'{"final_text":"y","z":[[]', b",[]", b"]}")),
    (EDITS, filled(b'{"draft_text":"x","final_text":"', b"y", b'"}')),
    (SCORES, b" " * LARGEST),
    (EVENTS, filled(b"[{}", b",{}", b"]")),
    (EVENTS, filled(b'[{"a":[[]', b",[]", b"]}]")),
    (EVENTS, filled(b'[{"a":[[]', b",[]", b"]}]", pieces=2)),
    (CHAT, b'"' * LARGEST),
)  # fmt: skip


def bomb(gigabytes: float = 1) -> bytes:
    """Zeros as gzip, in pieces that are the same again and again, so that making it takes no time."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = squeeze.compress(bytes(2**24)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    return GZIP_HEAD + piece * int(gigabytes * 64)


@pytest.mark.anyio
async def test_no_body_takes_more_than_fifty_megabytes_of_memory_or_a_moment(stage: Stage) -> None:
    """The whole battery against one process: refused each time, in OpenAI's shape, and the peak of its memory within the bound."""
    good = b"{" + ASKED + b',"max_tokens":5}'
    for _ in range(100):
        assert (await told(stage, CHAT, good))[0] == 200
    before_mb = resident_mb(stage.pid)

    paths = (CHAT, EMBEDDINGS, RESPONSES, TICKETS, EDITS, SCORES, EVENTS)
    refusals = [(path, await told(stage, path, body)) for path in paths for body in HOSTILE.values()]
    refusals += [(path, await told(stage, path, body)) for path, body in CROWDED]
    for path in paths:
        refusals += [(path, await told(stage, path, bomb(), encoding=name)) for name in ("gzip", "br", "zstd", "x, y")]
        refusals += [(path, await told(stage, path, bytes(2**16), length=length)) for length in (0, 10**9, 10**15)]
        unknown = [await told(stage, path, bytes(2**16), key="hp_no", length=length) for length in (0, 10**9)]
        assert {status for status, _ in unknown} == {401}

    for path, (status, said) in refusals:
        assert status in (400, 404, 413), (path, status, said)
        assert set(said["error"]) == {"message", "type", "param", "code"}
        assert len(json.dumps(said)) < 2000
    assert {status for _, (status, _) in refusals} == {400, 404, 413}
    assert (await told(stage, CHAT, good))[0] == 200
    assert most_resident_mb(stage.pid) - before_mb < RISE_AT_MOST_MB
    assert resident_mb(stage.pid) - before_mb < RISE_AT_MOST_MB


@pytest.mark.anyio
async def test_a_bomb_without_a_key_is_not_unpacked(stage: Stage) -> None:
    """What was refused was unpacked all the same, to be thrown away: three megabytes kept the service busy for four seconds."""
    before_s = cpu_s(stage.pid)

    for _ in range(10):
        assert (await told(stage, CHAT, bomb(), key="hp_no", encoding="gzip"))[0] == 401
    assert (await told(stage, CHAT, b"{" + ASKED + b',"max_tokens":5}'))[0] == 200

    assert cpu_s(stage.pid) - before_s < 2  # ten gigabytes take fifteen


@pytest.mark.anyio
async def test_an_encoded_body_is_read_as_what_it_is(stage: Stage) -> None:
    good = b"{" + ASKED + b',"max_tokens":5}'
    squeeze = zlib.compressobj(wbits=31)
    zipped = squeeze.compress(good) + squeeze.flush()

    assert (await told(stage, CHAT, zipped, encoding="gzip"))[0] == 200
    assert (await told(stage, CHAT, zlib.compress(good), encoding="deflate"))[0] == 200
    assert (await told(stage, CHAT, good, encoding="identity"))[0] == 200
    for body, encoding in ((zipped[:-9], "gzip"), (zipped + b"x", "gzip"), (good, "gzip"), (zipped, "gzip, gzip")):
        status, said = await told(stage, CHAT, body, encoding=encoding)
        assert (status, said["error"]["param"]) == (400, "Content-Encoding")


@pytest.mark.anyio
async def test_a_text_full_of_marks_is_no_crowd_and_a_crowd_is_told_what_to_do(stage: Stage) -> None:
    text = json.dumps('{"a":[1,2]}' * (PIECES_AT_MOST // 5)).encode()
    assert sum(text.count(mark) for mark in (b'"', b",", b":", b"[", b"{")) > PIECES_AT_MOST
    for body in (MODEL + b'"input":' + text + b"}", filled(MODEL + b'"input":[1', b",1", b"]}", pieces=1)):
        assert "texts and marks" not in str(await told(stage, EMBEDDINGS, body))

    status, said = await told(stage, EMBEDDINGS, MODEL + b'"input":[1' + b",1" * PIECES_AT_MOST + b"]}")

    assert status == 400
    assert said["error"]["message"].endswith("400000 texts and marks of JSON. Send it in several requests.")


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_failed_call_held_is_freed_without_the_collector(tmp_path: Path, stream: bool) -> None:
    """An error and the frame that kept it held each other and the request: thirty bodies of four megabytes lay in memory."""
    async with simulated(tmp_path) as running:
        for fault in ("500", "malformed_json"):
            gc.collect()
            gc.disable()
            try:
                if stream:
                    await running.stream(x_simulate_fault=fault)
                else:
                    assert (await running.chat(x_simulate_fault=fault))[0] in (500, 502)
                left = [one for one in gc.get_objects() if type(one) is ChatRequest]
            finally:
                gc.enable()
            assert left == []
