"""Charts as matplotlib figures: for slides and papers, in PNG, PDF and SVG.

The only place that imports matplotlib, and only inside functions: reports in text, HTML and JSON need none of it.
Figures are ``Figure`` objects with no pyplot behind them, so that drawing on a server leaves nothing open.
"""

import io
import math
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis.finding import Diagnosis, Severity
from isometry.errors import IsometryError
from isometry.report.chart import (
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
    Shape,
    Span,
    Whiskers,
    Zone,
    within,
)
from isometry.report.palette import LIGHT, SEVERITY_LIGHT, SYMBOLS, cividis, style_of
from isometry.report.pictures import album
from isometry.report.placing import layer_names, spread, text_width, ticks
from isometry.report.text import headline, healthy_sentence, tone_of, where_and_when
from isometry.report.words import clean, run_line, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Written", "encoded", "figure", "head", "placard", "poster", "told_findings"]

Numbers = NDArray[np.float64]

INK, SOFT, FAINT, HAIR, PAPER = "#14181f", "#4d5562", "#5f6775", "#e3e6ea", "#ffffff"
INPUT_SIDE, OUTPUT_SIDE = (0.722, 0.290, 0.0), (0.0, 0.396, 0.639)
NON_FINITE = "#b3134f"
FACES = ("Inter", "Noto Sans", "Source Sans 3", "Segoe UI", "Helvetica Neue", "Liberation Sans", "DejaVu Sans")
"""The first one that is installed is used; matplotlib brings the last one along."""
SIZE = 9.0
"""Type size of ticks and labels. [points]"""
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.6)), (0, (6, 2, 1, 2)), (0, (3, 1.5)), (0, (1, 1)))
MARKERS = ("o", "s", "^", "D", "x", "+")
SIGNS = {"nan": "x", "inf": "^", "zero": "v", "spike": "d"}
DOTS_PER_INCH = 160
PANEL = (6.3, 4.15)
"""Width and height of one picture of a poster. [inch]"""
MOST_PANELS = 8
PANELS_A_PAGE = 4
MOST_FINDINGS = 4


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on the sheet. [inch, from the lower left corner]"""

    left: float
    bottom: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Written:
    """A line above the pictures."""

    words: str
    tall: float
    """[inch]"""
    size: float
    """Of the type. [points]"""
    colour: str
    weight: str = "normal"


def figure(chart: Chart, *, width: float = 7.2, height: float = 4.5) -> "Figure":
    """One chart as a figure. [inch]

    Raises:
        IsometryError: matplotlib is not installed.
    """
    with _drawing():
        sheet = _sheet(width, height)
        _panel(sheet, Box(0.15, 0.1, width - 0.3, height - 0.25), chart)
    return sheet


def poster(diagnosis: Diagnosis, *, form: str) -> bytes:
    """Verdict and pictures of a diagnosis as ``placard`` draws them."""
    lead = [healthy_sentence(diagnosis)] if diagnosis.healthy else []
    told = head(run_line(diagnosis.run), tone_of(diagnosis), headline(diagnosis), lead)
    return placard([*told, *told_findings(diagnosis)], album(diagnosis).all, form=form)


def placard(told: Sequence[Written], charts: Sequence[Chart], *, form: str) -> bytes:
    """Words and pictures on one sheet (png, svg) or on several pages (pdf).

    Raises:
        IsometryError: matplotlib is not installed.
    """
    with _drawing():
        if form != "pdf":
            return encoded(_page(told, charts[:MOST_PANELS]), form)
        pages = [charts[k : k + PANELS_A_PAGE] for k in range(0, max(len(charts), 1), PANELS_A_PAGE)]
        return _pdf([_page(told if k == 0 else (), page) for k, page in enumerate(pages)])


def encoded(sheet: "Figure", form: str) -> bytes:
    """The bytes of a figure as png, pdf or svg; the same figure gives the same bytes."""
    stream = io.BytesIO()
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}
    with _drawing():
        sheet.savefig(stream, format=form, dpi=DOTS_PER_INCH, metadata=undated.get(form))
    return stream.getvalue()


@contextmanager
def _drawing() -> Iterator[None]:
    """The settings of our figures; where matplotlib is missing, that in words."""
    try:
        import matplotlib
        from matplotlib import font_manager
    except ImportError:
        raise IsometryError(
            'Figures are drawn by matplotlib, which is not installed. Install it with: pip install "isometry[plot]". '
            "Reports with the suffix .html, .json or .md need nothing."
        ) from None
    installed = set(font_manager.get_font_names())
    settings = {
        "font.family": [face for face in FACES if face in installed],
        "font.size": SIZE,
        "text.parse_math": False,  # a layer may be called $x$
        "svg.fonttype": "path",
        "svg.hashsalt": "isometry",
        "pdf.fonttype": 42,
        "hatch.linewidth": 0.5,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():  # type: ignore[arg-type]
        # A name in a script that no installed face covers shows boxes; the table in the page has it in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _sheet(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sheet = Figure(figsize=(width, height), facecolor=PAPER)
    FigureCanvasAgg(sheet)
    return sheet


def _pdf(sheets: Sequence["Figure"]) -> bytes:
    from matplotlib.backends.backend_pdf import PdfPages

    stream = io.BytesIO()
    with PdfPages(stream, metadata={"CreationDate": None}) as pages:
        for sheet in sheets:
            pages.savefig(sheet)
    return stream.getvalue()


# The sheet ------------------------------------------------------------------------------------------------------------


def _page(told: Sequence[Written], charts: Sequence[Chart]) -> "Figure":
    """Pictures in two columns, words above them."""
    wide, tall = PANEL
    across = min(2, max(len(charts), 1))
    rows = math.ceil(len(charts) / across) if charts else 0
    width = 2 * wide + 0.9
    top = 0.35 + sum(line.tall for line in told)
    height = top + rows * (tall + 0.2) + 0.25
    sheet = _sheet(width, max(height, 2.0))
    height = max(height, 2.0)
    _write(sheet, told, height)
    wide = wide if across == 2 else width - 0.9
    for place, chart in enumerate(charts):
        row, column = divmod(place, across)
        box = Box(0.35 + column * (wide + 0.2), height - top - (row + 1) * (tall + 0.2) + 0.1, wide, tall)
        _panel(sheet, box, chart)
    return sheet


def head(facts: Sequence[str], tone: str, title: str, leads: Sequence[str]) -> list[Written]:
    """Facts, the verdict in the colour of its severity, and the sentences beneath."""
    return [
        Written("isometry   ·   " + "   ·   ".join(facts), 0.42, 10.0, SOFT),
        *(Written(line, 0.48, 25.0, SEVERITY_LIGHT[tone], "bold") for line in textwrap.wrap(title, 66)),
        *(Written(line, 0.3, 13.0, INK) for lead in leads for line in textwrap.wrap(clean(lead), 125)),
        Written("", 0.12, 1.0, INK),
    ]


def told_findings(diagnosis: Diagnosis) -> list[Written]:
    """The first findings, each with its summary."""
    order = diagnosis.run.architecture.names
    lines = []
    for finding in diagnosis.findings[:MOST_FINDINGS]:
        severity = Severity(finding.severity).name
        where = ", ".join(where_and_when(finding, order))
        title = f"{severity}  {titled(finding)}   ·   {where}"
        lines.append(Written(title, 0.27, 11.0, SEVERITY_LIGHT[severity], "bold"))
        lines += [Written(line, 0.25, 11.0, INK) for line in textwrap.wrap(clean(finding.summary), 150)]
        lines.append(Written("", 0.1, 1.0, INK))
    left = len(diagnosis.findings) - MOST_FINDINGS
    return [*lines, Written(f"and {left} more", 0.25, 10.0, SOFT)] if left > 0 else lines


def _write(sheet: "Figure", lines: Sequence[Written], height: float) -> None:
    width = sheet.get_figwidth()
    at = height - 0.25
    for line in lines:
        at -= line.tall
        place = 0.35 / width, (at + line.tall * 0.25) / height
        sheet.text(*place, line.words, fontsize=line.size, color=line.colour, fontweight=line.weight)


def _panel(sheet: "Figure", box: Box, chart: Chart) -> None:
    """Title, reading and the drawing of one chart."""
    title = textwrap.wrap(chart.title, int(box.width * 72 / (12.5 * 0.56)))[:3]
    reading = textwrap.wrap(chart.reading, int(box.width * 72 / (SIZE * 0.52)))[:2]
    top = box.bottom + box.height
    width, height = sheet.get_size_inches()
    top -= 0.2
    for line in title:
        sheet.text(box.left / width, top / height, line, fontsize=12.5, fontweight="bold", color=INK)
        top -= 0.22
    for line in reading:
        sheet.text(box.left / width, top / height, line, fontsize=SIZE, color=SOFT)
        top -= 0.17
    _draw(sheet, Box(box.left, box.bottom, box.width, top - box.bottom), chart)


# The axes -------------------------------------------------------------------------------------------------------------


def _inches(text: str, size: float = SIZE) -> float:
    return text_width(text, size) / 72


def _draw(sheet: "Figure", box: Box, chart: Chart) -> None:
    x, y = within(chart)
    upright = chart.y.scale == "layers"
    entries = _legend_entries(chart)
    rows = _rows([words for _, words in entries], box.width - 0.8)
    right = _right(chart)
    leaning = 0.0
    names = layer_names(chart.x.names, length=(box.width - 0.8 - right) * 72, size=SIZE)
    if names.leaning:
        leaning = max(_inches(tick.words) for tick in names.ticks) * 0.64
    beneath = 0.54 + leaning + 0.19 * rows
    above = 0.12 + (0.16 if chart.of(Rule) else 0.0)
    tall = max(box.height - beneath - above, 0.6)
    beside = (
        layer_names(chart.y.names, length=tall * 72, size=SIZE, upright=True).ticks
        if upright
        else tuple(ticks(chart.y, *y, most=7))
    )
    left = 0.34 + max([_inches(tick.words.partition(" · ")[0]) for tick in beside], default=0.3)
    width, height = sheet.get_size_inches()
    wide = box.width - left - right
    axes = sheet.add_axes(
        ((box.left + left) / width, (box.bottom + beneath) / height, wide / width, tall / height), facecolor=PAPER
    )
    axes.set_xlim(*x)
    axes.set_ylim(*((y[1], y[0]) if upright else y))
    _dress(axes, chart, names, beside, left)
    for shape in chart.shapes:
        _shape(axes, shape, chart)
    _ends(axes, chart)
    if entries:
        axes.legend(
            [handle for handle, _ in entries],
            [words for _, words in entries],
            loc="upper left",
            bbox_to_anchor=(0, -(0.47 + leaning) / tall),
            ncols=max(1, math.ceil(len(entries) / max(rows, 1))),
            frameon=False,
            fontsize=SIZE - 0.5,
            labelcolor=SOFT,
            handlelength=1.3,
            borderaxespad=0,
            columnspacing=1.4,
            handletextpad=0.5,
        )
    for heat in chart.shapes:
        if isinstance(heat, Heat):
            _colour_bar(sheet, Box(box.left + left + wide + 0.18, box.bottom + beneath, 0.14, tall), heat)


def _rows(words: Sequence[str], width: float) -> int:
    """Lines that a legend needs."""
    if not words:
        return 0
    widest = max(_inches(text) + 0.4 for text in words)
    return math.ceil(len(words) / max(1, int(width / widest)))


def _right(chart: Chart) -> float:
    if chart.of(Heat):
        return 1.15
    if chart.of(Ridges):
        return 0.15
    said = [shape.words for shape in chart.shapes if isinstance(shape, Line) and shape.role != "implied"]
    return 0.25 + min(1.8, max((_inches(words) * 1.08 for words in said), default=0.0))


def _dress(axes: "Axes", chart: Chart, names: Any, beside: Any, left: float) -> None:
    """Ticks, their words, grid and titles of the axes."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.tick_params(axis="y", length=0, colors=SOFT, labelsize=SIZE)
    axes.tick_params(axis="x", length=3, colors=SOFT, labelsize=SIZE)
    axes.set_axisbelow(True)
    below = names.ticks if chart.x.scale == "layers" else ticks(chart.x, *axes.get_xlim(), most=7)
    axes.set_xticks([tick.at for tick in below], [tick.words for tick in below])
    if names.leaning:
        for label in axes.get_xticklabels():
            label.set(rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks([tick.at for tick in beside], [tick.words.partition(" · ")[0] for tick in beside])
    if chart.y.scale != "layers":
        axes.grid(axis="y", color=HAIR, linewidth=0.7)
    for tick in beside:
        meaning = tick.words.partition(" · ")[2] if tick.remark else ""
        if meaning:
            _note(axes, tick.at, meaning)
    axes.set_xlabel(chart.x.title, color=FAINT, fontsize=SIZE, labelpad=4)
    axes.annotate(
        chart.y.title,
        (0, 0.5),
        xycoords="axes fraction",
        xytext=(-left * 72 + 8, 0),
        textcoords="offset points",
        rotation=90,
        ha="center",
        va="center",
        color=FAINT,
        fontsize=SIZE,
    )


def _note(axes: "Axes", at: float, words: str) -> None:
    """Words at the right edge, above a height of the y axis."""
    _said(
        axes,
        words,
        (1, at),
        xycoords=("axes fraction", "data"),
        xytext=(-3, 2.5),
        textcoords="offset points",
        ha="right",
    )


def _said(axes: "Axes", words: str, at: tuple[float, float], **how: Any) -> None:
    """Words on the picture, with some paper round them."""
    from matplotlib import patheffects

    halo = [patheffects.withStroke(linewidth=2.5, foreground=PAPER)]
    axes.annotate(words, at, fontsize=SIZE - 1, color=FAINT, zorder=6, path_effects=halo, **how)


# The shapes -----------------------------------------------------------------------------------------------------------


def _colour(shape: Line) -> Any:
    if shape.shade is None:
        return LIGHT[style_of(shape.style)]
    return tuple(a + (b - a) * shape.shade for a, b in zip(INPUT_SIDE, OUTPUT_SIDE, strict=True))


def _shape(axes: "Axes", shape: Shape, chart: Chart) -> None:
    match shape:
        case Line():
            _line(axes, shape, chart)
        case Points():
            x, y = chart.x.placed(shape.x), chart.y.placed(shape.y)
            axes.plot(x, y, ls="none", **_dot(shape))
        case Ribbon():
            low, high = chart.y.placed(shape.low), chart.y.placed(shape.high)
            axes.fill_between(chart.x.placed(shape.x), low, high, color=LIGHT[style_of(shape.style)], alpha=0.16, lw=0)
        case Whiskers():
            _whiskers(axes, shape, chart)
        case Note():
            place = float(chart.x.placed(np.array(shape.x))), float(chart.y.placed(np.array(shape.y)))
            aside = {"ha": "right", "xytext": (-6, 0)} if shape.side == "left" else {"ha": "center", "xytext": (0, 0)}
            _said(axes, shape.words, place, textcoords="offset points", va="center", **aside)
        case Zone():
            low, high = chart.y.placed(np.array([shape.low, shape.high]))
            axes.axhspan(low, high, color=LIGHT[0], alpha=0.09, lw=0)
            if axes.get_ylim()[0] < low < axes.get_ylim()[1]:
                _note(axes, float(low), shape.words)
        case Level():
            at = float(chart.y.placed(np.array(shape.at)))
            if axes.get_ylim()[0] <= at <= axes.get_ylim()[1]:
                axes.axhline(at, color=FAINT, lw=0.7, ls=(0, (1, 4)))
                _note(axes, at, shape.words)
        case Rule():
            _rule(axes, shape, float(chart.x.placed(np.array(shape.at))))
        case Span():
            across = axes.get_xaxis_transform()
            axes.plot(
                [shape.first - 0.4, shape.last + 0.4],
                [0, 0],
                color=SEVERITY_LIGHT["STOPS"],
                lw=3,
                transform=across,
                clip_on=False,
                solid_capstyle="butt",
                zorder=5,
            )
        case Mark():
            height = 0.04 if shape.symbol == "zero" else 0.96
            _sign(axes, shape.symbol, float(chart.x.placed(np.array(shape.x))), height)
        case Bars():
            _bars(axes, shape)
        case Heat():
            _heat(axes, shape, chart)
        case Ridges():
            _ridges(axes, shape, chart)


def _whiskers(axes: "Axes", shape: Whiskers, chart: Chart) -> None:
    style = style_of(shape.style)
    (x1, y1), (x2, y2) = ((chart.x.placed(x), chart.y.placed(y)) for x, y in shape.ends)
    ends = "_" if shape.along == "y" else "|"
    axes.plot([x1, x2], [y1, y2], color=LIGHT[style], lw=1.3, marker=ends, ms=6, mew=1.3, zorder=2.8)


def _dot(shape: Points) -> dict[str, Any]:
    if shape.style is None:
        return {"marker": "d", "mfc": "none", "mec": FAINT, "mew": 0.7, "ms": 4, "alpha": 0.8}
    style = style_of(shape.style)
    return {"marker": MARKERS[style], "mfc": PAPER, "mec": LIGHT[style], "mew": 1.1, "ms": 4.6, "zorder": 3.5}


def _line(axes: "Axes", shape: Line, chart: Chart) -> None:
    style = style_of(shape.style)
    thin = shape.role == "context"
    axes.plot(
        chart.x.placed(shape.x),
        chart.y.placed(shape.y),
        color=FAINT if shape.role == "implied" else _colour(shape),
        ls=(0, (1, 2)) if shape.role == "implied" else "-" if thin else DASHES[style],
        lw=0.8 if thin else 1.9,
        alpha=0.55 if thin else 1,
        marker=MARKERS[style] if shape.markers else None,
        ms=4.6,
        mfc=PAPER,
        mew=1.4,
        zorder=2.5 if thin else 3,
    )
    if shape.role == "implied" and len(shape.x):
        x, y = float(chart.x.placed(shape.x)[0]), float(chart.y.placed(shape.y)[0])
        axes.annotate(shape.words, (x, y), xytext=(8, 5), textcoords="offset points", fontsize=SIZE - 1, color=FAINT)


def _rule(axes: "Axes", shape: Rule, at: float) -> None:
    red = SEVERITY_LIGHT["STOPS"]
    axes.axvline(at, color=red, lw=1, ls=(0, (4, 3)), zorder=4)
    late = at > sum(axes.get_xlim()) / 2
    axes.annotate(
        shape.words,
        (at, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-2 if late else 2, 3),
        textcoords="offset points",
        ha="right" if late else "left",
        color=red,
        fontsize=SIZE - 0.5,
        fontweight="bold",
    )


def _sign(axes: "Axes", symbol: str, x: float, y: float, *, size: float = 6, on_map: bool = False) -> None:
    colour = PAPER if on_map else FAINT if symbol == "zero" else NON_FINITE
    axes.plot(
        [x],
        [y],
        marker=SIGNS[symbol],
        ms=size,
        mec=colour,
        mfc=colour if symbol == "inf" else "none",
        mew=1.4,
        ls="none",
        transform=axes.transData if on_map else axes.get_xaxis_transform(),
        clip_on=False,
        zorder=6,
    )


def _bars(axes: "Axes", shape: Bars) -> None:
    count = len(shape.parts[0].values) if shape.parts else 0
    at, up, down = np.arange(count), np.zeros(count), np.zeros(count)
    for style, part in enumerate(shape.parts):
        values = np.nan_to_num(part.values, nan=0.0, posinf=0.0, neginf=0.0)
        base = np.where(values >= 0, up, down)
        axes.bar(
            at,
            values,
            0.72,
            bottom=base,
            color=LIGHT[style_of(style)],
            hatch=HATCHES[style % len(HATCHES)],
            edgecolor=PAPER,
            lw=0,
        )
        up, down = up + np.maximum(values, 0), down + np.minimum(values, 0)
    axes.axhline(0, color=FAINT, lw=0.9)
    if shape.totals is not None:
        axes.hlines(shape.totals, at - 0.4, at + 0.4, color=INK, lw=2)


HATCHES = ("", "", "////", "....", "xx", "")
"""Beside the colours, so that stacked bars can be told apart in grey."""


def _ridges(axes: "Axes", shape: Ridges, chart: Chart) -> None:
    most = max((float(np.nanmax(ridge.density)) for ridge in shape.ridges if ridge.density.size), default=1.0) or 1.0
    for ridge in shape.ridges:
        x, base = chart.x.placed(ridge.x), ridge.row + 0.38
        tops = base - ridge.density / most * 1.15
        axes.fill_between(x, base, tops, color=LIGHT[0], alpha=0.3, lw=0, zorder=3 + ridge.row * 0.01)
        axes.plot(x, tops, color=LIGHT[0], lw=1.3, zorder=3 + ridge.row * 0.01)
        if ridge.before is not None:
            axes.plot(
                x,
                base - ridge.before / most * 1.15,
                color=LIGHT[2],
                lw=1.1,
                ls=(0, (4, 2)),
                zorder=3 + ridge.row * 0.01,
            )


def _heat(axes: "Axes", shape: Heat, chart: Chart) -> None:
    low, high = shape.limits()
    share = (shape.colour.placed(shape.values) - low) / (high - low)
    picture = np.full((*share.shape, 3), 0.82)
    known = np.isfinite(share)
    picture[known] = cividis(256)[np.clip(share[known] * 256, 0, 255).astype(int)] / 255
    for flags, colour in ((shape.zero, (0, 0, 0)), (shape.nan, (0.84, 0.15, 0.39)), (shape.inf, (0.94, 0.47, 0.67))):
        picture[flags] = colour
    left, right = chart.x.placed(shape.edges[[0, -1]])
    rows = share.shape[0]
    axes.imshow(picture, aspect="auto", interpolation="nearest", extent=(left, right, rows - 0.5, -0.5))
    axes.set_xlim(left, right)
    axes.set_ylim(rows - 0.5, -0.5)
    middles = (shape.edges[:-1] + shape.edges[1:]) / 2
    for name in ("zero", "nan", "inf"):
        taken = set()
        for row, column in zip(*np.nonzero(getattr(shape, name)), strict=True):
            cell = int(column * 24 / share.shape[1]), int(row * 14 / rows)
            if cell not in taken:
                taken.add(cell)
                _sign(axes, name, float(middles[column]), float(row), size=4, on_map=True)


def _colour_bar(sheet: "Figure", box: Box, shape: Heat) -> None:
    low, high = shape.limits()
    width, height = sheet.get_size_inches()
    axes = sheet.add_axes((box.left / width, box.bottom / height, box.width / width, box.height / height))
    axes.imshow(cividis(256)[:, None, :], aspect="auto", origin="lower", extent=(0, 1, low, high))
    axes.set_xticks([])
    found = ticks(shape.colour, low, high, most=6)
    axes.yaxis.tick_right()
    axes.set_yticks([tick.at for tick in found], [tick.words for tick in found])
    axes.tick_params(axis="y", length=0, colors=SOFT, labelsize=SIZE)
    axes.yaxis.set_label_position("right")
    axes.set_ylabel(shape.colour.title, color=FAINT, fontsize=SIZE)
    for side in axes.spines.values():
        side.set_visible(False)


def _ends(axes: "Axes", chart: Chart) -> None:
    """Names of the curves at their ends, moved apart where they would touch."""
    shown = []
    for shape in chart.shapes:
        if isinstance(shape, Line) and shape.words and shape.role != "implied":
            x, y = chart.x.placed(shape.x), chart.y.placed(shape.y)
            known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
            if known.size:
                shown.append((shape, float(x[known[-1]]), float(y[known[-1]])))
    low, high = axes.get_ylim()
    tall = axes.get_window_extent().height / axes.figure.dpi * 72
    gap = (SIZE + 2) * (high - low) / tall
    heights = spread([end for _, _, end in shown], gap, low + gap / 2, high - gap / 3)
    for (shape, across, up), height in zip(shown, heights, strict=True):
        moved = abs(height - up) > gap / 2
        axes.annotate(
            shape.words,
            (across, up),
            xycoords="data",
            xytext=(1.02, height),
            textcoords=("axes fraction", "data"),
            color=_colour(shape),
            fontsize=SIZE,
            fontweight="normal" if shape.role == "context" else "bold",
            va="center",
            ha="left",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": HAIR, "lw": 0.8, "shrinkA": 0, "shrinkB": 4} if moved else None,
        )


def _legend_entries(chart: Chart) -> list[tuple[Any, str]]:
    """(handle, words) for what is not labelled where it stands."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    entries: list[tuple[Any, str]] = []

    def sign(marker: str, **how: Any) -> Any:
        return Line2D([], [], marker=marker, ls="none", ms=5.5, **how)

    for shape in chart.shapes:
        match shape:
            case Bars() if len(shape.parts) > 1:
                for k, part in enumerate(shape.parts):
                    patch = Patch(facecolor=LIGHT[style_of(k)], hatch=HATCHES[k % len(HATCHES)], edgecolor=PAPER, lw=0)
                    entries.append((patch, part.words))
                if shape.totals is not None:
                    entries.append((Line2D([], [], color=INK, lw=2), "all together"))
            case Ridges():
                entries.append((Patch(facecolor=LIGHT[0], alpha=0.35), shape.words))
                if shape.before:
                    entries.append((Line2D([], [], color=LIGHT[2], ls=(0, (4, 2)), lw=1.2), shape.before))
            case Ribbon() if shape.words:
                entries.append((Patch(facecolor=LIGHT[style_of(shape.style)], alpha=0.2), shape.words))
            case Whiskers() if shape.words:
                ends = "|" if shape.along == "x" else "_"
                colour = LIGHT[style_of(shape.style)]
                entries.append((Line2D([], [], color=colour, lw=1.3, marker=ends, ms=6, mew=1.3), shape.words))
            case Points() if shape.words:
                entries.append((Line2D([], [], ls="none", **_dot(shape)), shape.words))
            case Span():
                entries.append((Line2D([], [], color=SEVERITY_LIGHT["STOPS"], lw=3), shape.words))
            case Heat():
                told = [name for name in ("nan", "inf", "zero") if getattr(shape, name).any()]
                entries += [(sign(SIGNS[name], color=NON_FINITE), SYMBOLS[name]) for name in told]
                if shape.blank().any():
                    entries.append((Patch(facecolor="#d1d1d1"), "not recorded"))
            case Mark():
                colour = FAINT if shape.symbol == "zero" else NON_FINITE
                filled = colour if shape.symbol == "inf" else "none"
                entries.append((sign(SIGNS[shape.symbol], mec=colour, mfc=filled, mew=1.4), SYMBOLS[shape.symbol]))
            case _:
                pass
    seen: dict[str, Any] = {}
    for handle, words in entries:
        seen.setdefault(words, handle)
    return [(handle, words) for words, handle in seen.items()]
