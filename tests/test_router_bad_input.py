"""What must not be taken, or must be taken rightly, as its sender meets it at the HTTP door; and arms of any number and name."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ledger import admin
from ledger import events as e
from ledger.closing import month_closed
from router.config import terms_of
from router.explain import explain
from router.standing_home import dump, replay
from tests.served_home import FLASH, LARGE, START, Served, completion, configured, http, price, scripted

REPLAYED = 'server.clock = "request"\npolicy.explore = 0.0\nbudget.wait_s = 0.0\n'


async def provider(request: bytes, writer: asyncio.StreamWriter) -> None:
    """Sorts tickets that say "twice" as complex, all others as simple; any other model drafts."""
    body = json.loads(request.partition(b"\r\n\r\n")[2])
    said = "complex" if "twice" in str(body["messages"][-1]["content"]) else "simple"
    writer.write(http(completion(said if body["model"] == FLASH else "Thank you.", model=body["model"])))


async def ask(running: Served, ticket_id: str, moment: str = "", *, text: str = "Where is it?") -> tuple[int, Any]:
    named = {"x_halfpenny_time": moment} if moment else {}
    status, _, said = await running.ask("POST", "/v1/tickets", {"ticket_id": ticket_id, "text": text}, **named)
    return status, said["halfpenny"] if status == 200 else said["error"]


async def edit(running: Served, ticket_id: str, *, ratio: float = 0.25, moment: str = "") -> int:
    """An edit that changes this share of four letters."""
    named = {"x_halfpenny_time": moment} if moment else {}
    final = "x" * round(4 * ratio) + "abcd"[round(4 * ratio) :]
    said = {"draft_text": "abcd", "final_text": final, "edit_seconds": 60}
    status, _, _ = await running.ask("POST", f"/v1/tickets/{ticket_id}/edits", said, key="agent", **named)
    return status


async def tell(running: Served, event: dict[str, Any]) -> tuple[int, Any]:
    status, _, said = await running.ask("POST", "/v1/admin/events", [event], key=running.home.admin_token())
    return status, said


def policy(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "halfpenny.policy.set.v1", "subject": "acme", "client_id": "acme", "policy": name} | more


async def shown(running: Served, path: str, moment: str = "") -> Any:
    named = {"x_halfpenny_time": moment} if moment else {}
    return (await running.ask("GET", path, key="boss", **named))[2]


async def drawn(running: Served, ratios: dict[str, float], tickets: int) -> Counter[str]:
    """Tickets by equal shares, twenty a day from the first of March; each arm's drafts are edited by its ratio."""
    equal = [f"{arm}={1 / len(ratios):g}" for arm in ratios]
    assert (await tell(running, policy("fixed", shares=equal, time="2025-03-01T00:00:00Z")))[0] == 200
    found: Counter[str] = Counter()
    for number in range(tickets):
        moment = f"2025-03-0{1 + number // 20}T10:{number % 20:02}:00Z"
        _, own = await ask(running, f"T-{number}", moment)
        found[own["arm"]] += 1
        assert await edit(running, f"T-{number}", ratio=ratios[own["arm"]], moment=moment) == 200
    return found


def is_replayed(running: Served, settings: str) -> bool:
    """Whether the log folds to the bytes that the service folded as it went, to the last digit."""
    return dump(replay(running.events(), terms_of(configured("http://p", settings)))) == dump(running.standings)


@pytest.mark.anyio
async def test_a_policy_that_cannot_work_is_refused_and_the_one_in_force_stays(tmp_path: Path) -> None:
    async with scripted(tmp_path, provider, settings='policy.name = "label"') as running:
        for said, why in (
            (policy("fixed", shares=["gold=1"]), "gold"),
            (policy("fixed", shares=["standard=0.5"]), "must sum to 1"),
            (policy("floor"), "needs target_quality"),
            (policy("best"), "best"),
            (policy("floor", target_edit_rate=1.5), "target_edit_rate"),
        ):
            status, answer = await tell(running, said)
            assert (status, why in answer["error"]["message"]) == (400, True), answer
        _, own = await ask(running, "T-1")

        assert own["arm"] == "standard"
        assert running.events(e.PolicySet) == []


