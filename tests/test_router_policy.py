"""The four policies, decided on states whose figures are set by hand or folded from a few facts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router import aggregates, policy
from router.aggregates import PolicyConfig, PolicyMisconfigured, State, TicketView
from router.costs import ArmPrice

JUNE = datetime(2026, 6, 1, tzinfo=UTC)
JULY = JUNE + timedelta(days=30)
CLASS_ARMS = (("simple", "medium"), ("complex", "large"))
PRICES = {"medium": ArmPrice(0.4, 2.0), "large": ArmPrice(2.0, 6.0), "small": ArmPrice(0.1, 0.3)}
# 1000 prompt and 400 output tokens: medium 0.0012, large 0.0044, small 0.00022 USD


def config(**changes: Any) -> PolicyConfig:
    return PolicyConfig(**{"arms": ("medium", "large"), "class_arms": CLASS_ARMS, "explore": 0.0} | changes)


def ticket(name: str = "t1", score: float | None = 0.5, holds: dict[str, float] | None = None) -> TicketView:
    return TicketView(
        ticket_id=name,
        at=JUNE + timedelta(hours=1),
        ticket_class="complex" if score is None or score > 0.65 else "simple",
        score=score,
        prompt_tokens=1000,
        holds_usd=holds or {"medium": 0.01, "large": 0.03, "small": 0.002},
    )


def warm(budget_usd: float = 300.0, lambda_: float = 100.0, **changes: Any) -> State:
    """Qualities medium 0.5, large 0.8, small 0.4 whatever the ticket; the reserve is 1 USD."""
    state = aggregates.new_state(config(**changes), PRICES)
    aggregates.period_opened(state, JUNE, JULY, budget_usd, planned_tickets=1000.0)
    for arm, level in (("medium", 0.5), ("large", 0.8), ("small", 0.4)):
        if arm in state.quality:
            state.quality[arm].beta = [level, 0.0, 0.0]
    state.is_cold, state.lambda_, state.reserve_usd = False, lambda_, 1.0
    return state


def test_label_sends_each_class_to_its_arm():
    state = warm(policy="label")

    assert policy.decide(state, ticket(score=0.9)).arm == "large"
    assert policy.decide(state, ticket(score=0.1)).arm == "medium"
    assert policy.decide(state, ticket(score=None)).propensity == 1.0


@pytest.mark.parametrize(
    ("lambda_", "arm", "rule"),
    [
        (90.0, "large", "gain"),  # 0.3 quality for 0.0032 USD is 93.75 a dollar
        (95.0, "medium", "saved"),
    ],
)
def test_paced_takes_a_step_when_its_gain_beats_lambda_times_its_cost(lambda_: float, arm: str, rule: str):
    decision = policy.paced(warm(lambda_=lambda_), ticket())

    assert (decision.arm, decision.rule) == (arm, rule)


def test_paced_never_touches_the_reserve_of_the_cheapest_arm():
    state = warm(budget_usd=1.002, lambda_=1.0)  # 0.002 above the reserve, the step costs 0.0032

    decision = policy.paced(state, ticket())

    assert (decision.arm, decision.rule) == ("medium", "reserve")


def test_a_price_that_turns_the_order_round_at_noon_makes_the_better_arm_win():
    state = warm(lambda_=1000.0)
    assert policy.paced(state, ticket()).arm == "medium"

    aggregates.repriced(state, "large", ArmPrice(0.2, 1.0), JUNE + timedelta(hours=12))  # half of medium's
    state.quality["large"].beta = [0.8, 0.0, 0.0]
    state.is_cold, state.lambda_ = False, 1000.0

    decision = policy.paced(state, ticket())
    assert decision.arm == "large"
    assert decision.extra_usd == 0.0


def test_a_cheaper_arm_that_is_worse_is_left_when_quality_pays():
    state = warm(lambda_=10.0)
    aggregates.repriced(state, "medium", ArmPrice(4.0, 12.0), JUNE)  # the standard arm is now the dearest, and worse
    state.quality["medium"].beta, state.quality["large"].beta = [0.5, 0.0, 0.0], [0.8, 0.0, 0.0]
    state.is_cold, state.lambda_ = False, 10.0

    assert policy.paced(state, ticket()).arm == "large"


def test_three_arms_each_have_their_price_range():
    arms = ("large", "small", "medium")  # the order says nothing
    steps = [(50.0, "large"), (95.0, "medium"), (120.0, "small")]  # small to medium: 0.1 for 0.00098, 102 a dollar

    for lambda_, arm in steps:
        assert policy.paced(warm(lambda_=lambda_, arms=arms), ticket()).arm == arm


def test_while_ratings_are_few_the_class_decides():
    state = aggregates.new_state(config(), PRICES)
    aggregates.period_opened(state, JUNE, JULY, 300.0, planned_tickets=1000.0)

    assert [policy.paced(state, ticket(score=s)).arm for s in (0.9, 0.1)] == ["large", "medium"]
    assert policy.paced(state, ticket(score=0.9)).rule == "cold"


def test_an_arm_whose_hold_does_not_fit_gives_way_to_one_that_does():
    """0.02 USD left: medium's 0.01 fits, large's 0.03 does not."""
    for name in ("label", "fixed", "paced", "floor"):
        state = warm(budget_usd=0.02, policy=name, shares=(("large", 1.0),), target_quality=0.9)
        state.reserve_usd = 0.0
        decision = policy.decide(state, ticket(score=0.9))

        assert (decision.arm, decision.propensity, decision.fits) == ("medium", 1.0, True), name


def test_when_no_hold_fits_the_decision_says_so():
    decision = policy.paced(warm(budget_usd=0.005), ticket())

    assert (decision.fits, decision.rule, decision.arm) == (False, "exhausted", "medium")


def test_fixed_shares_are_met_by_a_hash_of_the_ticket():
    state = warm(policy="fixed", shares=(("medium", 0.65), ("large", 0.35)))
    decisions = [policy.fixed(state, ticket(f"t{k}")) for k in range(4000)]

    assert Counter(d.arm for d in decisions)["large"] == pytest.approx(1400, abs=100)  # three deviations
    assert {(d.arm, d.propensity) for d in decisions} == {("medium", 0.65), ("large", 0.35)}
    assert decisions[:50] == [policy.fixed(state, ticket(f"t{k}")) for k in range(50)]


def test_exploration_draws_the_other_arm_at_its_propensity():
    """At lambda 1000 large's 0.3 is far below its price of 3.2: a fifth of the share remains."""
    state = warm(lambda_=1000.0, explore=0.25)
    decisions = [policy.paced(state, ticket(f"t{k}")) for k in range(4000)]
    explored = [d for d in decisions if d.rule == "explore"]

    assert len(explored) == pytest.approx(200, abs=42)  # three deviations
    assert {(d.arm, d.propensity) for d in explored} == {("large", 0.05)}
    assert {d.propensity for d in decisions if d.arm == "medium"} == {0.95}


