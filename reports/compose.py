"""From a month's rows to its report: every figure that is printed is made here.

Pure. The bill's lines come first, each rounded once; totals, the saving and the steps between
baseline and spend are sums and differences of those printed lines, so they add up to the cent.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec

from ledger.budgets import zone
from ledger.money import ZERO, round_half_up, text
from reports import figures
from reports.baselines import headline, methods
from reports.bill import bill, kind_of, line_key
from reports.display import Style, legible
from reports.effects import price_changes, steps
from reports.facts import EditRow, LatencyRow, MonthFacts, SpendRow
from reports.figures import Currency
from reports.happenings import happenings
from reports.hits import drafts_served, from_cache
from reports.items import digest, items
from reports.model import (
    Adjustment,
    Budget,
    Change,
    ChangeKey,
    Client,
    Count,
    Day,
    DayPart,
    Invoice,
    Lane,
    Line,
    Method,
    Money,
    Month,
    Quality,
    Reply,
    Report,
    Service,
    Status,
    Totals,
    Unknowns,
    Week,
    sha256,
)
from reports.outlook import forecast, previous, work
from reports.saving import with_interval
from reports.sentence import sentence

REST = "rest"  # of a day: everything that is no reply
NO_EDITS = EditRow(0, 0, 0, 0, 0, 0, ZERO, ZERO, 0, ZERO, 0, ZERO)


def compose(
    facts: MonthFacts, *, prepared_by: str, revision: int, language: str = "en", before: Report | None = None
) -> Report:
    """The report of these facts; `before` is the revision it follows, of which it says what changed."""
    lines = bill(facts.spend, facts.cached, facts.currency)
    avoided = from_cache(facts.cached, facts.currency)
    lanes = _lanes(lines, facts)
    ways = methods(facts, lines)
    local = zone(facts.client.zone)
    first, last = (
        facts.period.start.astimezone(local).date(),
        (facts.period.end - dt.timedelta(microseconds=1)).astimezone(local).date(),
    )
    days = _days(facts, first, last, lanes)
    late = _adjustments(facts)
    totals = with_interval(_totals(lines, late, facts, headline(ways)), headline(ways), days, facts.currency)
    quality = _quality(_added(row for _, row in facts.quality))
    found = items(facts)
    earlier = previous(facts, totals)
    prices = price_changes(facts)
    style = Style(facts.currency.code, language)
    said = sentence(totals, quality, style, facts.baseline, earlier, drafts_served(avoided))
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
        status=_status(facts),
        revision=revision,
        language=language,
        data_as_of=None if facts.as_of is None else facts.as_of.astimezone(dt.UTC),
        currency=_money(facts),
        sentence="".join(part for part, _ in said),
        totals=totals,
        accepted_reply=_accepted_reply(facts, quality),
        quality=quality,
        budget=_budget(facts, totals),
        lines=lines,
        adjustments=late,
        lanes=lanes,
        days=days,
        weeks=_weeks(facts, first, last, lanes),
        steps=steps(facts, lines, totals),
        outcomes=tuple(Count(row.name, row.attempts) for row in facts.outcomes if row.what == "ended"),
        unknowns=_unknowns(facts, totals, quality, drafts_served(avoided)),
        previous=earlier,
        happened=happenings(facts, days, lanes, lines, prices),
        price_changes=prices,
        service=_service(facts),
        forecast=forecast(facts, days),
        work=work(facts, totals),
        methods=ways,
        invoice=_invoice(facts),
        changes=_changes(before, totals),
        price_book_sha256=_book_digest(facts),
        baseline_method=chosen.name if (chosen := headline(ways)) else "repriced",
        baseline=facts.baseline,
        prices=facts.prices,
        lines_sha256=digest(found),
        from_cache=avoided,
    )


def _totals(lines: tuple[Line, ...], late: tuple[Adjustment, ...], facts: MonthFacts, chosen: Method | None) -> Totals:
    spend = figures.total(line.spend for line in lines)
    exact = sum((row.cost for row in facts.spend), ZERO)
    baseline = None if chosen is None else chosen.amount
    adjusted = figures.total(one.amount for one in late)
    return Totals(
        tickets=facts.tickets,
        replies=sum(row.calls for row in facts.spend if _is_reply(row)),
        calls=sum(line.calls for line in lines),
        cost_usd=text(exact),
        spend=_placed(spend, facts.currency),
        baseline_usd=text(sum((row.baseline or ZERO for row in facts.compared), ZERO)) if chosen is not None else None,
        baseline=None if baseline is None else _placed(baseline, facts.currency),
        saved=None if baseline is None else _placed(baseline - spend, facts.currency),
        saved_share=None if baseline is None else figures.share(baseline - spend, baseline),
        adjusted=_placed(adjusted, facts.currency),
        due=_placed(spend + adjusted, facts.currency),
    )


def _adjustments(facts: MonthFacts) -> tuple[Adjustment, ...]:
    """What earlier, closed months did not have; each line rounded once."""
    return tuple(
        Adjustment(
            period=row.period,
            kind=row.kind,  # type: ignore[arg-type]  # those of the query
            facts=row.facts,
            cost_usd=text(row.cost_usd),
            amount=facts.currency.line(row.cost_usd),
        )
        for row in facts.late
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


def _days(facts: MonthFacts, first: dt.date, last: dt.date, lanes: tuple[Lane, ...]) -> tuple[Day, ...]:
    by_day: dict[dt.date, list[SpendRow]] = defaultdict(list)
    for row in facts.spend:
        by_day[row.date].append(row)
    compared: dict[dt.date, list[Decimal]] = defaultdict(list)
    for one in facts.compared:
        compared[one.date].append(one.baseline or ZERO)
    keys = [lane.key for lane in lanes]
    every = [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]
    return tuple(_day(day, by_day.get(day, ()), compared.get(day, ()), keys) for day in every)


def _day(date: dt.date, rows: Sequence[SpendRow], compared: Sequence[Decimal], keys: list[str]) -> Day:
    costs: dict[str, Decimal] = dict.fromkeys((*keys, REST), ZERO)
    replies = 0
    for row in rows:
        costs[line_key(row)[2] if kind_of(row) == "reply" else REST] += row.cost
        replies += row.calls if _is_reply(row) else 0
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


def _status(facts: MonthFacts) -> Status:
    if not facts.closed:
        return "draft"
    if facts.restatements:
        return "restated"
    return "reconciled" if facts.invoice is not None and facts.invoice.is_within else "final"


def _service(facts: MonthFacts) -> Service:
    row, busiest = facts.service, facts.busiest
    return Service(
        p50_s=row.p50_s,
        p95_s=row.p95_s,
        first_chunk_p50_s=row.first_p50_s,
        first_chunk_p95_s=row.first_p95_s,
        busiest_hour=None if busiest is None else busiest[0],
        busiest_replies=0 if busiest is None else busiest[1],
        attempts=row.attempts,
        repeated=row.repeated,
        failed=row.failed,
    )


def _invoice(facts: MonthFacts) -> Invoice | None:
    found = facts.invoice
    if found is None:
        return None
    invoiced, ours = facts.currency.line(found.invoiced), facts.currency.line(found.ledger)
    kinds = {"missing": "missing", "duplicate": "duplicate", "price": "price", "class": "kind", "clock": "clock"}
    residuals = [(name, facts.currency.line(getattr(found, kind))) for name, kind in kinds.items()]
    rounding = invoiced - ours - figures.total(amount for _, amount in residuals)
    residuals.append(("rounding", rounding))  # so that it sums
    return Invoice(
        name=legible(found.name, 60),
        invoiced=invoiced,
        ledger=ours,
        residuals=tuple((name, amount) for name, amount in residuals if amount),
        is_within_tolerance=found.is_within,
    )


def _changes(before: Report | None, totals: Totals) -> tuple[Change, ...]:
    """The headline figures that the revision before had otherwise."""
    if before is None:
        return ()
    keys: tuple[ChangeKey, ...] = ("spend", "baseline", "saved", "tickets", "calls")
    pairs = [(key, getattr(before.totals, key), getattr(totals, key)) for key in keys]
    return tuple(Change(key=key, before=_figure(then), now=_figure(now)) for key, then, now in pairs if then != now)


def _figure(found: Decimal | int | None) -> Decimal | None:
    return None if found is None else Decimal(found)


def _book_digest(facts: MonthFacts) -> str:
    """SHA-256 over the prices the month was charged and compared with, so that two reports can be told to use the same."""
    used = [msgspec.structs.replace(price, calls=None) for price in facts.prices]
    used += [] if facts.baseline is None else [facts.baseline]
    return sha256(msgspec.json.encode(used))


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


def _unknowns(facts: MonthFacts, totals: Totals, quality: Quality, from_cache: int) -> Unknowns:
    open_count, open_usd = _held(facts, "open")
    orphaned_count, orphaned_usd = _held(facts, "orphaned")
    estimated = sum((row.cost for row in facts.spend if row.estimated_calls), ZERO)
    return Unknowns(
        estimated_calls=sum(row.estimated_calls for row in facts.spend),
        estimated=facts.currency.line(estimated),
        estimated_share=figures.share(estimated, Decimal(totals.cost_usd)),
        calls_without_usage=sum(row.calls_without_usage for row in facts.spend),
        counted_calls=sum(row.counted_calls for row in facts.spend),
        calls_without_baseline=sum(row.calls for row in facts.spend if row.baseline is None),
        open_holds=open_count,
        open=facts.currency.line(open_usd),
        orphaned_calls=orphaned_count,
        orphaned=facts.currency.line(orphaned_usd),
        voided_calls=_held(facts, "voided")[0],
        simulated_durations=sum(row.simulated for row in facts.latency),
        replies_without_human=max(totals.replies + from_cache - quality.edits, 0),
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
