"""What a reader must know to trust or doubt the figures: the report's method, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.money import ZERO
from reports.display import Style, legible, model_name
from reports.model import Report

Note = tuple[str, str]  # what it is about, and what there is to say


def notes(report: Report, style: Style) -> tuple[Note, ...]:
    """The method in the order in which the figures are read; what does not apply is left out."""
    say = style.say
    found = (
        ("baseline", _baseline(report, style)),
        ("saving", say(f"method.saving.{report.totals.interval}") if report.totals.interval else ""),
        ("waterfall", say("method.waterfall.said") if report.steps else ""),
        ("spend", _spend(report, style)),
        ("estimates", _estimates(report, style)),
        ("rounding", say("method.rounding.said")),
        ("reply", _reply(report, style)),
        ("quality", _quality(report, style)),
        ("durations", _durations(report, style)),
        (
            "forecast",
            say("method.forecast.said", days=style.plural(report.forecast.days_seen, "day")) if report.forecast else "",
        ),
        ("currency", _currency(report, style)),
        ("days", _days(report, style)),
        ("changes", _changes(report, style)),
        ("hashes", say("method.hashes.said", lines=report.lines_sha256, prices=report.price_book_sha256)),
    )
    return tuple((say(f"method.{key}"), said) for key, said in found if said)


def _baseline(report: Report, style: Style) -> str:
    price, say = report.baseline, style.say
    if price is None:
        return say("method.baseline.none")
    said = say(
        "method.baseline.said",
        price=legible(price.price_id, 60),
        input=style.rate(price.uncached_input),
        cached=style.rate(price.cache_read),
        output=style.rate(price.plain_output),
    )
    left_out = report.unknowns.calls_without_baseline
    omitted = say("method.baseline.omitted", calls=style.plural(left_out, "call")) if left_out else ""
    return " ".join(
        filter(None, (said, *_measured(report, style, model_name(price.model)), _also(report, style), omitted))
    )


def _measured(report: Report, style: Style, model: str) -> Iterator[str]:
    """How far the old model's own tokens are known, and what its old bills say."""
    found = {one.name: one for one in report.methods}
    shadow, history = found.get("shadow"), found.get("history")
    if shadow is None or shadow.factor is None:
        yield style.say("method.baseline.unmeasured", model=model)
    else:
        factor, low, high = map(style.number, shadow.factor)
        yield style.say("method.baseline.measured", model=model, factor=factor, low=low, high=high)
    if history is not None and history.first_day is not None and history.last_day is not None:
        yield style.say(
            "method.baseline.history",
            first=style.full_day(history.first_day),
            last=style.full_day(history.last_day),
            each=style.money(history.per_ticket),
            count=style.count(history.basis),
        )


def _also(report: Report, style: Style) -> str:
    """What is in the baseline beside replies, by name, with its calls and its amount."""
    say, parts = style.say, []
    for kind in dict.fromkeys(line.kind for line in report.lines if line.kind != "reply"):
        lines = [line for line in report.lines if line.kind == kind and line.baseline is not None]
        if lines:
            amount = sum((line.baseline for line in lines if line.baseline is not None), ZERO)
            calls = style.plural(sum(line.calls for line in lines), "call")
            if kind == "cached" and report.from_cache is not None:
                calls = style.plural(report.from_cache.compared, "reply")
            parts.append(say("method.baseline.part", what=say(f"line.{kind}"), calls=calls, amount=style.money(amount)))
    repriced = next((one for one in report.methods if one.name == "repriced"), None)
    if repriced is not None and repriced.discounted is not None and repriced.undiscounted == repriced.amount:
        read = sum(line.tokens.cache_read for line in report.lines if line.baseline is not None)
        read += 0 if report.from_cache is None else report.from_cache.tokens.cache_read
        off = style.money(repriced.amount - repriced.discounted)
        parts.append(say("method.baseline.cached", tokens=style.tokens(read), amount=off))
    return say("method.baseline.also", parts="; ".join(parts)) if parts else ""


def _spend(report: Report, style: Style) -> str:
    counted = " " + style.say("method.spend.counted") if report.unknowns.counted_calls else ""
    return style.say("method.spend.said") + counted


def _estimates(report: Report, style: Style) -> str:
    u = report.unknowns
    if not (u.estimated_calls or u.open_holds or u.orphaned_calls):
        return style.say("method.estimates.none")
    share = style.percent(u.estimated_share)
    return style.say(
        "method.estimates.said",
        calls=style.plural(u.estimated_calls, "call"),
        amount=style.money(u.estimated),
        share=share,
    )


def _reply(report: Report, style: Style) -> str:
    hourly = "" if report.accepted_reply.edit_usd_per_hour else " " + style.say("method.reply.no_rate")
    return style.say("method.reply.said") + hourly


def _quality(report: Report, style: Style) -> str:
    if not report.quality.edits:
        return style.say("method.quality.none")
    scored = " " + style.say("method.quality.scored") if report.quality.coherence_scores else ""
    return style.say("method.quality.said") + scored


def _durations(report: Report, style: Style) -> str:
    simulated = report.unknowns.simulated_durations
    if not simulated:
        return style.say("method.durations.said")
    return style.say("method.durations.simulated", replies=style.plural(simulated, "reply"))


def _currency(report: Report, style: Style) -> str:
    money = report.currency
    if money.rate is None or money.rate_valid_from is None:
        return style.say("method.currency.usd")
    base, _, quote = (money.pair or "").partition("/")
    return style.say(
        "method.currency.said",
        base=base,
        rate=style.rate(money.rate),
        quote=quote,
        day=style.full_day(money.rate_valid_from.date()),
        source=legible(money.rate_source or "", 80),
    )


def _days(report: Report, style: Style) -> str:
    status = style.say("method.days.draft") + " " if report.status == "draft" else ""
    return status + style.say(
        "method.days.said",
        first=style.full_day(report.period.first_day),
        last=style.full_day(report.period.last_day),
        zone=report.client.zone,
    )


def _changes(report: Report, style: Style) -> str:
    if report.revision == 1:
        return ""
    return "" if report.changes else style.say("method.changes.none")
