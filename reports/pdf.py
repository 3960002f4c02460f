"""The report as PDF, set by typst out of the same Page: archival (PDF/A-3), tagged, with report.json inside.

Text reaches the typesetter as JSON and is never code. Only the fonts of this package are used, so
the bytes do not depend on the machine; a warning is an error, since a missing font would
otherwise be replaced silently.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from datetime import datetime
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

from reports.errors import DoesNotRender
from reports.layout import Page
from reports.look import Look

STANDARDS: tuple[Literal["a-3a", "ua-1"], ...] = ("a-3a", "ua-1")


def pdf(page: Page, charts: Mapping[str, str], *, author: str, date: datetime, attached: bytes, look: Look) -> bytes:
    """The document's bytes. Shapes: `charts` SVG by name, drawn with charts.PAPER; `attached` is report.json.

    Errors: DoesNotRender.
    """
    with tempfile.TemporaryDirectory(prefix="halfpenny-") as directory:
        root = Path(directory)
        data = page.as_json() | {"author": author, "date": {"year": date.year, "month": date.month, "day": date.day}}
        data |= {"accent": look.accent, "logo": "" if look.logo is None else look.logo.name}
        if look.logo is not None:
            (root / look.logo.name).write_bytes(look.logo.content)
        _lay_out(root, data, charts, attached)
        return _compiled(root, date)


def _lay_out(root: Path, data: Mapping[str, object], charts: Mapping[str, str], attached: bytes) -> None:
    (root / "data.json").write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    (root / "report.json").write_bytes(attached)
    (root / "report.typ").write_bytes(files("reports").joinpath("templates", "report.typ").read_bytes())
    for name, svg in charts.items():
        (root / f"{name}.svg").write_text(svg, encoding="utf-8")


def _compiled(root: Path, date: datetime) -> bytes:
    import typst  # noqa: PLC0415 -- an extra, and 80 MB: loaded when a PDF is set

    with as_file(files("reports").joinpath("fonts")) as fonts:
        try:
            found, warnings = typst.compile_with_warnings(
                str(root / "report.typ"),
                root=str(root),
                font_paths=[str(fonts)],
                ignore_system_fonts=True,
                format="pdf",
                pdf_standards=list(STANDARDS),
                timestamp=int(date.timestamp()),
            )
        except typst.TypstError as refused:
            raise DoesNotRender("PDF", str(refused)) from None
    if warnings:
        raise DoesNotRender("PDF", "; ".join(str(warning) for warning in warnings))
    if not isinstance(found, bytes):
        raise DoesNotRender("PDF", "the typesetter gave no document")
    return found
