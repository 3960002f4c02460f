"""Which pictures a report has: its figures as the charts' series."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from ledger.money import ZERO
from reports import charts
from reports.charts import Bar, Dot, Fall, Key, Palette, Scale
from reports.display import Style, model_name, model_names
from reports.figures import Currency, divided
from reports.model import Lane, Report, Step


def pictures(report: Report, palette: Palette) -> Mapping[str, str]:
    """SVG by name: daily, waterfall, weeks, budget; one that has nothing to show is left out."""
    style = Style(report.currency.code, report.language)
    drawn = {"daily": _daily(report, style, palette), "budget": _budget(report, style, palette)}
    if report.steps:
        drawn["waterfall"] = _waterfall(report, style, palette)
    if report.weeks:
        drawn["weeks"] = _weeks(report, style, palette)
    return {} if report.is_empty else drawn


def currency(report: Report) -> Currency:
    """How this report prints an exact amount."""
    if report.currency.rate is None or report.currency.pair is None:
        return Currency(report.currency.code, Decimal(1), report.currency.places)
    rate = Decimal(report.currency.rate)
    is_per_usd = report.currency.pair.startswith("USD")
    return Currency(report.currency.code, rate if is_per_usd else divided(Decimal(1), rate), report.currency.places)


def lane_name(lane: Lane) -> str:
    """How a lane is called: its models, and its arm."""
    return model_names(lane.models)


def _daily(report: Report, style: Style, p: Palette) -> str:
    money = currency(report)
    colours = [*(p.lane(n) for n in range(len(report.lanes))), p.rest]
    found = []
    for day in report.days:
        baseline = None if day.baseline_usd is None else money.line(Decimal(day.baseline_usd))
        total = money.line(Decimal(day.cost_usd))
        said = {
            "day": style.day(day.date),
            "amount": style.money(total),
            "replies": style.plural(day.replies, "reply"),
            "baseline": style.money(baseline),
        }
        words = style.say("chart.day" if baseline is None else "chart.day_baseline", **said)
        values = tuple(money.fine(Decimal(part.cost_usd), 4) for part in day.parts)
        found.append(Bar(style.day(day.date), values, baseline, words))
    most = max(max(sum(bar.values, ZERO), bar.baseline or ZERO) for bar in found)
    legend = [Key(lane_name(lane), colours[n]) for n, lane in enumerate(report.lanes)]
    legend.append(Key(style.say("chart.rest"), p.rest))
    if report.baseline is not None:
        legend.append(Key(_baseline_name(report, style), p.baseline, is_line=True))
    return charts.bars(found, _money_scale(most, style), legend, colours, p)


def _waterfall(report: Report, style: Style, p: Palette) -> str:
    found, level = [], ZERO
    for step in report.steps:
        start = ZERO if step.kind != "effect" else level
        level = step.amount if step.kind != "effect" else level + step.amount
        kind = step.kind if step.kind != "effect" else "saved" if step.amount <= 0 else "more"
        words = style.money(step.amount, sign=step.kind == "effect")
        found.append(Fall(_step_name(report, step, style), start, level, words, kind))
    most = max(max(fall.start, fall.end) for fall in found)
    return charts.waterfall(found, _money_scale(most, style, 6), p)


def _money_scale(most: Decimal, style: Style, about: int = 5) -> Scale:
    at = charts.ticks(most, about)
    return Scale(at, tuple(style.whole(tick) for tick in at))


def _step_name(report: Report, step: Step, style: Style) -> str:
    if step.kind == "baseline":
        return _baseline_name(report, style)
    return style.say("chart.spent") if step.kind == "spend" else style.say(f"step.{step.key}")


def _baseline_name(report: Report, style: Style) -> str:
    if report.baseline is None:
        return style.say("chart.plain_baseline")
    return style.say("chart.baseline", model=model_name(report.baseline.model))


def _weeks(report: Report, style: Style, p: Palette) -> str:
    starts = sorted({week.first_day for week in report.weeks})
    keys = [lane.key for lane in report.lanes]
    names = {lane.key: lane_name(lane) for lane in report.lanes}
    last = {week.first_day: week.last_day for week in report.weeks}
    found = []
    for week in report.weeks:
        q = week.quality
        if week.key not in names or q.edit_rate is None or q.edit_rate_low is None or q.edit_rate_high is None:
            continue
        words = style.say(
            "chart.dot",
            name=names[week.key],
            days=style.days(week.first_day, week.last_day),
            rate=style.percent(q.edit_rate),
            count=style.count(q.measured),
        )
        found.append(
            Dot(
                starts.index(week.first_day),
                keys.index(week.key),
                q.edit_rate,
                q.edit_rate_low,
                q.edit_rate_high,
                words,
            )
        )
    at = charts.ticks(max((dot.high for dot in found), default=Decimal(1)), 4)
    legend = [Key(names[key], p.lane(n)) for n, key in enumerate(keys)]
    scale = Scale(at, tuple(style.percent(tick, 0 if all(not t * 100 % 1 for t in at) else 1) for tick in at))
    return charts.dots(found, [style.days(day, last[day]) for day in starts], scale, legend, p)


def _budget(report: Report, style: Style, p: Palette) -> str:
    money = currency(report)
    found = [money.fine(Decimal(day.cost_usd), 4) for day in report.days]
    most = max(sum(found, ZERO), report.budget.cap or ZERO)
    days = [
        style.day(day.date) if day.date.weekday() == 0 and day.date < report.period.last_day else ""
        for day in report.days
    ]
    return charts.running(found, days, report.budget.cap, _money_scale(most, style, 4), p)
