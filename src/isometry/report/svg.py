"""Charts as vector pictures for the page: no script, no outer file, colours that follow the page's light or dark."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from isometry.report.chart import (
    Axis,
    Bars,
    Chart,
    Heat,
    Level,
    Line,
    Mark,
    Note,
    Points,
    Ribbon,
    Ridges,
    Rule,
    Span,
    Whiskers,
    Zone,
    within,
)
from isometry.report.palette import DASHES, SYMBOLS, cividis, png, style_of
from isometry.report.placing import Names, Tick, layer_names, spread, text_width, ticks
from isometry.report.words import clean

__all__ = ["svg"]

Numbers = NDArray[np.float64]
Place = Callable[[float], float]

SIZE = 12.0
"""Type size. [unit of the drawing, a CSS pixel at full width]"""
MOST_MARKS = 80
NOTHING, ZERO, NAN, INF, FIRST = range(5)
"""Palette of a heat map: four values that have no colour, then the map."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the plotting area lies and how values get there."""

    width: float
    """Of the whole drawing."""
    left: float
    top: float
    right: float
    bottom: float
    x: tuple[float, float]
    y: tuple[float, float]
    x_axis: Axis
    y_axis: Axis

    def across(self, placed: float) -> float:
        low, high = self.x
        return self.left + (placed - low) / (high - low) * (self.right - self.left)

    def up(self, placed: float) -> float:
        low, high = self.y
        if self.y_axis.scale == "layers":  # first layer on top
            return self.top + (placed - low) / (high - low) * (self.bottom - self.top)
        return self.bottom - (placed - low) / (high - low) * (self.bottom - self.top)

    def points(self, x: Numbers, y: Numbers) -> list[tuple[float, float]]:
        """Places of a curve's points, NaN where a point has none."""
        return [
            (self.across(float(a)), self.up(float(b)))
            for a, b in zip(self.x_axis.placed(x), self.y_axis.placed(y), strict=True)
        ]


def svg(chart: Chart, *, identifier: str, width: float = 640.0) -> str:
    """A chart as an ``<svg>`` element with its own description.

    Args:
        chart: the chart
        identifier: unique within the page, letters and hyphens only
        width: of the drawing, in the unit in which its type has size 12
    """
    frame, height, names = _framed(chart, width)
    parts = [
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-labelledby="{identifier}-t {identifier}-d">',
        f'<title id="{identifier}-t">{safe(chart.title)}</title>',
        f'<desc id="{identifier}-d">{safe(chart.alt)}</desc>',
        f'<clipPath id="{identifier}-c"><rect x="{frame.left:.1f}" y="{frame.top - 1:.1f}" '
        f'width="{frame.right - frame.left:.1f}" height="{frame.bottom - frame.top + 2:.1f}"/></clipPath>',
    ]
    parts += _zones(chart, frame)
    parts += _grid(chart, frame, names)
    parts.append(f'<g clip-path="url(#{identifier}-c)">')
    parts += _content(chart, frame)
    parts.append("</g>")
    parts += _spans(chart, frame) + _labels(chart, frame) + _marks(chart, frame)
    if chart.of(Heat):
        parts += _colour_bar(chart, frame)
    parts += _legend(chart, frame, height)
    parts.append("</svg>")
    return "".join(parts)


# The frame ------------------------------------------------------------------------------------------------------------


def _framed(chart: Chart, width: float) -> tuple[Frame, float, Names]:
    """Frame, height of the whole and the layers' names, sized so that every word has its place."""
    x, y = within(chart)
    rows = len(chart.y.names)
    area = 270.0 if chart.y.scale != "layers" else min(430.0, max(200.0, rows * (26.0 if chart.of(Ridges) else 16.0)))
    if chart.y.scale == "layers":
        beside = layer_names(chart.y.names, length=area, size=SIZE, upright=True).ticks
    else:
        beside = tuple(ticks(chart.y, *y, most=7))
    left = 34 + max([text_width(tick.words, SIZE) for tick in beside if not tick.remark], default=30)
    right = width - _right_margin(chart)
    top = 14.0 + (18.0 if chart.of(Rule) else 0.0)
    names = layer_names(chart.x.names, length=right - left, size=SIZE)
    lean = max((text_width(tick.words, SIZE) for tick in names.ticks), default=0) * 0.64 + 6 if names.leaning else 0.0
    below = 44.0 + lean + (14.0 if chart.of(Span) else 0.0) + 18.0 * len(_legend_words(chart, right - left))
    bottom = top + area
    return Frame(width, left, top, right, bottom, x, y, chart.x, chart.y), bottom + below, names


