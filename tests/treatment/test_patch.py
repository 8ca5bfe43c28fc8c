"""The code of a patch, run as it stands on small networks."""

import copy
import math

import pytest
import torch
from torch import nn

from isometry.adapters.torch.describe import describe
from isometry.adapters.torch.edit import edit
from isometry.network.architecture import Architecture, Layer
from isometry.network.edits import (
    AddSkip,
    ChangeOptimizer,
    Clip,
    Decay,
    InsertNorm,
    Reinitialise,
    ReplaceActivation,
    ScaleLoss,
    ScaleOutput,
    ScaleRate,
    ScaleWeights,
    SetEpsilon,
    SetForgetBias,
    SetPrecision,
    Standardise,
    Unfreeze,
    WarmUp,
)
from isometry.treatment.patch import patch

BATCH = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
HIDDEN = ("0", "2", "4")


def dense(phi=nn.Sigmoid):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 16), phi(), nn.Linear(16, 16), phi(), nn.Linear(16, 16), phi(), nn.Linear(16, 1), nn.Sigmoid()
    )


class Named(nn.Module):
    """Its second activation is a module behind its layer, or a function."""

    def __init__(self, other):
        super().__init__()
        self.first, self.act, self.second, self.other = nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), other
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        return self.head(self.other(self.second(self.act(self.first(x)))))


def architecture_of(model, batch=BATCH):
    return describe(model, batch)


def patched(edits, model, **names):
    """The names of the patch's code after it ran."""
    code = patch(edits, architecture_of(model))
    space = {"model": model} | names
    exec(compile(code, "patch", "exec"), space)
    return space


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


def test_weights_and_biases_are_scaled():
    model = dense()
    before = copy.deepcopy(model)
    patched([ScaleWeights(("2",), 0.25)], model)
    assert torch.allclose(model[2].weight, 0.25 * before[2].weight)
    assert torch.allclose(model[2].bias, 0.25 * before[2].bias)


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


def test_outputs_are_on_the_scale_of_the_targets():
    model = dense()
    before = copy.deepcopy(model)
    patched([ScaleOutput((), 1234567.875, 0.0625)], model)
    assert torch.equal(model(BATCH), 1234567.875 + 0.0625 * before(BATCH))
    told = Architecture((Layer("a", "linear", "Dense"),), framework="keras")
    assert patch([ScaleOutput((), -3.0, 20.0)], told) == "# Multiply the network's output by 20 and add -3.\n"


def test_rates_are_scaled_and_optimisers_made():
    model = dense()
    optimizer = torch.optim.SGD(model.parameters(), lr=2.0)
    patched([ScaleRate(0.003)], model, optimizer=optimizer)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.006)
    made = patched([ChangeOptimizer("adam", 0.003)], model, optimizer=optimizer)["optimizer"]
    assert (type(made), made.param_groups[0]["lr"]) == (torch.optim.Adam, 0.003)
    head_alone = torch.optim.SGD(model[6].parameters(), lr=2.0)
    made = patched([ChangeOptimizer("sgd", 0.1)], model, optimizer=head_alone)["optimizer"]
    assert made.param_groups[0]["params"] == list(model[6].parameters())
    assert made.param_groups[0]["momentum"] == 0.9


def test_epsilon_is_set_and_layers_are_unfrozen():
    model = dense()
    optimizer = torch.optim.Adam(model.parameters())
    patched([SetEpsilon(3e-13)], model, optimizer=optimizer)
    assert optimizer.param_groups[0]["eps"] == 3e-13
    model.requires_grad_(False)
    patched([Unfreeze(("2", "6"))], model)
    learning = [name for name, value in model.named_parameters() if value.requires_grad]
    assert learning == ["2.weight", "2.bias", "6.weight", "6.bias"]


def step(model, optimizer):
    optimizer.zero_grad()
    (1e4 * model(BATCH).sum()).backward()
    optimizer.step()


def test_the_rate_rises_evenly_and_stays():
    model = dense()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.8)
    patched([WarmUp(4)], model, optimizer=optimizer)
    seen = []
    for _ in range(6):
        seen.append(optimizer.param_groups[0]["lr"])
        step(model, optimizer)
    assert seen == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])


def test_the_rate_falls_evenly_to_zero_and_rises_before_with_a_warm_up():
    model = dense()
    for edits, expected in (
        ([Decay(4)], [0.8, 0.6, 0.4, 0.2, 0.0, 0.0]),
        ([Decay(4), WarmUp(2)], [0.4, 0.6, 0.4, 0.2, 0.0, 0.0]),
    ):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.8)
        patched(edits, model, optimizer=optimizer)
        seen = []
        for _ in range(6):
            seen.append(optimizer.param_groups[0]["lr"])
            step(model, optimizer)
        assert seen == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("by", "size"), [("norm", 0.5), ("value", 0.01)])
