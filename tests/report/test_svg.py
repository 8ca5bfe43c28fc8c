"""Charts as SVG: what the ink of a page is."""

import re

import numpy as np

from isometry.report.chart import Axis, Chart, Line, Points, Table
from isometry.report.placing import text_width
from isometry.report.svg import SIZE, svg

X = np.arange(3.0)


def drawn(*shapes, x=None, y=None):
    x, y = x or Axis("step"), y or Axis("loss")
    chart = Chart(title="t", reading="r", x=x, y=y, shapes=shapes, alt="a", table=Table(("a",), ()), name="n")
    return svg(chart, identifier="c")


def test_markers_have_the_colour_of_their_curve():
    """One of a row of layers has a shade between two colours; its markers had another one."""
    ink = drawn(*(Line(f"l{k}", X, X + k, style=k, shade=k / 2, markers=True) for k in range(3)))
    for share in ("100%", "50%", "0%"):
        assert ink.count(f"var(--in) {share}") == 2 + len(X)  # the curve and its label
    plain = drawn(Line("l", X, X, style=1, markers=True))
    assert "color-mix" not in plain
    assert plain.count('class="marker s1"') == len(X)


def test_a_long_title_of_an_axis_stays_within_the_drawing():
    names = ("untreated", "critical initialisation (σ_w 1.41)")
    words = "score: minus the mean loss over the last tenth of the steps; higher is better"
    shape = Points("", np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    ink = drawn(shape, x=Axis(words), y=Axis("", scale="layers", names=names))
    centre = float(re.search(r'text-anchor="middle" x="([\d.]+)" y="[\d.]+">score', ink)[1])
    reach = text_width(words, SIZE) / 2
    assert centre + reach <= 640 + 0.1  # as it is written
    short = drawn(shape, x=Axis("score"), y=Axis("", scale="layers", names=names))
    assert float(re.search(r'x="([\d.]+)" y="[\d.]+">score', short)[1]) > centre
