import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from isometry.adapters.torch.initialise import SCHEMES, initialise
from isometry.errors import CannotEdit, IsometryError, UnsupportedModel
from tests.adapters.torch.nets import Tagger, Transformer

WITHOUT_BATCH = ["lecun", "he", "he_fan_out", "glorot", "glorot_uniform", "truncated_normal"]
STD = {
    "lecun": lambda fan_in, fan_out: math.sqrt(1 / fan_in),
    "he": lambda fan_in, fan_out: math.sqrt(2 / fan_in),
    "he_fan_out": lambda fan_in, fan_out: math.sqrt(2 / fan_out),
    "glorot": lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
    "glorot_uniform": lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
    "truncated_normal": lambda fan_in, fan_out: math.sqrt(1 / fan_in),
}
LAYERS = [
    (nn.Linear(300, 200), 300, 200),
    (nn.Conv2d(32, 64, 3), 288, 576),
    (nn.Conv1d(64, 64, 5, groups=2), 160, 160),
    (nn.ConvTranspose2d(64, 32, 4, stride=2), 256, 128),
    (nn.Bilinear(20, 30, 40), 600, 40),
]


def deep(depth, width, activation):
    layers = [module for _ in range(depth) for module in (nn.Linear(width, width), activation())]
    return nn.Sequential(*layers)


def gradient_norms(model, inputs):
    """Norm of the gradient of what each linear layer puts out, input first, for a random direction at the end."""
    deltas = []
    hooks = [
        module.register_full_backward_hook(lambda module, inner, outer: deltas.append(float(outer[0].norm())))
        for module in model
        if isinstance(module, nn.Linear)
    ]
    output = model(inputs.clone().requires_grad_())
    output.backward(torch.randn(output.shape, generator=torch.Generator().manual_seed(9)))
    for hook in hooks:
        hook.remove()
    return np.array(deltas[::-1])


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def spread(parameter):
    return float(parameter.detach().std())


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


# -------------------------------------------------------------------------- laws


@pytest.mark.parametrize("scheme", WITHOUT_BATCH)
@pytest.mark.parametrize(("layer", "fan_in", "fan_out"), LAYERS, ids=lambda value: type(value).__name__)
def test_weights_have_the_variance_that_the_scheme_promises(scheme, layer, fan_in, fan_out):
    initialise(layer, scheme, seed=0)
    weight = layer.weight.detach()
    assert spread(weight) == pytest.approx(STD[scheme](fan_in, fan_out), rel=0.03)  # 18 000 numbers: 0.5 %
    assert abs(float(weight.mean())) < 0.05 * spread(weight)
    assert not layer.bias.any()


def test_laws_have_the_shape_of_their_name():
    layer = nn.Linear(300, 300)
    kurtosis, reach = {}, {}
    for scheme in ("glorot", "glorot_uniform", "truncated_normal"):
        initialise(layer, scheme, seed=0)
        values = layer.weight.detach() / layer.weight.detach().std()
        kurtosis[scheme], reach[scheme] = float((values**4).mean()), float(values.abs().max())
    assert kurtosis["glorot"] == pytest.approx(3, abs=0.1)
    assert kurtosis["glorot_uniform"] == pytest.approx(1.8, abs=0.05)
    assert reach["truncated_normal"] == pytest.approx(2 / 0.8796257, rel=0.01)


def test_a_gain_takes_the_place_of_the_scheme_s_own_for_all_layers_or_for_some():
    model = nn.Sequential(nn.Linear(200, 200), nn.Linear(200, 200))
    initialise(model, "he", gain=3.0, seed=0)
    assert spread(model[1].weight) == pytest.approx(3 / math.sqrt(200), rel=0.03)
    initialise(model, "he", gain={"1": 0.5}, seed=0)
    assert spread(model[0].weight) == pytest.approx(math.sqrt(2 / 200), rel=0.03)
    assert spread(model[1].weight) == pytest.approx(0.5 / math.sqrt(200), rel=0.03)


def test_critical_takes_gains_and_biases_from_the_caller():
    model = nn.Sequential(nn.Linear(200, 400), nn.Tanh(), nn.Linear(400, 200))
    initialise(model, "critical", gain={"0": 1.2, "2": 1.0}, sigma_b=0.3, seed=0)
    assert spread(model[0].weight) == pytest.approx(1.2 / math.sqrt(200), rel=0.03)
    assert spread(model[0].bias) == pytest.approx(0.3, rel=0.15)
    with pytest.raises(IsometryError, match="no gain is given for `2`"):
        initialise(model, "critical", gain={"0": 1.2})


@pytest.mark.parametrize("shape", [(64, 64), (64, 96), (96, 64)])
def test_orthogonal_matrices_have_one_singular_value(shape):
    layer = nn.Linear(*shape)
    initialise(layer, "orthogonal", gain=1.5, seed=0)
    assert torch.linalg.svdvals(layer.weight).detach().numpy() == pytest.approx(1.5, abs=1e-5)


