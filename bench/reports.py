"""What a month's report costs: from its events to report.json, against a bare scan of the same columns in DuckDB.

A month of so many calls is generated once, into a directory that is kept: half of them classifications, half replies, each held
and settled, nine replies of ten edited; 2.45 events a call, in segments like the ledger's own. Each round runs in a fresh
process, so that peak memory is its own; the files are in the page cache, for both. Medians of all rounds.

    make bench-reports                              1 and 10 million calls, and the PDF of the demo's month
    python bench/reports.py --calls 1e6 --rounds 5
    python bench/reports.py --calls 1e8             needs about 12 GB of disk, and a while to generate
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import duckdb

from ledger import catalog, codec, manifest, parquet
from ledger.disk import REAL
from ledger.home import Home
from ledger.manifest import Manifest, Segment
from ledger.rows import NAMES, of_nothing, quoted
from tests.made_home import EPOCH, FLASH, LARGE, MEDIUM, Book, demo_month, write_home

CALLS_A_SEGMENT = 1_000_000
PERIOD, START, SECONDS = "2025-10", datetime(2025, 9, 30, 22, tzinfo=UTC), 31 * 86_400 + 3_600
# Every column of a settled call, an edit or a hold that the month's queries read, each once.
SCANNED = """
SELECT count(*), sum(cost_usd), sum(cost_uncached_input_usd), sum(cost_cache_read_usd), sum(cost_cache_write_usd),
    sum(cost_plain_output_usd), sum(cost_reasoning_usd), sum(usage_input_tokens), sum(usage_output_tokens),
    sum(usage_cache_read_input_tokens), sum(usage_cache_write_input_tokens), sum(usage_reasoning_output_tokens), sum(hold_usd),
    sum(duration_s), max(duration_source), sum(response_time_to_first_chunk), max(reserved_at), max(time), max(client_id), max(period),
    max(purpose), max(request_model), max(response_model), max(arm), max(price_id), max(outcome), max(usage_source), max(type),
    max(subject), max(attempt), max(ticket_id), max(disposition), sum(edit_ratio), sum(edit_seconds), max(sequence), max(call_id)
