"""How the ledger's events change where clients stand: one fold an event type.

Time is the events' own. A client's month opens with the first reservation in it, in the client's zone, and a price
takes effect at the first event on or after its moment: a ticket's sorting comes before its decision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from ledger import events as e
from ledger.budgets import Period, period_named, zone
from ledger.errors import UnpricedModel
from ledger.listings import price_of
from ledger.prices import Price, PriceBook
from ledger.projections import Cap
from router import aggregates, drift_folds
from router.aggregates import UNCAPPED_USD, PolicyMisconfigured, TicketView
from router.costs import ArmPrice
from router.output_bounds import Written, kind_of
from router.standing import Standing, Standings, Terms, config_of
from router.tallies import Tally

# A prompt's bytes over its tokens, near enough for English; the measured cost over the expected corrects the rest.
BYTES_PER_TOKEN = 4
PERIODS_KEPT = 24  # months whose spend is known should a clock go back to them
DAY_S = 86_400.0
NEVER_S = 1e12  # a moment after all others
FINAL = ("ok", "client_gone")  # outcomes that left a draft


def apply(standings: Standings, event: e.Event) -> None:
    """Fold one event in; only what the ledger took is folded, so nothing is refused here."""
    fold = _FOLDS.get(type(event))
    if fold is not None:
        fold(standings, event)
    if event.sequence is not None:
        standings.position = event.sequence


def _client(standings: Standings, event: e.ClientAdded) -> None:
    terms = standings.terms
    state = aggregates.new_state(config_of(terms, event.subject, None), {}, may_lack_prices=True)
    state.budget_usd = UNCAPPED_USD
    standing = Standing(event.subject, event.zone, state, terms.tickets_per_month, terms.second_look)
    standings.clients[event.subject] = standing


def _price(standings: Standings, event: e.PriceListed) -> None:
    if any(model == event.model for _, model in standings.terms.arms):
        standings.prices.add(price_of(event))
        for standing in standings.clients.values():
            standing.prices_due_s = 0.0


def _budget(standings: Standings, event: e.BudgetSet) -> None:
    standing = standings.clients.get(event.subject) if event.scope == "client" else None
    if standing is None:
        return
    cap = None if event.cap_usd is None else Decimal(event.cap_usd)
    standing.caps.append(Cap(event.valid_from, cap, event.hard))
    standing.caps.sort(key=lambda found: found.valid_from)  # stable, as in the ledger
    if standing.period_end is not None:
        budget_usd, is_hard = _budget_of(standing, standing.period_end)
        if (budget_usd, is_hard) != (standing.state.budget_usd, standing.state.is_hard):
            standing.state.is_hard = is_hard
            aggregates.budget_changed(standing.state, budget_usd, event.time)


def _policy(standings: Standings, event: e.PolicySet) -> None:
    standing = standings.clients.get(event.subject)
    if standing is None:
        return
    try:
        config = config_of(standings.terms, event.subject, event)
    except PolicyMisconfigured as wrong:  # the configuration's arms are others now; the start says so
        standing.policy_trouble = str(wrong)
        return
    terms = standings.terms
    standing.policy_trouble, standing.policy_set_at = None, event.time
    standing.tickets_per_month = terms.tickets_per_month if event.tickets_per_month is None else event.tickets_per_month
    standing.second_look = terms.second_look if event.second_look is None else event.second_look
    aggregates.reconfigured(standing.state, config, event.time)


def _reserved(standings: Standings, event: e.CallReserved) -> None:
    standing = _of(standings, event)
    if standing is None:
        return
    state, key, hold = standing.state, _key(event), float(event.hold_usd)
    is_current = _turn(standings, standing, event, event.period)
    if event.purpose == "generation" and event.attempt == 1 and event.subject not in standing.redone:
        standing.drafted[event.period] = standing.drafted.get(event.period, 0) + 1
    if event.policy is None and event.reason is not None:
        standing.instead[key] = True
    if not _is_draft(standings.terms, event) or event.arm not in state.prices or event.subject in standing.redone:
        aggregates.held(state, key, hold, is_current=is_current)
        return
    ticket = ticket_of(event, {event.arm: hold})
    if event.attempt == 1:
        aggregates.arrived(state, ticket)
        drift_folds.sorted_as(standing, event)
    aggregates.reserved(state, ticket, event.arm, key, is_current=is_current)


def ticket_of(event: e.CallReserved, holds_usd: Mapping[str, float | None]) -> TicketView:
    """The ticket as its reservation recorded it; the id is the call's."""
    return TicketView(
        ticket_id=event.subject,
        at=event.time,
        ticket_class=event.ticket_class or "complex",
        score=event.class_score,
        prompt_tokens=prompt_tokens(event.input_bytes),
        holds_usd=holds_usd,
    )


