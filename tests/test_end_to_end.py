"""The whole thing with real processes: a small month three ways, kills under load, a live reader, trouble and a drain."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import duckdb
import openai
import pytest

from bench.drills import kill_drill, live_drill
from ledger import events as e
from ledger.home import Home, existing
from ledger.money import text
from ledger.segments import read_all
from ledger.store import read_state
from ledger.verify import verify
from reports.build import build
from router import demo_month, demo_run
from router.provider_bill import compare, read_bill
from tests.running import (
    LARGE,
    MEDIUM,
    PROVIDER_KEY,
    ROOT,
    Prepared,
    Running,
    clean_environment,
    command_line,
    commanded,
    gateway,
    halfpenny,
    prepared,
    provider,
)

MONTH, SEED = "2025-10", 7
EVERY = 51  # of the demo's 7,735 tickets, so that the sample spans the whole month
ODD_SUMS = """
    SELECT count(*) FROM calls
    WHERE uncached_input_tokens + cache_read_tokens + cache_write_tokens <> input_tokens
       OR plain_output_tokens + reasoning_tokens <> output_tokens
       OR input_tokens IS NULL
       OR cost_usd <> coalesce(cost_uncached_input_usd, 0) + coalesce(cost_cache_read_usd, 0)
           + coalesce(cost_cache_write_usd, 0) + coalesce(cost_plain_output_usd, 0) + coalesce(cost_reasoning_usd, 0)
