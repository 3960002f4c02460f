"""The report as one HTML file: no request leaves it, and what a client is called stays text.

Everything is escaped by the template; the pictures are ours and escape what they show. The
Content-Security-Policy allows the one style sheet by its hash and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined, Template
from markupsafe import Markup, escape

from reports.layout import Page
from reports.look import Look
from reports.sentence import Part

PLAIN = Look()
WEIGHTS = (("Regular", 400), ("Medium", 500), ("SemiBold", 600), ("Bold", 700))


def html(page: Page, charts: Mapping[str, str], look: Look = PLAIN) -> bytes:
    """The page's bytes. Shapes: `charts` SVG by name, drawn with charts.SCREEN."""
    style = _style() + look.css
    written = _template().render(
        page=page,
        charts={name: Markup(svg) for name, svg in charts.items()},  # noqa: S704 -- drawn by reports.charts, which escapes
        style=Markup(style),  # noqa: S704 -- a file of this package
        style_hash=f"sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}",
        words=_words,
        logo=None if look.logo is None else look.logo.as_uri,
    )
    return f"{written}\n".encode()


def _words(parts: Sequence[Part]) -> Markup:
    """Words of which some stand out."""
    return Markup("").join(
        Markup("<b>{}</b>").format(said) if stands_out else escape(said) for said, stands_out in parts
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    source = _file("templates", "report.html.j2").decode("utf-8")
    environment = Environment(
        loader=DictLoader({"report": source}), autoescape=True, undefined=StrictUndefined, trim_blocks=False
    )
    return environment.get_template("report")


@lru_cache(maxsize=1)
def _style() -> str:
    """The style sheet with its fonts; exactly these bytes are hashed."""
    faces = "".join(
        f'@font-face{{font-family:"Inter";font-style:normal;font-weight:{weight};font-display:block;'
        f'src:url(data:font/woff2;base64,{base64.b64encode(_file("fonts", f"Inter-{name}.woff2")).decode()}) format("woff2")}}\n'
        for name, weight in WEIGHTS
    )
    return "\n" + faces + _file("templates", "report.css").decode("utf-8")


def _file(directory: str, name: str) -> bytes:
    return files("reports").joinpath(directory, name).read_bytes()
