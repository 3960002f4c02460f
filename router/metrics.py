"""GET /metrics: what Prometheus scrapes, by OpenTelemetry's names for a client of models where it has one.

Sums of money, tokens and refusals are read from the ledger's state, so they go on after a restart; histograms and
outcomes are counted from the start of the process, as Prometheus expects it of counters. The sums are floats for
alerts and graphs; the ledger is the truth. A request adds one append to a list; the rest is done when somebody scrapes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from aiohttp import web

from ledger.budgets import WHOLE, period_of
from ledger.events import CallCached, CallSettled, CallVoided, Event
from ledger.projections import State
from router.doors import Visit

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# OpenTelemetry's advice for gen_ai.client.operation.duration and gen_ai.client.token.usage.
SECONDS = tuple(0.01 * 2**step for step in range(14))
TOKENS = tuple(float(4**step) for step in range(14))
WAITING_AT_MOST = 512  # events counted in between, where nobody scrapes: a third of a millisecond
Labels = tuple[tuple[str, str], ...]


class Sample(NamedTuple):
    """One line. Shapes: `suffix` is put after the metric's name."""

    labels: Labels
    value: float
    suffix: str = ""


class Metric(NamedTuple):
    """One metric with its lines."""

    name: str
    kind: str
    help: str
    samples: Sequence[Sample]


@dataclass(slots=True)
class Histogram:
    """Counts under each bound, and the sum. Units: those of the bounds."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def take(self, values: Iterable[float]) -> None:
        """Count values in."""
        if not self.counts:
            self.counts = [0] * (len(self.bounds) + 1)
        for value in values:
            self.counts[bisect_left(self.bounds, value)] += 1
            self.total += value

    def samples(self, labels: Labels) -> Iterator[Sample]:
        """The lines of it: cumulative buckets, count and sum."""
        below = 0
        for bound, count in zip((*self.bounds, None), self.counts, strict=True):
            below += count
            le = "+Inf" if bound is None else repr(bound)
            yield Sample((*labels, ("le", le)), below, "_bucket")
        yield Sample(labels, self.total, "_sum")
        yield Sample(labels, below, "_count")


class Counts:
    """What this process has seen happen, folded from its events when asked for."""

    def __init__(self) -> None:
        self._waiting: list[Event] = []
        self.outcomes: Counter[Labels] = Counter()
        self.hits: Counter[Labels] = Counter()
        self.avoided: defaultdict[Labels, Decimal] = defaultdict(Decimal)
        self.durations: defaultdict[Labels, Histogram] = defaultdict(lambda: Histogram(SECONDS))
        self.first_chunks: defaultdict[Labels, Histogram] = defaultdict(lambda: Histogram(SECONDS))
        self.tokens: defaultdict[Labels, Histogram] = defaultdict(lambda: Histogram(TOKENS))

    def note(self, event: Event) -> None:
        """Keep an event until somebody scrapes."""
        self._waiting.append(event)
        if len(self._waiting) >= WAITING_AT_MOST:
            self.fold()

    def fold(self) -> None:
        """Count what was kept, of settled calls all that are alike at once: labels take longer than counting."""
        waiting, self._waiting = self._waiting, []
        settled: defaultdict[tuple[object, ...], list[CallSettled]] = defaultdict(list)
        for event in waiting:
            if isinstance(event, CallSettled):
                settled[
                    event.client_id,
                    event.purpose,
                    event.request_model,
                    event.provider_name,
                    event.outcome,
                    event.error_type,
                    _is_embedding(event),
                ].append(event)
            elif isinstance(event, CallVoided):
                self.outcomes[_of_call(event, "voided", event.error_type)] += 1
            elif isinstance(event, CallCached):
                client = (("client_id", event.client_id or ""),)
                self.hits[client] += 1
                self.avoided[client] += Decimal(event.avoided_usd or 0)
        for alike in settled.values():
            self._settled(alike)

    def _settled(self, alike: list[CallSettled]) -> None:
        event = alike[0]
        self.outcomes[_of_call(event, event.outcome, event.error_type)] += len(alike)
        model = (
            ("gen_ai_operation_name", "embeddings" if _is_embedding(event) else "chat"),
            ("gen_ai_provider_name", event.provider_name),
            ("gen_ai_request_model", event.request_model),
        )
        error = (*model, ("error_type", event.error_type)) if event.error_type else model
        self.durations[error].take(one.duration_s for one in alike)
        for kept, labels, values in (
            (self.first_chunks, model, [one.response_time_to_first_chunk for one in alike]),
            (self.tokens, (*model, ("gen_ai_token_type", "input")), [one.usage_input_tokens for one in alike]),
            (self.tokens, (*model, ("gen_ai_token_type", "output")), [one.usage_output_tokens for one in alike]),
        ):
            if known := [value for value in values if value is not None]:
                kept[labels].take(known)


def _is_embedding(event: CallSettled) -> bool:
    """An event names no operation; embeddings alone come without an id and with nothing written."""
    return event.response_id is None and event.usage_output_tokens == 0


@dataclass(frozen=True, slots=True)
class Now:
    """What stands at the moment of a scrape. Units: events, calls."""

    in_flight: int
    is_ready: bool
    backlog: int
    is_sealing: bool
    shut_out: tuple[str, ...] = ()


class Metrics:
    """The handler. `counts` is fed by whoever appends; `now` says what stands at the moment."""

    def __init__(
        self, state: State, counts: Counts, *, now: Callable[[], Now], moment: Callable[[web.Request], datetime]
    ) -> None:
        self._state, self._counts, self._now, self._moment = state, counts, now, moment

    async def scrape(self, request: web.Request, _: Visit) -> web.StreamResponse:
        """GET /metrics, for an admin's key: it shows every client."""
        self._counts.fold()
        found = (
            *_calls(self._counts),
            *_from_ledger(self._state),
            *_budgets(self._state, self._moment(request)),
            *_service(self._state, self._now()),
        )
        return web.Response(body=exposition(found).encode(), headers={"Content-Type": CONTENT_TYPE})