"""
FILES = ("report.json", "report.html", "report.pdf", "report.csv")


@dataclass(frozen=True)
class Month:
    """A small month that was sent, sealed, closed and reported."""

    stage: demo_run.Stage
    tickets: int
    sent: demo_month.Sent


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Month:
    return performed(tmp_path_factory.mktemp("month") / "home", at_once=24)


def performed(path: Path, *, at_once: int, backwards: bool = False) -> Month:
    """A small month through a gateway process and a provider process, with the real openai client."""
    whole = demo_run.prepare(path, MONTH, SEED)
    chosen = whole.tickets[::EVERY]
    stage = replace(whole, tickets=chosen[::-1] if backwards else chosen)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_month, "AT_ONCE", at_once)
        sent = demo_run.perform(stage, SEED, lambda: None)
    demo_run.finish(stage, MONTH)
    return Month(stage, len(chosen), sent)


def provider_totals(log: Path) -> dict[str, Any]:
    """What the script of plain integers says, run as a process that knows nothing of ours."""
    script = ROOT / "tests" / "provider_totals.py"
    run = subprocess.run([sys.executable, "-I", str(script), str(log)], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def test_every_ticket_is_two_calls_and_every_edit_is_taken_in(month: Month) -> None:
    events = list(read_all(month.stage.home))

    kinds = [type(event) for event in events]
    assert (month.sent.drafted, month.sent.refused) == (month.tickets, 0)
    assert kinds.count(e.CallReserved) == kinds.count(e.CallSettled) == 2 * month.tickets
    assert kinds.count(e.DraftEdited) == month.sent.edited > 0
    assert kinds.count(e.ScoreRecorded) == month.sent.scored > 0
    assert any(event.stream_complete for event in events if isinstance(event, e.CallSettled))


def test_the_provider_and_the_ledger_agree_on_every_call(month: Month) -> None:
    found = compare(read_all(month.stage.home), read_bill(month.stage.provider_log))

    assert (found.differences, found.estimated, found.calls) == ([], 0, 2 * month.tickets)


def test_the_months_totals_are_equal_three_ways_and_in_the_report(month: Month) -> None:
    home = month.stage.home
    script = provider_totals(month.stage.provider_log)

    folded = read_state(home).total(demo_run.CLIENT, MONTH)
    assert (folded.calls, text(folded.cost_usd)) == (script["calls"], script["cost_usd"])
    with duckdb.connect(str(home.catalog), read_only=True) as connection:
        row = connection.execute(
            "SELECT count(*), sum(input_tokens), sum(cache_read_tokens), sum(output_tokens), sum(cost_usd), "
            "sum(baseline_usd) FROM calls WHERE client_id = ? AND period = ?",
            [demo_run.CLIENT, MONTH],
        ).fetchone()
        daily = connection.execute("SELECT sum(calls), sum(cost_usd) FROM daily_spend").fetchone()
    assert row is not None
    assert daily is not None
    names = ("calls", "input_tokens", "cached_tokens", "output_tokens", "cost_usd", "baseline_usd")
    spoken = [text(value) if isinstance(value, Decimal) else int(value) for value in row]
    assert dict(zip(names, spoken, strict=True)) == script
    assert (int(daily[0]), text(daily[1])) == (script["calls"], script["cost_usd"])
    report = json.loads(build(home.path, demo_run.CLIENT, MONTH).paths["report.json"].read_bytes())
    totals = report["totals"]
    assert (totals["calls"], totals["cost_usd"]) == (script["calls"], script["cost_usd"])
    assert totals["baseline_usd"] == script["baseline_usd"]
    assert report["budget"]["settled_usd"] == script["cost_usd"]


def test_every_token_lies_in_one_bucket_and_every_cost_in_one_line(month: Month) -> None:
    with duckdb.connect(str(month.stage.home.catalog), read_only=True) as connection:
        assert connection.execute(ODD_SUMS).fetchone() == (0,)


def test_two_runs_of_one_seed_give_one_report_whatever_the_order_of_calls(month: Month, tmp_path: Path) -> None:
    other = performed(tmp_path / "home", at_once=3, backwards=True)

    first, second = (build(m.stage.home.path, demo_run.CLIENT, MONTH) for m in (month, other))
    assert first.up_to_sequence == second.up_to_sequence
    orders = [[x.ticket_id for x in read_all(m.stage.home) if isinstance(x, e.CallSettled)] for m in (month, other)]
    assert orders[0] != orders[1]
    for name in FILES:
        assert first.paths[name].read_bytes() == second.paths[name].read_bytes(), name


def test_building_twice_gives_the_same_bytes(month: Month, tmp_path: Path) -> None:
    first = build(month.stage.home.path, demo_run.CLIENT, MONTH, out_dir=tmp_path / "first")
    kept = {name: (tmp_path / "first" / name).read_bytes() for name in FILES}
    aside = first.directory.rename(tmp_path / "aside")  # so that the second is made, and not found
    second = build(month.stage.home.path, demo_run.CLIENT, MONTH)

    assert second.is_new
    assert {name: second.paths[name].read_bytes() for name in FILES} == kept
    assert {name: (aside / name).read_bytes() for name in FILES} == kept


def test_the_sealed_month_verifies_and_a_changed_byte_does_not(month: Month) -> None:
    said = halfpenny("verify", "--format", "json", "--home", str(month.stage.home.path))
    found = json.loads(said.stdout)
    assert (said.returncode, found["ok"], found["segments"] > 0) == (0, True, True)

    segment = next(month.stage.home.events.rglob("*.parquet"))
    whole = segment.read_bytes()
    try:
        segment.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
        spoilt = halfpenny("verify", "--home", str(month.stage.home.path))
    finally:
        segment.write_bytes(whole)

    assert spoilt.returncode == 4
    assert segment.name in spoilt.stdout


def test_kill_9_under_load_loses_and_doubles_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    rounds = kill_drill(tmp_path, 3, seed=7)

    assert [sentence for found in rounds for sentence in found.wrong] == []
    assert rounds[-1].calls >= 90
    assert rounds[-1].edits > 0
    assert rounds[1].refused > 0, "the cap was never reached, so nothing was shown about it"
    assert rounds[-1].orphans >= 9
    assert rounds[-1].billed_orphans > 0


def test_a_reader_beside_a_sealing_service_sees_all_that_was_acknowledged_once(tmp_path: Path) -> None:
    live = live_drill(tmp_path, 5, seed=7)

    assert live.wrong == []
    assert live.seals >= 5
    (reading,) = live.readings
    assert reading.queries >= 3
    assert reading.events > live.acknowledged > 0


@dataclass(frozen=True)
class Served:
    """A gateway that stays up for the tests of trouble, and its provider's bill."""

    keys: Prepared
    gateway: Running
    provider: Running
    bill: Path

    async def ask(
        self, method: str, path: str, *, body: bytes | object = None, key: str | None = None, **headers: str
    ) -> tuple[int, Any]:
        """Status and JSON of one request."""
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        shown = {name.replace("_", "-"): value for name, value in headers.items()}
        if key != "":
            shown["Authorization"] = f"Bearer {key or self.keys.app_key}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.gateway.url + path, data=data, headers=shown) as answer,
        ):
            return answer.status, json.loads(await answer.read())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = tmp_path_factory.mktemp("served")
    keys = prepared(path / "home", cap_usd="5")
    with (
        provider(path) as upstream,
        gateway(keys.home, upstream.url, server_log_level="debug", server_max_body_bytes=1_000_000) as running,
    ):
        yield Served(keys, running, upstream, path / "provider.jsonl")


