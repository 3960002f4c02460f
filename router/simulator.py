"""A seeded, OpenAI-compatible provider on loopback, with its own books and its faults by name.

What it answers is decided in router.simulation; this module is the server around it. It bills as providers do: what
was processed is billed, whether or not anybody was still there to read it, and each billed request is one line in
its log, which is the outside witness the ledger is held against. Prompts and replies are never written anywhere.

Faults, by the header `x-simulate-fault: NAME` (or `NAME@2`: on the second attempt only) or by configured shares:

    429             refused with Retry-After                                                  not billed
    500             server error before processing                                            not billed
    hang            never answers                                                             not billed
    timeout         processed, then answered far too late                                     billed, complete=false
    cut_stream      connection reset half-way through the reply (streamed or not)             billed so far, complete=false
    no_usage        the reply has no usage object                                             billed
    zero_usage      the usage object is all zeros                                             billed with the true counts
    liar_usage      the usage object is absurd                                                billed with the true counts
    wrong_model     another known model answers, and says so                                  billed as that model
    malformed_json  the body breaks off inside the JSON; a stream has one broken event        billed
    slow_drip       one byte at a time                                                        billed

The attempt is the number after the last dot of x-request-id ("….2"), else 1.
"""

import argparse
import asyncio
import signal
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from router.provider_log import ProviderLog
from router.reply_prose import prose
from router.simulation import Answer, fault_for, simulate, text_tokens
from router.simulator_beside import Beside
from router.simulator_config import FAULTS, SimulatorConfig, parse_fault
from router.simulator_wire import (
    ChatCall,
    RequestRefused,
    completion_body,
    error_body,
    groups,
    models_body,
    read_call,
    stream_pieces,
    with_a_broken_event,
)

