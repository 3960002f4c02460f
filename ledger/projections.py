"""State folded from events: what the router and the commands read.

`apply(state, event)` is the whole of it: the same events in the same order give the same state,
live or replayed. `check` says beforehand why an event may not follow this state; the
store asks it before it stamps one, so a hard cap holds whoever asks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from ledger import alarms, closings, corrections, history, hours, reuse, routing
from ledger import events as e
from ledger.alarms import Warned
from ledger.budgets import WHOLE, Account, period_named, zone
from ledger.closings import Closings
from ledger.corrections import Corrections
from ledger.errors import Conflict, InvalidInput, NotFound
from ledger.listings import check_baseline, price_of
from ledger.money import ZERO
from ledger.prices import PriceBook
from ledger.reuse import Claims
from ledger.spending import Running, Spend, SpendKey, scopes
from ledger.windows import EditWindow, LatencyWindow

DRAFTS_KEPT = 50_000  # newest tickets an edit or a score may still name


class CallKey(NamedTuple):
    """One attempt of one call."""

    call_id: str
    attempt: int


class Key(NamedTuple):
    """Who a bearer key is; `client_id` is absent for an admin."""

    key_id: str
    client_id: str | None
    role: str
    revoked: bool


class Draft(NamedTuple):
    """The latest draft of a ticket, as far as an edit or a score needs it."""

    call_id: str
    period: str
    request_model: str
    arm: str | None
    ticket_class: str | None


class Cap(NamedTuple):
    """A monthly cap from a moment on; `cap` None lifts it."""

    valid_from: datetime
    cap: Decimal | None
    hard: bool


@dataclass(slots=True)
class State:
    """Everything folded; `position` is the sequence of the last event applied."""

    position: int = 0
    clients: dict[str, e.ClientAdded] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    key_hashes: dict[str, str] = field(default_factory=dict)
    prices: PriceBook = field(default_factory=PriceBook)
    baseline: e.BaselineSet | None = None
    fx: dict[str, list[e.FxRecorded]] = field(default_factory=dict)
    caps: dict[tuple[str, str], list[Cap]] = field(default_factory=dict)
    running: dict[tuple[str, str, str], Running] = field(default_factory=dict)
    holds: dict[CallKey, e.CallReserved] = field(default_factory=dict)
    orphans: dict[CallKey, e.CallOrphaned] = field(default_factory=dict)
    drafts: OrderedDict[tuple[str, str], Draft] = field(default_factory=OrderedDict)  # finds its oldest at once
    spend: dict[SpendKey, Spend] = field(default_factory=dict)
    refused: dict[tuple[str, str, str], int] = field(default_factory=dict)
    quality: dict[tuple[str, str, str], EditWindow] = field(default_factory=dict)
    latency: dict[tuple[str, str], LatencyWindow] = field(default_factory=dict)
    closed: dict[tuple[str, str], e.MonthClosed] = field(default_factory=dict)
    issued: dict[tuple[str, str], e.ReportIssued] = field(default_factory=dict)
    closings: Closings = field(default_factory=Closings)
    claims: Claims = field(default_factory=Claims)
    warned: set[Warned] = field(default_factory=set)
    bills: history.Bills = field(default_factory=history.Bills)
    corrections: Corrections = field(default_factory=Corrections)
    heads: dict[str, e.HeadSigned] = field(default_factory=dict)
    # Derived: those of `running` that a call of this client, key and month counts in.
    counted: dict[tuple[str | None, str | None, str], tuple[Running, ...]] = field(default_factory=dict, compare=False)

    def client(self, client_id: str) -> e.ClientAdded:
        """The client with this id. Errors: NotFound."""
        try:
            return self.clients[client_id]
        except KeyError:
            hint = f"Add it with: halfpenny client add {client_id} --currency EUR --zone Europe/Berlin."
            raise NotFound("client", client_id, hint) from None

    def account(self, scope: str, scope_id: str, period: str, zone_name: str = "UTC") -> Account:
        """One scope in one period, with the cap in force at the period's end."""
        cap, end = None, period_named(period, zone_name).end
        for known in reversed(self.caps.get((scope, scope_id), ())):
            if known.valid_from < end:
                cap = known
                break
        now = self.running.get((scope, scope_id, period)) or Running()
        return Account(
            scope=WHOLE if scope == WHOLE else scope_id,
            period=period,
            cap=cap.cap if cap else None,
            hard=cap.hard if cap else False,
            settled=now.settled,
            held=now.held,
            orphaned=now.orphaned,
        )

    def accounts_for(self, client_id: str, key_id: str | None, period: str) -> tuple[Account, ...]:
        """Every account a call of this client and key counts against: whole, client, key."""
        zone_name = self.client(client_id).zone
        found = scopes(client_id, key_id)
        return tuple(self.account(scope, scope_id, period, zone_name) for scope, scope_id in found)

    def total(self, client_id: str, period: str) -> Spend:
        """All spend of a client in a period."""
        total = Spend()
        for key, part in self.spend.items():
            if (key.client_id, key.period) == (client_id, period):
                for name in Spend.__slots__:
                    setattr(total, name, getattr(total, name) + getattr(part, name))
        return total


