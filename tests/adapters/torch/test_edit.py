"""Changes to live models, held against the same models written by hand."""

import copy
import inspect
import io
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from isometry import CannotEdit, UnsupportedModel
from isometry.adapters.torch.alteration import FUNCTIONS
from isometry.adapters.torch.describe import describe
from isometry.adapters.torch.edit import edit
from isometry.adapters.torch.inserted import BatchNormOfUnits, activation_module
from isometry.adapters.torch.inspector import Inspector
from isometry.network.edits import (
    AddSkip,
    Clip,
    InsertNorm,
    Reinitialise,
    ReplaceActivation,
    ScaleWeights,
    Unfreeze,
)
from tests.adapters.torch.nets import HandMadeRnn, ResNet, Transformer

LAYERS = ("fc1", "fc2")


class Net(nn.Module):
    """Two layers with whatever stands around φ, written by hand."""

    def __init__(self, activation, before=None, after=None, skip=False) -> None:
        super().__init__()
        self.fc1, self.fc2, self.head = nn.Linear(20, 20), nn.Linear(20, 20), nn.Linear(20, 5)
        self.activation, self.skip = activation, skip
        self.before = nn.ModuleList([before(20), before(20)]) if before else [nn.Identity()] * 2
        self.after = nn.ModuleList([after(20), after(20)]) if after else [nn.Identity()] * 2

    def forward(self, x: Tensor) -> Tensor:
        for layer, before, after in zip((self.fc1, self.fc2), self.before, self.after, strict=True):
            h = after(self.activation(before(layer(x))))
            x = h + x if self.skip else h
        return self.head(x)


class Own(nn.Module):
    """The same with a module for each φ."""

    def __init__(self, activation) -> None:
        super().__init__()
        self.fc1, self.fc2, self.head = nn.Linear(20, 20), nn.Linear(20, 20), nn.Linear(20, 5)
        self.act1, self.act2 = activation(), activation()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act2(self.fc2(self.act1(self.fc1(x)))))


class Sigmoid(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return torch.sigmoid(z)


def written_in_place(z: Tensor) -> Tensor:
    torch.sigmoid_(z)
    return z * 1.0


MODELS = {
    "function": lambda: Net(torch.sigmoid),
    "shared module": lambda: Net(nn.Sigmoid()),
    "in place": lambda: Net(torch.sigmoid_),
    "in place, by statement": lambda: Net(written_in_place),
    "own modules": lambda: Own(nn.Sigmoid),
    "own modules of the user's": lambda: Own(Sigmoid),
}

EDITS = {
    "another φ": ((ReplaceActivation(LAYERS, "tanh"),), lambda: Net(torch.tanh)),
    "layer norm": ((InsertNorm(LAYERS, "layer"),), lambda: Net(torch.sigmoid, before=nn.LayerNorm)),
    "batch norm": ((InsertNorm(LAYERS, "batch"),), lambda: Net(torch.sigmoid, before=nn.BatchNorm1d)),
    "layer norm after": ((InsertNorm(LAYERS, "layer", after=True),), lambda: Net(torch.sigmoid, after=nn.LayerNorm)),
    "batch norm after": ((InsertNorm(LAYERS, "batch", after=True),), lambda: Net(torch.sigmoid, after=nn.BatchNorm1d)),
    "skip": ((AddSkip(LAYERS),), lambda: Net(torch.sigmoid, skip=True)),
    "all": (
        (
            AddSkip(("fc2", "fc1")),
            InsertNorm(LAYERS, "batch"),
            ReplaceActivation(("fc1",), "relu"),
            ReplaceActivation(("fc2",), "relu"),
            InsertNorm(LAYERS, "layer", after=True),
        ),
        lambda: Net(torch.relu, before=nn.BatchNorm1d, after=nn.LayerNorm, skip=True),
    ),
}


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def trained(model: nn.Module, steps: int = 4) -> list[Tensor]:
    """Outputs while it trains, then in evaluation."""
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    model.train()
    outputs = []
    for step in range(steps):
        outputs.append(model(numbers(16, 20, seed=step)))
        optimizer.zero_grad()
        outputs[-1].square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        outputs.append(model.eval()(numbers(3, 20)))
    return [output.detach() for output in outputs]


def with_weights_of(model: nn.Module, other: nn.Module) -> nn.Module:
    model.load_state_dict(other.state_dict(), strict=False)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("change", EDITS)
@pytest.mark.parametrize("kind", MODELS)
def test_an_edited_model_trains_as_one_written_by_hand(kind, change):
    edits, by_hand = EDITS[change]
    model = MODELS[kind]()
    expected = with_weights_of(by_hand(), model)
    assert edit(model, edits, batch=numbers(16, 20)) == ()
    for found, wanted in zip(trained(model), trained(expected), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in expected.parameters())


@pytest.mark.parametrize("change", EDITS)
@pytest.mark.parametrize("kind", ["shared module", "own modules"])
def test_copies_and_pickles_train_alike_and_apart(kind, change):
    edits, _ = EDITS[change]
    model = MODELS[kind]()
    edit(model, edits, batch=numbers(16, 20))
    saved = io.BytesIO()
    torch.save(model, saved)
    saved.seek(0)
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(saved, weights_only=False)]
    fresh = MODELS[kind]()
    edit(fresh, edits, batch=numbers(16, 20))
    fresh.load_state_dict(model.state_dict())
    outputs = [trained(one) for one in (*copies, fresh)]
    expected = trained(model)
    for found in outputs:
        for one, wanted in zip(found, expected, strict=True):
            assert torch.equal(one, wanted)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_modules_are_the_functions_of_their_name(name):
    z = torch.linspace(-7, 7, 57)
    assert torch.equal(activation_module(name)(z), FUNCTIONS[name](z))
    model = Own(nn.Sigmoid)
    expected = with_weights_of(Net(FUNCTIONS[name]), model)
    edit(model, [ReplaceActivation(LAYERS, name)], batch=numbers(4, 20))
    assert torch.equal(model(numbers(4, 20)), expected(numbers(4, 20)))