@pytest.mark.parametrize(
    ("lambda_", "propensity"),
    [
        (93.75, 0.005),  # the step's gain is its price: the full share
        (112.5, 0.005 * (1 - 2.4 * 0.06 / 0.66)),  # gain 0.3, price 0.36
        (46.875, 0.001),  # a gain of twice its price: a fifth
    ],
)
def test_exploration_is_full_at_the_margin_and_falls_with_what_it_costs(lambda_: float, propensity: float):
    state = warm(lambda_=lambda_, explore=0.005)
    decisions = [policy.paced(state, ticket(f"t{k}")) for k in range(6000)]
    shares = {rule: {d.propensity for d in decisions if (d.rule == "explore") == rule} for rule in (True, False)}

    assert list(shares[True]) == [pytest.approx(propensity)]
    assert list(shares[False]) == [pytest.approx(1 - propensity)]


def test_another_seed_flips_other_coins():
    assert policy.coin("a", "t1") == policy.coin("a", "t1")
    assert policy.coin("a", "t1") != policy.coin("b", "t1")
    assert 0.0 <= policy.coin("a", "t1") < 1.0


def test_floor_takes_the_cheapest_that_keeps_the_target():
    state = warm(policy="floor", target_quality=0.6)
    state.target_lambda = 93.0  # below the step's 93.75

    assert policy.floor(state, ticket()).arm == "large"
    state.target_lambda = 94.0
    assert policy.floor(state, ticket()).arm == "medium"