def exposition(metrics: Iterable[Metric]) -> str:
    """Prometheus' text format 0.0.4."""
    lines = []
    for metric in metrics:
        lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
        for labels, value, suffix in metric.samples:
            shown = ",".join(f'{name}="{_escaped(said)}"' for name, said in labels)
            lines.append(f"{metric.name}{suffix}{{{shown}}} {value!r}" if shown else f"{metric.name}{suffix} {value!r}")
    return "\n".join(lines) + "\n"


def _escaped(said: str) -> str:
    return said.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _of_call(event: CallSettled | CallVoided, outcome: str, error_type: str | None) -> Labels:
    return (
        ("client_id", event.client_id or ""),
        ("purpose", event.purpose),
        ("model", event.request_model),
        ("outcome", outcome),
        ("error_type", error_type or ""),
    )


def _calls(counts: Counts) -> Iterator[Metric]:
    for name, words, kept in (
        ("operation_duration_seconds", "Time from the request upstream to its end.", counts.durations),
        ("operation_time_to_first_chunk_seconds", "Time to the first chunk of a stream.", counts.first_chunks),
        ("token_usage", "Tokens of a call, as the provider reported them.", counts.tokens),
    ):
        samples = [sample for labels, one in sorted(kept.items()) for sample in one.samples(labels)]
        yield Metric(f"gen_ai_client_{name}", "histogram", words, samples)
    ended = "Attempts that ended, since the start of the process."
    yield _counter("halfpenny_attempts_total", ended, counts.outcomes)
    yield _counter("halfpenny_cache_hits_total", "Replies served again, since the start of the process.", counts.hits)
    avoided = "What replies served again would have cost, since the start of the process."
    yield _counter("halfpenny_avoided_cost_usd_total", avoided, counts.avoided)


