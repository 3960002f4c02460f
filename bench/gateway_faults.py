"""Drills of things that break: clients that leave, calls that fail at every stage, streams cut at every byte."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from bench.callers import Caller, answering, at_once, calling, chat
from bench.witness import Row, Witness
from ledger import events as e
from ledger.segments import read_all
from router.provider_bill import compare, read_bill
from tests.running import MEDIUM, Prepared, Running, gateway, prepared, provider

LEAVING = 48  # clients at once
WITHIN_S = 5.0
RECEIVE_BYTES = 4_096  # of a reader that takes little, so that the gateway's writes pile up
PHASES = ("before headers", "before the first chunk", "between chunks", "during the send", "after the last")
ENDS = (e.CallSettled, e.CallVoided, e.CallOrphaned)


def disconnects(path: Path, clients: int, seed: int) -> Row:
    """Clients that break off in five phases: each call ends once, within five seconds, at what the provider bills."""
    row = Row("disconnects, five phases", f"{clients:,} clients", seed)
    keys = prepared(path / "home")
    # Real durations, about a second, so that there is something to leave.
    with (
        provider(path, "--mode", "real", "--chunk-words", "2", seed=seed) as upstream,
        gateway(keys.home, upstream.url) as running,
    ):
        left = asyncio.run(_leave(running, keys, clients, seed))
    witness = Witness(keys.home, path / "provider.jsonl")
    row.wrong = witness.at_rest()
    ended: dict[str, list[e.CallEvent]] = {}
    for event in witness.new:
        if isinstance(event, ENDS):
            ended.setdefault(event.ticket_id or "", []).append(event)
    late = [
        (event.recorded_at - left[name]).total_seconds() for name, (event, *_) in ended.items() if event.recorded_at
    ]
    bill = compare(read_all(keys.home), read_bill(path / "provider.jsonl"))
    row.wrong += bill.differences + _wrong_ends(left, ended)
    if bill.estimated:
        row.wrong.append(f"{bill.estimated} calls were estimated, though the provider drained them")
    row.wrong += [f"an end came {seconds:.1f} s after its client left" for seconds in late if seconds > WITHIN_S]
    outcomes = Counter(event.outcome for event in witness.new if isinstance(event, e.CallSettled))
    row.found = (
        f"{sum(map(len, ended.values())):,} ends, the last {max(late, default=0):.1f} s after its client left; "
        f"{dict(outcomes)}; {bill.cost.normalize():f} USD on both sides"
    )
    return row


def _wrong_ends(left: dict[str, datetime], ended: dict[str, list[e.CallEvent]]) -> list[str]:
    wrong = [f"{name} has {len(ended.get(name, ()))} ends" for name in left if len(ended.get(name, ())) != 1]
    for name, (event, *_) in ended.items():
        if isinstance(event, e.CallSettled) and name.startswith("4.") and event.outcome != "ok":
            wrong.append(f"{name} left after its last byte and ended as {event.outcome}")
    return wrong


async def _leave(running: Running, keys: Prepared, clients: int, seed: int) -> dict[str, datetime]:
    """When each client left, by its ticket."""
    left: dict[str, datetime] = {}
    address = urlsplit(running.url)

    async def one(number: int) -> None:
        phase, draw = number % len(PHASES), random.Random(f"{seed}.{number}")
        name = f"{phase}.{number}"
        body = chat(
            f"Ticket {number}: where is my card?",
            metadata={"ticket_id": name},
            stream=phase > 0 or number % 2 == 0,
            n=8 if phase == 3 else 1,
            max_tokens=4_000 if phase == 3 else 300,
        )
        mine = socket.socket()
        if phase == 3:
            mine.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        mine.setblocking(False)
        await asyncio.get_running_loop().sock_connect(mine, (address.hostname, address.port))
        # A reader whose own buffer stays small leaves the rest in the gateway's.
        reader, writer = await asyncio.open_connection(sock=mine, limit=RECEIVE_BYTES)
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: %b\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
            % (address.netloc.encode(), keys.app_key.encode(), len(body), body)
        )
        await writer.drain()
        await _until_phase(reader, phase, draw)
        left[name] = datetime.now(UTC)
        writer.transport.abort()

    await at_once([one(number) for number in range(clients)], LEAVING)
    await asyncio.sleep(WITHIN_S)
    return left


async def _until_phase(reader: asyncio.StreamReader, phase: int, draw: random.Random) -> None:
    match phase:
        case 0:
            await asyncio.sleep(draw.random() * 0.08)  # no model of the provider's answers sooner
        case 1:
            await reader.readuntil(b"\r\n\r\n")
        case 2:
            await reader.readuntil(b"data: ")
            await asyncio.sleep(draw.random() * 0.3)
        case 3:
            await reader.readuntil(b"data: ")
            await asyncio.sleep(0.5 + draw.random())  # nothing is read any more
        case _:
            last = b""
            while b"[DONE]" not in last:
                last = last[-16:] + await reader.read(RECEIVE_BYTES)


def failing(path: Path, calls: int, seed: int) -> Row:
    """Calls that fail at every stage: at rest nothing is held, and what was billed is neither voided nor free."""
    row = Row("failing at every stage", f"{calls:,} calls", seed)
    keys = prepared(path / "home", cap_usd="10000")
    statuses = Counter[int]()
    with provider(path, seed=seed) as upstream:
        asyncio.run(_fail_all(keys, upstream.url, calls, seed, statuses))
    witness = Witness(keys.home, path / "provider.jsonl")
    row.wrong = witness.at_rest()
    settled = {f"{event.subject}.{event.attempt}" for event in witness.new if isinstance(event, e.CallSettled)}
    row.wrong += [
        f"{name} is billed and not settled" for name in read_bill(path / "provider.jsonl") if name not in settled
    ]
    answered = dict(sorted(statuses.items()))
    row.found = (
        f"{len(witness.ends):,} attempts: {len(settled):,} settled, {len(witness.voided):,} voided; "
        f"{len(witness.state.holds)} holds at rest; answers {answered}"
    )
    if sum(statuses.values()) != calls:
        row.wrong.append(f"{sum(statuses.values())} of {calls} calls were answered")
    return row


async def _fail_all(keys: Prepared, upstream: str, calls: int, seed: int, statuses: Counter[int]) -> None:
    """Most before the simulator's faults, a tenth each before a provider that is not there, has no name, or hangs up."""

    async def hang_up(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens there
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
        async with answering(hang_up) as rude:
            tenth = calls // 10
            shares = (
                (upstream, calls - 3 * tenth),
                (nobody, tenth),
                ("http://no-such-host.invalid", tenth),
                (rude, tenth),
            )
            first = 0
            for url, share in shares:
                settings = {"provider_read_timeout_s": 0.4, "provider_total_timeout_s": 1.5}
                settings |= {"provider_retries": 1, "provider_breaker_failures": 0}
                with gateway(keys.home, url, **settings) as running:
                    async with (
                        calling(running.url, keys.app_key) as caller,
                        calling(running.url, "hp_nobody") as unknown,
                    ):
                        works = [_fail(caller, unknown, n, seed, statuses) for n in range(first, first + share)]
                        await at_once(works, LEAVING)
                    # The loop must stay free for the provider in it while the gateway ends.
                    await asyncio.to_thread(running.stop)
                first += share


FAULTS = ("429", "500", "hang", "timeout", "cut_stream", "malformed_json", "slow_drip")


async def _fail(caller: Caller, unknown: Caller, number: int, seed: int, statuses: Counter[int]) -> None:
    draw = random.Random(f"{seed}.{number}")
    stage = draw.choice((*FAULTS, *FAULTS, "no key", "not JSON", "no price", "left", "left"))
    body = chat(f"Ticket {number}", stream=draw.random() < 0.5, max_tokens=200)
    match stage:
        case "no key":
            said = await unknown.post(body)
        case "not JSON":
            said = await caller.post(body[:-9])
        case "no price":
            said = await caller.post(body.replace(MEDIUM.encode(), b"no-such-model"))
        case "left":
            call = asyncio.create_task(caller.post(body, draw.choice(("hang", "slow_drip", "timeout"))))
            await asyncio.sleep(draw.random() * 0.3)
            call.cancel()
            with suppress(asyncio.CancelledError):
                await call
            statuses[0] += 1
            return
        case _:
            said = await caller.post(body, stage)
    statuses[said.status] += 1


def cuts(path: Path, words: int, seed: int, *, every: int = 1) -> Row:
    """A recorded stream cut at every byte: only the whole of it is a success, and only then the client reads [DONE]."""
    stream = _recorded(words)
    places = sorted({*range(0, len(stream), every), len(stream)})
    row = Row("stream cut at every byte", f"{len(places):,} offsets, two framings", seed)
    keys = prepared(path / "home")
    said = asyncio.run(_cut(keys, stream, places))
    events = list(read_all(keys.home))
    outcomes = {event.ticket_id or "": event.outcome for event in events if isinstance(event, e.CallSettled)}
    for name, body in said.items():
        place = int(name.rpartition(".")[2])
        is_whole = place == len(stream)
        if (outcomes.get(name) == "ok") != is_whole:
            row.wrong.append(f"cut at {name} of {len(stream)} is recorded as {outcomes.get(name)}")
        if (b"[DONE]" in body) != is_whole:
            row.wrong.append(
                f"cut at {name} of {len(stream)}: the client was {'told' if not is_whole else 'not told'} [DONE]"
            )
    if set(outcomes) != set(said):
        row.wrong.append(f"{len(said)} calls were made and {len(outcomes)} settled")
    row.found = f"{len(said):,} calls: " + ", ".join(
        f"{name} {count}" for name, count in Counter(outcomes.values()).items()
    )
    return row


def _recorded(words: int) -> bytes:
    """A stream as providers send it, with a comment, words of several bytes, a finish, usage and the end."""

    def event(choices: list[object], **more: object) -> bytes:
        frame = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MEDIUM}
        return b"data: " + json.dumps({**frame, "choices": choices, **more}, ensure_ascii=False).encode() + b"\n\n"

    def delta(content: object, finish: str | None = None) -> bytes:
        return event([{"index": 0, "delta": content, "finish_reason": finish}])

    usage = {"prompt_tokens": 10, "completion_tokens": words, "total_tokens": 10 + words}
    said = b"".join(delta({"content": f" Grüße ✓ {number}"}) for number in range(words))
    return (
        b": connected\n\n" + delta({"role": "assistant"}) + said + delta({}, "stop") + event([], usage=usage)
        + b"data: [DONE]\n\n"
    )  # fmt: skip


