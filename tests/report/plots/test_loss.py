"""The loss of every step."""

import numpy as np
import pytest

from isometry.errors import NotRecorded
from isometry.report.chart import Line, Mark
from isometry.report.plots.loss import loss
from tests.report.drawn import breaking, empty
from tests.runs import make_run


def drawn(values):
    return loss(make_run(delta_rms=1.0, scalars={"loss": values}))


def test_the_title_says_from_where_to_where():
    assert drawn(2.3 * np.exp(-np.arange(1000) / 300)).title == "The loss falls from 2.23 to 0.085"
    assert drawn([1.0, 2.0]).title == "The loss rises from 1 to 2"
    assert drawn(np.full(50, 2.3026)).title == "The loss stays at 2.3 over 50 steps"


def test_a_loss_over_decades_has_a_logarithmic_axis():
    assert drawn(np.logspace(0, -5, 50)).y.scale == "log"
    assert drawn(np.linspace(2, 1, 50)).y.scale == "linear"
    assert drawn(np.linspace(100, -1, 50)).y.scale == "linear"


def test_a_spike_survives_thinning():
    values = np.ones(20_000)
    values[7777] = 50.0
    lines = [shape for shape in drawn(values).shapes if isinstance(shape, Line)]
    assert max(line.y.max() for line in lines) == 50
    assert sum(len(line.x) for line in lines) < 1200


def test_the_start_of_what_is_not_finite_is_marked_once():
    chart = loss(breaking())
    assert [(m.x, m.symbol) for m in chart.shapes if isinstance(m, Mark)] == [(47.0, "nan"), (46.0, "inf")]
    assert chart.title == "The loss is infinite from step 46 on"


def test_a_passing_nan_is_counted():
    values = np.ones(100)
    values[[3, 50]] = np.nan
    assert drawn(values).title == "The loss is not finite in 2 of 100 steps"


def test_a_loss_that_was_never_finite_is_still_drawn():
    assert drawn([np.nan, np.nan]).title == "The loss is NaN from step 0 on"


def test_no_loss_no_picture():
    with pytest.raises(NotRecorded, match="no loss was noticed"):
        loss(empty())