@pytest.mark.anyio
async def test_an_arm_without_a_price_gives_way_and_none_with_one_is_a_refusal_that_says_so(tmp_path: Path) -> None:
    lacking = f'policy.name = "label"\narms.standard = "no/price"\narms.premium = "{LARGE}"'
    (tmp_path / "one").mkdir()
    async with scripted(tmp_path / "one", provider, settings=lacking) as running:
        assert (await ask(running, "T-1"))[1]["arm"] == "premium"
    none = 'arms.standard = "no/price"\narms.premium = "no/price-2"'
    (tmp_path / "two").mkdir()
    async with scripted(tmp_path / "two", provider, settings=none) as running:
        status, error = await ask(running, "T-1")

        assert status == 402
        assert "none of the arms ['standard', 'premium'] has a price" in error["message"]
        assert not running.ledger.state.holds


@pytest.mark.anyio
async def test_a_target_that_cannot_be_met_gets_the_best_arm_and_is_said_to_be_out_of_reach(tmp_path: Path) -> None:
    async with scripted(tmp_path, provider, settings=REPLAYED) as running:
        await drawn(running, {"standard": 0.5, "premium": 0.25}, 100)
        await tell(running, policy("floor", target_edit_rate=0.01, time="2025-03-06T12:00:00Z"))
        _, own = await ask(running, "T-last", "2025-03-07T10:00:00Z")
        split = await shown(running, "/v1/split", "2025-03-07T10:00:00Z")

        assert own["arm"] == "premium"
        assert "no arm reaches the target quality, the best answers" in own["reason"]
        (mine,) = [one for one in split["clients"] if one["client_id"] == "acme"]
        assert (mine["policy"], mine["target_can_be_met"]) == ("floor", False)
        assert is_replayed(running, REPLAYED)


@pytest.mark.anyio
async def test_feedback_given_twice_is_learned_once_and_tallied_once(tmp_path: Path) -> None:
    async with scripted(tmp_path, provider, settings='policy.name = "label"') as running:
        await ask(running, "T-1")
        assert [await edit(running, "T-1", ratio=ratio) for ratio in (0.25, 0.75)] == [200, 200]
        quality = await shown(running, "/v1/quality")

        assert quality["ratings"]["acme"] == {"learned": 1, "repeated": 1}
        (arm,) = [row for row in quality["arms"] if (row["client_id"], row["arm"]) == ("acme", "standard")]
        rate = arm["classes"]["simple"]["edit_rate"]
        assert (arm["learned"]["ratings"], rate["count"], rate["mean"]) == (1, 1, 0.25)


@pytest.mark.anyio
async def test_an_edit_after_its_month_closed_teaches_its_arm_and_leaves_the_month_as_it_was(tmp_path: Path) -> None:
    async with scripted(tmp_path, provider, settings=REPLAYED) as running:
        await ask(running, "T-1", "2025-03-30T10:00:00Z")
        closed = month_closed(
            running.ledger.state, admin.Stamp("close", datetime(2025, 4, 5, tzinfo=UTC)), "acme", "2025-03"
        )
        running.ledger.append_now(closed)
        assert await edit(running, "T-1", moment="2025-04-06T10:00:00Z") == 200

        (edited,) = running.events(e.DraftEdited)
        assert (edited.period, edited.time) == ("2025-03", datetime(2025, 4, 6, 10, tzinfo=UTC))
        assert running.events(e.MonthClosed)[0].cost_usd == closed.cost_usd
        assert (await shown(running, "/v1/quality"))["ratings"]["acme"] == {"learned": 1}
        assert is_replayed(running, REPLAYED)


@pytest.mark.anyio
async def test_a_clock_that_goes_backward_is_served_in_its_own_month_and_a_replay_agrees(tmp_path: Path) -> None:
    async with scripted(tmp_path, provider, settings=REPLAYED, caps={"acme": "5"}) as running:
        moments = ("2025-04-02T10:00:00Z", "2025-04-02T09:59:00Z", "2025-03-01T10:00:00Z", "2025-04-03T10:00:00Z")
        said = [await ask(running, f"T-{number}", moment) for number, moment in enumerate(moments)]
        budget = await shown(running, "/v1/budget", "2025-04-03T10:00:00Z")

        assert [status for status, _ in said] == [200] * 4
        drafts = [event for event in running.events(e.CallReserved) if event.purpose == "generation"]
        assert [event.period for event in drafts] == ["2025-04", "2025-04", "2025-03", "2025-04"]
        (pace,) = [one for one in budget["pace"] if one["client_id"] == "acme"]
        # three tickets in April, of 10 tokens in and 5 out twice: 8.2 and 14 millionths of a dollar
        assert pace["spent_usd"] == pytest.approx(67e-6, abs=1e-6)
        assert is_replayed(running, REPLAYED)


