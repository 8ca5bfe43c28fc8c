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


def test_parts_that_work_against_each_other_are_told_with_their_signs():
    delta = 10.0 ** (0.3 * np.arange(5)[::-1])
    chart = gain_by_layer(
        make_run(
            activation="relu",
            delta_rms=delta,
            delta_count=64,
            activation_gradient_rms=2 * delta,
            activation_gradient_count=64,
            slope_rms=0.5,
            input_gradient_rms=2 * np.concatenate([[np.nan], delta[:-1]]),
            input_gradient_count=64,
            weight_rms=0.5,
        )
    )
    assert chart.title.startswith("δ wins 1.2 decades in all: +2.4 weights and norms, −")
