"""Where a client stands as JSON: what the policy pays, what it knows, and the counts and intervals behind it.

Additions to /v1/budget, /v1/split and /v1/quality. Expectations are numbers; money that was spent is text and
stands in the ledger's own part of the answers.
"""

from __future__ import annotations

from itertools import pairwise

from router import forecast, policy
from router.drift import ShareWatch
from router.shifts import shares_now
from router.standing import Standing, gain_of, usd_of

EPOCH_HOUR_OF_WEEK = 3 * 24  # 1970-01-01 was a Thursday
Z80 = 1.281552  # normal deviations that 80 % stay within, both sides


def pace_of(standing: Standing) -> dict[str, object]:
    """What the policies see of the budget. Units: USD as numbers, tickets; null without a budget or a period."""
    state, outlook = standing.state, standing.state.outlook
    is_capped = not standing.is_uncapped
    low, high = outlook.quantile(-Z80), outlook.quantile(Z80)
    base_usd = state.curve.base_usd + state.beside_usd_per_ticket
    return {
        "client_id": standing.client_id,
        "period": standing.period or None,
        "budget_usd": _money(state.budget_usd) if is_capped else None,
        "spent_usd": _money(state.settled_usd),
        "held_usd": _money(state.held_usd),
        "open_expected_usd": _money(state.open_expected_usd),
        "left_usd": _money(state.left_usd) if is_capped else None,
        "reserve_usd": _money(state.reserve_usd) if is_capped else None,
        "cheapest_usd_per_ticket": _money(base_usd),
        "tickets_seen": state.volume.seen,
        "tickets_expected": {
            "mean": round(outlook.tickets, 1),
            "low": round(low, 1),
            "high": round(high, 1),
            "confidence": 0.8,
        },
        "deferred": standing.deferred.get(standing.period, 0),
        "cache": _cache_of(standing),
        "arrivals": _arrivals_of(standing),
    }


def _cache_of(standing: Standing) -> dict[str, object]:
    """This month's drafts answered from the cache, and asked of a model; the rate of the first in both."""
    hits, drafted = standing.hits.get(standing.period, 0), standing.drafted.get(standing.period, 0)
    return {"hits": hits, "drafted": drafted, "rate": round(hits / (hits + drafted), 6) if hits + drafted else None}


