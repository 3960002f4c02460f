"""The routed tickets of a client's month, read out of the log for whatif.py: decision, cost, and what people made of them."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from ledger import events as e
from ledger.afterwards import CallCorrected
from ledger.money import usd
from router.standing_folds import quality_of
from router.whatif import Routed


def routed_month(events: Iterable[e.Event], client_id: str, period: str) -> list[Routed]:
    """Every drafted ticket of the month whose choice had a probability, oldest first.

    Shapes: the first attempt decides; the cost is that of all settled attempts, as now known. A call without an end,
    without a probability or answered by a fallback is left out, a replied but unrated one is in with quality None. A draft that was redone costs
    what both cost and is as good as the second.
    """
    decided: dict[str, e.CallReserved] = {}
    cost: dict[tuple[str, int], Decimal] = {}
    strangers: set[str] = set()  # calls that another model than the chosen arm's answered
    quality: dict[str, float] = {}
    redone: dict[str, str] = {}  # call that redid a draft -> call of the draft
    for event in events:
        if event.client_id != client_id:
            continue
        if isinstance(event, e.CallReserved):
            if event.period == period and event.arm is not None and event.propensity is not None:
                decided.setdefault(event.subject, event)
        elif isinstance(event, e.DraftSuspected) and event.superseded_by is not None:
            redone[event.superseded_by] = event.call_id
        elif isinstance(event, e.CallSettled | CallCorrected):
            cost[event.subject, event.attempt] = usd(event.cost_usd)
            if event.subject in decided and event.request_model != decided[event.subject].request_model:
                strangers.add(event.subject)
        elif isinstance(event, e.DraftEdited):
            found = quality_of(event)
            if found is not None:
                quality[redone.get(event.call_id, event.call_id)] = found
    total: dict[str, Decimal] = {}
    for (call, _), part in cost.items():
        first = redone.get(call, call)
        total[first] = total.get(first, Decimal(0)) + part
    return [
        Routed(
            arm=first.arm or "",
            propensity=first.propensity or 0.0,
            ticket_class=first.ticket_class or "complex",
            cost_usd=float(total[call]),
            quality=quality.get(call),
        )
        for call, first in decided.items()
        if call in total and call not in strangers
    ]
