"""The report's pictures, drawn as SVG by hand: same figures, same bytes.

Each chart takes plain series and a Palette, so that one drawing serves the page (colours are
CSS variables, light and dark) and the PDF (fixed colours). Floats are only ever
coordinates here; every figure that can be read arrives as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal
from html import escape
from itertools import accumulate

WIDTH = 760
HALF = WIDTH / 2 - 4
MARGIN = 16  # right of every axis, so that the last label is whole
_TICKS = (Decimal(1), Decimal(2), Decimal("2.5"), Decimal(5), Decimal(10))


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours by role; `lanes` in the order of the lanes, then used again from the start."""

    ink: str
    muted: str
    grid: str
    axis: str
    lanes: tuple[str, ...]
    rest: str
    baseline: str
    saved: str
    more: str
    limit: str

    def with_lanes(self, lanes: tuple[str, ...]) -> Palette:
        """The same with other colours of the lanes."""
        return replace(self, lanes=lanes)

    def lane(self, place: int) -> str:
        """The colour of a lane."""
        return self.lanes[place % len(self.lanes)]


PAPER = Palette(
    ink="#1b2233",
    muted="#5b6475",
    grid="#e6e8ec",
    axis="#c3c8d0",
    lanes=("#1f6f8b", "#e0a03f", "#7a5ea8", "#4f8f5b", "#b5556b"),
    rest="#a9b4c2",
    baseline="#7d8797",
    saved="#2a9d6e",
    more="#b5443c",
    limit="#b5443c",
)
SCREEN = Palette(
    ink="var(--ink)",
    muted="var(--muted)",
    grid="var(--grid)",
    axis="var(--axis)",
    lanes=("var(--lane1)", "var(--lane2)", "var(--lane3)", "var(--lane4)", "var(--lane5)"),
    rest="var(--rest)",
    baseline="var(--baseline)",
    saved="var(--saved)",
    more="var(--more)",
    limit="var(--more)",
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One stacked bar: its values from below, what its baseline is, and what it says when pointed at."""

    label: str
    values: tuple[Decimal, ...]
    baseline: Decimal | None
    words: str


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a legend."""

    label: str
    colour: str
    is_line: bool = False


@dataclass(frozen=True, slots=True)
class Fall:
    """One row of a waterfall: from where to where, and its amount in words. Kinds: baseline, saved, more, spend."""

    label: str
    start: Decimal
    end: Decimal
    words: str
    kind: str


@dataclass(frozen=True, slots=True)
class Dot:
    """One figure with its interval."""

    group: int
    lane: int
    value: Decimal
    low: Decimal
    high: Decimal
    words: str


def ticks(most: Decimal, about: int = 5) -> tuple[Decimal, ...]:
    """Round values from zero to just past `most`, about that many steps.

    >>> [str(t) for t in ticks(Decimal(34))]
    ['0', '10', '20', '30', '40']
    """
    if most <= 0:
        return (Decimal(0), Decimal(1))
    rough = most / about
    scale = Decimal(1).scaleb(rough.adjusted())
    step = next(scale * t for t in _TICKS if scale * t >= rough)
    count = int((most / step).to_integral_value(ROUND_CEILING))
    plain = [Decimal(format((step * n).normalize(), "f")) for n in range(max(count, 1) + 1)]
    return tuple(plain)


@dataclass(frozen=True, slots=True)
class Scale:
    """The value axis: its ticks from zero up, and what each says."""

    at: tuple[Decimal, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where a chart with a value axis is drawn."""

    scale: Scale
    height: float
    right: float
    left: float = 48
    top: float = 28

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def y(self, value: Decimal) -> float:
        """Where a value lies; above the last tick it lies there."""
        most = self.scale.at[-1]
        return self.bottom - float(min(value, most) / most) * self.height

    def slot(self, count: int) -> float:
        """The width of one of so many places."""
        return (self.right - self.left) / max(count, 1)

    def drawn(self, p: Palette) -> list[str]:
        """Grid, labels and foot."""
        found = []
        for tick, label in zip(self.scale.at, self.scale.labels, strict=True):
            y = self.y(tick)
            found.append(_line((self.left, y), (self.right, y), p.axis if not tick else p.grid))
            found.append(_text(self.left - 7, y + 3.8, label, p.muted, "end"))
        return found


def bars(found: Sequence[Bar], scale: Scale, legend: Sequence[Key], colours: Sequence[str], p: Palette) -> str:
    """Stacked bars with a dashed baseline. Shapes: `colours` one for each value of a bar, from below."""
    frame = _Frame(scale, height=222, right=WIDTH - MARGIN)
    slot = frame.slot(len(found))
    drawn = [_legend(legend, frame.left, p), *frame.drawn(p)]
    for place, bar in enumerate(found):
        x = frame.left + slot * place
        drawn.append(_stack(bar, colours, x + slot * 0.18, slot * 0.64, frame))
        if place % _every(len(found)) == 0:
            drawn.append(_text(x + slot / 2, frame.bottom + 16, bar.label, p.muted, "middle"))
    drawn.append(_stairs(found, frame, p))
    return _svg(frame.bottom + 25, drawn)


def _every(count: int) -> int:
    return 1 if count <= 8 else 3  # 1, 4, 7 … 28 and 31


def _stack(bar: Bar, colours: Sequence[str], x: float, wide: float, frame: _Frame) -> str:
    pieces, level = [], Decimal(0)
    for value, colour in zip(bar.values, colours, strict=True):
        below, level = frame.y(level), level + value
        if (above := frame.y(level)) < below:
            size = f'width="{_n(wide)}" height="{_n(below - above)}"'
            pieces.append(f'<rect x="{_n(x)}" y="{_n(above)}" {size} fill="{colour}"/>')
    return f"<g><title>{escape(bar.words)}</title>{''.join(pieces)}</g>"


def _stairs(found: Sequence[Bar], frame: _Frame, p: Palette) -> str:
    """The baseline as stairs; a day without one leaves a gap."""
    path, is_drawing, slot = [], False, frame.slot(len(found))
    for place, bar in enumerate(found):
        if bar.baseline is None:
            is_drawing = False
            continue
        y, x = frame.y(bar.baseline), frame.left + slot * place
        path.append(f"{'V' if is_drawing else f'M{_n(x)} '}{_n(y)}H{_n(x + slot)}")
        is_drawing = True
    dashes = f'stroke="{p.baseline}" stroke-width="1.5" stroke-dasharray="4 3"'
    return f'<path d="{"".join(path)}" fill="none" {dashes}/>' if path else ""


def waterfall(found: Sequence[Fall], scale: Scale, p: Palette) -> str:
    """Rows from the baseline down to the spend, each hanging where the one before ended; the longest takes the width."""
    most = max(max(fall.start, fall.end) for fall in found) or Decimal(1)
    left, right, row = 214.0, WIDTH - 92, 31
    bottom = row * len(found) + 4
    colour = {"baseline": p.baseline, "saved": p.saved, "more": p.more, "spend": p.lane(0)}

    def x_of(value: Decimal) -> float:
        return left + float(value / most) * (right - left)

    drawn = []
    for tick, label in zip(scale.at, scale.labels, strict=True):
        if tick > most:
            break
        drawn.append(_line((x_of(tick), 0), (x_of(tick), bottom), p.grid))
        drawn.append(_text(x_of(tick), bottom + 16, label, p.muted, "middle"))
    for place, fall in enumerate(found):
        low, high = sorted((fall.start, fall.end))
        x, y = x_of(low), row * place + 6
        wide = max(x_of(high) - x, 1.0)
        drawn.append(
            f"<g><title>{escape(fall.label)}: {escape(fall.words)}</title>"
            f'<rect x="{_n(x)}" y="{y}" width="{_n(wide)}" height="19" rx="2" fill="{colour[fall.kind]}"/></g>'
        )
        drawn.append(_text(left - 8, y + 13.5, fall.label, p.ink, "end"))
        drawn.append(_text(x + wide + 6, y + 13.5, fall.words, p.ink, "start"))
        if place + 1 < len(found):
            drawn.append(_line((x_of(fall.end), y + 19), (x_of(fall.end), y + row), p.axis))
    drawn.append(_line((left, bottom), (right, bottom), p.axis))
    return _svg(bottom + 25, drawn)


def dots(found: Sequence[Dot], groups: Sequence[str], scale: Scale, legend: Sequence[Key], p: Palette) -> str:
    """Figures with their intervals, lanes side by side in each group."""
    frame = _Frame(scale, height=160, right=HALF - MARGIN)
    slot, lanes = frame.slot(len(groups)), max((dot.lane for dot in found), default=0) + 1
    drawn = [_legend(legend, frame.left, p), *frame.drawn(p)]
    for place, label in enumerate(groups):
        drawn.append(_text(frame.left + slot * (place + 0.5), frame.bottom + 16, label, p.muted, "middle"))
    for dot in found:
        x = frame.left + slot * (dot.group + 0.5) + (dot.lane - (lanes - 1) / 2) * min(12.0, slot / (lanes + 1))
        colour = p.lane(dot.lane)
        drawn.append(
            f"<g><title>{escape(dot.words)}</title>{_line((x, frame.y(dot.low)), (x, frame.y(dot.high)), colour, 1.6)}"
            f'<circle cx="{_n(x)}" cy="{_n(frame.y(dot.value))}" r="3.8" fill="{colour}"/></g>'
        )
    return _svg(frame.bottom + 25, drawn, HALF)


def running(found: Sequence[Decimal], days: Sequence[str], limit: Decimal | None, scale: Scale, p: Palette) -> str:
    """What was spent up to each day, under the cap. Shapes: `days` one label a day, empty where none is shown."""
    frame = _Frame(scale, height=160, right=HALF - MARGIN)
    step = (frame.right - frame.left) / max(len(found) - 1, 1)
    points = " ".join(f"{_n(frame.left + step * n)},{_n(frame.y(level))}" for n, level in enumerate(accumulate(found)))
    drawn = frame.drawn(p)
    corners = f"{_n(frame.left)},{_n(frame.bottom)} {points} {_n(frame.right)},{_n(frame.bottom)}"
    drawn.append(f'<polygon points="{corners}" fill="{p.lane(0)}" fill-opacity="0.16"/>')
    drawn.append(f'<polyline points="{points}" fill="none" stroke="{p.lane(0)}" stroke-width="1.8"/>')
    for n, label in enumerate(days):
        if label:
            drawn.append(_text(frame.left + step * n, frame.bottom + 16, label, p.muted, "middle"))
    if limit is not None:
        across = f"M{_n(frame.left)} {_n(frame.y(limit))}H{_n(frame.right)}"
        drawn.append(f'<path d="{across}" stroke="{p.limit}" stroke-width="1.3" stroke-dasharray="5 3"/>')
    return _svg(frame.bottom + 25, drawn, HALF)


def _legend(keys: Sequence[Key], x: float, p: Palette) -> str:
    drawn = []
    for key in keys:
        if key.is_line:
            drawn.append(f'<path d="M{_n(x)} 9h16" stroke="{key.colour}" stroke-width="1.6" stroke-dasharray="4 3"/>')
        else:
            drawn.append(f'<rect x="{_n(x)}" y="4" width="10" height="10" rx="1.5" fill="{key.colour}"/>')
        start = x + (21 if key.is_line else 15)
        drawn.append(_text(start, 12.8, key.label, p.ink, "start"))
        x = start + 6.2 * len(key.label) + 16
    return "".join(drawn)


def _text(x: float, y: float, words: str, colour: str, anchor: str) -> str:
    return f'<text x="{_n(x)}" y="{_n(y)}" fill="{colour}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(start: tuple[float, float], end: tuple[float, float], colour: str, width: float = 1) -> str:
    path = f"M{_n(start[0])} {_n(start[1])}L{_n(end[0])} {_n(end[1])}"
    return f'<path d="{path}" stroke="{colour}" stroke-width="{_n(width)}"/>'


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _svg(height: float, drawn: Sequence[str], width: float = WIDTH) -> str:
    body = "\n".join(part for part in drawn if part)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(width)} {_n(height)}" width="{_n(width)}" height="{_n(height)}" '
        f'font-family="Inter" font-size="11" aria-hidden="true">\n{body}\n</svg>\n'
    )