# How often a waiting fault looks whether its client has gone or the server stops.
_GLANCE_S = 0.25
# A reader that has taken nothing for so long counts as gone; generation does not wait for readers.
_STALLED_S = 60.0
# Real mode spreads a stream over so many writes, so that sleeping costs little.
_REAL_WRITES = 40
_SHUTDOWN_S = 1.0
_JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One request under way."""

    http: web.Request
    call: ChatCall
    answer: Answer
    fault: str | None
    request_id: str
    model: str
    stated_at: datetime | None

    @property
    def headers(self) -> dict[str, str]:
        stated = {
            "x-simulated-duration-s": f"{self.answer.duration_s:.6f}",
            "x-simulated-first-chunk-s": f"{self.answer.first_chunk_s:.6f}",
        }
        return stated | ({"x-request-id": self.request_id} if self.request_id else {})


class Simulator:
    """The provider behind one port: handlers, books and the flag that ends all waiting."""

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = config
        self._log = ProviderLog(config.log)
        self._stopping = False
        self._under_way: set[asyncio.Task[web.StreamResponse]] = set()
        # Made before the first request, so that no request pays for it.
        prose(config.seed)

    def app(self) -> web.Application:
        """The routes. Closing the books is part of the application's cleanup."""
        app = web.Application(client_max_size=self.config.max_body_bytes, middlewares=[_openai_errors])
        app.router.add_post("/v1/chat/completions", self.create_completion)
        beside = Beside(self.config.seed, self._bill_beside)
        app.router.add_post("/v1/embeddings", beside.create_embeddings)
        app.router.add_post("/v1/responses", beside.create_response)
        app.router.add_get("/v1/models", self.list_models)
        app.router.add_get("/healthz", self.health)
        app.on_shutdown.append(self._stop)
        app.on_cleanup.append(self._close)
        return app

    async def list_models(self, _: web.Request) -> web.Response:
        return web.Response(body=models_body(), content_type=_JSON)

    async def health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "seed": self.config.seed, "mode": self.config.mode})

    async def create_completion(self, http: web.Request) -> web.StreamResponse:
        """Read, simulate, strike with a fault if one is due, bill, answer."""
        call = read_call(await http.read())
        answer = simulate(self.config.seed, call.prompt)
        context = call.prompt.model.context_tokens
        if answer.prompt_tokens >= context:
            raise RequestRefused(
                400,
                f"This model's maximum context length is {context} tokens; the request has {answer.prompt_tokens}.",
                kind="invalid_request_error",
                param="messages",
                code="context_length_exceeded",
            )
        request_id = http.headers.get("x-request-id", "")
        model = call.prompt.model
        fault = self._fault(http, answer, model.name, request_id)
        name = model.impostor if fault == "wrong_model" else model.name
        job = _Job(
            http=http,
            call=call,
            answer=answer,
            fault=fault,
            request_id=request_id,
            model=name,
            stated_at=_stated_moment(http),
        )
        if fault == "429":
            return _refusal(429, "Rate limit reached. Retry after the stated time.", "requests", "rate_limit_exceeded")
        if fault == "500":
            return _refusal(500, "The server had an error while processing the request.", "server_error", None)
        if fault == "hang":
            await self._wait(http, self.config.hang_s)
            return _refusal(503, "The request was given up unprocessed.", "server_error", None)
        if fault == "timeout":
            self._bill(job, answer.completion_tokens, complete=False)
            await self._wait(http, self.config.late_s)
        # A task of the provider's own: a server that cancels handlers when clients hang up cannot cancel the bill.
        task = asyncio.create_task(self._stream(job) if call.stream else self._whole(job))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _whole(self, job: _Job) -> web.StreamResponse:
        if self.config.mode == "real":
            await asyncio.sleep(job.answer.duration_s)
        body = completion_body(job.answer, job.model, job.fault)
        if job.fault == "cut_stream":
            return await self._cut_whole(job, body)
        if job.fault != "timeout":
            self._bill(job, job.answer.completion_tokens, complete=True)
        if job.fault == "malformed_json":
            body = body[: len(body) * 2 // 3]
        if job.fault == "slow_drip":
            return await self._drip(job, body, _JSON)
        return web.Response(body=body, content_type=_JSON, headers=job.headers)

    async def _cut_whole(self, job: _Job, body: bytes) -> web.StreamResponse:
        """Half of the first reply, then a reset; the length announced is that of the whole."""
        said = job.answer.replies[0].text
        self._bill(job, text_tokens(said[: len(said) // 2]), complete=False)
        response = web.StreamResponse(headers=job.headers | {"Content-Type": _JSON, "Content-Length": str(len(body))})
        reader = _Reader(job.http, response)
        await reader.begin()
        await reader.send(body[: len(body) // 2])
        await _reset(job.http)
        return response

    async def _stream(self, job: _Job) -> web.StreamResponse:
        pieces = stream_pieces(
            job.answer,
            job.model,
            include_usage=job.call.include_usage,
            words=self.config.chunk_words,
            fault=job.fault,
        )
        if job.fault == "slow_drip":
            self._bill(job, job.answer.completion_tokens, complete=True)
            body = pieces.head + b"".join(pieces.content) + pieces.tail
            return await self._drip(job, body, "text/event-stream")
        if job.fault == "malformed_json":
            pieces = with_a_broken_event(pieces)
        real = self.config.mode == "real"
        events = pieces.content[: len(pieces.content) // 2] if job.fault == "cut_stream" else pieces.content
        writes = groups(events, _REAL_WRITES if real else None)
        pause_s = (job.answer.duration_s - job.answer.first_chunk_s) / max(len(writes), 1) if real else 0.0
        headers = job.headers | {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
        response = web.StreamResponse(headers=headers)
        if real:
            await asyncio.sleep(job.answer.first_chunk_s)
        reader = _Reader(job.http, response)
        await reader.begin()
        for group in (pieces.head, *writes):
            await reader.send(group)
            if pause_s:
                await asyncio.sleep(pause_s)
        if job.fault == "cut_stream":
            said = text_tokens(pieces.said(len(events)))
            self._bill(job, said, complete=False)
            await _reset(job.http)
            return response
        if job.fault != "timeout":
            self._bill(job, job.answer.completion_tokens, complete=True)
        await reader.send(pieces.tail)
        return response

    async def _drip(self, job: _Job, body: bytes, content_type: str) -> web.StreamResponse:
        response = web.StreamResponse(headers=job.headers | {"Content-Type": content_type})
        response.content_length = len(body)
        reader = _Reader(job.http, response)
        await reader.begin()
        for i in range(len(body)):
            await reader.send(body[i : i + 1])
            await self._wait(job.http, self.config.drip_s)
            if reader.gone or self._stopping:
                break
        return response

    def _fault(self, http: web.Request, answer: Answer, model: str, request_id: str) -> str | None:
        attempt = _small_number(request_id.rpartition(".")[2]) if "." in request_id else None
        attempt = attempt or 1
        asked = http.headers.get("x-simulate-fault")
        if asked is None:
            return fault_for(self.config.faults, self.config.seed, answer.content_id, model, attempt)
        name, at, only = asked.partition("@")
        if name not in FAULTS or (at and _small_number(only) is None):
            raise RequestRefused(
                400,
                f"Unknown fault {asked[:60]!r}. Known faults: {', '.join(FAULTS)}; NAME@2 strikes the second attempt only.",
                kind="invalid_request_error",
            )
        return name if not at or _small_number(only) == attempt else None

    def _bill(self, job: _Job, completion_tokens: int, *, complete: bool) -> None:
        self._log.bill(
            {
                "request_id": job.request_id,
                "model": job.model,
                "prompt_tokens": job.answer.prompt_tokens,
                "cached_tokens": job.answer.cached_tokens,
                "completion_tokens": completion_tokens,
                "status": 200,
                "complete": complete,
            },
            at=job.stated_at,
        )

    def _bill_beside(self, http: web.Request, entry: dict[str, object]) -> None:
        request_id = http.headers.get("x-request-id", "")
        line = {"request_id": request_id, **entry, "status": 200, "complete": True}
        self._log.bill(line, at=_stated_moment(http))

    async def _wait(self, http: web.Request, seconds: float) -> None:
        """Sleep, but no longer than client and server are both there."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._stopping or http.transport is None or http.transport.is_closing():
                return
            await asyncio.sleep(min(left, _GLANCE_S))

    async def _stop(self, _: web.Application) -> None:
        self._stopping = True

    async def _close(self, _: web.Application) -> None:
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        self._log.close()


class _Reader:
    """The client's end of a reply. One that has hung up, or stalls, stops receiving; it never stops the provider."""

    def __init__(self, http: web.Request, response: web.StreamResponse) -> None:
        self._http = http
        self._response = response
        self.gone = False

    async def begin(self) -> None:
        await self._unless_gone(self._response.prepare(self._http))

    async def send(self, data: bytes) -> None:
        if data:
            await self._unless_gone(self._response.write(data))

    async def _unless_gone(self, step: Coroutine[object, object, object]) -> None:
        if self.gone:
            step.close()
            return
        try:
            async with asyncio.timeout(_STALLED_S):
                await step
        except (ConnectionError, TimeoutError):
            self.gone = True


def _small_number(digits: str) -> int | None:
    """A number of up to four decimal digits."""
    return int(digits) if len(digits) <= 4 and digits.isascii() and digits.isdigit() else None


def _stated_moment(http: web.Request) -> datetime | None:
    """The moment a replayed request is billed at, from x-simulate-time (RFC 3339)."""
    stated = http.headers.get("x-simulate-time")
    if stated is None:
        return None
    try:
        moment = datetime.fromisoformat(stated)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise RequestRefused(
        400, "x-simulate-time must be a moment with its offset, as in RFC 3339.", kind="invalid_request_error"
    )


async def _reset(http: web.Request) -> None:
    """Cut the connection with a TCP reset, after what was written has had time to leave."""
    await asyncio.sleep(0.02)
    transport = http.transport
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    if sock is not None:
        # Linger zero makes the close a reset instead of an orderly end.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _refusal(status: int, message: str, kind: str, code: str | None) -> web.Response:
    headers = {"Retry-After": "1"} if status == 429 else None
    body = error_body(message, kind=kind, code=code)
    return web.Response(status=status, body=body, content_type=_JSON, headers=headers)


@web.middleware
async def _openai_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Every refusal in OpenAI's shape, aiohttp's own (no such path, body too large) included."""
    try:
        return await handler(request)
    except RequestRefused as refusal:
        return web.Response(status=refusal.status, body=refusal.body, content_type=_JSON)
    except web.HTTPException as refusal:
        body = error_body(f"{refusal.reason}.", kind="invalid_request_error")
        headers = {"Allow": refusal.headers["Allow"]} if "Allow" in refusal.headers else None
        return web.Response(status=refusal.status, body=body, content_type=_JSON, headers=headers)


def create_app(config: SimulatorConfig) -> web.Application:
    """The simulated provider as an application, for a server of the caller's own."""
    return Simulator(config).app()


async def run(config: SimulatorConfig, *, on_listening: Callable[[str], None]) -> None:
    """Serve until cancelled, or until SIGINT or SIGTERM. on_listening gets the address, e.g. http://127.0.0.1:8585.

    Errors: OSError when the port is taken or the log cannot be opened.
    """
    runner = web.AppRunner(create_app(config), access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, config.host, config.port, backlog=1024)
        await site.start()
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)
        on_listening(f"http://{config.host}:{runner.addresses[0][1]}")
        await ended.wait()
    finally:
        await runner.cleanup()


def serve(config: SimulatorConfig) -> None:
    """Run the simulated provider in this process until it is asked to stop; prints `listening on URL`.

    Errors: OSError as in run.
    """
    try:
        import uvloop  # noqa: PLC0415 - an extra where it exists; asyncio's own loop serves as well

        factory = uvloop.new_event_loop
    except ImportError:
        factory = asyncio.new_event_loop

    def say(address: str) -> None:
        print(f"listening on {address}", flush=True)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(run(config, on_listening=say))


def main(arguments: list[str] | None = None) -> int:
    """`python -m router.simulator`. Returns the exit code: 0 ended, 2 asked wrongly, 5 port or log not to be had."""
    parser = argparse.ArgumentParser(prog="python -m router.simulator", description="A simulated provider.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--log", type=Path, help="provider.jsonl to append to")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--mode", choices=("fast", "real"), default="fast")
    parser.add_argument("--chunk-words", type=int, default=15)
    parser.add_argument("--fault", action="append", default=[], metavar="NAME=SHARE[@MODEL]")
    asked = parser.parse_args(arguments)
    try:
        faults = tuple(map(parse_fault, asked.fault))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    config = SimulatorConfig(
        host=asked.host, port=asked.port, log=asked.log, seed=asked.seed, mode=asked.mode,
        chunk_words=max(asked.chunk_words, 1), faults=faults,
    )  # fmt: skip
    try:
        serve(config)
    except OSError as error:
        print(f"The simulated provider cannot start: {error}.", file=sys.stderr)
        return 5
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
