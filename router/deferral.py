"""What a ticket's sender gets when no arm's worst case fits and a person or a queue is to answer.

An ordinary chat completion with status 200, since an OpenAI client throws on anything else and its caller would have
nothing to show: the configured text, no usage, `halfpenny.arm` and `x-halfpenny-arm` naming who answers. The fact is
a `ticket.deferred` event. Calls of a named model are refused with 429 as ever.
"""

from __future__ import annotations

import msgspec
from aiohttp import web

from ledger.errors import BudgetSpent
from ledger.events import TicketDeferred
from router.doors import JSON
from router.settlement import Asked

_encode = msgspec.json.encode


def deferred(asked: Asked, fallback: str, spent: BudgetSpent, *, event_id: str) -> TicketDeferred:
    """The fact that a ticket was handed on."""
    return TicketDeferred(
        id=event_id,
        subject=asked.call_id,
        time=asked.moment,
        client_id=asked.client_id,
        period=asked.period,
        fallback=fallback,
        reason=str(spent)[:2000],
        ticket_id=asked.ticket_id,
        key_id=asked.key_id,
    )


def reply(asked: Asked, fallback: str, words: str, why: str, *, stream: bool, more: dict[str, str]) -> web.Response:
    """The completion, whole or as a stream of two chunks and the end mark."""
    own: dict[str, object] = {
        "call_id": asked.call_id, "cost_usd": "0", "arm": fallback, "class": None, "reason": why, "cached": False, **more,
    }  # fmt: skip
    shared = {
        "id": f"deferred-{asked.call_id}",
        "created": int(asked.moment.timestamp()),
        "model": fallback,
    }
    headers = {"x-request-id": asked.call_id, "x-halfpenny-call-id": asked.call_id, "x-halfpenny-arm": fallback}
    if stream:
        said = [{"index": 0, "delta": {"role": "assistant", "content": words}, "finish_reason": None}]
        ended = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
        chunk = {**shared, "object": "chat.completion.chunk"}
        frames = (
            _encode({**chunk, "choices": said}),
            _encode({**chunk, "choices": ended, "halfpenny": own}),
            b"[DONE]",
        )
        body = b"".join(b"data: %b\n\n" % frame for frame in frames)
        return web.Response(
            body=body, content_type="text/event-stream", headers={**headers, "Cache-Control": "no-cache"}
        )
    message = {"role": "assistant", "content": words}
    whole: dict[str, object] = {
        **shared,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        **({"ticket_id": more["ticket_id"], "draft": words} if more else {}),
        "halfpenny": own,
    }
    return web.Response(body=_encode(whole), content_type=JSON, headers=headers | {"x-halfpenny-cost-usd": "0"})
