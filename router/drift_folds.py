"""What a client's events say about drift, and what is doubted once something changed.

Called by the folds of standing_folds.py, so an alarm is a function of the log. The refresh happens here, with the fact that
completed the evidence; the `drift.alarmed` event that follows only tells of it.
"""

from __future__ import annotations

from ledger import events as e
from ledger.prices import Price
from router import aggregates, drift
from router.costs import ArmPrice
from router.drift import Alarm
from router.standing import Standing, Terms


def settled(standing: Standing, terms: Terms, event: e.CallSettled) -> None:
    """A call ended: under which name, and after how long."""
    watched = standing.drift
    was = drift.answered_as(watched, event)
    change = drift.timed(watched, event) if event.outcome == "ok" else None
    if was is None and change is None:
        return
    arm = next((name for name, model in terms.arms if model == event.request_model), None)
    if was is not None:
        instead = "it was asked for" if was == event.request_model else f"it answered as {was} before"
        reason = f"{event.request_model} answers as {event.response_model}; {instead}"
        watched.raise_(
            Alarm(
                drift="served_model",
                cause_id=event.id,
                time=event.time,
                period=event.period,
                reason=reason[:2000],
                observations=1,
                request_model=event.request_model,
                response_model=event.response_model,
                arm=arm,
            )
        )
        if arm is not None:
            aggregates.doubted(standing.state, arm, event.time)
    if change is not None:
        took, before = f"{change.after:.2g} s", f"{change.before:.2g} s"
        watched.raise_(
            Alarm(
                drift="latency",
                cause_id=event.id,
                time=event.time,
                period=event.period,
                reason=f"{event.purpose} by {event.request_model} takes {took}, {before} before; the last {change.observations} calls say so",
                observations=change.observations,
                before=round(change.before, 6),
                after=round(change.after, 6),
                request_model=event.request_model,
                arm=arm,
                purpose=event.purpose,
            )
        )


def sorted_as(standing: Standing, event: e.CallReserved) -> None:
    """A ticket was sorted: when the mix changed, lambda is what it is for the tickets since."""
    change = drift.mixed(standing.drift, event.ticket_class) if event.ticket_class is not None else None
    if change is None:
        return
    shares = f"{change.after:.0%} of tickets are complex, {change.before:.0%} before"
    standing.drift.raise_(
        Alarm(
            drift="classes",
            cause_id=event.id,
            time=event.time,
            period=event.period,
            reason=f"{shares}; the last {change.observations} tickets say so",
            observations=change.observations,
            before=round(change.before, 6),
            after=round(change.after, 6),
        )
    )
    aggregates.mix_changed(standing.state, change.observations, event.time)


def checked(standing: Standing, event: e.ClassChecked) -> None:
    """A second opinion came: where the classifier agrees less, the classes mean something else, and so do all levels learned by them."""
    if event.checked_reading != "clear":
        return
    change = drift.checked(standing.drift, agrees=event.checked_class == event.ticket_class)
    if change is None or change.after >= change.before:
        return
    agrees = (
        f"{event.request_model} agrees with the classifier on {change.after:.0%} of tickets, {change.before:.0%} before"
    )
    standing.drift.raise_(
        Alarm(
            drift="classifier",
            cause_id=event.id,
            time=event.time,
            period=event.period,
            reason=f"{agrees}; the last {change.observations} checks say so",
            observations=change.observations,
            before=round(change.before, 6),
            after=round(change.after, 6),
            request_model=event.request_model,
        )
    )
    for arm in standing.state.config.arms:
        aggregates.doubted(standing.state, arm, event.time)


def rated(standing: Standing, event: e.DraftEdited, arm: str, before: float, ratings: int) -> None:
    """The ratings of an arm left their band, and its level was learned anew. Units: `before` its quality on a usual ticket."""
    after = standing.state.quality[arm].beta[0]
    for tally in standing.tallies.get(arm, {}).values():
        tally.fade(ratings)
    moved = "fell" if after < before else "rose"
    standing.drift.raise_(
        Alarm(
            drift="quality",
            cause_id=event.id,
            time=event.time,
            period=standing.period,
            reason=f"the quality of {arm} {moved} to {after:.2f} from {before:.2f}; the last {ratings} ratings say so",
            observations=ratings,
            before=round(before, 6),
            after=round(after, 6),
            request_model=event.request_model,
            arm=arm,
        )
    )


def repriced(
    standing: Standing,
    event: e.Event,
    arm: str,
    model: str,
    was: ArmPrice | None,
    price: Price | None,
    now: ArmPrice | None,
) -> None:
    """Another price is in force for an arm, or none: told where one was before. Shapes: `now` is what `price` says."""
    watched = standing.drift
    previous = watched.prices.pop(arm, None)
    if price is not None:
        watched.prices[arm] = price.price_id
    if previous is None or was is None or now == was:
        return
    costs = "has no price any more" if now is None else f"costs {_said(now)}"
    watched.raise_(
        Alarm(
            drift="price",
            cause_id=event.id,
            time=event.time,
            period=standing.period,
            reason=f"{arm} ({model}) {costs}, {_said(was)} before",
            observations=1,
            request_model=model,
            arm=arm,
            price_id=None if price is None else price.price_id,
            previous_price_id=previous,
        )
    )


def _said(price: ArmPrice) -> str:
    return f"{price.input_usd_per_mtok:g} in and {price.output_usd_per_mtok:g} out USD per million tokens"