# ------------------------------------------------------------------------ which way


def test_modules_of_their_own_are_put_in_the_place_of_others_and_nothing_else_is_touched():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    edit(model, [ReplaceActivation(("0",), "gelu_tanh"), InsertNorm(("2",), "batch")], batch=numbers(8, 4))
    assert repr(model[1]) == "GELU(approximate='tanh')"
    assert [type(part).__name__ for part in model[3].children()] == ["BatchNorm1d", "ReLU"]
    assert "forward" not in vars(model)
    assert describe(model, numbers(8, 4)).names == ("0", "2", "3.norm", "4")


def test_a_module_that_serves_all_layers_is_replaced_as_a_whole():
    model = Net(nn.Sigmoid())
    edit(model, [ReplaceActivation(LAYERS, "relu")], batch=numbers(4, 20))
    assert isinstance(model.activation, nn.ReLU)
    assert "forward" not in vars(model)


def test_a_module_that_is_called_from_elsewhere_too_still_changes():
    class Listed(Own):
        def __init__(self) -> None:
            super().__init__(nn.Sigmoid)
            self.steps = [self.fc1, self.act1, self.fc2, self.act2, self.head]

        def forward(self, x: Tensor) -> Tensor:
            for step in self.steps:
                x = step(x)
            return x

    model = Listed()
    expected = with_weights_of(Net(torch.relu, before=nn.LayerNorm), model)
    edit(model, [ReplaceActivation(LAYERS, "relu"), InsertNorm(LAYERS, "layer")], batch=numbers(4, 20))
    torch.testing.assert_close(model(numbers(4, 20)), expected(numbers(4, 20)))


def test_layers_keep_their_names_and_norms_are_layers_of_their_own():
    model = Net(torch.sigmoid)
    edit(model, [InsertNorm(("fc1",), "layer"), AddSkip(("fc2",))], batch=numbers(16, 20))
    architecture = describe(model, numbers(16, 20))
    assert architecture.names == ("fc1", "fc1.inserted_norm", "fc2", "add", "head")
    assert architecture["fc1"].norm == "fc1.inserted_norm"
    assert architecture["fc1.inserted_norm"].activation == "sigmoid"
    assert "fc1.inserted_norm.weight" in model.state_dict()


def test_the_smallest_module_that_holds_a_function_call_makes_the_change():
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(self.fc(x))

    model = nn.Sequential(Block(), Block())
    batch = numbers(8, 6)
    edit(model, [InsertNorm(("0.fc", "1.fc"), "batch"), AddSkip(("0.fc",))], batch=batch)
    assert "forward" not in vars(model)
    part = model[0](batch)
    assert torch.equal(part, torch.tanh(model[0].fc.inserted_norm(model[0].fc(batch))) + batch)
    whole = model(batch).sum()
    again = checkpoint(model[1], checkpoint(model[0], batch, use_reentrant=False), use_reentrant=False).sum()
    parameters = list(model.parameters())
    for one, other in zip(torch.autograd.grad(whole, parameters), torch.autograd.grad(again, parameters), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("reentrant", [True, False])
def test_what_the_backward_pass_computes_again_outside_of_any_module_is_refused(reentrant):
    class Saving(Net):
        def forward(self, x: Tensor) -> Tensor:
            x = x + self.fc1.bias  # the reentrant kind wants an input that asks for a gradient
            x = checkpoint(lambda x: self.activation(self.fc1(x)), x, use_reentrant=reentrant)
            return self.head(self.activation(self.fc2(x)))

    def by_hand(model: nn.Module, first, x: Tensor) -> Tensor:
        return model.head(torch.tanh(model.fc2(first(model.fc1(x + model.fc1.bias)))))

    model, x = Saving(torch.sigmoid), numbers(4, 20)
    told = edit(model, [ReplaceActivation(LAYERS, "tanh")], batch=x)
    assert len(told) == 1
    assert told[0].startswith("`fc1`: its nonlinearity is computed where")
    assert torch.equal(model(x), by_hand(model, torch.sigmoid, x))
    with pytest.raises(CannotEdit, match="again in the backward pass"):
        edit(Saving(torch.sigmoid), [AddSkip(("fc1",))], batch=x)
    shared = Saving(nn.Sigmoid())
    assert edit(shared, [ReplaceActivation(LAYERS, "tanh")], batch=x) == ()
    expected = torch.autograd.grad(by_hand(shared, torch.tanh, x).sum(), shared.fc1.weight)
    shared(x).sum().backward()
    torch.testing.assert_close(shared.fc1.weight.grad, expected[0])


def test_only_the_layers_that_are_named_change():
    model = Net(torch.sigmoid)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    edit(model, [ReplaceActivation(("fc2",), "relu"), Reinitialise(("fc2",), 1.0)], batch=numbers(4, 20))
    x = numbers(4, 20)
    assert torch.equal(model(x), model.head(torch.relu(model.fc2(torch.sigmoid(model.fc1(x))))))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, weights[name])}
    assert changed == {"fc2.weight", "fc2.bias"}


