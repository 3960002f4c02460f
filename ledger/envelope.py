"""What every fact has in common: its envelope, and the types its fields are made of.

The envelope follows CloudEvents 1.0. Whoever states a fact fills `id`, `subject`, `time` and the payload; the
journal alone fills the stamps. The facts themselves stand in events.py, and those about the split in routing.py.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

Usd = Annotated[
    str,
    Meta(
        pattern=r"^(0|-?(0\.[0-9]{0,11}[1-9]|[1-9][0-9]{0,5}(\.[0-9]{0,11}[1-9])?))$",  # one spelling an amount, so no -0
        description="exact USD, DECIMAL(18,12)",
    ),
]
Rate = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,5})(\.[0-9]{0,11}[1-9])?$", description="exact, DECIMAL(18,12)")]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Seconds = Annotated[float, Meta(ge=0, lt=1e6, description="seconds, six decimals")]
Share = Annotated[float, Meta(ge=0, le=1, description="0..1, six decimals")]
Figure = Annotated[float, Meta(description="a statistic a decision saw; not money")]
Name = Annotated[str, Meta(min_length=1, max_length=256)]
Words = Annotated[str, Meta(max_length=2000)]
Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$")]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Month = Annotated[str, Meta(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")]
Moment = Annotated[datetime, Meta(tz=True)]

Purpose = Literal["classification", "generation", "judge", "shadow", "other"]
TicketClass = Literal["simple", "complex"]
Outcome = Literal["ok", "error", "client_gone", "upstream_truncated", "timeout"]
UsageSource = Literal["reported", "counted", "estimated"]
Disposition = Literal["as_is", "edited", "rewritten", "discarded"]
Role = Literal["app", "agent", "client", "admin"]
Scope = Literal["whole", "client", "key"]


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", forbid_unknown_fields=True):
    """The envelope. `time` is when it happened, `recorded_at` when the journal took it; both UTC.

    Shapes: `id` UUIDv7 text, never used twice; `sequence` gap-free per source, from 1; `hash` is the first
    16 bytes of SHA-256 over the previous hash and this line, so that no event can be changed, removed or moved unseen.
    """

    id: Name
    subject: Name
    time: Moment
    client_id: Name | None = None
    source: Name | None = None
    sequence: Count | None = None
    recorded_at: Moment | None = None
    prev: Hash | None = None
    hash: Hash | None = None
    crc: Annotated[str, Meta(pattern=r"^[0-9a-f]{8}$")] | None = None


STAMPS: tuple[str, ...] = ("source", "sequence", "recorded_at", "prev", "hash", "crc")


class CallEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """What every event of a call carries; `subject` is the call id and `attempt` counts from 1."""

    attempt: Annotated[int, Meta(ge=1, lt=1000)]
    purpose: Purpose
    period: Month
    request_model: Name
    provider_name: Name
    key_id: Name | None = None
    ticket_id: Name | None = None
    arm: Name | None = None
    ticket_class: TicketClass | None = None
