"""Backward gains split into their causes."""

import numpy as np
import pytest

from isometry.errors import NotRecorded
from isometry.report.chart import Bars
from isometry.report.plots.gain_by_layer import gain_by_layer
from tests.report.drawn import vanishing
from tests.runs import make_run


def bars(chart):
    return next(shape for shape in chart.shapes if isinstance(shape, Bars))


def test_the_parts_of_each_bar_add_up_to_its_whole():
    chart = gain_by_layer(vanishing())
    shape = bars(chart)
    assert len(shape.totals) == 10
    np.testing.assert_allclose(sum(part.values for part in shape.parts), shape.totals, atol=1e-9)


def test_the_quarter_slope_of_sigmoid_is_seen_apart():
    chart = gain_by_layer(vanishing())
    slope = next(part for part in bars(chart).parts if part.words == "slope of φ at rest")
    np.testing.assert_allclose(slope.values, np.log10(0.25))
    assert chart.title == "Of 6.0 decades lost, 6.0 come from the slope of φ at rest"


def test_a_level_profile_is_said_to_be_level():
    chart = gain_by_layer(make_run(delta_rms=np.ones(5), delta_count=64))
    assert chart.title == "Along 4 layers δ changes by 0 decades in all"


def test_one_layer_has_no_gain():
    with pytest.raises(NotRecorded):
        gain_by_layer(make_run(delta_rms=[1.0]))
