"""δ along depth: what the picture holds and says."""

import numpy as np
import pytest

from isometry.errors import NotRecorded
from isometry.report.chart import Level, Line, Mark, Points
from isometry.report.plots.delta_by_depth import delta_by_depth
from tests.report.drawn import breaking, empty, residual, underflowing, vanishing
from tests.runs import make_run


def test_the_title_says_how_many_decades_are_lost_between_which_layers():
    chart = delta_by_depth(vanishing())
    assert chart.title == "δ falls by 6.0 decades from fc11 to fc1, at step 0"


def test_a_rescaled_loss_changes_the_height_but_not_the_message():
    rms = np.logspace(-6, -1, 8)
    titles = {delta_by_depth(make_run(delta_rms=factor * rms)).title for factor in (1e-12, 1.0, 1e6)}
    assert len(titles) == 1


def test_the_first_the_middle_and_the_last_step_are_shown():
    lines = [shape for shape in delta_by_depth(vanishing()).shapes if isinstance(shape, Line)]
    assert [line.words for line in lines] == ["step 0", "step 50", "step 99"]
    assert len({line.style for line in lines}) == 3


def test_the_title_is_of_the_step_in_which_it_shows():
    """δ explodes from step 1 on, so that step 0 would say that all is well."""
    level, steep = np.zeros(8), np.linspace(9, 0, 8)
    chart = delta_by_depth(make_run(delta_rms=10.0 ** np.array([level, steep, steep, steep])))
    assert chart.title == "δ grows by 9.0 decades from fc8 to fc1, at step 1"


def test_a_step_between_those_shown_that_tells_more_is_shown_as_well():
    level, steep = np.zeros(8), np.linspace(9, 0, 8)
    chart = delta_by_depth(make_run(delta_rms=10.0 ** np.array([level, steep, level, level, level])))
    assert chart.title == "δ grows by 9.0 decades from fc8 to fc1, at step 1"
    assert [line.words for line in chart.of(Line)] == ["step 0", "step 1", "step 2", "step 4"]


def test_widths_do_not_tilt_the_profile():
    count = np.array([1e6, 1e4, 1e2])
    chart = delta_by_depth(make_run(delta_rms=1 / np.sqrt(count), delta_count=count))
    assert chart.title.startswith("δ keeps its size")


def test_underflow_is_told_as_such_with_the_slope_that_it_implies():
    chart = delta_by_depth(underflowing())
    assert "falls below float32's range at fc6" in chart.title
    assert "implies −45.5 decades" in chart.title
    implied = next(shape for shape in chart.shapes if isinstance(shape, Line) and shape.role == "implied")
    assert implied.y[0] == pytest.approx(10 ** (-1 - 151 * np.log10(2)), rel=1e-3)
    assert any("float32" in words for _, words in chart.y.remarks)


def test_zeros_in_the_middle_are_no_underflow():
    chart = delta_by_depth(make_run(delta_rms=[0.1, 0.0, 0.1, 0.2]))
    marks = [shape for shape in chart.shapes if isinstance(shape, Mark)]
    assert [(mark.x, mark.symbol) for mark in marks] == [(1.0, "zero")]
    assert "exactly 0" in marks[0].words
    assert not any(isinstance(shape, Line) and shape.role == "implied" for shape in chart.shapes)


def test_what_is_not_finite_bears_a_sign():
    marks = [shape for shape in delta_by_depth(breaking()).shapes if isinstance(shape, Mark)]
    assert {(mark.x, mark.symbol) for mark in marks} == {(float(k), "inf") for k in range(4)}


def test_layers_inside_branches_are_dots():
    chart = delta_by_depth(residual())
    points = next(shape for shape in chart.shapes if isinstance(shape, Points))
    names = chart.x.names
    assert {names[int(x)] for x in points.x} == {f"block{k}.conv{j}" for k in range(4) for j in (1, 2)}


def test_words_stand_for_sizes():
    said = [shape.words for shape in delta_by_depth(vanishing()).shapes if isinstance(shape, Level)]
    assert any("a thousandth of fc11" in words for words in said)


def test_without_a_recorded_step_there_is_no_picture():
    with pytest.raises(NotRecorded):
        delta_by_depth(empty())


def test_where_everything_is_zero_there_is_no_picture():
    with pytest.raises(NotRecorded):
        delta_by_depth(make_run(delta_rms=np.zeros(4)))