def _from_ledger(state: State) -> Iterator[Metric]:
    cost: defaultdict[Labels, Decimal] = defaultdict(Decimal)
    calls: Counter[Labels] = Counter()
    estimated: Counter[Labels] = Counter()
    tokens: Counter[Labels] = Counter()
    for key, spend in state.spend.items():
        labels = (
            ("client_id", key.client_id),
            ("purpose", key.purpose),
            ("model", key.model),
            ("arm", key.arm or ""),
        )
        cost[labels] += spend.cost_usd
        calls[labels] += spend.calls
        estimated[labels] += spend.estimated
        for kind in ("input", "output", "cache_read", "cache_write", "reasoning"):
            tokens[(*labels, ("token_type", kind))] += getattr(spend, f"{kind}_tokens")
    yield _counter("halfpenny_billed_cost_usd_total", "What calls were charged, estimates included.", cost)
    yield _counter("halfpenny_settled_attempts_total", "Attempts that were charged.", calls)
    words = "Attempts charged at their hold, since their usage is not known."
    yield _counter("halfpenny_estimated_attempts_total", words, estimated)
    words = "Tokens of charged attempts; input holds cache_read and cache_write, output holds reasoning."
    yield _counter("halfpenny_usage_tokens_total", words, tokens)
    refused: Counter[Labels] = Counter()
    for (client_id, _, refusal), count in state.refused.items():
        refused[(("client_id", client_id), ("refusal", refusal))] += count
    yield _counter("halfpenny_refusals_total", "Calls that were not made.", refused)


def _budgets(state: State, moment: datetime) -> Iterator[Metric]:
    """Every account of the running month that has a cap, and those of all clients."""
    places = {("client", client_id): client.zone for client_id, client in state.clients.items()}
    for key in state.keys.values():
        if ("key", key.key_id) in state.caps and key.client_id in state.clients:
            places["key", key.key_id] = state.clients[key.client_id].zone
    places[WHOLE, ""] = "UTC"
    figures: dict[str, dict[Labels, float]] = {name: {} for name in ("granted", "settled", "held", "orphaned")}
    for (scope, scope_id), zone in sorted(places.items()):
        account = state.account(scope, scope_id, period_of(moment, zone).name, zone)
        labels = (("scope", scope), ("id", scope_id))
        if account.cap is not None:
            figures["granted"][labels] = float(account.cap)
        figures["settled"][labels] = float(account.settled)
        figures["held"][labels] = float(account.held)
        figures["orphaned"][labels] = float(account.orphaned)
    for name, values in figures.items():
        words = f"Of this month's budget: {name}." if name != "granted" else "The cap of this month's budget."
        yield Metric(f"halfpenny_budget_{name}_usd", "gauge", words, [Sample(*one) for one in values.items()])


def _service(state: State, now: Now) -> Iterator[Metric]:
    for name, words, value in (
        ("holds_open", "Holds of calls in flight.", len(state.holds)),
        ("orphans_open", "Holds of calls whose end is unknown.", len(state.orphans)),
        ("calls_in_flight", "Calls being answered.", now.in_flight),
        ("journal_backlog_events", "Events that wait for the disk.", now.backlog),
        ("sealing", "1 while sealing gets on, 0 when it is in trouble.", int(now.is_sealing)),
        ("ready", "1 while calls are taken.", int(now.is_ready)),
    ):
        yield Metric(f"halfpenny_{name}", "gauge", words, [Sample((), value)])
    shut = [Sample((("client_id", client_id),), 1) for client_id in now.shut_out]
    words = "1 for a client whose calls are not sent, since its last ones all failed at the provider."
    yield Metric("halfpenny_breaker_open", "gauge", words, shut)
    yield Metric(
        "halfpenny_events_total", "counter", "Events in the log, over all its life.", [Sample((), state.position)]
    )


def _counter(name: str, words: str, values: Mapping[Labels, float | Decimal]) -> Metric:
    found = [
        Sample(labels, value if isinstance(value, int) else float(value)) for labels, value in sorted(values.items())
    ]
    return Metric(name, "counter", words, found)
