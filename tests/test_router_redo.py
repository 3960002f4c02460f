"""Second looks through the gateway: both calls charged and recorded, the budget kept, the answer and `explain` telling."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from served_home import FLASH, LARGE, MEDIUM, Served, completion, configured, http, scripted, simulated

from ledger import events as e
from ledger.errors import NotFound
from router import redo
from router.config import terms_of
from router.explain import explain
from router.logged import routed_month
from router.standing import Looks, gain_of
from router.standing_folds import apply
from router.standing_home import replay

TICKET = "My card was declined at the supermarket and I do not know why. Can you tell me what to do?"
GOOD = "Thank you. The card was locked, and you can unlock it in the app under Card; then it will work again at once."
REFUSED = "I'm sorry, but I can't help with that. Is there anything else that you would like to know about the bank?"
ON = 'policy.name = "label"\npolicy.second_look = true\nbudget.wait_s = 0.0'
REDONE, KEPT = "T-2", "T-17"  # by the coin over these names, see the first test


def provider(
    standard: str = REFUSED, premium: bytes | None = None
) -> Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]:
    """Sorts everything as simple; the standard arm drafts `standard`, the premium one a good draft unless said."""

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        model = json.loads(request.partition(b"\r\n\r\n")[2])["model"]
        if model == LARGE:
            writer.write(premium or http(completion(GOOD, model=LARGE)))
        else:
            writer.write(http(completion("simple" if model == FLASH else standard, model=model)))

    return answer


async def ask(running: Served, ticket_id: str = REDONE, **more: Any) -> tuple[dict[str, str], Any]:
    messages = [{"role": "user", "content": TICKET}]
    status, headers, said = await running.chat(
        model="auto", messages=messages, metadata={"ticket_id": ticket_id}, **more
    )
    assert status == 200
    return headers, said


def test_the_tickets_of_these_tests_fall_on_either_side_of_the_coin():
    draws = {name: redo.coin("", "acme", name, "second look") for name in (REDONE, KEPT)}
    assert draws[KEPT] < redo.OTHER_SHARE <= draws[REDONE]


@pytest.mark.anyio
async def test_a_refusal_is_redone_and_both_calls_are_held_charged_and_recorded(tmp_path: Path) -> None:
    async with scripted(tmp_path, provider(), settings=ON) as running:
        headers, said = await ask(running)

        holds, ends = running.events(e.CallReserved), running.events(e.CallSettled)
        assert [hold.request_model for hold in holds] == [end.request_model for end in ends] == [FLASH, MEDIUM, LARGE]
        (fact,) = running.events(e.DraftSuspected)
        assert (fact.signs, fact.action, fact.propensity) == (("refusal",), "redone", 0.8)
        assert (fact.call_id, fact.superseded_by, fact.arm) == (holds[1].subject, holds[2].subject, "standard")
        order = [type(event) for event in running.events(e.CallReserved, e.DraftSuspected)]
        assert order[-2:] == [e.DraftSuspected, e.CallReserved]
        assert (holds[2].arm, holds[2].policy, holds[2].ticket_class) == ("premium", None, "simple")

        own = said["halfpenny"]
        both = sum(Decimal(end.cost_usd) for end in ends[1:])
        assert said["choices"][0]["message"]["content"] == GOOD
        assert own["call_id"] == headers["x-halfpenny-call-id"] == fact.superseded_by
        assert Decimal(own["cost_usd"]) == Decimal(headers["x-halfpenny-cost-usd"]) == both
        assert (headers["x-halfpenny-second-look"], headers["x-halfpenny-arm"], own["arm"]) == (
            "redone",
            "premium",
            "premium",
        )
        look = own["second_look"]
        assert look == look | {
            "action": "redone",
            "signs": ["refusal"],
            "first_call_id": fact.call_id,
            "first_arm": "standard",
        }
        assert look["first_cost_usd"] == ends[1].cost_usd
        assert running.ledger.state.drafts["acme", REDONE].call_id == fact.superseded_by


@pytest.mark.anyio
async def test_a_share_is_kept_to_learn_from_and_says_so(tmp_path: Path) -> None:
    async with scripted(tmp_path, provider(), settings=ON) as running:
        headers, said = await ask(running, KEPT)

        (fact,) = running.events(e.DraftSuspected)
        assert (fact.action, fact.propensity, fact.superseded_by) == ("kept", 0.2, None)
        assert (headers["x-halfpenny-second-look"], said["halfpenny"]["second_look"]["action"]) == ("kept", "kept")
        assert "drawn to keep it measurable" in fact.reason
        assert said["choices"][0]["message"]["content"] == REFUSED


@pytest.mark.anyio
async def test_good_drafts_named_models_streams_and_clients_without_it_are_left_alone(tmp_path: Path) -> None:
    for name in ("good", "off"):
        (tmp_path / name).mkdir()
    async with scripted(tmp_path / "good", provider(GOOD), settings=ON) as running:
        headers, said = await ask(running)
        assert "second_look" not in said["halfpenny"]
        assert "x-halfpenny-second-look" not in headers
        assert (await running.chat(model=MEDIUM))[0] == 200
        await running.stream(model="auto")
        assert running.events(e.DraftSuspected) == []
    async with scripted(tmp_path / "off", provider(), settings='policy.name = "label"') as running:
        await ask(running)
        assert running.events(e.DraftSuspected) == []
        now = datetime.now(UTC)
        switch = e.PolicySet(id="p", subject="acme", time=now, client_id="acme", policy="label", second_look=True)
        running.ledger.append_now(switch)
        await ask(running)
        assert len(running.events(e.DraftSuspected)) == 1


@pytest.mark.anyio
async def test_a_ticket_is_looked_at_as_well(tmp_path: Path) -> None:
    async with scripted(tmp_path, provider(), settings=ON) as running:
        status, headers, said = await running.ask("POST", "/v1/tickets", {"text": TICKET, "ticket_id": REDONE})

        assert (status, said["draft"], headers["x-halfpenny-second-look"]) == (200, GOOD, "redone")


@pytest.mark.anyio
async def test_the_simulators_one_token_drafts_are_too_short_unless_the_bound_cut_them(tmp_path: Path) -> None:
    async with simulated(tmp_path, settings=ON) as running:
        await ask(running, max_tokens=1)
        assert running.events(e.DraftSuspected) == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("cap", "max_tokens", "why"),
    [
        ("0.0007", 40, "premium would touch the reserve"),
        # By 20,000 tokens Large holds 0.12 USD and Medium 0.04.
        ("0.1", 20_000, "the hold of premium does not fit"),
    ],
)
async def test_a_redo_that_the_budget_has_no_room_for_is_skipped_without_a_refusal(
    tmp_path: Path, cap: str, max_tokens: int, why: str
) -> None:
    async with scripted(tmp_path, provider(), settings=ON, caps={"acme": cap}) as running:
        headers, said = await ask(running, max_tokens=max_tokens)

        (fact,) = running.events(e.DraftSuspected)
        assert (fact.action, fact.propensity, headers["x-halfpenny-second-look"]) == ("kept", 1.0, "kept")
        assert fact.reason.startswith(why)
        assert running.events(e.CallRefused) == []
        assert said["choices"][0]["message"]["content"] == REFUSED


@pytest.mark.anyio
async def test_a_redo_that_fails_leaves_the_first_draft_and_every_hold_ended(tmp_path: Path) -> None:
    failing = http(b"oops", status="500 Internal Server Error")
    async with scripted(tmp_path, provider(premium=failing), settings=ON) as running:
        headers, said = await ask(running)

        (fact,) = running.events(e.DraftSuspected)
        assert fact.action == "redone"
        assert (headers["x-halfpenny-second-look"], said["halfpenny"]["second_look"]["action"]) == ("kept", "kept")
        assert said["choices"][0]["message"]["content"] == REFUSED
        assert headers["x-halfpenny-call-id"] == fact.call_id
        assert said["halfpenny"]["second_look"]["reason"] == "the second call came to nothing"
        assert running.ledger.state.holds == {}
        assert running.ledger.state.drafts["acme", REDONE].call_id == fact.call_id


@pytest.mark.anyio
async def test_explain_replay_and_whatif_see_one_ticket_with_both_costs(tmp_path: Path) -> None:
    async with scripted(tmp_path, provider(), settings=ON) as running:
        await ask(running)
        await running.ask("POST", f"/v1/tickets/{REDONE}/edits", {"draft_text": GOOD, "final_text": GOOD}, key="agent")
        _, _, split = await running.ask("GET", "/v1/split")
        events = running.events()
    terms = terms_of(configured("http://localhost", ON))
    (fact,) = (event for event in events if isinstance(event, e.DraftSuspected))
    ends = [event for event in events if isinstance(event, e.CallSettled)]

    look = explain(events, terms, fact.call_id).as_json()["second_look"]
    assert isinstance(look, dict)
    assert look == look | {"action": "redone", "signs": "refusal", "redone_by_model": LARGE, "redo_outcome": "ok"}
    assert look["redo_cost_usd"] == ends[-1].cost_usd
    with pytest.raises(NotFound, match=f"redid the draft of call {fact.call_id}"):
        explain(events, terms, fact.superseded_by)

    standing = replay(events, terms).clients["acme"]
    assert (standing.looks.redone, standing.looks.redone_rated, standing.looks.redone_quality) == (1, 1, 1.0)
    assert standing.state.volume.seen == 1  # one ticket came, though two drafts were written
    assert sum(standing.ratings.values()) == 1
    (shown,) = split["clients"]
    assert shown["second_look"] == shown["second_look"] | {"on": True, "redone": 1, "kept": 0, "gain": None}

    (ticket,) = routed_month(events, "acme", fact.period)
    assert (ticket.arm, ticket.quality) == ("standard", 1.0)
    assert ticket.cost_usd == pytest.approx(sum(float(end.cost_usd) for end in ends[1:]))


@pytest.mark.parametrize(("switch", "is_on"), [("--second-look", True), ("--no-second-look", False)])
def test_the_command_switches_it_for_a_client(tmp_path: Path, switch: str, is_on: bool) -> None:
    home = tmp_path / "home"
    for line in (
        f"init --home {home}",
        f"client add acme --home {home}",
        f"policy set acme label {switch} --home {home}",
    ):
        done = subprocess.run(
            [sys.executable, "-m", "halfpenny", *line.split()], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    shown = subprocess.run(
        [sys.executable, "-m", "halfpenny", "policy", "show", "--home", str(home), "--format", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    (row,) = json.loads(shown.stdout)
    assert row["second_look"] is is_on


def looks(redone: float, kept: float, rated: int = 10) -> Looks:
    return Looks(
        redone=20, redone_usd=0.4, redone_rated=rated, kept_rated=rated, redone_quality=redone * rated, kept_quality=kept * rated
    )  # fmt: skip


def test_what_redoing_gains_is_known_from_ten_ratings_of_each_kind():
    assert gain_of(looks(0.9, 0.4, rated=9)) is None
    assert gain_of(looks(0.9, 0.4)) == pytest.approx(0.5)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kept", "redone", "draw", "action", "propensity"),
    [
        (0.4, 0.9, 0.9, "redone", 0.8),  # gains half a unit: pays
        (0.4, 0.9, 0.1, "kept", 0.2),
        (0.9, 0.4, 0.9, "kept", 0.8),  # makes it worse: only the small share goes on
        (0.9, 0.4, 0.1, "redone", 0.2),
    ],
)
async def test_the_policy_turns_when_redoing_does_not_pay(
    tmp_path: Path, kept: float, redone: float, draw: float, action: str, propensity: float
) -> None:
    standing, decision, better = await _a_decision(tmp_path)
    standing.looks = looks(redone, kept)

    found = redo.plan(standing, decision, better, draw)

    assert (found.action, found.propensity) == (action, propensity)


@pytest.mark.anyio
async def test_a_redo_that_would_touch_the_reserve_is_not_made(tmp_path: Path) -> None:
    standing, decision, better = await _a_decision(tmp_path)
    standing.state.reserve_usd = standing.state.left_usd

    found = redo.plan(standing, decision, better, 0.9)

    assert (found.action, found.propensity) == ("kept", 1.0)
    assert "reserve" in found.reason


async def _a_decision(path: Path) -> tuple[Any, Any, Any]:
    """A client with 100 USD whose ticket went to the standard arm, as the log of one call has it."""
    async with scripted(path, provider(GOOD), settings=ON, caps={"acme": "100"}) as running:
        await ask(running)
        events = running.events()
    terms = terms_of(configured("http://localhost", ON))
    (hold,) = (event for event in events if isinstance(event, e.CallReserved) and event.policy)
    standings = replay([], terms)
    for event in events:
        if event is hold:
            break
        apply(standings, event)
    decision = explain(events, terms, hold.subject).again
    assert decision is not None
    better = redo.better_arm(decision)
    assert better is not None
    assert better.arm == "premium"
    return standings.clients["acme"], decision, better
