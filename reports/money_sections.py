"""The sections about money: days, what happened, the waterfall, the bill, budget and forecast, prices, invoice, hours."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal

from ledger.money import ZERO
from reports.display import Style, legible, model_name, model_names
from reports.figures import share
from reports.layout import Block, Row, Section
from reports.model import Adjustment, Happening, Line, PriceChange, Report
from reports.sentence import Part
from reports.worked import Work


def money_sections(report: Report, style: Style) -> tuple[Section, ...]:
    """What the month cost: days with what happened, and the way from the baseline to the spend."""
    say = style.say
    baseline = model_name(report.baseline.model) if report.baseline else ""
    heading = say("heading.daily_against", model=baseline) if baseline else say("heading.daily")
    alt = say("alt.daily_baseline" if baseline else "alt.daily")
    daily = Section(
        heading, (Block("chart", chart="daily", alt=alt), *_happened(report, style), *_unknown_note(report, style))
    )
    if not report.steps:
        return (daily,)
    steps = "; ".join(style.money(step.amount, sign=step.kind == "effect") for step in report.steps)
    title = say("heading.saving" if (report.totals.saved or 0) > 0 else "heading.way")
    fall = Block("chart", chart="waterfall", alt=say("alt.waterfall", steps=steps))
    return (daily, Section(title, (fall,)))


def sums_sections(report: Report, style: Style) -> tuple[Section, ...]:
    """The tables a client checks: the bill, baselines, prices, the invoice, hours, what is not known, what changed."""
    found = [Section(style.say("heading.bill"), (_bill(report, style),))]
    if report.methods:
        found.append(Section(style.say("heading.baselines"), (_methods(report, style),)))
    if report.invoice is not None:
        found.append(Section(style.say("heading.invoice"), (_invoice(report, style),)))
    if report.work is not None:
        found.append(Section(style.say("heading.work"), _work(report.work, style)))
    if report.changes:
        found.append(Section(style.say("heading.changes"), (_changes(report, style),)))
    found.append(Section(style.say("heading.unknown"), (_unknowns(report, style),)))
    found.append(Section(style.say("heading.prices"), (*_price_changes(report, style), _prices(report, style))))
    return tuple(found)


def _happened(report: Report, style: Style) -> tuple[Block, ...]:
    if not report.happened:
        return ()
    said = " ".join(_happening(one, report, style) for one in report.happened)
    return (Block("note", words=((style.say("happened") + " ", True), (said, False))),)


def _happening(one: Happening, report: Report, style: Style) -> str:
    names = {lane.key: model_names(lane.models) for lane in report.lanes}
    more = style.say("happened.more", days=style.plural(one.more_days, "such_day")) + " " if one.more_days else ""
    return style.say(
        f"happened.{one.kind}",
        day="" if one.day is None else style.day(one.day),
        more_=more,
        count=style.plural(one.count, "reply" if one.kind in ("volume", "split") else "call"),
        usual="" if one.usual is None else style.number(one.usual),
        share=style.percent(one.share),
        usual_share=style.percent(one.usual),
        name=names.get(one.key) or model_name(one.key),
        amount=style.money(one.amount, sign=True),
    )


def _unknown_note(report: Report, style: Style) -> tuple[Block, ...]:
    """The unknowns that carry money, beside the money; all of them are in a table further down."""
    u, say = report.unknowns, style.say
    found = []
    if u.estimated_calls:
        found.append(
            say("unknown.estimated", calls=style.plural(u.estimated_calls, "call"), amount=style.money(u.estimated))
        )
    if u.orphaned_calls:
        found.append(
            say("unknown.orphaned", calls=style.plural(u.orphaned_calls, "call"), amount=style.money(u.orphaned))
        )
    if u.open_holds:
        found.append(say("unknown.open", calls=style.plural(u.open_holds, "call"), amount=style.money(u.open)))
    if not found:
        return ()
    words: tuple[Part, ...] = ((say("unknown.lead") + " ", True), ("; ".join(found) + ".", False))
    return (Block("note", words=words),)


def line_title(line: Line, style: Style) -> str:
    """How a line of the bill is called."""
    name = style.say(f"line.{line.kind}")
    name += "" if line.kind in ("failed", "estimated", "cached") else f": {model_names(line.models)}"
    return name + (f" ({line.arm})" if line.arm else "")


def _bill(report: Report, style: Style) -> Block:
    rows = [_bill_row(line, report, style) for line in report.lines]
    every = [line.tokens for line in report.lines]
    cached, read = sum(t.cache_read for t in every), sum(t.input for t in every)
    repriced = [line.baseline for line in report.lines if line.baseline is not None]
    total = (
        *(style.say("total"), style.count(report.totals.calls), style.tokens(read), style.percent(share(cached, read))),
        style.tokens(sum(t.output for t in every)),
        *_amounts(sum(repriced, ZERO), report.totals.spend, style, report.baseline is not None),
    )
    rows.append(Row(total, is_total=True))
    if report.adjustments:
        rows += [_adjustment(one, style) for one in report.adjustments]
        rows.append(Row((style.say("bill.due"), *("",) * 5, style.money(report.totals.due), ""), is_total=True))
    said = (_avoided(report, style), style.say("bill.adjusted") if report.adjustments else "")
    caption = " ".join(filter(None, said))
    return Block("table", head=style.say.listed("bill.head"), rows=tuple(rows), caption=caption)


def _avoided(report: Report, style: Style) -> str:
    """The replies from the cache in words, with what they avoided."""
    found = report.from_cache
    if found is None:
        return ""
    return style.say(
        "bill.cached",
        replies=style.plural(found.replies, "cached_reply"),
        input=style.tokens(found.tokens.input),
        output=style.tokens(found.tokens.output),
        amount=style.money(found.avoided),
    )


def _adjustment(one: Adjustment, style: Style) -> Row:
    """Facts of an earlier month that came after it was closed, on one line."""
    month = style.month(dt.date.fromisoformat(f"{one.period}-01"))
    title = style.say(f"late.{one.kind}", month=month)
    return Row((title, style.count(one.facts), "–", "–", "–", "–", style.money(one.amount), ""))


def _bill_row(line: Line, report: Report, style: Style) -> Row:
    tokens, is_known = line.tokens, line.kind != "estimated"
    if line.kind == "cached":  # no call and no usage, so that the columns add up to the total
        unused = (line_title(line, style), *("–",) * 4)
        return Row((*unused, *_amounts(line.baseline, line.spend, style, report.baseline is not None)))
    return Row(
        (
            line_title(line, style),
            style.count(line.calls),
            style.tokens(tokens.input) if is_known else style.unknown,
            style.percent(share(tokens.cache_read, tokens.input)) if is_known else "–",
            style.tokens(tokens.output) if is_known else style.unknown,
            *_amounts(line.baseline, line.spend, style, report.baseline is not None),
        )
    )


def _amounts(baseline: Decimal | None, spend: Decimal, style: Style, is_compared: bool) -> tuple[str, str, str]:
    """What it would have cost, what it cost, and what is between them."""
    if not is_compared:
        return ("–", style.money(spend), "–")
    difference = spend - (baseline or ZERO)
    return ("–" if baseline is None else style.money(baseline), style.money(spend), style.money(difference, sign=True))


def _methods(report: Report, style: Style) -> Block:
    say, rows = style.say, []
    for one in report.methods:
        interval = say(f"baseline.{one.name}.exact")
        if one.low is not None and one.high is not None:
            interval = f"{style.money(one.low)} – {style.money(one.high)}"
        rows.append(
            Row(
                (
                    say(f"baseline.{one.name}"),
                    style.money(one.amount),
                    interval,
                    "–" if one.discounted is None else style.money(one.discounted),
                    "–" if one.undiscounted is None else style.money(one.undiscounted),
                    say(f"baseline.{one.name}.basis", count=style.count(one.basis)),
                    say("baseline.headline") if one.name == report.baseline_method else "",
                ),
                is_total=one.name == report.baseline_method,
            )
        )
    caption = say("baseline.caption")
    return Block(
        "table", head=say.listed("baseline.head"), rows=tuple(rows), texts=(0, 5, 6), wide=(0, 5), caption=caption
    )


def _invoice(report: Report, style: Style) -> Block:
    found, say = report.invoice, style.say
    if found is None:
        return Block("table")
    rows = [Row((say("invoice.ledger"), style.money(found.ledger)))]
    rows += [Row((say(f"invoice.{name}"), style.money(amount, sign=True))) for name, amount in found.residuals]
    rows.append(Row((say("invoice.invoiced", name=found.name), style.money(found.invoiced)), is_total=True))
    caption = say("invoice.within" if found.is_within_tolerance else "invoice.beyond")
    return Block("table", head=say.listed("invoice.head"), rows=tuple(rows), caption=caption)


def _work(work: Work, style: Style) -> tuple[Block, ...]:
    say = style.say
    rows = [
        Row(
            (
                legible(line.activity, 60),
                style.number(line.hours),
                "–" if line.rate is None else style.money(line.rate),
                "–" if line.fee is None else style.money(line.fee),
            )
        )
        for line in work.lines
    ]
    rows.append(Row((say("total"), style.number(work.hours), "", style.money(work.fee)), is_total=True))
    month = "" if work.break_even is None else style.month(work.break_even)
    said = say(f"work.{work.verdict}", fee=style.money(work.fee), saved=style.money(work.saved), month=month)
    table = Block("table", head=say.listed("work.head"), rows=tuple(rows))
    return (table, Block("note", words=((say("work.payback") + " ", True), (said, False))))


def _changes(report: Report, style: Style) -> Block:
    def written(key: str, amount: Decimal | None) -> str:
        if amount is None:
            return style.unknown
        return style.count(int(amount)) if key in ("tickets", "calls") else style.money(amount)

    rows = tuple(
        Row((style.say(f"change.{one.key}"), written(one.key, one.before), written(one.key, one.now)))
        for one in report.changes
    )
    return Block("table", head=style.say.listed("change.head"), rows=rows)


def _unknowns(report: Report, style: Style) -> Block:
    u, say = report.unknowns, style.say
    refused = sum(kind.count for kind in u.refused)
    kinds = ", ".join(f"{say(f'refusal.{kind.name}')} {style.count(kind.count)}" for kind in u.refused)
    found = (
        ("estimated", u.estimated_calls, style.money(u.estimated)),
        ("without_usage", u.calls_without_usage, "–"),
        ("counted", u.counted_calls, "–"),
        ("open", u.open_holds, style.money(u.open)),
        ("orphaned", u.orphaned_calls, style.money(u.orphaned)),
        ("voided", u.voided_calls, "–"),
        ("refused", refused, "–"),
        ("silent", u.replies_without_human, "–"),
    )
    rows = tuple(
        Row(
            (
                say(f"unknowns.{what}") + (f": {kinds}" if what == "refused" and kinds else ""),
                style.count(count),
                amount if count else "–",
            )
        )
        for what, count, amount in found
    )
    return Block("table", head=say.listed("unknowns.head"), rows=rows)


def _price_changes(report: Report, style: Style) -> Iterator[Block]:
    if report.price_changes:
        rows = tuple(_price_change(change, style) for change in report.price_changes)
        head = style.say.listed("price_change.head")
        yield Block("table", head=head, rows=rows, texts=(0, 1), caption=style.say("price_change.caption"))


def _price_change(change: PriceChange, style: Style) -> Row:
    before = f"{style.rate(change.input_before)} / {style.rate(change.output_before)}"
    after = f"{style.rate(change.input_after)} / {style.rate(change.output_after)}"
    return Row((model_name(change.model), style.day(change.day), before, after, style.money(change.amount, sign=True)))


def _prices(report: Report, style: Style) -> Block:
    rows, say = [], style.say
    for price in (*report.prices, *((report.baseline,) if report.baseline else ())):
        since = f"{style.day(price.valid_from.date())}\u00a0{price.valid_from.year}"
        role = say("prices.baseline") if price is report.baseline else style.plural(price.calls or 0, "call")
        read = say("prices.read", day=legible(price.retrieved_at, 40)) if price.retrieved_at else ""
        rates = map(style.rate, (price.uncached_input, price.cache_read, price.plain_output))
        rows.append(Row((legible(price.price_id, 60), *rates, since, role, legible(price.source) + read)))
    head = say.listed("prices.head")
    return Block("table", head=head, rows=tuple(rows), texts=(0, 4, 6), wide=(0, 6), caption=say("prices.caption"))