async def _cut(keys: Prepared, stream: bytes, places: list[int]) -> dict[str, bytes]:
    """What each client read, by its ticket: the framing, a dot, and the byte the stream was cut at."""

    async def write(request: bytes, writer: asyncio.StreamWriter) -> None:
        framing, _, place = json.loads(request.partition(b"\r\n\r\n")[2])["messages"][0]["content"].partition(".")
        head, sent = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n", stream[: int(place)]
        if framing == "chunked":
            # Two chunks; the end mark comes only after the whole.
            writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n")
            for part in (sent[: len(sent) // 2], sent[len(sent) // 2 :]):
                writer.write(b"%x\r\n%b\r\n" % (len(part), part) if part else b"")
            writer.write(b"0\r\n\r\n" if len(sent) == len(stream) else b"")
        else:
            writer.write(head + b"Connection: close\r\n\r\n" + sent)  # its end is the connection's

    said: dict[str, bytes] = {}
    async with answering(write) as upstream:
        with gateway(keys.home, upstream, provider_retries=0, provider_breaker_failures=0) as running:
            async with calling(running.url, keys.app_key) as caller:

                async def one(name: str) -> None:
                    said[name] = (await caller.post(chat(name, stream=True, metadata={"ticket_id": name}))).body

                works = [one(f"{framing}.{place}") for framing in ("chunked", "to the end") for place in places]
                await at_once(works, LEAVING)
            await asyncio.to_thread(running.stop)
    return said