# ----------------------------------------------------------------- kinds of networks


@pytest.mark.parametrize(
    ("layer", "shape", "norm", "expected"),
    [
        (nn.Linear(6, 6), (8, 6), "layer", nn.LayerNorm),
        (nn.Linear(6, 6), (8, 6), "batch", nn.BatchNorm1d),
        (nn.Linear(6, 6), (8, 5, 6), "layer", nn.LayerNorm),
        (nn.Linear(6, 6), (8, 5, 6), "batch", BatchNormOfUnits),
        (nn.Conv1d(6, 6, 3), (8, 6, 9), "batch", nn.BatchNorm1d),
        (nn.Conv2d(6, 6, 3), (8, 6, 9, 9), "layer", nn.GroupNorm),
        (nn.Conv2d(6, 6, 3), (8, 6, 9, 9), "batch", nn.BatchNorm2d),
        (nn.ConvTranspose2d(6, 6, 3), (8, 6, 9, 9), "batch", nn.BatchNorm2d),
        (nn.Conv3d(6, 6, 3), (8, 6, 5, 5, 5), "batch", nn.BatchNorm3d),
    ],
)
@pytest.mark.parametrize("activation", [nn.Tanh(), torch.tanh])
def test_norms_go_over_the_units(layer, shape, norm, expected, activation):
    class OneLayer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.activation = layer, activation

        def forward(self, x: Tensor) -> Tensor:
            return self.activation(self.layer(x))

    model = copy.deepcopy(OneLayer())
    batch = numbers(*shape)
    edit(model, [InsertNorm(("layer",), norm)], batch=batch)
    found = next(part for part in model.modules() if type(part) is expected)
    assert len(found.weight) == 6
    z = torch.atanh(model(batch).clamp(-1 + 1e-7, 1 - 1e-7))
    units = 1 if "Conv" in type(layer).__name__ else z.dim() - 1
    over = [k for k in range(z.dim()) if k != units]
    if norm == "layer":
        over = [units] if units == z.dim() - 1 else list(range(1, z.dim()))
    torch.testing.assert_close(z.mean(over), torch.zeros_like(z.mean(over)), atol=2e-3, rtol=0)
    torch.testing.assert_close(z.std(over, correction=0), torch.ones_like(z.mean(over)), atol=2e-2, rtol=0)


def test_batch_norm_of_units_is_that_of_torch_with_the_dimensions_turned():
    own, torchs = BatchNormOfUnits(6), nn.BatchNorm1d(6)
    for seed in range(3):
        values = 3 * numbers(4, 5, 6, seed=seed) + 1
        torch.testing.assert_close(own(values), torchs(values.transpose(1, 2)).transpose(1, 2))
    values = numbers(4, 5, 6)
    torch.testing.assert_close(own.eval()(values), torchs.eval()(values.transpose(1, 2)).transpose(1, 2))
    assert own.state_dict().keys() == torchs.state_dict().keys()
    assert int(own.num_batches_tracked) == 3


