"""Where a month's reports lie, and what each file is called; light, so that the gateway can look without rendering."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from ledger.home import Home

MANIFEST = "manifest.json"
FORMATS: Mapping[str, tuple[str, str]] = {  # what a path ends with: the file, and what it is
    "json": ("report.json", "application/json"),
    "html": ("report.html", "text/html; charset=utf-8"),
    "pdf": ("report.pdf", "application/pdf"),
    "csv": ("report.csv", "text/csv; charset=utf-8"),
    "xlsx": ("report.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    "focus.csv": ("focus.csv", "text/csv; charset=utf-8"),
    "parquet": ("lines.parquet", "application/vnd.apache.parquet"),
}
_REVISION = re.compile(r"r([1-9][0-9]{0,5})")


def directory_of(home: Home, client: str, period: str) -> Path:
    """Where a month's revisions lie. Shapes: whatever a client is called, its directory is one name below HOME/reports."""
    name = quote(client, safe="")
    return home.reports / (name.replace(".", "%2E") if name.startswith(".") else name) / period


def revisions(place: Path) -> tuple[int, ...]:
    """The revisions of a month, in order; none when it was never built."""
    if not place.is_dir():
        return ()
    return tuple(sorted(int(found[1]) for entry in place.iterdir() if (found := _REVISION.fullmatch(entry.name))))