SECRET_WORDS = "the plumage of the quetzal"
WORDS = [{"role": "user", "content": f"Write about {SECRET_WORDS}."}]
CHAT = "/v1/chat/completions"
ENDED = "a-model-whose-price-ended"

REFUSED: tuple[tuple[str, str, bytes | object, str | None, int, str, str], ...] = (
    ("an unknown model", CHAT, {"model": "no/such", "messages": WORDS}, None, 404, "model_not_found", "price add no/such"),
    ("malformed JSON", CHAT, b'{"model": "auto", "messages": [', None, 400, "", "not a JSON object"),
    ("no UTF-8", CHAT, b'{"model": "\xff"}', None, 400, "", "not a JSON object"),
    ("a list", CHAT, [], None, 400, "", "not a JSON object"),
    ("nothing", CHAT, b"", None, 400, "", "not a JSON object"),
    ("a deep nest", CHAT, b'{"messages":' + b"[" * 100_000, None, 400, "", "body"),
    ("messages as text", CHAT, {"model": MEDIUM, "messages": SECRET_WORDS}, None, 400, "", "messages must be a list"),
    ("no message", CHAT, {"model": MEDIUM, "messages": []}, None, 400, "", "at least one message"),
    ("a number as model", CHAT, {"model": 5, "messages": WORDS}, None, 400, "", "model"),
    ("a text as n", CHAT, {"model": MEDIUM, "messages": WORDS, "n": "2"}, None, 400, "", "n must be"),
    ("a text as stream", CHAT, {"model": MEDIUM, "messages": WORDS, "stream": "yes"}, None, 400, "", "stream must be"),
    ("max_tokens below one", CHAT, {"model": MEDIUM, "messages": WORDS, "max_tokens": 0}, None, 400, "", "max_tokens"),
    ("a purpose of its own", CHAT, {"model": MEDIUM, "messages": WORDS, "metadata": {"purpose": "fun"}}, None, 400, "", "purpose"),
    ("a body over the limit", CHAT, b"[" + b" " * 1_000_000, None, 413, "request_too_large", "1000000 bytes"),
    ("a wrong key", CHAT, {"model": MEDIUM, "messages": WORDS}, "hp_00000000_wrong-key-of-mine", 401, "invalid_api_key", "API key"),
    ("no key", CHAT, {"model": MEDIUM, "messages": WORDS}, "", 401, "invalid_api_key", "API key"),
    ("an agent's key", CHAT, {"model": MEDIUM, "messages": WORDS}, "agent", 403, "wrong_role", "'agent'"),
    ("more than the budget", CHAT, {"model": MEDIUM, "messages": WORDS, "max_tokens": 3_000_000}, None, 429, "insufficient_quota", "budget set acme AMOUNT"),
    ("an empty ticket", "/v1/tickets", {"text": ""}, None, 400, "", "text"),
    ("a ticket of spaces", "/v1/tickets", {"text": " \n\t "}, None, 400, "", "text"),
    ("a ticket as a number", "/v1/tickets", {"text": 7}, None, 400, "", "text"),
    ("an edit of nobody's draft", "/v1/tickets/T-0/edits", {"final_text": SECRET_WORDS, "disposition": "edited"}, None, 404, "", "T-0"),
    ("a path that is none", "/v1/audio/speech", {}, None, 404, "unknown_path", "/v1/chat/completions"),
)  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=[case[0] for case in REFUSED])
def test_what_is_refused_is_one_sentence_in_openais_shape_and_reaches_no_provider(served: Served, case: Any) -> None:
    _, path, body, key, status, code, words = case
    before = served.bill.read_bytes()
    chosen = served.keys.agent_key if key == "agent" else key

    found, said = asyncio.run(served.ask("POST", path, body=body, key=chosen))

    assert found == status, said
    assert set(said) == {"error"}
    assert set(said["error"]) == {"message", "type", "param", "code"}
    message = said["error"]["message"]
    assert said["error"]["code"] == (code or said["error"]["code"])
    assert words in message or words == "T-0", message
    assert message.endswith(".")
    assert "\n" not in message
    assert served.bill.read_bytes() == before
    assert SECRET_WORDS not in message
    if key:
        assert key not in message or key == "agent"


