"""Shadow checks: a share of tickets sorted a second time, charged and recorded beside them, and an alarm when agreement falls."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from ledger import events as e
from router.config import read
from router.provider_config import BadConfig
from tests.served_home import FLASH, LARGE, MEDIUM, Served, completion, http, scripted
from tests.test_router_standing import acme, at, opened

ALL = f'policy.name = "label"\nclassifier.shadow_model = "{LARGE}"\nclassifier.shadow_share = 1.0\nbudget.wait_s = 0.0'
SORTING = "You sort support tickets."


async def provider(request: bytes, writer: asyncio.StreamWriter) -> None:
    """The classifier calls every ticket simple, the checking model complex; drafts are drafts."""
    body = json.loads(request.partition(b"\r\n\r\n")[2])
    sorts = SORTING in body["messages"][0]["content"]
    said = {FLASH: "simple", LARGE: "complex"}[body["model"]] if sorts else "Thank you; we look into it."
    writer.write(http(completion(said, model=body["model"])))


async def ask(running: Served, ticket_id: str = "T-1", **more: Any) -> int:
    messages = [{"role": "user", "content": "Where is my card?"}]
    status, _, _ = await running.chat(model="auto", messages=messages, metadata={"ticket_id": ticket_id}, **more)
    await running.service.drain(5)  # also waits for what goes on beside the answer
    running.service.gateway.is_draining = False
    return status


@pytest.mark.anyio
async def test_a_check_is_held_charged_and_recorded_beside_the_ticket(tmp_path: Path) -> None:
    async with scripted(tmp_path, provider, settings=ALL) as running:
        assert await ask(running) == 200

        (checked,) = running.events(e.ClassChecked)
        shadow = [event for event in running.events(e.CallReserved, e.CallSettled) if event.subject == checked.call_id]
        assert [(type(event), event.purpose, event.request_model) for event in shadow] == [
            (e.CallReserved, "shadow", LARGE),
            (e.CallSettled, "shadow", LARGE),
        ]
        # 10 tokens in at 2 and 5 out at 6 USD per million
        assert shadow[1].cost_usd == "0.00005"
        assert (checked.ticket_class, checked.checked_class, checked.checked_reading) == ("simple", "complex", "clear")
        drafts = [event for event in running.events(e.CallReserved) if event.purpose == "generation"]
        assert [(event.subject, event.request_model, event.ticket_class) for event in drafts] == [
            (checked.subject, MEDIUM, "simple")
        ]
        _, _, quality = await running.ask("GET", "/v1/quality", key="boss")
        (acme_,) = [one for one in quality["drift"] if one["client_id"] == "acme"]
        assert acme_["agreement"] == {"share": 0.25, "count": 1, "weight": 1.0}  # half a check of either kind added


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("settings", "caps"),
    [
        (ALL.replace("1.0", "0.0", 1), {}),
        (ALL.replace(LARGE, "no-such-model"), {}),  # no price: no check, and the ticket is answered
        (ALL, {"acme": "0.0008"}),  # room for the ticket's own two calls; the check would hold a tenth of a cent
    ],
)
async def test_without_a_share_a_price_or_room_there_is_no_check_and_the_ticket_is_answered(
    settings: str, caps: dict[str, str], tmp_path: Path
) -> None:
    async with scripted(tmp_path, provider, settings=settings, caps=caps) as running:
        assert await ask(running, max_tokens=40) == 200

        assert running.events(e.ClassChecked) == []
        assert {event.purpose for event in running.events(e.CallReserved)} == {"classification", "generation"}
        assert running.events(e.CallRefused) == []


@pytest.mark.anyio
async def test_a_check_that_fails_leaves_the_ticket_answered_and_no_hold(tmp_path: Path) -> None:
    async def failing(request: bytes, writer: asyncio.StreamWriter) -> None:
        body = json.loads(request.partition(b"\r\n\r\n")[2])
        if body["model"] == LARGE:
            writer.write(http(b"{}", status="400 Bad Request"))
        else:
            await provider(request, writer)

    async with scripted(tmp_path, failing, settings=ALL) as running:
        assert await ask(running) == 200

        assert running.events(e.ClassChecked) == []
        assert not running.ledger.state.holds


@pytest.mark.anyio
async def test_the_same_tickets_are_checked_again_in_a_replay_and_about_the_share_of_them(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        async with scripted(tmp_path / name, provider, settings=ALL.replace("1.0", "0.3", 1)) as running:
            for number in range(30):
                await ask(running, f"T-{number}")
            found.append([event.ticket_id for event in running.events(e.ClassChecked)])

    assert found[0] == found[1]
    assert 3 <= len(found[0]) <= 16  # nine expected, three deviations


@pytest.mark.parametrize("model", ["", "deepseek-ai/DeepSeek-V4-Flash"])
def test_a_share_without_another_model_is_refused(model: str) -> None:
    with pytest.raises(BadConfig, match=r"Name another priced model than classifier.model"):
        read(f'classifier.shadow_share = 0.1\nclassifier.shadow_model = "{model}"', {})


def check(number: int, *, agrees: bool, reading: Any = "clear") -> e.ClassChecked:
    return e.ClassChecked(
        id=f"k{number}", subject=f"c{number}", time=at(number / 10), client_id="acme", period="2025-10", call_id=f"s{number}",
        request_model=LARGE, ticket_class="simple", checked_class="simple" if agrees else "complex", checked_reading=reading,
    )  # fmt: skip


def test_a_classifier_that_agrees_less_is_told_and_what_was_learned_by_class_is_doubted() -> None:
    usual = [check(number, agrees=number % 10 != 0) for number in range(200)]
    unclear = [check(number, agrees=False, reading="unclear") for number in range(200, 400)]
    fallen = [check(number, agrees=number % 2 == 0) for number in range(400, 440)]
    before = acme([*opened(), *usual, *unclear])

    assert before.drift.due == []
    (alarm,) = acme([*opened(), *usual, *unclear, *fallen]).drift.due
    assert (alarm.drift, alarm.before) == ("classifier", pytest.approx(0.9, abs=0.01))
    assert alarm.after == pytest.approx(0.5, abs=0.1)
    assert alarm.reason.startswith(f"{LARGE} agrees with the classifier on ")
