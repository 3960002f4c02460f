"""The client's pull: which reports there are, and their files.

What may be asked for is looked up in the ledger's state before anything on disk is touched: a client and a month that
no report.issued event names do not exist, and somebody else's do not either. A path is made of what the state and
this module say, never of what was asked. A file is hashed against its revision's manifest before its first byte
leaves, so that an altered report is not handed out. The gateway decides who asks; the handlers are told.
"""

from __future__ import annotations

import asyncio
import hashlib
import html
import json
import os
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from aiohttp import hdrs, web

from ledger.errors import InvalidInput, NotFound
from ledger.events import ReportIssued
from ledger.home import Home
from ledger.projections import State
from reports.errors import Altered
from reports.places import FORMATS, MANIFEST, directory_of

LISTED_AT_MOST = 1000
MANIFEST_BYTES = 1 << 20
CHUNK_BYTES = 1 << 18
STALL_S = 30.0  # a reader that takes no chunk for so long has left
HASHED_KEPT = 1024  # files whose SHA-256 is known as long as size and time stay
_FILE = re.compile(r"([0-9]{4}-[0-9]{2})\.([a-z]{3,7}(?:\.csv)?)")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")  # one range; of several the whole file is the answer
_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"\r\n]{1,1000})">')
_HEAD_BYTES = 4096  # of the page, where its own policy stands
_SHUT = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
    "Accept-Ranges": "bytes",
}


class Found(NamedTuple):
    """An open file of a revision. Units: bytes."""

    handle: int
    size: int
    sha256: str


class Reports:
    """Handlers over one home. `client_id` is whose reports the caller may see; None sees all."""

    def __init__(self, home: Home, state: State) -> None:
        self._home, self._state = home, state
        self._hashed: OrderedDict[tuple[str, int, int], str] = OrderedDict()

    async def listed(self, request: web.Request, client_id: str | None) -> web.StreamResponse:
        """GET /v1/reports: the last revision of every month, newest month first; ?client= and ?month= narrow it."""
        client, month = request.query.get("client"), request.query.get("month")
        found = [
            _row(event)
            for (owner, period), event in self._state.issued.items()
            if client_id in (None, owner) and client in (None, owner) and month in (None, period)
        ]
        found.sort(key=lambda row: str(row["client_id"]))
        found.sort(key=lambda row: str(row["period"]), reverse=True)
        body = {"object": "list", "data": found[:LISTED_AT_MOST], "has_more": len(found) > LISTED_AT_MOST}
        headers = {name: _HEADERS[name] for name in ("X-Content-Type-Options", "Cache-Control")}
        return web.json_response(body, headers=headers)

    async def file(self, request: web.Request, client_id: str | None) -> web.StreamResponse:
        """GET /v1/reports/{client}/{YYYY-MM}.{format}; ?revision=N for an earlier one.

        Errors: NotFound alike for what is not there and what is not the caller's; InvalidInput; Altered.
        """
        client, name = request.match_info["client"], request.match_info["file"]
        asked = _FILE.fullmatch(name)
        issued = None if asked is None else self._state.issued.get((client, asked[1]))
        if asked is None or issued is None or client_id not in (None, client) or asked[2] not in FORMATS:
            raise _missing(name)
        revision = _revision(request.query.get("revision"), issued)
        file_name, kind = FORMATS[asked[2]]
        directory = directory_of(self._home, client, issued.period) / f"r{revision}"
        found = await asyncio.to_thread(self._opened, directory, file_name)
        if found is None:
            raise _missing(name)
        try:
            headers = {
                hdrs.CONTENT_TYPE: kind,
                hdrs.ETAG: f'"{found.sha256}"',
                hdrs.CONTENT_DISPOSITION: _disposition(issued, revision, asked[2]),
                "Content-Security-Policy": _policy(found) if asked[2] == "html" else _SHUT,
                "X-Halfpenny-Revision": str(revision),
                **_HEADERS,
            }
            return await _sent(request, found, headers)
        finally:
            os.close(found.handle)

    def _opened(self, directory: Path, name: str) -> Found | None:
        """The file, checked; None when this revision has none of this name. Errors: Altered."""
        expected = _manifest(directory).get(name)
        path = directory / name
        if expected is None or not path.parent.resolve().is_relative_to(self._home.reports.resolve()):
            return None
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            stat = os.fstat(handle)
            key = (str(path), stat.st_size, stat.st_mtime_ns)
            if key not in self._hashed:
                self._hashed[key] = _sha256(handle)
                while len(self._hashed) > HASHED_KEPT:
                    self._hashed.popitem(last=False)
            if self._hashed[key] != expected:
                raise Altered(path)
        except BaseException:
            os.close(handle)
            raise
        return Found(handle, stat.st_size, expected)