def prompt_tokens(request_bytes: int) -> int:
    """About how many tokens a request of this length is."""
    return request_bytes // BYTES_PER_TOKEN + 1


def _settled(standings: Standings, event: e.CallSettled) -> None:
    standing = _of(standings, event)
    if standing is None:
        return
    cost, key, is_final = float(event.cost_usd), _key(event), event.outcome in FINAL
    output = event.usage_output_tokens if is_final and event.usage_source == "reported" else None
    standing.spent[event.period] = standing.spent.get(event.period, 0.0) + cost
    aggregates.settled(standing.state, key, cost, output, event.time)
    if output is not None and event.purpose != "classification":  # whose bound is always its own
        kind = kind_of(event.request_model, event.purpose, event.ticket_class)
        if (written := standing.written.get(kind)) is None:
            written = standing.written[kind] = Written()
        written.take(output, is_cut="length" in (event.response_finish_reasons or ()))
    first = standing.redone.get(event.subject)
    if first is not None:
        _redone(standing, first, event, cost)
    elif not is_final:
        standing.state.replied.pop(event.subject, None)
    if standing.instead.pop(key, None) is None:  # what a fallback's provider does is no change of the arm's own
        drift_folds.settled(standing, standings.terms, event)
    standing.last_s = max(standing.last_s, event.time.timestamp())


def _redone(standing: Standing, first: str, event: e.CallSettled, cost: float) -> None:
    """A draft was written again: what it cost and how it will be rated belongs to the arm that was chosen first."""
    state = standing.state
    standing.looks.redone_usd += cost
    reply = state.replied.get(first)
    if event.outcome not in FINAL or reply is None:
        return
    aggregates.surcharged(state, reply[0], cost)
    del state.replied[first]
    state.replied[event.subject] = reply
    standing.looks.open[event.subject] = True


def _voided(standings: Standings, event: e.CallVoided) -> None:
    standing = _of(standings, event)
    if standing is not None:
        standing.instead.pop(_key(event), None)
        aggregates.voided(standing.state, _key(event), event.subject)


def _orphaned(standings: Standings, event: e.CallOrphaned) -> None:
    standing = _of(standings, event)
    if standing is not None:
        standing.instead.pop(_key(event), None)
        standing.state.replied.pop(event.subject, None)
        aggregates.orphaned(standing.state, _key(event))


def _refused(standings: Standings, event: e.CallRefused) -> None:
    """A ticket that was refused for its budget came all the same, and the next month will have its like."""
    standing = _of(standings, event)
    models = [model for _, model in standings.terms.arms]
    if (
        standing is None
        or event.refusal != "budget"
        or event.purpose != "generation"
        or event.subject in standing.redone
    ):
        return
    _turn(standings, standing, event, event.period)
    if event.request_model in models and event.ticket_id is not None:
        aggregates.turned_away(standing.state, event.time)


def _edited(standings: Standings, event: e.DraftEdited) -> None:
    standing = _of(standings, event)
    if standing is None:
        return
    quality = quality_of(event)
    said = "unmeasured" if quality is None else _learn(standing, event, quality)
    standing.ratings[said] = standing.ratings.get(said, 0) + 1
    if said == "repeated":
        return
    if quality is not None:
        _rate_look(standing, event.call_id, quality)
    minutes = None if event.edit_seconds is None else event.edit_seconds / 60.0
    _tally(standing, event).edited(event.edit_ratio, minutes, is_touched=event.disposition != "as_is")
    if minutes is not None and event.edit_ratio is not None:
        _time_edit(standing, minutes, event.edit_ratio)


