"""Where clients stand: folds of the ledger's events, the same live, replayed and from a snapshot."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import events as e
from ledger.errors import InvalidInput, NotFound
from ledger.home import create
from ledger.store import Ledger
from router import standing_home
from router.aggregates import UNCAPPED_USD, TicketView
from router.explain import explain
from router.shifts import shift_of
from router.standing import Standings, Terms, check_policy
from router.standing_folds import apply, ticket_of
from router.standing_home import Follower, dump, replay

OCTOBER = datetime(2025, 10, 1, tzinfo=UTC)
MEDIUM, LARGE = "mistralai/Mistral-Medium-3", "mistralai/Mistral-Large-3"
TERMS = Terms(
    arms=(("standard", MEDIUM), ("premium", LARGE)),
    class_arms=(("simple", "standard"), ("complex", "premium")),
    policy="paced",
)
RATES = {"uncached_input": "2", "cache_read": "2", "cache_write": "2", "plain_output": "6", "reasoning": "6"}


def at(hours: float) -> datetime:
    return OCTOBER + timedelta(hours=hours)


def price(model: str, start: datetime, of_input: str, of_output: str) -> e.PriceListed:
    rates = {"uncached_input": of_input, "cache_read": of_input, "cache_write": of_input}
    rates |= {"plain_output": of_output, "reasoning": of_output}
    return e.PriceListed(
        id=f"price-{model}-{start}",
        subject=f"{model}@{start:%Y-%m-%d}",
        time=OCTOBER,
        provider_name="p",
        model=model,
        valid_from=start,
        price_source="a test",
        **{f"rate_{name}": rate for name, rate in rates.items()},
    )


def opened(cap: str | None = "300") -> list[e.Event]:
    """A client in UTC with two priced arms and a hard cap."""
    found: list[e.Event] = [
        price(MEDIUM, at(-48), "0.4", "2"),
        price(LARGE, at(-48), "2", "6"),
        e.ClientAdded(
            id="c", subject="acme", client_id="acme", time=OCTOBER, display_name="Acme", currency="USD", zone="UTC",
            private=False,
        ),
    ]  # fmt: skip
    if cap is not None:
        found.append(
            e.BudgetSet(
                id="b", subject="acme", time=OCTOBER, scope="client", hard=True, valid_from=at(-48), cap_usd=cap
            )
        )
    return found


def reserved(call: str, hours: float, *, arm: str = "standard", period: str = "2025-10", **more: Any) -> e.CallReserved:
    said: dict[str, Any] = {
        "id": f"r-{call}", "subject": call, "time": at(hours), "client_id": "acme", "attempt": 1,
        "purpose": "generation", "period": period, "request_model": MEDIUM if arm == "standard" else LARGE,
        "provider_name": "p", "ticket_id": f"T-{call}", "arm": arm, "ticket_class": "simple", "hold_usd": "0.05",
        "price_id": "x", "input_bytes": 4000, "max_output_tokens": 1000, "request_stream": False, "policy": "paced@1",
    }  # fmt: skip
    return e.CallReserved(**said | more)


def settled(hold: e.CallReserved, cost: str = "0.01", **more: Any) -> e.CallSettled:
    said: dict[str, Any] = {
        "id": f"s-{hold.subject}", "subject": hold.subject, "time": hold.time + timedelta(seconds=2),
        "client_id": "acme", "attempt": hold.attempt, "purpose": hold.purpose, "period": hold.period,
        "request_model": hold.request_model, "provider_name": "p", "ticket_id": hold.ticket_id, "arm": hold.arm,
        "ticket_class": hold.ticket_class, "outcome": "ok", "reserved_at": hold.time, "price_id": "x",
        "cost_usd": cost, "usage_source": "reported", "duration_s": 2.0, "duration_source": "measured",
        "usage_input_tokens": 1000, "usage_output_tokens": 400, "request_stream": False,
    }  # fmt: skip
    return e.CallSettled(**said | more)


def edited(call: str, ratio: float | None, hours: float, **more: Any) -> e.DraftEdited:
    said: dict[str, Any] = {
        "id": f"d-{call}-{hours}", "subject": f"T-{call}", "time": at(hours), "client_id": "acme",
        "ticket_id": f"T-{call}", "call_id": call, "period": "2025-10", "disposition": "edited",
        "request_model": MEDIUM, "arm": "standard", "ticket_class": "simple", "edit_ratio": ratio, "edit_seconds": 60.0,
    }  # fmt: skip
    return e.DraftEdited(**said | more)


def month(tickets: int, *, rate_every: int = 1) -> list[e.Event]:
    """Tickets every three hours on alternating arms, each settled, and edited an hour later."""
    found = opened()
    for number in range(tickets):
        arm = "premium" if number % 2 else "standard"
        hold = reserved(f"c{number}", 3.0 * number, arm=arm, ticket_class="complex" if number % 3 else "simple")
        found += [hold, settled(hold, "0.04" if number % 2 else "0.01")]
        if number % rate_every == 0:
            ratio = 0.1 if number % 2 else 0.4
            found.append(edited(f"c{number}", ratio, 3.0 * number + 1, arm=arm, request_model=hold.request_model))
    return found


def acme(events: list[e.Event], terms: Terms = TERMS) -> Any:
    return replay(events, terms).clients["acme"]


def test_money_is_the_ledgers_holds_while_open_and_costs_when_settled():
    hold = reserved("a", 1)

    before, after = acme([*opened(), hold]), acme([*opened(), hold, settled(hold, "0.012")])

    assert before.state.available_usd == pytest.approx(299.95)
    assert (after.state.settled_usd, after.state.held_usd, after.spent) == (0.012, 0.0, {"2025-10": 0.012})


def test_a_call_beside_the_drafts_spends_and_is_every_tickets_share_but_no_arms():
    draft = reserved("a", 1)
    sorting = reserved("s", 1, purpose="classification", arm=None, policy=None, request_model="flash")

    found = acme([*opened(), sorting, settled(sorting, "0.002"), draft, settled(draft, "0.01")]).state

    assert found.settled_usd == pytest.approx(0.012)
    assert (found.costs["standard"].calls, found.costs["premium"].calls) == (1, 0)
    assert found.beside_usd_per_ticket == pytest.approx(0.002, rel=1e-2)


@pytest.mark.parametrize("end", ["voided", "orphaned", "error"])
def test_each_end_of_a_call_is_money_as_the_ledger_has_it(end: str):
    hold = reserved("a", 1)
    shared = {"subject": "a", "time": at(2), "client_id": "acme", "attempt": 1, "purpose": "generation"}
    shared |= {"period": "2025-10", "request_model": MEDIUM, "provider_name": "p", "reserved_at": at(1)}
    ends: dict[str, tuple[e.Event, float]] = {
        "voided": (e.CallVoided(id="v", error_type="x", reason="never sent", **shared), 0.0),
        "orphaned": (e.CallOrphaned(id="o", price_id="x", hold_usd="0.05", reason="died", **shared), 0.05),
        "error": (settled(hold, "0.05", outcome="error", usage_source="estimated"), 0.05),
    }

    found = acme([*opened(), hold, ends[end][0], edited("a", 0.5, 3)])

    assert (found.state.settled_usd, found.state.held_usd) == (ends[end][1], 0.0)
    assert found.ratings == {"unknown": 1}  # no draft came of it, so no rating is learned from
    assert found.state.costs["standard"].calls == 0


def test_an_orphan_that_an_invoice_settles_costs_what_the_invoice_says():
    hold = reserved("a", 1)
    orphan = e.CallOrphaned(
        id="o", subject="a", time=at(2), client_id="acme", attempt=1, purpose="generation", period="2025-10",
        request_model=MEDIUM, provider_name="p", reserved_at=at(1), price_id="x", hold_usd="0.05", reason="died",
    )  # fmt: skip

    found = acme([*opened(), hold, orphan, settled(hold, "0.02")]).state

    assert found.settled_usd == pytest.approx(0.02)
    assert found.open == {}


def test_feedback_counts_once_and_never_for_calls_that_are_not_the_clients():
    hold = reserved("a", 1)
    ratings = [edited("a", 0.5, 3), edited("a", 0.9, 4), edited("never", 0.5, 5)]

    found = acme([*opened(), hold, settled(hold), *ratings])

    assert found.ratings == {"learned": 1, "repeated": 1, "unknown": 1}
    assert found.state.quality["standard"].ratings == 1


def test_an_edit_after_the_month_closed_still_teaches_the_arm_it_belongs_to():
    hold, later = reserved("a", 1), reserved("b", 24 * 35, period="2025-11")
    closed = e.MonthClosed(
        id="m", subject="acme", time=at(24 * 32), period="2025-10", up_to_sequence=9, calls=1, cost_usd="0.01"
    )

    found = acme([*opened(), hold, settled(hold), closed, later, edited("a", 0.5, 24 * 36)])

    assert found.period == "2025-11"
    assert found.state.quality["standard"].ratings == 1
    assert found.state.settled_usd == 0.0


def test_a_month_opens_in_the_clients_zone_with_its_own_cap():
    found = opened(cap=None)
    found[2] = e.ClientAdded(
        id="c", subject="acme", client_id="acme", time=OCTOBER, display_name="A", currency="USD", zone="Asia/Tokyo",
        private=False,
    )  # fmt: skip
    found.append(
        e.BudgetSet(id="b", subject="acme", time=OCTOBER, scope="client", hard=True, valid_from=at(0), cap_usd="9")
    )

    state = acme([*found, reserved("a", 1)]).state

    assert datetime.fromtimestamp(state.volume.start_s, UTC) == datetime(2025, 9, 30, 15, tzinfo=UTC)
    assert (state.budget_usd, state.volume.utc_offset_s) == (9.0, 32_400.0)


def test_without_a_cap_nothing_is_short_and_quality_costs_nothing():
    found = acme([*opened(cap=None), reserved("a", 1)]).state

    assert (found.budget_usd, found.is_hard, found.lambda_) == (UNCAPPED_USD, False, 0.0)


def test_a_clock_that_goes_back_a_month_takes_that_month_up_where_it_was():
    first = reserved("a", 1)
    ahead = reserved("b", 24 * 40, period="2025-11")
    back = reserved("c", 30)

    found = acme([*opened(), first, settled(first, "0.02"), ahead, settled(ahead, "0.5"), back])

    assert (found.period, found.state.settled_usd) == ("2025-10", 0.02)


def test_a_call_still_under_way_when_its_month_ends_is_no_clock_going_back():
    old = reserved("a", 24 * 31 - 0.01)
    new = reserved("b", 24 * 31 + 0.01, period="2025-11")
    retry = reserved("a", 24 * 31 - 0.01, attempt=2)

    found = acme([*opened(), old, new, settled(old, "0.5"), retry])

    assert (found.period, found.state.settled_usd) == ("2025-11", 0.0)


def test_prices_that_turn_the_arms_order_round_at_noon_count_from_noon():
    turned = price(LARGE, at(12), "0.1", "0.3")

    before = acme([*opened(), turned, reserved("a", 11.9)]).state
    after = acme([*opened(), turned, reserved("a", 11.9), reserved("b", 12.0)]).state

    assert (before.prices["premium"].input_usd_per_mtok, after.prices["premium"].input_usd_per_mtok) == (2.0, 0.1)


def test_an_arm_whose_price_ended_is_offered_no_more():
    ends = e.PriceListed(
        id="p9", subject=f"{LARGE}@2025-10-01", time=OCTOBER, provider_name="p", model=LARGE, valid_from=at(0),
        valid_to=at(6), price_source="a test", **{f"rate_{name}": rate for name, rate in RATES.items()},
    )  # fmt: skip

    found = acme([*opened(), ends, reserved("a", 5), reserved("b", 7)]).state

    assert found.arms == ["standard"]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"policy": "fixed", "shares": ("standard=0.5",)}, "must sum to 1"),
        ({"policy": "fixed", "shares": ("gold=1",)}, "'gold'"),
        ({"policy": "fixed", "shares": ("standard",)}, "written like standard=0.65"),
        ({"policy": "floor"}, "needs target_quality"),
        ({"policy": "paced", "minutes_per_quality": -1.0}, "above zero"),
    ],
)
def test_a_policy_that_cannot_work_is_refused_with_the_reason(said: dict[str, Any], why: str):
    with pytest.raises(InvalidInput, match=why):
        check_policy(TERMS, e.PolicySet(id="p", subject="acme", time=OCTOBER, **said))


def test_a_policy_is_switched_by_an_event_and_keeps_what_was_learned():
    found = acme([*month(60), e.PolicySet(id="p", subject="acme", time=at(200), policy="floor", target_edit_rate=0.2)])

    assert (found.state.config.policy, found.state.config.target_quality) == ("floor", 0.8)
    assert found.state.quality["standard"].ratings == 30


def test_a_policy_whose_arm_left_the_configuration_is_kept_out_and_named():
    fewer = replace(TERMS, arms=(("standard", MEDIUM),), class_arms=(("simple", "standard"), ("complex", "standard")))
    said = e.PolicySet(id="p", subject="acme", time=at(1), policy="fixed", shares=("premium=1",))

    found = acme([*opened(), said], fewer)

    assert "premium" in (found.policy_trouble or "")
    assert found.state.config.policy == "paced"


def test_what_another_model_wrote_under_an_arms_name_is_not_learned():
    hold = reserved("a", 1, request_model="another")

    found = acme([*opened(), hold, settled(hold, "0.01"), edited("a", 0.5, 2)])

    assert found.state.settled_usd == 0.01
    assert (found.state.quality["standard"].ratings, found.ratings) == (0, {"unknown": 1})


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(0, 400), tickets=st.integers(1, 120), rate_every=st.integers(1, 4))
def test_a_snapshot_at_any_event_and_the_rest_give_the_full_replay_to_the_last_digit(
    cut: int, tickets: int, rate_every: int
):
    events = month(tickets, rate_every=rate_every)
    whole = replay(events, TERMS)
    half = replay(events[:cut], TERMS)

    body = dump(half).partition(b"\n")[2]
    resumed = standing_home._decoder.decode(body)
    for event in events[cut:]:
        apply(resumed, event)

    assert dump(resumed) == dump(whole)
    assert resumed.clients["acme"].state.lambda_ == whole.clients["acme"].state.lambda_


def test_a_ledger_folds_live_what_a_replay_of_its_log_folds(tmp_path: Path):
    home = create(tmp_path / "home", "")
    live = Standings(TERMS)
    ledger = Ledger.open(home.path, clock=lambda: at(0), folds=(Follower(live),))
    for event in month(40):
        ledger.append_now(event)
    ledger.close()
    again = Standings(TERMS)

    Ledger.open(home.path, clock=lambda: at(0), folds=(Follower(again),)).close()

    assert dump(again) == dump(live)
    assert again.position == len(month(40))


def test_a_kept_snapshot_is_taken_only_whole_and_under_its_own_terms(tmp_path: Path):
    home = create(tmp_path / "home", "")
    found = replay(month(5), TERMS)
    standing_home.store(home, found)

    assert dump(standing_home.load(home, TERMS) or Standings(TERMS)) == dump(found)
    assert standing_home.load(home, replace(TERMS, seed="other")) is None
    path = standing_home.path_of(home)
    path.write_bytes(path.read_bytes().replace(b'"acme"', b'"acne"', 1))
    assert standing_home.load(home, TERMS) is None
    path.unlink()
    assert standing_home.load(home, TERMS) is None


def warmed() -> Any:
    """Eighty tickets, all rated: premium 0.9, standard 0.6; then a look at what is to be told."""
    return acme(month(80))


def test_the_split_is_told_once_and_again_only_when_it_moved():
    standing = warmed()

    first = shift_of(standing, event_id="x", time=at(240))

    assert first is not None
    assert (first.policy, first.period, first.budget_usd) == ("paced", "2025-10", "300")
    sums: dict[str, float] = {}
    for text in first.shares:
        name, _, share = text.rpartition("=")
        sums[name.partition("/")[0]] = sums.get(name.partition("/")[0], 0.0) + float(share)
    assert sums == pytest.approx({"simple": 1.0, "complex": 1.0})
    standings = replay([*month(80), first], TERMS)
    assert shift_of(standings.clients["acme"], event_id="y", time=at(241)) is None


def test_a_cut_of_the_budget_is_told_with_the_share_before():
    standings = replay(month(80), TERMS)
    told = shift_of(standings.clients["acme"], event_id="x", time=at(240))
    assert told is not None
    cut = e.BudgetSet(
        id="cut", subject="acme", time=at(241), scope="client", hard=True, valid_from=at(-24), cap_usd="2.2"
    )
    for event in (told, cut):
        apply(standings, event)

    found = shift_of(standings.clients["acme"], event_id="y", time=at(241))

    assert found is not None
    assert found.budget_usd == "2.2"
    assert "before" in found.reason


@pytest.mark.parametrize("named", ["label", "fixed"])
def test_a_policy_without_a_price_has_no_split_that_moves(named: Any):
    assert (
        shift_of(acme(month(40), replace(TERMS, policy=named, shares=(("standard", 1.0),))), event_id="x", time=at(1))
        is None
    )


def test_a_decision_says_why_in_words_with_the_figures_it_saw():
    standings = replay(month(80), TERMS)
    ticket = TicketView(
        ticket_id="T", at=at(240), ticket_class="complex", score=None, prompt_tokens=1000,
        holds_usd={"standard": 0.05, "premium": 0.05},
    )  # fmt: skip

    reason = standings.decide("acme", ticket).reason

    assert reason.startswith("complex; premium gains ")
    assert "edit minutes for " in reason
    assert " of 300.00 USD left" in reason
    assert reason.endswith("days to go")


def suspected(call: str, hours: float, **more: Any) -> e.DraftSuspected:
    said: dict[str, Any] = {
        "id": f"l-{call}", "subject": call, "time": at(hours), "client_id": "acme", "call_id": call, "period": "2025-10",
        "request_model": MEDIUM, "signs": ("refusal",), "action": "redone", "propensity": 0.8, "reason": "a test",
        "superseded_by": f"{call}-again",
    }  # fmt: skip
    return e.DraftSuspected(**said | more)


def test_a_redo_that_lost_its_room_to_another_call_is_no_ticket_turned_away():
    first = reserved("a", 1.0)
    refusal = e.CallRefused(
        id="x", subject="a-again", time=at(1.1), client_id="acme", refusal="budget", reason="a test", purpose="generation",
        period="2025-10", request_model=LARGE, ticket_id="T-a",
    )  # fmt: skip

    found = acme([*opened(), first, settled(first), suspected("a", 1.1), refusal, edited("a", 0.4, 2.0)])

    assert found.state.volume.seen == 1
    assert found.state.quality["standard"].ratings == 1


def test_only_drafts_kept_by_the_coin_are_compared_with_those_redone():
    events = opened()
    for call, propensity in (("drawn", 0.2), ("forced", 1.0)):
        hold = reserved(call, 1.0)
        look = suspected(call, 1.1, action="kept", propensity=propensity, superseded_by=None)
        events += [hold, settled(hold), look, edited(call, 0.4, 2.0)]

    looks = acme(events).looks

    assert (looks.kept, looks.kept_rated, looks.kept_quality) == (2, 1, 0.6)


def test_explaining_a_call_decides_again_from_the_log_and_finds_the_same():
    events = month(80)
    standings = replay(events, TERMS)
    hold = reserved("z", 240.5, ticket_class="complex", arm="premium")
    ticket = ticket_of(hold, {"standard": 0.05, "premium": 0.05})
    live = standings.decide("acme", ticket)
    recorded = reserved("z", 240.5, ticket_class="complex", arm=live.arm, lambda_=live.lambda_, reason=live.reason)

    found = explain([*events, recorded, settled(recorded, "0.03")], TERMS, "z")

    assert found.again is not None
    assert (found.again.lambda_, found.again.offers[0].quality) == (live.lambda_, live.offers[0].quality)
    assert found.as_json()["cost_usd"] == "0.03"
    with pytest.raises(NotFound):
        explain(events, TERMS, "nothing")