def test_residual_networks_with_one_relu_in_place():
    torch.manual_seed(0)
    model = ResNet()
    batch = numbers(4, 1, 8, 8)
    block = model.layer1
    told = edit(
        model,
        [
            ReplaceActivation(("stem.0", "layer1.conv1", "layer1.add", "layer2.conv1"), "tanh"),
            InsertNorm(("layer1.add",), "layer", after=True),
            AddSkip(("layer1.conv1", "layer2.conv1")),
        ],
        batch=batch,
    )
    assert told == ("`layer2.conv1`: it reads (4, 8, 8, 8) and gives (4, 16, 4, 4); a skip needs equal shapes.",)
    x = torch.tanh(model.stem[1](model.stem[0](batch)))
    inner = torch.tanh(block.bn1(block.conv1(x))) + x
    expected = block.inserted_norm_layer1_add_after(torch.tanh(block.bn2(block.conv2(inner)) + x))
    torch.testing.assert_close(model.layer1(model.stem(batch)), expected)
    architecture = describe(model, batch)
    assert architecture["layer1.bn1"].activation == "tanh"
    assert architecture["layer2.add"].activation == "relu"
    model(batch).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_norm_between_a_layer_and_its_activation_stays_there():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten())
    other = copy.deepcopy(model)
    batch = numbers(4, 2, 6, 6)
    edit(model, [ReplaceActivation(("0",), "tanh")], batch=batch)
    edit(other, [ReplaceActivation(("1",), "tanh")], batch=batch)
    assert isinstance(model[2], nn.Tanh)
    assert isinstance(other[2], nn.Tanh)


def test_transformers_do_not_evaluate_their_fused_pass():
    torch.manual_seed(0)
    model = Transformer()
    tokens = torch.randint(0, 20, (4, 12))
    layers = ("encoder.layers.0.linear1", "encoder.layers.1.linear1")
    edit(model, [ReplaceActivation(layers, "tanh"), InsertNorm(layers[:1], "batch")], batch=tokens)
    model.eval()
    with torch.no_grad():
        fast = model(tokens)
    torch.testing.assert_close(fast, model(tokens))
    plain = nn.TransformerEncoderLayer(16, 4, 32, activation=nn.GELU(), batch_first=True).eval()
    edit(plain, [ReplaceActivation(("linear1",), "relu")], batch=numbers(2, 5, 16))
    with torch.no_grad():
        fast = plain(numbers(2, 5, 16))
    assert isinstance(plain.activation, nn.ReLU)
    torch.testing.assert_close(fast, plain(numbers(2, 5, 16)))


def test_a_layer_that_runs_at_every_step_of_a_sequence_changes_at_each_and_for_every_length():
    torch.manual_seed(0)
    model = HandMadeRnn()
    edit(model, [ReplaceActivation(("h2h",), "relu"), InsertNorm(("h2h",), "layer")], batch=numbers(4, 12, 4))
    x = numbers(4, 17, 4)
    state = torch.zeros(4, 16)
    for step in range(17):
        state = torch.relu(model.h2h.inserted_norm(model.i2h(x[:, step]) + model.h2h(state)))
    torch.testing.assert_close(model(x), model.out(state))


def test_tied_modules_change_wherever_they_run():
    shared = nn.Linear(6, 6)
    model = nn.Sequential(shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(6, 2))
    edit(model, [ReplaceActivation(("0",), "relu"), InsertNorm(("0",), "layer")], batch=numbers(4, 6))
    assert isinstance(model[1].activation, nn.ReLU)
    assert isinstance(model[3].activation, nn.ReLU)
    assert model[0] is model[2]


def test_layers_with_one_weight_and_no_bias_are_told_apart():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
            self.fc2.weight = self.fc1.weight

        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(self.fc2(torch.tanh(self.fc1(x))))

    model, x = Tied(), numbers(4, 6)
    edit(model, [ReplaceActivation(("fc2",), "relu")], batch=x)
    assert torch.equal(model(x), torch.relu(model.fc2(torch.tanh(model.fc1(x)))))


def test_weights_that_stand_in_the_model_itself_are_layers_too():
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Parameter(numbers(6, 6)), nn.Parameter(numbers(6, 6, seed=1))
            self.head = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.tanh(x @ self.first.t())
            return self.head(torch.tanh(x @ self.second.t()))

    model, x = Bare(), numbers(4, 6)
    edit(model, [InsertNorm(("first",), "layer"), AddSkip(("second",))], batch=x)
    h = torch.tanh(model.inserted_norm_first(x @ model.first.t()))
    torch.testing.assert_close(model(x), model.head(torch.tanh(h @ model.second.t()) + h))