def _learn(standing: Standing, event: e.DraftEdited, quality: float) -> str:
    """Give a rating to the policy, and say so when it completes the evidence that an arm has changed."""
    state = standing.state
    reply = state.replied.get(event.call_id)
    if reply is None:
        return aggregates.feedback(state, event.call_id, quality, event.time)
    arm = state.quality[reply[0]]
    before, ratings = arm.beta[0], 1 + (arm.up_count if arm.up >= arm.down else arm.down_count)
    said = aggregates.feedback(state, event.call_id, quality, event.time)
    if said == "alarm":
        drift_folds.rated(standing, event, reply[0], before, ratings)
    return said


def quality_of(event: e.DraftEdited) -> float | None:
    """One minus the share of the draft that was changed; nothing of a discarded one was of use. None: not known."""
    if event.disposition == "discarded":
        return 0.0
    if event.edit_ratio is not None:
        return 1.0 - event.edit_ratio
    return {"as_is": 1.0, "rewritten": 0.0}.get(event.disposition)


def _time_edit(standing: Standing, minutes: float, ratio: float) -> None:
    """How many minutes a unit of quality is worth: the minutes of timed edits over what they changed."""
    keep = 1.0 - 1.0 / aggregates.BESIDE_MEMORY
    standing.edited_minutes = standing.edited_minutes * keep + minutes
    standing.edited_quality = standing.edited_quality * keep + ratio
    if standing.edited_quality > 0.0:
        standing.state.minutes_per_quality = standing.edited_minutes / standing.edited_quality


def _rate_look(standing: Standing, call_id: str, quality: float) -> None:
    looks = standing.looks
    was_redone = looks.open.pop(call_id, None)
    if was_redone:
        looks.redone_rated += 1
        looks.redone_quality += quality
    elif was_redone is not None:
        looks.kept_rated += 1
        looks.kept_quality += quality


def _scored(standings: Standings, event: e.ScoreRecorded) -> None:
    standing = _of(standings, event)
    if standing is not None:
        _tally(standing, event).scored(event.criterion, event.value)


def _suspected(standings: Standings, event: e.DraftSuspected) -> None:
    standing = _of(standings, event)
    if standing is None:
        return
    if event.action == "kept":
        standing.looks.kept += 1
        if event.propensity < 1.0:  # what had to be kept was kept in short times, and is no fair comparison
            standing.looks.open[event.call_id] = False
    elif event.superseded_by is not None:
        standing.looks.redone += 1
        standing.redone[event.superseded_by] = event.call_id
    aggregates.forget_oldest(standing.redone)
    aggregates.forget_oldest(standing.looks.open)


def _shifted(standings: Standings, event: e.SplitShifted) -> None:
    standing = _of(standings, event)
    if standing is None:
        return
    standing.announced, standing.announced_policy = {}, event.policy
    for text in event.shares:
        name, _, share = text.rpartition("=")
        ticket_class, _, arm = name.partition("/")
        standing.announced.setdefault(ticket_class, {})[arm] = float(share)


def _cached(standings: Standings, event: e.CallCached) -> None:
    standing = _of(standings, event)
    if standing is not None and event.purpose == "generation":
        standing.hits[event.period] = standing.hits.get(event.period, 0) + 1


def _alarmed(standings: Standings, event: e.DriftAlarmed) -> None:
    standing = _of(standings, event)
    if standing is not None:
        standing.drift.tell(event)


def _checked(standings: Standings, event: e.ClassChecked) -> None:
    standing = _of(standings, event)
    if standing is not None:
        drift_folds.checked(standing, event)


def _deferred(standings: Standings, event: e.TicketDeferred) -> None:
    standing = _of(standings, event)
    if standing is not None:
        standing.deferred[event.period] = standing.deferred.get(event.period, 0) + 1


_FOLDS: Mapping[type[e.Event], Callable[[Standings, Any], None]] = {
    e.ClientAdded: _client,
    e.PriceListed: _price,
    e.BudgetSet: _budget,
    e.PolicySet: _policy,
    e.CallReserved: _reserved,
    e.CallSettled: _settled,
    e.CallVoided: _voided,
    e.CallOrphaned: _orphaned,
    e.CallRefused: _refused,
    e.DraftEdited: _edited,
    e.ScoreRecorded: _scored,
    e.DraftSuspected: _suspected,
    e.SplitShifted: _shifted,
    e.TicketDeferred: _deferred,
    e.CallCached: _cached,
    e.DriftAlarmed: _alarmed,
    e.ClassChecked: _checked,
}