def replay(events: Iterable[e.Event], state: State | None = None) -> State:
    """The state after these events, in their order."""
    folded = State() if state is None else state
    for event in events:
        apply(folded, event)
    return folded


def apply(state: State, event: e.Event) -> None:
    """Fold one event into the state; only journals that were checked are folded, so nothing is refused here."""
    _APPLY[type(event)](state, event)
    if event.sequence is not None:
        state.position = event.sequence


def _accounts(state: State, event: e.CallEvent) -> tuple[Running, ...]:
    asked = event.client_id, event.key_id, event.period
    if (found := state.counted.get(asked)) is None:
        places = [(*scope, event.period) for scope in scopes(event.client_id, event.key_id)]
        found = state.counted[asked] = tuple(state.running.setdefault(place, Running()) for place in places)
    return found


def _release(state: State, event: e.CallEvent, accounts: tuple[Running, ...]) -> None:
    """Take the attempt's hold or orphaned hold off its accounts."""
    key: Any = event.subject, event.attempt  # finds what a CallKey was put under, and is made in a third of the time
    if (hold := state.holds.pop(key, None)) is not None:
        amount = Decimal(hold.hold_usd)
        for running in accounts:
            running.held -= amount
    elif (orphan := state.orphans.pop(key, None)) is not None:
        amount = Decimal(orphan.hold_usd)
        for running in accounts:
            running.orphaned -= amount


def _reserved(state: State, event: e.CallReserved) -> None:
    amount = Decimal(event.hold_usd)
    for running in _accounts(state, event):
        running.held += amount
    state.holds[CallKey(event.subject, event.attempt)] = event


def _settled(state: State, event: e.CallSettled) -> None:
    accounts = _accounts(state, event)
    _release(state, event, accounts)
    cost = Decimal(event.cost_usd)
    for running in accounts:
        running.settled += cost
    client, model = event.client_id or "", event.response_model or event.request_model
    key: Any = client, event.period, event.purpose, model, event.arm, event.ticket_class
    if (spend := state.spend.get(key)) is None:
        spend = state.spend[SpendKey(*key)] = Spend()
    spend.calls += 1
    spend.cost_usd += cost
    spend.estimated += event.usage_source == "estimated"
    if event.usage_input_tokens is None or event.usage_output_tokens is None:
        spend.unmeasured += 1
    else:
        spend.input_tokens += event.usage_input_tokens
        spend.output_tokens += event.usage_output_tokens
        spend.cache_read_tokens += event.usage_cache_read_input_tokens or 0
        spend.cache_write_tokens += event.usage_cache_write_input_tokens or 0
        spend.reasoning_tokens += event.usage_reasoning_output_tokens or 0
    if event.outcome == "ok":
        if (latency := state.latency.get((client, model))) is None:
            latency = state.latency[client, model] = LatencyWindow()
        latency.take(event.duration_s)
    state.claims.charge(event.subject)
    if event.outcome in ("ok", "client_gone"):
        _drafted(state, event)


def _drafted(state: State, event: e.CallSettled | e.CallCached) -> None:
    """A reply to a ticket is its draft now, written for it or served from the cache."""
    if event.purpose == "generation" and event.ticket_id is not None:
        ticket = event.client_id or "", event.ticket_id
        state.drafts[ticket] = Draft(event.subject, event.period, event.request_model, event.arm, event.ticket_class)
        state.drafts.move_to_end(ticket)  # so that the newest is last
        if len(state.drafts) > DRAFTS_KEPT:
            state.drafts.popitem(last=False)


def _voided(state: State, event: e.CallVoided) -> None:
    _release(state, event, _accounts(state, event))


def _orphaned(state: State, event: e.CallOrphaned) -> None:
    accounts = _accounts(state, event)
    _release(state, event, accounts)
    for running in accounts:
        running.orphaned += Decimal(event.hold_usd)
    state.orphans[CallKey(event.subject, event.attempt)] = event
    state.claims.charge(event.subject)


