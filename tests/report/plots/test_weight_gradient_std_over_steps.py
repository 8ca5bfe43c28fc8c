"""The spread of each layer's weight gradient."""

import numpy as np
import pytest

from isometry.errors import NotRecorded
from isometry.report.chart import Line, Mark, Ribbon
from isometry.report.plots.weight_gradient_std_over_steps import weight_gradient_std_over_steps
from tests.report.drawn import empty
from tests.runs import make_run


def drawn(std):
    return weight_gradient_std_over_steps(make_run(weight_gradient_std=std))


def test_the_title_names_the_largest_and_the_smallest():
    assert drawn([[1e-4, 0.01, 0.02]] * 3).title == "The S.D. of gradients is typically 0.02 in fc3 and 1e−4 in fc1"


def test_layers_alike_are_said_to_be():
    assert drawn([[0.1, 0.12, 0.2]]).title == "The S.D. of gradients is alike in all layers, typically 0.1 to 0.2"


def test_the_axis_is_logarithmic_and_zero_bears_a_sign():
    chart = drawn([[1e-3, 0.0], [1e-3, 1e-2]])
    assert chart.y.scale == "log"
    assert [mark.words for mark in chart.shapes if isinstance(mark, Mark)] == ["fc2: exactly 0"]


def test_two_hundred_layers_are_a_few_lines_and_a_shade():
    chart = drawn(np.tile(np.logspace(-9, -1, 200), (40, 1)))
    assert len([shape for shape in chart.shapes if isinstance(shape, Line)]) == 7
    ribbon = next(shape for shape in chart.shapes if isinstance(shape, Ribbon))
    assert (ribbon.low.min(), ribbon.high.max()) == (pytest.approx(1e-9), pytest.approx(1e-1))


def test_without_any_spread_there_is_no_picture():
    for run in (empty(), make_run(weight_gradient_std=0.0)):
        with pytest.raises(NotRecorded):
            weight_gradient_std_over_steps(run)
