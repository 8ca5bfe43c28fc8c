"""How far each layer's weights spread."""

import numpy as np
import pytest

from isometry.errors import NotRecorded
from isometry.report.chart import Line, Ribbon
from isometry.report.plots.weight_std_over_steps import weight_std_over_steps
from tests.report.drawn import empty
from tests.runs import make_run


def drawn(std):
    return weight_std_over_steps(make_run(weight_std=std))


def test_the_title_names_the_layer_that_changes_most_for_its_size():
    assert drawn([[0.1, 1.0], [0.15, 1.2]]).title == "The S.D. of weights grows most in fc1, from 0.1 to 0.15"
    assert drawn([[0.1, 1.0], [0.11, 0.2]]).title == "The S.D. of weights shrinks most in fc2, from 1 to 0.2"


def test_what_stays_is_said_to_stay():
    assert drawn([[0.1, 1.0], [0.1, 1.001]]).title == "The S.D. of the weights stays between 0.1 and 1"
    assert drawn([[0.1], [0.1]]).title == "The S.D. of the weights stays at 0.1"
    assert drawn([[0.1, 0.2]]).title == "The S.D. of the weights lies between 0.1 and 0.2"


def test_the_axis_is_logarithmic_where_decades_count():
    assert drawn([[0.02, 0.9]]).y.scale == "log"
    assert drawn([[0.5, 0.9]]).y.scale == "linear"


def test_a_layer_of_equal_weights_is_no_error():
    assert drawn([[0.0, 0.9], [0.0, 1.8]]).title == "The S.D. of weights grows most in fc2, from 0.9 to 1.8"


def test_two_hundred_layers_are_a_few_lines_and_a_shade():
    chart = drawn(np.linspace(0.1, 0.2, 200) * np.linspace(1, 2, 50)[:, None])
    assert len([shape for shape in chart.shapes if isinstance(shape, Line)]) == 7
    assert len([shape for shape in chart.shapes if isinstance(shape, Ribbon)]) == 1


def test_without_weights_there_is_no_picture():
    with pytest.raises(NotRecorded):
        weight_std_over_steps(empty())
