"""From a month's rows to its report: every figure that is printed is made here.

Pure. The bill's lines come first, each rounded once; totals, the saving and the steps between
baseline and spend are sums and differences of those printed lines, so they add up to the cent.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from ledger.budgets import zone
from ledger.money import ZERO, round_half_up, text
from reports import figures
from reports.display import legible
from reports.facts import EditRow, LatencyRow, MonthFacts, SpendRow
from reports.figures import Currency
from reports.model import (
    Budget,
    Client,
    Count,
    Day,
    DayPart,
    Lane,
    Line,
    LineKind,
    Money,
    Month,
    Quality,
    Reply,
    Report,
    Step,
    Tokens,
    Totals,
    Unknowns,
    Week,
)
from reports.sentence import sentence

REST = "rest"  # of a day: everything that is no reply
KINDS: tuple[LineKind, ...] = ("reply", "classification", "other", "judge", "shadow", "failed", "estimated")
ARMS = ("standard", "premium")  # shown first, in this order
NO_EDITS = EditRow(0, 0, 0, 0, 0, 0, ZERO, ZERO, 0, ZERO, 0, ZERO)
_BUCKETS = ("uncached_input", "cache_read", "cache_write", "plain_output", "reasoning")


def compose(facts: MonthFacts, *, prepared_by: str, revision: int, language: str = "en") -> Report:
    """The report of these facts."""
    lines = _lines(facts.spend, facts.currency)
    lanes = _lanes(lines, facts)
    totals = _totals(lines, facts)
    quality = _quality(_added(row for _, row in facts.quality))
    local = zone(facts.client.zone)
    first, last = (
        facts.period.start.astimezone(local).date(),
        (facts.period.end - dt.timedelta(microseconds=1)).astimezone(local).date(),
    )
    return Report(
        client=Client(id=facts.client.client_id, name=legible(facts.client.name), zone=facts.client.zone),
        period=Month(
            name=facts.period.name,
            first_day=first,
            last_day=last,
            starts_at=facts.period.start,
            ends_at=facts.period.end,
        ),
        prepared_by=legible(prepared_by),
        status="final" if facts.closed else "draft",
        revision=revision,
        language=language,
        data_as_of=None if facts.as_of is None else facts.as_of.astimezone(dt.UTC),
        currency=_money(facts),
        sentence="".join(part for part, _ in sentence(totals, quality, facts.currency.code, facts.baseline)),
        totals=totals,
        accepted_reply=_accepted_reply(facts, quality),
        quality=quality,
        budget=_budget(facts, totals),
        lines=lines,
        lanes=lanes,
        days=_days(facts.spend, first, last, lanes),
        weeks=_weeks(facts, first, last, lanes),
        steps=_steps(lines, totals),
        outcomes=tuple(Count(row.name, row.attempts) for row in facts.outcomes if row.what == "ended"),
        unknowns=_unknowns(facts, totals, quality),
        baseline_method="repriced",
        baseline=facts.baseline,
        prices=facts.prices,
        lines_sha256=digest(facts.spend),
    )


def _kind(row: SpendRow) -> LineKind:
    if not row.is_measured:
        return "estimated"
    if not row.is_ok:
        return "failed"
    return "reply" if row.purpose == "generation" else next(kind for kind in KINDS if kind == row.purpose)


def _line_key(row: SpendRow) -> tuple[int, int, str]:
    """Where a row is printed: its kind's place, its arm's place, its key. Failed and estimated calls share one line each."""
    kind = _kind(row)
    if kind in ("failed", "estimated"):
        return (KINDS.index(kind), 0, kind)
    if kind != "reply":
        return (KINDS.index(kind), 0, row.model)
    return (0, *_lane_order(row.arm, row.request_model))


def _lane_order(arm: str | None, model: str) -> tuple[int, str]:
    if arm is None:
        return (len(ARMS) + 1, model)
    return (ARMS.index(arm) if arm in ARMS else len(ARMS), arm)


def _lines(rows: tuple[SpendRow, ...], currency: Currency) -> tuple[Line, ...]:
    parts: dict[tuple[int, int, str], list[SpendRow]] = defaultdict(list)
    for row in rows:
        parts[_line_key(row)].append(row)
    return tuple(_line(key, parts[key], currency) for key in sorted(parts))


def _line(key: tuple[int, int, str], rows: list[SpendRow], currency: Currency) -> Line:
    cost = sum((row.cost for row in rows), ZERO)
    compared = [row.baseline for row in rows if row.baseline is not None]
    baseline = sum(compared, ZERO) if compared else None
    return Line(
        key=key[2],
        kind=KINDS[key[0]],
        arm=rows[0].arm if KINDS[key[0]] == "reply" else None,
        models=_models(rows),
        calls=sum(row.calls for row in rows),
        tokens=Tokens(**{bucket: sum(getattr(row, bucket) for row in rows) for bucket in _BUCKETS}),
        cost_usd=text(cost),
        spend=currency.line(cost),
        baseline_usd=None if baseline is None else text(baseline),
        baseline=None if baseline is None else currency.line(baseline),
    )


def _models(rows: list[SpendRow]) -> tuple[str, ...]:
    costs: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        costs[row.model] += row.cost
    return tuple(sorted(costs, key=lambda model: (-costs[model], model)))


def _totals(lines: tuple[Line, ...], facts: MonthFacts) -> Totals:
    spend = figures.total(line.spend for line in lines)
    exact = sum((row.cost for row in facts.spend), ZERO)
    compared = [row.baseline for row in facts.spend if row.baseline is not None]
    printed = [line.baseline for line in lines if line.baseline is not None]
    baseline = figures.total(printed) if facts.baseline is not None else None
    return Totals(
        tickets=facts.tickets,
        replies=sum(row.calls for row in facts.spend if _is_reply(row)),
        calls=sum(line.calls for line in lines),
        cost_usd=text(exact),
        spend=_placed(spend, facts.currency),
        baseline_usd=text(sum(compared, ZERO)) if baseline is not None else None,
        baseline=None if baseline is None else _placed(baseline, facts.currency),
        saved=None if baseline is None else _placed(baseline - spend, facts.currency),
        saved_share=None if baseline is None else figures.share(baseline - spend, baseline),
    )


def _placed(printed: Decimal, currency: Currency) -> Decimal:
    """An empty sum with the currency's decimals too."""
    return round_half_up(printed, currency.places)


