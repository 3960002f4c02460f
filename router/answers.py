"""What the gateway says of its own beside a reply: headers, and the object `halfpenny` in its body."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import msgspec
from aiohttp import web

from ledger.events import CallSettled
from ledger.money import text
from router.attempts import Done
from router.cache import Hit
from router.chat_reply import first_text, spliced
from router.classify import TicketReading
from router.doors import JSON
from router.fallback import HEADER
from router.policy import Decision
from router.redo import Looked
from router.replies import Kept, Source, source_of
from router.settlement import Asked, Order

_encode = msgspec.json.encode


class Sorted(NamedTuple):
    """What the classification call came to: the reading, the call itself where one was settled, and what a repeat avoids."""

    reading: TicketReading
    call: Done | None
    source: Source | None = None


class Routed(NamedTuple):
    """How a ticket came to its arm."""

    sorted: Sorted
    decision: Decision


class Made(NamedTuple):
    """An answer that was made anew; without `done` it is not whole."""

    response: web.StreamResponse
    done: Done | None
    routed: Routed | None


def shown(order: Order, looked: Looked | None = None, done: Done | None = None) -> dict[str, str]:
    """The headers of an answer that is made; of one that another model made in its place, also that model."""
    said = {"x-request-id": order.call_id, "x-halfpenny-call-id": order.call_id}
    if order.decision is not None:
        said["x-halfpenny-arm"] = order.decision.arm
        said["x-halfpenny-class"] = order.ticket_class or ""
    if done is not None and done.instead_of is not None:
        said[HEADER] = done.settled.request_model
    if looked is not None:
        said |= {
            "x-halfpenny-call-id": looked.done.settled.subject,
            "x-halfpenny-arm": looked.done.settled.arm or "",
            "x-halfpenny-second-look": "redone" if looked.is_redone else "kept",
        }
    return said


def whole(
    order: Order, routed: Routed | None, done: Done, more: dict[str, str], looked: Looked | None = None
) -> web.Response:
    """The answer to a call that was not streamed; after a second look, `done` is the draft that counts."""
    counts, cost_usd = (order, done.cost_usd) if looked is None else (looked.order, looked.cost_usd)
    extra = drafted(more, done.body) + own(counts, routed, done.settled, cost_usd, more, looked)
    headers = {**done.headers, **shown(order, looked, done), "x-halfpenny-cost-usd": text(cost_usd)}
    return web.Response(body=spliced(done.body, extra), content_type=JSON, headers=headers)


def own(
    order: Order,
    routed: Routed | None,
    settled: CallSettled,
    cost_usd: Decimal,
    more: dict[str, str],
    looked: Looked | None = None,
) -> bytes:
    """The gateway's own object: `"halfpenny": {call_id, cost_usd, arm, class, reason, cached}` and what sorting cost.

    Shapes: `model` and `instead_of` are there where another model answers in the chosen one's place; `second_look` is there where the draft was suspected; `cost_usd` is that of both drafts then.
    """
    said: dict[str, object] = {
        "call_id": order.call_id,
        "cost_usd": text(cost_usd),
        "arm": settled.arm,
        "class": settled.ticket_class,
        "reason": routed.decision.reason if routed else "the request named the model",
        "cached": False,
        **more,
    }
    if settled.request_model != order.model:
        said["model"] = settled.request_model
        said["instead_of"] = order.model
        said["reason"] = f"{said['reason']}; {order.model} failed, so {settled.request_model} answers in its place"
    if routed is not None:
        call = routed.sorted.call
        said["class_reading"] = routed.sorted.reading.reading
        said["classification_call_id"] = call.settled.subject if call else None
        said["classification_cost_usd"] = text(call.cost_usd) if call else None
    if looked is not None:
        said["second_look"] = looked.as_json()
    return b'"halfpenny":' + _encode(said)


def drafted(more: dict[str, str], body: bytes) -> bytes:
    """A ticket's own keys beside its completion."""
    if not more:
        return b""
    return b'"ticket_id":%b,"draft":%b,' % (_encode(more["ticket_id"]), _encode(first_text(body)))


def kept(made: Made, asked: Asked) -> Kept | None:
    """What the cache keeps of an answer; None when it is not whole, or another model's than the one that was asked."""
    source = None if made.done is None else source_of(made.done.settled)
    if made.done is None or source is None or not made.done.body or made.done.instead_of is not None:
        return None
    found = made.routed.sorted if made.routed else None
    return Kept(
        source=source,
        stored_at=asked.moment,
        body=made.done.body,
        sorting=found.source if found else None,
        arm=made.done.settled.arm,
        ticket_class=made.done.settled.ticket_class,
        class_reading=found.reading.reading if found else None,
    )


def shown_hit(asked: Asked, hit: Hit) -> dict[str, str]:
    """The headers of an answer from the cache."""
    said = {"x-request-id": asked.call_id, "x-halfpenny-call-id": asked.call_id, "x-halfpenny-cost-usd": "0"}
    if hit.kept.arm is not None:
        said |= {"x-halfpenny-arm": hit.kept.arm, "x-halfpenny-class": hit.kept.ticket_class or ""}
    return said


def own_of_hit(asked: Asked, hit: Hit, more: dict[str, str]) -> bytes:
    """The gateway's own object of an answer from the cache."""
    kept = hit.kept
    said: dict[str, object] = {
        "call_id": asked.call_id,
        "cost_usd": "0",
        "arm": kept.arm,
        "class": kept.ticket_class,
        "reason": f"served from the cache: the reply of call {kept.source.call_id}",
        "cached": True,
        **more,
    }
    if kept.arm is not None:
        said |= {"class_reading": kept.class_reading, "classification_call_id": None, "classification_cost_usd": None}
    return b'"halfpenny":' + _encode(said)
