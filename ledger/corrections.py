"""What settled calls cost as now known: a price that is listed after the fact, or a book that says otherwise than a charge did.

`Repricing` looks at the log once and says which calls cost something else at the book's prices; `batch` makes the events of
it. A batch is a function of the log before it, ids included, so one that a crash cut short is finished by making
it again: what is there already is recorded once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from ledger import events as e
from ledger.charges import Charge, charge, worst_case
from ledger.closings import position_of
from ledger.envelope import UsageSource
from ledger.errors import InvalidInput, NotFound, UnpricedModel
from ledger.money import ZERO, text
from ledger.prices import Price, PriceBook
from ledger.spending import SpendKey, scopes
from ledger.usage import Usage

if TYPE_CHECKING:
    from ledger.projections import State

BOOK = "book"  # the subject of a correction that follows no new price
_ANOMALY = "served_unpriced_model"  # a call that cost its hold because the model that answered had no price
CallKey = tuple[str, int]


class Known(NamedTuple):
    """What a call costs as known until now."""

    price_id: str
    cost: Decimal


class Correction(NamedTuple):
    """One call that costs something else now. Shapes: `charged` is None for an estimate, which is the hold at the new price."""

    settled: e.CallSettled
    before: Known
    price: Price
    charged: Charge | None
    cost: Decimal

    @property
    def difference(self) -> Decimal:
        """After minus before."""
        return self.cost - self.before.cost

    @property
    def usage_source(self) -> UsageSource:
        """An estimate becomes a charge once there is a price for what was counted."""
        return (
            "reported"
            if self.charged is not None and self.settled.usage_source == "estimated"
            else (self.settled.usage_source)
        )


@dataclass(slots=True)
class Repricing:
    """Takes the log event by event and keeps the calls whose price is not the book's. `model` is the only one looked at, if given."""

    prices: PriceBook
    model: str | None = None
    position: int = 0
    _bounds: dict[CallKey, tuple[int, int]] = field(default_factory=dict)  # of calls in flight: bytes in, tokens out
    _differing: dict[CallKey, e.CallSettled] = field(default_factory=dict)
    _estimates: dict[CallKey, tuple[int, int]] = field(default_factory=dict)
    _corrected: dict[CallKey, Known] = field(default_factory=dict)

    def take(self, event: e.Event) -> None:
        """Look at one event, in the log's order."""
        self.position = event.sequence or self.position
        if isinstance(event, e.CallReserved):
            self._bounds[event.subject, event.attempt] = (event.input_bytes, event.max_output_tokens)
        elif isinstance(event, e.CallSettled):
            self._settled(event)
        elif isinstance(event, e.CallVoided):
            self._bounds.pop((event.subject, event.attempt), None)
        elif isinstance(event, e.CallCorrected):
            self._corrected[event.subject, event.attempt] = Known(event.price_id, Decimal(event.cost_usd))

    def _settled(self, event: e.CallSettled) -> None:
        key = (event.subject, event.attempt)
        bounds = self._bounds.pop(key, None)
        price = self.price_of(event)
        if price is None:
            return
        # One that was corrected away from a price may have to go back to it, so all of a model with two prices are kept.
        if price.price_id != event.price_id or len(self.prices.by_model[price.model]) > 1:
            self._differing[key] = event
            if event.usage_source == "estimated" and bounds is not None:
                self._estimates[key] = bounds

    def price_of(self, event: e.CallSettled) -> Price | None:
        """The book's price of a call: of the model that was charged, or of the one that answered if it has a price by now."""
        served = event.response_model
        models = [served] if event.usage_anomaly == _ANOMALY and served is not None else []
        charged = self.prices.by_id(event.price_id)
        models += [event.request_model if charged is None else charged.model]
        for model in models:
            if self.model not in (None, model):
                continue
            try:
                return self.prices.price_at(model, event.reserved_at)
            except UnpricedModel:
                continue
        return None

    def corrections(self) -> tuple[Correction, ...]:
        """Every call that was charged at another price than the book's, in the order of the log."""
        found = []
        for key, event in self._differing.items():
            price = self.price_of(event)
            before = self._corrected.get(key) or Known(event.price_id, Decimal(event.cost_usd))
            if price is not None and price.price_id != before.price_id:
                charged = _charged(event, price)
                bounds = self._estimates.get(key)
                if charged is None and bounds is None:
                    continue  # an estimate whose hold is not at hand stays what it was told to be
                cost = _held(price, bounds) if charged is None else charged.total
                found.append(Correction(event, before, price, charged, cost))
        return tuple(found)