def _arrivals_of(standing: Standing) -> dict[str, object]:
    """The hour-of-week profile and what corrects its level.

    Shapes: `profile` has a share for each hour of the client's week from Monday midnight on, summing to one, or is null before
    a period. Units: `expected` tickets of the whole period, as it began; `due` of them until the last event; `level` how many
    times as many came; `even_pace_usd` the part of the budget that an even pace over those arrivals would have spent.
    """
    volume, state = standing.state.volume, standing.state
    if not state.period:
        return {
            "history_hours": 0,
            "profile": None,
            "expected": None,
            "due": None,
            "level": None,
            "even_pace_usd": None,
        }
    local = int((volume.start_s + volume.utc_offset_s) // forecast.HOUR_S) + EPOCH_HOUR_OF_WEEK
    shares = [0.0] * forecast.WEEK_H
    for hour, (before, after) in enumerate(pairwise(volume.cumulative)):
        shares[(local + hour) % forecast.WEEK_H] += after - before
    due, total = forecast.due(volume, volume.last_s), sum(shares)
    part = due / volume.expected if volume.expected else 0.0
    return {
        "history_hours": len(volume.hours),
        "profile": [round(share / total, 6) for share in shares] if total else None,
        "expected": round(volume.expected, 1),
        "due": round(due, 1),
        "level": round(forecast.level(volume, volume.last_s), 6),
        "even_pace_usd": None if standing.is_uncapped else _money(state.budget_usd * part),
    }


def split_of(standing: Standing) -> dict[str, object]:
    """The policy in force, what it pays for quality, and the shares it would give the latest tickets."""
    state, config = standing.state, standing.state.config
    minutes = config.minutes_per_quality or state.minutes_per_quality
    return {
        "policy": config.policy,
        "policy_version": policy.VERSION,
        "set_at": None if standing.policy_set_at is None else standing.policy_set_at.isoformat(),
        "shares_set": dict(config.shares) if config.policy == "fixed" else None,
        "target_edit_rate": None if config.target_quality is None else round(1.0 - config.target_quality, 6),
        "target_can_be_met": None if config.target_quality is None else state.target_lambda is not None,
        "explore": config.explore,
        "lambda": state.lambda_,
        "minutes_per_usd": None if minutes is None else round(state.lambda_ * minutes, 6),
        "minutes_per_quality": minutes,
        "too_little_known": state.is_cold,
        "shares": shares_now(state) if state.window and state.arms else {},
        "sampled_tickets": len(state.window),
        "told": standing.announced,
        "second_look": _look_of(standing),
        "trouble": standing.policy_trouble,
    }


def quality_of(standing: Standing) -> list[dict[str, object]]:
    """What is known of each arm: ratings by class with 95 % intervals, what the policy makes of them, and its cost.

    Shapes: one row an arm; `classes` class -> {edit_rate, touched, edit_minutes, scores}, each {mean, low, high, count, weight}.
    """
    rows: list[dict[str, object]] = []
    for arm in standing.state.config.arms:
        quality, cost = standing.state.quality[arm], standing.state.costs[arm]
        classes = {
            name or "none": {
                "edit_rate": tally.edit_rate.as_json(),
                "touched": tally.touched.as_json(),
                "edit_minutes": tally.edit_minutes.as_json(),
                "scores": {criterion: mean.as_json() for criterion, mean in sorted(tally.scores.items())},
            }
            for name, tally in sorted(standing.tallies.get(arm, {}).items())
        }
        rows.append(
            {
                "client_id": standing.client_id,
                "arm": arm,
                "classes": classes,
                "learned": {
                    "ratings": quality.ratings,
                    "weight": round(quality.weight, 3),
                    "mean": round(quality.mean, 6) if quality.ratings else None,
                    "coefficients": list(quality.beta),
                    "level_sd": quality.level_sd,
                    "residual_sd": quality.residual_sd,
                    "alarms": quality.alarms,
                },
                "cost": {
                    "calls": cost.calls,
                    "usd_per_call": _money(cost.actual_usd / cost.weight) if cost.weight else None,
                    "actual_over_list": round(cost.ratio, 6),
                },
            }
        )
    return rows


def drift_of(standing: Standing) -> dict[str, object]:
    """What is watched of a client, against which past, and the alarms that were told, the latest last."""
    watched = standing.drift
    return {
        "client_id": standing.client_id,
        "raised": watched.raised,
        "alarms": [
            {
                "drift": alarm.drift,
                "time": alarm.time.isoformat(),
                "reason": alarm.reason,
                "cause_id": alarm.cause_id,
                "before": alarm.before,
                "after": alarm.after,
                "observations": alarm.observations,
            }
            for alarm in watched.told
        ],
        "latency": {
            name: {"usual_s": None if watch.usual_s is None else round(watch.usual_s, 6), "calls": watch.count}
            for name, watch in sorted(watched.latency.items())
        },
        "served": {model: sorted(names) for model, names in sorted(watched.served.items())},
        "complex": _share(watched.is_complex),
        "agreement": _share(watched.agrees),
    }


def _share(watch: ShareWatch) -> dict[str, object]:
    is_known = watch.count > 0
    return {
        "share": round(watch.share, 6) if is_known else None,
        "count": watch.count,
        "weight": round(watch.weight, 3),
    }


def _look_of(standing: Standing) -> dict[str, object]:
    """What second looks came to. Shapes: `gain` in quality, null while too few drafts of either kind are rated."""
    looks = standing.looks
    gain, usd = gain_of(looks), usd_of(looks)
    return {
        "on": standing.second_look,
        "redone": looks.redone,
        "kept": looks.kept,
        "redone_rated": looks.redone_rated,
        "kept_rated": looks.kept_rated,
        "gain": None if gain is None else round(gain, 6),
        "usd_per_redo": None if usd is None else _money(usd),
    }


def _money(usd: float) -> float:
    return round(usd, 6)
