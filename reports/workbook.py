"""The report as a workbook with real formulas, so that the client can check every figure in a spreadsheet.

The line items stand on a sheet of their own; the bill's lines are sums over them, converted and rounded once, the totals sums
of the lines, the headline figures cells of the totals. Each formula also carries our own value, for readers
that do not compute. Foreign text is written as text and never as a formula.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import xlsxwriter  # type: ignore[import-untyped]
from xlsxwriter.utility import xl_col_to_name  # type: ignore[import-untyped]

from ledger.money import ZERO
from reports.items import Item
from reports.model import Line, Report
from reports.pictures import currency
from reports.words import Words

USD_FORMAT = "#,##0.00########## [$USD]"
ITEM_HEAD = (
    *("date", "line", "model", "request_model", "purpose", "arm", "price_id", "bucket", "calls", "tokens"),
    *("usd_per_mtok", "cost_usd", "baseline_usd_per_mtok", "baseline_usd"),
)
_COST, _BASELINE = (xl_col_to_name(ITEM_HEAD.index(name)) for name in ("cost_usd", "baseline_usd"))
_TOKENS, _RATE, _THEN = (
    xl_col_to_name(ITEM_HEAD.index(name)) for name in ("tokens", "usd_per_mtok", "baseline_usd_per_mtok")
)


def as_xlsx(report: Report, items: tuple[Item, ...], *, created: datetime) -> bytes:
    """The workbook's bytes; `created` is a moment of the report's, so that they depend on nothing else.

    Shapes: sheets of the headline, the bill, days, weeks, prices and line items, in this order.
    """
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
    try:
        book.set_properties({"title": report.id, "author": report.prepared_by, "created": created.replace(tzinfo=None)})
        book.set_calc_mode("auto")
        _Sheets(book, report, items, Words(report.language)).write()
    finally:
        book.close()
    return out.getvalue()


class _Sheets:
    """The sheets of one workbook while it is written."""

    def __init__(self, book: Any, report: Report, items: tuple[Item, ...], words: Words) -> None:
        self._report, self._items, self._words, self._book = report, items, words, book
        names = ("Summary", "Bill", "Days", "Weeks", "Prices", "Items")
        self._names = {name: words.listed("book.sheets")[place] for place, name in enumerate(names)}
        self._sheets = {name: book.add_worksheet(self._names[name]) for name in names}
        decimals = "0." + "0" * report.currency.places if report.currency.places else "0"
        self._money = book.add_format({"num_format": f"#,##{decimals} [${report.currency.code}]"})
        self._usd = book.add_format({"num_format": USD_FORMAT})
        self._bold = book.add_format({"bold": True})
        self._total = book.add_format(
            {"bold": True, "top": 1, "num_format": f"#,##{decimals} [${report.currency.code}]"}
        )
        self._head = book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "top"})
        self._percent = book.add_format({"num_format": "0.0%"})
        self._count = book.add_format({"num_format": "#,##0"})
        self._day = book.add_format({"num_format": "yyyy-mm-dd"})
        self._rate = book.add_format({"num_format": "0.00####"})

    def write(self) -> None:
        """All sheets; what others point at comes with its own values, so the order does not matter."""
        self._write_items()
        self._write_bill()
        self._write_summary()
        self._write_days()
        self._write_weeks()
        self._write_prices()

    def _start(self, name: str, head: Sequence[str], widths: Sequence[float]) -> Any:
        sheet = self._sheets[name]
        for column, title in enumerate(head):
            sheet.write_string(0, column, title, self._head)
        for column, width in enumerate(widths):
            sheet.set_column(column, column, width)
        sheet.freeze_panes(1, 1)
        return sheet

    def _place(self, name: str) -> str:
        return "'" + self._names[name] + "'!"

    def _formula(self, sheet: Any, cell: tuple[int, int], formula: str, form: Any, value: Decimal | None) -> None:
        sheet.write_formula(*cell, formula, form, "" if value is None else float(value))

    def _write_items(self) -> None:
        sheet = self._start("Items", ITEM_HEAD, (11, 26, 30, 30, 14, 10, 34, 16, 9, 13, 12, 18, 14, 18))
        for row, item in enumerate(self._items, 1):
            sheet.write_datetime(row, 0, item.key.date, self._day)
            for column, text in enumerate(item.key[1:], 1):
                sheet.write_string(row, column, text)
            sheet.write_number(row, 8, item.calls, self._count)
            sheet.write_number(row, 9, item.tokens, self._count)
            here = row + 1
            if item.rate is not None:
                sheet.write_number(row, 10, float(item.rate), self._rate)
            if item.is_explained:
                self._formula(sheet, (row, 11), f"={_TOKENS}{here}*{_RATE}{here}/1000000", self._usd, item.cost)
            else:
                sheet.write_number(row, 11, float(item.cost), self._usd)
            if item.baseline_rate is not None:
                sheet.write_number(row, 12, float(item.baseline_rate), self._rate)
                self._formula(sheet, (row, 13), f"={_TOKENS}{here}*{_THEN}{here}/1000000", self._usd, item.baseline)
        if self._items:
            sheet.autofilter(0, 0, len(self._items), len(ITEM_HEAD) - 1)

    def _write_bill(self) -> None:
        report, w = self._report, self._words
        sheet = self._start("Bill", w.listed("book.bill"), (26, 12, 44, 10, 14, 14, 14, 18, 15, 15, 15))
        last = len(report.lines) + 1
        for row, line in enumerate(report.lines, 1):
            self._bill_line(sheet, row, line)
        sheet.write_string(last, 0, w("book.total"), self._bold)
        for column, total in ((3, report.totals.calls), *((n, None) for n in (4, 5, 6))):
            tokens = [(x.tokens.input, x.tokens.cache_read, x.tokens.output) for x in report.lines]
            value = Decimal(total if total is not None else sum(parts[column - 4] for parts in tokens))
            self._sum(sheet, last, column, self._count, value)
        self._sum(sheet, last, 7, self._usd, Decimal(report.totals.cost_usd))
        if report.totals.baseline is not None:
            repriced = sum((line.baseline for line in report.lines if line.baseline is not None), ZERO)
            self._sum(sheet, last, 8, self._total, repriced)
            difference = repriced - report.totals.spend
            self._formula(sheet, (last, 10), f"=I{last + 1}-J{last + 1}", self._total, difference)
        self._sum(sheet, last, 9, self._total, report.totals.spend)

    def _sum(self, sheet: Any, row: int, column: int, form: Any, value: Decimal) -> None:
        if row < 2:
            sheet.write_number(row, column, float(value), form)
            return
        letter = xl_col_to_name(column)
        self._formula(sheet, (row, column), f"=SUM({letter}2:{letter}{row})", form, value)

    def _bill_line(self, sheet: Any, row: int, line: Line) -> None:
        here, report = row + 1, self._report
        sheet.write_string(row, 0, f"{line.kind} {line.key}")
        sheet.write_string(row, 1, line.arm or "")
        sheet.write_string(row, 2, "; ".join(line.models))
        sheet.write_number(row, 3, line.calls, self._count)
        for column, tokens in enumerate((line.tokens.input, line.tokens.cache_read, line.tokens.output), 4):
            sheet.write_number(row, column, tokens, self._count)
        self._formula(sheet, (row, 7), f"={self._of_items(_COST, here)}", self._usd, Decimal(line.cost_usd))
        places, rate = report.currency.places, f"{self._place('Summary')}$B$3"
        if line.baseline is not None:
            inner = f"{self._of_items(_BASELINE, here)}*{rate}"
            self._formula(sheet, (row, 8), f"=ROUND({inner},{places})", self._money, line.baseline)
        self._formula(sheet, (row, 9), f"=ROUND(H{here}*{rate},{places})", self._money, line.spend)
        if report.totals.baseline is not None:
            difference = (line.baseline or ZERO) - line.spend
            self._formula(sheet, (row, 10), f"=I{here}-J{here}", self._money, difference)

    def _of_items(self, column: str, row: int) -> str:
        last = max(len(self._items) + 1, 2)
        at = self._place("Items")
        return f"SUMIFS({at}${column}$2:${column}${last},{at}$B$2:$B${last},$A{row})"

    def _write_summary(self) -> None:
        report, w = self._report, self._words
        sheet, totals = self._sheets["Summary"], report.totals
        sheet.set_column(0, 0, 44)
        sheet.set_column(1, 1, 24)
        sheet.write_string(0, 0, f"{report.client.name} · {report.period.name}", self._bold)
        sheet.write_string(1, 0, w("book.report"))
        sheet.write_string(1, 1, report.id)
        sheet.write_string(2, 0, f"{report.currency.code} / USD")
        sheet.write_number(2, 1, float(currency(report).per_usd))
        last, bill = len(report.lines) + 2, self._place("Bill")
        rows: list[tuple[str, str, Decimal | None, Any]] = [
            (w("book.spend"), f"={bill}J{last}", totals.spend, self._money),
            (w("book.baseline"), f"={bill}I{last}", totals.baseline, self._money),
            (w("book.saved"), "=B5-B4", totals.saved, self._money),
            (w("book.saved_share"), "=B6/B5", totals.saved_share, self._percent),
        ]
        for row, (name, formula, value, form) in enumerate(rows, 3):
            sheet.write_string(row, 0, name)
            if row == 4 and report.baseline_method != "repriced" and value is not None:
                sheet.write_number(row, 1, float(value), form)  # measured, and no sum of line items
            elif value is not None:
                self._formula(sheet, (row, 1), formula, form, value)
        figures: list[tuple[str, Decimal | int | None, Any]] = [
            (w("book.tickets"), totals.tickets, self._count),
            (w("book.calls"), totals.calls, self._count),
            (w("book.per_accepted"), report.accepted_reply.total, self._money),
            (w("book.edit_rate"), report.quality.edit_rate, self._percent),
            (w("book.budget_used"), report.budget.used_share, self._percent),
        ]
        for row, (name, figure, form) in enumerate(figures, 7):
            sheet.write_string(row, 0, name)
            if figure is not None:
                sheet.write_number(row, 1, float(figure), form)
        sheet.write_string(13, 0, report.sentence)
        sheet.write_string(14, 0, f"SHA-256: {report.lines_sha256}")
        if report.adjustments:
            self._write_adjustments(sheet, 16)

    def _write_adjustments(self, sheet: Any, first: int) -> None:
        """What came late of earlier months, each line converted and rounded, and what is due with it."""
        report, row = self._report, first
        for row, one in enumerate(report.adjustments, first):
            sheet.write_string(row, 0, f"{self._words(f'late.{one.kind}', month=one.period)} ({one.facts})")
            inner = f"=ROUND({one.cost_usd}*$B$3,{report.currency.places})"
            self._formula(sheet, (row, 1), inner, self._money, one.amount)
        sheet.write_string(row + 1, 0, self._words("bill.due"), self._bold)
        self._formula(sheet, (row + 1, 1), f"=B4+SUM(B{first + 1}:B{row + 1})", self._total, report.totals.due)

    def _write_days(self) -> None:
        report, w = self._report, self._words
        keys = [lane.key for lane in report.lanes] + ["rest"]
        head = (w("book.day"), w("book.replies"), *keys, "cost_usd", "baseline_usd")
        sheet = self._start("Days", head, (12, 10, *(16 for _ in keys), 18, 18))
        total, count = len(keys) + 2, len(report.days)
        for row, day in enumerate(report.days, 1):
            sheet.write_datetime(row, 0, day.date, self._day)
            sheet.write_number(row, 1, day.replies, self._count)
            for column, part in enumerate(day.parts, 2):
                sheet.write_number(row, column, float(part.cost_usd), self._usd)
            letters = f"C{row + 1}:{xl_col_to_name(total - 1)}{row + 1}"
            self._formula(sheet, (row, total), f"=SUM({letters})", self._usd, Decimal(day.cost_usd))
            if day.baseline_usd is not None:
                sheet.write_number(row, total + 1, float(day.baseline_usd), self._usd)
        sheet.write_string(count + 1, 0, w("book.total"), self._bold)
        self._sum(sheet, count + 1, total, self._usd, Decimal(report.totals.cost_usd))
        self._sum(sheet, count + 1, total + 1, self._usd, Decimal(report.totals.baseline_usd or 0))

    def _write_weeks(self) -> None:
        w = self._words
        sheet = self._start("Weeks", w.listed("book.weeks"), (12, 12, 24, 12, 12, 12, 12, 12, 14))
        for row, week in enumerate(self._report.weeks, 1):
            q = week.quality
            for column, day in enumerate((week.first_day, week.last_day)):
                sheet.write_datetime(row, column, day, self._day)
            sheet.write_string(row, 2, week.key)
            sheet.write_number(row, 3, q.edits, self._count)
            shares = (q.edit_rate, q.edit_rate_low, q.edit_rate_high, q.touched_share)
            for column, share in enumerate(shares, 4):
                if share is not None:
                    sheet.write_number(row, column, float(share), self._percent)
            sheet.write_number(row, 8, float(q.edit_minutes))

    def _write_prices(self) -> None:
        report, w = self._report, self._words
        sheet = self._start("Prices", w.listed("book.prices"), (40, 34, 10, 10, 10, 10, 10, 12, 44))
        for row, price in enumerate((*report.prices, *((report.baseline,) if report.baseline else ())), 1):
            sheet.write_string(row, 0, price.price_id)
            sheet.write_string(row, 1, price.model)
            rates = (price.uncached_input, price.cache_read, price.cache_write, price.plain_output, price.reasoning)
            for column, rate in enumerate(rates, 2):
                sheet.write_number(row, column, float(rate), self._rate)
            sheet.write_datetime(row, 7, price.valid_from.replace(tzinfo=None), self._day)
            sheet.write_string(row, 8, price.source)