def _right_margin(chart: Chart) -> float:
    if chart.of(Heat):
        return 128.0
    said = [shape.words for shape in _directly_labelled(chart)]
    ridges = [shape for shape in chart.shapes if isinstance(shape, Ridges)]
    if ridges:
        return 16.0
    return 16.0 + min(200.0, max((text_width(words, SIZE) for words in said), default=0.0) + 8)


def _directly_labelled(chart: Chart) -> list[Line]:
    return [shape for shape in chart.shapes if isinstance(shape, Line) and shape.words and shape.role != "implied"]


# Behind the data ------------------------------------------------------------------------------------------------------


def _zones(chart: Chart, frame: Frame) -> list[str]:
    parts = []
    for shape in chart.shapes:
        if isinstance(shape, Zone):
            low, high = (float(frame.y_axis.placed(np.array(v))) for v in (shape.low, shape.high))
            low, high = max(low, frame.y[0]), min(high, frame.y[1])
            if low < high:
                top, bottom = frame.up(high), frame.up(low)
                parts.append(_rect("zone", frame.left, top, frame.right - frame.left, bottom - top))
                parts.append(_text(frame.right - 6, top + 14, shape.words, "note", anchor="end"))
        elif isinstance(shape, Level):
            at = float(frame.y_axis.placed(np.array(shape.at)))
            if frame.y[0] <= at <= frame.y[1]:
                parts.append(_line("level", frame.left, frame.up(at), frame.right, frame.up(at)))
                parts.append(_text(frame.right - 6, frame.up(at) - 4, shape.words, "note", anchor="end"))
    return parts


def _grid(chart: Chart, frame: Frame, names: Names) -> list[str]:
    parts = []
    upright = chart.y.scale == "layers"
    if upright:
        length = frame.bottom - frame.top
        found = layer_names(chart.y.names, length=length, size=SIZE, upright=True).ticks
        parts += [_text(frame.left - 8, frame.up(tick.at) + 4, tick.words, "tick", anchor="end") for tick in found]
    else:
        for tick in ticks(chart.y, *frame.y, most=7):
            parts += _y_tick(tick, frame)
    if chart.x.scale == "layers":
        for tick in names.ticks:
            parts.append(_line("stub", frame.across(tick.at), frame.bottom, frame.across(tick.at), frame.bottom + 4))
            parts.append(_name(tick, frame, names.leaning))
    else:
        for tick in _apart(ticks(chart.x, *frame.x, most=8), frame):
            at = frame.across(tick.at)
            parts.append(_line("stub", at, frame.bottom, at, frame.bottom + 4))
            parts.append(_text(at, frame.bottom + 18, tick.words, "tick", anchor="middle"))
    parts.append(_line("edge", frame.left, frame.bottom, frame.right, frame.bottom))
    lean = max((text_width(t.words, SIZE) for t in names.ticks), default=0) * 0.64 + 6 if names.leaning else 0.0
    foot = frame.bottom + 36 + lean + (14.0 if chart.of(Span) else 0.0)
    reach = min(text_width(chart.x.title, SIZE), frame.width) / 2
    centre = min((frame.left + frame.right) / 2, frame.width - reach)
    parts.append(_text(max(centre, reach), foot, chart.x.title, "axis", anchor="middle"))
    middle = (frame.top + frame.bottom) / 2
    parts.append(
        f'<text class="axis" text-anchor="middle" transform="translate(14 {middle:.1f}) rotate(-90)">'
        f"{safe(chart.y.title)}</text>"
    )
    return parts