class Swish(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z * torch.sigmoid(z)


def test_a_nonlinearity_of_several_operations_is_exchanged_as_a_module():
    model = Own(Swish)
    edit(model, [ReplaceActivation(("fc1",), "relu"), InsertNorm(("fc2",), "layer")], batch=numbers(4, 20))
    assert isinstance(model.act1, nn.ReLU)
    assert isinstance(model.act2.activation, Swish)
    with pytest.raises(CannotEdit, match="in several operations by a Swish, beside which there is no room"):
        edit(Own(Swish), [AddSkip(("fc1",))], batch=numbers(4, 20))
    with pytest.raises(CannotEdit, match="by a Swish that serves other layers too"):
        edit(Net(Swish()), [ReplaceActivation(("fc1",), "relu")], batch=numbers(4, 20))


class ItsGELU(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return F.gelu(z)


class Square(nn.Module):
    """A function that has no name here."""

    def forward(self, z: Tensor) -> Tensor:
        return z * z


def test_a_norm_stands_before_a_function_without_a_name():
    model = nn.Sequential(nn.Linear(20, 20), Square(), nn.Linear(20, 20), Square(), nn.Linear(20, 5))
    own, x = copy.deepcopy(model), torch.randn(64, 20)
    assert not edit(model, [InsertNorm(("0", "2"), "layer")], batch=x)
    wanted = own[4](Square()(F.layer_norm(own[2](Square()(F.layer_norm(own[0](x), (20,)))), (20,))))
    assert torch.allclose(model(x), wanted, atol=1e-6)


def test_a_function_without_a_name_is_neither_replaced_nor_gone_round():
    model = nn.Sequential(nn.Linear(20, 20), Square(), nn.Linear(20, 5))
    for change in (ReplaceActivation(("0",), "relu"), AddSkip(("0",))):
        with pytest.raises(CannotEdit, match="a Square, has no name here"):
            edit(model, [change], batch=torch.randn(64, 20))


@pytest.mark.parametrize("between", [nn.Dropout(0.5), nn.Identity(), nn.Flatten()])
def test_what_is_no_function_of_the_users_own_gets_no_norm(between):
    model = nn.Sequential(nn.Linear(20, 20), between, nn.Linear(20, 5))
    with pytest.raises(CannotEdit, match="no nonlinearity follows"):
        edit(model, [InsertNorm(("0",), "layer")], batch=torch.randn(64, 20))


def test_a_module_named_after_its_nonlinearity_may_be_a_single_operation():
    model, x = Own(ItsGELU), numbers(4, 20)
    expected = with_weights_of(Net(F.gelu, skip=True), model)
    edit(model, [AddSkip(LAYERS)], batch=x)
    torch.testing.assert_close(model(x), expected(x))


def test_prelu_loses_its_slope_only_where_it_is_replaced():
    model = Own(nn.PReLU)
    edit(model, [ReplaceActivation(("fc1",), "relu"), InsertNorm(("fc2",), "layer")], batch=numbers(4, 20))
    assert isinstance(model.act1, nn.ReLU)
    assert "act2.weight" in dict(model.named_parameters())
    x = numbers(4, 20)
    h = model.act1(model.fc1(x))
    torch.testing.assert_close(model(x), model.head(F.prelu(model.fc2.inserted_norm(model.fc2(h)), model.act2.weight)))
    edit(model, [ReplaceActivation(("fc2",), "relu")], batch=numbers(4, 20))
    torch.testing.assert_close(model(x), model.head(torch.relu(model.fc2.inserted_norm(model.fc2(h)))))


# ------------------------------------------------------------------ what stays right


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["function", "own modules"])
def test_the_mode_of_the_model_is_that_of_its_norms(kind, training):
    model = MODELS[kind]().train(training)
    edit(model, [InsertNorm(LAYERS, "batch")], batch=numbers(16, 20))
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm1d)]
    assert [norm.training for norm in norms] == [training] * 2
    assert all(int(norm.num_batches_tracked) == 0 for norm in norms)
    model.train()(numbers(16, 20))
    assert all(int(norm.num_batches_tracked) == 1 for norm in norms)
    with torch.no_grad():
        alone = model.eval()(numbers(16, 20))[:1]
        torch.testing.assert_close(model(numbers(16, 20)[:1]), alone)


def test_norms_have_the_precision_of_their_layer():
    model = Net(torch.sigmoid).double()
    edit(model, [InsertNorm(("fc1",), "batch")], batch=numbers(16, 20).double())
    assert model.fc1.inserted_norm.weight.dtype == torch.float64
    assert model(numbers(4, 20).double()).dtype == torch.float64


def test_torch_func_calls_the_edited_model_with_other_parameters():
    model = Net(torch.sigmoid)
    edit(model, [ReplaceActivation(("fc1",), "relu"), InsertNorm(("fc2",), "layer")], batch=numbers(4, 20))
    others = {name: 2 * value.detach() for name, value in model.named_parameters()}
    found = functional_call(model, others, (numbers(4, 20),))
    expected = copy.deepcopy(model)
    expected.load_state_dict(others)
    assert torch.equal(found, expected(numbers(4, 20)))
    stacked = {name: torch.stack([value, value]) for name, value in others.items()}
    x = numbers(4, 20)
    batched = torch.vmap(lambda own: functional_call(model, own, (x,)))(stacked)
    torch.testing.assert_close(batched[1], found)


def test_an_inspector_looks_at_the_model_as_it_was_edited():
    model = Net(torch.sigmoid)
    edit(model, [InsertNorm(("fc1",), "layer")], batch=numbers(4, 20))
    assert "fc1.inserted_norm" in Inspector(model, (numbers(4, 20),), {}).measure().architecture


