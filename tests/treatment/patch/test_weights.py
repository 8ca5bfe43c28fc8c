"""Weights that the code of a patch draws and scales, on small networks."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from isometry.adapters.torch.edit import edit
from isometry.network.architecture import Architecture, Layer
from isometry.network.edits import Reinitialise, ScaleWeights, SetForgetBias, Unfreeze
from isometry.treatment.patch import patch
from tests.treatment.patch.nets import architecture_of, dense, patched


@pytest.mark.parametrize("gain", [1.0, math.sqrt(2)])
def test_weights_are_drawn_with_their_own_fan_in_and_biases_are_zero(gain):
    model = nn.Sequential(nn.Linear(6, 400), nn.ReLU(), nn.Linear(400, 300), nn.ReLU(), nn.Linear(300, 1))
    before = copy.deepcopy(model)
    patched([Reinitialise(("0", "2"), gain)], model)
    assert float(model[2].weight.detach().std()) * math.sqrt(400) == pytest.approx(gain, rel=0.02)  # of 120,000 draws
    assert float(model[0].weight.detach().std()) * math.sqrt(6) == pytest.approx(gain, rel=0.08)  # of 2,400
    assert not model[2].bias.any()
    assert torch.equal(model[4].weight, before[4].weight)


def test_kernels_count_with_all_that_a_unit_reads():
    model = nn.Sequential(nn.Conv2d(2, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 4, 1))
    code = patch([Reinitialise(("0",), 1.0)], architecture_of(model, torch.randn(8, 2, 4, 4)))
    exec(code, {"model": model})
    assert float(model[0].weight.detach().std()) * math.sqrt(18) == pytest.approx(1, rel=0.1)  # of 1,152 draws


def test_orthogonal_weights_are_orthogonal_and_those_of_a_recurrent_layer_too():
    model = dense()
    patched([Reinitialise(("2",), 1.5, orthogonal=True)], model)
    assert torch.allclose(model[2].weight @ model[2].weight.T, 2.25 * torch.eye(16), atol=1e-5)
    rnn = nn.Sequential()
    rnn.add_module("memory", nn.RNN(4, 8, batch_first=True))
    told = Architecture((Layer("memory", "recurrent", "RNN", fan_in=4, weight_shape=(8, 4)),), framework="torch")
    exec(patch([Reinitialise(("memory",), 1.0, orthogonal=True)], told), {"model": rnn})
    matrix = rnn.memory.weight_hh_l0
    assert torch.allclose(matrix @ matrix.T, torch.eye(8), atol=1e-5)
    assert not rnn.memory.bias_hh_l0.any()


def test_all_matrices_of_attention_are_drawn():
    model = nn.ModuleDict({"attention": nn.MultiheadAttention(64, 4)})
    told = Architecture((Layer("attention", "attention", "MultiheadAttention", fan_in=64, weight_shape=(192, 64)),))
    exec(patch([Reinitialise(("attention",), 3.0)], replace(told, framework="torch")), {"model": model})
    for weight in (model.attention.in_proj_weight, model.attention.out_proj.weight):
        assert float(weight.detach().std()) * 8 == pytest.approx(3, rel=0.05)  # of 4,096 draws or more
    assert not model.attention.in_proj_bias.any()


def test_weights_and_biases_are_scaled():
    model = dense()
    before = copy.deepcopy(model)
    patched([ScaleWeights(("2",), 0.25)], model)
    assert torch.allclose(model[2].weight, 0.25 * before[2].weight)
    assert torch.allclose(model[2].bias, 0.25 * before[2].bias)


def test_forget_gates_begin_open():
    model = nn.ModuleDict({"past": nn.LSTM(4, 8, num_layers=2, bidirectional=True), "cell": nn.LSTMCell(3, 5)})
    layers = (
        Layer("past", "recurrent", "LSTM", fan_in=4, weight_shape=(32, 4)),
        Layer("cell", "recurrent", "LSTMCell", fan_in=3, weight_shape=(20, 3)),
    )
    before = copy.deepcopy(model.state_dict())
    exec(patch([SetForgetBias(("past", "cell"), 2.5)], Architecture(layers, framework="torch")), {"model": model})
    for layer in (model.past, model.cell):
        biases = {name: bias.detach().view(4, -1) for name, bias in layer.named_parameters() if "bias" in name}
        for name, bias in biases.items():
            if "bias_ih" in name:
                total = bias + biases[name.replace("ih", "hh")]
                assert torch.equal(total[1], torch.full_like(total[1], 2.5))
    assert torch.equal(model.cell.bias_ih[:5], before["cell.bias_ih"][:5])
    told = Architecture(layers, framework="torch")
    exec(patch([SetForgetBias(("cell",), 2.0, opposed=True)], told), {"model": model})
    total = (model.cell.bias_ih + model.cell.bias_hh).view(4, -1)
    assert total[:2, 0].tolist() == [-2.0, 2.0]
    assert torch.equal(model.cell.bias_hh[10:], before["cell.bias_hh"][10:])


@pytest.mark.parametrize("opposed", [False, True])
def test_code_for_gates_does_what_the_edit_does(opposed):
    torch.manual_seed(0)
    kinds = {"b": nn.GRU(3, 4, num_layers=2, bidirectional=True), "c": nn.GRUCell(3, 5), "a": nn.LSTM(3, 6)}
    pasted, edited = nn.ModuleDict(kinds), copy.deepcopy(nn.ModuleDict(kinds))
    layers = [Layer(name, "recurrent", type(kind).__name__, fan_in=3) for name, kind in kinds.items()]
    change = SetForgetBias(tuple(kinds), 2.5, opposed)
    exec(patch([change], Architecture(tuple(layers), framework="torch")), {"model": pasted})
    edit(edited, [change], batch=None)
    assert all(torch.equal(value, edited.state_dict()[name]) for name, value in pasted.state_dict().items())


def test_layers_are_unfrozen():
    model = dense()
    model.requires_grad_(False)
    patched([Unfreeze(("2", "6"))], model)
    learning = [name for name, value in model.named_parameters() if value.requires_grad]
    assert learning == ["2.weight", "2.bias", "6.weight", "6.bias"]
