"""Where the mean of each layer's weights goes."""

import numpy as np
import pytest

from isometry.errors import NotRecorded
from isometry.report.chart import Line
from isometry.report.plots.weight_mean_over_steps import weight_mean_over_steps
from tests.report.drawn import empty
from tests.runs import make_run


def drawn(mean, **more):
    return weight_mean_over_steps(make_run(weight_mean=mean, **more))


def test_the_title_names_the_layer_that_goes_farthest():
    assert drawn([[0.1, 0.5], [0.2, 0.4], [-0.3, 0.6]]).title == (
        "The mean weight of fc1 goes farthest, from 0.1 to −0.3"
    )


def test_weights_at_rest_are_said_to_be():
    assert drawn([[0.1, 0.5], [0.1, 0.5]]).title == "No layer's mean weight has changed"


def test_one_recorded_step_gives_a_range():
    assert drawn([[-0.1, 0.5]]).title == "Mean weights lie between −0.1 and 0.5"


def test_every_layer_of_a_small_net_has_its_line_and_its_row():
    chart = drawn(np.arange(10.0).reshape(2, 5), steps=[0, 32])
    lines = [shape for shape in chart.shapes if isinstance(shape, Line)]
    assert [line.words for line in lines] == ["fc1", "fc2", "fc3", "fc4", "fc5"]
    assert chart.table.columns == ("layer", "step 0", "step 32")
    assert chart.table.rows[4] == ("fc5", "4", "9")


def test_without_weights_there_is_no_picture():
    for run in (empty(), make_run(weight_mean=np.nan)):
        with pytest.raises(NotRecorded):
            weight_mean_over_steps(run)
