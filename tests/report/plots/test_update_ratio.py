"""How far each layer moves in a step."""

import numpy as np
import pytest

from isometry.errors import NotRecorded
from isometry.report.chart import Level, Line, Mark, Ribbon, Zone
from isometry.report.plots.update_ratio import update_ratio
from tests.report.drawn import vanishing
from tests.runs import make_run


def test_the_title_names_the_slowest_and_the_fastest_layer():
    assert update_ratio(vanishing()).title == "In a step fc1 moves by 1e−7 of its size, fc11 by 0.001"


def test_the_usual_range_is_shaded_in_words():
    zone = next(shape for shape in update_ratio(vanishing()).shapes if isinstance(shape, Zone))
    assert (zone.low, zone.high, zone.words) == (1e-4, 1e-2, "usual")


def test_steps_that_rounding_swallows_are_marked():
    levels = [shape for shape in update_ratio(vanishing()).shapes if isinstance(shape, Level)]
    assert levels[0].at == 2.0**-24


def test_many_layers_become_few_lines_and_a_shade_that_covers_all():
    ratio = np.logspace(-5, -2, 200)
    chart = update_ratio(make_run(weight_rms=1.0, update_rms=np.tile(ratio, (50, 1))))
    assert len([shape for shape in chart.shapes if isinstance(shape, Line)]) <= 7
    ribbon = next(shape for shape in chart.shapes if isinstance(shape, Ribbon))
    assert ribbon.words == "and 193 more layers: the shade covers all"
    assert "193 layers without a line" in chart.alt
    assert ribbon.low.min() == pytest.approx(1e-5)
    assert ribbon.high.max() == pytest.approx(1e-2)


def test_where_every_layer_has_its_line_nothing_more_is_said():
    chart = update_ratio(make_run(weight_rms=1.0, update_rms=np.tile(np.logspace(-5, -2, 7), (50, 1))))
    assert not [shape for shape in chart.shapes if isinstance(shape, Ribbon)]
    assert "without a line" not in chart.alt


def test_a_layer_that_did_not_move_bears_a_sign():
    chart = update_ratio(make_run(weight_rms=1.0, update_rms=[1e-3, 0.0]))
    marks = [shape for shape in chart.shapes if isinstance(shape, Mark)]
    assert [mark.words for mark in marks] == ["fc2: did not move"]


def test_steps_without_an_optimiser_leave_gaps_not_zeros():
    update = np.array([[1e-3], [np.nan], [1e-3]])
    line = next(
        shape for shape in update_ratio(make_run(weight_rms=1.0, update_rms=update)).shapes if isinstance(shape, Line)
    )
    assert line.x.tolist() == [0, 2]


def test_without_updates_there_is_no_picture():
    with pytest.raises(NotRecorded):
        update_ratio(make_run(weight_rms=1.0, update_rms=np.nan))