def _added(rows: Iterable[EditRow]) -> EditRow:
    total = NO_EDITS
    for row in rows:
        total = total.plus(row)
    return total


def _quality(row: EditRow) -> Quality:
    rate = figures.mean_of_shares(row.ratio_sum, row.ratio_squares, int(row.measured))
    touched = figures.wilson(int(row.touched), int(row.edits))
    return Quality(
        edits=int(row.edits),
        accepted=int(row.accepted),
        touched=int(row.touched),
        rewritten=int(row.rewritten),
        discarded=int(row.discarded),
        measured=int(row.measured),
        timed=int(row.timed),
        edit_minutes=round_half_up(figures.divided(row.seconds, Decimal(60)), 1),
        coherence_scores=int(row.scores),
        edit_rate=rate and rate.value,
        edit_rate_low=rate and rate.low,
        edit_rate_high=rate and rate.high,
        touched_share=touched and touched.value,
        touched_low=touched and touched.low,
        touched_high=touched and touched.high,
        coherence=figures.mean(row.score_sum, int(row.scores)),
    )


def _lanes(lines: tuple[Line, ...], facts: MonthFacts) -> tuple[Lane, ...]:
    """One lane for each line of replies, in the same order. Shapes: `key` is the arm, else the model that was asked."""
    lanes = [line for line in lines if line.kind == "reply"]
    replies: dict[str, int] = defaultdict(int)
    for row in facts.spend:
        replies[row.arm or row.request_model] += row.calls if _is_reply(row) else 0
    latency = {row.key: row for row in facts.latency}
    edits = dict(facts.quality)
    return tuple(_lane(line, replies, latency.get(line.key), edits.get(line.key, NO_EDITS)) for line in lanes)


