"""The folds: money in flight, ratings that come late or wrong, periods that close, and replay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router import aggregates, policy
from router.aggregates import PolicyConfig, PolicyMisconfigured, State, TicketView
from router.costs import ArmPrice

JUNE = datetime(2026, 6, 1, tzinfo=UTC)
JULY = JUNE + timedelta(days=30)
PRICES = {"medium": ArmPrice(0.4, 2.0), "large": ArmPrice(2.0, 6.0)}
CONFIG = PolicyConfig(arms=("medium", "large"), class_arms=(("simple", "medium"), ("complex", "large")), seed="s")


def opened(budget_usd: float = 10.0) -> State:
    state = aggregates.new_state(CONFIG, PRICES)
    aggregates.period_opened(state, JUNE, JULY, budget_usd, planned_tickets=720.0)
    return state


def ticket(name: str, hours: float = 1.0, score: float = 0.5) -> TicketView:
    return TicketView(
        ticket_id=name,
        at=JUNE + timedelta(hours=hours),
        ticket_class="complex" if score > 0.65 else "simple",
        score=score,
        prompt_tokens=1000,
        holds_usd={"medium": 0.01, "large": 0.03},
    )


def test_a_call_in_flight_holds_its_worst_case_and_commits_what_it_is_expected_to_cost():
    state = opened()

    aggregates.reserved(state, ticket("t1"), "medium")  # 1000 x 0.4 + 400 x 2 per million: 0.0012

    assert state.available_usd == pytest.approx(9.99)
    assert state.left_usd == pytest.approx(10.0 - 0.0012)


def test_a_settled_call_costs_what_it_cost():
    state = opened()
    aggregates.reserved(state, ticket("t1"), "medium")

    aggregates.settled(state, "t1", 0.002, 800, JUNE + timedelta(hours=1))

    assert (state.held_usd, state.open_expected_usd, state.settled_usd) == (0.0, 0.0, 0.002)
    assert state.costs["medium"].calls == 1


def test_settling_twice_or_an_unknown_call_changes_nothing():
    state = opened()
    aggregates.reserved(state, ticket("t1"), "medium")
    aggregates.settled(state, "t1", 0.002, 800, JUNE)
    before = msgspec.json.encode(state)

    aggregates.settled(state, "t1", 0.002, 800, JUNE)
    aggregates.settled(state, "never", 0.5, 800, JUNE)

    assert msgspec.json.encode(state) == before


def test_a_voided_call_frees_its_hold_and_expects_no_rating():
    state = opened()
    aggregates.reserved(state, ticket("t1"), "large")

    aggregates.voided(state, "t1")

    assert state.available_usd == 10.0
    assert aggregates.feedback(state, "t1", 0.5, JUNE) == "unknown"


def test_a_call_settled_after_its_month_closed_is_no_money_of_the_next():
    state = opened()
    aggregates.reserved(state, ticket("t1"), "medium")
    aggregates.period_opened(state, JULY, JULY + timedelta(days=31), 20.0)

    aggregates.settled(state, "t1", 0.002, 800, JULY)

    assert state.available_usd == state.left_usd == 20.0
    assert state.costs["medium"].calls == 1


@pytest.mark.parametrize(
    ("name", "quality", "verdict"),
    [
        ("t1", 0.7, "learned"),
        ("t1", 1.1, "learned"),  # noise may leave 0..1
        ("t1", 2.5, "out_of_range"),
        ("t1", -1.5, "out_of_range"),
        ("t1", float("nan"), "out_of_range"),
        ("other", 0.7, "unknown"),
    ],
)
def test_a_rating_is_learned_or_its_fault_named(name: str, quality: float, verdict: str):
    state = opened()
    aggregates.reserved(state, ticket("t1"), "large")

    assert aggregates.feedback(state, name, quality, JUNE) == verdict
    assert state.quality["large"].ratings == (1 if verdict == "learned" else 0)


def test_a_reply_is_rated_once():
    state = opened()
    aggregates.reserved(state, ticket("t1"), "large")
    aggregates.feedback(state, "t1", 0.7, JUNE)

    assert aggregates.feedback(state, "t1", 0.1, JUNE) == "repeated"
    assert state.quality["large"].ratings == 1
    assert state.quality["medium"].ratings == 0


def test_an_edit_after_the_month_closed_still_teaches():
    state = opened()
    aggregates.reserved(state, ticket("t1"), "large")
    aggregates.period_opened(state, JULY, JULY + timedelta(days=31), 20.0)

    assert aggregates.feedback(state, "t1", 0.7, JULY + timedelta(days=3)) == "learned"


def test_an_arm_without_a_price_is_refused():
    with pytest.raises(PolicyMisconfigured, match="arm 'large' has no price"):
        aggregates.new_state(CONFIG, {"medium": PRICES["medium"]})
    with pytest.raises(PolicyMisconfigured, match="a price came for arm 'huge'"):
        aggregates.repriced(opened(), "huge", ArmPrice(1.0, 1.0), JUNE)


def test_a_budget_cut_raises_lambda_and_a_price_cut_takes_the_step_at_less():
    state = opened(budget_usd=2.0)
    for k in range(60):
        arm = ("medium", "large")[k % 2]
        aggregates.arrived(state, ticket(f"t{k}", k / 60, score=(k % 10) / 10))
        aggregates.reserved(state, ticket(f"t{k}", k / 60, score=(k % 10) / 10), arm)
        aggregates.settled(state, f"t{k}", 0.0012 if arm == "medium" else 0.0044, 400, JUNE + timedelta(hours=k / 60))
        aggregates.feedback(state, f"t{k}", 0.8 if arm == "large" else 0.6 - (k % 10) / 30, JUNE)
    aggregates.refresh(state, JUNE + timedelta(hours=2))
    before = state.lambda_

    aggregates.budget_changed(state, 1.2, JUNE + timedelta(hours=2))
    cut = state.lambda_

    assert 0.0 < before < cut


def test_refreshing_follows_the_facts_not_a_timer():
    state = opened()
    for k in range(3):
        aggregates.reserved(state, ticket(f"t{k}", 0.6 * k), "medium")

    aggregates.settled(state, "t0", 0.002, 800, JUNE + timedelta(minutes=30))
    assert state.refreshed_s == JUNE.timestamp()
    aggregates.settled(state, "t1", 0.002, 800, JUNE + timedelta(minutes=61))
    assert state.refreshed_s == (JUNE + timedelta(minutes=61)).timestamp()


def test_a_clock_going_backward_pays_and_paces_at_the_latest_moment():
    state = opened()
    aggregates.arrived(state, ticket("t1", hours=5))
    aggregates.reserved(state, ticket("t1", hours=5), "medium")
    tickets = state.outlook.tickets

    aggregates.settled(state, "t1", 0.002, 800, JUNE - timedelta(hours=3))

    assert state.settled_usd == 0.002
    assert state.outlook.tickets < tickets  # five hours of the month are gone, whatever the later clock says


def test_the_memory_for_ratings_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(aggregates, "REMEMBERED_TICKETS", 2)
    state = opened()
    for name in ("t1", "t2", "t3"):
        aggregates.reserved(state, ticket(name), "medium")

    assert aggregates.feedback(state, "t1", 0.7, JUNE) == "unknown"
    assert aggregates.feedback(state, "t3", 0.7, JUNE) == "learned"


def test_the_oldest_ratings_are_let_go_some_at_a_time(monkeypatch: pytest.MonkeyPatch):
    """Looking for the oldest of a full memory passed over all that were let go before: 13 microseconds a ticket."""
    monkeypatch.setattr(aggregates, "REMEMBERED_TICKETS", 200)
    state = opened()
    for number in range(202):
        aggregates.reserved(state, ticket(f"t{number}"), "medium")
    assert next(iter(state.replied)) == "t0"  # a hundredth more than the memory may stay

    aggregates.reserved(state, ticket("t202"), "medium")

    assert list(state.replied) == [f"t{number}" for number in range(3, 203)]


FACT = st.tuples(
    st.floats(0.0, 31.0),
    st.floats(0.0, 1.0),
    st.integers(1, 5000),
    st.floats(0.0, 0.02),
    st.floats(-0.5, 1.5),
    st.booleans(),
)


def folded(facts: list[tuple[float, float, int, float, float, bool]]) -> State:
    state = opened(budget_usd=1.0)
    for k, (day, score, tokens, cost, quality, rated) in enumerate(facts):
        one = ticket(f"t{k}", 24 * day, score)
        decision = policy.decide(state, one)
        aggregates.arrived(state, one)
        if decision.fits:
            aggregates.reserved(state, one, decision.arm)
        aggregates.settled(state, f"t{k - 2}", cost, tokens, one.at)
        if rated:
            aggregates.feedback(state, f"t{k - 3}", quality, one.at)
        if k % 17 == 11:
            aggregates.repriced(state, "large", ArmPrice(1.0 + score, 3.0), one.at)
    return state


@settings(max_examples=40, deadline=None)
@given(st.lists(FACT, max_size=60))
def test_a_replay_gives_the_same_state_to_the_last_digit(facts: list[tuple[float, float, int, float, float, bool]]):
    live, replayed = folded(facts), folded(facts)

    assert msgspec.json.encode(live) == msgspec.json.encode(replayed)
    assert live.held_usd >= -1e-12
    assert live.available_usd <= live.left_usd + live.held_usd


def test_a_state_survives_being_written_down():
    """A snapshot read back decides and folds on like the state it was taken of."""
    state = folded([(0.1 * k, (k % 7) / 7, 300 + k, 0.001, 0.5, True) for k in range(80)])

    back = msgspec.json.decode(msgspec.json.encode(state), type=State)

    assert back == state
    assert policy.decide(back, ticket("next", 200)) == policy.decide(state, ticket("next", 200))
