"""What a page is made of, for every template: tiles, rows, blocks, sections."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal

from reports.sentence import Part


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure of the first row; `tone` is plain, good or bad."""

    label: str
    value: str
    note: str
    tone: str = "plain"

    @property
    def size(self) -> str:
        """How much room the value takes: short, long or longer."""
        return "short" if len(self.value) <= 8 else "long" if len(self.value) <= 11 else "longer"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table; `is_total` stands out."""

    cells: tuple[str, ...]
    is_total: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """One thing under a heading: a chart by name, a table, words that stand out, or a numbered list.

    Shapes: the first column of a table is text, the others are figures unless `texts` names them;
    the columns in `wide` share the room that is left.
    """

    kind: Literal["chart", "table", "note", "list"]
    chart: str = ""
    alt: str = ""
    caption: str = ""
    head: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    texts: tuple[int, ...] = (0,)
    wide: tuple[int, ...] = (0,)
    items: tuple[tuple[str, str], ...] = ()
    words: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with its blocks; two neighbours with `is_half` stand side by side."""

    heading: str
    blocks: tuple[Block, ...]
    is_half: bool = False
    starts_page: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Everything printed. Shapes: `page_of` the foot's page number, the words before its number and before their count."""

    language: str
    title: str
    client: str
    subtitle: str
    status: str
    stage: str
    report_id: str
    as_of: str
    headline: tuple[Part, ...]
    tiles: tuple[Tile, ...]
    tiles_note: str
    sections: tuple[Section, ...]
    footer: str
    page_of: tuple[str, ...]
    keywords: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, object]:
        """For the typesetter."""
        found = asdict(self)
        found["tiles"] = [asdict(tile) | {"size": tile.size} for tile in self.tiles]
        return found