def _is_reply(row: SpendRow) -> bool:
    """Whether these calls answered somebody; also those whose tokens nobody knows, which are billed on another line."""
    return row.purpose == "generation" and row.is_ok


def _lane(line: Line, replies: dict[str, int], latency: LatencyRow | None, edits: EditRow) -> Lane:
    return Lane(
        key=line.key,
        arm=line.arm,
        models=line.models,
        replies=replies[line.key],
        share=figures.share(replies[line.key], sum(replies.values())),
        p50_s=None if latency is None else latency.p50_s,
        p95_s=None if latency is None else latency.p95_s,
        simulated_durations=0 if latency is None else latency.simulated,
        quality=_quality(edits),
    )


def _days(rows: tuple[SpendRow, ...], first: dt.date, last: dt.date, lanes: tuple[Lane, ...]) -> tuple[Day, ...]:
    by_day: dict[dt.date, list[SpendRow]] = defaultdict(list)
    for row in rows:
        by_day[row.date].append(row)
    keys = [lane.key for lane in lanes]
    return tuple(_day(first + dt.timedelta(days=n), by_day, keys) for n in range((last - first).days + 1))


def _day(date: dt.date, by_day: dict[dt.date, list[SpendRow]], keys: list[str]) -> Day:
    costs: dict[str, Decimal] = dict.fromkeys((*keys, REST), ZERO)
    replies, compared = 0, []
    for row in by_day.get(date, ()):
        costs[_line_key(row)[2] if _kind(row) == "reply" else REST] += row.cost
        replies += row.calls if _is_reply(row) else 0
        if row.baseline is not None:
            compared.append(row.baseline)
    return Day(
        date=date,
        replies=replies,
        parts=tuple(DayPart(key, text(cost)) for key, cost in costs.items()),
        cost_usd=text(sum(costs.values(), ZERO)),
        baseline_usd=text(sum(compared, ZERO)) if compared else None,
    )


def _weeks(facts: MonthFacts, first: dt.date, last: dt.date, lanes: tuple[Lane, ...]) -> tuple[Week, ...]:
    order = {lane.key: place for place, lane in enumerate(lanes)}
    found: dict[tuple[dt.date, int, str], list[EditRow]] = defaultdict(list)
    for monday, key, row in facts.weeks:
        inside = min(max(monday, first - dt.timedelta(days=first.weekday())), last - dt.timedelta(days=last.weekday()))
        found[inside, order.get(key, len(order)), key].append(row)
    return tuple(
        Week(
            first_day=max(monday, first),
            last_day=min(monday + dt.timedelta(days=6), last),
            key=key,
            quality=_quality(_added(found[monday, place, key])),
        )
        for monday, place, key in sorted(found)
    )


def _steps(lines: tuple[Line, ...], totals: Totals) -> tuple[Step, ...]:
    """From the baseline to the spend, a step for each printed line; the amounts sum exactly."""
    if totals.baseline is None:
        return ()
    between = tuple(Step(key=line.key, kind="line", amount=line.spend - (line.baseline or ZERO)) for line in lines)
    return (
        Step(key="baseline", kind="baseline", amount=totals.baseline),
        *between,
        Step(key="spend", kind="spend", amount=totals.spend),
    )


def _accepted_reply(facts: MonthFacts, quality: Quality) -> Reply:
    """Everything spent, failed and unused drafts included, over the replies that were sent."""
    hourly, accepted = facts.client.edit_usd_per_hour, Decimal(quality.accepted)
    if not accepted:
        return Reply(
            accepted=0, llm=None, edit=None, total=None, per_hour=_hourly(facts), edit_usd_per_hour=_text(hourly)
        )
    llm = figures.divided(sum((row.cost for row in facts.spend), ZERO), accepted)
    seconds = _added(row for _, row in facts.quality).seconds
    edit = None if hourly is None else figures.divided(seconds * hourly, 3600 * accepted)
    return Reply(
        accepted=quality.accepted,
        llm=facts.currency.fine(llm),
        edit=None if edit is None else facts.currency.fine(edit),
        total=None if edit is None else facts.currency.line(llm + edit),
        per_hour=_hourly(facts),
        edit_usd_per_hour=_text(hourly),
    )


