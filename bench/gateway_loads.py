"""Drills of volume: many mixed calls against the provider's bill, long streams, and ten times more than fits."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable
from pathlib import Path

from bench.callers import Caller, Said, answering, at_once, calling, chat
from bench.gateway_servers import reply_body
from bench.witness import Row, Witness
from ledger.segments import read_all
from router.provider_bill import compare, read_bill
from tests.running import LARGE, MEDIUM, Prepared, Running, gateway, prepared, provider

KINDS = {"plain": 0.4, "stream": 0.3, "routed": 0.15, "choices": 0.05, "stream with usage": 0.1}
CUSTOMERS = 48
MB = 2**20
WARMING_BYTES = 16 * MB  # that connections which begin late may add in the second half of a short run
BLOCK = 500  # chunks the provider writes at once


def mixed(path: Path, calls: int, seed: int) -> Row:
    """Calls of every kind without faults: the ledger is the provider's bill to the last digit, and nothing stays held."""
    row = Row("mixed calls, clean", f"{calls:,} calls", seed)
    keys = prepared(path / "home", cap_usd="100000")
    with provider(path, seed=seed) as upstream, gateway(keys.home, upstream.url) as running:
        odd = asyncio.run(_mixed(running, keys, calls, seed))
    row.wrong = odd[:20]
    witness = Witness(keys.home, path / "provider.jsonl")
    row.wrong += witness.at_rest()
    found = compare(read_all(keys.home), read_bill(path / "provider.jsonl"))
    row.wrong += found.differences
    if found.estimated:
        row.wrong.append(f"{found.estimated} calls were estimated")
    row.found = f"{found.calls:,} attempts, {found.cost.normalize():f} USD on both sides, {len(witness.state.holds)} phantom holds"
    return row


async def _mixed(running: Running, keys: Prepared, calls: int, seed: int) -> list[str]:
    left, odd = iter(range(calls)), list[str]()
    async with calling(running.url, keys.app_key) as caller:

        async def customer(name: int) -> None:
            draw = random.Random(f"{seed}.{name}")
            for number in left:
                said = await _one(caller, draw, number)
                if said.status != 200 or (b"data: " in said.body[:8] and not said.body.endswith(b"data: [DONE]\n\n")):
                    odd.append(f"call {number} was answered with {said.status}: {said.body[-200:]!r}")

        await asyncio.gather(*map(customer, range(CUSTOMERS)))
    return odd


def _one(caller: Caller, draw: random.Random, number: int) -> Awaitable[Said]:
    kind = draw.choices(tuple(KINDS), tuple(KINDS.values()))[0]
    more: dict[str, object] = {"model": "auto" if kind == "routed" else draw.choice((MEDIUM, LARGE))}
    if kind.startswith("stream"):
        more["stream"] = True
    if kind.endswith("usage"):
        more["stream_options"] = {"include_usage": True}
    if kind == "choices":
        more["n"] = draw.randrange(2, 5)
    if draw.random() < 0.5:
        more["max_tokens"] = draw.randrange(4, 400)
    return caller.post(chat(f"Ticket {number}: where is my card? " + "x" * draw.randrange(300), **more))


