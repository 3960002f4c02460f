"""Commands that write through the running service: validated, all or none, and for admins alone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from served_home import simulated

from ledger.events import BudgetSet, CallReserved


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


CAP: dict[str, Any] = {
    "type": "halfpenny.budget.set.v1",
    "subject": "acme",
    "client_id": "acme",
    "scope": "client",
    "hard": True,
    "valid_from": "2025-01-01T00:00:00Z",
    "cap_usd": "0.00001",
}


@pytest.mark.anyio
async def test_an_event_given_to_the_service_is_durable_and_counts_at_once(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        assert (await running.chat())[0] == 200
        status, _, said = await running.ask("POST", "/v1/admin/events", [CAP], key=running.home.admin_token())

        (event,) = running.events(BudgetSet)
        assert (status, said["data"]) == (200, [{"id": event.id}])
        assert event.sequence is not None
        assert (await running.chat())[0] == 429


@pytest.mark.anyio
async def test_an_id_and_a_time_that_are_given_are_kept(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        given = CAP | {"id": "mine-1", "time": "2025-02-03T04:05:06Z"}
        await running.ask("POST", "/v1/admin/events", [given], key="boss")

        (event,) = running.events(BudgetSet)
        assert (event.id, f"{event.time:%Y-%m-%dT%H:%M:%S}") == ("mine-1", "2025-02-03T04:05:06")


NO_EVENTS: tuple[tuple[object, str], ...] = (
    ([], "1 to 10000 events; 0 came"),
    ({}, "JSON list"),
    ([7], "JSON list"),
    (b"nonsense", "JSON list"),
    ([CAP | {"sequence": 1, "hash": "x"}], "Event 1 bears sequence, hash"),
    ([CAP, {"type": "halfpenny.nothing.v1"}], "Event 2: "),
    ([CAP | {"cap_usd": 5}], "Event 1: "),
    ([CAP | {"cap_usd": "1e3"}], "Event 1: "),
    ([CAP | {"colour": "red"}], "Event 1: "),
    ([{k: v for k, v in CAP.items() if k != "hard"}], "Event 1: "),
)


@pytest.mark.anyio
async def test_what_is_no_event_is_refused_whole(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        for body, said in NO_EVENTS:
            status, _, answer = await running.ask("POST", "/v1/admin/events", body, key="boss")

            assert (status, answer["error"]["type"]) == (400, "invalid_request_error"), said
            assert said in answer["error"]["message"]
        assert running.events(BudgetSet) == []


@pytest.mark.anyio
async def test_a_fact_against_the_ledger_is_409_and_one_about_nobody_404(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        client: dict[str, Any] = {
            "type": "halfpenny.client.added.v1",
            "subject": "acme",
            "client_id": "acme",
            "display_name": "A",
        }
        client |= {"currency": "EUR", "zone": "UTC", "private": False}
        nobody = CAP | {"subject": "nobody", "client_id": "nobody"}

        assert (await running.ask("POST", "/v1/admin/events", [client], key="boss"))[0] == 409
        assert (await running.ask("POST", "/v1/admin/events", [CAP, nobody], key="boss"))[0] == 404
        assert running.events(BudgetSet, CallReserved) == []


@pytest.mark.anyio
async def test_a_service_that_seals_nothing_says_so(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        assert (await running.ask("POST", "/v1/admin/seal", key="boss"))[0] == 409


@pytest.mark.anyio
async def test_an_event_sent_a_hundred_times_at_once_is_recorded_once_and_another_under_its_id_is_409(
    tmp_path: Path,
) -> None:
    async with simulated(tmp_path) as running:
        given = CAP | {"id": "0199a8f2-6c3e-7b1a-9d44-5e8c01a2b3c4", "time": "2025-02-03T04:05:06Z"}
        ask = (running.ask("POST", "/v1/admin/events", [given], key="boss") for _ in range(100))
        said = await asyncio.gather(*ask)
        clash, _, answer = await running.ask("POST", "/v1/admin/events", [given | {"cap_usd": "7"}], key="boss")

        assert {(status, body["data"][0]["id"]) for status, _, body in said} == {(200, given["id"])}
        assert len(running.events(BudgetSet)) == 1
        assert clash == 409
        assert "another fact was recorded under it" in answer["error"]["message"]
