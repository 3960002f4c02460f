"""How the freelancer's reports look: name, logo and colours from the section [reports] of halfpenny.toml.

A colour is six hexadecimal digits and nothing else, since it goes into a style sheet; a logo is a PNG or SVG file in
the home, shown as a picture, so that nothing in it runs.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from ledger.errors import InvalidInput
from ledger.home import Home
from reports.charts import Palette
from reports.settings import Settings

LOGO_BYTES_AT_MOST = 1_000_000
_KINDS = {".png": (b"\x89PNG\r\n\x1a\n", "image/png"), ".svg": (b"<", "image/svg+xml")}


@dataclass(frozen=True, slots=True)
class Logo:
    """A picture: its file name for the typesetter, its type, its bytes."""

    name: str
    media_type: str
    content: bytes

    @property
    def as_uri(self) -> str:
        """For a page that asks nobody for anything."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.content).decode()}"


@dataclass(frozen=True, slots=True)
class Look:
    """Colours and logo; empty ones leave the house's own."""

    accent: str = ""
    colours: tuple[str, ...] = ()
    logo: Logo | None = None

    def painted(self, palette: Palette) -> Palette:
        """A palette with the lanes' colours exchanged, the first ones first."""
        return palette.with_lanes((*self.colours, *palette.lanes[len(self.colours) :]))

    @property
    def css(self) -> str:
        """A rule that sets the accent; empty without one."""
        return f"\n:root {{ --accent: {self.accent}; }}" if self.accent else ""


def look_of(home: Home, settings: Settings) -> Look:
    """What the settings say, with the logo read. Errors: InvalidInput for a logo that is none, or not in the home."""
    return Look(
        accent=settings.accent,
        colours=settings.colours,
        logo=_logo(home.path, settings.logo) if settings.logo else None,
    )


def _logo(home: Path, name: str) -> Logo:
    path = (home / name).resolve()
    kind = _KINDS.get(path.suffix.lower())
    if not path.is_relative_to(home.resolve()) or kind is None:
        raise InvalidInput(f"[reports] logo = {name!r}: name a .png or .svg file in the home, like logo.svg.")
    try:
        content = path.read_bytes()
    except OSError as refused:
        raise InvalidInput(f"[reports] logo = {name!r} cannot be read: {refused.strerror}.") from None
    if len(content) > LOGO_BYTES_AT_MOST or not content.lstrip().startswith(kind[0]):
        raise InvalidInput(f"[reports] logo = {name!r} is no picture of at most {LOGO_BYTES_AT_MOST:,} bytes.")
    return Logo(f"logo{path.suffix.lower()}", kind[1], content)