def test_delta_orthogonal_convolutions_keep_norms_through_thirty_layers_of_tanh():
    layers = [module for _ in range(30) for module in (nn.Conv2d(24, 24, 3, padding=1, bias=False), nn.Tanh())]
    model = nn.Sequential(*layers)
    assert len(initialise(model, "orthogonal", seed=0)) == 30
    taps = model[0].weight.detach().clone()
    assert torch.allclose(taps[:, :, 1, 1] @ taps[:, :, 1, 1].T, torch.eye(24), atol=1e-5)
    taps[:, :, 1, 1] = 0
    assert not taps.any()
    inputs = 0.05 * torch.randn(4, 24, 8, 8, generator=torch.Generator().manual_seed(1))
    inputs.requires_grad_()
    output = model(inputs)
    output.sum().backward()
    # 1 / q grows by 2 a layer, from 400 to 460, and a gradient loses E φ′² ≈ 1 − 2 q
    assert float(output.detach().norm() / inputs.detach().norm()) == pytest.approx(math.sqrt(400 / 460), abs=0.02)
    assert float(inputs.grad.norm()) / math.sqrt(output.numel()) == pytest.approx(math.sqrt(400 / 460), abs=0.02)


def test_every_group_of_a_convolution_is_orthogonal_by_itself():
    layer = nn.Conv2d(12, 24, 1, groups=3)
    initialise(layer, "orthogonal", seed=0)
    for group in layer.weight.detach().flatten(1).chunk(3):
        assert torch.allclose(group.T @ group, torch.eye(4), atol=1e-5)


def test_a_kernel_that_narrows_cannot_be_delta_orthogonal_and_nothing_is_changed():
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 4, 3))
    before = state(model)
    with pytest.raises(CannotEdit, match=r"`1`: .* has 4 and 8"):
        initialise(model, "orthogonal", seed=0)
    assert same(state(model), before)
    assert initialise(model, "orthogonal", layers=["0"]) == ("0.weight", "0.bias")


def test_he_keeps_the_gradient_of_thirty_relu_layers_and_glorot_does_not():
    inputs = torch.randn(32, 256, generator=torch.Generator().manual_seed(1))
    model = deep(30, 256, nn.ReLU)
    initialise(model, "he", seed=0)
    norms = gradient_norms(model, inputs)
    # Var log10 ‖δ‖ of L layers of width n is about 5 L / (4 n ln² 10): 0.17 decades
    assert abs(math.log10(norms[0] / norms[-1])) < 0.5
    initialise(model, "glorot", seed=0)
    norms = gradient_norms(model, inputs)
    assert math.log10(norms[0] / norms[-1]) == pytest.approx(-0.5 * math.log10(2) * 29, abs=0.5)


def test_orthogonal_keeps_a_linear_network_exactly():
    model = deep(30, 64, nn.Identity)
    initialise(model, "orthogonal", seed=0)
    norms = gradient_norms(model, torch.randn(8, 64))
    assert norms == pytest.approx(norms[-1], rel=1e-4)


# ------------------------------------------------------------------- random numbers


def test_weights_do_not_repeat_data_that_were_drawn_with_the_same_seed():
    data = torch.randn(64, 64, generator=torch.Generator().manual_seed(3))
    layer = nn.Linear(64, 64)
    initialise(layer, "lecun", seed=3)
    assert abs(float(torch.corrcoef(torch.stack([layer.weight.detach().flatten(), data.flatten()]))[0, 1])) < 0.1


def test_a_seed_fixes_the_weights_and_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    model = deep(3, 16, nn.ReLU)
    torch.set_rng_state(before)
    for scheme in [*WITHOUT_BATCH, "orthogonal", "lsuv", "moments"]:
        batch = None if scheme in WITHOUT_BATCH else torch.ones(4, 16) + torch.arange(16)
        initialise(model, scheme, batch=batch, seed=5)
        first = state(model)
        initialise(model, scheme, batch=batch, seed=5)
        assert same(state(model), first)
        initialise(model, scheme, batch=batch)
        assert not same(state(model), first)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("scheme", ["he", "orthogonal", "truncated_normal", "lsuv", "moments"])
def test_dtype_and_gradient_flags_stay_as_they_were(scheme, dtype):
    model = deep(2, 32, nn.ReLU).to(dtype)
    with torch.no_grad():
        initialise(model, scheme, batch=torch.randn(16, 32, dtype=dtype), seed=0)
    assert all(parameter.dtype == dtype and parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.is_leaf and parameter.grad is None for parameter in model.parameters())


# ----------------------------------------------------------------- what is left alone


def test_frozen_parameters_norms_and_embeddings_are_left_alone():
    model = Tagger()
    model.norm = nn.LayerNorm(10)
    model.head.weight.requires_grad_(False)
    nn.init.constant_(model.norm.weight, 0.7)
    before = state(model)
    changed = initialise(model, "he", seed=0)
    after = state(model)
    assert {name for name in after if not torch.equal(after[name], before[name])} == set(changed)
    assert changed == tuple(name for name in before if name.startswith("lstm."))


def test_a_tied_weight_is_drawn_once():
    model = nn.Sequential(nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 40))
    model[2].weight = model[0].weight
    assert initialise(model, "he", seed=0) == ("0.weight", "0.bias", "2.bias")
    assert model[2].weight is model[0].weight
    alone = nn.Linear(40, 40)
    initialise(alone, "he", seed=0)
    assert torch.equal(alone.weight, model[0].weight)