def _refused(state: State, event: e.CallRefused) -> None:
    key = (event.client_id or "", event.period, event.refusal)
    state.refused[key] = state.refused.get(key, 0) + 1


def _edited(state: State, event: e.DraftEdited) -> None:
    key = (event.client_id or "", event.arm or event.request_model, event.ticket_class or "")
    state.quality.setdefault(key, EditWindow()).take(event.disposition, event.edit_ratio, event.edit_seconds)


def _nothing(state: State, event: e.Event) -> None:
    """Kept for people and reports; no running figure needs it."""


def _price(state: State, event: e.PriceListed) -> None:
    state.prices.add(price_of(event))


def _baseline(state: State, event: e.BaselineSet) -> None:
    state.baseline = event


def _fx(state: State, event: e.FxRecorded) -> None:
    state.fx.setdefault(event.subject, []).append(event)


def _budget(state: State, event: e.BudgetSet) -> None:
    key = (event.scope, "" if event.scope == "whole" else event.subject)
    caps = state.caps.setdefault(key, [])
    caps.append(Cap(event.valid_from, None if event.cap_usd is None else Decimal(event.cap_usd), event.hard))
    caps.sort(key=lambda cap: cap.valid_from)  # stable: of two with one start the later recorded is last


def _head(state: State, event: e.HeadSigned) -> None:
    state.heads[event.subject] = event


def _client(state: State, event: e.ClientAdded) -> None:
    state.clients[event.subject] = event


def _key(state: State, event: e.KeyIssued) -> None:
    state.keys[event.key_hash] = Key(event.subject, event.client_id, event.role, revoked=False)
    state.key_hashes[event.subject] = event.key_hash


def _revoked(state: State, event: e.KeyRevoked) -> None:
    at = state.key_hashes[event.subject]
    state.keys[at] = state.keys[at]._replace(revoked=True)


_APPLY: Mapping[type[e.Event], Callable[[State, Any], None]] = {
    e.CallReserved: _reserved,
    e.CallSettled: _settled,
    e.CallVoided: _voided,
    e.CallOrphaned: _orphaned,
    e.CallRefused: _refused,
    e.CallCached: _drafted,
    e.CallClaimed: reuse.call_claimed,
    e.DraftEdited: _edited,
    e.ScoreRecorded: _nothing,
    e.PriceListed: _price,
    e.BaselineSet: _baseline,
    e.FxRecorded: _fx,
    e.BudgetSet: _budget,
    e.BudgetWarned: alarms.budget_warned,
    e.ClientAdded: _client,
    e.KeyIssued: _key,
    e.KeyRevoked: _revoked,
    e.MonthClosed: closings.month_closed,
    e.ReportIssued: closings.report_issued,
    e.InvoiceRecorded: closings.invoice_recorded,
    e.MonthRestated: closings.month_restated,
    e.ReportDelivered: closings.report_delivered,
    e.HoursLogged: _nothing,
    **dict.fromkeys(routing.ROUTING, _nothing),
    e.BillImported: history.bill_imported,
    e.PriceCorrected: corrections.price_corrected,
    e.CallCorrected: corrections.call_corrected,
    e.MonthAdjusted: corrections.month_adjusted,
    e.HeadSigned: _head,
    e.SubjectErased: _nothing,
    e.LogDropped: _nothing,
}


def check(state: State, event: e.Event) -> None:
    """Say why an event may not follow this state; silent when it may.

    Errors: BudgetSpent, Conflict, InvalidInput, NotFound.
    """
    if (checker := _CHECK.get(type(event))) is not None:
        checker(state, event)


def _check_reserved(state: State, event: e.CallReserved) -> None:
    key: Any = event.subject, event.attempt
    if key in state.holds or key in state.orphans:
        raise Conflict(f"Call {event.subject} attempt {event.attempt} is held already. Reserve each attempt once.")
    wanted = Decimal(event.hold_usd)
    if wanted < ZERO:
        raise InvalidInput(f"Call {event.subject} would hold {event.hold_usd} USD. A hold is zero or more.")
    zone_name = state.client(event.client_id or "").zone
    period_named(event.period, zone_name)  # of a month that there is
    for scope, scope_id in scopes(event.client_id, event.key_id):
        if (scope, scope_id) in state.caps:
            state.account(scope, scope_id, event.period, zone_name).refuse_unless_fits(wanted)


