"""The handlers that make calls: chat completions and tickets.

`auto` and tickets take two calls: the cheap model sorts, the policy picks an arm, the arm's model writes. Both are
held, made and settled alike. A named model that has a price is passed through and charged the same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

import msgspec
import structlog
from aiohttp import web
from msgspec.structs import replace

from ledger.budgets import Period, period_of
from ledger.errors import BudgetSpent, InvalidInput, UnpricedModel
from ledger.events import CallSettled, Event
from ledger.money import text
from ledger.prices import Price, moment_of
from ledger.projections import State
from router import answers, classify, deferral, settlement
from router.aggregates import PolicyMisconfigured, TicketView
from router.answers import Made, Routed, Sorted
from router.bounding import Bounding
from router.cache import Cache, Hit, Seat
from router.calls import Calls
from router.chat_reply import first_text, spliced
from router.chat_request import AUTO, ChatRequest, last_user_text, ticket_fields, ticket_request, upstream_body
from router.config import Config
from router.doors import JSON, Visit, retry_count, simulate_headers
from router.errors import BadRequest, HttpError, Overloaded, QuotaSpent, UnpricedCall, UpstreamError, of_unpriced
from router.event_stream import StreamScan, error_frame
from router.fallback import chat_elsewhere, sorting_elsewhere
from router.idempotency import HEADER, Once
from router.in_flight import InFlight
from router.keys import private_ticket_id
from router.other_endpoints import REQUEST_AT
from router.policy import Decision
from router.redo import SecondLook
from router.replies import Kept, request_parts, source_of
from router.settlement import Asked, Order
from router.shadow import ShadowChecks
from router.standing import Standing
from router.standing_folds import prompt_tokens
from router.stream_client import StreamClient, has_left

TIME_HEADER = "x-halfpenny-time"
_log = structlog.stdlib.get_logger()
Make = Callable[[], Awaitable[Made]]
Policy = Callable[[str, TicketView], Decision]  # the client, and the ticket it sent


class Gateway:
    """Handlers over one ledger and one provider. What `submit` returns is awaited until the event is durable."""

    def __init__(
        self,
        *,
        state: State,
        submit: Callable[[Event], Awaitable[None]],
        calls: Calls,
        cache: Cache,
        once: Once,
        policy: Policy,
        standing: Callable[[str], Standing | None],
        config: Config,
        pepper: bytes,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._state, self._submit, self._calls, self._cache, self._once = state, submit, calls, cache, once
        self._policy, self._config, self._pepper = policy, config, pepper
        self._now, self._new_id = now, new_id
        self._takes = config.provider.capabilities
        self._bounding = Bounding(state, standing, config.output_tokens, config.provider.picture_tokens)
        self._second = SecondLook(
            state=state,
            standing=standing,
            submit=submit,
            calls=calls,
            order_of=lambda asked, chat, headers: self._order(asked, chat, None, headers, None, 0),
            new_id=new_id,
            period_of=self._period,
            models=config.arms,
        )
        self._periods: dict[str, Period] = {}  # by zone
        self.in_flight = InFlight()
        self._shadow = ShadowChecks(
            config.classifier,
            output_bound=self._takes.imposed_bound,
            state=state,
            standing=standing,
            submit=submit,
            calls=calls,
            new_id=new_id,
            running=self.in_flight,
        )
        self.is_draining = False

    def create_completion(self, request: web.Request, visit: Visit) -> Awaitable[web.StreamResponse]:
        """POST /v1/chat/completions, /v1/embeddings and /v1/responses: OpenAI's contract, streamed and not."""
        chat = REQUEST_AT[request.path](visit.body)
        ticket = last_user_text(chat.fields) if chat.model == AUTO and chat.endpoint == "chat/completions" else None
        return self._once_in_flight(request, visit, chat, ticket, {})

    def create_ticket(self, request: web.Request, visit: Visit) -> Awaitable[web.StreamResponse]:
        """POST /v1/tickets: sort a ticket and draft its reply. The answer is a chat completion with ticket_id and draft."""
        fields, ticket, given = ticket_fields(visit.body)
        ticket_id = given or f"ticket-{visit.request_id}"
        chat = ticket_request(fields, ticket, ticket_id, system_prompt=self._config.tickets.system_prompt)
        return self._once_in_flight(request, visit, chat, ticket, {"ticket_id": ticket_id})

    def _once_in_flight(
        self, request: web.Request, visit: Visit, chat: ChatRequest, ticket: str | None, more: dict[str, str]
    ) -> Awaitable[web.StreamResponse]:
        """A request without an Idempotency-Key goes straight on: each coroutine in between costs every step of the call."""
        if HEADER not in request.headers:
            return self._in_flight(request, visit, chat, ticket, more)
        respond = partial(self._in_flight, request, visit, chat, ticket, more)
        return self._once.answer(request, visit, self.moment(request), visit.body, respond)

    def ticket_id(self, client_id: str, given: str | None) -> str | None:
        """A ticket's id as it is written: hashed for a client marked private."""
        client = self._state.clients.get(client_id)
        if given is None or client is None or not client.private:
            return given
        return private_ticket_id(self._pepper, client_id, given)

    def moment(self, request: web.Request) -> datetime:
        """When a request happens: now, or what it says when a month is replayed. Errors: BadRequest."""
        said = request.headers.get(TIME_HEADER) if self._config.server.clock == "request" else None
        if said is None:
            return self._now()
        try:
            return moment_of(said)
        except InvalidInput as wrong:
            raise BadRequest(f"Header {TIME_HEADER}: {wrong}", param=TIME_HEADER) from None

    async def _in_flight(
        self, request: web.Request, visit: Visit, chat: ChatRequest, ticket: str | None, more: dict[str, str]
    ) -> web.StreamResponse:
        """Count the call in, make it, answer, and say refusals of budget and price in HTTP."""
        if self.is_draining:
            raise Overloaded("The service is stopping.", retry_after_s=5)
        asked = self._asked(request, visit, chat)
        if len(self.in_flight) >= self._config.server.max_in_flight:
            busy = Overloaded(f"{self._config.server.max_in_flight} calls are in flight, which is the limit.")
            # Not waited for: a refusal under overload has to be fast.
            self._submit(settlement.refused(asked, "overload", busy, event_id=self._new_id()))
            raise busy
        task = request.task
        self.in_flight.add(task)
        try:
            return (await self._answer(request, chat, asked, ticket, more)).response
        except BudgetSpent as spent:
            _log.info(
                "refused", call_id=visit.request_id, client_id=visit.client_id, refusal="budget", scope=spent.scope
            )
            fallback = self._config.policy.fallback
            if ticket is None or fallback == "none":
                raise self._quota_spent(spent, asked) from None
            await self._submit(deferral.deferred(asked, fallback, spent, event_id=self._new_id()))
            words, why = self._config.policy.fallback_text, f"no arm's worst case fits the budget of {asked.period}"
            return deferral.reply(asked, fallback, words, why, stream=chat.stream, more=more)
        except UpstreamError as failed:
            _log.warning(
                "upstream", call_id=visit.request_id, client_id=visit.client_id, status=failed.status, code=failed.code
            )
            raise
        finally:
            self.in_flight.discard(task)

    def _answer(
        self, request: web.Request, chat: ChatRequest, asked: Asked, ticket: str | None, more: dict[str, str]
    ) -> Awaitable[Made]:
        headers = simulate_headers(request) if self._config.server.forward_simulate_headers else {}
        seat = None
        if chat.endpoint == "chat/completions":
            seat = self._cache.seat(asked, lambda: self._parts(chat, headers), request.headers, purpose=chat.purpose)
        if seat is None:
            return self._make(request, chat, asked, ticket, more, headers, kept_bytes=0)
        make = partial(self._make, request, chat, asked, ticket, more, headers, kept_bytes=self._cache.stream_bytes)
        return self._found_or_made(request, chat, asked, more, seat, make)

    async def _found_or_made(
        self, request: web.Request, chat: ChatRequest, asked: Asked, more: dict[str, str], seat: Seat, make: Make
    ) -> Made:
        hit = await self._cache.find(seat)
        if hit is not None:
            return Made(await self._serve(request, chat, asked, hit, more), None, None)
        kept = None
        try:
            made = await make()
            kept = answers.kept(made, asked)
        finally:
            seat.keep(kept)
        return made

    async def _make(
        self,
        request: web.Request,
        chat: ChatRequest,
        asked: Asked,
        ticket: str | None,
        more: dict[str, str],
        headers: dict[str, str],
        *,
        kept_bytes: int,
    ) -> Made:
        routed = None
        if ticket is not None:
            routed = await self._route(request, asked, chat, ticket, headers)
            asked = self._after_sorting(asked, routed)
        order = await self._order(asked, chat, routed, headers, retry_count(request), kept_bytes)
        if chat.stream:
            return await self._answer_stream(request, order, routed, more)
        if ticket is None:
            made: list[web.Response] = []  # while the disk writes the call's end; sent once that is durable
            done = await self._calls.complete(
                order, lambda: has_left(request), lambda done: made.append(answers.whole(order, routed, done, more))
            )
            return Made(made[0], done, routed)
        looked, done = None, await self._calls.complete(order, lambda: has_left(request))
        if done.instead_of is None and not self.is_draining:
            looked = await self._second.look(asked, chat, ticket, order, done, lambda: has_left(request))
            done = done if looked is None else looked.done
        return Made(answers.whole(order, routed, done, more, looked), done, routed)

    async def _serve(
        self, request: web.Request, chat: ChatRequest, asked: Asked, hit: Hit, more: dict[str, str]
    ) -> web.StreamResponse:
        """Answer from the cache; the hit is durable before the reply or its end is released."""
        shown = answers.shown_hit(asked, hit)
        extra = answers.own_of_hit(asked, hit, more)
        await self._cache.record(asked, hit, stream=chat.stream)
        body = hit.kept.body
        if not chat.stream:
            extra = answers.drafted(more, body) + extra
            return web.Response(body=spliced(body, extra), content_type=JSON, headers=shown)
        client = StreamClient(request, shown, self._config.server.client_stall_s)
        scan = StreamScan(choices=chat.choices, wants_usage=chat.wants_usage)
        scan.feed(body)  # it ends in this one block, so all of it goes out with the closing
        await client.finish(scan.closing(extra))
        return client.response

    def _parts(self, chat: ChatRequest, headers: dict[str, str]) -> list[bytes | msgspec.Raw]:
        """What makes a question the same: for a routed one also the models it may be routed to."""
        arms, classifier = self._config.arms, self._config.classifier
        routing = {**arms, "": classifier.model}
        steady = {name: value for name, value in headers.items() if name.lower() != "x-simulate-time"}
        return request_parts(chat, routing if chat.model == AUTO else {}, steady)

    async def _answer_stream(
        self, request: web.Request, order: Order, routed: Routed | None, more: dict[str, str]
    ) -> Made:
        client = StreamClient(request, answers.shown(order), self._config.server.client_stall_s)

        def closing(settled: CallSettled, cost_usd: Decimal) -> bytes:
            return answers.own(order, routed, settled, cost_usd, more)

        done = None
        try:
            done = await self._calls.stream(order, client, closing)
        except (HttpError, asyncio.CancelledError) as failed:
            if not client.is_started:
                raise
            stopped = Overloaded("The service is stopping.", retry_after_s=5)
            await client.finish(error_frame((failed if isinstance(failed, HttpError) else stopped).body))
        return Made(client.response, done, routed)

    async def _route(
        self, request: web.Request, asked: Asked, chat: ChatRequest, ticket: str, headers: dict[str, str]
    ) -> Routed:
        found = await self._sort(request, asked, ticket, headers)
        if found.call is not None:
            self._shadow.begin(asked, ticket, found.reading, headers)
        moment = self._moment_after(asked, found)
        view = TicketView(
            ticket_id=asked.ticket_id or asked.call_id,
            at=moment,
            ticket_class=found.reading.ticket_class,
            score=None,
            prompt_tokens=prompt_tokens(chat.bytes_at_most),
            holds_usd={
                arm: self._bounding.holds_usd(asked, chat, model, moment, found.reading.ticket_class)
                for arm, model in self._config.arms.items()
            },
        )
        try:
            return Routed(sorted=found, decision=self._policy(asked.client_id, view))
        except PolicyMisconfigured as wrong:
            raise UnpricedCall(f"No arm can answer: {wrong}") from None

    async def _sort(self, request: web.Request, asked: Asked, ticket: str, headers: dict[str, str]) -> Sorted:
        """The classification call: a call of its own. One that fails leaves the ticket complex, and says so.

        Errors: BudgetSpent and HttpError for a model without a price, as for any call.
        """
        settings = self._config.classifier
        body = classify.request_body(
            ticket,
            model=settings.model,
            text_characters=settings.text_characters,
            max_completion_tokens=settings.max_completion_tokens,
            output_bound=self._takes.imposed_bound,
        )
        seat = self._cache.seat(asked, lambda: (b"sort", body), request.headers, purpose="classification")
        if seat is None:
            return await self._sort_anew(request, asked, ticket, body, headers)
        hit = await self._cache.find(seat)
        if hit is not None:
            await self._cache.record_sorting(asked, hit)
            return Sorted(classify.read_answer(first_text(hit.kept.body)), None, hit.kept.source)
        kept = None
        try:
            found = await self._sort_anew(request, asked, ticket, body, headers)
            if found.source is not None and found.call is not None and found.reading.reading == "clear":
                kept = Kept(source=found.source, stored_at=asked.moment, body=found.call.body)
        finally:
            seat.keep(kept)
        return found

    async def _sort_anew(
        self, request: web.Request, asked: Asked, ticket: str, body: bytes, headers: dict[str, str]
    ) -> Sorted:
        settings = self._config.classifier
        order = Order(
            call_id=self._new_id(),
            client_id=asked.client_id,
            key_id=asked.key_id,
            moment=asked.moment,
            period=asked.period,
            model=settings.model,
            body=body,
            max_output_tokens=settings.max_completion_tokens,
            price=await self._price(replace(asked, model=settings.model, purpose="classification")),
            purpose="classification",
            ticket_id=asked.ticket_id,
            elsewhere=sorting_elsewhere(ticket, self._config),
            more_headers=headers,
        )
        try:
            done = await self._calls.complete(order, lambda: has_left(request))
        except UpstreamError as failed:
            _log.warning("not_sorted", call_id=order.call_id, status=failed.status, code=failed.code)
            return Sorted(classify.FAILED, None)
        return Sorted(
            classify.read_answer(first_text(done.body)), done, None if done.instead_of else source_of(done.settled)
        )

    def _asked(self, request: web.Request, visit: Visit, chat: ChatRequest) -> Asked:
        moment, client_id = self.moment(request), visit.client_id
        return Asked(
            call_id=visit.request_id,
            client_id=client_id,
            key_id=visit.caller.key_id,
            moment=moment,
            period=self._period(client_id, moment),
            model=chat.model,
            purpose=chat.purpose,
            ticket_id=self.ticket_id(client_id, chat.ticket_id),
        )

    def _after_sorting(self, asked: Asked, routed: Routed) -> Asked:
        """The drafting call begins where sorting ended, which in a replayed month is its stated duration later."""
        moment = self._moment_after(asked, routed.sorted)
        model = self._config.arms[routed.decision.arm]
        return replace(asked, moment=moment, period=self._period(asked.client_id, moment), model=model)

    def _moment_after(self, asked: Asked, found: Sorted) -> datetime:
        if self._config.server.clock == "request":
            return asked.moment + timedelta(seconds=found.call.settled.duration_s if found.call else 0.0)
        return self._now()

    async def _order(
        self,
        asked: Asked,
        chat: ChatRequest,
        routed: Routed | None,
        headers: dict[str, str],
        retry: int | None,
        kept_bytes: int,
    ) -> Order:
        price = await self._price(asked)
        ticket_class = routed.sorted.reading.ticket_class if routed else None
        bound = self._bounding.bound(asked, chat, price, ticket_class, self._bounding.input_tokens_at_most(chat))

        def body(tokens: int) -> bytes:
            return upstream_body(chat, model=asked.model, max_output_tokens=tokens, takes=self._takes)

        return Order(
            call_id=asked.call_id,
            client_id=asked.client_id,
            key_id=asked.key_id,
            moment=asked.moment,
            period=asked.period,
            model=asked.model,
            body=body(bound.tokens),
            max_output_tokens=bound.tokens * chat.choices,
            body_at=body if bound.least < bound.tokens else None,
            least_output_tokens=bound.least * chat.choices,
            price=price,
            endpoint=chat.endpoint,
            more_input_tokens=self._bounding.picture_tokens(chat),
            stream=chat.stream,
            choices=chat.choices,
            wants_usage=chat.wants_usage,
            purpose=asked.purpose,
            ticket_id=asked.ticket_id,
            ticket_class=ticket_class,
            class_reading=routed.sorted.reading.reading if routed else None,
            decision=routed.decision if routed else None,
            client_retry=retry,
            elsewhere=chat_elsewhere(chat, bound.tokens, self._config),
            kept_bytes=kept_bytes,
            more_headers=headers,
        )

    async def _price(self, asked: Asked) -> Price:
        """The price in force. Errors: HttpError 402 or 404, recorded as a refusal, when there is none."""
        try:
            return self._state.prices.price_at(asked.model, asked.moment)
        except UnpricedModel as unpriced:
            await self._submit(settlement.refused(asked, "unpriced", unpriced, event_id=self._new_id()))
            _log.info("refused", call_id=asked.call_id, client_id=asked.client_id, refusal="unpriced")
            raise of_unpriced(unpriced) from None

    def _period(self, client_id: str, moment: datetime) -> str:
        """The client's month at a moment; the one found last is usually still the one."""
        zone = self._state.client(client_id).zone
        found = self._periods.get(zone)
        if found is None or not found.start <= moment < found.end:
            found = self._periods[zone] = period_of(moment, zone)
        return found.name

    def _quota_spent(self, spent: BudgetSpent, asked: Asked) -> QuotaSpent:
        zone = self._state.client(asked.client_id).zone
        own = self._state.account("client", asked.client_id, spent.period, zone)
        return QuotaSpent(spent, own_settled=text(own.settled), own_held=text(own.held + own.orphaned))