def test_a_price_that_ended_refuses_with_402_and_names_the_command(served: Served) -> None:
    arguments = ("--input", "1", "--output", "1", "--valid-from", "2025-01-01", "--valid-to", "2025-06-01")
    listed = commanded("price", "add", ENDED, *arguments, "--source", "a test", "--home", str(served.keys.home.path))
    assert (listed.code, listed.out) == (0, "")
    before = served.bill.read_bytes()

    status, said = asyncio.run(served.ask("POST", CHAT, body={"model": ENDED, "messages": WORDS}))

    assert (status, said["error"]["code"]) == (402, "model_not_priced")
    assert f"halfpenny price add {ENDED} --input" in said["error"]["message"]
    assert served.bill.read_bytes() == before
    refused = [event for event in read_all(served.keys.home) if isinstance(event, e.CallRefused)]
    assert (refused[-1].request_model, refused[-1].refusal) == (ENDED, "unpriced")


@pytest.mark.parametrize(
    "words",
    ["Where is my card? " * 11_112, "\x00\x01\x1b[2J\x7f\u202e\u0085 Where?", "🂡" * 50_000, "\\\"'{}</script>"],
    ids=["200,000 characters", "control characters", "four bytes a character", "quotes"],
)
def test_an_odd_ticket_is_sorted_drafted_and_charged_like_any_other(served: Served, words: str) -> None:
    status, said = asyncio.run(served.ask("POST", "/v1/tickets", body={"text": words}))

    assert status == 200, said
    assert said["draft"]
    own = said["halfpenny"]
    settled = {event.subject: event for event in read_all(served.keys.home) if isinstance(event, e.CallSettled)}
    assert text(Decimal(settled[own["call_id"]].cost_usd)) == own["cost_usd"]
    assert settled[own["classification_call_id"]].outcome == "ok"


def test_the_openai_client_reads_refusals_as_its_own_errors(served: Served) -> None:
    client = openai.OpenAI(base_url=f"{served.gateway.url}/v1", api_key=served.keys.app_key, max_retries=0)

    with client:
        with pytest.raises(openai.NotFoundError) as unknown:
            client.chat.completions.create(model="no/such", messages=[{"role": "user", "content": "?"}])
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model=MEDIUM, messages=[])
        reply = client.chat.completions.create(
            model="auto", messages=[{"role": "user", "content": SECRET_WORDS}], metadata={"ticket_id": "T-openai"}
        )
        own = reply.halfpenny  # type: ignore[attr-defined]

    assert unknown.value.code == "model_not_found"
    assert set(own) >= {"call_id", "cost_usd", "arm", "class", "reason", "cached"}
    assert reply.model in (MEDIUM, LARGE)


def test_a_second_serve_on_the_home_is_exit_5_one_sentence_and_writes_nothing(served: Served) -> None:
    home = served.keys.home
    before = written(home)

    second = halfpenny("serve", "--home", str(home.path), "--port", "0")

    assert second.returncode == 5
    assert second.stdout == ""
    assert re.fullmatch(r"halfpenny: .* is in use by process \d+, which answers at http://\S+\. .*\.\n", second.stderr)
    assert written(home) == before


