"""The report in words: what the page and the PDF both print, in order.

One Page feeds both templates, so a figure cannot read differently in them. A template
lays out; it decides nothing and formats nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Literal

from ledger.money import ZERO, round_half_up
from reports import method
from reports.display import Style, legible, model_name, model_names
from reports.figures import share
from reports.model import Quality, Report
from reports.pictures import STEP_NAMES, lane_name
from reports.sentence import Part, sentence

TITLE = "LLM cost & quality report"


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure of the first row; `tone` is plain, good or bad."""

    label: str
    value: str
    note: str
    tone: str = "plain"

    @property
    def size(self) -> str:
        """How much room the value takes: short, long or longer."""
        return "short" if len(self.value) <= 8 else "long" if len(self.value) <= 11 else "longer"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table; `is_total` stands out."""

    cells: tuple[str, ...]
    is_total: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """One thing under a heading: a chart by name, a table, words that stand out, or a numbered list.

    Shapes: the first column of a table is text, the others are figures unless `texts` names them;
    the columns in `wide` share the room that is left.
    """

    kind: Literal["chart", "table", "note", "list"]
    chart: str = ""
    alt: str = ""
    caption: str = ""
    head: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    texts: tuple[int, ...] = (0,)
    wide: tuple[int, ...] = (0,)
    items: tuple[tuple[str, str], ...] = ()
    words: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with its blocks; two neighbours with `is_half` stand side by side."""

    heading: str
    blocks: tuple[Block, ...]
    is_half: bool = False
    starts_page: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Everything printed."""

    language: str
    title: str
    client: str
    subtitle: str
    status: str
    report_id: str
    as_of: str
    headline: tuple[Part, ...]
    tiles: tuple[Tile, ...]
    tiles_note: str
    sections: tuple[Section, ...]
    footer: str
    keywords: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, object]:
        """For the typesetter."""
        found = asdict(self)
        found["tiles"] = [asdict(tile) | {"size": tile.size} for tile in self.tiles]
        return found


def page(report: Report) -> Page:
    """The report in words."""
    style = Style(report.currency.code)
    prepared = f" · prepared by {report.prepared_by}" if report.prepared_by else ""
    sections = (
        *_money_sections(report, style),
        *_quality_sections(report, style),
        *_table_sections(report, style),
        Section("How these numbers were made", (Block("list", items=method.notes(report, style)),)),
    )
    return Page(
        language=report.language,
        title=TITLE,
        client=report.client.name,
        subtitle=f"{report.client.name} · {style.month(report.period.first_day)}{prepared}",
        status=report.status.capitalize(),
        report_id=report.id,
        as_of=f"data as of {style.moment(report.data_as_of)}",
        headline=sentence(report.totals, report.quality, report.currency.code, report.baseline),
        tiles=_tiles(report, style),
        tiles_note=_tiles_note(report, style),
        sections=sections if report.totals.calls else sections[-1:],
        footer=f"{report.id} · {report.client.name}",
        keywords=(report.client.id, report.period.name, report.status),
    )


def _tiles(report: Report, style: Style) -> tuple[Tile, ...]:
    totals, quality, budget = report.totals, report.quality, report.budget
    baseline = f"{model_name(report.baseline.model)} baseline" if report.baseline else "Baseline"
    interval = f"95% CI {style.span(quality.edit_rate_low, quality.edit_rate_high)}"
    hardness = " (hard)" if budget.is_hard else ""
    return (
        Tile("Spend", style.money(totals.spend), style.plural(totals.calls, "call", "calls")),
        Tile(baseline, style.money(totals.baseline), "tokens repriced" if report.baseline else "none is set"),
        _saved_tile(report, style),
        _reply_tile(report, style),
        Tile(
            "Edit rate",
            style.percent(quality.edit_rate),
            "no edits reported" if quality.edit_rate is None else interval,
        ),
        Tile(
            "Budget used",
            style.percent(budget.used_share),
            f"of {style.money(budget.cap)}{hardness}",
            _budget_tone(report),
        )
        if budget.cap is not None
        else Tile("Budget used", "no cap", f"{style.money(budget.used)} used"),
    )


def _budget_tone(report: Report) -> str:
    return "bad" if report.budget.used_share is not None and report.budget.used_share > 1 else "plain"


def _saved_tile(report: Report, style: Style) -> Tile:
    saved, share = report.totals.saved, report.totals.saved_share
    if saved is None or share is None:
        return Tile("Saved", "not known", "no baseline to compare with")
    return Tile("Saved", style.percent(share), style.money(saved), "good" if saved > 0 else "bad")


def _reply_tile(report: Report, style: Style) -> Tile:
    reply = report.accepted_reply
    label = "Per accepted reply*"
    if not reply.accepted:
        return Tile(label, "not known", "no reply was reported as sent")
    if reply.edit is None:
        return Tile(label, "not known", f"LLM {style.money(reply.llm)}; set the hourly rate")
    return Tile(label, style.money(reply.total), f"LLM {style.money(reply.llm)} + edit {style.money(reply.edit)}")


def _tiles_note(report: Report, style: Style) -> str:
    reply, quality = report.accepted_reply, report.quality
    if not reply.accepted:
        return "* Everything spent, and the time people spent editing, over the replies that were sent as they were or edited."
    at = (
        f" at {style.money(reply.per_hour)} an hour" if reply.per_hour is not None else ", whose hourly rate is not set"
    )
    sent = style.plural(reply.accepted, "reply was", "replies were")
    minutes = f"{round_half_up(quality.edit_minutes, 0):,f} minutes"
    rate = "Edit rate: mean share of a draft’s characters that people changed."
    return f"* {sent} sent as drafted or edited; people spent {minutes} on drafts{at}. {rate}"


def _money_sections(report: Report, style: Style) -> tuple[Section, ...]:
    baseline = model_name(report.baseline.model) if report.baseline else ""
    against = f" against the {baseline} baseline" if baseline else ""
    alt = f"Bars: spend of each day by model. {'Dashed line: what the same tokens cost at the baseline.' if baseline else ''}"
    bill = Section("The bill", (_bill(report, style),))
    daily = Section(f"Spend by day{against}", (Block("chart", chart="daily", alt=alt), *_unknown_note(report, style)))
    if not report.steps:
        return (daily, bill)
    steps = "; ".join(f"{style.money(step.amount, sign=step.kind == 'line')}" for step in report.steps)
    heading = "Where the saving came from" if (report.totals.saved or 0) > 0 else "From the baseline to the spend"
    return (
        daily,
        Section(heading, (Block("chart", chart="waterfall", alt=f"Steps from the baseline to the spend: {steps}."),)),
        bill,
    )


def _unknown_note(report: Report, style: Style) -> tuple[Block, ...]:
    """The unknowns that carry money, beside the money; all of them are in a table further down."""
    u, found = report.unknowns, []
    if u.estimated_calls:
        calls = style.plural(u.estimated_calls, "call came back", "calls came back")
        found.append(
            f"{calls} without usage and {'is' if u.estimated_calls == 1 else 'are'} in the spend at the worst case, {style.money(u.estimated)}"
        )
    if u.orphaned_calls:
        found.append(
            f"the end of {style.plural(u.orphaned_calls, 'call', 'calls')} is unknown, which holds {style.money(u.orphaned)} more"
        )
    if u.open_holds:
        found.append(
            f"{style.plural(u.open_holds, 'call is', 'calls are')} still open, which holds {style.money(u.open)} more"
        )
    if not found:
        return ()
    words = "; ".join(found)
    return (Block("note", words=(("What is not known: ", True), (words[0].upper() + words[1:] + ".", False))),)


def _quality_sections(report: Report, style: Style) -> tuple[Section, ...]:
    budget = report.budget
    cap = (
        f"Red line: the month’s cap of {style.money(budget.cap)}."
        if budget.cap is not None
        else "No cap is set for the month."
    )
    half = Section(
        "Budget: spend so far",
        (Block("chart", chart="budget", alt="Spend added up day by day.", caption=cap),),
        is_half=bool(report.weeks),
    )
    if not report.weeks:
        return (half,)
    caption = "Dots: mean share of a draft’s characters changed, by the week of the draft; bars: 95% interval."
    weeks = Block(
        "chart",
        chart="weeks",
        alt="Edit rate by week and model; the figures are in the table further down.",
        caption=caption,
    )
    return (Section("Quality: edit rate by week", (weeks,), is_half=True), half)


def _table_sections(report: Report, style: Style) -> tuple[Section, ...]:
    found = [Section("Replies by arm", (_arms(report, style),))]
    if report.weeks:
        found.append(Section("Edits by week", (_weeks(report, style),)))
    found += [
        Section("What is not known", (_unknowns(report, style),)),
        Section("Prices used", (_prices(report, style),)),
    ]
    return tuple(found)


def _bill(report: Report, style: Style) -> Block:
    rows = []
    for line in report.lines:
        name = STEP_NAMES[line.kind] + ("" if line.kind in ("failed", "estimated") else f": {model_names(line.models)}")
        tokens, is_known = line.tokens, line.kind != "estimated"
        rows.append(
            Row(
                (
                    name + (f" ({line.arm})" if line.arm else ""),
                    style.count(line.calls),
                    style.tokens(tokens.input) if is_known else "not known",
                    style.percent(_cached(tokens.cache_read, tokens.input)) if is_known else "–",
                    style.tokens(tokens.output) if is_known else "not known",
                    *_amounts(line.baseline, line.spend, style, report.baseline is not None),
                )
            )
        )
    every = [line.tokens for line in report.lines]
    cached, read = sum(t.cache_read for t in every), sum(t.input for t in every)
    total = (
        *("Total", style.count(report.totals.calls), style.tokens(read), style.percent(_cached(cached, read))),
        style.tokens(sum(t.output for t in every)),
        *_amounts(report.totals.baseline, report.totals.spend, style, report.baseline is not None),
    )
    head = ("Line", "Calls", "Tokens in", "Cached", "Tokens out", "Baseline", "Spend", "Difference")
    return Block("table", head=head, rows=(*rows, Row(total, is_total=True)))


def _amounts(baseline: Decimal | None, spend: Decimal, style: Style, is_compared: bool) -> tuple[str, str, str]:
    """What it would have cost, what it cost, and the step between them, as the waterfall shows it."""
    if not is_compared:
        return ("–", style.money(spend), "–")
    difference = spend - (baseline or ZERO)
    return ("–" if baseline is None else style.money(baseline), style.money(spend), style.money(difference, sign=True))


def _cached(read: int, everything: int) -> Decimal | None:
    return share(read, everything)


def _arms(report: Report, style: Style) -> Block:
    rows = []
    for lane in report.lanes:
        name = lane_name(lane) + (f" ({lane.arm})" if lane.arm else "")
        service = (
            style.count(lane.replies),
            style.percent(lane.share),
            style.seconds(lane.p50_s),
            style.seconds(lane.p95_s),
        )
        rows.append(Row((name, *service, *_judged(lane.quality, style))))
    total = ("All replies", style.count(report.totals.replies), "", "", "", *_judged(report.quality, style))
    head = ("Model", "Replies", "Share", "p50", "p95", "Edit rate", "Touched", "Accepted", "Coherence")
    simulated = report.unknowns.simulated_durations
    caption = "Edit rate: mean share of characters changed. Touched: drafts not sent as they were. Coherence: mean score of 100, and how many were scored."
    if simulated:
        caption += " Durations are the simulator’s, not measured."
    return Block("table", head=head, rows=(*rows, Row(total, is_total=True)), caption=caption)


def _judged(quality: Quality, style: Style) -> tuple[str, ...]:
    score = (
        f"{round_half_up(quality.coherence * 100, 1):f} (n\u00a0=\u00a0{style.count(quality.coherence_scores)})"
        if quality.coherence is not None
        else "–"
    )
    accepted = style.percent(share(quality.accepted, quality.edits))
    return (style.percent(quality.edit_rate), style.percent(quality.touched_share), accepted, score)


def _weeks(report: Report, style: Style) -> Block:
    names = {lane.key: lane_name(lane) for lane in report.lanes}
    rows = tuple(
        Row(
            (
                style.days(week.first_day, week.last_day),
                names.get(week.key, week.key),
                style.count(week.quality.edits),
                style.percent(week.quality.edit_rate),
                style.span(week.quality.edit_rate_low, week.quality.edit_rate_high)
                if week.quality.edit_rate is not None
                else "–",
                style.percent(week.quality.touched_share),
                f"{week.quality.edit_minutes:,f}",
            )
        )
        for week in report.weeks
    )
    head = ("Week", "Model", "Drafts judged", "Edit rate", "95% interval", "Touched", "Minutes")
    return Block("table", head=head, rows=rows, texts=(0, 1), wide=(1,))


def _unknowns(report: Report, style: Style) -> Block:
    u = report.unknowns
    refused = sum(kind.count for kind in u.refused)
    kinds = ", ".join(f"{kind.name} {style.count(kind.count)}" for kind in u.refused)
    found = (
        (
            "Calls whose cost is the worst case, since the provider reported no usage",
            u.estimated_calls,
            style.money(u.estimated),
        ),
        ("Calls without token counts, left out of the baseline", u.calls_without_usage, "–"),
        ("Calls whose tokens we counted, since the provider did not report them", u.counted_calls, "–"),
        ("Calls still open, whose hold is not in the spend", u.open_holds, style.money(u.open)),
        ("Calls whose end is unknown, whose hold is not in the spend", u.orphaned_calls, style.money(u.orphaned)),
        ("Attempts that provably were not billed", u.voided_calls, "–"),
        (f"Calls refused before they were made{f': {kinds}' if kinds else ''}", refused, "–"),
        ("Replies nobody has reported on yet", u.replies_without_human, "–"),
    )
    rows = tuple(Row((what, style.count(count), amount if count else "–")) for what, count, amount in found)
    return Block("table", head=("What", "How many", "Amount"), rows=rows)


def _prices(report: Report, style: Style) -> Block:
    rows = []
    for price in (*report.prices, *((report.baseline,) if report.baseline else ())):
        since = f"{style.day(price.valid_from.date())}\u00a0{price.valid_from.year}"
        role = "baseline" if price is report.baseline else style.plural(price.calls or 0, "call", "calls")
        source = legible(price.source) + (f" (read {legible(price.retrieved_at, 40)})" if price.retrieved_at else "")
        rows.append(
            Row(
                (
                    legible(price.price_id, 60),
                    *map(style.rate, (price.uncached_input, price.cache_read, price.plain_output)),
                    since,
                    role,
                    source,
                )
            )
        )
    head = ("Price", "In", "Cached", "Out", "Valid from", "Used for", "Source")
    return Block("table", head=head, rows=tuple(rows), texts=(0, 4, 6), wide=(0, 6), caption="USD per million tokens.")