def _held(price: Price, bounds: tuple[int, int] | None) -> Decimal:
    most_in, most_out = bounds or (0, 0)
    return worst_case(price.rates, input_tokens_at_most=most_in, output_tokens_at_most=most_out)


def _charged(event: e.CallSettled, price: Price) -> Charge | None:
    """The charge of what was counted; None for an estimate."""
    is_unpriced = event.usage_anomaly == _ANOMALY and price.model == event.response_model
    if event.usage_source == "estimated" and not is_unpriced:
        return None
    if event.usage_input_tokens is None or event.usage_output_tokens is None:
        return None
    usage = Usage(
        input_tokens=event.usage_input_tokens,
        output_tokens=event.usage_output_tokens,
        cache_read_tokens=event.usage_cache_read_input_tokens or 0,
        cache_write_tokens=event.usage_cache_write_input_tokens or 0,
        reasoning_tokens=event.usage_reasoning_output_tokens or 0,
    )
    return charge(usage, price.rates)


def batch(
    state: State,
    corrections: Sequence[Correction],
    *,
    head_id: str,
    now: datetime,
    subject: str,
    up_to: int,
    reason: str,
) -> tuple[e.Event, ...]:
    """The events of a correction: its head, an adjustment for each closed month, then a call.corrected for each call.

    Shapes: `up_to` is the last event the corrections were made of. A price that was listed goes between head and rest.
    """
    adjusted = _adjusted(state, corrections, head_id, now)
    head = e.PriceCorrected(
        id=head_id,
        subject=subject,
        time=now,
        corrections=len(corrections),
        adjustments=len(adjusted),
        up_to_sequence=up_to,
        difference_usd=text(sum((one.difference for one in corrections), ZERO)),
        reason=reason,
    )
    return (head, *adjusted, *(_corrected(one, head_id, now) for one in corrections))


def _adjusted(state: State, corrections: Sequence[Correction], head_id: str, now: datetime) -> tuple[e.Event, ...]:
    groups: dict[tuple[str, str, str, str, str], list[Correction]] = {}
    for one in corrections:
        client, period = one.settled.client_id or "", one.settled.period
        if position_of(state, client, period) is not None:
            key = (client, period, one.price.model, one.before.price_id, one.price.price_id)
            groups.setdefault(key, []).append(one)
    return tuple(
        e.MonthAdjusted(
            id=derived_id(head_id, *key),
            subject=key[0],
            time=now,
            client_id=key[0],
            period=key[1],
            correction=head_id,
            model=key[2],
            previous_price_id=key[3],
            price_id=key[4],
            calls=len(group),
            previous_cost_usd=text(sum((one.before.cost for one in group), ZERO)),
            difference_usd=text(sum((one.difference for one in group), ZERO)),
            up_to_sequence=position_of(state, key[0], key[1]) or 0,
        )
        for key, group in sorted(groups.items())
    )


