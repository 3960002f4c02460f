"""What another policy would have done: hand-computed estimates, coverage, and when the log cannot tell."""

from __future__ import annotations

import pytest

from bench.whatif import coverage
from router.whatif import CannotTell, Estimate, Routed, by_class, effective, evaluate, fixed, target_of

HALF = {"standard": 0.5, "premium": 0.5}


def routed(arm: str, cost: float, *, p: float = 0.5, kind: str = "simple", quality: float | None = None) -> Routed:
    return Routed(arm=arm, propensity=p, ticket_class=kind, cost_usd=cost, quality=quality)


def test_asking_for_the_policy_that_ran_gives_its_own_means():
    log = [routed("standard", 1.0, quality=0.4), routed("premium", 3.0, quality=0.8)] * 200

    answer = evaluate(log, fixed(HALF))

    assert (answer.cost_snips.mean, answer.cost_robust.mean, answer.logged_cost_usd) == pytest.approx((2.0, 2.0, 2.0))
    assert answer.quality_snips is not None
    assert answer.quality_snips.mean == pytest.approx(0.6)
    assert answer.effective == pytest.approx(400.0)


def test_another_share_weighs_each_ticket_by_what_it_would_have_done():
    """A quarter premium: weights 1.5 and 0.5, so (1.5 x 1 + 0.5 x 3) / 2 = 1.5; effective 2^2 / (1.5^2 + 0.5^2) = 1.6 a pair."""
    log = [routed("standard", 1.0), routed("premium", 3.0)] * 200

    answer = evaluate(log, fixed({"standard": 0.75, "premium": 0.25}))

    assert answer.cost_snips.mean == pytest.approx(1.5)
    assert answer.cost_robust.mean == pytest.approx(1.5)
    assert answer.effective == pytest.approx(1.6 * 200)
    assert answer.quality_snips is None
    assert answer.quality_robust is None
    # squares: 200 x ((1.5 x 0.5)^2 + (0.5 x 1.5)^2) = 225, error 15 / 400
    assert answer.cost_snips.high - 1.5 == pytest.approx(1.959964 * 15 / 400)


def test_ratings_missing_more_often_on_one_arm_do_not_tilt_the_answer():
    """Every premium reply is rated 0.8, one standard reply in four 0.4: half and half is 0.6 all the same."""
    log = [routed("premium", 1.0, quality=0.8), routed("standard", 1.0, quality=0.4)] * 100
    log += [routed("premium", 1.0, quality=0.8), routed("standard", 1.0)] * 300

    answer = evaluate(log, fixed(HALF))

    assert answer.quality_snips is not None
    assert answer.quality_robust is not None
    assert answer.quality_snips.mean == pytest.approx(0.6)
    assert answer.quality_robust.mean == pytest.approx(0.6)


def test_the_interval_of_95_percent_holds_the_truth_in_92_to_98_percent_of_months():
    """100 months of seed 3 here, 1000 by python -m bench.whatif; three deviations of 100 months are 6.5 points."""
    found = coverage(100, 1500, 3)

    assert len(found) == 36
    assert all(cell.is_within for cell in found.values()), found
    assert all(cell.answered > 50 for (ran, _, _), cell in found.items() if ran != "nearly certain")
    assert (
        found["nearly certain", "fixed:0.5", "cost, doubly robust"].answered == 0
    )  # too little overlap, and it says so


def test_ratings_tell_no_more_than_they_can_of_a_split_that_all_tickets_know():
    """Rated 0.8 on one arm and 0.4 on the other without any scatter: only the arms' shares are unsure, by all 400 tickets.

    Half and half is 0.6 whatever was rated; each ticket is 0.2 off: error 0.2 / 20. Taken over the 200 rated it was 0.2 / sqrt(200).
    """
    log = [routed("premium", 1.0, quality=0.8), routed("standard", 1.0, quality=0.4)] * 100
    log += [routed("premium", 1.0), routed("standard", 1.0)] * 100

    answer = evaluate(log, fixed(HALF))

    assert answer.quality_snips is not None
    assert answer.quality_snips.high - 0.6 == pytest.approx(1.959964 * 0.01)


@pytest.mark.parametrize(
    ("log", "asked", "sentence"),
    [
        ([], fixed(HALF), "no routed ticket"),
        ([routed("standard", 1.0, p=0.0)], fixed(HALF), "probability 0.0"),
        ([routed("standard", 1.0, p=1.5)], fixed(HALF), "probability 1.5"),
        ([routed("standard", 1.0, p=float("nan"))], fixed(HALF), "probability nan"),
        ([routed("standard", 1.0, p=1.0)] * 500, fixed(HALF), "was certain of an arm"),
        ([routed("standard", 1.0)] * 40 + [routed("premium", 1.0)] * 40, fixed(HALF), "hold only as much as 80"),
        ([routed("standard", 1.0)] * 500, fixed({"premium": 1.0}), "hold only as much as 0"),
        (
            [routed("standard", 1.0, p=0.99)] * 4000 + [routed("premium", 1.0, p=0.0005)] * 1,
            fixed({"standard": 0.5, "premium": 0.5}),
            "hold only as much as",
        ),
        ([routed("standard", 1.0, p=0.1)] * 500, fixed({"standard": 1.0}), "average to 10.000"),
        (  # a fifth of the answer out of nine ratings, whatever the other 2,000 tell
            [routed("standard", 1.0, p=0.96, quality=0.5)] * 1920
            + [routed("premium", 1.0, p=0.04)] * 71
            + [routed("premium", 1.0, p=0.04, quality=0.5)] * 9,
            fixed({"standard": 0.8, "premium": 0.2}),
            "20% of the tickets as simple to premium, and the log has 9 such rated tickets; 30 are needed",
        ),
    ],
)
def test_a_log_that_cannot_answer_says_so(log: list[Routed], asked, sentence: str):
    with pytest.raises(CannotTell, match=sentence):
        evaluate(log, asked)


def test_effective_tickets_are_kishs():
    assert effective([1.0, 1.0, 2.0]) == pytest.approx(16 / 6)
    assert effective([]) == 0.0


def test_policies_are_read_as_typed():
    simple, complex_ = routed("standard", 1.0), routed("standard", 1.0, kind="complex")

    assert target_of("fixed:0.25", "standard", "premium")(simple) == {"standard": 0.75, "premium": 0.25}
    assert target_of("fixed:a=0.5,b=0.5", "a", "b")(simple) == {"a": 0.5, "b": 0.5}
    assert target_of("label", "standard", "premium")(complex_) == {"premium": 1.0}
    assert by_class({"simple": "a", "complex": "b"})(routed("a", 1.0, kind="unclear")) == {"b": 1.0}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("paced", "no log replays"),
        ("fixed", "not known"),
        ("label:1", "not known"),
        ("best", "not known"),
        ("fixed:half", "cannot be read"),
        ("fixed:1.5", "sum to 1"),
        ("fixed:nan", "sum to 1"),
        ("fixed:a=0.5,b=0.6", "sum to 1"),
    ],
)
def test_a_policy_that_cannot_be_asked_for_is_refused(text: str, sentence: str):
    with pytest.raises(CannotTell, match=sentence):
        target_of(text, "standard", "premium")


def test_a_total_is_the_mean_of_so_many_tickets():
    assert Estimate(0.5, 0.25, 0.75).times(10) == Estimate(5.0, 2.5, 7.5)
