"""What people made of a draft: edits and scores, taken in under the caller's own client and nobody else's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from served_home import Served, simulated

from ledger.events import DraftEdited, ScoreRecorded


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def drafted(running: Served, ticket_id: str = "T-1") -> dict[str, Any]:
    _, _, said = await running.ask("POST", "/v1/tickets", {"ticket_id": ticket_id, "text": "Hello?", "max_tokens": 9})
    own: dict[str, Any] = said["halfpenny"]
    return own


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("said", "disposition", "ratio"),
    [
        ({"draft_text": "abcd", "final_text": "abcd"}, "as_is", 0.0),
        ({"draft_text": "abcd", "final_text": "abce"}, "edited", 0.25),
        ({"draft_text": "abcde", "final_text": "abxyz"}, "edited", 0.6),
        ({"draft_text": "abcd", "final_text": "axyz"}, "rewritten", 0.75),
        ({"draft_text": "abcd", "final_text": "", "disposition": "discarded"}, "discarded", 1.0),
        ({"final_text": "abcd", "disposition": "edited"}, "edited", None),
        ({"final_text": "abcd", "disposition": "as_is"}, "as_is", 0.0),
        ({"draft_text": "a" * 30_000, "final_text": "a" * 29_999 + "b"}, "edited", 0.000033),
    ],
)
async def test_an_edit_is_recorded_with_its_ratio_and_what_became_of_the_draft(
    tmp_path: Path, said: dict[str, str], disposition: str, ratio: float | None
) -> None:
    async with simulated(tmp_path) as running:
        own = await drafted(running)
        status, _, answer = await running.ask(
            "POST", "/v1/tickets/T-1/edits", said | {"edit_seconds": 42.5}, key="agent"
        )

        (event,) = running.events(DraftEdited)
        assert (status, answer["disposition"], answer["edit_ratio"]) == (200, disposition, ratio)
        assert (event.disposition, event.edit_ratio, event.edit_seconds) == (disposition, ratio, 42.5)
        assert (event.call_id, event.arm, event.ticket_class) == (own["call_id"], own["arm"], own["class"])
        assert (event.client_id, event.key_id, event.final_characters) == ("acme", "hp_agent", len(said["final_text"]))


NO_EDITS: tuple[tuple[dict[str, Any], str | None], ...] = (
    ({"final_text": "x"}, "disposition"),
    ({"draft_text": "x"}, None),
    ({"final_text": 7}, "final_text"),
    ({"final_text": "x", "disposition": "fine"}, "disposition"),
    ({"final_text": "x", "draft_text": "y", "edit_seconds": -1}, "edit_seconds"),
    ({"final_text": "x", "draft_text": "y", "edit_second": 1}, None),
    ({"final_text": "x" * 500_000, "draft_text": "y" * 500_000}, "draft_text"),
)


@pytest.mark.anyio
async def test_an_edit_that_cannot_be_taken_names_the_field(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        await drafted(running)
        for said, param in NO_EDITS:
            status, _, answer = await running.ask("POST", "/v1/tickets/T-1/edits", said)

            assert (status, answer["error"]["param"]) == (400, param), said.keys()
        assert running.events(DraftEdited) == []


@pytest.mark.anyio
async def test_another_clients_ticket_and_one_that_never_was_are_told_the_same(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        own = await drafted(running)
        edit = {"final_text": "x", "disposition": "edited"}
        score = {"rubric": "r", "criterion": "c", "value": 1, "scorer": "s"}
        asked: list[tuple[str, dict[str, Any]]] = [
            ("/v1/tickets/T-1/edits", edit),
            ("/v1/tickets/T-2/edits", edit),
            ("/v1/scores", score | {"ticket_id": "T-1"}),
            ("/v1/scores", score | {"ticket_id": "T-2"}),
            ("/v1/scores", score | {"call_id": own["call_id"]}),
            ("/v1/scores", score | {"call_id": "never"}),
        ]
        answers = [await running.ask("POST", path, body, key="other") for path, body in asked]

        assert {status for status, _, _ in answers} == {404}
        assert [a[2] for a in answers[::2]] == [a[2] for a in answers[1::2]]
        assert running.events(DraftEdited, ScoreRecorded) == []


@pytest.mark.anyio
async def test_a_score_names_its_draft_by_ticket_or_by_call(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        own = await drafted(running)
        score = {"rubric": "support-1", "criterion": "coherence", "value": 0.84, "scorer": "judge", "blind": True}
        by_ticket = await running.ask("POST", "/v1/scores", score | {"ticket_id": "T-1"}, key="agent")
        by_call = await running.ask("POST", "/v1/scores", score | {"call_id": own["call_id"], "run_id": "r-1"})

        events = running.events(ScoreRecorded)
        assert (by_ticket[0], by_call[0]) == (200, 200)
        assert [(e.subject, e.ticket_id, e.value, e.run_id) for e in events] == [
            (own["call_id"], "T-1", 0.84, None),
            (own["call_id"], "T-1", 0.84, "r-1"),
        ]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"value": 1.01}, 400),
        ({"value": -0.1}, 400),
        ({"value": "1"}, 400),
        ({"rubric": ""}, 400),
        ({"ticket_id": None}, 400),
        ({"call_id": "other"}, 404),
    ],
)
async def test_a_score_that_cannot_be_taken_is_refused(tmp_path: Path, change: dict[str, Any], status: int) -> None:
    async with simulated(tmp_path) as running:
        await drafted(running)
        score = {"ticket_id": "T-1", "rubric": "r", "criterion": "c", "value": 1, "scorer": "s"}

        assert (await running.ask("POST", "/v1/scores", score | change))[0] == status
        assert running.events(ScoreRecorded) == []


@pytest.mark.anyio
async def test_a_draft_that_was_kept_need_not_be_sent_again_and_only_if_the_configuration_says_so(
    tmp_path: Path,
) -> None:
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
    edit, later = {"draft_text": "abcd", "final_text": "abcd"}, {"final_text": "abce"}
    async with simulated(tmp_path / "with", settings="[content]\nkeep_days = 7\n") as running:
        await drafted(running)
        await running.ask("POST", "/v1/tickets/T-1/edits", edit, key="agent")
        status, _, answer = await running.ask("POST", "/v1/tickets/T-1/edits", later, key="agent")
        assert (status, answer["edit_ratio"]) == (200, 0.25)
        assert list(running.home.content.rglob("*.text"))
    async with simulated(tmp_path / "without") as running:
        await drafted(running)
        await running.ask("POST", "/v1/tickets/T-1/edits", edit, key="agent")
        status, _, _ = await running.ask("POST", "/v1/tickets/T-1/edits", later, key="agent")
        assert status == 400
        assert not running.home.content.exists()
