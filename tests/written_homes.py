"""Events for the storage tests, and homes written by the real writer in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ledger import bodies
from ledger.events import CallSettled, Event, PriceListed
from ledger.home import Home
from ledger.journal import Limits
from ledger.manifest import Manifest
from ledger.tail import Take
from ledger.writer import Writer

START = datetime(2025, 10, 3, 8, 15, 2, 123456, tzinfo=UTC)
UNHURRIED = Limits(events=10**9, seconds=10**9, grace_seconds=900.0)  # nothing turns over by itself


def settled(number: int, *, cost: str = "0.01", at: datetime = START, **more: Any) -> CallSettled:
    """The settled call `number`, a second after the one before it."""
    moment = at + timedelta(seconds=number)
    fields: dict[str, Any] = {
        "id": f"event-{number}",
        "subject": f"call-{number}",
        "time": moment,
        "client_id": "acme",
        "attempt": 1,
        "purpose": "generation",
        "period": "2025-10",
        "request_model": "mistralai/Mistral-Medium-3",
        "provider_name": "global-apis",
        "ticket_id": f"ticket-{number}",
        "arm": "standard",
        "ticket_class": "simple",
        "outcome": "ok",
        "reserved_at": moment,
        "price_id": "medium@2025-01-01",
        "cost_usd": cost,
        "usage_source": "reported",
        "usage_input_tokens": 24_000,
        "usage_output_tokens": 0,
        "duration_s": 1.104233,
        "duration_source": "simulated",
        "request_stream": False,
        "response_finish_reasons": ("stop",),
    }
    return CallSettled(**(fields | more))


def listed(number: int, model: str = "mistralai/Mistral-Medium-3") -> PriceListed:
    """A price, which has other columns than a call."""
    return PriceListed(
        id=f"price-{number}",
        subject=f"{model}@{number}",
        time=START,
        model=model,
        valid_from=START,
        rate_uncached_input="0.4",
        rate_cache_read="0.04",
        rate_cache_write="0",
        rate_plain_output="2",
        rate_reasoning="2",
        price_source="list price",
        provider_name="global-apis",
    )


def made(path: Path) -> Home:
    """An empty home directory."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Home(path)


def ignore(_: Manifest) -> Take:
    """A fold that keeps nothing."""
    return lambda _: None


@contextmanager
def opened(path: Path, **more: Any) -> Iterator[Writer]:
    """A writer that works inline and turns nothing over by itself, closed at the end."""
    writer = Writer.open(made(path), **{"fold": ignore, "limits": UNHURRIED} | more)
    try:
        yield writer
    finally:
        writer.close()


def write(writer: Writer, events: Sequence[Event]) -> None:
    """Submit events together and wait until they are durable."""
    writer.submit([bodies.checked(event) for event in events]).wait()


def wrote(path: Path, *runs: range, sealed: int = 0) -> Home:
    """A home into which one writer after the other wrote these calls; the first `sealed` of them sealed what was there."""
    for index, run in enumerate(runs):
        with opened(path) as writer:
            write(writer, [settled(number) for number in run])
            if index < sealed:
                writer.seal()
    return Home(path)
