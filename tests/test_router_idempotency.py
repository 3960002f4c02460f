"""Idempotency-Key: one answer and one charge a key, at once, later, and after a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ledger.events import CallClaimed, CallReserved, CallSettled
from ledger.projections import replay
from router.idempotency import Once
from router.reply_store import ReplyStore, SqliteStore
from tests.served_home import MEDIUM, Served, key_of, simulated

BODY: dict[str, Any] = {"model": MEDIUM, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 40}


async def keyed(
    running: Served, key: str = "k-1", *, of: str = "app", path: str = "/v1/chat/completions", **more: Any
) -> tuple[int, dict[str, str], Any]:
    headers = {name: more.pop(name) for name in list(more) if name.startswith("x_")}
    return await running.ask("POST", path, BODY | more, key=of, Idempotency_Key=key, **headers)


async def streamed(running: Served, key: str) -> tuple[bytes, str | None]:
    headers = {"Authorization": f"Bearer {key_of('app')}", "Idempotency-Key": key}
    url = f"{running.url}/v1/chat/completions"
    async with running.session.post(url, json=BODY | {"stream": True}, headers=headers) as answer:
        return await answer.read(), answer.headers.get("Idempotent-Replayed")


def restarted(running: Served, store: ReplyStore | None = None) -> None:
    """What a new process knows: the log, and the store's file."""
    gateway = running.service.gateway
    gateway._once = Once(
        store or SqliteStore(running.home.content / "replies.sqlite3"),
        gateway._config.idempotency,
        pepper=running.home.pepper(),
        claims=replay(running.events()).claims,
        submit=running.ledger.submit,
        new_id=gateway._new_id,
    )


@pytest.mark.anyio
async def test_the_same_key_and_body_replay_the_reply_and_charge_once(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        first, second = await keyed(running), await keyed(running)

        assert first[0] == second[0] == 200
        assert first[2] == second[2]
        assert ("idempotent-replayed" in first[1], second[1]["idempotent-replayed"]) == (False, "true")
        assert second[1]["x-halfpenny-cost-usd"] == first[1]["x-halfpenny-cost-usd"]
        assert len(running.events(CallSettled)) == 1
        (claim,) = running.events(CallClaimed)
        assert "k-1" not in str(claim)


@pytest.mark.anyio
async def test_a_key_holds_after_a_restart(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        first = await keyed(running)
        restarted(running)
        second = await keyed(running)

        assert second[2] == first[2]
        assert (await keyed(running, temperature=1))[2]["error"]["code"] == "idempotency_key_reused"
        assert len(running.events(CallSettled)) == 1


@pytest.mark.anyio
async def test_a_charged_call_whose_answer_is_lost_is_not_made_again(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        await keyed(running)
        restarted(running, SqliteStore(None))
        status, headers, said = await keyed(running)

        assert (status, said["error"]["code"], headers["x-should-retry"]) == (
            409,
            "idempotency_key_unfinished",
            "false",
        )
        assert len(running.events(CallReserved)) == 1


@pytest.mark.anyio
async def test_many_at_once_with_one_key_are_one_call(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        answers = await asyncio.gather(*(keyed(running) for _ in range(16)))

        assert {status for status, _, _ in answers} == {200}
        assert len({said["halfpenny"]["call_id"] for _, _, said in answers}) == 1
        assert len(running.events(CallReserved)) == 1


@pytest.mark.anyio
async def test_another_body_or_path_with_the_key_is_a_409(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        await keyed(running)

        for more in ({"temperature": 1}, {"path": "/v1/tickets", "text": "Hi"}):
            status, _, said = await keyed(running, **more)
            assert (status, said["error"]["code"]) == (409, "idempotency_key_reused")
        assert len(running.events(CallReserved)) == 1


@pytest.mark.anyio
async def test_another_body_while_the_first_still_runs_is_a_409_at_once(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        answers = await asyncio.gather(keyed(running), keyed(running, temperature=1))

        assert sorted(status for status, _, _ in answers) == [200, 409]
        assert len(running.events(CallReserved)) == 1


@pytest.mark.anyio
async def test_a_key_is_a_clients_own(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        replies = [await keyed(running, of=of) for of in ("app", "other")]

        assert len({said["halfpenny"]["call_id"] for _, _, said in replies}) == 2
        assert len({claim.idempotency_digest for claim in running.events(CallClaimed)}) == 2


@pytest.mark.anyio
async def test_a_stream_is_replayed_to_the_byte(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        (first, _), (second, replayed) = await streamed(running, "s-1"), await streamed(running, "s-1")

        assert (first == second, replayed, first.endswith(b"data: [DONE]\n\n")) == (True, "true", True)
        assert len(running.events(CallSettled)) == 1


@pytest.mark.anyio
async def test_a_refused_call_leaves_its_key_free(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        refused = await keyed(running, "k-2", model="nobody-listed-this")
        made = await keyed(running, "k-2")

        assert (refused[0], made[0]) == (404, 200)


@pytest.mark.anyio
async def test_an_error_that_may_have_been_billed_is_replayed_too(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        first = await keyed(running, x_simulate_fault="malformed_json")
        second = await keyed(running)

        (settled,) = running.events(CallSettled)
        assert settled.outcome == "error"
        assert (first[0], second[0], second[2]) == (502, 502, first[2])


@pytest.mark.anyio
@pytest.mark.parametrize("key", ["x" * 257])
async def test_what_is_no_key_is_a_400(tmp_path: Path, key: str) -> None:
    async with simulated(tmp_path) as running:
        assert (await keyed(running, key))[0] == 400
