"""What a month's report costs: from its events to report.json, against a bare scan of the same columns in DuckDB.

A month of so many calls is generated once, into a directory that is kept (bench/months.py says what it is like). Each round runs
in a fresh process, so that peak memory is its own, report and scan in turn. Medians of all rounds. Hashing the segments is left
out: it is the disk's cost, once for each. The same totals in other engines are in `python -m bench.queries`.

    make bench-reports                                  1 and 10 million calls, and the PDF of the demo's month
    python -m bench.reports --calls 1e6 --rounds 5
    python -m bench.reports --calls 1e8 --rounds 1      250 million events: 19 GB of disk, half an hour to generate
    python -m bench.reports --quick                     100,000 calls, one round: whether it runs, not how fast
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import months
from bench.targets import Target, shown
from ledger import manifest
from ledger.disk import REAL
from ledger.home import Home
from tests.made_home import Book, demo_month, write_home

PERIOD = "2025-10"
# Every column that the month's queries read of a call, an edit or a score, each once.
SCANNED = """
SELECT count(*), sum(cost_usd), sum(cost_uncached_input_usd), sum(cost_cache_read_usd), sum(cost_cache_write_usd),
    sum(cost_plain_output_usd), sum(cost_reasoning_usd), sum(usage_input_tokens), sum(usage_output_tokens),
    sum(usage_cache_read_input_tokens), sum(usage_cache_write_input_tokens), sum(usage_reasoning_output_tokens),
    sum(duration_s), max(duration_source), sum(response_time_to_first_chunk), max(reserved_at), max(time), max(client_id), max(period),
    max(purpose), max(request_model), max(response_model), max(arm), max(price_id), max(outcome), max(usage_source), max(type),
    max(subject), max(attempt), max(ticket_id), max(disposition), sum(edit_ratio), sum(edit_seconds), max(sequence), max(call_id),
    sum(value), max(criterion), max(refusal)
FROM events
"""


def main() -> int:
    """Generate what is missing, measure, print; 1 when memory or the PDF misses what it must reach."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=float, nargs="*", default=[1e6, 1e7])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "halfpenny-bench")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--measure", choices=("report", "scan", "queries"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(_measured(asked.cache, asked.measure)))
        return 0
    if asked.quick:
        asked.calls, asked.rounds = [1e5], 1
    targets = []
    columns = ("calls", "events", "report s", "scan s", "report cpu s", "scan cpu s", "report MB", "scan MB")
    print("".join(f"{name:>14}" for name in columns))
    for calls in map(int, asked.calls):
        home = months.generated(asked.cache / str(calls), [PERIOD], calls)
        report, scan = _rounds(home, asked.rounds)
        events = manifest.load(Home(home), REAL).end.sequence
        figures = (report["seconds"], scan["seconds"], report["cpu"], scan["cpu"])
        print(f"{calls:>14,}{events:>14,}" + "".join(f"{figure:>14.2f}" for figure in figures), end="")
        print(f"{report['megabytes']:>14.0f}{scan['megabytes']:>14.0f}", flush=True)
        targets += [
            Target(f"report of {calls:,} calls / bare scan", report["seconds"] / scan["seconds"], None, 1.5),
            Target("the same, processor time of both", report["cpu"] / scan["cpu"], None, 1.5),
            Target(f"peak memory of {calls:,} calls", report["megabytes"], 2000, 2000, "MB"),
        ]
    return shown([*targets, Target("PDF of a month like the demo's", _rendering(), 2, 2, "s")])


def _rounds(home: Path, rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds and most megabytes of report and scan, in turn, since a shared machine is never the same for long."""
    said: dict[str, list[dict[str, float]]] = {"report": [], "scan": []}
    for _ in range(rounds):
        for kind, found in said.items():
            command = [sys.executable, "-m", "bench.reports", "--measure", kind, "--cache", str(home)]
            found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    report, scan = (
        {name: statistics.median(one[name] for one in found) for name in ("seconds", "cpu")}
        | {"megabytes": max(one["megabytes"] for one in found)}
        for found in said.values()
    )
    return report, scan


def _measured(home: Path, kind: str) -> dict[str, object]:
    from reports import model, warehouse  # noqa: PLC0415 - only in the process that is measured
    from reports.compose import compose  # noqa: PLC0415
    from reports.month import read_month  # noqa: PLC0415

    warehouse.check_segments = _unchecked
    each: dict[str, float] = {}
    if kind == "queries":
        _time_each(warehouse.Warehouse, each)
    started, used = time.perf_counter(), _cpu()
    if kind == "scan":
        with warehouse.opened(home) as opened:
            opened.limit(2**53)
            opened._connection.execute(SCANNED).fetchall()
    else:
        model.written(compose(read_month(home, months.CLIENT, PERIOD), prepared_by="", revision=1))
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "cpu": _cpu() - used, "megabytes": _peak_megabytes(), "each": each}


def _cpu() -> float:
    """Processor seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _unchecked(home: Home) -> None:
    """Takes every segment for what the manifest says."""


def _peak_megabytes() -> float:
    """This process's own peak; getrusage would tell that of the process it was forked from, if that was larger."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _time_each(kind: Any, each: dict[str, float]) -> None:
    rows = kind.rows

    def timed(self: object, query: str, **values: object) -> object:
        started = time.perf_counter()
        found = rows(self, query, **values)
        each[query] = round(each.get(query, 0) + time.perf_counter() - started, 3)
        return found

    kind.rows = timed


def _rendering() -> float:
    """Seconds for the PDF of a month like the demo's, typst loaded with it."""
    from reports.build import rendered  # noqa: PLC0415
    from reports.charts import PAPER  # noqa: PLC0415
    from reports.compose import compose  # noqa: PLC0415
    from reports.html import PLAIN  # noqa: PLC0415
    from reports.month import read_month  # noqa: PLC0415
    from reports.page import page  # noqa: PLC0415
    from reports.pdf import pdf  # noqa: PLC0415
    from reports.pictures import pictures  # noqa: PLC0415

    book = Book()
    book.client()
    book.baseline()
    book.budget("400")
    demo_month(book, PERIOD, a_day=60)
    with tempfile.TemporaryDirectory() as directory:
        facts = read_month(write_home(Path(directory), book.events), "acme", PERIOD)
        report = compose(facts, prepared_by="", revision=1)
        started = time.perf_counter()
        pdf(page(report), pictures(report, PAPER), author="", date=facts.period.end, attached=b"{}", look=PLAIN)
        seconds = time.perf_counter() - started
        rendered(report, facts, PLAIN)
        print(
            f"\nPDF, typst loaded with it: {seconds:.2f} s; all eight files after it: {time.perf_counter() - started - seconds:.2f} s"
        )
        return seconds


if __name__ == "__main__":
    raise SystemExit(main())
