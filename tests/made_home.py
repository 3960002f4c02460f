"""Homes made of events written down in a test: a journal file, and a catalog over it with the ledger's own views."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

from ledger import catalog, codec
from ledger import events as e
from ledger.budgets import period_named, period_of
from ledger.charges import charge
from ledger.home import Home
from ledger.manifest import Manifest
from ledger.money import text
from ledger.prices import PriceBook, read_book
from ledger.usage import Usage

EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
MEDIUM, LARGE, FLASH = "mistralai/Mistral-Medium-3", "mistralai/Mistral-Large-3", "deepseek-ai/DeepSeek-V4-Flash"
SHIPPED = read_book(files("ledger").joinpath("pricebook.toml").read_text(encoding="utf-8"))


def write_home(home: Path, events: Iterable[e.Event]) -> Path:
    """A home with one journal file holding these events in their order, and its catalog."""
    (home / "journal").mkdir(parents=True, exist_ok=True)
    (home / "halfpenny.toml").write_text("", encoding="utf-8")
    prev, lines = codec.GENESIS, []
    for sequence, event in enumerate(events, 1):
        line, prev = codec.stamped(
            codec.encode(event), source="homes/made", sequence=sequence, recorded_at=event.time, prev=prev
        )
        lines.append(line)
    (home / "journal" / "0000000000.jsonl").write_bytes(b"".join(lines))
    manifest = Manifest(source="homes/made", published_at=EPOCH)
    catalog.publish(Home(home), manifest, [0], now=EPOCH)
    return home


@dataclass
class Book:
    """Writes events down with what most tests do not care about filled in; `ids` says what their random ids begin with."""

    client_id: str = "acme"
    zone: str = "Europe/Berlin"
    ids: str = ""
    events: list[e.Event] = field(default_factory=list)
    prices: PriceBook = field(default_factory=PriceBook)
    made: int = 0

    def new_id(self) -> str:
        """A fresh id."""
        self.made += 1
        return f"{self.ids}{self.made:08d}"

    def add(self, event: e.Event) -> None:
        """Write one event down."""
        self.events.append(event)

    def client(self, name: str = "Acme Ltd", currency: str = "USD", hourly: str | None = "30") -> None:
        """The client, the shipped prices and the GPT-4o baseline."""
        self.add(
            e.ClientAdded(
                id=self.new_id(),
                subject=self.client_id,
                time=EPOCH,
                client_id=self.client_id,
                display_name=name,
                currency=currency,
                zone=self.zone,
                private=False,
                edit_usd_per_hour=hourly,
            )
        )
        for price in SHIPPED:
            self.prices.add(price)
            self.add(
                e.PriceListed(
                    id=self.new_id(),
                    subject=price.price_id,
                    time=EPOCH,
                    provider_name=price.provider,
                    model=price.model,
                    valid_from=price.valid_from,
                    valid_to=price.valid_to,
                    price_source=price.source,
                    retrieved_at=price.retrieved_at,
                    context_tokens=price.context_tokens,
                    **rates(price.rates),
                )
            )

    def baseline(self, uncached_input: str = "2.5", output: str = "10") -> None:
        """The old bot's prices, frozen."""
        self.add(
            e.BaselineSet(
                id=self.new_id(),
                subject="gpt-4o@2026-10-01",
                time=EPOCH,
                model="openai/gpt-4o",
                valid_from=datetime(2026, 10, 1, tzinfo=UTC),
                rate_uncached_input=uncached_input,
                rate_cache_read=uncached_input,
                rate_cache_write=uncached_input,
                rate_plain_output=output,
                rate_reasoning=output,
                price_source="provider table, given by the user",
                retrieved_at="2026-11-23",
            )
        )

    def budget(self, cap: str | None, *, at: datetime = EPOCH, hard: bool = True) -> None:
        """The client's monthly cap."""
        self.add(
            e.BudgetSet(
                id=self.new_id(), subject=self.client_id, time=at, scope="client", hard=hard, valid_from=at, cap_usd=cap
            )
        )

    def cached(self, source: e.CallSettled, at: datetime, *, ticket_id: str | None = None) -> e.CallCached:
        """A repeat of a settled call, served from the cache at the price then in force."""
        price = self.prices.price_at(source.request_model, at)
        tokens = Usage(input_tokens=source.usage_input_tokens or 0, output_tokens=source.usage_output_tokens or 0)
        event = e.CallCached(
            id=self.new_id(),
            subject=self.new_id(),
            time=at,
            client_id=self.client_id,
            source_call_id=source.subject,
            purpose=source.purpose,
            period=period_of(at, self.zone).name,
            request_model=source.request_model,
            provider_name=source.provider_name,
            price_id=price.price_id,
            avoided_usd=text(charge(tokens, price.rates).total),
            avoided_input_tokens=tokens.input_tokens,
            avoided_output_tokens=tokens.output_tokens,
            stored_at=source.time,
            request_stream=False,
            response_model=source.response_model,
            ticket_id=ticket_id,
            arm=source.arm,
            ticket_class=source.ticket_class,
        )
        self.add(event)
        return event

    def reserve(
        self, purpose: e.Purpose, model: str, at: datetime, *, call: str | None = None, attempt: int = 1, **more: Any
    ) -> e.CallReserved:
        """Money set aside for one attempt."""
        event = e.CallReserved(
            id=self.new_id(),
            subject=call or self.new_id(),
            time=at,
            client_id=self.client_id,
            attempt=attempt,
            purpose=purpose,
            period=period_of(at, self.zone).name,
            request_model=model,
            provider_name="global_api",
            hold_usd=more.pop("hold_usd", "0.5"),
            price_id=self.prices.price_at(model, at).price_id,
            input_bytes=1000,
            max_output_tokens=1000,
            request_stream=False,
            **more,
        )
        self.add(event)
        return event

    def settle(
        self, held: e.CallReserved, usage: Usage | None, *, cost: str | None = None, **more: Any
    ) -> e.CallSettled:
        """The attempt's end; without usage its hold is its cost."""
        price = self.prices.price_at(held.request_model, held.time)
        lines = None if usage is None else charge(usage, price.rates)
        seconds = more.pop("duration_s", 1.0)
        fields: dict[str, Any] = {"outcome": "ok", "duration_source": "measured", "response_model": held.request_model}
        if usage is not None and lines is not None:
            names = ("uncached_input", "cache_read", "cache_write", "plain_output", "reasoning")
            fields |= {f"cost_{name}_usd": text(line) for name, line in zip(names, lines.lines, strict=True) if line}
            fields |= {"usage_input_tokens": usage.input_tokens, "usage_output_tokens": usage.output_tokens}
            fields |= {"usage_cache_read_input_tokens": usage.cache_read_tokens}
        event = e.CallSettled(
            id=self.new_id(),
            subject=held.subject,
            time=held.time + timedelta(seconds=seconds),
            client_id=held.client_id,
            attempt=held.attempt,
            purpose=held.purpose,
            period=held.period,
            request_model=held.request_model,
            provider_name=held.provider_name,
            ticket_id=held.ticket_id,
            arm=held.arm,
            ticket_class=held.ticket_class,
            reserved_at=held.time,
            price_id=price.price_id,
            cost_usd=cost or (held.hold_usd if lines is None else text(lines.total)),
            usage_source="estimated" if usage is None else "reported",
            duration_s=seconds,
            request_stream=False,
            **(fields | more),
        )
        self.add(event)
        return event

    def call(
        self, purpose: e.Purpose, model: str, at: datetime, tokens: tuple[int, int] | None, **more: Any
    ) -> e.CallSettled:
        """Both in one; `tokens` in and out."""
        ticket = {name: more.pop(name) for name in ("ticket_id", "arm", "ticket_class", "hold_usd") if name in more}
        usage = None if tokens is None else Usage(input_tokens=tokens[0], output_tokens=tokens[1])
        return self.settle(self.reserve(purpose, model, at, **ticket), usage, **more)

    def edit(
        self,
        draft: e.CallSettled,
        ratio: float | None,
        disposition: e.Disposition,
        *,
        seconds: float | None = None,
        at: datetime | None = None,
    ) -> None:
        """A human is done with a draft."""
        self.add(
            e.DraftEdited(
                id=self.new_id(),
                subject=draft.ticket_id or draft.subject,
                time=at or draft.time + timedelta(minutes=10),
                client_id=self.client_id,
                ticket_id=draft.ticket_id or draft.subject,
                call_id=draft.subject,
                period=draft.period,
                disposition=disposition,
                request_model=draft.request_model,
                arm=draft.arm,
                ticket_class=draft.ticket_class,
                edit_ratio=ratio,
                edit_seconds=seconds,
            )
        )

    def score(self, draft: e.CallSettled, value: float) -> None:
        """A coherence judgement."""
        self.add(
            e.ScoreRecorded(
                id=self.new_id(),
                subject=draft.subject,
                time=draft.time + timedelta(minutes=20),
                client_id=self.client_id,
                call_id=draft.subject,
                period=draft.period,
                rubric="support",
                criterion="coherence",
                value=value,
                scorer="reviewer",
                request_model=draft.request_model,
                arm=draft.arm,
                ticket_class=draft.ticket_class,
                ticket_id=draft.ticket_id,
                blind=True,
            )
        )

    def close(self, period: str) -> None:
        """The month is closed at everything written so far."""
        at = period_named(period, self.zone).end + timedelta(days=1)
        self.add(
            e.MonthClosed(
                id=self.new_id(),
                subject=self.client_id,
                time=at,
                client_id=self.client_id,
                period=period,
                up_to_sequence=len(self.events),
                calls=0,
                cost_usd="0",
            )
        )


