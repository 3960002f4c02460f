"""A report in a dozen lines for a terminal; every figure is report.json's own."""

from __future__ import annotations

from decimal import Decimal

from reports.display import model_names
from reports.model import Lane, Quality, Report


def lines_of(report: Report) -> tuple[str, ...]:
    """The lines, in the order of the report's first page. Shapes: what is not known is said to be so."""
    totals, code = report.totals, report.currency.code
    saved = "not known" if totals.saved is None else f"{totals.saved:,} {code} ({_percent(totals.saved_share)})"
    reply = report.accepted_reply
    return (
        f"{report.client.name}, {report.period.name}, {report.status}, revision {report.revision}",
        "",
        f"Tickets    {totals.tickets:,} answered with {totals.calls:,} calls",
        "Split      " + ", ".join(f"{_percent(lane.share)} {model_names(lane.models)}" for lane in report.lanes),
        f"Spend      {totals.spend:,} {code}",
        *_avoided(report),
        f"Baseline   {_known(totals.baseline, code)}: the same calls at the old bot's prices",
        f"Saved      {saved}",
        "Edit rate  " + _edit_rates(report),
        f"Reply      {_known(reply.total, code)} an accepted one: {_known(reply.llm, code)} for models, "
        f"{_known(reply.edit, code)} for human edits",
        "Latency    " + ", ".join(_latency(lane) for lane in report.lanes),
    )


def _avoided(report: Report) -> tuple[str, ...]:
    found = report.from_cache
    if found is None:
        return ()
    tokens = f"{found.tokens.input:,} tokens in and {found.tokens.output:,} out"
    return (f"Cache      {found.replies:,} replies avoided {tokens}, {found.avoided:,} {report.currency.code}",)


def _edit_rates(report: Report) -> str:
    rates = [f"{_rate(lane.quality)} of a {model_names(lane.models)} draft" for lane in report.lanes]
    return f"{_rate(report.quality)} of a draft's text was changed: " + ", ".join(rates)


def _rate(quality: Quality) -> str:
    return _percent(quality.edit_rate)


def _latency(lane: Lane) -> str:
    simulated = ", simulated" if lane.simulated_durations else ""
    return f"{model_names(lane.models)} {_seconds(lane.p50_s)} median, {_seconds(lane.p95_s)} p95{simulated}"


def _percent(share: Decimal | None) -> str:
    return "not known" if share is None else f"{share * 100:.1f} %"


def _seconds(found: Decimal | None) -> str:
    return "not known" if found is None else f"{found:.2f} s"


def _known(amount: Decimal | None, code: str) -> str:
    return "not known" if amount is None else f"{amount:,} {code}"
