"""The month's totals in one engine, once, in a fresh process: seconds and the sum, as JSON. Started by bench.queries.

The same question everywhere: settled calls of one month by day, purpose, models, arm, price and end, with the sums of their
tokens and costs. Imports and start-up are not counted; reading the footers is. Two threads each. `scan` is DuckDB's bare
scan: the same columns of the same rows, each counted or summed, without a group.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

KEYS = ("event_date", "purpose", "request_model", "response_model", "arm", "price_id", "outcome", "usage_source")
SUMS = (
    *(
        "usage_input_tokens",
        "usage_output_tokens",
        "usage_cache_read_input_tokens",
        "usage_reasoning_output_tokens",
        "cost_usd",
    ),
    *(
        "cost_uncached_input_usd",
        "cost_cache_read_usd",
        "cost_cache_write_usd",
        "cost_plain_output_usd",
        "cost_reasoning_usd",
    ),
)
SETTLED = "halfpenny.call.settled.v1"
THREADS = 2


def totals(events: str, period: str) -> str:
    """The question in SQL."""
    sums = ", ".join(f"sum({name}) AS {name}" for name in SUMS)
    return (
        f"SELECT {', '.join(KEYS)}, count(*) AS calls, {sums} FROM {events} "
        f"WHERE type = '{SETTLED}' AND period = '{period}' GROUP BY {', '.join(KEYS)}"
    )


def bare(events: str, period: str) -> str:
    """Every column the question reads of the rows it is about, and nothing asked of them."""
    read = ", ".join([*(f"count({name})" for name in KEYS), *(f"sum({name})" for name in SUMS)])
    return f"SELECT {read} FROM {events} WHERE type = '{SETTLED}' AND period = '{period}'"


def _duckdb(files: Sequence[Path], period: str, *, is_scan: bool = False) -> tuple[float, Decimal]:
    import duckdb  # noqa: PLC0415

    connection = duckdb.connect(config={"threads": THREADS})
    connection.execute("SET TimeZone = 'UTC'")
    events = f"read_parquet({[str(file) for file in files]}, union_by_name = true)"
    started = time.perf_counter()
    found = connection.execute(bare(events, period) if is_scan else totals(events, period)).fetchall()
    place = len(KEYS) if is_scan else len(KEYS) + 1
    return time.perf_counter() - started, sum(row[place + SUMS.index("cost_usd")] for row in found)


def _scan(files: Sequence[Path], period: str) -> tuple[float, Decimal]:
    return _duckdb(files, period, is_scan=True)


def _datafusion(files: Sequence[Path], period: str) -> tuple[float, Decimal]:
    from datafusion import SessionConfig, SessionContext  # noqa: PLC0415

    context = SessionContext(SessionConfig().with_target_partitions(THREADS))
    started = time.perf_counter()
    for number, file in enumerate(files):
        context.register_parquet(f"e{number}", str(file))
    read = ", ".join(("type", "period", *KEYS, *SUMS))
    events = " UNION ALL ".join(f"SELECT {read} FROM e{number}" for number in range(len(files)))
    found = context.sql(totals(f"({events})", period)).collect()
    seconds = time.perf_counter() - started
    costs = (value for batch in found for value in batch.column(batch.schema.get_field_index("cost_usd")).to_pylist())
    return seconds, sum(costs, Decimal(0))


def _polars(files: Sequence[Path], period: str) -> tuple[float, Decimal]:
    import polars as pl  # noqa: PLC0415

    started = time.perf_counter()
    found = (
        pl.scan_parquet([str(file) for file in files])
        .filter((pl.col("type") == SETTLED) & (pl.col("period") == period))
        .group_by(KEYS)
        .agg(pl.len(), *(pl.col(name).sum() for name in SUMS))
        .collect(engine="streaming")
    )
    return time.perf_counter() - started, found["cost_usd"].sum()


ENGINES: dict[str, Callable[[Sequence[Path], str], tuple[float, Decimal]]] = {
    "duckdb": _duckdb,
    "scan": _scan,
    "polars": _polars,
    "datafusion": _datafusion,
}

if __name__ == "__main__":
    seconds, cost = ENGINES[sys.argv[1]]([Path(name) for name in sys.argv[3:]], sys.argv[2])
    print(json.dumps({"seconds": seconds, "cost": f"{cost:.12f}"}))