def long_streams(path: Path, streams: int, chunks: int, seed: int, *, limit_mb: int = 300) -> Row:
    """So many streams at once of so many chunks: memory stays flat and below its limit."""
    row = Row("long streams", f"{streams} x {chunks:,} chunks", seed)
    keys = prepared(path / "home")
    sizes, done = asyncio.run(_long_streams(keys, streams, chunks))
    # Flat: what the second half of the run needs beyond the first is below a tenth.
    middle, top = max(sizes[: len(sizes) // 2 + 1]), max(sizes)
    row.found = f"{done} whole, memory at most {top / MB:.0f} MB, {middle / MB:.0f} MB in the first half"
    if done != streams:
        row.wrong.append(f"{streams - done} streams did not come whole")
    if top > limit_mb * MB:
        row.wrong.append(f"the gateway needed {top / MB:.0f} MB")
    if top > middle * 1.1 and top - middle > WARMING_BYTES:
        row.wrong.append(f"memory grew from {middle / MB:.0f} to {top / MB:.0f} MB")
    return row


async def _long_streams(keys: Prepared, streams: int, chunks: int) -> tuple[list[int], int]:
    frame = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"%b","choices":[%b]}\n\n'
    model = MEDIUM.encode()
    word = frame % (model, b'{"index":0,"delta":{"content":" word"},"finish_reason":null}')
    end = frame % (model, b'{"index":0,"delta":{},"finish_reason":"stop"}')
    usage = frame.replace(b"}\n\n", b',"usage":{"prompt_tokens":9,"completion_tokens":%d,"total_tokens":%d}}\n\n')
    tail = end + usage % (model, b"", chunks, chunks + 9) + b"data: [DONE]\n\n"

    async def write(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        for sent in range(0, chunks, BLOCK):
            writer.write(word * min(BLOCK, chunks - sent))
            await writer.drain()
        writer.write(tail)

    sizes, is_over = list[int](), asyncio.Event()

    async def weigh(running: Running) -> None:
        while not is_over.is_set():
            sizes.append(memory_of(running.process.pid))
            await asyncio.sleep(0.25)

    async with answering(write) as upstream:
        with gateway(keys.home, upstream, provider_total_timeout_s=3600, provider_read_timeout_s=600) as running:
            weighing = asyncio.create_task(weigh(running))
            async with calling(running.url, keys.app_key) as caller:
                ends = await asyncio.gather(*(caller.drained(chat(f"{n}", stream=True)) for n in range(streams)))
            is_over.set()
            await weighing
    return sizes, sum(end.endswith(b"data: [DONE]\n\n") for end in ends)


def memory_of(pid: int) -> int:
    """What a process holds in memory; bytes."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def waited_of(pid: int) -> float:
    """How long a process's threads could run and got no core; seconds."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text(encoding="ascii").split()[1]) for thread in threads) / 1e9


def overload(path: Path, seconds: float, seed: int, *, fit: int = 16, provider_s: float = 0.25) -> Row:
    """Ten times as many calls as fit: what is answered stays near the peak, and the rest is refused at once."""
    row = Row("10x overload", f"{seconds:g} s each", seed)
    keys = prepared(path / "home")
    peak, good, slow, refused, starved = asyncio.run(_overload(keys, seconds, fit, provider_s))
    ms = sorted(refused)
    p50, p99 = (1000 * ms[int(len(ms) * share)] for share in (0.5, 0.99)) if ms else (0.0, 0.0)
    row.found = (
        f"{good:.1f} calls/s of a peak of {peak:.1f} ({good / peak:.0%}), {len(ms) / seconds:.0f} refused a second: "
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms; answered p99 {slow:.2f} times that at the peak; "
        f"the gateway had no core for {starved:.0%} of the time"
    )
    if good < 0.9 * peak:
        row.wrong.append(f"goodput fell to {good / peak:.0%} of the peak")
    if not ms:
        row.wrong.append("nothing was refused")
    elif p50 > 50:
        row.wrong.append(f"half of those turned away waited over {p50:.0f} ms for it")
    return row


async def _overload(
    keys: Prepared, seconds: float, fit: int, provider_s: float
) -> tuple[float, float, float, list[float], float]:
    """Calls a second at the peak and under overload, how many times longer the slowest hundredth took, how long refusals took,
    and the share of that time in which the gateway could run and got no core: a machine that is busy measures itself.
    """
    body = reply_body()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    reply = head % len(body) + body

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(provider_s)
        writer.write(reply)

    async with answering(answer) as upstream:
        with gateway(keys.home, upstream, server_max_in_flight=fit) as running:
            async with calling(running.url, keys.app_key) as caller:
                await _closed(caller, fit, 1.0)  # connections and caches are warm then
                peak = await _closed(caller, fit, seconds)
                waited, began = waited_of(running.process.pid), time.monotonic()
                answered, refused = await _offered(caller, 10 * fit / provider_s, seconds)
                starved = (waited_of(running.process.pid) - waited) / (time.monotonic() - began)
    answered.sort()
    peak.sort()
    slow = answered[int(0.99 * len(answered))] / peak[int(0.99 * len(peak))] if answered else 0.0
    return len(peak) / seconds, len(answered) / seconds, slow, refused, starved


async def _closed(caller: Caller, callers: int, seconds: float) -> list[float]:
    """So many callers, each with its next call once its last was answered; how long each took."""
    took, until = list[float](), time.monotonic() + seconds

    async def customer() -> None:
        while (began := time.monotonic()) < until:
            if (await caller.post(chat("?", max_tokens=5))).status == 200:
                took.append(time.monotonic() - began)

    await at_once([customer() for _ in range(callers)], callers)
    return took


async def _offered(caller: Caller, rate: float, seconds: float) -> tuple[list[float], list[float]]:
    """Calls at a rate, whatever becomes of them; how long answers and refusals took."""
    answered, refused, calls = list[float](), list[float](), set[asyncio.Task[None]]()

    async def one() -> None:
        began = time.monotonic()
        status = (await caller.post(chat("?", max_tokens=5))).status
        (answered if status == 200 else refused).append(time.monotonic() - began)

    began, made = time.monotonic(), 0
    while (now := time.monotonic() - began) < seconds:
        while made < now * rate:
            made += 1
            calls.add(task := asyncio.create_task(one()))
            task.add_done_callback(calls.discard)
        await asyncio.sleep(0.002)
    await asyncio.gather(*calls)
    return answered, refused
