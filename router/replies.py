"""A reply that is kept to be served again, and the digest under which an equal request finds it.

Equal means: the same client asks for the same bytes in every field that can change the answer. Fields may come in any
order; the ticket's id, the purpose and how usage is streamed do not count. The digest is a full HMAC with a key of the
client's own over parts that carry their lengths, so no part runs into the next and nothing crosses between clients.
"""

from __future__ import annotations

import hmac
import zlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from hashlib import sha256

import msgspec
from msgspec import Raw, Struct

from ledger.events import CallSettled, TicketClass
from ledger.usage import Usage
from router.chat_request import ChatRequest, foreign_metadata
from router.classify import Reading

# They say who asks, for what, and how the answer travels; not what it is. Whether it streams counts on its own.
_LEFT_OUT = frozenset(("model", "stream", "stream_options", "metadata"))
_WHOLE = frozenset(("stop", "tool_calls", "function_call"))  # a reply cut for length is not the whole answer
_COMPRESS_LEVEL = 1
_encode = msgspec.msgpack.encode


class Source(Struct, frozen=True, kw_only=True):
    """The call that was made and paid: what serving its reply again avoids. Units: tokens."""

    call_id: str
    model: str
    provider_name: str
    usage: Usage
    response_model: str | None = None


class Kept(Struct, frozen=True, kw_only=True):
    """A whole reply. Shapes: `body` is the provider's, unstreamed, or all bytes of its stream; `sorting` the
    classification call of a routed one."""

    source: Source
    stored_at: datetime
    body: bytes
    sorting: Source | None = None
    arm: str | None = None
    ticket_class: TicketClass | None = None
    class_reading: Reading | None = None


_DECODER = msgspec.msgpack.Decoder(Kept)


def client_key(pepper: bytes, client_id: str, use: str) -> bytes:
    """A key of one client for one use, made of the home's secret."""
    return hmac.digest(pepper, f"{use} of {client_id}".encode(), sha256)


def digest(key: bytes, parts: Iterable[bytes | Raw]) -> bytes:
    """HMAC-SHA-256 over parts, each with its length before it."""
    found = hmac.new(key, digestmod=sha256)
    for part in parts:
        found.update(b"%d:" % len(bytes(part)))
        found.update(part)
    return found.digest()


def request_parts(chat: ChatRequest, routing: Mapping[str, str], headers: Mapping[str, str]) -> list[bytes | Raw]:
    """What makes a chat request the same as another.

    Shapes: `routing` are the models that `auto` chooses among, empty for a named model; `headers` those that go upstream.
    """
    parts: list[bytes | Raw] = [b"chat", chat.model.encode(), b"stream" if chat.stream else b"whole"]
    for name, value in (*sorted(routing.items()), *sorted(headers.items())):
        parts += (name.encode(), value.encode())
    parts.append(foreign_metadata(chat.fields))
    for name in sorted(chat.fields.keys() - _LEFT_OUT):
        parts += (name.encode(), chat.fields[name])
    return parts


def source_of(settled: CallSettled) -> Source | None:
    """The call as a source; None when its reply is not to be served again: not whole, not measured, or odd."""
    is_whole = settled.outcome in ("ok", "client_gone") and set(settled.response_finish_reasons or ()) <= _WHOLE
    if not is_whole or settled.usage_source == "estimated" or settled.usage_anomaly is not None:
        return None
    if settled.usage_input_tokens is None or settled.usage_output_tokens is None:
        return None
    return Source(
        call_id=settled.subject,
        model=settled.request_model,
        provider_name=settled.provider_name,
        response_model=settled.response_model,
        usage=Usage(
            input_tokens=settled.usage_input_tokens,
            output_tokens=settled.usage_output_tokens,
            cache_read_tokens=settled.usage_cache_read_input_tokens,
            cache_write_tokens=settled.usage_cache_write_input_tokens,
            reasoning_tokens=settled.usage_reasoning_output_tokens,
        ),
    )


def packed(kept: Kept) -> bytes:
    """The bytes a store keeps; compressed, since a stream repeats itself."""
    return zlib.compress(_encode(kept), _COMPRESS_LEVEL)


def unpacked(stored: bytes) -> Kept | None:
    """The reply again, or None for bytes that are none: a store may hold what another version wrote."""
    try:
        return _DECODER.decode(zlib.decompress(stored))
    except (zlib.error, msgspec.DecodeError):
        return None