def _apart(found: Sequence[Tick], frame: Frame) -> list[Tick]:
    """Ticks whose words do not touch."""
    kept: list[Tick] = []
    edge = -math.inf
    for tick in found:
        half = text_width(tick.words, SIZE) / 2
        if frame.across(tick.at) - half > edge + 6:
            kept.append(tick)
            edge = frame.across(tick.at) + half
    return kept


def _y_tick(tick: Tick, frame: Frame) -> list[str]:
    at = frame.up(tick.at)
    value, _, meaning = tick.words.partition(" · ")
    parts = [
        _line("level" if tick.remark else "grid", frame.left, at, frame.right, at),
        _text(frame.left - 8, at + 4, value, "tick", anchor="end"),
    ]
    if meaning:
        parts.append(_text(frame.right - 6, at - 4, meaning, "note", anchor="end"))
    return parts


def _name(tick: Tick, frame: Frame, leaning: bool) -> str:
    at = frame.across(tick.at)
    if not leaning:
        return _text(at, frame.bottom + 18, tick.words, "tick", anchor="middle")
    return (
        f'<text class="tick" text-anchor="end" transform="translate({at + 4:.1f} {frame.bottom + 14:.1f}) rotate(-40)">'
        f"{safe(tick.words)}</text>"
    )


# The data -------------------------------------------------------------------------------------------------------------


def _content(chart: Chart, frame: Frame) -> list[str]:
    parts: list[str] = []
    for shape in chart.shapes:
        match shape:
            case Ribbon():
                parts.append(_ribbon(shape, frame))
            case Whiskers():
                parts += _whiskers(shape, frame)
            case Heat():
                parts.append(_heat(shape, frame))
            case Bars():
                parts += _bars(shape, frame)
            case Ridges():
                parts += _ridges(shape, frame)
            case Line():
                parts += _curve(shape, frame)
            case Points():
                parts += [_dot(shape.style, *at) for at in frame.points(shape.x, shape.y) if _known(at)]
            case Rule():
                at = frame.across(float(frame.x_axis.placed(np.array(shape.at))))
                parts.append(_line("rule", at, frame.top, at, frame.bottom))
            case _:
                pass
    return parts


def _known(at: tuple[float, float]) -> bool:
    return math.isfinite(at[0]) and math.isfinite(at[1])


def _path(points: Sequence[tuple[float, float]]) -> str:
    """A path through the points; NaN interrupts it."""
    pieces, pen_up = [], True
    for at in points:
        if not _known(at):
            pen_up = True
            continue
        pieces.append(f"{'M' if pen_up else 'L'}{at[0]:.1f} {at[1]:.1f}")
        pen_up = False
    return "".join(pieces)


def _stroke(shape: Line) -> str:
    if shape.shade is None:
        return ""
    share = round(100 * (1 - shape.shade))
    return f' style="--c:color-mix(in oklab, var(--in) {share}%, var(--out))"'


def _curve(shape: Line, frame: Frame) -> list[str]:
    points = frame.points(shape.x, shape.y)
    style = style_of(shape.style)
    dash = {"implied": "2 4", "context": ""}.get(shape.role, DASHES[style])
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    kind = f"curve {shape.role} s{style}"
    parts = [
        f'<path class="{kind}"{_stroke(shape)}{dashed} d="{_path(points)}"><title>{safe(shape.words)}</title></path>'
    ]
    if shape.markers:
        for at, x, y in zip(points, shape.x, shape.y, strict=True):
            if _known(at):
                words = _value(shape, frame, float(x), float(y))
                parts.append(_glyph(style, *at, f"marker s{style}", words, look=_stroke(shape)))
    return parts


def _value(shape: Line, frame: Frame, x: float, y: float) -> str:
    names = frame.x_axis.names
    where = names[int(x)] if names and 0 <= int(x) < len(names) else f"{x:g}"
    return f"{where}, {shape.words}: {y:.3g}"


