"""Two constant layers in a row are found; one constant layer between random ones is not."""

import pytest

from isometry.diagnosis.rules.symmetric_weights import symmetric_weights
from isometry.network.architecture import Layer
from tests.runs import make_run


def test_constant_neighbours_are_found():
    (finding,) = symmetric_weights(make_run(weight_rms=[0.1, 0.5, 0.5, 0.1], weight_std=[0.1, 0.0, 0.0, 0.1]))
    assert finding.layers == ("fc2",)
    assert "0.5" in finding.summary


def test_zero_neighbours_are_found():
    (finding,) = symmetric_weights(make_run(weight_rms=[0.0, 0.0, 0.0], weight_std=[0.0, 0.0, 0.0]))
    assert finding.layers == ("fc1", "fc2")
    assert "zero" in finding.summary


@pytest.mark.parametrize("constant", [0, 1, 2])
def test_one_constant_layer_is_harmless(constant):
    std = [0.1, 0.1, 0.1]
    std[constant] = 0.0
    assert not symmetric_weights(make_run(weight_rms=[0.1, 0.1, 0.1], weight_std=std))


def test_a_single_unit_has_no_copies():
    layers = [
        Layer("a", "linear", "Linear", fan_in=4, fan_out=1, inputs=("",)),
        Layer("b", "linear", "Linear", fan_in=1, fan_out=4, inputs=("a",)),
    ]
    assert not symmetric_weights(make_run(layers=layers, weight_rms=[1.0, 1.0], weight_std=[0.0, 0.0]))
