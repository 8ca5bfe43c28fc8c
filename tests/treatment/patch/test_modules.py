"""Modules that the code of a patch puts in, on small networks."""

import copy

import pytest
import torch
from torch import nn

from isometry.adapters.torch.edit import edit
from isometry.network.architecture import Architecture, Layer
from isometry.network.edits import AddSkip, InsertNorm, ReplaceActivation, ScaleOutput
from isometry.treatment.patch import patch
from tests.treatment.patch.nets import BATCH, HIDDEN, Named, architecture_of, dense, patched


def test_another_activation_stands_behind_the_named_layers_alone():
    model = dense()
    patched([ReplaceActivation(HIDDEN, "relu")], model)
    assert [type(part).__name__ for part in model[1::2]] == ["ReLU", "ReLU", "ReLU", "Sigmoid"]
    again = architecture_of(model)
    assert [again[name].activation for name in (*HIDDEN, "6")] == ["relu", "relu", "relu", "sigmoid"]


def test_a_softmax_is_taken_off_the_output():
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5), nn.Softmax(1))
    expected = model[:3](BATCH)
    patched([ReplaceActivation(("2",), "identity")], model)
    assert torch.equal(model(BATCH), expected)
    called = Named(nn.Tanh())
    called.head = nn.Sequential(nn.Linear(8, 1))
    with pytest.raises(LookupError, match="No module for each activation"):
        patched([ReplaceActivation(("head.0",), "identity")], called)


def test_activations_behind_a_norm_and_in_attributes_are_found():
    model = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 1))
    patched([ReplaceActivation(("0",), "elu")], model)
    assert isinstance(model[2], nn.ELU)
    named = Named(nn.Tanh())
    patched([ReplaceActivation(("first",), "elu")], named)
    assert isinstance(named.act, nn.ELU)
    assert isinstance(named.other, nn.Tanh)


class Shared(nn.Module):
    """x + f(x) with one activation for the branch and for the sum."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.relu, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 1)

    def forward(self, x):
        return self.head(self.relu(x + self.second(self.relu(self.first(x)))))


@pytest.mark.parametrize("edit", [InsertNorm(("first",), "layer", after=True), ReplaceActivation(("first",), "elu")])
def test_an_activation_that_serves_more_than_one_layer_is_left(edit):
    model = Shared()
    with pytest.raises(LookupError, match="No module for each activation"):
        patched([edit], model)
    assert isinstance(model.relu, nn.ReLU)


def test_an_activation_that_is_called_as_a_function_is_told_and_left():
    model = Named(torch.tanh)
    with pytest.raises(LookupError, match="No module for each activation"):
        patched([ReplaceActivation(("second",), "relu")], model)
    assert "write the other one there" in patch([ReplaceActivation(("second",), "relu")], architecture_of(model))


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_norms_stand_on_their_side_of_the_activation(norm, after):
    model = dense()
    patched([InsertNorm(HIDDEN, norm, after=after)], model)
    h = model[1](model[0](BATCH))
    seen = h if after else model[0](BATCH)
    assert float(seen.detach().mean(1 if norm == "layer" else 0)[0]) == pytest.approx(0, abs=1e-5)
    assert len(list(model.parameters())) == 8 + 6
    assert torch.isfinite(model(BATCH)).all()


def test_norms_of_convolutions_are_over_channels():
    model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 4, 1))
    told = architecture_of(model, torch.randn(8, 2, 4, 4))
    assert "nn.BatchNorm2d(6)" in patch([InsertNorm(("0",), "batch")], told)
    assert "nn.GroupNorm(1, 6)" in patch([InsertNorm(("0",), "layer")], told)


def test_rms_and_group_norms_are_those_of_an_edit():
    convolutions = nn.Sequential(nn.Conv2d(2, 24, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24 * 4, 1))
    images = torch.randn(8, 2, 4, 4)
    for model, batch, layers, norm in (
        (dense(), BATCH, HIDDEN, "rms"),
        (dense(), BATCH, HIDDEN, "group"),
        (convolutions, images, ("0",), "group"),
    ):
        twin = copy.deepcopy(model)
        exec(patch([InsertNorm(layers, norm)], architecture_of(model, batch)), {"model": model})
        edit(twin, [InsertNorm(layers, norm)], batch=batch)
        torch.testing.assert_close(model(batch), twin(batch))
        assert len(list(model.parameters())) == len(list(twin.parameters()))


def test_skips_add_what_a_layer_reads():
    model = dense(nn.Tanh)
    before = copy.deepcopy(model)
    patched([AddSkip(HIDDEN)], model)
    first = before[1](before[0](BATCH))
    second = before[3](before[2](first)) + first
    expected = before[7](before[6](before[5](before[4](second)) + second))
    assert torch.allclose(model(BATCH), expected, atol=1e-6)


def test_outputs_are_on_the_scale_of_the_targets():
    model = dense()
    before = copy.deepcopy(model)
    patched([ScaleOutput((), 1234567.875, 0.0625)], model)
    assert torch.equal(model(BATCH), 1234567.875 + 0.0625 * before(BATCH))
    told = Architecture((Layer("a", "linear", "Dense"),), framework="keras")
    assert patch([ScaleOutput((), -3.0, 20.0)], told) == "# Multiply the network's output by 20 and add -3.\n"