def test_an_embedding_is_drawn_where_a_layer_multiplies_by_it():
    model = Transformer()
    initialise(model, "lecun", seed=0)
    assert spread(model.embedding.weight) == pytest.approx(1 / 4, rel=0.2)
    assert model.head.weight is model.embedding.weight


def test_layers_choose_what_is_set():
    model = deep(3, 8, nn.ReLU)
    before = state(model)
    assert initialise(model, "he", layers=["2"], seed=0) == ("2.weight", "2.bias")
    after = state(model)
    assert {name for name in after if not torch.equal(after[name], before[name])} == {"2.weight", "2.bias"}


def test_attention_has_three_matrices_in_one_parameter():
    layer = nn.MultiheadAttention(64, 4)
    changed = initialise(layer, "orthogonal", seed=0)
    assert changed == ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    for part in [*layer.in_proj_weight.detach().chunk(3), layer.out_proj.weight.detach()]:
        assert torch.allclose(part @ part.T, torch.eye(64), atol=1e-5)


# --------------------------------------------------------------------------- recurrent


@pytest.mark.parametrize(("build", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1), (nn.LSTMCell, 4)])
def test_recurrent_layers_get_glorot_and_one_orthogonal_matrix_for_each_gate(build, gates):
    layer = build(100, 60)
    initialise(layer, "he", seed=0)
    parameters = dict(layer.named_parameters())
    recurrent = next(tensor for name, tensor in parameters.items() if name.startswith("weight_hh")).detach()
    inputs = next(tensor for name, tensor in parameters.items() if name.startswith("weight_ih")).detach()
    assert recurrent.shape[0] == gates * 60
    for gate in recurrent.chunk(gates):
        assert torch.allclose(gate @ gate.T, torch.eye(60), atol=1e-5)
    assert spread(inputs) == pytest.approx(math.sqrt(2 / 160), rel=0.04)
    assert not any(tensor.any() for name, tensor in parameters.items() if "bias" in name)


def test_forget_gates_of_an_lstm_may_start_open():
    model = Tagger()
    initialise(model, "glorot", forget_bias=1.0, seed=0)
    for layer in range(2):
        total = (getattr(model.lstm, f"bias_ih_l{layer}") + getattr(model.lstm, f"bias_hh_l{layer}")).detach()
        assert total.view(4, 16).mean(1).tolist() == [0, 1, 0, 0]
    with pytest.raises(CannotEdit, match="no LSTM"):
        initialise(nn.GRU(3, 4), "glorot", forget_bias=1.0)


# ------------------------------------------------------------------------------ errors


def test_an_unknown_scheme_is_answered_with_those_that_exist():
    with pytest.raises(IsometryError) as told:
        initialise(nn.Linear(3, 3), "xavier")
    assert all(scheme in str(told.value) for scheme in SCHEMES)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scheme": "lsuv"}, "give one batch"),
        ({"scheme": "lsuv", "batch": torch.ones(2, 3), "gain": 2.0}, "leave out `gain`"),
        ({"scheme": "moments", "batch": torch.ones(2, 3), "sigma_b": 2.0}, "leave out `sigma_b`"),
        ({"scheme": "rezero", "batch": torch.ones(2, 3), "forget_bias": 1.0}, "a scheme that draws weights"),
        ({"scheme": "he", "gain": -1.0}, "above 0"),
        ({"scheme": "he", "gain": math.nan}, "above 0"),
        ({"scheme": "he", "gain": {"fc": 1.0}}, "gain: fc cannot be set. There are 0, 2"),
        ({"scheme": "he", "layers": ["fc"]}, "layers: fc cannot be set"),
        ({"scheme": "critical"}, "no gain is given for `0` and 1 more"),
        ({"scheme": "he", "layers": []}, "No weight can be set"),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_is_changed(options, words):
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    before = state(model)
    with pytest.raises(IsometryError, match=words):
        initialise(model, **options)
    assert same(state(model), before)


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_a_computed_weight_is_refused(wrap):
    model = nn.Sequential(nn.Linear(4, 4), wrap(nn.Linear(4, 4)))
    before = state(model)
    with pytest.raises(CannotEdit, match="`1`: its weight is computed from other parameters"):
        initialise(model, "he")
    assert same(state(model), before)
    assert initialise(model, "he", layers=["0"]) == ("0.weight", "0.bias")


def test_a_weight_without_values_is_refused():
    with pytest.raises(CannotEdit, match="no values yet"):
        initialise(nn.LazyLinear(4), "he")
    with pytest.raises(CannotEdit, match="no values yet"):
        initialise(nn.Linear(4, 4, device="meta"), "he")


def test_a_forward_pass_that_fails_leaves_the_weights_as_they_were():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(5, 4))
    before = state(model)
    with pytest.raises(UnsupportedModel, match="forward pass of Sequential failed"):
        initialise(model, "lsuv", batch=torch.randn(8, 4))
    assert same(state(model), before)