def test_the_signature_of_the_forward_pass_is_still_told():
    model = Net(torch.sigmoid)
    edit(model, [ReplaceActivation(("fc1",), "relu")], batch=numbers(4, 20))
    assert list(inspect.signature(model.forward).parameters) == ["x"]


def test_buffers_and_random_numbers_stay_as_they_were():
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(), nn.Linear(6, 2))
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    edit(model, [ReplaceActivation(("0",), "relu")], batch=numbers(8, 6))
    edit(copy.deepcopy(model), [Reinitialise(("0",), 1.0)], batch=numbers(8, 6))
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", MODELS)
def test_later_edits_add_to_the_first(kind):
    rounds = (
        (InsertNorm(LAYERS, "batch"), InsertNorm(LAYERS, "layer", after=True), AddSkip(("fc1",))),
        (ReplaceActivation(LAYERS, "tanh"),),
        (AddSkip(("fc2",)),),
    )
    both, one_by_one = MODELS[kind](), MODELS[kind]()
    one_by_one.load_state_dict(both.state_dict())
    edit(both, [edit for some in rounds for edit in some], batch=numbers(16, 20))
    for some in rounds:
        edit(one_by_one, some, batch=numbers(16, 20))
    assert len(list(one_by_one.parameters())) == len(list(both.parameters()))
    for found, wanted in zip(trained(one_by_one), trained(both), strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("kind", ["own modules", "function"])
def test_norms_that_have_learnt_stay_when_a_skip_is_added(kind):
    model = MODELS[kind]()
    edit(model, [InsertNorm(LAYERS, "layer")], batch=numbers(16, 20))
    trained(model)
    norms = [part for part in model.modules() if isinstance(part, nn.LayerNorm)]
    edit(model, [AddSkip(LAYERS)], batch=numbers(16, 20))
    assert {id(part) for part in model.modules() if isinstance(part, nn.LayerNorm)} == set(map(id, norms))
    edit(model, [InsertNorm(LAYERS, "batch")], batch=numbers(16, 20))
    assert not any(isinstance(part, nn.LayerNorm) for part in model.modules())


def test_several_changes_in_nested_modules_do_not_disturb_each_other():
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(self.fc(x))

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.head = Inner(), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.inner(x) + x))  # of the sum, and no parameter between the two φ

    model, x = Outer(), numbers(8, 6)
    edit(model, [ReplaceActivation(("inner.fc",), "relu"), ReplaceActivation(("add",), "tanh")], batch=x)
    assert torch.equal(model(x), model.head(torch.tanh(torch.relu(model.inner.fc(x)) + x)))
    edit(model, [InsertNorm(("inner.fc",), "layer", after=True)], batch=x)
    inner = model.inner.fc.inserted_norm_after(torch.relu(model.inner.fc(x)))
    torch.testing.assert_close(model(x), model.head(torch.tanh(inner + x)))


# --------------------------------------------------------------------------- weights


def test_weights_are_drawn_with_the_gain_and_biases_are_zero():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 200), nn.Tanh(), nn.Unflatten(1, (8, 5, 5)), nn.Conv2d(8, 40, 3))
    edit(model, [Reinitialise(("0", "3"), 1.7)], batch=numbers(2, 300))
    for layer, fan_in in ((model[0], 300), (model[3], 72)):
        assert float(layer.weight.detach().std()) * math.sqrt(fan_in) == pytest.approx(1.7, rel=0.03)
        assert not layer.bias.any()


@pytest.mark.parametrize("shape", [(30, 30), (50, 20), (20, 50)])
def test_orthogonal_weights_have_that_deviation_too(shape):
    outputs, inputs = shape
    layer = nn.Linear(inputs, outputs)
    edit(layer, [Reinitialise(("Linear",), 1.5, orthogonal=True)], batch=numbers(2, inputs))
    values = torch.linalg.svdvals(layer.weight.detach())
    torch.testing.assert_close(values, values.mean().expand_as(values), rtol=1e-4, atol=0)
    assert float(layer.weight.detach().square().mean().sqrt()) * math.sqrt(inputs) == pytest.approx(1.5, rel=1e-4)


def test_the_seed_decides_what_is_drawn():
    torch.manual_seed(0)
    drawn = []
    for seed in (0, 0, 1):
        model = Net(torch.tanh)
        edit(model, [Reinitialise(("fc1", "fc2"), 1.0)], batch=numbers(2, 20), seed=seed)
        assert not torch.equal(model.fc1.weight, model.fc2.weight)
        drawn.append(model.fc1.weight.detach())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_weights_and_biases_are_multiplied():
    model = Net(torch.tanh)
    weight, bias = model.fc1.weight.detach().clone(), model.fc1.bias.detach().clone()
    edit(model, [ScaleWeights(("fc1",), 0.25)], batch=numbers(2, 20))
    assert torch.equal(model.fc1.weight, 0.25 * weight)
    assert torch.equal(model.fc1.bias, 0.25 * bias)


# ------------------------------------------------------------------ what is impossible