def _of(standings: Standings, event: e.Event) -> Standing | None:
    return standings.clients.get(event.client_id or "")


def _key(event: e.CallEvent) -> str:
    return f"{event.subject}.{event.attempt}"


def _is_draft(terms: Terms, event: e.CallReserved) -> bool:
    """Whether a policy chose the arm and the arm's model is still the same: what another wrote says nothing of it."""
    return event.policy is not None and (event.arm, event.request_model) in terms.arms


def _tally(standing: Standing, event: e.DraftEdited | e.ScoreRecorded) -> Tally:
    by_class = standing.tallies.setdefault(event.arm or event.request_model, {})
    return by_class.setdefault(event.ticket_class or "", Tally())


def _turn(standings: Standings, standing: Standing, event: e.Event, period: str) -> bool:
    """Turn the calendar and the price list to an event's moment; whether its month is the one in force.

    A month before the present one is only taken up again when the clock went back by more than a day: calls that
    were under way when the month ended are not a clock that went back.
    """
    at_s = event.time.timestamp()
    if period != standing.period and (period > standing.period or at_s < standing.last_s - DAY_S):
        _open(standing, period_named(period, standing.zone))
    standing.last_s = max(standing.last_s, at_s) if period == standing.period else standing.last_s
    if at_s >= standing.prices_due_s:
        _reprice(standings, standing, event)
    return period == standing.period


def _open(standing: Standing, period: Period) -> None:
    is_back = period.name < standing.period
    standing.period, standing.period_end = period.name, period.end
    standing.last_s = period.start.timestamp()
    state = standing.state
    if is_back:
        aggregates.unwound(state)
        standing.prices_due_s = 0.0
        standing.drift.prices.clear()  # the prices of an earlier month are no change of price
    state.volume.utc_offset_s = _offset_s(standing.zone, period)
    budget_usd, state.is_hard = _budget_of(standing, period.end)
    planned = float(standing.tickets_per_month)
    spent = standing.spent.get(period.name, 0.0)
    aggregates.period_opened(state, period.start, period.end, budget_usd, planned, spent)
    for by_month in (standing.spent, standing.hits, standing.drafted):
        while len(by_month) > PERIODS_KEPT:
            del by_month[min(by_month)]


def _offset_s(zone_name: str, period: Period) -> float:
    offset = period.start.astimezone(zone(zone_name)).utcoffset()
    return offset.total_seconds() if offset is not None else 0.0


def _budget_of(standing: Standing, end: datetime) -> tuple[float, bool]:
    """The cap in force at the period's end, as the ledger has it, and whether it refuses."""
    cap = next((found for found in reversed(standing.caps) if found.valid_from < end), None)
    if cap is None or cap.cap is None:
        return UNCAPPED_USD, False
    return float(cap.cap), cap.hard


def _reprice(standings: Standings, standing: Standing, event: e.Event) -> None:
    """Take the prices in force at an event's moment, and note when the next one begins or ends."""
    state, moment, due = standing.state, event.time, []
    for arm, model in standings.terms.arms:
        for listed in standings.prices.by_model.get(model, ()):
            due += [at for at in (listed.valid_from, listed.valid_to) if at is not None and at > moment]
        was, price = state.prices.get(arm), _price_at(standings.prices, model, moment)
        now = None if price is None else arm_price(price)
        if now is None:
            aggregates.unpriced(state, arm, moment)
        elif was != now:
            aggregates.repriced(state, arm, now, moment)
        drift_folds.repriced(standing, event, arm, model, was, price, now)
    standing.prices_due_s = min((at.timestamp() for at in due), default=NEVER_S)


def _price_at(book: PriceBook, model: str, moment: datetime) -> Price | None:
    try:
        return book.price_at(model, moment)
    except UnpricedModel:
        return None


def arm_price(price: Price) -> ArmPrice:
    """What the policies see of a price: two rates as floats."""
    return ArmPrice(float(price.rates.uncached_input), float(price.rates.plain_output))