def _corrected(one: Correction, head_id: str, now: datetime) -> e.CallCorrected:
    settled, lines = one.settled, (None,) * 5 if one.charged is None else tuple(map(text, one.charged.lines))
    return e.CallCorrected(
        id=derived_id(head_id, settled.id),
        subject=settled.subject,
        time=now,
        client_id=settled.client_id,
        attempt=settled.attempt,
        purpose=settled.purpose,
        period=settled.period,
        request_model=settled.request_model,
        provider_name=settled.provider_name,
        key_id=settled.key_id,
        ticket_id=settled.ticket_id,
        arm=settled.arm,
        ticket_class=settled.ticket_class,
        corrects=settled.id,
        correction=head_id,
        reserved_at=settled.reserved_at,
        previous_price_id=one.before.price_id,
        price_id=one.price.price_id,
        previous_cost_usd=text(one.before.cost),
        cost_usd=text(one.cost),
        difference_usd=text(one.difference),
        usage_source=one.usage_source,
        response_model=settled.response_model,
        cost_uncached_input_usd=lines[0],
        cost_cache_read_usd=lines[1],
        cost_cache_write_usd=lines[2],
        cost_plain_output_usd=lines[3],
        cost_reasoning_usd=lines[4],
    )


def derived_id(head_id: str, *parts: str) -> str:
    """A UUIDv7 of the head's moment whose rest is told by what it is for, so that making it again gives it again."""
    told = sha256("\0".join((head_id, *parts)).encode()).hexdigest()
    moment = head_id.replace("-", "")[:12]
    if len(moment) != 12 or set(moment) - set("0123456789abcdef"):
        moment = told[40:52]
    return f"{moment[:8]}-{moment[8:]}-7{told[:3]}-{'89ab'[int(told[3], 16) % 4]}{told[4:7]}-{told[7:19]}"


@dataclass(slots=True)
class Corrections:
    """The fold: the head of a batch whose events are not all there yet, and how many are missing."""

    head: e.PriceCorrected | None = None
    missing: int = 0

    def came(self, correction: str) -> None:
        """One more event of a batch."""
        if self.head is not None and self.head.id == correction:
            self.missing -= 1
            if not self.missing:
                self.head = None


def price_corrected(state: State, event: e.PriceCorrected) -> None:
    """Fold; a new head ends whatever was open before it."""
    missing = event.corrections + event.adjustments
    state.corrections.head, state.corrections.missing = (event, missing) if missing else (None, 0)


def month_adjusted(state: State, event: e.MonthAdjusted) -> None:
    """Fold. The money moves with the call.corrected, so that it moves once."""
    state.corrections.came(event.correction)


def call_corrected(state: State, event: e.CallCorrected) -> None:
    """Fold: what was spent is what is known now, in totals and budgets alike, a closed month's included."""
    amount = Decimal(event.difference_usd)
    for scope in scopes(event.client_id, event.key_id):
        state.running[(*scope, event.period)].settled += amount
    spend = state.spend[_spend_key(event)]
    spend.cost_usd += amount
    state.corrections.came(event.correction)


def _spend_key(event: e.CallCorrected) -> SpendKey:
    model = event.response_model or event.request_model
    return SpendKey(event.client_id or "", event.period, event.purpose, model, event.arm, event.ticket_class)


def check_corrected(state: State, event: e.CallCorrected) -> None:
    """A correction is of a call that was counted, and its sum is right. Errors: NotFound, InvalidInput."""
    if Decimal(event.cost_usd) - Decimal(event.previous_cost_usd) != Decimal(event.difference_usd):
        raise InvalidInput(
            f"The correction of call {event.subject} says {event.previous_cost_usd} before, {event.cost_usd} after and "
            f"{event.difference_usd} between. The difference is after minus before."
        )
    counted = all((*scope, event.period) in state.running for scope in scopes(event.client_id, event.key_id))
    if not counted or _spend_key(event) not in state.spend:
        raise NotFound("settled call", event.subject, "Correct a call of a client, month and model that was charged.")


def check_adjusted(state: State, event: e.MonthAdjusted) -> None:
    """Errors: NotFound for the client, InvalidInput for a month that is open."""
    state.client(event.subject)
    if position_of(state, event.subject, event.period) is None:
        raise InvalidInput(f"{event.period} of {event.subject} is not closed, so there is nothing to adjust.")


def estimates_repriced(corrections: Iterable[Correction]) -> int:
    """How many of them stay estimates: their hold at the new price."""
    return sum(one.charged is None for one in corrections)
