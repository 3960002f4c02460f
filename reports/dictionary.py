"""schemas/views.md, made of the comments that the views themselves carry."""

from __future__ import annotations

from itertools import groupby

from reports.warehouse import Row, commented_views

HEAD = """# The views

What `HOME/ledger.duckdb` shows to analysts, beside `events` itself. Each view is one file in `ledger/views`; the comments are
its own (`COMMENT ON`), so `DESCRIBE` and any DuckDB tool show them too. Views only gain columns.

Units: `*_usd` are exact USD as DECIMAL; `*_tokens` are counts, each token in exactly one bucket; `*_s` and `*_seconds` are seconds;
shares and ratios are 0..1; `*_at`, `valid_*` and `ends_at` are UTC instants; `local_date` and `period` are in the client's own zone.

This file is written by `python -m reports views`; a test holds the two equal.
"""


def views_document() -> str:
    """The document's text."""
    parts = [HEAD]
    for (name, comment), rows in groupby(commented_views(), key=lambda row: (row[0], row[1])):
        parts.append(f"\n## {name}\n\n{comment}\n\n| column | type | meaning |\n| --- | --- | --- |\n")
        parts.extend(_line(row) for row in rows)
    return "".join(parts)


def _line(row: Row) -> str:
    return f"| `{row[2]}` | {row[3]} | {row[4].replace('|', chr(92) + '|')} |\n"
