"""Which arm answers: by class, or by a share drawn from the id."""

from __future__ import annotations

import pytest

from router.split import Arm, TicketView, draw, fixed, label


def ticket(
    number: int = 0, *, ticket_class: str = "simple", ticket_id: str | None = None, client: str = "acme"
) -> TicketView:
    return TicketView(
        client_id=client,
        call_id=f"call-{number}",
        ticket_class="simple" if ticket_class == "simple" else "complex",
        period="2025-10",
        request_bytes=100,
        ticket_id=ticket_id,
    )


@pytest.mark.parametrize(("ticket_class", "arm"), [("simple", "standard"), ("complex", "premium")])
def test_label_sends_each_class_to_its_arm(ticket_class: str, arm: Arm) -> None:
    decision = label(ticket(ticket_class=ticket_class))

    assert (decision.arm, decision.propensity, decision.policy) == (arm, 1.0, "label")
    assert arm in decision.reason


def test_fixed_gives_the_standard_arm_its_share_and_logs_the_share_of_the_arm_it_drew() -> None:
    decisions = [fixed(0.65)(ticket(number)) for number in range(10_000)]

    standard = [decision for decision in decisions if decision.arm == "standard"]
    assert 6_350 < len(standard) < 6_650  # three deviations are 143
    assert {d.propensity for d in standard} == {0.65}
    assert {d.propensity for d in decisions if d.arm == "premium"} == {0.35}


def test_a_ticket_asked_again_stays_with_its_arm_whatever_the_call() -> None:
    arms = {fixed(0.5)(ticket(number, ticket_id="T-1")).arm for number in range(50)}

    assert len(arms) == 1


def test_two_clients_and_two_seeds_draw_on_their_own() -> None:
    def drawn(client: str, seed: str) -> list[str]:
        return [fixed(0.5, seed)(ticket(number, client=client)).arm for number in range(64)]

    assert len({tuple(drawn(*who)) for who in (("acme", ""), ("bolt", ""), ("acme", "seed"))}) == 3


@pytest.mark.parametrize(("share", "arm"), [(0.0, "premium"), (1.0, "standard")])
def test_a_share_of_nothing_and_of_everything_are_exact(share: float, arm: Arm) -> None:
    assert {fixed(share)(ticket(number)).arm for number in range(500)} == {arm}


def test_texts_that_run_into_each_other_are_drawn_apart() -> None:
    assert draw("a", "bc", "d") != draw("ab", "c", "d")