def _glyph(style: int, x: float, y: float, kind: str, words: str = "", *, look: str = "", reach: float = 3.4) -> str:
    """``look``: attributes that stand above those of the kind."""
    said = f"<title>{safe(words)}</title>" if words else ""
    r = reach
    match style_of(style):
        case 0:
            return f'<circle class="{kind}"{look} cx="{x:.1f}" cy="{y:.1f}" r="{r}">{said}</circle>'
        case 1:
            d = f"M{x - r:.1f} {y - r:.1f}h{2 * r}v{2 * r}h{-2 * r}z"
        case 2:
            d = f"M{x:.1f} {y - r - 0.8:.1f}l{r + 0.6} {2 * r}h{-2 * r - 1.2}z"
        case 3:
            d = f"M{x:.1f} {y - r - 0.8:.1f}l{r + 0.8} {r + 0.8}l{-r - 0.8} {r + 0.8}l{-r - 0.8} {-r - 0.8}z"
        case 4:
            d = f"M{x - r:.1f} {y - r:.1f}l{2 * r} {2 * r}m0 {-2 * r}l{-2 * r} {2 * r}"
        case _:
            d = f"M{x - r:.1f} {y:.1f}h{2 * r}M{x:.1f} {y - r:.1f}v{2 * r}"
    return f'<path class="{kind}"{look} d="{d}">{said}</path>'


def _dot(style: int | None, x: float, y: float) -> str:
    """A value that no line joins: in the colour and form of its style, or stepping back."""
    if style is None:
        return _glyph(3, x, y, "dot")
    return _glyph(style, x, y, f"marker s{style_of(style)}")


def _ribbon(shape: Ribbon, frame: Frame) -> str:
    above, below = frame.points(shape.x, shape.high), frame.points(shape.x, shape.low)
    known = [k for k in range(len(above)) if _known(above[k]) and _known(below[k])]
    pieces = np.split(np.array(known, dtype=int), np.flatnonzero(np.diff(known) > 1) + 1) if known else []
    outlines = [_path([*(above[k] for k in piece), *(below[k] for k in reversed(piece))]) + "z" for piece in pieces]
    if not outlines:
        return ""
    kind = f"ribbon s{style_of(shape.style)}"
    return f'<path class="{kind}" d="{"".join(outlines)}"><title>{safe(shape.words)}</title></path>'


def _whiskers(shape: Whiskers, frame: Frame) -> list[str]:
    lower, upper = (frame.points(*end) for end in shape.ends)
    return [
        _whisker(shape.style, *pair, shape.words) for pair in zip(lower, upper, strict=True) if all(map(_known, pair))
    ]


def _whisker(style: int, low: tuple[float, float], high: tuple[float, float], words: str = "") -> str:
    """A line with a short bar across each of its ends."""
    bar = "h8m-4 0" if low[0] == high[0] else "v8m0 -4"
    back = "-4 0" if low[0] == high[0] else "0 -4"
    outline = f"M{low[0]:.1f} {low[1]:.1f}m{back}{bar}L{high[0]:.1f} {high[1]:.1f}m{back}{bar}"
    said = f"<title>{safe(words)}</title>" if words else ""
    return f'<path class="whisker s{style_of(style)}" d="{outline}">{said}</path>'


def _bars(shape: Bars, frame: Frame) -> list[str]:
    count = len(shape.parts[0].values) if shape.parts else 0
    wide = max(0.6, (frame.right - frame.left) / max(count, 1) * 0.72)
    parts = []
    up, down = np.zeros(count), np.zeros(count)
    for style, part in enumerate(shape.parts):
        for k, value in enumerate(np.nan_to_num(part.values, nan=0.0, posinf=0.0, neginf=0.0)):
            if value == 0:
                continue
            start = up[k] if value > 0 else down[k]
            (up if value > 0 else down)[k] += value
            y = sorted((frame.up(start), frame.up(start + value)))
            words = (
                f"{frame.x_axis.names[k]}, {part.words}: {value:+.3g}" if k < len(frame.x_axis.names) else part.words
            )
            kind = f"bar s{style_of(style)} p{style_of(style)}"
            parts.append(_rect(kind, frame.across(k) - wide / 2, y[0], wide, y[1] - y[0], words))
    parts.append(_line("edge", frame.left, frame.up(0.0), frame.right, frame.up(0.0)))
    if shape.totals is not None:
        for k, value in enumerate(shape.totals):
            if math.isfinite(value):
                at = frame.across(k), frame.up(float(value))
                parts.append(_line("total", at[0] - wide / 2 - 2, at[1], at[0] + wide / 2 + 2, at[1]))
    return parts


