"""When the split has moved enough to be told: a `split.shifted` event with the figures that moved it.

Looked at after each refresh, so at most once an hour and a price, budget or alarm; told when a class's share of an
arm among the latest tickets differs by MATERIAL from what was told last, or another policy is in force.
"""

from __future__ import annotations

from datetime import datetime

from ledger import events as e
from router import policy
from router.aggregates import State, sampled
from router.standing import Shares, Standing

# Below this a share of 800 sampled tickets, some 300 of a class, moves by chance.
MATERIAL = 0.05


def shares_now(state: State) -> Shares:
    """What share of each class's latest tickets each arm would answer at the present lambda, exploring left out."""
    arms = state.arms
    price = state.target_lambda if state.config.policy == "floor" else state.lambda_
    by_class = dict(state.config.class_arms)
    counts: dict[str, dict[str, int]] = {}
    offers = zip(*(sampled(state, arm) for arm in arms), strict=True)
    for (_, _, ticket_class), offered in zip(state.window, offers, strict=True):
        if state.is_cold:
            arm = by_class[ticket_class]
        elif price is None:
            arm = max(zip(arms, offered, strict=True), key=lambda found: found[1][0])[0]
        else:
            worth = [(quality - price * usd, -usd) for quality, usd in offered]
            arm = arms[worth.index(max(worth))]
        of_class = counts.setdefault(ticket_class, dict.fromkeys(state.config.arms, 0))
        of_class[arm] += 1
    return {
        name: {arm: round(count / sum(found.values()), 6) for arm, count in found.items()}
        for name, found in sorted(counts.items())
    }


def is_material(before: Shares, now: Shares) -> bool:
    """Whether any share moved by MATERIAL or more, or a class is new."""
    return any(
        name not in before or abs(share - before[name].get(arm, 0.0)) >= MATERIAL
        for name, found in now.items()
        for arm, share in found.items()
    )


def shift_of(standing: Standing, *, event_id: str, time: datetime) -> e.SplitShifted | None:
    """The event that tells of a client's split as it is now, or None when it is as it was told."""
    state = standing.state
    chosen = state.config.policy
    if chosen not in ("paced", "floor") or not state.window or not state.period or not state.arms:
        return None
    now = shares_now(state)
    if chosen == standing.announced_policy and not is_material(standing.announced, now):
        return None
    about = policy.about
    is_capped = not standing.is_uncapped
    return e.SplitShifted(
        id=event_id,
        subject=standing.client_id,
        time=time,
        client_id=standing.client_id,
        period=standing.period,
        policy=chosen,
        policy_version=policy.VERSION,
        shares=tuple(f"{name}/{arm}={share:g}" for name, found in now.items() for arm, share in found.items()),
        tickets_expected=round(state.outlook.tickets, 1),
        reason=_reason(standing, now),
        lambda_=state.lambda_,
        budget_usd=about(state.budget_usd) if is_capped else None,
        budget_left_usd=about(state.left_usd) if is_capped else None,
        reserve_usd=about(state.reserve_usd) if is_capped else None,
    )


def _reason(standing: Standing, now: Shares) -> str:
    state, moved = standing.state, []
    for name, found in now.items():
        for arm, share in found.items():
            before = standing.announced.get(name, {}).get(arm)
            if share and (before is None or abs(share - before) >= MATERIAL):
                told = "" if before is None else f", {before:.0%} before"
                moved.append(f"{arm} answers {share:.0%} of {name} tickets{told}")
    if state.is_cold:
        moved.append("too few ratings yet, the class decides")
    if not standing.is_uncapped:
        moved.append(f"{state.left_usd:.2f} of {state.budget_usd:.2f} USD left")
    moved.append(f"{state.outlook.tickets:.0f} tickets expected")
    return "; ".join(moved)[:2000]
