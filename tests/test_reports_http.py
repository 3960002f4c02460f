"""The client's pull: its own reports and nobody else's, the bytes that were built, and no way around them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from served_home import configured, fill, key_of
from yarl import URL

from halfpenny import report_routes
from ledger.events import ReportIssued
from ledger.home import Home, create
from ledger.store import Ledger
from reports.places import FORMATS, directory_of
from router.app import build, listening
from router.config import terms_of
from router.standing import Standings

pytestmark = pytest.mark.anyio
NOW = datetime(2025, 11, 1, 6, tzinfo=UTC)
PAGE = (
    b'<!DOCTYPE html><html><head><meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" '
    b"content=\"default-src &#39;none&#39;; style-src 'sha256-abc='\"></head></html>"
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Pulled:
    home: Home
    url: str
    session: aiohttp.ClientSession

    async def get(self, path: str, key: str = "client", **headers: str) -> tuple[int, dict[str, str], bytes]:
        url = URL(self.url + path, encoded=True)
        async with self.session.get(url, headers={"authorization": f"Bearer {key_of(key)}"} | headers) as reply:
            return reply.status, {name.lower(): value for name, value in reply.headers.items()}, await reply.read()


def put(home: Home, client: str, period: str, revision: int, files: dict[str, bytes]) -> str:
    """A revision in place, as the build leaves one; the digest of its report.json."""
    place = directory_of(home, client, period) / f"r{revision}"
    place.mkdir(parents=True)
    for name, content in files.items():
        (place / name).write_bytes(content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    (place / "manifest.json").write_text(json.dumps({"files": digests}))
    return digests["report.json"]


@asynccontextmanager
async def pulled(path: Path) -> AsyncIterator[Pulled]:
    home = create(path / "home", "")
    ledger = Ledger.open(home.path, clock=lambda: NOW)
    try:
        fill(ledger, home.pepper(), caps={})
        for client, period, revision in (
            ("acme", "2025-09", 1),
            ("acme", "2025-10", 1),
            ("acme", "2025-10", 2),
            ("bolt", "2025-10", 1),
        ):
            files = {
                "report.json": f"{client} {period} r{revision}".encode(),
                "report.html": PAGE,
                "focus.csv": b"a,b\n",
            }
            digest = put(home, client, period, revision, files)
            ledger.append_now(
                ReportIssued(
                    id=f"{client}-{period}-{revision}",
                    subject=client,
                    client_id=client,
                    time=NOW,
                    period=period,
                    revision=revision,
                    up_to_sequence=5,
                    report_sha256=digest,
                    status="final",
                )
            )
        config = configured("http://127.0.0.1:1")
        service = build(
            ledger,
            config,
            standings=Standings(terms_of(config)),
            pepper=home.pepper(),
            admin_token=home.admin_token(),
            provider_key=None,
            on_fatal=lambda _: None,
            more=report_routes(home.path, ledger.state),
        )
        async with (
            listening(service.app, "127.0.0.1", 0) as url,
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        ):
            yield Pulled(home, url, session)
    finally:
        ledger.close()


def rows(body: bytes) -> list[tuple[str, str, int]]:
    return [(row["client_id"], row["period"], row["revision"]) for row in json.loads(body)["data"]]


async def test_a_client_is_told_of_its_own_reports_and_an_admin_of_all(tmp_path: Path) -> None:
    async with pulled(tmp_path) as at:
        own = await at.get("/v1/reports")
        every = await at.get("/v1/reports", "boss")
        narrowed = await at.get("/v1/reports?client=bolt", "client")

    assert rows(own[2]) == [("acme", "2025-10", 2), ("acme", "2025-09", 1)]
    assert rows(every[2]) == [("acme", "2025-10", 2), ("bolt", "2025-10", 1), ("acme", "2025-09", 1)]
    assert rows(narrowed[2]) == []


async def test_the_last_revision_is_sent_as_built_and_an_earlier_one_when_named(tmp_path: Path) -> None:
    async with pulled(tmp_path) as at:
        status, headers, body = await at.get("/v1/reports/acme/2025-10.json")
        first = await at.get("/v1/reports/acme/2025-10.json?revision=1")
        focus = await at.get("/v1/reports/acme/2025-10.focus.csv")

    assert (status, body, headers["x-halfpenny-revision"]) == (200, b"acme 2025-10 r2", "2")
    assert headers["etag"] == f'"{hashlib.sha256(body).hexdigest()}"'
    assert (first[0], first[2]) == (200, b"acme 2025-10 r1")
    assert (focus[0], focus[2], focus[1]["content-type"]) == (200, b"a,b\n", "text/csv; charset=utf-8")
    assert focus[1]["content-disposition"] == 'attachment; filename="acme-2025-10-r2.focus.csv"'


@pytest.mark.parametrize(
    "path",
    [
        "bolt/2025-10.json",  # somebody else's
        "nobody/2025-10.json",
        "acme/2025-11.json",  # no such month
        "acme/2025-10.pdf",  # not built
        "acme/2025-10.exe",
        "acme/2025-10.json?revision=3",
        "acme/manifest.json",
        "acme/r1",
        "acme/2025-10",
        "acme/%2e%2e%2f2025-10.json",
        "acme/2025-10.json%00.html",
        "acme/..%2f..%2f..%2fkeys%2fadmin.token",
        "..%2f..%2fkeys/admin.token",
        "%2e%2e/halfpenny.toml",
        "%2Fetc/passwd",
        "acme/" + "a" * 5000 + ".json",
        "acme/%D9%A2%D9%A0%D9%A2%D9%A5-10.json",  # digits of another script
    ],
)
async def test_not_yours_and_not_there_answer_alike(path: str, tmp_path: Path) -> None:
    async with pulled(tmp_path) as at:
        found = await at.get(f"/v1/reports/{path}")
        missing = await at.get("/v1/reports/acme/1999-01.json")

    assert found[0] == missing[0] == 404
    assert found[2] == missing[2]
    assert json.loads(found[2])["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("key", "status"), [("app", 403), ("agent", 403), ("revoked", 401), ("client", 200), ("boss", 200)]
)
async def test_only_a_clients_key_and_an_admins_open_the_door(key: str, status: int, tmp_path: Path) -> None:
    async with pulled(tmp_path) as at:
        assert (await at.get("/v1/reports/acme/2025-10.json", key))[0] == status
        assert (await at.get("/v1/reports", key))[0] == status


async def test_what_the_reader_has_already_is_not_sent_again(tmp_path: Path) -> None:
    async with pulled(tmp_path) as at:
        tag = (await at.get("/v1/reports/acme/2025-10.json"))[1]["etag"]
        again = await at.get("/v1/reports/acme/2025-10.json", **{"if-none-match": f'"other", W/{tag}'})
        changed = await at.get("/v1/reports/acme/2025-10.json", **{"if-none-match": '"other"'})

    assert (again[0], again[2], again[1]["etag"]) == (304, b"", tag)
    assert changed[0] == 200


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        ("bytes=0-3", 206, b"acme"),
        ("bytes=5-", 206, b"2025-10 r2"),
        ("bytes=-2", 206, b"r2"),
        ("bytes=0-99999", 206, b"acme 2025-10 r2"),
        ("bytes=15-", 416, b""),
        ("bytes=-0", 416, b""),
        ("bytes=3-1", 416, b""),
        ("bytes=0-1,3-4", 200, b"acme 2025-10 r2"),
        ("bytes=" + ",".join(f"{n}-" for n in range(2000)), 200, b"acme 2025-10 r2"),  # quadratic elsewhere
        ("lines=1-2", 200, b"acme 2025-10 r2"),
    ],
)
async def test_one_range_is_honoured_and_many_are_the_whole(
    asked: str, status: int, body: bytes, tmp_path: Path
) -> None:
    async with pulled(tmp_path) as at:
        found = await at.get("/v1/reports/acme/2025-10.json", range=asked)

    assert (found[0], found[2]) == (status, body)
    if status == 416:
        assert found[1]["content-range"] == "bytes */15"


async def test_a_page_runs_nothing_and_is_framed_by_nobody(tmp_path: Path) -> None:
    async with pulled(tmp_path) as at:
        _, page, _ = await at.get("/v1/reports/acme/2025-10.html")
        _, other, _ = await at.get("/v1/reports/acme/2025-10.json")

    assert page["content-security-policy"] == (
        "default-src 'none'; style-src 'sha256-abc='; frame-ancestors 'none'; sandbox"
    )
    assert other["content-security-policy"].startswith("default-src 'none'")
    for headers in (page, other):
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "private, no-cache"
        assert headers["referrer-policy"] == "no-referrer"


async def test_an_altered_file_and_a_link_are_not_handed_out(tmp_path: Path) -> None:
    async with pulled(tmp_path) as at:
        place = directory_of(at.home, "acme", "2025-10") / "r2"
        before = await at.get("/v1/reports/acme/2025-10.json")
        (place / "report.json").write_bytes(b"acme 2025-10 r3")
        (place / "focus.csv").unlink()
        (place / "focus.csv").symlink_to(at.home.keys / "admin.token")

        altered = await at.get("/v1/reports/acme/2025-10.json")
        linked = await at.get("/v1/reports/acme/2025-10.focus.csv")

    assert before[0] == 200
    assert altered[0] == 500
    assert b"r3" not in altered[2]
    assert linked[0] == 404


def test_every_format_has_a_name_a_path_can_end_with() -> None:
    assert all(re.fullmatch(r"[a-z]+(\.csv)?", ending) for ending in FORMATS)
    files: list[Any] = [name for name, _ in FORMATS.values()]
    assert len(set(files)) == len(files)