def test_what_is_not_possible_is_said_layer_by_layer():
    model = Net(torch.sigmoid)
    told = edit(
        model, [InsertNorm(("fc1", "head", "fc9"), "layer"), Reinitialise(("fc1", "fc9"), 1.0)], batch=numbers(4, 20)
    )
    assert told == (
        "`head`: no nonlinearity follows it that could be told.",
        "`fc9`: there is no such layer.",
    )


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ([ReplaceActivation(("head",), "relu")], "no nonlinearity follows it"),
        ([AddSkip(("fc1",))], r"reads \(4, 20\) and gives \(4, 12\)"),
        ([ReplaceActivation(("fc1",), "relu"), AddSkip(("nowhere",))], "there is no such layer"),
        ([ReplaceActivation(("fc1",), "relu"), InsertNorm((), "layer")], "No layer is named"),
        ([ReplaceActivation(("fc1",), "twist")], "there is no 'twist'"),
        ([InsertNorm(("fc1",), "weight")], "there is no 'weight'"),
        ([Reinitialise(("fc1",), 1.0), Reinitialise(("fc9",), 1.0)], "there is no such layer"),
        ([Reinitialise(("fc1",), math.nan)], "a finite number"),
        ([ReplaceActivation(("fc1",), "relu"), ScaleWeights(("frozen",), 2.0)], "no trainable matrix"),
        ([Clip(1.0)], "no change to a network"),
    ],
)
@pytest.mark.parametrize("activation", [nn.Tanh(), torch.tanh])
def test_where_nothing_is_possible_the_model_stays_as_it_was(edits, words, activation):
    class Narrowing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.head, self.frozen = nn.Linear(20, 12), nn.Linear(12, 6), nn.Linear(6, 2)
            self.frozen.requires_grad_(False)
            self.activation = activation

        def forward(self, x: Tensor) -> Tensor:
            return self.frozen(self.head(self.activation(self.fc1(x))))

    model = Narrowing()
    before, words_before = copy.deepcopy(model.state_dict()), repr(model)
    with pytest.raises(CannotEdit, match=words):
        edit(model, edits, batch=numbers(4, 20))
    assert repr(model) == words_before
    assert "forward" not in vars(model)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_failed_second_edit_leaves_the_first():
    model = Net(torch.sigmoid)
    edit(model, [InsertNorm(LAYERS, "layer"), AddSkip(LAYERS)], batch=numbers(4, 20))
    expected = model(numbers(4, 20))
    with pytest.raises(CannotEdit):
        edit(model, [ReplaceActivation(LAYERS, "relu"), AddSkip(("head",))], batch=numbers(4, 20))
    assert torch.equal(model(numbers(4, 20)), expected)


def test_a_batch_norm_over_single_numbers_is_refused():
    with pytest.raises(CannotEdit, match="over single numbers"):
        edit(Net(torch.sigmoid), [InsertNorm(("fc1",), "batch")], batch=numbers(1, 20))


def test_a_batch_that_does_not_fit_is_the_models_failure():
    with pytest.raises(UnsupportedModel, match="forward pass"):
        edit(Net(torch.sigmoid), [AddSkip(("fc1",))], batch=numbers(4, 3))


def test_a_way_that_changes_from_pass_to_pass_is_refused():
    class Fickle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.head, self.count = nn.Linear(6, 6), nn.Linear(6, 2), 0

        def forward(self, x: Tensor) -> Tensor:
            self.count += 1
            x = self.fc(x)
            return self.head(torch.tanh(x) if self.count % 2 else x)

    model = Fickle()
    with pytest.raises(CannotEdit, match="does not take the same way twice"):
        edit(model, [ReplaceActivation(("fc",), "relu")], batch=numbers(4, 6))
    assert "forward" not in vars(model)


# ------------------------------------------------------------------------- softmax


class Attending(nn.Module):
    """Attention written by hand, and an output of probabilities; each softmax is a function or a module."""

    def __init__(self, softmax) -> None:
        super().__init__()
        self.query, self.key, self.leave, self.softmax = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(4, 3), softmax

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.softmax(self.query(x) @ self.key(x).transpose(1, 2), -1) @ x
        return self.softmax(self.leave(seen.mean(1)))


@pytest.mark.parametrize("softmax", [nn.Softmax(-1), lambda z: z.softmax(-1), lambda z: F.softmax(z, 1)], ids=range(3))
def test_a_softmax_behind_the_output_is_replaced_and_the_one_of_attention_stays(softmax):
    torch.manual_seed(0)
    model, batch = Attending(softmax), torch.randn(7, 5, 4)
    before = model(batch)
    edit(model, [ReplaceActivation(("leave",), "identity")], batch=batch)
    after = model(batch)
    torch.testing.assert_close(after.softmax(-1), before)
    assert not torch.allclose(after.sum(-1), torch.ones(7))
    with pytest.raises(CannotEdit, match="no nonlinearity follows it that could be told"):
        edit(model, [ReplaceActivation(("query",), "relu")], batch=batch)