def _ridges(shape: Ridges, frame: Frame) -> list[str]:
    row = abs(frame.up(1.0) - frame.up(0.0))
    most = max((float(np.nanmax(ridge.density)) for ridge in shape.ridges if ridge.density.size), default=1.0) or 1.0
    parts = []
    for ridge in shape.ridges:
        base = frame.up(float(ridge.row)) + row * 0.38
        x = [frame.across(float(value)) for value in frame.x_axis.placed(ridge.x)]
        for density, kind in ((ridge.before, "ridge before"), (ridge.density, "ridge now")):
            if density is None or not len(x):
                continue
            tops = [(a, base - float(d) / most * row * 1.15) for a, d in zip(x, density, strict=True)]
            words = shape.before if "before" in kind else shape.words
            outline = (
                f"M{x[0]:.1f} {base:.1f}" + "".join(f"L{a:.1f} {b:.1f}" for a, b in tops) + f"L{x[-1]:.1f} {base:.1f}"
            )
            parts.append(f'<path class="{kind}" d="{outline}"><title>{safe(words)}</title></path>')
        parts.append(_line("grid", frame.left, base, frame.right, base))
    return parts


def _heat(shape: Heat, frame: Frame) -> str:
    low, high = shape.limits()
    count = 256 - FIRST
    share = (shape.colour.placed(shape.values) - low) / (high - low)
    indices = np.full(shape.values.shape, NOTHING, dtype=np.uint8)
    known = np.isfinite(share)
    indices[known] = FIRST + np.clip(share[known] * count, 0, count - 1).astype(np.uint8)
    for flags, index in ((shape.zero, ZERO), (shape.nan, NAN), (shape.inf, INF)):
        indices[flags] = index
    colours = np.zeros((256, 4), dtype=np.uint8)
    colours[FIRST:, :3], colours[FIRST:, 3] = cividis(count), 255
    colours[ZERO] = (0, 0, 0, 255)
    colours[NAN] = (214, 39, 100, 255)
    colours[INF] = (240, 120, 170, 255)
    ends = [frame.across(float(value)) for value in frame.x_axis.placed(shape.edges[[0, -1]])]
    rows = shape.values.shape[0]
    top, bottom = sorted((frame.up(-0.5), frame.up(rows - 0.5)))
    place = f'x="{ends[0]:.1f}" y="{top:.1f}" width="{ends[1] - ends[0]:.1f}" height="{bottom - top:.1f}"'
    parts = [
        f'<rect class="nothing" {place}/>',
        f'<image {place} preserveAspectRatio="none" class="heat" href="{png(indices, colours)}"/>',
    ]
    for flags, symbol in ((shape.zero, "zero"), (shape.nan, "nan"), (shape.inf, "inf")):
        parts += _flags(shape, flags, symbol, frame)
    return "".join(parts)


