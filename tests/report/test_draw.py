"""Figures: what stands in them, and that nothing is left open behind them."""

import re
import sys

import numpy as np
import pytest

from isometry.errors import NotRecorded
from isometry.report.chart import Axis, Chart, Points, Rule
from isometry.report.draw import encoded, figure, poster
from isometry.report.plot import plots
from isometry.report.svg import svg
from tests.report.drawn import RUNS, diagnosed, tiny, vanishing

matplotlib = pytest.importorskip("matplotlib")
QUICK = ("breaking",)


@pytest.mark.parametrize("plot", plots(), ids=lambda plot: plot.name)
@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in RUNS])
def test_every_chart_can_be_drawn(name, plot):
    run = RUNS[name]()
    try:
        chart = plot(run)
    except NotRecorded:
        return
    assert encoded(figure(chart), "png").startswith(b"\x89PNG")


def test_the_title_carries_the_message():
    depth = next(plot for plot in plots() if plot.name == "delta-by-depth")
    written = [text.get_text() for text in figure(depth(vanishing())).texts]
    assert "δ falls by 6.0 decades from fc11 to fc1, at step 0" in written


@pytest.mark.slow
def test_every_word_lies_on_the_sheet():
    for plot in plots():
        try:
            sheet = figure(plot(vanishing()))
        except NotRecorded:
            continue
        sheet.canvas.draw()
        width = sheet.get_figwidth() * sheet.dpi
        for axes in sheet.axes:
            for text in [*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label]:
                if text.get_text():
                    box = text.get_window_extent()
                    assert box.x0 >= -2, (plot.name, text.get_text())
                    assert box.x1 <= width + 2, (plot.name, text.get_text())
                    assert box.y0 >= -2, (plot.name, text.get_text())


def test_dollars_in_names_are_no_formulas():
    chart = next(plot for plot in plots() if plot.name == "delta-by-depth")(RUNS["hostile"]())
    figure(chart).canvas.draw()


@pytest.mark.slow
def test_drawing_leaves_no_state_behind():
    before = dict(matplotlib.rcParams)
    poster(diagnosed(tiny()), form="pdf")
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_charts_hold_numbers_not_ink():
    for plot in plots():
        try:
            chart = plot(vanishing())
        except NotRecorded:
            continue
        assert chart.name == plot.name
        assert chart.title and chart.alt and chart.reading
        assert all(len(row) == len(chart.table.columns) for row in chart.table.rows)
        assert all(isinstance(cell, str) for row in chart.table.rows for cell in row)
        assert np.isfinite([edge for shape in chart.shapes for edge in getattr(shape, "edges", [])]).all()


def test_a_mark_across_a_log_axis_stands_where_its_value_does() -> None:
    x = np.array([1.0, 10.0, 100.0])
    chart = Chart(
        title="A rule",
        reading="Read it.",
        x=Axis("size", scale="log"),
        y=Axis("height"),
        shapes=(Points("", x, x, style=0), Rule(10.0, "here")),
        alt="Three points.",
    )
    (axes, *_) = figure(chart).axes
    (rule,) = [line for line in axes.lines if len(set(line.get_xdata())) == 1 and len(line.get_xdata()) == 2]
    assert rule.get_xdata()[0] == pytest.approx(1.0)
    drawn = svg(chart, identifier="one")
    (place,) = re.findall(r'class="rule" d="M([\d.]+) ', drawn)
    assert place in re.findall(r'<circle[^>]* cx="([\d.]+)"', drawn)