@pytest.mark.anyio
async def test_a_price_that_turns_the_order_round_at_noon_turns_the_choice_at_noon(tmp_path: Path) -> None:
    """Premium is the better arm and dearer in the morning, when the budget has no room for it; from noon on it is the cheaper one."""
    async with scripted(tmp_path, provider, settings=REPLAYED, caps={"acme": "1"}) as running:
        await drawn(running, {"standard": 0.5, "premium": 0.25}, 100)
        await tell(running, policy("paced", tickets_per_month=100_000, time="2025-03-06T12:00:00Z"))
        await tell(
            running,
            {"type": "halfpenny.budget.set.v1", "subject": "acme", "client_id": "acme", "scope": "client", "hard": False,
             "valid_from": "2025-01-02T00:00:00Z", "cap_usd": "0.004", "time": "2025-03-06T12:00:00Z"},
        )  # fmt: skip
        noon = price(LARGE, "0.20", "0.60", valid_from="2025-03-07T12:00:00Z")
        running.ledger.append_now(admin.price_listed(admin.Stamp("noon", START), noon))
        chosen = [await ask(running, f"N-{at}", f"2025-03-07T{at}:00Z") for at in ("11:50", "11:58", "12:02", "12:10")]
        due = running.standings.clients["acme"].drift.due

        assert [own["arm"] for _, own in chosen] == ["standard", "standard", "premium", "premium"]
        assert [alarm.drift for alarm in due] == ["price"]
        assert is_replayed(running, REPLAYED)


FOUR = (
    'arms.bronze = "house/bronze-1"\narms.silver = "house/silver-1"\narms.gold = "house/gold-1"\n'
    'arms.platinum = "house/platinum-1"\npolicy.class_arms = {simple = "bronze", complex = "gold"}\n'
)


@pytest.mark.anyio
async def test_four_arms_of_other_names_are_split_learned_paced_and_explained(tmp_path: Path) -> None:
    settings = REPLAYED + FOUR + 'policy.name = "label"'
    rates = {"bronze": ("0.1", "0.3"), "silver": ("0.3", "0.9"), "gold": ("1", "3"), "platinum": ("3", "9")}
    ratios = {"bronze": 0.75, "silver": 0.5, "gold": 0.25, "platinum": 0.5}
    async with scripted(tmp_path, provider, settings=settings, caps={"acme": "50"}) as running:
        for name, (of_input, of_output) in rates.items():
            listed = price(f"house/{name}-1", of_input, of_output)
            running.ledger.append_now(admin.price_listed(admin.Stamp(name, START), listed))
        _, simple = await ask(running, "T-s", "2025-03-01T09:00:00Z")
        _, complex_ = await ask(running, "T-c", "2025-03-01T09:01:00Z", text="I was billed twice")
        counts = await drawn(running, ratios, 180)
        await tell(running, policy("paced", time="2025-03-09T12:00:00Z"))
        _, own = await ask(running, "T-paced", "2025-03-10T10:00:00Z")
        split, quality = await shown(running, "/v1/split", "2025-03-10T10:00:00Z"), await shown(running, "/v1/quality")
        found = explain(running.events(), terms_of(configured("http://p", settings)), own["call_id"])

        assert (simple["arm"], complex_["arm"]) == ("bronze", "gold")
        assert set(counts) == set(ratios)
        assert min(counts.values()) >= 30  # 45 expected
        # with money for all of it the best arm answers, which is not the dearest
        assert own["arm"] == "gold"
        assert found.again is not None
        assert {offer.arm for offer in found.again.offers} == set(split["arms"]) == set(ratios)
        assert {row["arm"] for row in quality["arms"] if row["client_id"] == "acme"} == set(ratios)
        assert is_replayed(running, settings)


@pytest.mark.anyio
async def test_a_policy_is_switched_by_an_event_between_two_tickets_without_a_restart(tmp_path: Path) -> None:
    async with scripted(tmp_path, provider, settings='policy.name = "label"') as running:
        before = await ask(running, "T-1")
        assert (await tell(running, policy("fixed", shares=["premium=1"])))[0] == 200
        after = await ask(running, "T-2")

        assert [own["arm"] for _, own in (before, after)] == ["standard", "premium"]
        policies = {one["client_id"]: one["policy"] for one in (await shown(running, "/v1/split"))["clients"]}
        assert policies == {"acme": "fixed", "bolt": "label"}  # another client's stays