def test_commands_beside_the_service_give_the_events_they_give_without_it(served: Served, tmp_path: Path) -> None:
    alone = prepared(tmp_path / "alone", cap_usd="5").home
    asked = (
        ("client", "add", "beside", "--currency", "EUR", "--zone", "Asia/Tokyo", "--edit-rate", "27.20"),
        ("key", "issue", "beside", "--role", "agent"),
        ("budget", "set", "beside", "12.5", "--soft", "--valid-from", "2025-10-01"),
        (
            "price",
            "add",
            "a/model",
            "--input",
            "1",
            "--output",
            "2",
            "--source",
            "a test",
            "--valid-from",
            "2025-01-01",
        ),
        ("fx", "add", "EUR", "USD", "1.16", "--on", "2026-10-30", "--source", "ECB"),
    )
    said = []
    for home in (served.keys.home, alone):
        count = sum(1 for _ in read_all(home))
        runs = [commanded(*arguments, "--home", str(home.path)) for arguments in asked]
        assert [run.code for run in runs] == [0] * len(asked), [run.err for run in runs]
        said.append([_told_apart(event) for event in list(read_all(home))[count:]])

    assert said[0] == said[1]
    assert len(said[0]) == len(asked)


def _told_apart(event: e.Event) -> dict[str, Any]:
    """What an event says, without what is new in each: ids, moments, keys and the journal's stamps."""
    own = {"id", "time", "key_hash", "retrieved_at", *e.STAMPS}
    found = {name: getattr(event, name) for name in event.__struct_fields__ if name not in own}
    if isinstance(event, e.KeyIssued):
        found.pop("subject")
    return found | {"type": type(event).__name__}


def test_the_services_log_holds_no_prompt_and_no_key(served: Served) -> None:
    for fault in ("500", "malformed_json", "no_usage", "cut_stream", "liar_usage"):
        asyncio.run(served.ask("POST", CHAT, body={"model": MEDIUM, "messages": WORDS}, x_simulate_fault=fault))
    for request in no_http(served):
        send(served, request)

    said = served.gateway.said.read_text(encoding="utf-8")
    kept = b"".join(path.read_bytes() for path in served.keys.home.journal.iterdir())

    assert '"event"' in said, "the log is empty, so nothing was shown"
    assert "Traceback" not in said
    announced, *lines = said.splitlines()
    assert announced.startswith("Halfpenny listens on ")
    assert all(json.loads(line)["level"] for line in lines)
    for secret in (SECRET_WORDS, served.keys.app_key, served.keys.agent_key, PROVIDER_KEY, "wrong-key-of-mine"):
        assert secret not in said
        assert secret.encode() not in kept
    assert served.keys.home.admin_token() not in said


def no_http(served: Served) -> list[bytes]:
    """Requests that aiohttp itself refuses, with a secret where its own complaint quotes; and one that is not finished."""
    words, key = SECRET_WORDS.encode(), served.keys.app_key.encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + key
    return [
        head + b"\x00\r\n\r\n",
        head + key * 400 + b"\r\n\r\n",
        head + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + words + b"\r\n",
        head + b"\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(words) + words,
        b"GET /" + words.replace(b" ", b"/") + b" HTTP/9.9\r\n\r\n",
        head + b"\r\nContent-Length: 1000\r\n\r\n" + words,
    ]


def send(served: Served, request: bytes) -> None:
    """Send bytes as they are, wait for an answer unless more are promised than sent, and hang up."""
    url = urlsplit(served.gateway.url)
    with socket.create_connection((url.hostname, url.port), timeout=30) as connection:
        connection.sendall(request)
        if b"Content-Length: 1000" not in request:
            assert connection.recv(1 << 16).split(b" ")[1] == b"400"


def test_a_home_that_the_service_holds_still_verifies(served: Served) -> None:
    assert verify(served.keys.home).findings == []


def written(home: Home) -> tuple[bytes, list[str | None]]:
    """Who holds a home, and every event's hash; the service itself may rotate and seal meanwhile."""
    return home.lock.read_bytes(), [event.hash for event in read_all(home)]


