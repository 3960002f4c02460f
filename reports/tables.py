"""The report as rows: report.csv, for whoever wants to check it in a spreadsheet.

One table, told apart by its first column: `day` rows are exact and add up to `total` in `cost_usd`;
`line` rows are printed and add up to `total` in `spend`. A text that a spreadsheet
would take for a formula gets an apostrophe before it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from decimal import Decimal

from reports.model import Line, Report
from reports.tokens import FromCache

HEAD = (
    *("record", "date", "name", "arm", "models", "calls"),
    *("uncached_input_tokens", "cache_read_tokens", "cache_write_tokens", "plain_output_tokens", "reasoning_tokens"),
    *("cost_usd", "baseline_usd", "spend", "baseline", "saved", "currency"),
)
_RISKY = ("=", "+", "-", "@", "\t", "\r", "\n")


def as_csv(report: Report) -> bytes:
    """UTF-8, commas, a header line, CRLF as RFC 4180 wants.

    Shapes: `day` rows by date and lane, then `line` rows as the bill has them, then one `total`; where replies came from
    the cache, one `avoided` with how many they were and the tokens and cost that were not incurred, part of no sum; where an earlier month
    came late, `adjustment` rows and one `due`, which is their sum with the total. Units: `*_usd` exact USD,
    `spend`, `baseline` and `saved` in `currency`, rounded.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(HEAD)
    writer.writerows(_days(report))
    writer.writerows(_line(line, report.currency.code) for line in report.lines)
    writer.writerow(_total(report))
    if report.from_cache is not None:
        writer.writerow(_avoided(report.from_cache, report.currency.code))
    if report.adjustments:
        writer.writerows(_adjustments(report))
    return out.getvalue().encode("utf-8")


def plain(text: str) -> str:
    """A text that no spreadsheet takes for a formula.

    >>> plain("=1+1")
    "'=1+1"
    """
    return "'" + text if text.startswith(_RISKY) else text


def _days(report: Report) -> Iterator[tuple[object, ...]]:
    arms = {lane.key: lane.arm or "" for lane in report.lanes}
    for day in report.days:
        for part in day.parts:
            yield _row(
                "day", day.date.isoformat(), plain(part.key), plain(arms.get(part.key, "")), cost_usd=part.cost_usd
            )
        yield _row(
            "day_total",
            day.date.isoformat(),
            "all",
            calls=day.replies,
            cost_usd=day.cost_usd,
            baseline_usd=day.baseline_usd,
        )


def _line(line: Line, currency: str) -> tuple[object, ...]:
    tokens = line.tokens
    counts = (tokens.uncached_input, tokens.cache_read, tokens.cache_write, tokens.plain_output, tokens.reasoning)
    saved = None if line.baseline is None else line.baseline - line.spend
    return (
        *(
            "line",
            "",
            plain(f"{line.kind} {line.key}"),
            plain(line.arm or ""),
            plain("; ".join(line.models)),
            line.calls,
        ),
        *(counts if line.kind != "estimated" else ("",) * 5),
        *(line.cost_usd, line.baseline_usd or "", f"{line.spend:f}", _amount(line.baseline), _amount(saved), currency),
    )


def _total(report: Report) -> tuple[object, ...]:
    t = report.totals
    every = [line.tokens for line in report.lines]
    counts = [
        sum(getattr(tokens, bucket) for tokens in every)
        for bucket in ("uncached_input", "cache_read", "cache_write", "plain_output", "reasoning")
    ]
    return (
        *("total", "", "all", "", "", t.calls, *counts, t.cost_usd, t.baseline_usd or ""),
        *(f"{t.spend:f}", _amount(t.baseline), _amount(t.saved), report.currency.code),
    )


def _avoided(found: FromCache, currency: str) -> tuple[object, ...]:
    t = found.tokens
    counts = (found.replies, t.uncached_input, t.cache_read, t.cache_write, t.plain_output, t.reasoning)
    amounts = (found.avoided_usd, found.baseline_usd or "", f"{found.avoided:f}", _amount(found.baseline), "", currency)
    return ("avoided", "", "cached", "", "", *counts, *amounts)


def _adjustments(report: Report) -> Iterator[tuple[object, ...]]:
    """Their date is the month they are of."""
    code = report.currency.code
    for one in report.adjustments:
        counts = ("adjustment", one.period, one.kind, "", "", one.facts, *("",) * 5)
        yield (*counts, one.cost_usd, "", f"{one.amount:f}", "", "", code)
    yield ("due", "", "all", *("",) * 10, f"{report.totals.due:f}", "", "", code)


def _row(
    record: str,
    date: str,
    name: str,
    arm: str = "",
    *,
    calls: int | str = "",
    cost_usd: str,
    baseline_usd: str | None = None,
) -> tuple[object, ...]:
    return (record, date, name, arm, "", calls, *("",) * 5, cost_usd, baseline_usd or "", "", "", "", "")


def _amount(amount: Decimal | None) -> str:
    return "" if amount is None else f"{amount:f}"
