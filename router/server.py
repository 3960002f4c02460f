"""The HTTP server: aiohttp's, with a shorter way for what nearly every request is.

A request for a path without a variable in it finds its handler in a table; a connection answers its requests in its one
task, where aiohttp starts another for each; and a whole answer on a connection that stays open goes out as head and body
in one piece. The parser, its limits and every other kind of request and answer are aiohttp's own; a test holds that both
ways give the same bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE, RawRequestMessage
from aiohttp.http_writer import StreamWriter, _serialize_headers
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import ERROR, RequestHandler, _ErrInfo

LINGER_S = 10.0  # for what is still to come of a body that nobody wants, so that the client gets to read its answer
HEAD_S = 10.0  # for a request's line and headers, from their first byte; an idle connection has longer
_BODILESS = (204, 304)

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]
# By method and path, exactly as they are sent. None of these raises; all else goes through the application's router.
DIRECT = web.AppKey("direct", dict[tuple[str, str], Answering])


class _Connection(RequestHandler):
    """One client's connection."""

    __slots__ = ("_table", "_timed")

    def __init__(self, *given: Any, table: dict[tuple[str, str], Answering], **named: Any) -> None:
        super().__init__(*given, **named)
        self._table = table
        self._timed = -1  # the number of the request whose head began and did not end at once

    def data_received(self, data: bytes) -> None:
        """Take in what came. A head that does not come in one piece, as nearly every one does, is given HEAD_S."""
        super().data_received(data)
        waiter, number = self._waiter, self._request_count
        is_waiting = number == 0 if waiter is None else not waiter.done()
        if is_waiting and self._timed != number and data.strip(b"\r\n"):
            self._timed = number
            self._loop.call_later(HEAD_S, self._end_unfinished, number)

    def _end_unfinished(self, number: int) -> None:
        if self._request_count == number:
            self.force_close()

    async def start(self) -> None:
        """Answer requests, one after the other, until the connection is to be closed."""
        try:
            while not self._force_close:
                if not self._messages:
                    self._waiter = self._loop.create_future()
                    try:
                        await self._waiter
                    finally:
                        self._waiter = None
                message, payload = self._messages.popleft()
                if self._parser is not None:
                    self._parser.message_consumed()
                if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
                    self._resume_reading_if_drained()
                self._keepalive = await self._answered(message, payload)
                if not self._keepalive or self._close or self._force_close:
                    break
                self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
                if self._keepalive_handle is None:
                    at = self._next_keepalive_close_time
                    self._keepalive_handle = self._loop.call_at(at, self._process_keepalive)
        except BaseException as broke:
            self.force_close()
            if not isinstance(broke, Exception):
                raise
            self.log_exception("Unhandled exception", exc_info=broke)
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    async def _answered(self, message: RawRequestMessage | _ErrInfo, payload: StreamReader) -> bool:
        """Answer one request. Returns whether the connection may stay open."""
        manager, factory, handler = self._manager, self._request_factory, self._request_handler
        if manager is None or factory is None or handler is None:
            return False  # the connection was lost
        manager.requests_count += 1
        if isinstance(message, _ErrInfo):
            handler, message = self._make_error_handler(message), ERROR
        task = self._task_handler or asyncio.current_task(self._loop)
        request: Any = factory(message, payload, self, StreamWriter(self, self._loop), task)  # type: ignore[arg-type]
        answering = self._table.get((message.method, message.path))
        if answering is None or hdrs.EXPECT in message.headers:
            is_kept = await self._routed(request, handler)
        else:
            self._request_in_progress, self._current_request = True, request
            try:
                response = await answering(request)
                is_kept = self._is_sent_whole(request, response) or await self._is_finished(request, response)
            finally:
                self._request_in_progress, self._current_request = False, None
                if self._handler_waiter is not None:
                    self._handler_waiter.set_result(None)
        if not payload.is_eof() and not self._force_close:
            await self._let_pass(payload)
        return is_kept

    async def _routed(self, request: web.Request, handler: Any) -> bool:
        """Answer in aiohttp's way. Returns whether the connection may stay open."""
        try:
            response, has_left = await self._handle_request(request, None, handler)
        except ConnectionError:
            return False
        return not has_left and bool(response.keep_alive)

    async def _is_finished(self, request: web.Request, response: web.StreamResponse) -> bool:
        """Send an answer, or what is still to come of it, in aiohttp's way. Returns whether the connection may stay open."""
        _, has_left = await self.finish_response(request, response, None)
        return not has_left and bool(response.keep_alive)

    def _is_sent_whole(self, request: web.Request, response: web.StreamResponse) -> bool:
        """Send a whole answer in one piece, if it is one and nothing about it or its connection is out of the ordinary."""
        if type(response) is not web.Response or response.prepared or response.keep_alive is not None:
            return False
        body, transport = response.body, self.transport
        if (
            not isinstance(body, bytes)
            or transport is None
            or transport.is_closing()
            or self._upgraded
            or request.version != HttpVersion11
            or not request.keep_alive
            or request.method == hdrs.METH_HEAD
            or response.status in _BODILESS
        ):
            return False
        headers = response.headers
        if body:
            headers.setdefault(hdrs.CONTENT_TYPE, "application/octet-stream")
        headers[hdrs.CONTENT_LENGTH] = str(len(body))
        headers[hdrs.DATE] = rfc822_formatted_time()
        headers[hdrs.SERVER] = SERVER_SOFTWARE
        transport.write(_serialize_headers(f"HTTP/1.1 {response.status} {response.reason}", headers) + body)
        return True

    async def _let_pass(self, payload: StreamReader) -> None:
        try:
            async with asyncio.timeout(LINGER_S):
                while not payload.is_eof():
                    await payload.readany()
        except (TimeoutError, web.RequestPayloadError):
            self.close()


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs an application in this way."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        more: dict[str, Any] = {**made._kwargs, "table": self.app.get(DIRECT, {})}
        return _Server(made.request_handler, request_factory=made.request_factory, loop=made._loop, **more)