def test_sigterm_lets_open_streams_end_and_records_them(tmp_path: Path) -> None:
    keys = prepared(tmp_path / "home", cap_usd="5")
    with provider(tmp_path, "--mode", "real") as upstream, gateway(keys.home, upstream.url) as running:
        ends, refused, code = asyncio.run(_stop_with_open_streams(running, keys))

    assert code == 0
    assert ends == [b"data: [DONE]"] * 4
    assert refused == 503
    settled = [event for event in read_all(keys.home) if isinstance(event, e.CallSettled)]
    assert [(event.outcome, event.usage_source, event.stream_complete) for event in settled] == [
        ("ok", "reported", True)
    ] * 4
    state = read_state(keys.home)
    assert (state.holds, state.orphans) == ({}, {})
    assert compare(read_all(keys.home), read_bill(tmp_path / "provider.jsonl")).differences == []
    assert verify(keys.home).findings == []


async def _stop_with_open_streams(running: Running, keys: Prepared) -> tuple[list[bytes], int, int]:
    """Open four streams, stop the service after each one's first bytes, read them to their ends; and one call too late."""
    body = {"model": MEDIUM, "messages": [{"role": "user", "content": "Where is my card?"}], "stream": True}
    headers = {"Authorization": f"Bearer {keys.app_key}"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def opened() -> tuple[aiohttp.ClientResponse, bytes]:
            answer = await session.post(running.url + CHAT, json=body)
            return answer, await answer.content.readany()

        streams = await asyncio.gather(*(opened() for _ in range(4)))
        assert not all(answer.content.at_eof() for answer, _ in streams), "no stream was open any more"
        running.process.send_signal(signal.SIGTERM)
        while True:
            async with session.get(running.url + "/readyz") as ready:
                if ready.status != 200:
                    break
        async with session.post(running.url + CHAT, json=body) as refused:
            status = refused.status
        ends = [(first + await answer.content.read()).rstrip().splitlines()[-1] for answer, first in streams]
    return ends, status, await asyncio.to_thread(running.process.wait, 60)


def test_a_call_that_outlasts_the_drain_is_settled_at_its_hold(tmp_path: Path) -> None:
    keys = prepared(tmp_path / "home", cap_usd="5")
    with provider(tmp_path) as upstream, gateway(keys.home, upstream.url, server_drain_s=0.2) as running:
        asyncio.run(_stop_with_a_hanging_call(running, keys))

    events = list(read_all(keys.home))
    (held,) = (event for event in events if isinstance(event, e.CallReserved))
    (settled,) = (event for event in events if isinstance(event, e.CallSettled))
    assert (settled.usage_source, settled.cost_usd) == ("estimated", held.hold_usd)
    assert read_state(keys.home).holds == {}


async def _stop_with_a_hanging_call(running: Running, keys: Prepared) -> None:
    body = {"model": MEDIUM, "messages": [{"role": "user", "content": "?"}]}
    headers = {"Authorization": f"Bearer {keys.app_key}", "x-simulate-fault": "hang"}
    async with aiohttp.ClientSession(headers=headers) as session:
        waiting = asyncio.create_task(session.post(running.url + CHAT, json=body))
        while not any(isinstance(event, e.CallReserved) for event in read_all(keys.home)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        assert await asyncio.to_thread(running.stop) == 0
        with suppress(aiohttp.ServerDisconnectedError):
            (await waiting).release()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_told_to_stop_leaves_a_ledger_that_verifies_and_no_process(
    tmp_path: Path, number: signal.Signals
) -> None:
    home = tmp_path / "home"
    demo = subprocess.Popen(
        command_line(["demo", "--home", str(home)]),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
        start_new_session=True,
    )
    bill = home / "provider.jsonl"
    try:
        while demo.poll() is None and (not bill.exists() or bill.stat().st_size < 20_000):
            signal.sigtimedwait((), 0.05)
        demo.send_signal(number)
        out, said = demo.communicate(timeout=60)
    finally:
        if demo.poll() is None:
            demo.kill()
            demo.wait()

    assert demo.returncode not in (0, -signal.SIGKILL), said
    assert "Traceback" not in said
    assert out == ""
    found = verify(existing(home))
    assert found.findings == []
    assert found.events > 50
    state = read_state(existing(home))
    assert state.holds == {}
    assert compare(read_all(existing(home)), read_bill(bill)).differences == []
    # Both were children of the demo's own, each in a session of its own; their commands name this home.
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(home) in _read_or_nothing(path)]
    assert left == []


def _read_or_nothing(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it ended in between
        return ""
