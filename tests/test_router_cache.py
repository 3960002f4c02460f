"""The cache: what is served again, to whom, and that a call never fails for it."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ledger.events import CallCached, CallReserved, CallSettled
from router.chat_request import read_request
from router.replies import client_key, digest, request_parts
from router.reply_store import Place, Room, SqliteStore
from tests.real_redis import redis_server
from tests.served_home import FLASH, MEDIUM, Served, simulated

ON = "cache.ttl_s = 3600"
WHOLE = 4000  # tokens: more than the simulator writes, so a reply ends by itself
NOON = datetime(2025, 10, 3, 10, tzinfo=UTC)


async def chat(running: Served, **fields: Any) -> tuple[int, dict[str, str], Any]:
    """One completion that is not cut for length."""
    return await running.chat(**{"max_tokens": WHOLE} | fields)


def said(reply: dict[str, Any]) -> str:
    text: str = reply["choices"][0]["message"]["content"]
    return text


@pytest.mark.anyio
async def test_nothing_is_kept_until_a_time_is_set(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        assert [(await chat(running))[2]["halfpenny"]["cached"] for _ in range(2)] == [False, False]
        assert len(running.events(CallSettled)) == 2
        assert not (running.home.path / "content").exists()


@pytest.mark.anyio
async def test_a_repeat_costs_nothing_and_records_what_it_avoided(tmp_path: Path) -> None:
    async with simulated(tmp_path, settings=ON) as running:
        _, _, first = await chat(running, metadata={"ticket_id": "T-1"})
        status, headers, second = await chat(running, metadata={"ticket_id": "T-2"})

        assert (status, headers["x-halfpenny-cost-usd"], second["halfpenny"]["cached"]) == (200, "0", True)
        assert said(second) == said(first)
        assert second["halfpenny"]["call_id"] != first["halfpenny"]["call_id"]
        (made,) = running.events(CallSettled)
        (hit,) = running.events(CallCached)
        assert (hit.source_call_id, hit.avoided_usd, hit.ticket_id) == (made.subject, made.cost_usd, "T-2")
        assert (hit.avoided_input_tokens, hit.avoided_output_tokens) == (
            made.usage_input_tokens,
            made.usage_output_tokens,
        )
        # the draft of T-2 is the reply from the cache, so an edit finds it
        edited = await running.ask("POST", "/v1/tickets/T-2/edits", {"final_text": "x", "draft_text": said(second)})
        assert edited[0] == 200


@pytest.mark.anyio
async def test_a_routed_repeat_avoids_sorting_and_drafting(tmp_path: Path) -> None:
    async with simulated(tmp_path, settings=ON) as running:
        first = (await running.ask("POST", "/v1/tickets", {"text": "Where is my card?", "ticket_id": "T-1"}))[2]
        second = (await running.ask("POST", "/v1/tickets", {"text": "Where is my card?", "ticket_id": "T-2"}))[2]

        assert (second["draft"], second["ticket_id"]) == (first["draft"], "T-2")
        assert (second["halfpenny"]["arm"], second["halfpenny"]["class"]) == (
            first["halfpenny"]["arm"],
            first["halfpenny"]["class"],
        )
        assert [hit.purpose for hit in running.events(CallCached)] == ["classification", "generation"]
        made = {call.purpose: call.subject for call in running.events(CallSettled)}
        assert {hit.purpose: hit.source_call_id for hit in running.events(CallCached)} == made


@pytest.mark.anyio
async def test_the_same_ticket_with_another_context_is_sorted_once_and_drafted_twice(tmp_path: Path) -> None:
    async with simulated(tmp_path, settings=ON) as running:
        for context in ("first", "second"):
            messages = [{"role": "system", "content": context}, {"role": "user", "content": "Where is my card?"}]
            assert (await chat(running, model="auto", messages=messages))[0] == 200

        assert sorted(call.purpose for call in running.events(CallSettled)) == [
            "classification",
            "generation",
            "generation",
        ]
        (hit,) = running.events(CallCached)
        assert (hit.purpose, hit.request_model, hit.arm) == ("classification", FLASH, None)


@pytest.mark.anyio
@pytest.mark.parametrize("asks", [True, False])
async def test_a_stream_is_served_again_as_a_stream(tmp_path: Path, asks: bool) -> None:
    async with simulated(tmp_path, settings=ON) as running:
        fields: dict[str, Any] = {"stream_options": {"include_usage": True}} if asks else {}
        streams = [(await running.stream(max_tokens=WHOLE, **fields))[1] for _ in range(2)]

        chunks = [
            [json.loads(line[6:]) for line in stream.split(b"\n") if line.startswith(b"data: {")] for stream in streams
        ]
        for stream in chunks:
            stream[-1].pop("halfpenny")
        assert chunks[0] == chunks[1]
        assert streams[1].endswith(b"data: [DONE]\n\n")
        assert ("usage" in chunks[1][-1] and chunks[1][-1]["usage"] is not None) == asks
        assert len(running.events(CallSettled)) == len(running.events(CallCached)) == 1


@pytest.mark.anyio
async def test_equal_questions_at_once_are_one_call(tmp_path: Path) -> None:
    async with simulated(tmp_path, settings=ON) as running:
        answers = await asyncio.gather(*(chat(running) for _ in range(32)))

        assert {status for status, _, _ in answers} == {200}
        assert (len(running.events(CallSettled)), len(running.events(CallCached))) == (1, 31)


@pytest.mark.anyio
async def test_a_client_gets_nothing_of_anothers(tmp_path: Path) -> None:
    async with simulated(tmp_path, settings=ON) as running:
        for key in ("app", "other", "app", "other"):
            assert (await chat(running, key=key))[0] == 200

        assert [call.client_id for call in running.events(CallSettled)] == ["acme", "bolt"]
        assert [hit.client_id for hit in running.events(CallCached)] == ["acme", "bolt"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"temperature": 0}, {"temperature": 1}),
        ({"max_tokens": WHOLE}, {"max_tokens": WHOLE + 1}),
        ({"user": "a"}, {"user": "b"}),
        ({"metadata": {"team": "a"}}, {"metadata": {"team": "b"}}),
        ({"x_simulate_seed": "a"}, {"x_simulate_seed": "b"}),
        ({"messages": [{"role": "user", "content": "\u00e9"}]}, {"messages": [{"role": "user", "content": "e\u0301"}]}),
    ],
)
async def test_what_may_change_an_answer_is_another_question(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any]
) -> None:
    async with simulated(tmp_path, settings=ON) as running:
        for fields in (first, second):
            headers = {name.replace("_", "-") if name.startswith("x_") else name: v for name, v in fields.items()}
            plain = {name: value for name, value in headers.items() if not name.startswith("x-")}
            sent = {name.replace("-", "_"): value for name, value in headers.items() if name.startswith("x-")}
            assert (await chat(running, **plain, **sent))[0] == 200

        assert running.events(CallCached) == []


@pytest.mark.anyio
@pytest.mark.parametrize(("header", "calls", "hits"), [("no-store", 2, 0), ("no-cache", 2, 0), ("max-age=60", 1, 1)])
async def test_a_client_can_ask_anew(tmp_path: Path, header: str, calls: int, hits: int) -> None:
    async with simulated(tmp_path, settings=ON) as running:
        body = {"model": MEDIUM, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": WHOLE}
        for _ in range(2):
            assert (await running.ask("POST", "/v1/chat/completions", body, Cache_Control=header))[0] == 200

        assert (len(running.events(CallSettled)), len(running.events(CallCached))) == (calls, hits)


@pytest.mark.anyio
@pytest.mark.parametrize("purpose", ["judge", "shadow", "other"])
async def test_a_second_opinion_is_a_second_call(tmp_path: Path, purpose: str) -> None:
    async with simulated(tmp_path, settings=ON) as running:
        for _ in range(2):
            await chat(running, metadata={"purpose": purpose})

        assert (len(running.events(CallSettled)), running.events(CallCached)) == (2, [])


@pytest.mark.anyio
async def test_a_reply_cut_for_length_is_asked_for_again(tmp_path: Path) -> None:
    async with simulated(tmp_path, settings=ON) as running:
        for _ in range(2):
            await chat(running, max_tokens=5)

        assert [call.response_finish_reasons for call in running.events(CallSettled)] == [("length",), ("length",)]


@pytest.mark.anyio
@pytest.mark.parametrize("fault", ["cut_stream", "no_usage", "wrong_model"])
@pytest.mark.parametrize("stream", [True, False])
async def test_only_whole_and_measured_replies_are_kept(tmp_path: Path, fault: str, stream: bool) -> None:
    async with simulated(tmp_path, settings=ON) as running:
        for _ in range(2):
            await (running.stream if stream else running.chat)(x_simulate_fault=fault, max_tokens=WHOLE)

        if not (fault == "cut_stream" and not stream):
            assert running.events(CallCached) == []


@pytest.mark.anyio
async def test_a_hit_is_served_when_the_budget_is_spent(tmp_path: Path) -> None:
    # one hold: 4000 tokens out at 2.00 and some 110 bytes in at 0.40 per million, about 8044 millionths
    async with simulated(tmp_path, settings=f"{ON}\nbudget.wait_s = 0", caps={"acme": "0.0081"}) as running:
        statuses = [(await chat(running))[0] for _ in range(2)]
        refused = (await chat(running, temperature=1))[0]

        assert (statuses, refused) == ([200, 200], 429)


@pytest.mark.anyio
async def test_replies_outlive_the_process_and_lie_in_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "content" / "replies.sqlite3"
    place, room = Place("cache acme", b"d" * 32), Room(1000, 10, 60)
    for _ in range(2):
        store = SqliteStore(path)
        await store.put(place, lambda: b"kept", NOON, room)
        await store.close()
    store = SqliteStore(path)

    assert await store.get(place, NOON + timedelta(seconds=59)) == b"kept"
    assert await store.get(place, NOON + timedelta(seconds=60)) is None
    assert await store.get(Place("cache bolt", b"d" * 32), NOON) is None
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    await store.close()


@pytest.mark.anyio
@pytest.mark.parametrize(("room", "left"), [(Room(1000, 2, 60), "cd"), (Room(25, 10, 60), "cd"), (Room(9, 10, 60), "")])
async def test_the_oldest_replies_of_a_client_go_first(room: Room, left: str) -> None:
    store = SqliteStore(None)
    for name in "abcd":
        await store.put(Place("cache acme", name.encode()), lambda: b"0123456789", NOON, room)

    found = [name for name in "abcd" if await store.get(Place("cache acme", name.encode()), NOON) is not None]
    assert "".join(found) == left
    await store.close()


@pytest.mark.anyio
async def test_a_damaged_store_is_begun_anew_and_one_that_cannot_be_is_left_out(tmp_path: Path) -> None:
    path, place, room = tmp_path / "replies.sqlite3", Place("cache acme", b"d"), Room(1000, 10, 60)
    path.write_bytes(b"no database at all" * 100)
    store = SqliteStore(path)
    await store.put(place, lambda: b"kept", NOON, room)
    assert await store.get(place, NOON) == b"kept"
    await store.close()

    (tmp_path / "file").write_text("")
    nowhere = SqliteStore(tmp_path / "file" / "replies.sqlite3")
    await nowhere.put(place, lambda: b"kept", NOON, room)
    assert await nowhere.get(place, NOON) is None
    await nowhere.close()


@pytest.mark.anyio
async def test_a_store_that_breaks_in_mid_run_costs_no_call(tmp_path: Path) -> None:
    async with simulated(tmp_path, settings=ON) as running:
        await chat(running)
        store = running.service.cache._store
        assert isinstance(store, SqliteStore)
        assert isinstance(store._connection, sqlite3.Connection)
        # In its own thread, which may be writing: closed under its hands, SQLite would take the process with it.
        await asyncio.get_running_loop().run_in_executor(store._thread, store._connection.close)

        assert [(await chat(running))[0] for _ in range(2)] == [200, 200]


def test_a_digest_does_not_let_parts_run_together() -> None:
    key = client_key(b"pepper", "acme", "cache")

    assert len({digest(key, parts) for parts in ([b"a|b"], [b"a", b"b"], [b"ab"], [b"a", b"", b"b"])}) == 4
    assert client_key(b"pepper", "acme", "cache") != client_key(b"pepper", "bolt", "cache")


def test_the_order_of_fields_and_what_only_names_the_asker_do_not_count() -> None:
    one = read_request(b'{"model":"m","messages":[{}],"temperature":1,"metadata":{"ticket_id":"T-1"}}')
    two = read_request(
        b'{"temperature":1,"metadata":{"ticket_id":"T-2","purpose":"generation"},"messages":[{}],"model":"m"}'
    )
    three = read_request(b'{"temperature":1,"messages":[{}],"model":"m","stream":true}')

    parts = [request_parts(chat, {}, {}) for chat in (one, two, three)]
    assert digest(b"k", parts[0]) == digest(b"k", parts[1]) != digest(b"k", parts[2])


async def asked_until(running: Served, hits: int) -> None:
    """Ask the same until the cache has answered so often; every answer is a good one."""
    while len(running.events(CallCached)) < hits:
        assert (await chat(running))[0] == 200


@pytest.mark.anyio
@pytest.mark.parametrize("trouble", ["killed", "frozen", "flushed"])
async def test_a_shared_cache_in_trouble_leaves_calls_uncached(tmp_path: Path, trouble: str) -> None:
    with redis_server() as (process, url):
        async with simulated(tmp_path, settings=f'{ON}\ncache.url = "{url}"\ncache.timeout_s = 0.5') as running:
            await asked_until(running, hits=2)
            assert len(running.events(CallSettled)) == 1

            if trouble == "flushed":
                from redis.asyncio import Redis

                async with Redis.from_url(url) as server:
                    await server.flushall()
            else:
                process.send_signal(signal.SIGKILL if trouble == "killed" else signal.SIGSTOP)
            answers = await asyncio.gather(*(chat(running, temperature=n % 2) for n in range(16)))

            assert {status for status, _, _ in answers} == {200}
            held = running.events(CallReserved)
            assert len(held) > 1
            assert len(held) == len(running.events(CallSettled))
