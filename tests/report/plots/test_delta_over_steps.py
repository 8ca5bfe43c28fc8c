"""The map of δ over layers and steps."""

import numpy as np
import pytest

from isometry.errors import NotRecorded
from isometry.report.chart import Heat
from isometry.report.plots.delta_over_steps import delta_over_steps
from tests.report.drawn import breaking, empty
from tests.runs import make_run


def heat(run) -> Heat:
    return next(shape for shape in delta_over_steps(run).shapes if isinstance(shape, Heat))


def test_a_spike_of_one_step_among_many_stays_visible():
    rms = np.ones((20_000, 3))
    rms[12_345, 1] = 1e6
    shape = heat(make_run(delta_rms=rms))
    assert shape.values.shape == (3, 400)
    assert np.nanmax(shape.values[1]) == pytest.approx(1e6)
    assert np.nanmax(shape.values[[0, 2]]) == pytest.approx(1)


def test_a_dip_stays_visible_as_well():
    rms = np.ones((5000, 2))
    rms[77, 0] = 1e-9
    assert np.nanmin(heat(make_run(delta_rms=rms)).values[0]) == pytest.approx(1e-9)


def test_one_nan_in_a_long_run_keeps_its_sign():
    nan = np.zeros((5000, 2))
    nan[4000, 1] = 1
    shape = heat(make_run(delta_rms=np.ones((5000, 2)), delta_nan=nan))
    assert shape.nan.sum() == 1
    assert shape.nan[1].any()


def test_zeros_and_gaps_are_told_apart():
    shape = heat(make_run(delta_rms=[[1.0, 0.0, np.nan]]))
    assert shape.zero.ravel().tolist() == [False, True, False]
    assert shape.blank().ravel().tolist() == [False, False, True]


def test_time_runs_evenly_although_steps_were_recorded_unevenly():
    shape = heat(make_run(steps=[0, 1, 2, 3, 100], delta_rms=np.arange(1.0, 6.0)[:, None]))
    assert shape.values.shape == (1, 101)
    assert np.allclose(shape.values[0, 4:100], 4)
    assert shape.values[0, 100] == pytest.approx(5)


def test_the_title_names_the_first_layer_and_step_that_broke():
    assert delta_over_steps(breaking()).title == "δ is Inf in fc4 from step 46 on"


def test_an_empty_run_has_no_map():
    with pytest.raises(NotRecorded):
        delta_over_steps(empty())


def test_the_first_broken_value_that_the_watch_noted_comes_first():
    events = {
        "non_finite": [
            {"step": 3, "direction": "forward", "layer": "fc2", "signal": "pre_activation", "producer": True},
            {"step": 3, "direction": "backward", "layer": "fc3", "signal": "delta"},
        ]
    }
    chart = delta_over_steps(make_run(delta_rms=[1.0, 1.0, 1.0], events=events))
    assert chart.title == "From step 3 on values are not finite, first in the forward pass at fc2"


def test_a_loss_that_broke_by_itself_is_no_layers_fault():
    event = {"step": 3, "direction": "loss", "layer": "fc3", "producer": True}
    chart = delta_over_steps(make_run(delta_rms=[1.0, 1.0, 1.0], events={"non_finite": [event]}))
    assert chart.title == "From step 3 on values are not finite, first where the loss is computed"
