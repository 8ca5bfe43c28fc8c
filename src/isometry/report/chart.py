"""A picture as data: shapes, axes with units and words, a sentence for those who cannot see it, and its numbers.

Nothing here knows ink. ``draw.py`` makes matplotlib figures of charts, ``svg.py`` vector pictures for the page.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Axis",
    "Bars",
    "Chart",
    "Heat",
    "Level",
    "Line",
    "Mark",
    "Note",
    "Part",
    "Points",
    "Ribbon",
    "Ridge",
    "Ridges",
    "Rule",
    "Shape",
    "Span",
    "Symbol",
    "Table",
    "Whiskers",
    "Zone",
    "within",
]

Numbers = NDArray[np.float64]
Symbol = Literal["nan", "inf", "zero", "spike"]
"""``nan`` ✕, ``inf`` ▲, ``zero`` ▽: what a scale cannot place is shown by a sign at its edge, never left out."""


@dataclass(frozen=True, slots=True)
class Axis:
    """What one direction of the picture means."""

    words: str
    unit: str = ""
    scale: Literal["linear", "log", "layers"] = "linear"
    """``layers``: positions 0, 1, 2 … are the ``names``."""
    names: tuple[str, ...] = ()
    remarks: tuple[tuple[float, str], ...] = ()
    """(value, words): what a number on the scale means, ``(1e-9, "vanished")``."""
    low: float | None = None
    high: float | None = None

    @property
    def title(self) -> str:
        """Words and unit as they stand beside the axis."""
        return f"{self.words}  [{self.unit}]" if self.unit else self.words

    def placed(self, values: Numbers) -> Numbers:
        """Where values stand on the axis: log10 on a log axis, NaN for what has no place there."""
        values = np.asarray(values, dtype=np.float64)
        if self.scale != "log":
            return np.where(np.isfinite(values), values, np.nan)
        positive = np.isfinite(values) & (values > 0)
        return np.log10(values, out=np.full(values.shape, np.nan), where=positive)


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A curve. Gaps (NaN) interrupt it."""

    words: str
    x: Numbers
    y: Numbers
    style: int = 0
    """Which colour, dash and marker of the set; the same number means the same thing within one chart."""
    role: Literal["main", "context", "implied"] = "main"
    """``context`` steps back; ``implied`` was computed, not measured, and is dotted."""
    markers: bool = False
    shade: float | None = None
    """0 (input side) to 1 (output side): colour it by depth instead of by ``style``."""


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Values that no line joins."""

    words: str
    """Stand in the legend, unless empty."""
    x: Numbers
    y: Numbers
    style: int | None = None
    """As for lines; without one they step back."""


@dataclass(frozen=True, slots=True, eq=False)
class Ribbon:
    """The area between two curves."""

    words: str
    x: Numbers
    low: Numbers
    high: Numbers
    style: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Whiskers:
    """Ranges, one beside the other, each of its own."""

    words: str
    """Stand in the legend, unless empty."""
    at: Numbers
    low: Numbers
    high: Numbers
    along: Literal["x", "y"] = "y"
    """The axis on which ``low`` and ``high`` lie; ``at`` lies on the other."""
    style: int = 0

    @property
    def ends(self) -> tuple[tuple[Numbers, Numbers], tuple[Numbers, Numbers]]:
        """(x, y) of the lower ends and of the upper ones."""
        if self.along == "y":
            return (self.at, self.low), (self.at, self.high)
        return (self.low, self.at), (self.high, self.at)


@dataclass(frozen=True, slots=True)
class Note:
    """Words at a place of the picture."""

    x: float
    y: float
    words: str
    side: Literal["over", "left"] = "over"
    """Whether their middle is at the place, or their end just left of it."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A range of the y axis with a meaning: ``usual`` from 1e-4 to 1e-2."""

    low: float
    high: float
    words: str


