"""The verbs ``check`` and ``predict``, as a user calls them."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isometry
from isometry.report.json import strict


def stack(activation, *, depth=10, width=48, sigma_w=1.0):
    torch.manual_seed(0)
    layers = []
    for _ in range(depth):
        layer = nn.Linear(width, width)
        nn.init.normal_(layer.weight, 0, sigma_w / width**0.5)
        nn.init.zeros_(layer.bias)
        layers += [layer, activation()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def batch(width=48):
    torch.manual_seed(1)
    return torch.randn(32, width), torch.randint(0, 10, (32,))


def test_a_sigmoid_stack_cannot_train_and_says_what_would_help():
    check = isometry.check(stack(nn.Sigmoid), batch(), F.cross_entropy, nets=8)
    assert not check.healthy
    assert check.findings[0].problem == "vanishing_gradient"
    assert check.backward[0] == pytest.approx(-6.2, abs=0.5)
    changes = {one.name: one.backward for one in check.counterfactuals}
    assert changes["as it is"] == pytest.approx(check.backward[0], abs=0.3)
    assert abs(changes["He + ReLU"]) < 0.5
    assert changes["layer norm before sigmoid"] < -3  # no rescue
    assert "sigmoid" in str(check)
    assert "He + ReLU" in str(check)


def test_its_healthy_twin_is_left_in_peace():
    check = isometry.check(stack(nn.ReLU, sigma_w=2**0.5), batch(), F.cross_entropy, nets=8)
    assert check.healthy
    assert check.departures == ()
    assert abs(check.backward[0]) < 1


def test_a_prediction_needs_no_loss_and_no_targets():
    prediction = isometry.predict(stack(nn.Tanh), batch()[0], nets=8)
    assert prediction.nets == 8
    assert prediction.explanation.activation == "tanh"
    assert prediction.backward.low[0] < prediction.backward.mean[0] < prediction.backward.high[0]


def test_an_experiment_needs_nothing_else():
    inputs, targets = batch()
    experiment = isometry.Experiment(
        build=lambda: stack(nn.Sigmoid),
        data=(inputs, targets),
        loss_fn=F.cross_entropy,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    )
    assert isometry.check(experiment, nets=4).findings[0].problem == "vanishing_gradient"


def test_what_it_says_is_strict_json():
    told = isometry.check(stack(nn.Sigmoid), batch(), F.cross_entropy, nets=4).to_dict()
    json.dumps(strict(told), allow_nan=False)
    assert told["schema"] == "isometry/check/1"
    assert len(told["layers"]) == 11


def test_a_model_without_a_batch_is_refused():
    with pytest.raises(isometry.IsometryError, match="batch: none was given"):
        isometry.check(stack(nn.ReLU))


def test_something_that_is_no_model_is_refused():
    with pytest.raises(isometry.UnsupportedModel):
        isometry.check(object(), batch())
