"""The sections about quality and service: edit rates by week and arm, speed, load, errors; and the budget beside them."""

from __future__ import annotations

from ledger.money import round_half_up
from reports.display import Style, model_names
from reports.figures import share
from reports.layout import Block, Row, Section
from reports.model import Lane, Quality, Report


def quality_sections(report: Report, style: Style) -> tuple[Section, ...]:
    """Edit rate by week beside the budget, then the arms and the weeks in figures."""
    say, budget = style.say, report.budget
    cap = say("budget.cap", amount=style.money(budget.cap)) if budget.cap is not None else say("budget.no_cap")
    chart = Block("chart", chart="budget", alt=say("alt.budget"), caption=" ".join((cap, *_forecast(report, style))))
    half = Section(say("heading.budget"), (chart,), is_half=bool(report.weeks))
    arms = Section(say("heading.arms"), (_arms(report, style),))
    if not report.weeks:
        return (half, arms)
    weeks = Block("chart", chart="weeks", alt=say("alt.weeks"), caption=say("weeks.caption"))
    return (
        Section(say("heading.weeks"), (weeks,), is_half=True),
        half,
        arms,
        Section(say("heading.edits"), (_weeks(report, style),)),
    )


def service_sections(report: Report, style: Style) -> tuple[Section, ...]:
    """How fast replies came, when most did, and what went wrong."""
    found, say = report.service, style.say
    busiest = "–"
    if found.busiest_hour is not None:
        hour = found.busiest_hour
        busiest = say(
            "service.hour",
            day=style.day(hour.date()),
            start=f"{hour:%H:%M}",
            count=style.plural(found.busiest_replies, "reply"),
        )
    failed = f"{style.count(found.failed)} ({style.percent(share(found.failed, found.attempts))})"
    rows = (
        Row((say("service.duration"), f"{style.seconds(found.p50_s)} / {style.seconds(found.p95_s)}")),
        Row(
            (
                say("service.first"),
                f"{style.seconds(found.first_chunk_p50_s)} / {style.seconds(found.first_chunk_p95_s)}",
            )
        ),
        Row((say("service.busiest"), busiest)),
        Row((say("service.attempts"), style.count(found.attempts))),
        Row((say("service.repeated"), style.count(found.repeated))),
        Row((say("service.failed"), failed)),
        *(
            Row((say(f"outcome.{one.name}"), style.count(one.count)))
            for one in report.outcomes
            if one.name not in ("ok", "open")
        ),
    )
    return (Section(say("heading.service"), (Block("table", head=say.listed("service.head"), rows=rows),)),)


def _forecast(report: Report, style: Style) -> tuple[str, ...]:
    found = report.forecast
    if found is None:
        return ()
    return (
        style.say(
            "forecast",
            month=style.month_name(found.first_day),
            amount=style.money(found.spend),
            low=style.money(found.low),
            high=style.money(found.high),
        ),
    )


def _arms(report: Report, style: Style) -> Block:
    say = style.say
    rows = [Row((*_lane(lane, style), *_judged(lane.quality, style))) for lane in report.lanes]
    total = (say("arms.total"), style.count(report.totals.replies), "", "", "", *_judged(report.quality, style))
    caption = say("arms.caption")
    if report.unknowns.simulated_durations:
        caption += " " + say("arms.simulated")
    return Block("table", head=say.listed("arms.head"), rows=(*rows, Row(total, is_total=True)), caption=caption)


def _lane(lane: Lane, style: Style) -> tuple[str, ...]:
    return (
        model_names(lane.models) + (f" ({lane.arm})" if lane.arm else ""),
        style.count(lane.replies),
        style.percent(lane.share),
        style.seconds(lane.p50_s),
        style.seconds(lane.p95_s),
    )


def _judged(quality: Quality, style: Style) -> tuple[str, ...]:
    score = "–"
    if quality.coherence is not None:
        mean = style.number(round_half_up(quality.coherence * 100, 1))
        score = f"{mean} (n\u00a0=\u00a0{style.count(quality.coherence_scores)})"
    accepted = style.percent(share(quality.accepted, quality.edits))
    return (style.percent(quality.edit_rate), style.percent(quality.touched_share), accepted, score)


def _weeks(report: Report, style: Style) -> Block:
    names = {lane.key: model_names(lane.models) for lane in report.lanes}
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
                style.number(week.quality.edit_minutes),
            )
        )
        for week in report.weeks
    )
    return Block("table", head=style.say.listed("weeks.head"), rows=rows, texts=(0, 1), wide=(1,))
