"""The webhook of budget warnings: signed, once durable, tried again while that can help, and never in a call's way."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from served_home import simulated

from ledger import admin
from ledger.events import BudgetWarned
from router.config import Budget
from router.provider_config import BadConfig
from router.unsent import Unsent
from router.warning_hook import TRIES, WarningHook

AT = datetime(2026, 11, 26, 12, tzinfo=UTC)
WARNED = BudgetWarned(
    id="w-1",
    subject="acme",
    time=AT,
    client_id="acme",
    scope="client",
    period="2026-11",
    threshold=0.8,
    hard=False,
    cap_usd="10",
    settled_usd="8.1",
    held_usd="0.2",
    orphaned_usd="0",
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Receiver:
    """Answers with these statuses, the last one for ever, and keeps what came."""

    def __init__(self, *statuses: int) -> None:
        self.statuses, self.got = list(statuses), list[tuple[dict[str, str], bytes]]()

    async def take(self, request: web.Request) -> web.Response:
        self.got.append(({k.lower(): v for k, v in request.headers.items()}, await request.read()))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return web.Response(status=status, headers={"Location": "/elsewhere"} if 300 <= status < 400 else {})


@asynccontextmanager
async def receiving(*statuses: int) -> AsyncIterator[tuple[Receiver, str]]:
    receiver, app = Receiver(*statuses), web.Application()
    app.router.add_post("/hook", receiver.take)
    async with TestServer(app) as server:
        yield receiver, str(server.make_url("/hook"))


async def told(url: str) -> list[float]:
    """How long it waited between tries, with a clock that does not pass."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    hook = WarningHook(Budget(webhook_url=url), {"HALFPENNY_WEBHOOK_SECRET": "s"}, now=lambda: AT, sleep=sleep)
    durable = asyncio.get_running_loop().create_future()
    hook.tell(WARNED, durable)
    durable.set_result(None)
    await hook.settle()
    return waits


@pytest.mark.anyio
async def test_a_warning_is_posted_with_its_figures_and_signed(tmp_path: Path) -> None:
    async with receiving(204) as (receiver, url):
        await told(url)

    ((headers, body),) = receiver.got
    wanted = hmac.new(b"s", b"w-1.%d." % int(AT.timestamp()) + body, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(wanted).decode()
    assert headers["webhook-id"] == "w-1"
    assert json.loads(body) == {
        "type": "budget.warned", "id": "w-1", "scope": "client", "subject": "acme", "client_id": "acme",
        "period": "2026-11", "threshold": 0.8, "hard": False, "cap_usd": "10", "settled_usd": "8.1", "held_usd": "0.2",
        "orphaned_usd": "0", "time": "2026-11-26T12:00:00Z",
    }  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("statuses", "tries"), [((503, 200), 2), ((429, 500, 200), 3), ((500,), TRIES), ((404,), 1), ((307,), 1)]
)
async def test_it_is_tried_again_where_that_can_help_and_a_redirect_is_not_followed(
    statuses: tuple[int, ...], tries: int
) -> None:
    async with receiving(*statuses) as (receiver, url):
        waits = await told(url)

    assert len(receiver.got) == tries
    assert waits == [1.0, 2.0, 4.0, 8.0][: tries - 1]
    assert {headers["webhook-id"] for headers, _ in receiver.got} == {"w-1"}


@pytest.mark.anyio
async def test_nobody_there_stops_nothing() -> None:
    assert await told("http://127.0.0.1:9/hook") == [1.0, 2.0, 4.0, 8.0]


@pytest.mark.anyio
async def test_nothing_is_told_before_the_warning_is_durable() -> None:
    async with receiving(204) as (receiver, url):
        hook = WarningHook(Budget(webhook_url=url), {"HALFPENNY_WEBHOOK_SECRET": "s"}, now=lambda: AT)
        durable = asyncio.get_running_loop().create_future()
        hook.tell(WARNED, durable)
        await asyncio.sleep(0.05)
        assert receiver.got == []
        durable.set_result(None)
        await hook.settle()

    assert len(receiver.got) == 1


async def after_a_start(url: str, folder: Path, *, is_recorded: bool = True) -> None:
    """A new process with the same home tells what it has to, without waiting between tries."""
    hook = WarningHook(
        Budget(webhook_url=url),
        {"HALFPENNY_WEBHOOK_SECRET": "s"},
        now=lambda: AT,
        sleep=lambda _: asyncio.sleep(0),
        unsent=Unsent(folder),
    )
    hook.resume(lambda _: is_recorded)
    await hook.settle()


@pytest.mark.anyio
async def test_a_warning_that_nobody_took_is_posted_after_each_start_until_somebody_does(tmp_path: Path) -> None:
    async with receiving(503, 503, 503, 503, 503, 503, 200) as (receiver, url):
        hook = WarningHook(
            Budget(webhook_url=url),
            {"HALFPENNY_WEBHOOK_SECRET": "s"},
            now=lambda: AT,
            unsent=Unsent(tmp_path / "unsent"),
        )
        durable = asyncio.get_running_loop().create_future()
        durable.set_result(None)
        hook.tell(WARNED, durable)
        await hook.settle()  # its process ends amid the waits between tries
        before = len(receiver.got)
        for _ in range(4):
            await after_a_start(url, tmp_path / "unsent")

    assert 0 < before < TRIES
    assert len(receiver.got) == 7  # the seventh was taken, and no start after that tells it again
    assert {(headers["webhook-id"], body) for headers, body in receiver.got} == {("w-1", receiver.got[0][1])}
    assert list((tmp_path / "unsent").iterdir()) == []


@pytest.mark.anyio
async def test_a_warning_whose_event_was_lost_is_not_told_after_a_start(tmp_path: Path) -> None:
    Unsent(tmp_path / "unsent").keep(WARNED)
    (tmp_path / "unsent" / "torn.json").write_text('{"type":')
    async with receiving(200) as (receiver, url):
        await after_a_start(url, tmp_path / "unsent", is_recorded=False)

    assert receiver.got == []
    assert list((tmp_path / "unsent").iterdir()) == []


def test_an_address_without_a_secret_is_refused() -> None:
    with pytest.raises(BadConfig, match="HALFPENNY_WEBHOOK_SECRET is not in the environment"):
        WarningHook(Budget(webhook_url="https://example.org/hook"), {}, now=lambda: AT)


@pytest.mark.anyio
async def test_a_soft_cap_rings_at_each_threshold_and_refuses_nothing(tmp_path: Path) -> None:
    async with receiving(204) as (receiver, url):
        async with simulated(tmp_path, settings=f'budget.webhook_url = "{url}"') as running:
            stamp = admin.Stamp("cap", AT)
            running.ledger.append_now(admin.budget_set(stamp, "acme", "0.0000001", hard=False, valid_from="2025-01-01"))
            statuses = [(await running.chat())[0] for _ in range(3)]
            warned = running.events(BudgetWarned)

        assert statuses == [200] * 3
        assert sorted(json.loads(body)["id"] for _, body in receiver.got) == sorted(event.id for event in warned)
        assert sorted(json.loads(body)["threshold"] for _, body in receiver.got) == [0.8, 1.0]