def rates(found: Iterable[Decimal]) -> dict[str, Any]:
    """The five rate fields of an event."""
    names = ("uncached_input", "cache_read", "cache_write", "plain_output", "reasoning")
    return {f"rate_{name}": text(rate) for name, rate in zip(names, found, strict=True)}


def demo_month(book: Book, period: str, *, a_day: int = 250, seed: int = 7) -> None:
    """A month as the service would have seen it: tickets, classifications, replies, edits, a few of every trouble.

    Means are the freelancer's: 65/35, edits of 22 % and 8 %, coherence 84 and 91, 24,000 tokens in and 4,300 out a ticket.
    """
    draw = random.Random(seed)
    month = period_named(period, book.zone)
    day = month.start
    number = 0
    while day < month.end:
        quiet = day.astimezone(UTC).weekday() >= 5
        for _ in range(round(a_day * draw.uniform(0.85, 1.15) * (0.45 if quiet else 1.2))):
            number += 1
            at = day + timedelta(seconds=draw.randrange(7 * 3600, 20 * 3600), microseconds=draw.randrange(1_000_000))
            if at < month.end:
                _ticket(book, draw, f"T-{number}", at)
        day += timedelta(days=1)


def _ticket(book: Book, draw: random.Random, ticket: str, at: datetime) -> None:
    complex_one = draw.random() < 0.35
    arm, model, share = ("premium", LARGE, 0.08) if complex_one else ("standard", MEDIUM, 0.22)
    who: dict[str, Any] = {"ticket_id": ticket, "ticket_class": "complex" if complex_one else "simple"}
    timing: dict[str, Any] = {"duration_source": "simulated"}
    book.call("classification", FLASH, at, (draw.randrange(900, 1500), 4), ticket_id=ticket, duration_s=0.4, **timing)
    at += timedelta(seconds=1)
    held = book.reserve("generation", model, at, arm=arm, hold_usd="0.45", **who)
    trouble = draw.random()
    if trouble < 0.002:
        return  # in flight for ever
    usage = Usage(
        input_tokens=draw.randrange(15_000, 31_000),
        output_tokens=draw.randrange(2_600, 6_000),
        cache_read_tokens=draw.randrange(4_000, 9_000),
    )
    if trouble < 0.004:
        book.settle(held, usage, outcome="upstream_truncated", duration_s=9.0, **timing)
        held = book.reserve("generation", model, at, arm=arm, call=held.subject, attempt=2, **who)
    seconds = round(draw.lognormvariate(0.1 if arm == "standard" else 0.34, 0.35), 6)
    draft = book.settle(held, None if 0.004 <= trouble < 0.006 else usage, duration_s=seconds, **timing)
    if draw.random() < 0.985:
        touched = draw.random() < (0.62 if arm == "standard" else 0.35)
        ratio = (
            round(min(1.0, draw.expovariate(0.62 / share if arm == "standard" else 0.35 / share)), 6)
            if touched
            else 0.0
        )
        said: e.Disposition = "as_is" if not touched else "rewritten" if ratio > 0.75 else "edited"
        book.edit(draft, ratio, said, seconds=round(20 + 400 * ratio, 6))
    if draw.random() < 0.1:
        book.score(draft, round(min(1.0, max(0.0, draw.gauss(0.84 if arm == "standard" else 0.91, 0.06))), 6))
