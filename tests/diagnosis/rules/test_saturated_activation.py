"""Flat units are found where the network does not learn; certain outputs, gates and trained nets are not."""

import numpy as np
import pytest

from isometry.diagnosis.finding import Severity
from isometry.diagnosis.rules.saturated_activation import saturated_activation
from isometry.errors import NotRecorded
from isometry.network.architecture import Layer
from tests.runs import make_run

FLAT = {"loss": np.full(100, 2.0)}
FALLING = {"loss": np.linspace(2.0, 0.1, 100)}


def run_of(share, *, loss=None, **fields):
    layers = [
        Layer("fc1", "linear", "Linear", activation="tanh", inputs=("",)),
        Layer("fc2", "linear", "Linear", **{"activation": "tanh", "inputs": ("fc1",), **fields}),
    ]
    return make_run(
        layers=layers,
        slope_saturated=share,
        slope_rms=0.2,
        pre_activation_mean=[0.0, 7.0],
        pre_activation_std=[0.5, 1.0],
        scalars=loss or FLAT,
    )


def test_a_flat_layer_is_found_with_where_its_z_lies():
    (finding,) = saturated_activation(run_of([[0.0, 0.97]] * 10))
    assert finding.severity == Severity.HARMS
    assert finding.layers == ("fc2",)
    assert finding.causes[0].name == "shift of z"
    assert finding.causes[0].decades == pytest.approx(np.log10(0.2))


def test_a_trained_net_that_is_certain_has_a_note_only():
    share = np.linspace(0.0, 0.9, 20)[:, None] * np.array([1.0, 1.0])
    assert [f.severity for f in saturated_activation(run_of(share, loss=FALLING))] == [Severity.NOTE]


@pytest.mark.parametrize("field", ["output", "gated", "recurrent"])
def test_outputs_gates_and_cells_may_be_flat(field):
    assert not saturated_activation(run_of([[0.0, 0.97]] * 10, **{field: True}))


def test_ordinary_layers_are_silent():
    assert not saturated_activation(run_of([[0.1, 0.25]] * 10))


def test_a_network_without_such_units_is_not_checked():
    with pytest.raises(NotRecorded, match="saturates"):
        saturated_activation(make_run(delta_rms=[1.0]))