def _row(event: ReportIssued) -> dict[str, object]:
    return {
        "object": "report",
        "client_id": event.subject,
        "period": event.period,
        "revision": event.revision,
        "status": event.status,
        "issued_at": f"{event.time:%Y-%m-%dT%H:%M:%SZ}",
        "up_to_sequence": event.up_to_sequence,
        "report_sha256": event.report_sha256,
        "path": f"/v1/reports/{event.subject}/{event.period}.json",
    }


def _missing(name: str) -> NotFound:
    return NotFound("report", name, "See what there is at /v1/reports.")


def _revision(asked: str | None, issued: ReportIssued) -> int:
    if asked is None:
        return issued.revision
    if not re.fullmatch(r"[1-9][0-9]{0,5}", asked):
        raise InvalidInput(f"{asked!r} is not a revision. Write its number, like revision=1, or leave it out.")
    if int(asked) > issued.revision:
        raise _missing(asked)
    return int(asked)


def _manifest(directory: Path) -> Mapping[str, str]:
    """SHA-256 by file name; empty when the revision is not there."""
    try:
        with (directory / MANIFEST).open("rb") as file:
            found: Mapping[str, str] = json.loads(file.read(MANIFEST_BYTES))["files"]
            return found
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError):
        raise Altered(directory / MANIFEST) from None


def _sha256(handle: int) -> str:
    digest, at = hashlib.sha256(), 0
    while block := os.pread(handle, CHUNK_BYTES, at):
        digest.update(block)
        at += len(block)
    return digest.hexdigest()


def _disposition(issued: ReportIssued, revision: int, ending: str) -> str:
    """The page is shown; everything else is saved, under a name of plain letters whatever the client is called."""
    client = re.sub(r"[^A-Za-z0-9_-]", "_", issued.subject)[:63]
    how = "inline" if ending == "html" else "attachment"
    return f'{how}; filename="{client}-{issued.period}-r{revision}.{ending}"'


def _policy(found: Found) -> str:
    """The page's own policy, and what only a header can say."""
    own = _POLICY.search(os.pread(found.handle, _HEAD_BYTES, 0).decode("utf-8", "replace"))
    return _SHUT if own is None else f"{html.unescape(own[1])}; frame-ancestors 'none'; sandbox"


async def _sent(request: web.Request, found: Found, headers: dict[str, str]) -> web.StreamResponse:
    tag = headers[hdrs.ETAG]
    if any(
        one.strip().removeprefix("W/") in (tag, "*") for one in request.headers.get(hdrs.IF_NONE_MATCH, "").split(",")
    ):
        return web.Response(status=304, headers=headers)
    first, last, status = 0, found.size - 1, 200
    asked = _RANGE.fullmatch(request.headers.get(hdrs.RANGE, ""))
    if asked and (asked[1] or asked[2]) and request.headers.get(hdrs.IF_RANGE, tag) == tag:
        first, last = _span(asked[1], asked[2], found.size)
        if not 0 <= first <= last < found.size:
            return web.Response(status=416, headers=headers | {hdrs.CONTENT_RANGE: f"bytes */{found.size}"})
        status, headers[hdrs.CONTENT_RANGE] = 206, f"bytes {first}-{last}/{found.size}"
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = last - first + 1
    await response.prepare(request)
    while first <= last:
        block = await asyncio.to_thread(os.pread, found.handle, min(CHUNK_BYTES, last - first + 1), first)
        if not block:
            raise ConnectionError("the file became shorter")
        try:
            async with asyncio.timeout(STALL_S):
                await response.write(block)
        except TimeoutError:
            raise ConnectionError("the reader takes nothing") from None
        first += len(block)
    await response.write_eof()
    return response


def _span(first: str, last: str, size: int) -> tuple[int, int]:
    """First and last byte, both inclusive; outside the file when it cannot be satisfied."""
    if not first:
        return (max(0, size - int(last)), size - 1) if int(last) else (size, size)
    return int(first), min(int(last) if last else size - 1, size - 1)