def _flags(shape: Heat, flags: NDArray[np.bool_], symbol: str, frame: Frame) -> list[str]:
    """Signs on some of the cells that have no colour, so that colour is not all that tells them."""
    rows, columns = np.nonzero(flags)
    if not rows.size:
        return []
    taken: set[tuple[int, int]] = set()
    parts = []
    middles = (shape.edges[:-1] + shape.edges[1:]) / 2
    for row, column_ in zip(rows, columns, strict=True):
        x = frame.across(float(frame.x_axis.placed(np.array(middles[column_]))))
        y = frame.up(float(row))
        cell = int(x // 28), int(y // 16)
        if cell not in taken and len(taken) < 400:
            taken.add(cell)
            parts.append(_symbol(symbol, x, y, "flag"))
    return parts


def _colour_bar(chart: Chart, frame: Frame) -> list[str]:
    shape = next(shape for shape in chart.shapes if isinstance(shape, Heat))
    low, high = shape.limits()
    colours = np.concatenate([cividis(128), np.full((128, 1), 255, dtype=np.uint8)], axis=1)
    left, top, tall = frame.right + 18, frame.top, min(frame.bottom - frame.top, 260.0)
    column_ = np.arange(127, -1, -1, dtype=np.uint8)[:, None]
    parts = [
        f'<image x="{left:.1f}" y="{top:.1f}" width="14" height="{tall:.1f}" preserveAspectRatio="none" '
        f'href="{png(column_, colours)}"/>'
    ]
    for tick in ticks(shape.colour, low, high, most=6):
        y = top + tall * (1 - (tick.at - low) / (high - low))
        parts.append(_text(left + 20, y + 4, tick.words, "tick"))
    parts.append(
        f'<text class="axis" text-anchor="middle" '
        f'transform="translate({frame.width - 8:.1f} {top + tall / 2:.1f}) rotate(-90)">'
        f"{safe(shape.colour.title)}</text>"
    )
    return parts


# In front of the data -------------------------------------------------------------------------------------------------


def _spans(chart: Chart, frame: Frame) -> list[str]:
    parts = []
    for shape in chart.shapes:
        if isinstance(shape, Span):
            first, last = frame.across(shape.first - 0.4), frame.across(shape.last + 0.4)
            parts.append(_rect("span", first, frame.bottom + 0.5, last - first, 3.5, shape.words))
        elif isinstance(shape, Note):
            (place,) = frame.points(np.array([shape.x]), np.array([shape.y]))
            aside, anchor = (8, "end") if shape.side == "left" else (0, "middle")
            if _known(place):
                parts.append(_text(place[0] - aside, place[1] + 4, shape.words, "note", anchor=anchor))
        elif isinstance(shape, Rule):
            at = frame.across(float(frame.x_axis.placed(np.array(shape.at))))
            anchor = "start" if at < (frame.left + frame.right) / 2 else "end"
            parts.append(
                _text(at + (4 if anchor == "start" else -4), frame.top - 6, shape.words, "found", anchor=anchor)
            )
    return parts


def _labels(chart: Chart, frame: Frame) -> list[str]:
    """Names of the curves, each at its end, moved apart where they would touch."""
    shown = []
    for shape in _directly_labelled(chart):
        points = [at for at in frame.points(shape.x, shape.y) if _known(at)]
        if points:
            shown.append((shape, points[-1]))
    heights = spread([at[1] for _, at in shown], SIZE + 3, frame.top + 4, frame.bottom - 2)
    parts = []
    for (shape, at), y in zip(shown, heights, strict=True):
        kind = f"label s{style_of(shape.style)} {shape.role}"
        parts.append(
            _line("leader", at[0] + 5, at[1], frame.right + 10, y)
            if abs(y - at[1]) > 6 or at[0] < frame.right - 24
            else ""
        )
        parts.append(
            f'<text class="{kind}"{_stroke(shape)} x="{frame.right + 14:.1f}" y="{y + 4:.1f}">'
            f"{safe(shape.words)}</text>"
        )
    for shape in (shape for shape in chart.shapes if isinstance(shape, Line) and shape.role == "implied"):
        points = [at for at in frame.points(shape.x, shape.y) if _known(at)]
        parts += [_text(x + 12, y - 6, shape.words, "note") for x, y in points[:1]]
    return parts


def _marks(chart: Chart, frame: Frame) -> list[str]:
    parts: list[str] = []
    for symbol in SYMBOLS:
        marks = [shape for shape in chart.shapes if isinstance(shape, Mark) and shape.symbol == symbol]
        stride = max(1, math.ceil(len(marks) / MOST_MARKS))
        for shape in marks[::stride]:
            x = frame.across(float(frame.x_axis.placed(np.array(shape.x))))
            y = frame.bottom - 7 if symbol == "zero" else frame.top + 7
            parts.append(_symbol(symbol, x, y, "mark", shape.words))
    return parts


def _symbol(symbol: str, x: float, y: float, kind: str, words: str = "") -> str:
    said = f"<title>{safe(words)}</title>" if words else ""
    shapes = {
        "nan": f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8",
        "inf": f"M{x:.1f} {y - 4.5:.1f}l4.5 8h-9z",
        "zero": f"M{x:.1f} {y + 4.5:.1f}l4.5 -8h-9z",
        "spike": f"M{x:.1f} {y - 5:.1f}v10M{x - 3:.1f} {y - 1:.1f}l3 -4l3 4",
    }
    return f'<path class="{kind} {symbol}" d="{shapes[symbol]}">{said}</path>'


def _legend_words(chart: Chart, width: float) -> list[list[tuple[str, str]]]:
    """Rows of (sign, words) for what is not labelled where it stands."""
    entries: list[tuple[str, str]] = []
    for shape in chart.shapes:
        if isinstance(shape, Bars) and len(shape.parts) > 1:
            entries += [(f"bar{k}", part.words) for k, part in enumerate(shape.parts)]
            entries += [("total", "all together")] if shape.totals is not None else []
        elif isinstance(shape, Ridges):
            entries += [("now", shape.words)] + ([("before", shape.before)] if shape.before else [])
        elif isinstance(shape, Ribbon) and shape.words:
            entries.append((f"ribbon{shape.style}", shape.words))
        elif isinstance(shape, Whiskers) and shape.words:
            entries.append((f"whisker{shape.style}", shape.words))
        elif isinstance(shape, Points) and shape.words:
            entries.append(("dot" if shape.style is None else f"dot{shape.style}", shape.words))
        elif isinstance(shape, Span):
            entries.append(("span", shape.words))
        elif isinstance(shape, Heat):
            entries += [(name, SYMBOLS[name]) for name in ("nan", "inf", "zero") if getattr(shape, name).any()]
            entries += [("nothing", "not recorded")] if shape.blank().any() else []
    symbols = {shape.symbol for shape in chart.shapes if isinstance(shape, Mark)}
    entries += [(name, SYMBOLS[name]) for name in SYMBOLS if name in symbols]
    rows: list[list[tuple[str, str]]] = []
    used = math.inf
    for sign, words in dict.fromkeys(entries):
        need = text_width(words, SIZE) + 38
        if used + need > width:
            rows.append([])
            used = 0.0
        rows[-1].append((sign, words))
        used += need
    return rows


def _legend(chart: Chart, frame: Frame, height: float) -> list[str]:
    rows = _legend_words(chart, frame.right - frame.left)
    parts = []
    for number, row in enumerate(rows):
        y, x = height - 8 - 18.0 * (len(rows) - 1 - number), frame.left
        for sign, words in row:
            parts += [_sign(sign, x + 7, y - 4), _text(x + 18, y, words, "tick")]
            x += text_width(words, SIZE) + 38
    return parts


def _sign(sign: str, x: float, y: float) -> str:
    if sign in SYMBOLS:
        return _symbol(sign, x, y, "mark")
    if sign.startswith("bar"):
        style = style_of(int(sign[3:]))
        return _rect(f"bar s{style} p{style}", x - 7, y - 6, 14, 12)
    if sign.startswith("ribbon"):
        return _rect(f"ribbon s{style_of(int(sign[6:]))}", x - 7, y - 6, 14, 12)
    if sign.startswith("whisker"):
        return _whisker(int(sign[7:]), (x - 7, y), (x + 7, y))
    if sign.startswith("dot"):
        return _dot(int(sign[3:]) if sign[3:] else None, x, y)
    if sign == "span":
        return _rect("span", x - 7, y - 2, 14, 3.5)
    if sign == "total":
        return _line("total", x - 7, y, x + 7, y)
    if sign == "nothing":
        return _rect("nothing", x - 7, y - 6, 14, 12)
    return f'<path class="ridge {sign}" d="M{x - 7:.1f} {y + 5:.1f}q7 -18 14 0z"/>'


def safe(words: str) -> str:
    """Text that no browser takes for markup, no control characters in it."""
    return escape(clean(words), quote=True)


# Ink ------------------------------------------------------------------------------------------------------------------


def _text(x: float, y: float, words: str, kind: str, *, anchor: str = "start") -> str:
    anchored = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{kind}"{anchored} x="{x:.1f}" y="{y:.1f}">{safe(words)}</text>'


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path class="{kind}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>'


def _rect(kind: str, x: float, y: float, width: float, height: float, words: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.2f}"'
    return (
        f'<rect class="{kind}" {place}><title>{safe(words)}</title></rect>'
        if words
        else f'<rect class="{kind}" {place}/>'
    )
