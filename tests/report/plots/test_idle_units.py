"""Dead and saturated units by layer."""

import numpy as np
import pytest

from isometry.errors import NotRecorded
from isometry.report.chart import Bars
from isometry.report.plots.idle_units import idle_units
from tests.runs import make_run


def test_the_share_of_dead_units_is_of_the_watched_ones():
    chart = idle_units(make_run(activation_dead=[0, 16, 64], activation_units=64))
    bars = next(shape for shape in chart.shapes if isinstance(shape, Bars))
    np.testing.assert_allclose(bars.parts[0].values, [0, 25, 100])
    assert chart.title == "100 % dead units in fc3"


def test_the_last_step_that_tells_counts():
    dead = np.array([[0.0], [32.0], [np.nan]])
    units = np.array([[64.0], [64.0], [np.nan]])
    assert idle_units(make_run(activation_dead=dead, activation_units=units)).title == "50 % dead units in fc1"


def test_saturated_and_dead_stand_side_by_side():
    chart = idle_units(
        make_run(activation_dead=[8, np.nan], activation_units=[64, np.nan], slope_saturated=[np.nan, 0.9])
    )
    assert chart.table.columns == ("layer", "dead units, %", "saturated elements, %")
    assert chart.title == "90 % saturated elements in fc2"


def test_layers_without_either_are_left_out():
    assert idle_units(make_run(slope_saturated=[np.nan, 0.1, np.nan])).x.names == ("fc2",)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"slope_saturated": [0.0, 0.001]}, "there are no saturated elements to show"),
        ({"activation_dead": [0, 0], "activation_units": 64}, "there are no dead units to show"),
        (
            {"activation_dead": [0, np.nan], "activation_units": [64, np.nan], "slope_saturated": [np.nan, 0.0]},
            "there are no dead units and no saturated elements to show",
        ),
    ],
)
def test_in_health_there_is_no_empty_picture(columns, words):
    with pytest.raises(NotRecorded, match=words):
        idle_units(make_run(**columns))


def test_where_nothing_can_idle_there_is_no_picture():
    with pytest.raises(NotRecorded):
        idle_units(make_run(delta_rms=[1.0, 1.0]))