def test_a_target_that_cannot_be_met_gets_the_best_arm_and_says_so():
    state = warm(policy="floor", target_quality=0.99)
    state.target_lambda = None

    decision = policy.floor(state, ticket())

    assert (decision.arm, decision.rule) == ("large", "target_missed")
    assert "no arm reaches the target quality" in decision.reason


def test_a_decision_explains_itself_in_edit_minutes():
    """Large gains 0.3 quality for 0.0032 USD; at ten minutes a unit that is 3 minutes, and lambda 50 is 500."""
    state = warm(lambda_=50.0, minutes_per_quality=10.0)
    state.settled_usd = 88.0

    decision = policy.paced(state, ticket(score=0.9))

    assert decision.reason == (
        "complex; large gains 3 edit minutes for 0.0032 USD over medium; the step pays at this lambda; "
        "lambda 500 edit minutes/USD; 212.00 of 300.00 USD left, 1001 tickets expected, 30.0 days to go"
    )
    assert decision.gain == pytest.approx(0.3)
    assert decision.extra_usd == pytest.approx(0.0032)


def test_deciding_changes_nothing():
    state = warm()
    before = msgspec.json.encode(state)

    policy.decide(state, ticket())

    assert msgspec.json.encode(state) == before


def test_a_ticket_without_a_hold_for_an_arm_is_refused():
    with pytest.raises(PolicyMisconfigured, match="t1 has no hold for arm 'large'"):
        policy.paced(warm(), ticket(holds={"medium": 0.01}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ()}, "named and distinct"),
        ({"arms": ("medium", "medium")}, "named and distinct"),
        ({"arms": ("medium",)}, r"arms \['large'\] are used but not among"),
        ({"class_arms": (("simple", "medium"),)}, "an arm for simple and for complex"),
        ({"policy": "fixed", "shares": (("large", 0.3),)}, "must sum to 1"),
        ({"shares": (("large", 1.5), ("medium", -0.5))}, "may not be negative"),
        ({"policy": "floor"}, "needs target_quality"),
        ({"explore": 1.0}, "explore must be in"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(PolicyMisconfigured, match=message):
        config(**changes)


FITS = st.floats(0.0, 0.05)


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(["label", "fixed", "paced", "floor"]),
    holds=st.fixed_dictionaries({"medium": FITS, "large": FITS, "small": FITS}),
    available=st.floats(0.0, 0.05),
    score=st.none() | st.floats(0.0, 1.0),
    lambda_=st.floats(0.0, 1000.0),
    share=st.floats(0.0, 1.0),
    explore=st.floats(0.0, 0.5),
)
def test_no_policy_takes_an_arm_that_does_not_fit_while_another_does(
    name: Any,
    holds: dict[str, float],
    available: float,
    score: float | None,
    lambda_: float,
    share: float,
    explore: float,
):
    state = warm(
        budget_usd=available,
        lambda_=lambda_,
        policy=name,
        arms=("medium", "large", "small"),
        shares=(("large", share), ("medium", 1.0 - share)),
        target_quality=0.6,
        explore=explore,
    )
    state.reserve_usd = 0.0

    decision = policy.decide(state, ticket(score=score, holds=holds))

    assert 0.0 < decision.propensity <= 1.0
    assert decision.fits == any(hold <= available for hold in holds.values())
    if decision.fits:
        assert holds[decision.arm] <= available


@settings(max_examples=100, deadline=None)
@given(less=st.floats(0.0, 500.0), more=st.floats(0.0, 500.0))
def test_more_budget_never_buys_a_worse_arm(less: float, more: float):
    """Lambda made by the refresh itself, on a window of tickets of many lengths."""
    less, more = min(less, more), max(less, more)
    state = warm(budget_usd=less)
    state.window = [((1.0, 0.0, 0.0), 200 + 20 * k, "simple") for k in range(200)]
    for arm, level in (("medium", 0.5), ("large", 0.8)):
        state.quality[arm].moments[0], state.quality[arm].products[0] = 1e6, level * 1e6
        state.quality[arm].weight = 1e6
    lambdas, gains = [], []
    for budget in (less, more):
        aggregates.budget_changed(state, budget, JUNE)
        lambdas.append(state.lambda_)
        gains.append(policy.paced(state, replace(ticket(), holds_usd={"medium": 0.0, "large": 0.0})).gain)

    assert lambdas[0] >= lambdas[1]
    assert gains[0] <= gains[1] + 1e-12
