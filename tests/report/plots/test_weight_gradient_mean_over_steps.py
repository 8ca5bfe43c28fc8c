"""The mean of each layer's weight gradient."""

import numpy as np
import pytest

from isometry.errors import NotRecorded
from isometry.report.chart import Line
from isometry.report.plots.weight_gradient_mean_over_steps import weight_gradient_mean_over_steps
from tests.report.drawn import empty
from tests.runs import make_run


def drawn(mean):
    return weight_gradient_mean_over_steps(make_run(weight_gradient_mean=mean))


def test_the_title_names_the_layer_with_the_largest_mean_of_either_sign():
    chart = drawn([[0.001, 0.002, -0.4], [0.001, -0.002, 0.2], [-0.001, 0.002, 0.3]])
    assert chart.title == "The mean gradient is largest in fc3, typically 0.3; elsewhere at most 0.002"


def test_one_layer_stands_alone():
    assert drawn([[0.5], [0.5]]).title == "The mean gradient is largest in fc1, typically 0.5"


def test_the_axis_is_linear_and_keeps_the_sign():
    chart = drawn([[-1.0, 0.0], [1.0, 0.0]])
    assert chart.y.scale == "linear"
    assert [line.y.tolist() for line in chart.shapes if isinstance(line, Line)] == [[-1, 1], [0, 0]]


def test_without_gradients_there_is_no_picture():
    for run in (empty(), make_run(weight_gradient_mean=np.nan)):
        with pytest.raises(NotRecorded):
            weight_gradient_mean_over_steps(run)
