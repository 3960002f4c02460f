"""Shadow checks: a share of tickets is sorted a second time by another model, so that a classifier that drifts is seen.

Charged and recorded like any call, with purpose `shadow`, and after the ticket was answered. What both
said is `class.checked`. A check is no reason to refuse anybody: without a price, or room beside the reserve, there is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from ledger.errors import BudgetSpent, UnpricedModel
from ledger.events import ClassChecked, Event
from ledger.projections import State, check
from router import classify, settlement
from router.calls import Calls
from router.capabilities import OutputBound
from router.chat_reply import first_text
from router.classify import TicketReading
from router.config import Classifier
from router.errors import HttpError
from router.in_flight import InFlight
from router.policy import coin
from router.settlement import Asked, Order
from router.standing import Standing

_log = structlog.stdlib.get_logger()


class ShadowChecks:
    """Makes second opinions; all it needs from outside comes in here. Shapes: `running` holds what is under way."""

    def __init__(
        self,
        settings: Classifier,
        *,
        output_bound: OutputBound,
        state: State,
        standing: Callable[[str], Standing | None],
        submit: Callable[[Event], Awaitable[None]],
        calls: Calls,
        new_id: Callable[[], str],
        running: InFlight,
    ) -> None:
        self._output_bound = output_bound
        self._settings, self._state, self._standing, self._submit = settings, state, standing, submit
        self._calls, self._new_id, self._running = calls, new_id, running

    def begin(self, asked: Asked, ticket: str, reading: TicketReading, headers: dict[str, str]) -> None:
        """Begin a check of a ticket that was sorted anew, where its coin falls so; what it comes to is recorded, not waited for."""
        standing = self._standing(asked.client_id)
        if standing is None or reading.reading != "clear" or not self._settings.shadow_share:
            return
        # Its own salt, and the ticket's own coin: a replayed month checks the same tickets.
        if (
            coin(standing.state.config.seed, asked.client_id, asked.ticket_id or asked.call_id, "shadow check")
            >= self._settings.shadow_share
        ):
            return
        order, answering = self._order(asked, ticket, headers), asyncio.current_task()
        if order is not None and answering is not None:
            task: asyncio.Task[object] = asyncio.create_task(self._check(answering, standing, asked, order, reading))
            self._running.add(task)  # a drain waits for it, and no call is lost with the task
            task.add_done_callback(self._running.discard)

    def _order(self, asked: Asked, ticket: str, headers: dict[str, str]) -> Order | None:
        settings = self._settings
        try:
            price = self._state.prices.price_at(settings.shadow_model, asked.moment)
        except UnpricedModel:
            _log.warning("not_checked", client_id=asked.client_id, error="UnpricedModel")
            return None
        body = classify.request_body(
            ticket,
            model=settings.shadow_model,
            text_characters=settings.text_characters,
            max_completion_tokens=settings.max_completion_tokens,
            output_bound=self._output_bound,
        )
        return Order(
            call_id=self._new_id(),
            client_id=asked.client_id,
            key_id=asked.key_id,
            moment=asked.moment,
            period=asked.period,
            model=settings.shadow_model,
            body=body,
            max_output_tokens=settings.max_completion_tokens,
            price=price,
            purpose="shadow",
            ticket_id=asked.ticket_id,
            more_headers=headers,
        )

    def _has_room(self, standing: Standing, order: Order) -> bool:
        state = standing.state
        if not standing.is_uncapped and float(order.hold_usd) > state.left_usd - state.reserve_usd:
            return False
        hold = settlement.reserved(order, 1, event_id=order.call_id, hold_usd=order.hold_usd, provider_name="any")
        try:
            check(self._state, hold)
        except BudgetSpent:
            return False
        return True

    async def _check(
        self, answering: asyncio.Task[object], standing: Standing, asked: Asked, order: Order, reading: TicketReading
    ) -> None:
        await self._running.left(answering)  # the ticket's own calls go first, also to the last of the money
        if not self._has_room(standing, order):
            return
        try:
            done = await self._calls.complete(order, lambda: False)
        except (BudgetSpent, HttpError) as failed:
            _log.warning("not_checked", call_id=order.call_id, error=type(failed).__name__)
            return
        second = classify.read_answer(first_text(done.body))
        await self._submit(
            ClassChecked(
                id=self._new_id(),
                subject=asked.call_id,
                time=done.settled.time,
                client_id=asked.client_id,
                period=order.period,
                call_id=order.call_id,
                request_model=order.model,
                ticket_class=reading.ticket_class,
                checked_class=second.ticket_class,
                checked_reading="clear" if second.reading == "clear" else "unclear",
                ticket_id=asked.ticket_id,
            )
        )
