"""How activations are distributed."""

import numpy as np
import pytest

from isometry.report.chart import Ribbon, Ridges
from isometry.report.plots.activations import activations
from tests.report.drawn import breaking, histogram, vanishing
from tests.runs import make_run


def ridges(chart) -> Ridges:
    return next(shape for shape in chart.shapes if isinstance(shape, Ridges))


def test_every_layer_has_its_ridge_then_and_now():
    shape = ridges(activations(vanishing()))
    assert len(shape.ridges) == 11
    assert (shape.before, shape.words) == ("step 0", "step 99")
    assert shape.ridges[0].density.sum() == pytest.approx(1)
    assert shape.ridges[0].before is not None


def test_bins_stand_where_their_magnitudes_are():
    shape = ridges(activations(vanishing()))
    assert shape.ridges[0].x[shape.ridges[0].density.argmax()] == pytest.approx(2**-0.5)


def test_zeros_count_in_the_shares_and_in_the_title():
    events = {"histogram": [histogram(0, "fc1", centre=0, zeros=622)]}
    chart = activations(make_run(delta_rms=[1.0, 1.0], events=events))
    assert chart.title == "50 % of the activations of fc1 are exactly 0"
    assert ridges(chart).ridges[0].density.sum() == pytest.approx(0.5)


def test_histograms_of_different_range_are_aligned():
    events = {"histogram": [histogram(0, "fc1", centre=-10), histogram(9, "fc1", centre=4)]}
    ridge = ridges(activations(make_run(delta_rms=[1.0, 1.0], events=events))).ridges[0]
    assert len(ridge.x) == len(ridge.density) == len(ridge.before)
    assert np.log2(ridge.x[ridge.density.argmax()] / ridge.x[ridge.before.argmax()]) == pytest.approx(14)


def test_of_many_layers_an_even_choice_is_shown():
    names = [f"fc{k + 1}" for k in range(100)]
    events = {"histogram": [histogram(0, name, centre=0) for name in names]}
    chart = activations(make_run(delta_rms=np.ones(100), events=events))
    assert len(ridges(chart).ridges) == 24
    assert "24 of 100 layers" in chart.reading


def test_without_histograms_mean_and_spread_are_shown():
    chart = activations(breaking())
    ribbon = next(shape for shape in chart.shapes if isinstance(shape, Ribbon))
    assert ribbon.high[0] - ribbon.low[0] == pytest.approx(1.4)
