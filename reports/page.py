"""The report in words: what the page and the PDF both print, in order.

One Page feeds both templates, so a figure cannot read differently in them. A template
lays out; it decides nothing and formats nothing.
"""

from __future__ import annotations

from ledger.money import round_half_up
from reports import method
from reports.display import Style, model_name
from reports.hits import drafts_served
from reports.layout import Block, Page, Section, Tile
from reports.model import Report
from reports.money_sections import money_sections, sums_sections
from reports.quality_sections import quality_sections, service_sections
from reports.sentence import sentence


def page(report: Report) -> Page:
    """The report in words."""
    style = Style(report.currency.code, report.language)
    say = style.say
    prepared = " · " + say("prepared_by", name=report.prepared_by) if report.prepared_by else ""
    sections = (
        *money_sections(report, style),
        *quality_sections(report, style),
        *service_sections(report, style),
        *sums_sections(report, style),
        Section(say("heading.method"), (Block("list", items=method.notes(report, style)),)),
    )
    return Page(
        language=report.language,
        title=say("title"),
        client=report.client.name,
        subtitle=f"{report.client.name} · {style.month(report.period.first_day)}{prepared}",
        status=say(f"status.{report.status}"),
        stage=report.status,
        report_id=report.id,
        as_of=say("data_as_of", moment=style.moment(report.data_as_of)),
        headline=sentence(
            report.totals, report.quality, style, report.baseline, report.previous, drafts_served(report.from_cache)
        ),
        tiles=_tiles(report, style),
        tiles_note=_tiles_note(report, style),
        sections=sections[-1:] if report.is_empty else sections,
        footer=f"{report.id} · {report.client.name}",
        page_of=tuple(say.listed("page_of")),
        keywords=(report.client.id, report.period.name, report.status),
    )


def _tiles(report: Report, style: Style) -> tuple[Tile, ...]:
    quality, say = report.quality, style.say
    interval = say("tile.interval", span=style.span(quality.edit_rate_low, quality.edit_rate_high))
    return (
        Tile(say("tile.spend"), style.money(report.totals.spend), _spend_note(report, style)),
        _baseline_tile(report, style),
        _saved_tile(report, style),
        _reply_tile(report, style),
        Tile(
            say("tile.edit_rate"),
            style.percent(quality.edit_rate),
            say("tile.no_edits") if quality.edit_rate is None else interval,
        ),
        _budget_tile(report, style),
    )


def _spend_note(report: Report, style: Style) -> str:
    previous = report.previous
    if previous is None or previous.spend_change is None:
        return style.plural(report.totals.calls, "call")
    share = style.percent(abs(previous.spend_change))
    arrow = "▴" if previous.spend_change > 0 else "▾" if previous.spend_change < 0 else "="
    return style.say("tile.versus", change=f"{arrow} {share}", month=style.month_name(previous.first_day))


def _baseline_tile(report: Report, style: Style) -> Tile:
    say = style.say
    if report.baseline is None:
        return Tile(say("tile.baseline"), style.unknown, say("tile.none_set"))
    label = say("tile.model_baseline", model=model_name(report.baseline.model))
    amounts = [
        found
        for one in report.methods
        for found in (one.amount, one.low, one.high, one.discounted)
        if found is not None
    ]
    if len(set(amounts)) > 1:
        note = say("tile.range", low=style.money(min(amounts)), high=style.money(max(amounts)))
    else:
        note = say(f"tile.{report.baseline_method}")
    return Tile(label, style.money(report.totals.baseline), note)


def _budget_tile(report: Report, style: Style) -> Tile:
    budget, say = report.budget, style.say
    if budget.cap is None:
        return Tile(say("tile.budget"), say("tile.no_cap"), say("tile.used", amount=style.money(budget.used)))
    note = say("tile.of_hard" if budget.is_hard else "tile.of", amount=style.money(budget.cap))
    is_over = budget.used_share is not None and budget.used_share > 1
    return Tile(say("tile.budget"), style.percent(budget.used_share), note, "bad" if is_over else "plain")


def _saved_tile(report: Report, style: Style) -> Tile:
    saved, share, say = report.totals.saved, report.totals.saved_share, style.say
    if saved is None or share is None:
        return Tile(say("tile.saved"), style.unknown, say("tile.nothing_to_compare"))
    note, span = style.money(saved), style.span(report.totals.saved_share_low, report.totals.saved_share_high)
    if report.totals.interval is not None:
        note = say("tile.saved_interval", amount=note, span=span)
    return Tile(say("tile.saved"), style.percent(share), note, "good" if saved > 0 else "bad")


def _reply_tile(report: Report, style: Style) -> Tile:
    reply, say = report.accepted_reply, style.say
    if not reply.accepted:
        return Tile(say("tile.reply"), style.unknown, say("tile.no_reply"))
    if reply.edit is None:
        return Tile(say("tile.reply"), style.unknown, say("tile.no_hourly", llm=style.money(reply.llm)))
    note = say("tile.reply_parts", llm=style.money(reply.llm), edit=style.money(reply.edit))
    return Tile(say("tile.reply"), style.money(reply.total), note)


def _tiles_note(report: Report, style: Style) -> str:
    reply, quality, say = report.accepted_reply, report.quality, style.say
    if not reply.accepted:
        return say("tiles_note.none")
    minutes = style.plural(int(round_half_up(quality.edit_minutes, 0)), "minute")
    sent = style.plural(reply.accepted, "sent_reply")
    if reply.per_hour is None:
        return say("tiles_note.unpriced", sent=sent, minutes=minutes)
    return say("tiles_note.priced", sent=sent, minutes=minutes, hourly=style.money(reply.per_hour))
