"""When no arm fits: who answers instead, what an OpenAI client gets, and which fact is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from served_home import MEDIUM, simulated

from ledger.events import CallRefused, TicketDeferred

SETTINGS = 'policy.fallback = "human"\npolicy.fallback_text = "A colleague will answer."\nbudget.wait_s = 0.0'
CAP = {"acme": "0.000001"}


@pytest.mark.anyio
async def test_a_ticket_that_nothing_fits_is_answered_for_a_person_and_kept_as_an_event(tmp_path: Path) -> None:
    async with simulated(tmp_path, settings=SETTINGS, caps=CAP) as running:
        status, headers, said = await running.chat(model="auto", metadata={"ticket_id": "T-1"})

        assert status == 200
        assert said["choices"][0]["message"]["content"] == "A colleague will answer."
        assert (said["halfpenny"]["arm"], headers["x-halfpenny-arm"]) == ("human", "human")
        (kept,) = running.events(TicketDeferred)
        assert (kept.fallback, kept.ticket_id, kept.subject) == ("human", "T-1", said["halfpenny"]["call_id"])
        assert len(running.events(CallRefused)) == 1


@pytest.mark.anyio
async def test_a_stream_is_answered_with_a_stream(tmp_path: Path) -> None:
    async with simulated(tmp_path, settings=SETTINGS, caps=CAP) as running:
        status, body = await running.stream(model="auto")

    frames = [line.removeprefix(b"data: ") for line in body.split(b"\n\n") if line]
    assert (status, frames[-1]) == (200, b"[DONE]")
    assert json.loads(frames[0])["choices"][0]["delta"]["content"] == "A colleague will answer."


@pytest.mark.anyio
async def test_a_named_model_and_a_house_without_a_fallback_are_refused_as_ever(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    async with simulated(tmp_path / "a", settings=SETTINGS, caps=CAP) as running:
        status, _, said = await running.chat(model=MEDIUM)
        assert (status, said["error"]["code"]) == (429, "insufficient_quota")
    async with simulated(tmp_path / "b", settings="budget.wait_s = 0.0", caps=CAP) as running:
        assert (await running.chat(model="auto"))[0] == 429
