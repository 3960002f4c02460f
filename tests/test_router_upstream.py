"""Care with the provider: where its name may lead, what a reply may become, how long a call may take, when it is left alone."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from served_home import Served, completion, http, scripted, served, simulated

from ledger.events import CallRefused, CallReserved, CallSettled, CallVoided
from router.breaker import Breakers
from router.errors import UpstreamRefused
from router.provider_config import Provider
from router.retries import CallFailed, is_the_providers, wait_s
from router.upstream import is_public


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("10.1.2.3", False),
        ("172.31.0.1", False),
        ("192.168.0.9", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),  # where clouds keep credentials
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - no address to bind here
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", True),
    ],
)
def test_an_address_is_public_or_not(address: str, expected: bool) -> None:
    assert is_public(address) is expected


@pytest.mark.anyio
async def test_a_stream_given_up_whose_connection_stays_open_is_a_502_and_no_mistake_of_ours(tmp_path: Path) -> None:
    """Closing its answer a second time read from a connection that was closed by the first."""
    ended = asyncio.Event()

    async def nonsense(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {nonsense\n\n")
        await asyncio.wait_for(ended.wait(), 10)

    async with scripted(tmp_path, nonsense) as running:
        status, body = await running.stream()
        ended.set()

        assert (status, b"upstream_broken" in body) == (502, True)


@pytest.mark.anyio
@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.0.0.7"])
async def test_a_name_that_leads_to_a_private_address_is_not_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    _leads_to(monkeypatch, address)

    async with served(tmp_path, "http://provider.example:9", settings="provider.retries = 0") as running:
        status, _, answer = await running.chat()

    assert (status, answer["error"]["code"]) == (502, "upstream_unreachable")
    assert "provider.private_addresses" in answer["error"]["message"]
    assert address not in answer["error"]["message"]
    assert [event.error_type for event in running.events(CallVoided)] == ["private_address"]


@pytest.mark.anyio
async def test_a_name_may_lead_into_a_private_network_where_the_configuration_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(http(completion()))

    async with scripted(tmp_path / "first", answer) as known:
        port = known.service.gateway._config.provider.base_url.rpartition(":")[2].partition("/")[0]
        _leads_to(monkeypatch, "127.0.0.1")
        settings = "provider.private_addresses = true"
        async with served(tmp_path / "second", f"http://provider.example:{port}", settings=settings) as running:
            status, _, _ = await running.chat()

    assert status == 200


def _leads_to(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """What the name server says of provider.example, and of nothing else."""
    known = socket.getaddrinfo

    def resolved(host: Any, port: Any, *more: Any, **named: Any) -> Any:
        return known(address if host == "provider.example" else host, port, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


@pytest.mark.anyio
async def test_a_compressed_reply_is_bounded_by_what_it_becomes(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(2**28))

    async def explode(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(http(bomb, more="Content-Encoding: gzip\r\n"))

    before = _peak_bytes()
    async with scripted(tmp_path, explode, settings="provider.max_reply_bytes = 1_000_000") as running:
        status, _, answer = await running.chat()

    assert len(bomb) < 2**19
    assert (status, answer["error"]["code"]) == (502, "upstream_broken")
    assert [event.error_type for event in running.events(CallSettled)] == ["reply_too_large"]
    assert _peak_bytes() - before < 2**26


def _peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.parametrize(
    ("told", "number", "left_s", "expected"),
    [
        # base 0.25 s, doubled each time, spread from half to one and a half: chance 0.5 is the middle
        ({"may_retry": True}, 1, 100.0, 0.25),
        ({"may_retry": True}, 2, 100.0, 0.5),
        ({"may_retry": True}, 3, 100.0, None),
        ({"may_retry": True}, 2, 0.4, None),
        ({"may_retry": True, "retry_after_s": 3.0}, 1, 100.0, 3.0),
        ({"may_retry": True, "retry_after_s": 3.0}, 1, 2.0, None),
        ({"may_retry": True, "retry_after_s": 6.0}, 1, 100.0, None),
        ({"may_retry": False, "retry_after_s": 1.0}, 1, 100.0, None),
    ],
)
def test_a_retry_waits_its_turn_and_never_past_the_deadline(
    told: Mapping[str, Any], number: int, left_s: float, expected: float | None
) -> None:
    failed = CallFailed(UpstreamRefused(503, b"", {}, "p"), **told)

    assert wait_s(failed, number, Provider(), left_s=left_s, chance=0.5) == expected


@pytest.mark.anyio
async def test_the_deadline_bounds_the_call_with_all_its_attempts(tmp_path: Path) -> None:
    asked = 0

    async def refuse_then_hang(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            await asyncio.sleep(0.6)
            writer.write(http(b"", status="503 Service Unavailable"))
        else:
            await asyncio.sleep(20)

    loop = asyncio.get_running_loop()
    async with scripted(tmp_path, refuse_then_hang, settings="provider.total_timeout_s = 1.0") as running:
        began = loop.time()
        status, _, _ = await running.chat()
        took = loop.time() - began

    assert (status, asked) == (504, 2)
    settled = running.events(CallSettled)[-1]
    assert settled.outcome == "timeout"
    assert settled.duration_s < 1.0 <= took + 0.05  # the second attempt had what the first had left


@pytest.mark.parametrize(
    ("status", "expected"), [(400, False), (401, False), (404, False), (429, False), (500, True), (529, True)]
)
def test_a_failure_is_the_providers_or_the_requests(status: int, expected: bool) -> None:
    assert is_the_providers(CallFailed(UpstreamRefused(status, b"", {}, "p"))) is expected


def test_a_breaker_opens_for_its_own_client_after_failures_in_a_row_and_lets_one_try_at_a_time() -> None:
    found = Breakers(failures=3, open_s=5.0)
    for now in (1.0, 2.0):
        found.ended("acme", is_failure=True, now=now)
    found.ended("acme", is_failure=False, now=2.5)
    for now in (3.0, 4.0):
        found.ended("acme", is_failure=True, now=now)
    assert found.wait_s("acme", 4.0) is None  # three in all, but not in a row
    found.ended("acme", is_failure=True, now=5.0)

    assert found.wait_s("acme", 6.0) == 4.0
    assert found.wait_s("bolt", 6.0) is None
    assert found.wait_s("acme", 10.0) is None  # the try
    assert found.wait_s("acme", 10.0) == 5.0  # nobody beside it
    assert found.wait_s("acme", 15.0) is None  # it never reported, so another tries
    found.ended("acme", is_failure=True, now=16.0)
    assert found.wait_s("acme", 16.0) == 5.0
    assert found.open == ("acme",)
    found.ended("acme", is_failure=False, now=22.0)
    assert found.wait_s("acme", 22.0) is None
    assert found.open == ()


@pytest.mark.anyio
async def test_a_poisoned_request_shuts_its_own_client_out_and_no_other(tmp_path: Path) -> None:
    settings = "provider.breaker_failures = 4\nprovider.breaker_open_s = 1000"
    async with simulated(tmp_path, settings=settings) as running:
        for _ in range(4):
            assert (await running.chat(x_simulate_fault="500"))[0] == 500
        status, headers, answer = await running.chat()
        streamed, _ = await running.stream()
        others, _, _ = await running.chat(key="other")
        shown = await _metrics(running)

    assert (status, streamed, others) == (503, 503, 200)
    assert (answer["error"]["code"], headers["retry-after"]) == ("upstream_shut_out", "1000")
    assert len(running.events(CallReserved)) == 5
    assert [event.refusal for event in running.events(CallRefused)] == ["overload", "overload"]
    assert 'halfpenny_breaker_open{client_id="acme"} 1' in shown
    assert 'halfpenny_breaker_open{client_id="bolt"}' not in shown


async def _metrics(running: Served) -> str:
    headers = {"Authorization": f"Bearer {running.home.admin_token()}"}
    async with running.session.get(running.url + "/metrics", headers=headers) as answer:
        return await answer.text()