def test_gradients_are_clipped_before_the_step(by, size):
    model = dense()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    patched([Clip(size, by)], model, optimizer=optimizer)
    step(model, optimizer)
    moved = torch.cat([(new.detach() - old).flatten() for new, old in zip(model.parameters(), before, strict=True)])
    length = float(moved.norm() if by == "norm" else moved.abs().max())
    assert length == pytest.approx(size, rel=1e-3)


def test_inputs_are_standardised_and_constant_ones_stay_finite():
    inputs = torch.stack([200 + 50 * BATCH[:, 0], torch.full((64,), 3.0)], dim=1)
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    told = architecture_of(model, BATCH[:, :2])
    space = {"model": model, "inputs": inputs}
    exec(patch([Standardise()], told), space)
    assert float(space["inputs"][:, 0].mean()) == pytest.approx(0, abs=1e-5)
    assert float(space["inputs"][:, 0].std(correction=0)) == pytest.approx(1, abs=1e-4)
    assert not space["inputs"][:, 1].any()


def test_weights_are_drawn_before_norms_move_the_layers():
    model = dense()
    space = patched(
        [Clip(1.0), InsertNorm(HIDDEN, "layer"), ReplaceActivation(HIDDEN, "relu"), Reinitialise(HIDDEN, 1.0)],
        model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    )
    assert isinstance(space["model"][0][0], nn.Linear)
    assert not space["model"][0][0].bias.any()


def test_other_frameworks_get_sentences():
    told = Architecture((Layer("a", "linear", "Dense", fan_in=4, fan_out=4),), framework="keras")
    text = patch([Reinitialise(("a",), 1.5), ScaleRate(0.1)], told)
    assert all(line.startswith("# ") for line in text.splitlines())
    assert "1.5" in text
    assert "learning rate by 0.1" in text
    assert patch([], told) == patch([], architecture_of(dense())) == ""


def test_names_can_neither_leave_their_quotes_nor_their_comment():
    hostile = 'a"\nraise SystemExit  # '
    layers = (Layer(hostile, "linear", "Linear", fan_in=4, fan_out=4, weight_shape=(4, 4), activation="sin"),)
    for change in (Reinitialise((hostile,), 1.0), AddSkip((hostile,)), ReplaceActivation((hostile,), "erf")):
        code = patch([change], Architecture(layers, framework="torch 2.13"))
        model = nn.Module()
        model.add_module(hostile, nn.Linear(4, 4))
        exec(code, {"model": model})


def test_long_lists_of_names_keep_to_the_page():
    names = tuple(f"encoder.blocks.{place}.project in" for place in range(40))
    layers = tuple(Layer(name, "linear", "Linear", fan_in=4, fan_out=4, weight_shape=(4, 4)) for name in names)
    code = patch([Reinitialise(names, 1.0)], Architecture(layers, framework="torch"))
    compile(code, "patch", "exec")
    assert max(len(line) for line in code.splitlines()) <= 100
    assert all(f'"{name}"' in code for name in names)


@pytest.mark.parametrize("kind", ["bfloat16", "float32"])
def test_the_model_computes_in_another_format_with_weights_in_float32(kind):
    model = dense().half()
    seen = []
    model[1].register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    exec(patch([SetPrecision(kind)], architecture_of(dense(), BATCH)), {"model": model})
    with torch.autocast("cpu", dtype=torch.float16):
        outputs = model(BATCH.half())
    assert (seen, outputs.dtype) == ([getattr(torch, kind)], torch.float32)
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_a_scaled_loss_gives_the_steps_of_the_loss_itself():
    model = dense()
    before = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    told = patched([ScaleLoss(2.0**10)], model, optimizer=optimizer)
    told["backward"](model(BATCH).square().mean())
    before(BATCH).square().mean().backward()
    for scaled, plain in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.allclose(scaled.grad, plain.grad, rtol=1e-5)
    told["step"]()
    assert not torch.equal(model[0].weight, before[0].weight)
    stepped = model[0].weight.detach().clone()
    told["backward"](model(BATCH).sum() * float("inf"))
    told["step"]()
    assert torch.equal(model[0].weight, stepped) and told["scaler"].get_scale() == 2.0**9


def test_formats_and_scales_are_told_in_words_elsewhere():
    told = patch([ScaleLoss(8.0), SetPrecision("bfloat16")], Architecture((Layer("a", "linear", "Dense"),)))
    assert told.startswith("# Hold the weights in float32 and compute in bfloat16.") and "by 8 before" in told
