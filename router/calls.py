"""The life of one call: hold, send, settle or void, and again where that is safe.

Every attempt has a durable hold before a byte goes upstream and exactly one end, whatever happens in between: an
error, a deadline, a shutdown, a client that has left, a mistake in this code. The handler that runs it is
a task of the server's own and is not cancelled by a client hanging up; the end is durable before the reply is released.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from decimal import Decimal
from time import monotonic
from typing import Literal

import structlog

from ledger.errors import BudgetSpent
from ledger.events import CallReserved, CallSettled, CallVoided, Event, Outcome
from ledger.money import LIMIT, ZERO
from ledger.prices import PriceBook
from ledger.usage import UnknownUsage, read_usage
from router import fallback, settlement
from router.attempts import Attempt, Client, Done, Run
from router.capabilities import advice
from router.chat_reply import BadReply, read_reply
from router.config import Config
from router.errors import ClientLeft, HttpError, ShutOut, UnpricedCall, Unreachable, UpstreamBroken, UpstreamRefused
from router.event_stream import BrokenStream, Collected, StreamScan
from router.fallback import Fallback, Way
from router.holds import HoldLine
from router.other_endpoints import ResponseScan, read_embeddings, read_response
from router.retries import (
    RETRIED,
    CallFailed,
    asked_wait_s,
    error_of,
    is_the_providers,
    outcome_of,
    seconds_in,
    stream_error,
    wait_s,
)
from router.settlement import Ending, Order
from router.shared_budget import BudgetOutOfReach, SharedBudget
from router.upstream import Answer, NeverSent, NoAnswer, Upstream

_READERS = {"chat/completions": read_reply, "embeddings": read_embeddings, "responses": read_response}
ABSENT = UnknownUsage("absent")
_log = structlog.stdlib.get_logger()
Measure = Literal["measured", "simulated"]


Closing = Callable[[CallSettled, Decimal], bytes]  # the gateway's own object, once the cost is known


class Calls:
    """Makes calls. All it needs from outside comes in here: ledger, provider, clock, ids, chance."""

    def __init__(
        self,
        *,
        submit: Callable[[Event], Awaitable[None]],
        prices: PriceBook,
        upstream: Upstream,
        config: Config,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        chance: Callable[[], float],
        on_settled: Callable[[CallSettled], None],
        shared: SharedBudget | None = None,
        second: Upstream | None = None,
    ) -> None:
        self._submit, self._prices, self._server = submit, prices, config.server
        self._first = Way.to(config.provider, upstream)
        self._fallback = Fallback(config, self._first, second, prices)
        self._now, self._new_id, self._chance = now, new_id, chance
        self._on_settled = on_settled
        self._shared = shared
        self._line = HoldLine(submit, wait_s=config.budget.wait_s, shared=shared)

    @property
    def shut_out(self) -> tuple[str, ...]:
        """Clients whose calls are not sent for the moment, since their last ones all failed."""
        return tuple(sorted({*self._first.breakers.open, *self._fallback.way.breakers.open}))

    def complete(
        self, order: Order, is_client_gone: Callable[[], bool], meanwhile: Callable[[Done], None] | None = None
    ) -> Awaitable[Done]:
        """Make an unstreamed call.

        Shapes: what it came to is handed to `meanwhile` while the disk still writes its end, and returned once that is durable.
        Errors, when it is awaited: BudgetSpent when no hold could be had; UpstreamError as the client should see it; UnpricedCall.
        """
        return self._make(order, Run(None, is_client_gone, self._receive_whole, meanwhile))

    def stream(self, order: Order, client: Client, closing: Closing) -> Awaitable[Done]:
        """Make a streamed call, writing to the client as it comes.

        Shapes: a client that is not started has got nothing yet, so an error can still be answered with a status;
        one that is started gets what `closing` makes of the settled call, or the caller's error frame.
        Errors: as `complete`.
        """

        def receive(attempt: Attempt, answer: Answer) -> Awaitable[Done]:
            return self._receive_stream(attempt, answer, client, closing)

        return self._make(order, Run(client, lambda: client.is_gone, receive))

    async def _make(self, order: Order, run: Run) -> Done:
        try:
            return await self._tried(order, self._first, run)
        except CallFailed as failed:
            first, now = failed.error, monotonic()
        try:
            other = None
            if now < run.until and not run.is_started and not run.is_client_gone():
                other = self._fallback.instead(order, first, now)
            if other is None:
                raise first
            way = self._fallback.way
            run.instead_of, run.until = order.model, min(run.until, now + way.provider.total_timeout_s)
            if run.client is not None:
                run.client.show({fallback.HEADER: other.model})
            try:
                return await self._tried(other, way, run)
            except (CallFailed, BudgetSpent, HttpError) as second:
                if run.is_started and isinstance(second, CallFailed):
                    raise second.error from None
                _log.warning("not_fallen_back", call_id=order.call_id, why=str(second))
            raise first
        finally:
            del first  # it and this frame would hold each other, and the request's body, until the collector looks

    async def _tried(self, order: Order, way: Way, run: Run) -> Done:
        """Make the call on one way, again where that is safe. Errors: CallFailed, BudgetSpent, HttpError."""
        if run.instead_of is None and (shut_s := way.breakers.wait_s(order.client_id, monotonic())) is not None:
            await self._refuse_shut_out(order, way, run, shut_s)
        for number in range(1, way.provider.retries + 2):
            attempt = await self._reserve(order, way, run)
            try:
                done = await self._once(attempt)
            except CallFailed as failed:
                way.breakers.ended(order.client_id, is_failure=is_the_providers(failed), now=monotonic())
                pause_s = wait_s(failed, number, way.provider, left_s=run.until - monotonic(), chance=self._chance())
                if pause_s is None or run.is_started:
                    raise
                await asyncio.sleep(pause_s)
                if run.is_client_gone():
                    raise
            else:
                way.breakers.ended(order.client_id, is_failure=False, now=0.0)
                return done
        raise AssertionError("the last attempt returns or raises")

    async def _refuse_shut_out(self, order: Order, way: Way, run: Run, shut_s: float) -> None:
        """Refuse a client that is shut out; where another provider could answer, that is an attempt which was not sent."""
        shut = ShutOut(way.provider.name, shut_s)
        if self._fallback.stands_ready(order, monotonic()):
            await self._void(await self._reserve(order, way, run), "shut_out", f"Never sent: {shut}")
            raise CallFailed(shut)
        # Not waited for, as under overload: the refusal has to be fast.
        self._submit(settlement.refused(order, "overload", shut, event_id=self._new_id()))
        raise shut

    async def _reserve(self, order: Order, way: Way, run: Run) -> Attempt:
        hold_usd = order.hold_usd
        if hold_usd >= LIMIT:
            raise UnpricedCall(
                f"At worst this call would cost {hold_usd:f} USD, more than can be held. Ask for fewer tokens or choices.",
                param="max_completion_tokens",
            )
        hold = settlement.reserved(
            order, run.attempts + 1, event_id=self._new_id(), hold_usd=hold_usd, provider_name=way.provider.name
        )

        def smaller(room_usd: Decimal) -> CallReserved | None:
            less = settlement.fitted(order, room_usd)
            return None if less is None else settlement.lowered(hold, less)

        try:
            at_most_s = max(0.0, run.until - monotonic())
            made = await self._line.reserve(hold, smaller, at_most_s=at_most_s, is_gone=run.is_client_gone)
        except (BudgetSpent, BudgetOutOfReach, ClientLeft) as out:
            if run.instead_of is None:
                kind: Literal["budget", "overload"] = "overload" if isinstance(out, BudgetOutOfReach) else "budget"
                await self._submit(settlement.refused(order, kind, out, event_id=self._new_id()))
            raise
        order, began = settlement.bounded(order, made.max_output_tokens), monotonic()
        if not run.attempts:
            run.until = began + way.provider.total_timeout_s
        run.attempts += 1
        return Attempt(order, made, began, way, run)

    async def _once(self, attempt: Attempt) -> Done:
        try:
            answer = attempt.answer = await self._send(attempt)
            if answer.status != 200:
                await self._rejected(attempt, answer)
            return await attempt.run.receive(attempt, answer)
        except BaseException as broke:
            if not attempt.is_ended:
                # A cancellation at shutdown, or a mistake of ours: the provider may bill it all the same.
                name = "shutdown" if isinstance(broke, asyncio.CancelledError) else type(broke).__name__
                await self._settle(attempt, self._lost(attempt, "error", name))
            if attempt.answer is not None:
                await attempt.answer.close()
            raise

    async def _send(self, attempt: Attempt) -> Answer:
        order = attempt.order
        if attempt.run.is_client_gone():
            left = ClientLeft("before its call was made")
            await self._void(attempt, "client_gone", str(left))
            raise left
        try:
            return await attempt.way.upstream.send(
                order.body,
                request_id=f"{order.call_id}.{attempt.hold.attempt}",
                more_headers=order.more_headers,
                within_s=None if attempt.hold.attempt == 1 else attempt.run.until - attempt.began,
                endpoint=order.endpoint,
            )
        except NeverSent as refused:
            await self._void(attempt, refused.error_type, f"Never sent: {refused}.")
            raise CallFailed(Unreachable(attempt.way.provider.name, str(refused)), may_retry=True) from None
        except NoAnswer as lost:
            await self._settle(attempt, self._lost(attempt, outcome_of(lost), lost.error_type))
            raise CallFailed(error_of(lost, attempt.way.provider.name), may_retry=not lost.is_timeout) from None

    async def _rejected(self, attempt: Attempt, answer: Answer) -> None:
        """An answer other than 200: void, or settle where the provider bills its own errors."""
        status = answer.status
        if status >= 500 and attempt.way.provider.bills_errors:
            await self._settle(attempt, self._lost(attempt, "error", f"status_{status}", status))
        else:
            reason = f"{attempt.way.provider.name} rejected the request with status {status}."
            await self._void(attempt, f"status_{status}", reason, status)
        try:
            sent = await answer.read()
        except NoAnswer:
            sent = b""  # the status alone says enough
        told = advice(status, sent, attempt.order.body)
        error = UpstreamRefused(status, sent, answer.passed_on(), attempt.way.provider.name, advice=told)
        raise CallFailed(error, may_retry=status in RETRIED, retry_after_s=asked_wait_s(answer.headers))

    async def _receive_whole(self, attempt: Attempt, answer: Answer) -> Done:
        try:
            body = await answer.read()
            reply = _READERS[attempt.order.endpoint](body)
        except NoAnswer as lost:
            await self._settle(attempt, self._lost(attempt, outcome_of(lost), lost.error_type, 200))
            raise CallFailed(error_of(lost, attempt.way.provider.name)) from None
        except BadReply as bad:
            await self._settle(attempt, self._lost(attempt, "error", "malformed_reply", 200))
            raise CallFailed(UpstreamBroken(attempt.way.provider.name, str(bad))) from None
        duration_s, source = self._duration(attempt)
        ending = Ending(
            outcome="client_gone" if attempt.run.is_client_gone() else "ok",
            usage=reply.usage,
            has_output=reply.has_output,
            text_doubt=reply.doubt,
            duration_s=duration_s,
            duration_source=source,
            response_model=reply.model,
            response_id=reply.response_id,
            finish_reasons=reply.finish_reasons,
            http_status=200,
        )
        settled, durable = self._settling(attempt, ending)
        done = attempt.run.done(settled, headers=answer.passed_on(), body=body, reply=reply)
        if attempt.run.meanwhile is not None:
            attempt.run.meanwhile(done)
        await durable
        return done

    async def _receive_stream(self, attempt: Attempt, answer: Answer, client: Client, closing: Closing) -> Done:
        order = attempt.order
        scan = (
            ResponseScan()
            if order.endpoint == "responses"
            else StreamScan(choices=order.choices, wants_usage=order.wants_usage)
        )
        collected = Collected(order.kept_bytes)
        first_at, lost = await self._pump(scan, answer, client, collected)
        outcome: Outcome = "client_gone" if client.is_gone else "ok"
        error_type = None
        if not scan.is_complete:
            outcome = "error" if scan.error is not None else outcome_of(lost) if lost else "upstream_truncated"
            error_type = "error_in_stream" if scan.error is not None else lost.error_type if lost else "no_end"
        usage = read_usage(scan.usage)
        duration_s, source = self._duration(attempt)
        settled = await self._settle(
            attempt,
            Ending(
                outcome=outcome,
                usage=usage,
                text_doubt=scan.doubt(usage),
                has_output=scan.chunks > 2 * order.choices,  # more than a role and a finish
                duration_s=duration_s,
                duration_source=source,
                response_model=scan.model,
                response_id=scan.response_id,
                finish_reasons=scan.finish_reasons,
                first_chunk_s=self._first_chunk(attempt, first_at),
                stream_complete=scan.is_complete,
                error_type=error_type,
                http_status=200,
            ),
        )
        if not scan.is_complete:
            await answer.close()
            raise CallFailed(stream_error(scan, lost, attempt.way.provider.name))
        await client.finish(scan.closing(closing(settled, attempt.run.cost_usd)))
        await answer.close()
        return attempt.run.done(settled, headers={}, body=collected.body)

    async def _pump(
        self, scan: StreamScan, answer: Answer, client: Client, collected: Collected
    ) -> tuple[float | None, NoAnswer | None]:
        """Read the stream to its end, whoever is still listening. Returns when it began, and how it was lost."""
        first_at = None
        try:
            while block := await answer.block(is_amid=scan.is_amid):
                if first_at is None:
                    first_at = monotonic()
                ready = scan.feed(block)
                collected.take(block)
                block = b""  # not kept beside what is written while a slow reader is waited for
                if ready and not client.is_gone:
                    await client.write(ready)
                if scan.is_done or scan.error is not None:
                    break
        except NoAnswer as lost:
            return first_at, None if scan.is_complete else lost
        except BrokenStream as broken:
            return first_at, NoAnswer("malformed_event", str(broken))
        return first_at, None

    def _lost(self, attempt: Attempt, outcome: Outcome, error_type: str, status: int | None = None) -> Ending:
        """An end of which only the time is known; it is taken to have cost its whole hold."""
        duration_s, source = self._duration(attempt)
        return Ending(
            outcome=outcome,
            usage=ABSENT,
            duration_s=duration_s,
            duration_source=source,
            stream_complete=False if attempt.order.stream else None,
            error_type=error_type,
            http_status=status,
        )

    async def _settle(self, attempt: Attempt, ending: Ending) -> CallSettled:
        event, durable = self._settling(attempt, ending)
        await durable
        return event

    def _settling(self, attempt: Attempt, ending: Ending) -> tuple[CallSettled, Awaitable[None]]:
        event = settlement.settled(
            attempt.hold,
            attempt.order.price,
            ending,
            prices=self._prices,
            served_names=attempt.way.provider.served_names,
            event_id=self._new_id(),
            time=self._end_time(attempt, ending.duration_s),
        )
        attempt.run.cost_usd += Decimal(event.cost_usd)
        return event, self._end(attempt, event)

    async def _void(self, attempt: Attempt, error_type: str, reason: str, status: int | None = None) -> None:
        event = settlement.voided(
            attempt.hold,
            event_id=self._new_id(),
            time=self._end_time(attempt, self._duration(attempt)[0]),
            error_type=error_type,
            reason=reason,
            http_status=status,
        )
        await self._end(attempt, event)

    def _end(self, attempt: Attempt, event: CallSettled | CallVoided) -> Awaitable[None]:
        durable = self._submit(event)
        attempt.is_ended = True  # the ledger applies an event as it takes it, durable or not yet
        self._line.came_free()
        if isinstance(event, CallSettled):
            self._on_settled(event)
        return durable if self._shared is None else self._end_shared(self._shared, attempt, event, durable)

    async def _end_shared(
        self, shared: SharedBudget, attempt: Attempt, event: CallSettled | CallVoided, durable: Awaitable[None]
    ) -> None:
        with shared.ending(attempt.hold, Decimal(event.cost_usd) if isinstance(event, CallSettled) else ZERO):
            await durable

    def _end_time(self, attempt: Attempt, duration_s: float) -> datetime:
        """In a replayed month the end lies one duration after the beginning; else it is now."""
        if self._server.clock == "request":
            return attempt.hold.time + timedelta(seconds=settlement.seconds(duration_s))
        return self._now()

    def _duration(self, attempt: Attempt) -> tuple[float, Measure]:
        """Seconds since the attempt began, or what the simulated provider states."""
        stated = self._stated(attempt, "x-simulated-duration-s")
        if stated is not None:
            return stated, "simulated"
        return monotonic() - attempt.began, "measured"

    def _first_chunk(self, attempt: Attempt, first_at: float | None) -> float | None:
        stated = self._stated(attempt, "x-simulated-first-chunk-s")
        if first_at is None or stated is not None:
            return stated if first_at is not None else None
        return first_at - attempt.began

    def _stated(self, attempt: Attempt, header: str) -> float | None:
        if not self._server.trust_simulated_durations or attempt.answer is None:
            return None
        return seconds_in(attempt.answer.headers.get(header))