@dataclass(frozen=True, slots=True)
class Level:
    """One value of the y axis with a meaning."""

    at: float
    words: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One place of the x axis with a meaning: the step since when something holds."""

    at: float
    words: str


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the x axis: the layers that a finding is about."""

    first: float
    last: float
    words: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A value that the scale cannot place, shown at its edge."""

    x: float
    symbol: Symbol
    words: str


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One series of stacked bars."""

    words: str
    values: Numbers


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Bars at positions 0, 1, 2 …; several parts are stacked, upwards and downwards from zero."""

    parts: tuple[Part, ...]
    totals: Numbers | None = None
    """What the parts add up to, marked on each bar."""


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """Values over a grid, rows as on the y axis, first row on top."""

    values: Numbers
    """shape (rows, columns); NaN where nothing was recorded"""
    edges: Numbers
    """Where the columns begin and end on the x axis. shape (columns + 1)"""
    colour: Axis
    nan: NDArray[np.bool_]
    inf: NDArray[np.bool_]
    zero: NDArray[np.bool_]
    """Exactly zero: has no logarithm, is no missing value either."""

    def limits(self) -> tuple[float, float]:
        """Placed ends of the colour scale, at least one decade or unit apart."""
        placed = self.colour.placed(self.values)
        known = placed[np.isfinite(placed)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        return (low, high) if high - low >= 1 else ((low + high) / 2 - 0.5, (low + high) / 2 + 0.5)

    def blank(self) -> NDArray[np.bool_]:
        """Cells that nothing was recorded for."""
        empty: NDArray[np.bool_] = ~np.isfinite(self.colour.placed(self.values)) & ~self.nan & ~self.inf & ~self.zero
        return empty


@dataclass(frozen=True, slots=True, eq=False)
class Ridge:
    """The distribution of one row."""

    row: int
    x: Numbers
    density: Numbers
    """Share of elements in each bin; at most 1"""
    before: Numbers | None = None
    """The same at the first recorded step."""


@dataclass(frozen=True, slots=True, eq=False)
class Ridges:
    """Distributions one above the other, first row on top."""

    ridges: tuple[Ridge, ...]
    words: str = ""
    before: str = ""


Shape = Line | Points | Ribbon | Whiskers | Note | Zone | Level | Rule | Span | Mark | Bars | Heat | Ridges


@dataclass(frozen=True, slots=True)
class Table:
    """The numbers behind a picture, short enough to be read."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture."""

    title: str
    """The message, with its number."""
    reading: str
    """How to read the picture, in one sentence."""
    x: Axis
    y: Axis
    shapes: tuple[Shape, ...]
    alt: str
    """What the picture shows, for those who do not see it."""
    table: Table = field(default_factory=lambda: Table((), ()))
    name: str = ""
    """Stamped by the ``plot`` decorator."""

    def of(self, kind: type) -> list[Shape]:
        """The shapes of one kind."""
        return [shape for shape in self.shapes if isinstance(shape, kind)]


RIDGES_BEGIN = -0.95
"""Upper limit of an axis of ridges: the first of them reaches beyond its row."""


def within(chart: Chart) -> tuple[tuple[float, float], tuple[float, float]]:
    """The placed limits ((left, right), (bottom, top)) that show everything in a chart with some air."""
    x, y = _limits(chart.x, _x_values(chart), air=0.02), _limits(chart.y, _y_values(chart), air=0.06)
    return x, ((RIDGES_BEGIN, y[1]) if chart.of(Ridges) else y)


def _limits(axis: Axis, values: list[Numbers], air: float) -> tuple[float, float]:
    if axis.scale == "layers":
        return -0.6, max(len(axis.names), 1) - 0.4
    placed = [axis.placed(part).ravel() for part in values] or [np.array([])]
    together = np.concatenate(placed)
    together = together[np.isfinite(together)]
    low, high = (float(together.min()), float(together.max())) if together.size else (0.0, 1.0)
    if axis.low is not None:
        low = float(axis.placed(np.array(axis.low)))
    if axis.high is not None:
        high = float(axis.placed(np.array(axis.high)))
    least = 1.0 if axis.scale == "log" else max(abs(high), abs(low), 1e-9) * 0.05
    if high - low < least:
        middle = (high + low) / 2
        low, high = middle - least / 2, middle + least / 2
    margin = (high - low) * air
    return (low if axis.low is not None else low - margin), (high if axis.high is not None else high + margin)


def _x_values(chart: Chart) -> list[Numbers]:
    found: list[Numbers] = []
    for shape in chart.shapes:
        match shape:
            case Line() | Points() | Ribbon():
                found.append(shape.x)
            case Whiskers():
                found += [end[0] for end in shape.ends]
            case Heat():
                found.append(shape.edges)
            case Ridges():
                found += [ridge.x for ridge in shape.ridges]
            case Mark():
                found.append(np.array([shape.x]))
            case _:
                pass
    return found


def _y_values(chart: Chart) -> list[Numbers]:
    found: list[Numbers] = []
    for shape in chart.shapes:
        match shape:
            case Line() | Points():
                found.append(shape.y)
            case Ribbon():
                found += [shape.low, shape.high]
            case Whiskers():
                found += [end[1] for end in shape.ends]
            case Bars():
                found += _stacked(shape)
            case _:
                pass
    return found


def _stacked(bars: Bars) -> list[Numbers]:
    """The ends of the stacks, upwards and downwards."""
    values = np.array([np.nan_to_num(part.values, nan=0.0, posinf=0.0, neginf=0.0) for part in bars.parts])
    return [np.where(values > 0, values, 0).sum(axis=0), np.where(values < 0, values, 0).sum(axis=0)]
