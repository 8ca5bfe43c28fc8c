"""The forward signal along depth."""

import pytest

from isometry.errors import NotRecorded
from isometry.report.plots.forward_by_depth import forward_by_depth
from tests.report.drawn import residual, vanishing
from tests.runs import make_run


def test_the_title_says_what_is_left_of_the_input():
    assert (
        forward_by_depth(vanishing()).title == "The trace of the input falls by 3.0 decades from fc1 to fc11, at step 0"
    )


def test_without_the_spread_the_size_of_the_activations_is_shown():
    chart = forward_by_depth(residual())
    assert chart.title.startswith("The forward signal keeps its size")
    assert chart.y.unit == "rms"


def test_a_growing_signal_is_said_to_grow():
    assert "grows by 4.0 decades" in forward_by_depth(make_run(activation_rms=[1.0, 100.0, 1e4])).title


def test_a_run_without_forward_signals_has_no_picture():
    with pytest.raises(NotRecorded):
        forward_by_depth(make_run(delta_rms=[1.0, 1.0]))
