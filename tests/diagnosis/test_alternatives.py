"""What is proposed fits the network: no norm beside a norm, no skip beside a sum, gains from theory."""

import math

import pytest

from isometry.diagnosis.alternatives import MOST, alternatives
from isometry.network.architecture import Architecture, Layer
from isometry.network.edits import AddSkip, InsertNorm, Reinitialise, ReplaceActivation
from isometry.network.nonlinearity import FUNCTIONS


def chain(*activations, kind="linear", fan_in=64, extra=()):
    hidden = [
        Layer(f"fc{i}", kind, "Linear", fan_in=fan_in, fan_out=64, activation=phi) for i, phi in enumerate(activations)
    ]
    return Architecture((*hidden, *extra, Layer("head", "linear", "Linear", fan_in=64, fan_out=10, output=True)))


def proposed(architecture, sigma_b=0.0):
    return dict(alternatives(architecture, sigma_b))


def test_what_is_worth_predicting_of_a_sigmoid_net():
    assert list(proposed(chain(*["sigmoid"] * 3))) == [
        "sigmoid at its critical gain",
        "He + ReLU",
        "layer norm before sigmoid",
        "skip connections",
        "sigmoid at its critical gain, orthogonal weights",
        "tanh at its critical point",
        "layer norm after sigmoid",
    ]


def test_edits_do_what_their_names_say():
    names, found = ("fc0", "fc1"), proposed(chain("sigmoid", "sigmoid"), math.sqrt(0.05))
    assert found["He + ReLU"] == (ReplaceActivation(names, "relu"), Reinitialise(names, pytest.approx(math.sqrt(2))))
    assert found["tanh at its critical point"] == (
        ReplaceActivation(names, "tanh"),
        Reinitialise(names, pytest.approx(math.sqrt(1.76095464), abs=1e-8)),
    )
    assert found["layer norm before sigmoid"] == (InsertNorm(names, "layer"),)
    assert found["layer norm after sigmoid"] == (InsertNorm(names, "layer", after=True),)
    assert found["skip connections"] == (AddSkip(names),)


def test_critical_gain_of_sigmoid():
    (edit,) = proposed(chain("sigmoid", "sigmoid"))["sigmoid at its critical gain"]
    assert edit.gain**2 == pytest.approx(103.0, abs=0.05)
    (edit,) = proposed(chain("sigmoid", "sigmoid"))["sigmoid at its critical gain, orthogonal weights"]
    assert edit.orthogonal


def test_a_critical_gain_from_which_q_runs_away_is_not_proposed():
    (edit,) = proposed(chain("gelu", "gelu"))["gelu at its forward gain"]
    assert edit.gain == pytest.approx(1.533530, abs=5e-7)


def test_every_activation_gets_its_own_gain():
    edits = proposed(chain("tanh", "relu", "tanh"))["every φ at its critical gain"]
    assert edits == (
        Reinitialise(("fc0", "fc2"), pytest.approx(1.0)),
        Reinitialise(("fc1",), pytest.approx(math.sqrt(2))),
    )


@pytest.mark.parametrize(("phi", "missing"), [("relu", "He + ReLU"), ("tanh", "tanh at its critical point")])
def test_what_is_there_is_no_change(phi, missing):
    found = proposed(chain(phi, phi))
    assert missing not in found
    assert f"batch norm before {phi}" in found


def test_no_norm_beside_a_norm():
    found = proposed(chain("relu", "relu", extra=[Layer("norm", "norm", "BatchNorm1d")]))
    assert not any("norm" in name for name in found)
    assert "skip connections" in found


def test_no_skip_beside_a_sum():
    assert "skip connections" not in proposed(chain("relu", "relu", extra=[Layer("add", "sum", "add")]))


def test_no_skip_where_no_shape_stays():
    assert "skip connections" not in proposed(chain("relu", "relu", fan_in=32))


def test_batch_norm_comes_first_in_convolutional_nets():
    names = list(proposed(chain("sigmoid", "sigmoid", kind="conv")))
    assert "batch norm before sigmoid" in names
    assert "layer norm after sigmoid" not in names


def test_layers_that_are_no_hidden_layers_are_left_alone():
    others = (
        Layer("gate", "linear", "Linear", activation="sigmoid", gated=True),
        Layer("unused", "linear", "Linear", activation="relu", calls=0),
        Layer("frozen", "linear", "Linear", activation="relu", trainable=False),
        Layer("strange", "linear", "Linear", activation="tanhshrink"),
        Layer("cell", "recurrent", "RNN", activation="tanh"),
    )
    assert alternatives(chain(extra=others), 0.0) == ()
    (edit,) = proposed(chain("tanh", extra=others))["tanh at its critical gain"]
    assert edit.layers == ("fc0",)


@pytest.mark.parametrize("phi", FUNCTIONS)
@pytest.mark.parametrize("sigma_b", [0.0, 0.3, math.nan])
def test_every_activation_has_a_few(phi, sigma_b):
    found = alternatives(chain(phi, phi), sigma_b)
    assert 2 < len(found) <= MOST
    assert len({name for name, _ in found}) == len(found)
    assert all(edit.layers == ("fc0", "fc1") for _, edits in found for edit in edits)
    sizes = [edit.gain for _, edits in found for edit in edits if isinstance(edit, Reinitialise)]
    assert sizes
    assert all(0 < size < math.inf for size in sizes)


def test_behind_norm_layers_other_activations_and_skips_are_left():
    hidden = [
        layer
        for k in range(3)
        for layer in (
            Layer(f"conv{k}", "conv", "Conv2d", fan_in=64, fan_out=64, norm=f"bn{k}"),
            Layer(f"bn{k}", "norm", "BatchNorm2d", activation="relu", inputs=(f"conv{k}",)),
        )
    ]
    found = proposed(Architecture((*hidden, Layer("head", "linear", "Linear", fan_in=64, fan_out=10, output=True))))
    names = ("conv0", "conv1", "conv2")
    assert found == {"tanh": (ReplaceActivation(names, "tanh"),), "skip connections": (AddSkip(names),)}