FROM events
"""


def main() -> int:
    """Generate what is missing, measure, print a table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=float, nargs="*", default=[1e6, 1e7])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "halfpenny-bench-reports")
    parser.add_argument("--measure", choices=("report", "scan", "queries"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(_measured(asked.cache, asked.measure)))
        return 0
    print(f"{'calls':>12} {'events':>12} {'report s':>9} {'scan s':>8} {'ratio':>6} {'report MB':>10} {'scan MB':>8}")
    for calls in map(int, asked.calls):
        home = generated(asked.cache / str(calls), calls)
        (report, memory), (scan, least) = _rounds(home, asked.rounds)
        events = manifest.load(Home(home), REAL).end.sequence
        print(
            f"{calls:>12,} {events:>12,} {report:>9.2f} {scan:>8.2f} {report / scan:>6.2f} {memory:>10.0f} {least:>8.0f}"
        )
    _rendering()
    return 0


def _rounds(home: Path, rounds: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Median seconds and most megabytes of report and scan, in turn, since a shared machine is never the same for long."""
    said: dict[str, list[dict[str, float]]] = {"report": [], "scan": []}
    for _ in range(rounds):
        for kind, found in said.items():
            command = [sys.executable, __file__, "--measure", kind, "--cache", str(home)]
            found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    report, scan = (
        (statistics.median(one["seconds"] for one in found), max(one["megabytes"] for one in found))
        for found in said.values()
    )
    return report, scan


def _measured(home: Path, kind: str) -> dict[str, object]:
    from reports import model, warehouse  # noqa: PLC0415 - only in the process that is measured
    from reports.compose import compose  # noqa: PLC0415
    from reports.month import read_month  # noqa: PLC0415

    warehouse.check_segments = _unchecked  # hashing a segment once is the disk's cost, not the query's
    each: dict[str, float] = {}
    if kind == "queries":
        _time_each(warehouse.Warehouse, each)
    started = time.perf_counter()
    if kind == "scan":
        with warehouse.opened(home) as opened:
            opened.limit(2**53)
            opened._connection.execute(SCANNED).fetchall()
    else:
        model.written(compose(read_month(home, "acme", PERIOD), prepared_by="", revision=1))
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "megabytes": _peak_megabytes(), "each": each}


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


def _rendering() -> None:
    """The files of a month like the demo's, rendered from its facts."""
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
        middle = time.perf_counter()
        rendered(report, facts, PLAIN)
        print(
            f"PDF, typst loaded with it: {middle - started:.2f} s; all eight files again: {time.perf_counter() - middle:.2f} s"
        )


def generated(home: Path, calls: int) -> Path:
    """A home with a month of so many calls; made once, whole or not there."""
    if (home / "ledger.duckdb").is_file():
        return home
    started = time.perf_counter()
    (home / "events").mkdir(parents=True, exist_ok=True)
    (home / "journal").mkdir(exist_ok=True)
    (home / "halfpenny.toml").write_text("", encoding="utf-8")
    segments = [_administration(home)]
    prices = dict(_prices())
    for number, first in enumerate(range(0, calls, CALLS_A_SEGMENT), 1):
        segments.append(_segment(home, number, first, min(first + CALLS_A_SEGMENT, calls), calls, segments[-1], prices))
    found = Manifest(source="homes/made", published_at=EPOCH, files=tuple(segments), sealed_up_to=len(segments) - 1)
    (home / "journal" / f"{len(segments):010d}.jsonl").touch()  # a home always has a file that is not sealed
    manifest.store(Home(home), REAL, found)
    catalog.publish(Home(home), found, [], now=EPOCH)
    print(f"generated {calls:,} calls in {time.perf_counter() - started:.0f} s: {home}", file=sys.stderr)
    return home


def _prices() -> list[tuple[str, str]]:
    book = Book()
    book.client()
    return [(model, book.prices.price_at(model, START).price_id) for model in (FLASH, MEDIUM, LARGE)]


def _administration(home: Path) -> Segment:
    """The client, the prices, the baseline and the budget, as the first segment."""
    book = Book()
    book.client()
    book.baseline()
    book.budget("900000")
    lines, prev = [], codec.GENESIS
    for sequence, event in enumerate(book.events, 1):
        body = codec.encode(event)
        line, prev = codec.stamped(body, source="homes/made", sequence=sequence, recorded_at=event.time, prev=prev)
        lines.append(line)
    path = home / "journal" / "0000000000.jsonl"
    path.write_bytes(b"".join(lines))
    target = home / "events" / "0000000000.parquet"
    parquet.write([path], target)
    path.unlink()
    return _listed(home, target, 0, 1, len(lines), "0" * 32, prev.hex())


def _listed(home: Path, path: Path, number: int, first: int, last: int, prev: str, digest: str) -> Segment:
    return Segment(
        path=path.relative_to(home).as_posix(),
        first_file=number,
        last_file=number,
        first_sequence=first,
        last_sequence=last,
        rows=last - first + 1,
        min_time=START,
        max_time=START + timedelta(days=32),
        cost_usd="0",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        bytes=path.stat().st_size,
        schema_version=codec.SCHEMA_VERSION,
        prev_hash=prev,
        last_hash=digest,
    )


def _segment(
    home: Path, number: int, first: int, end: int, calls: int, before: Segment, prices: dict[str, str]
) -> Segment:
    """The events of calls `first` to `end`, in the order of time."""
    target = home / "events" / f"{number:010d}.parquet"
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET memory_limit = '4GB'")
        text = _CALLS.format(
            first=first, end=end, calls=calls, start=int(START.timestamp()), seconds=SECONDS, before=before.last_sequence,
            **{name: f"'{model}'" for name, model in (("flash", FLASH), ("medium", MEDIUM), ("large", LARGE))},
            **{f"p_{name}": f"'{prices[model]}'" for name, model in (("flash", FLASH), ("medium", MEDIUM), ("large", LARGE))},
        )  # fmt: skip
        connection.execute(f"CREATE TABLE made AS {text}")
        chosen = ", ".join(map(quoted, NAMES))
        connection.execute(
            f"COPY (SELECT {chosen} FROM ({of_nothing()} UNION ALL BY NAME FROM made) ORDER BY sequence) TO '{target}' "  # noqa: S608 - our own names
            "(FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, ROW_GROUP_SIZE 122880)"
        )
        last, digest = connection.execute(
            "SELECT max(sequence), lower(hex(arg_max(hash, sequence))) FROM made"
        ).fetchone()
    return _listed(home, target, number, before.last_sequence + 1, last, before.last_hash, digest)


_CALLS = """
WITH calls AS (
    SELECT i, hash(i) AS h, i % 2 = 1 AS is_reply, hash(i, 1) % 100 < 65 AS is_standard,
        make_timestamptz(({start} * 1000000::BIGINT) + (i * {seconds} * 1000000.0 / {calls})::BIGINT) AS reserved_at
    FROM range({first}, {end}) AS t(i)
),
priced AS (
    SELECT *,
        CASE WHEN NOT is_reply THEN {flash} WHEN is_standard THEN {medium} ELSE {large} END AS model,
        CASE WHEN NOT is_reply THEN {p_flash} WHEN is_standard THEN {p_medium} ELSE {p_large} END AS price,
        CASE WHEN NOT is_reply THEN 900 + h % 600 ELSE 15000 + h % 16000 END::BIGINT AS tokens_in,
        CASE WHEN NOT is_reply THEN 4 ELSE 2600 + h % 3400 END::BIGINT AS tokens_out,
        CASE WHEN NOT is_reply THEN 0.27 WHEN is_standard THEN 0.4 ELSE 2 END::DECIMAL(10, 6) AS rate_in,
        CASE WHEN NOT is_reply THEN 1.1 WHEN is_standard THEN 2 ELSE 6 END::DECIMAL(10, 6) AS rate_out,
        md5('call' || i::VARCHAR) AS call, 'T-' || (i // 2)::VARCHAR AS ticket
    FROM calls
),
costed AS (
    SELECT *,
        CAST((tokens_in * rate_in)::DECIMAL(24, 6) * 0.000001::DECIMAL(7, 6) AS DECIMAL(18, 12)) AS cost_in,
        CAST((tokens_out * rate_out)::DECIMAL(24, 6) * 0.000001::DECIMAL(7, 6) AS DECIMAL(18, 12)) AS cost_out
    FROM priced
),
made AS (
    SELECT i * 4 AS place, 'halfpenny.call.reserved.v1' AS type, call AS subject, reserved_at AS "time", NULL AS call_id, NULL AS outcome,
        NULL AS disposition, NULL::DECIMAL(9, 6) AS edit_ratio, 0.45::DECIMAL(18, 12) AS hold_usd, *
    FROM costed
    UNION ALL BY NAME
    SELECT i * 4 + 1 AS place, 'halfpenny.call.settled.v1' AS type, call AS subject, reserved_at + INTERVAL 1 SECOND AS "time", 'ok' AS outcome, *
    FROM costed
    UNION ALL BY NAME
    SELECT i * 4 + 2 AS place, 'halfpenny.draft.edited.v1' AS type, ticket AS subject, reserved_at + INTERVAL 9 SECOND AS "time", call AS call_id,
        CASE WHEN h % 3 = 0 THEN 'as_is' ELSE 'edited' END AS disposition, (h % 400 / 1000)::DECIMAL(9, 6) AS edit_ratio, *
    FROM costed WHERE is_reply AND h % 10 < 9
),
placed AS (SELECT row_number() OVER (ORDER BY place) + {before} AS sequence, * FROM made)
SELECT
    type, md5(sequence::VARCHAR) AS event_id, subject, "time", 'acme' AS client_id, 'homes/made' AS source, sequence,
    "time" AS recorded_at, unhex(md5('hash' || sequence::VARCHAR)) AS hash, '2025-10' AS period, ticket AS ticket_id, model AS request_model,
    CASE WHEN is_reply THEN CASE WHEN is_standard THEN 'standard' ELSE 'premium' END END AS arm,
    CASE WHEN is_reply THEN CASE WHEN is_standard THEN 'simple' ELSE 'complex' END END AS ticket_class,
    outcome, call_id, disposition, edit_ratio, hold_usd,
    CASE WHEN disposition IS NULL THEN 1 END AS attempt,
    CASE WHEN disposition IS NULL THEN CASE WHEN is_reply THEN 'generation' ELSE 'classification' END END AS purpose,
    CASE WHEN disposition IS NULL THEN price END AS price_id,
    CASE WHEN disposition IS NULL THEN 'global_api' END AS provider_name,
    CASE WHEN outcome IS NOT NULL THEN reserved_at END AS reserved_at,
    CASE WHEN outcome IS NOT NULL THEN model END AS response_model,
    CASE WHEN outcome IS NOT NULL THEN cost_in + cost_out END AS cost_usd,
    CASE WHEN outcome IS NOT NULL THEN cost_in END AS cost_uncached_input_usd,
    CASE WHEN outcome IS NOT NULL THEN cost_out END AS cost_plain_output_usd,
    CASE WHEN outcome IS NOT NULL THEN tokens_in END AS usage_input_tokens,
    CASE WHEN outcome IS NOT NULL THEN tokens_out END AS usage_output_tokens,
    CASE WHEN outcome IS NOT NULL THEN 'reported' END AS usage_source,
    CASE WHEN outcome IS NOT NULL THEN (0.3 + h % 3000 / 1000)::DECIMAL(12, 6) END AS duration_s,
    CASE WHEN outcome IS NOT NULL THEN 'measured' END AS duration_source,
    CASE WHEN disposition IS NOT NULL THEN (20 + h % 400)::DECIMAL(12, 6) END AS edit_seconds,
    CAST("time" AS DATE) AS event_date
FROM placed
"""

if __name__ == "__main__":
    raise SystemExit(main())
