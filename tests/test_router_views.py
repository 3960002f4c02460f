"""What the router sees now: the caller's own part, money as text, unknown as null."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from served_home import LARGE, MEDIUM, simulated


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_a_budget_says_granted_settled_held_and_available(tmp_path: Path) -> None:
    async with simulated(tmp_path, caps={"acme": "300", "hp_app": "20"}) as running:
        _, _, spent = await running.chat()
        _, _, said = await running.ask("GET", "/v1/budget")

        client, key = said["data"]
        cost = Decimal(spent["halfpenny"]["cost_usd"])
        assert (client["scope"], client["granted_usd"], client["hard"]) == ("acme", "300", True)
        assert Decimal(client["settled_usd"]) == cost > 0
        assert (client["held_usd"], client["orphaned_usd"]) == ("0", "0")
        assert Decimal(client["available_usd"]) == 300 - cost
        assert (key["scope"], Decimal(key["settled_usd"])) == ("hp_app", cost)


@pytest.mark.anyio
async def test_a_client_sees_its_own_budget_and_an_admin_all(tmp_path: Path) -> None:
    async with simulated(tmp_path, caps={"whole": "1000", "acme": "300"}) as running:
        seen = {
            key: (await running.ask("GET", "/v1/budget", key=key))[2]["data"] for key in ("client", "other", "boss")
        }

        assert [[account["scope"] for account in accounts] for accounts in seen.values()] == [
            ["acme"],
            ["bolt"],
            ["whole", "acme", "bolt"],
        ]
        assert seen["other"][0]["granted_usd"] is None


@pytest.mark.anyio
async def test_another_month_can_be_asked_for_and_nonsense_cannot(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        status, _, said = await running.ask("GET", "/v1/budget?period=2025-03")
        bad, _, refused = await running.ask("GET", "/v1/budget?period=soon")

        assert (status, said["data"][0]["period"]) == (200, "2025-03")
        assert (bad, "YYYY-MM" in refused["error"]["message"]) == (400, True)


@pytest.mark.anyio
async def test_the_split_shows_policy_arms_prices_and_what_was_drafted(tmp_path: Path) -> None:
    async with simulated(tmp_path, settings='policy.name = "fixed"\npolicy.standard_share = 0.5') as running:
        for number in range(12):
            await running.chat(model="auto", metadata={"ticket_id": f"T-{number}"})
        _, _, said = await running.ask("GET", "/v1/split")
        _, _, others = await running.ask("GET", "/v1/split", key="other")

        assert (said["policy"], said["standard_share"]) == ("fixed", 0.5)
        assert said["arms"]["standard"] == {
            "model": MEDIUM,
            "price_id": f"{MEDIUM}@2025-01-01",
            "input_usd_per_mtok": "0.4",
            "output_usd_per_mtok": "2",
        }
        assert said["arms"]["premium"]["model"] == LARGE
        (client,) = said["clients"]
        counted = [arm for arms in client["classes"].values() for arm in arms.values()]
        assert sum(arm["calls"] for arm in counted) == 12
        assert all(
            sum(arm["share"] for arm in arms.values()) == pytest.approx(1) for arms in client["classes"].values()
        )
        assert others["clients"][0]["classes"] == {}


@pytest.mark.anyio
async def test_quality_shows_what_humans_did_and_how_long_models_took(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        await running.chat(metadata={"ticket_id": "T-1"})
        await running.ask(
            "POST", "/v1/tickets/T-1/edits", {"draft_text": "abcd", "final_text": "abce", "edit_seconds": 30}
        )
        _, _, said = await running.ask("GET", "/v1/quality")
        _, _, others = await running.ask("GET", "/v1/quality", key="other")

        (edits,) = said["edits"]
        assert (edits["drafts"], edits["accepted"], edits["touched"]) == (1, 1, 1)
        assert (edits["edit_ratio"], edits["edit_seconds"]) == (0.25, 30.0)
        assert [(row["model"], row["calls"]) for row in said["latency"]] == [(MEDIUM, 1)]
        assert (others["edits"], others["latency"], others["ratings"]) == ([], [], {"bolt": {}})
        assert [(row["client_id"], row["arm"], row["classes"]) for row in others["arms"]] == [
            ("bolt", "standard", {}),
            ("bolt", "premium", {}),
        ]


@pytest.mark.anyio
async def test_models_are_those_with_a_price_now_and_auto(tmp_path: Path) -> None:
    async with simulated(tmp_path) as running:
        _, _, said = await running.ask("GET", "/v1/models")
        one, _, model = await running.ask("GET", f"/v1/models/{MEDIUM}")
        gone, _, refused = await running.ask("GET", "/v1/models/ended-model")

        assert {"auto", MEDIUM, LARGE} < {found["id"] for found in said["data"]}
        assert all(found["object"] == "model" and isinstance(found["created"], int) for found in said["data"])
        assert (one, model["id"], model["owned_by"]) == (200, MEDIUM, "global_api")
        assert (gone, refused["error"]["code"]) == (404, "not_found")


@pytest.mark.anyio
async def test_what_the_policies_see_is_shown_with_the_counts_it_came_from_and_up_to_which_event(
    tmp_path: Path,
) -> None:
    async with simulated(tmp_path, caps={"acme": "300"}, settings="cache.ttl_s = 3600.0") as running:
        for question in ("Where is my card?", "Where is my card?", "When does it come?"):
            messages = [{"role": "user", "content": question}]
            assert (await running.chat(model="auto", messages=messages, max_tokens=4000))[0] == 200
        seen = {name: (await running.ask("GET", f"/v1/{name}"))[2] for name in ("budget", "split", "quality")}

        (pace,) = seen["budget"]["pace"]
        assert pace["cache"] == {"hits": 1, "drafted": 2, "rate": 0.333333}
        assert pace["tickets_seen"] == 2
        arrivals = pace["arrivals"]
        assert (len(arrivals["profile"]), sum(arrivals["profile"])) == (168, pytest.approx(1.0, abs=1e-3))
        assert 0.0 <= arrivals["even_pace_usd"] <= 300.0
        assert arrivals["level"] > 0.0
        position = running.ledger.state.position
        assert [shown["position"] for shown in seen.values()] == [position] * 3
        (latency,) = [row for row in seen["quality"]["latency"] if "Flash" in row["model"]]
        assert latency["calls"] == 2
        assert latency["p50_s"] <= latency["p95_s"]
