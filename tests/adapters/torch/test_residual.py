"""Errors that users write by hand: what is known of their targets."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from isometry.adapters.torch.loss import describe_loss
from isometry.statistics.reach import RANGES

ERRORS = {
    "difference squared": lambda p, y: ((p - y) ** 2).mean(),
    "pow, other way round": lambda p, y: (y - p).pow(2).mean(),
    "torch.mean": lambda p, y: torch.mean((p - y) ** 2),
    "square": lambda p, y: torch.square(p - y).sum() / len(p),
    "half, of a flat view": lambda p, y: 0.5 * ((p.view(-1) - y.flatten()) ** 2).mean(),
    "squeezed": lambda p, y: ((p.squeeze(-1) - y.squeeze(-1)) ** 2).mean(0),
    "root": lambda p, y: ((p - y) ** 2).mean().sqrt(),
    "absolute": lambda p, y: (p - y).abs().mean(),
    "torch.abs": lambda p, y: torch.mean(torch.abs(y - p)),
    "mse_loss": F.mse_loss,
}
NETS = {
    "linear": lambda: nn.Linear(3, 1),
    "without bias": lambda: nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 1, bias=False)),
    "tanh": lambda: nn.Sequential(nn.Linear(3, 1), nn.Tanh()),
    "sigmoid": lambda: nn.Sequential(nn.Linear(3, 1), nn.Sigmoid()),
}


def batch(size=7):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(size, 3, generator=generator), 300 + 40 * torch.randn(size, 1, generator=generator)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("error", ERRORS)
def test_targets_of_an_error_written_by_hand_are_known(net, error):
    torch.manual_seed(1)
    model, (x, y) = NETS[net](), batch()
    told = describe_loss(ERRORS[error](model(x), y))
    assert told["kind"] == ("l1" if "abs" in error else "mse")
    assert told["targets"]["mean"] == pytest.approx(float(y.mean()), rel=1e-5)
    assert told["targets"]["std"] == pytest.approx(float(y.std(correction=0)), rel=1e-4)
    assert told["outputs"]["mean"] == pytest.approx(float(model(x).detach().mean()), rel=1e-4, abs=1e-4)
    difference = model(x).detach() - y
    expected = difference.abs().mean() if told["kind"] == "l1" else difference.square().mean()
    assert told["value"] == pytest.approx(float(expected), rel=1e-4)
    if told["kind"] == "mse":
        same = describe_loss(F.mse_loss(model(x), y))
        assert told["phi"] == same["phi"] == (net if net in RANGES else None)
        assert told["beyond"] == (same["beyond"] and pytest.approx(same["beyond"], rel=1e-4))


def test_outputs_along_a_sequence_are_known_as_well():
    model, x = nn.Linear(3, 2), torch.randn(4, 5, 3)
    y = 50 + torch.randn(4, 5, 2)
    told = describe_loss(((model(x) - y) ** 2).mean())
    assert told["targets"]["mean"] == pytest.approx(float(y.mean()), rel=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        lambda p, y: ((p - 2 * p.exp()) ** 2).mean(),  # of two things that are learnt
        lambda p, y: ((p - y) ** 3).mean(),
        lambda p, y: ((p - y.flatten()) ** 2).mean(),  # every prediction against every target: an accident
        lambda p, y: ((p - y) ** 2).mean() + p.abs().mean(),
        lambda p, y: (torch.sub(p, y, alpha=2) ** 2).mean(),
        lambda p, y: ((p * 3 - y) ** 2).mean(),  # of a product no result is kept
    ],
)
def test_nothing_is_guessed_of_other_losses(loss):
    x, y = batch()
    told = describe_loss(loss(nn.Linear(3, 1)(x), y))
    assert told["targets"] is None
    assert told["outputs"] is None


def test_a_norm_written_by_hand_inside_the_network_is_no_loss():
    x, y = batch()
    h = nn.Linear(3, 8)(x)
    h = (h - h.mean(1, keepdim=True)) / ((h - h.mean(1, keepdim=True)) ** 2).mean(1, keepdim=True).sqrt()
    assert describe_loss(F.cross_entropy(nn.Linear(8, 2)(h), (y[:, 0] > 300).long()))["kind"] == "cross_entropy"


def test_asking_leaves_the_graph_whole_and_the_gradients_as_they_are():
    x, y = batch()
    model = nn.Linear(3, 1)
    ((model(x) - y) ** 2).mean().backward()
    expected, model.weight.grad = model.weight.grad, None
    loss = ((model(x) - y) ** 2).mean()
    describe_loss(loss)
    loss.backward()
    assert torch.equal(model.weight.grad, expected)


def test_a_weight_that_has_changed_since_is_not_used():
    x, y = batch()
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    loss = ((model(x) - y) ** 2).mean()
    with torch.no_grad():
        model[1].weight.add_(1.0)
    assert describe_loss(loss)["targets"] is None


def test_constants_that_predictions_are_multiplied_by_are_known():
    x, y = batch()
    model = nn.Linear(3, 1)
    for prediction, factor in (
        (model(x), 1.0),
        (5.0 + 40.0 * model(x), 40.0),
        ((model(x) * torch.tensor(30.0) - 2).view(-1, 1) / 4, 7.5),
        (2.0 * torch.tanh(3.0 * model(x)), 2.0),
        (x[:, :1] * model(x), 1.0),
        (2.0 * model(x) * model(x), 1.0),
    ):
        assert describe_loss(F.mse_loss(prediction, y))["factor"] == pytest.approx(factor)
    assert describe_loss(F.cross_entropy(2 * nn.Linear(3, 4)(x), torch.arange(7) % 4))["factor"] is None
