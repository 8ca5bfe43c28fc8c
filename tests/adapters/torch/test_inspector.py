import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isometry.adapters.torch.batch import inspect
from isometry.adapters.torch.inspector import Inspector
from isometry.errors import IsometryError, UnsupportedModel
from isometry.network.edits import Reinitialise
from isometry.network.signals import Signal
from isometry.theory import sample_signals


def chain(width, depth, activation, sigma_w, *, seed=0, inputs=64):
    torch.manual_seed(seed)
    layers = []
    for number in range(depth):
        layer = nn.Linear(inputs if number == 0 else width, width)
        nn.init.normal_(layer.weight, 0, sigma_w / math.sqrt(layer.in_features))
        nn.init.zeros_(layer.bias)
        layers += [layer, activation()]
    return nn.Sequential(*layers[:-1])


def batch(rows=32, inputs=64):
    torch.manual_seed(1)
    return torch.randn(rows, inputs)


@pytest.mark.parametrize(("activation", "name", "sigma_w"), [(nn.ReLU, "relu", 2**0.5), (nn.Tanh, "tanh", 1.5)])
def test_drawn_chains_follow_the_exact_law_of_one_input(activation, name, sigma_w):
    """The sampler of ``theory`` never makes a matrix; drawn networks are nothing but matrices."""
    x = batch(1)
    nets = 150
    inspector = Inspector(chain(32, 8, activation, sigma_w), (x,), {})
    inspector.measure()
    drawn = inspector.draw(nets, edits=(Reinitialise(tuple(str(2 * k) for k in range(8)), sigma_w),))
    exact = sample_signals([32] * 8, name, sigma_w, 0.0, nets=2000, seed=0, input_square_mean=float(x.square().mean()))
    backward = drawn.backward - drawn.backward[:, -1:]
    for found, wanted in ((drawn.forward, exact.forward), (backward[:, :-1], exact.backward[:, :-1])):
        error = wanted.std(axis=0) * math.sqrt(1 / nets + 1 / 2000)
        assert (abs(found.mean(axis=0) - wanted.mean(axis=0)) < 4 * error).all()
        assert found.std(axis=0) == pytest.approx(wanted.std(axis=0), rel=0.3)