# ------------------------------------------------------------- rms and group norms


class Sequences(nn.Module):
    """A layer over sequences whose φ is a function."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.leave = nn.Linear(4, 10), nn.Linear(10, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(torch.tanh(self.mix(x)))


@pytest.mark.parametrize("after", [False, True])
def test_an_rms_norm_gives_every_sample_and_step_the_size_one(after):
    model, batch = Sequences(), 50 * torch.randn(6, 7, 4)
    before = copy.deepcopy(model)
    edit(model, [InsertNorm(("mix",), "rms", after=after)], batch=batch)
    z = before.mix(batch)
    z = torch.tanh(z) if after else z
    z = z / (z.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(model(batch), before.leave(z if after else torch.tanh(z)))
    added = {
        name: value.shape for name, value in model.named_parameters() if name not in dict(before.named_parameters())
    }
    assert list(added.values()) == [torch.Size([10])]
    described = describe(model, batch)
    assert [layer.kind for layer in described if "inserted_norm" in layer.name] == ["norm"]


@pytest.mark.parametrize(("units", "groups"), [(8, 1), (16, 2), (24, 3), (36, 4), (17, 1), (6, 1)])
def test_a_group_norm_has_eight_channels_or_more_in_a_group(units, groups):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, units, 3), nn.GELU(), nn.Flatten(), nn.Linear(units * 9, 2))
    batch = torch.randn(2, 3, 5, 5)
    before = copy.deepcopy(model)
    edit(model, [InsertNorm(("0",), "group")], batch=batch)
    assert model[1].norm.num_groups == groups
    z = before[0](batch).view(2, groups, -1)
    z = (z - z.mean(-1, keepdim=True)) / (z.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(model(batch), before[1:](z.view(2, units, 3, 3)), rtol=1e-4, atol=1e-5)


def test_norms_of_one_kind_are_replaced_by_those_of_another():
    model, batch = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1)), torch.randn(9, 4)
    for norm, kind in (("rms", nn.RMSNorm), ("group", nn.GroupNorm), ("rms", nn.RMSNorm), ("batch", nn.BatchNorm1d)):
        edit(model, [InsertNorm(("0",), norm)], batch=batch)
        assert type(model[1].norm) is kind
    edit(model, [InsertNorm(("0",), "group"), ReplaceActivation(("0",), "relu")], batch=batch)
    assert (type(model[1].norm), type(model[1].activation)) == (nn.GroupNorm, nn.ReLU)
    functional, series = Sequences(), torch.randn(3, 5, 4)
    edit(functional, [InsertNorm(("mix",), "rms")], batch=series)
    edit(functional, [ReplaceActivation(("mix",), "relu")], batch=series)
    assert type(functional.mix.inserted_norm) is nn.RMSNorm


@pytest.mark.parametrize(
    ("model", "batch", "norm", "words"),
    [
        (nn.Sequential(nn.Conv1d(2, 9, 3), nn.ReLU()), torch.randn(4, 2, 8), "rms", "Take a group norm"),
        (Sequences(), torch.randn(6, 7, 4), "group", "Take an rms norm"),
        (nn.Sequential(nn.Linear(3, 1), nn.ReLU()), torch.randn(6, 3), "rms", "over single numbers"),
    ],
)
def test_norms_that_do_not_fit_the_shape_are_refused(model, batch, norm, words):
    name = "mix" if isinstance(model, Sequences) else "0"
    with pytest.raises(CannotEdit, match=words):
        edit(model, [InsertNorm((name,), norm)], batch=batch)


# ----------------------------------------------------------------------- unfreezing


def test_frozen_layers_learn_and_those_beside_them_stay_as_they_are():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 1))
    model.requires_grad_(False)
    model[4].requires_grad_(True)
    before = copy.deepcopy(model.state_dict())
    told = edit(model, [Unfreeze(("0", "1", "4", "9"))], batch=None)
    assert told == ("`4`: it has no frozen parameter.", "`9`: there is no such layer.")
    assert [value.requires_grad for value in model.parameters()] == [True] * 4 + [False] * 2 + [True] * 2
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(CannotEdit, match="possible at none"):
        edit(model, [Unfreeze(("0", "9"))], batch=None)


def test_what_is_unfrozen_may_be_drawn_anew_and_a_failure_freezes_it_again():
    model = nn.Sequential(nn.Linear(3, 40), nn.ReLU(), nn.Linear(40, 1))
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    with pytest.raises(CannotEdit):
        edit(model, [Unfreeze(("0",)), Reinitialise(("nowhere",), 1.0)], batch=None)
    assert not any(value.requires_grad for value in model[0].parameters())
    edit(model, [Reinitialise(("0",), 1.0), Unfreeze(("0",))], batch=None)
    assert not torch.equal(model[0].weight, before)
    assert model[0].weight.requires_grad