def _check_end(state: State, event: e.CallEvent) -> None:
    key: Any = event.subject, event.attempt
    hold = state.holds.get(key) or state.orphans.get(key)
    if hold is None:
        raise Conflict(f"Call {event.subject} attempt {event.attempt} has no open hold: never reserved, or ended.")
    if (hold.client_id, hold.key_id, hold.period) != (event.client_id, event.key_id, event.period):
        raise Conflict(f"Call {event.subject} attempt {event.attempt} was reserved by another client, key or month.")


def _check_orphaned(state: State, event: e.CallOrphaned) -> None:
    _check_end(state, event)
    hold = state.holds.get(CallKey(event.subject, event.attempt))
    if hold is None or hold.hold_usd != event.hold_usd:
        raise Conflict(f"Call {event.subject} attempt {event.attempt} is orphaned already, or held at another amount.")


def _check_draft(state: State, event: e.DraftEdited | e.ScoreRecorded) -> None:
    if event.ticket_id is not None and (event.client_id or "", event.ticket_id) not in state.drafts:
        raise NotFound("ticket", event.ticket_id, "Name a ticket that was drafted for this client.")


def _check_client(state: State, event: e.ClientAdded) -> None:
    zone(event.zone)
    if event.subject in state.clients:
        raise Conflict(f"Client {event.subject!r} exists already. Choose another id.")


def _check_key(state: State, event: e.KeyIssued) -> None:
    if event.role != "admin":
        state.client(event.client_id or "")
    if event.subject in state.key_hashes:
        raise Conflict(f"Key {event.subject!r} exists already. Issue it again for a new one.")


def _check_revoked(state: State, event: e.KeyRevoked) -> None:
    if event.subject not in state.key_hashes:
        raise NotFound("key", event.subject, "See the keys with: halfpenny key list.")


def _check_fx(_: State, event: e.FxRecorded) -> None:
    if not Decimal(event.rate):
        raise InvalidInput(f"1 {event.base_currency} cannot be 0 {event.quote_currency}. Give the rate of that day.")


def _check_price(state: State, event: e.PriceListed) -> None:
    if event.subject.rpartition("@")[0] != event.model:
        raise InvalidInput(f"{event.subject!r} is no price id. Write it as {event.model}@YYYY-MM-DD.")
    if state.prices.by_id(event.subject) is not None:
        raise Conflict(f"Price {event.subject!r} is listed already and never changed. List one with another start.")
    if event.valid_to is not None and event.valid_to <= event.valid_from:
        raise InvalidInput(f"Price {event.subject!r} ends at {event.valid_to} before it starts at {event.valid_from}.")


def _check_head(state: State, event: e.HeadSigned) -> None:
    if event.subject in state.heads:
        raise Conflict(f"{event.subject} is signed already. A head is signed once; see halfpenny head list.")


def _check_erased(state: State, event: e.SubjectErased) -> None:
    state.client(event.subject)


def _check_dropped(state: State, event: e.LogDropped) -> None:
    if event.head_sequence > state.position:
        raise Conflict(f"Event {event.head_sequence} is not in the log yet, so nothing up to it was dropped.")


def _check_budget(state: State, event: e.BudgetSet) -> None:
    if event.scope == "client":
        state.client(event.subject)
    if event.scope == "key" and event.subject not in state.key_hashes:
        raise NotFound("key", event.subject, "See the keys with: halfpenny key list.")


_CHECK: Mapping[type[e.Event], Callable[[State, Any], None]] = {
    e.CallReserved: _check_reserved,
    e.CallSettled: _check_end,
    e.CallVoided: _check_end,
    e.CallOrphaned: _check_orphaned,
    e.CallClaimed: reuse.check_claimed,
    e.BudgetWarned: alarms.check_warned,
    e.DraftEdited: _check_draft,
    e.ScoreRecorded: _check_draft,
    e.ClientAdded: _check_client,
    e.KeyIssued: _check_key,
    e.KeyRevoked: _check_revoked,
    e.PriceListed: _check_price,
    e.BaselineSet: check_baseline,
    e.FxRecorded: _check_fx,
    e.BudgetSet: _check_budget,
    e.MonthClosed: closings.check_close,
    e.ReportIssued: closings.check_issued,
    e.InvoiceRecorded: closings.check_invoice,
    e.MonthRestated: closings.check_restated,
    e.ReportDelivered: closings.check_delivered,
    e.HoursLogged: hours.check_logged,
    **routing.CHECKS,
    e.BillImported: history.check_imported,
    e.HeadSigned: _check_head,
    e.SubjectErased: _check_erased,
    e.LogDropped: _check_dropped,
    e.CallCorrected: corrections.check_corrected,
    e.MonthAdjusted: corrections.check_adjusted,
}