class Everything(nn.Module):
    """Dropout, running statistics, in-place φ, several inputs, and a buffer that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(8, 16), nn.BatchNorm1d(16)
        self.last = nn.Linear(16, 3)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        self.calls += 1
        x *= scale  # writes into what it was given
        return self.last(F.dropout(F.relu_(self.norm(self.first(x))), 0.3, self.training))


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_the_model_its_gradients_the_batch_and_the_generators_stay_as_they_are():
    torch.manual_seed(0)
    model = Everything()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    x, scale = torch.randn(12, 8), torch.tensor(2.0)
    before, kept, numbers = state_of(model), x.clone(), torch.random.get_rng_state()
    inspector = inspect(model, ((x, scale), torch.zeros(12, dtype=torch.int64)), F.cross_entropy)
    inspector.measure()
    inspector.jacobian()
    inspector.draw(4)
    inspector.as_it_is()
    assert torch.equal(torch.random.get_rng_state(), numbers)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters())
    assert torch.equal(x, kept)
    assert not model._forward_pre_hooks
    assert not model._forward_hooks


def test_the_network_itself_is_still_there_after_others_were_drawn():
    inspector = Inspector(chain(16, 4, nn.Tanh, 1.0), (batch(),), {})
    run = inspector.measure()
    before = inspector.as_it_is()
    inspector.draw(3)
    after = inspector.as_it_is()
    assert np.array_equal(before.forward, after.forward)
    measured = np.log10(run.history[Signal.PRE_ACTIVATION, "rms"][0])
    assert before.forward[0] == pytest.approx(measured, abs=1e-6)


def test_same_seed_same_networks():
    drawn, model = [], Everything()
    for _ in range(2):
        inspector = Inspector(model, (batch(12, 8), torch.tensor(1.0)), {}, seed=5)
        inspector.measure()
        drawn.append(inspector.draw(2, edits=(Reinitialise(("first", "last"), 1.0),)))
    assert np.array_equal(drawn[0].forward[:, [0]], drawn[1].forward[:, [0]])


def test_measured_is_what_a_plain_backward_pass_gives():
    torch.manual_seed(0)
    model, x, y = chain(10, 3, nn.Tanh, 1.0), batch(), torch.randint(0, 10, (32,))
    run = inspect(model, (x, y), F.cross_entropy).measure()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    assert run.history.scalars["loss"].values[0] == pytest.approx(float(loss.detach()))
    gradient = run.history[Signal.WEIGHT_GRADIENT, "rms"][0]
    assert gradient == pytest.approx([float(model[k].weight.grad.square().mean().sqrt()) for k in (0, 2, 4)], rel=1e-4)


def test_large_networks_are_drawn_on_some_samples():
    inspector = Inspector(chain(512, 4, nn.ReLU, 1.4), (batch(2000),), {})
    inspector.measure()
    assert len(inspector._args[0]) < 2000
    assert np.isfinite(inspector.as_it_is().backward).all()


def test_dead_networks_have_no_gradient_rather_than_a_small_one():
    inspector = Inspector(chain(2, 8, nn.ReLU, 1.4), (batch(1),), {})
    inspector.measure()
    with np.errstate(divide="ignore"):
        assert np.isneginf(inspector.draw(20).backward).any()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((batch(), torch.zeros(3), torch.zeros(3)), "3 values"),
        (7, "int was given"),
        ((), "tuple was given"),
    ],
)
def test_a_batch_that_is_none_is_refused(given, words):
    with pytest.raises(IsometryError, match=words):
        inspect(chain(8, 2, nn.ReLU, 1.0), given, F.cross_entropy)


def test_a_forward_pass_that_fails_says_so():
    with pytest.raises(UnsupportedModel, match="forward pass of Sequential failed"):
        inspect(chain(8, 2, nn.ReLU, 1.0), (batch(4, 3), torch.zeros(4)), F.mse_loss).measure()


def test_a_loss_that_is_no_number_is_refused():
    with pytest.raises(IsometryError, match="shape \\(32, 8\\)"):
        inspect(chain(8, 2, nn.ReLU, 1.0), (batch(), batch(32, 8)), lambda out, y: out - y).measure()


def test_a_model_without_trainable_output_is_refused():
    model = chain(8, 2, nn.ReLU, 1.0).requires_grad_(False)
    with pytest.raises(IsometryError, match="gradient"):
        inspect(model, batch()).measure()


class Labelled(nn.Module):
    """Computes its loss itself when it is given labels."""

    def __init__(self) -> None:
        super().__init__()
        self.body = chain(8, 3, nn.Tanh, 1.0)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.body(x)
        return {"logits": logits} if labels is None else {"loss": F.cross_entropy(logits, labels), "logits": logits}


def test_a_dict_is_taken_by_name_and_the_loss_from_the_output():
    run = inspect(Labelled(), {"x": batch(), "labels": torch.zeros(32, dtype=torch.int64)}).measure()
    assert len(run.history.scalars["loss"]) == 1


def test_numpy_arrays_are_a_batch_too():
    run = inspect(chain(8, 2, nn.ReLU, 1.0), (batch().numpy(), np.zeros((32, 8), np.float32)), F.mse_loss).measure()
    assert run.architecture.names == ("0", "2")


def test_tied_weights_stay_tied_in_drawn_networks():
    embedding, head = nn.Embedding(20, 16), nn.Linear(16, 20, bias=False)
    head.weight = embedding.weight
    inspector = Inspector(nn.Sequential(embedding, nn.Linear(16, 16), head), (torch.arange(20)[None],), {})
    inspector.measure()
    assert np.isfinite(inspector.draw(3).backward).all()