def _hourly(facts: MonthFacts) -> Decimal | None:
    hourly = facts.client.edit_usd_per_hour
    return None if hourly is None else facts.currency.line(hourly)


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else text(amount)


def _held(facts: MonthFacts, name: str) -> tuple[int, Decimal]:
    """How many attempts ended so, and what they hold."""
    found = [row for row in facts.outcomes if (row.what, row.name) == ("ended", name)]
    return sum(row.attempts for row in found), sum((row.usd for row in found), ZERO)


def _budget(facts: MonthFacts, totals: Totals) -> Budget:
    settled, held, orphaned = Decimal(totals.cost_usd), _held(facts, "open")[1], _held(facts, "orphaned")[1]
    used = settled + held + orphaned
    return Budget(
        cap=None if facts.cap is None else facts.currency.line(facts.cap),
        is_hard=facts.is_hard,
        used=facts.currency.line(used),
        used_share=None if facts.cap is None else figures.share(used, facts.cap),
        held=facts.currency.line(held),
        orphaned=facts.currency.line(orphaned),
        cap_usd=_text(facts.cap),
        settled_usd=text(settled),
        held_usd=text(held),
        orphaned_usd=text(orphaned),
    )


def _unknowns(facts: MonthFacts, totals: Totals, quality: Quality) -> Unknowns:
    open_count, open_usd = _held(facts, "open")
    orphaned_count, orphaned_usd = _held(facts, "orphaned")
    estimated = sum((row.cost for row in facts.spend if row.estimated_calls), ZERO)
    return Unknowns(
        estimated_calls=sum(row.estimated_calls for row in facts.spend),
        estimated=facts.currency.line(estimated),
        calls_without_usage=sum(row.calls_without_usage for row in facts.spend),
        counted_calls=sum(row.counted_calls for row in facts.spend),
        calls_without_baseline=sum(row.calls for row in facts.spend if row.baseline is None),
        open_holds=open_count,
        open=facts.currency.line(open_usd),
        orphaned_calls=orphaned_count,
        orphaned=facts.currency.line(orphaned_usd),
        voided_calls=_held(facts, "voided")[0],
        simulated_durations=sum(row.simulated for row in facts.latency),
        replies_without_human=max(totals.replies - quality.edits, 0),
        refused=tuple(Count(row.name, row.attempts) for row in facts.outcomes if row.what == "refused"),
    )


def _money(facts: MonthFacts) -> Money:
    rate = facts.rate
    if rate is None:
        return Money(code=facts.currency.code, places=facts.currency.places)
    return Money(
        code=facts.currency.code,
        places=facts.currency.places,
        pair=rate.pair,
        rate=text(rate.rate),
        rate_valid_from=rate.valid_from.astimezone(dt.UTC),
        rate_source=rate.source,
    )


def digest(rows: tuple[SpendRow, ...]) -> str:
    """SHA-256 over the month's line items, so that two reports over the same facts can be told to be so.

    Shapes: one line `day|model|purpose|arm|bucket|tokens|usd` for each bucket with tokens or cost, sorted, newline after each;
    cost that no bucket explains is in the bucket `unmeasured`.
    """
    items: dict[tuple[str, ...], tuple[int, Decimal]] = defaultdict(lambda: (0, ZERO))
    for row in rows:
        explained = ZERO
        for bucket in _BUCKETS:
            cost = getattr(row, f"cost_{bucket}")
            explained += cost
            _add(items, row, bucket, getattr(row, bucket), cost)
        _add(items, row, "unmeasured", 0, row.cost - explained)
    lines = sorted("|".join((*key, str(tokens), text(cost))) for key, (tokens, cost) in items.items() if tokens or cost)
    return hashlib.sha256("".join(line + "\n" for line in lines).encode()).hexdigest()


def _add(
    items: dict[tuple[str, ...], tuple[int, Decimal]], row: SpendRow, bucket: str, tokens: int, cost: Decimal
) -> None:
    key = (row.date.isoformat(), row.model, row.purpose, row.arm or "", bucket)
    held = items[key]
    items[key] = (held[0] + tokens, held[1] + cost)
