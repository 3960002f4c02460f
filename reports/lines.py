"""The line items as Parquet, for whoever wants to add them up with tools of their own.

The bytes depend on the items and on pyarrow's version alone; times are days, money is decimal.
"""

from __future__ import annotations

import io
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq

from reports.items import Item
from reports.model import Report

_MONEY = pa.decimal128(38, 12)
_RATE = pa.decimal128(18, 12)
SCHEMA = pa.schema(
    [
        ("client_id", pa.string()),
        ("period", pa.string()),
        ("date", pa.date32()),
        ("line", pa.string()),
        ("model", pa.string()),
        ("request_model", pa.string()),
        ("purpose", pa.string()),
        ("arm", pa.string()),
        ("price_id", pa.string()),
        ("bucket", pa.string()),
        ("calls", pa.int64()),
        ("tokens", pa.int64()),
        ("usd_per_mtok", _RATE),
        ("cost_usd", _MONEY),
        ("baseline_usd_per_mtok", _RATE),
        ("baseline_usd", _MONEY),
    ],
    metadata={"schema": "halfpenny.lines.v1"},
)


def as_parquet(report: Report, items: tuple[Item, ...]) -> bytes:
    """One row an item, in their order. Units: `*_usd` exact USD, DECIMAL(38,12); rates USD per million tokens.

    Shapes: `line` is kind and key of a line of report.csv; `arm` empty for none; the baseline is null where none is compared.
    """
    rows = [
        {
            "client_id": report.client.id,
            "period": report.period.name,
            **item.key._asdict(),
            "calls": item.calls,
            "tokens": item.tokens,
            "usd_per_mtok": _scaled(item.rate),
            "cost_usd": _scaled(item.cost),
            "baseline_usd_per_mtok": _scaled(item.baseline_rate),
            "baseline_usd": _scaled(item.baseline),
        }
        for item in items
    ]
    out = io.BytesIO()
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    pq.write_table(table, out, compression="zstd", store_schema=False, write_page_index=False)
    return out.getvalue()


def _scaled(amount: Decimal | None) -> Decimal | None:
    """With twelve decimals, as the column has them."""
    return None if amount is None else amount.quantize(Decimal("1e-12"))
