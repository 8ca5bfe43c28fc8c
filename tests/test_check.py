"""The verbs ``check`` and ``predict``, as a user calls them."""

import json
import random

import numpy as np
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


def test_a_batch_of_one_costs_the_changes_that_need_more_and_nothing_else():
    check = isometry.check(stack(nn.ReLU, depth=4), (torch.randn(1, 48), torch.tensor([3])), F.cross_entropy, nets=3)
    assert any("batch norm" in note and "could not be tried" in note for note in check.prediction.notes)
    assert check.counterfactuals


def test_half_precision_is_checked():
    inputs, targets = batch()
    model = stack(nn.Tanh, depth=4).bfloat16()
    assert isometry.check(model, (inputs.bfloat16(), targets), F.cross_entropy, nets=3).counterfactuals


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_a_finding(value):
    inputs, targets = batch()
    inputs[0, 0] = value
    check = isometry.check(stack(nn.ReLU, depth=4), (inputs, targets), F.cross_entropy, nets=3)
    assert "non_finite" in [finding.problem for finding in check.findings]
    assert str(check)


def test_a_dead_layer_is_never_healthy():
    model = stack(nn.ReLU, depth=3, width=32)
    with torch.no_grad():
        model[2].bias.fill_(-100.0)
    inputs, targets = torch.randn(16, 32), torch.randint(0, 10, (16,))
    check = isometry.check(model, (inputs, targets), F.cross_entropy, nets=3)
    assert not check.healthy
    assert check.findings[0].problem == "dead_units"


def test_generators_of_numpy_and_python_stay_as_they_were():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(48, 10)

        def forward(self, x):
            return self.fc(x) * (1 + 0.1 * random.random() + 0.1 * float(np.random.rand()))

    before = random.getstate(), np.random.get_state()[1].copy()
    isometry.check(Noisy(), batch(), F.cross_entropy, nets=3)
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_hooks_of_the_user_hear_nothing_of_it():
    model, heard = stack(nn.ReLU, depth=3), []
    model[0].register_forward_hook(lambda *_: heard.append(1))
    isometry.check(model, batch(), F.cross_entropy, nets=3)
    assert not heard


def test_weight_norm_is_read_by_its_directions():
    plain = stack(nn.ReLU, depth=6)
    normed = stack(nn.ReLU, depth=6)
    for module in normed:
        if isinstance(module, nn.Linear):
            nn.utils.parametrizations.weight_norm(module)
    told = [isometry.check(model, batch(), F.cross_entropy, nets=4).prediction.explanation for model in (plain, normed)]
    assert told[1].sigma_w == pytest.approx(told[0].sigma_w, rel=0.02)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"nets": 2}, "nets=2"), ({"nets": 2.5}, "nets=2.5"), ({"seconds": float("nan")}, "seconds=nan")],
)
def test_senseless_options_are_refused(options, words):
    with pytest.raises(isometry.IsometryError, match=words):
        isometry.check(stack(nn.ReLU), batch(), F.cross_entropy, **options)


def test_a_loss_that_fails_and_a_frozen_model_are_told_apart():
    with pytest.raises(isometry.IsometryError, match="loss function failed"):
        isometry.check(stack(nn.ReLU), batch(), lambda out, y: out.nowhere)
    with pytest.raises(isometry.UnsupportedModel, match="no trainable parameter"):
        isometry.check(stack(nn.ReLU).requires_grad_(False), batch(), F.cross_entropy)


def test_a_model_whose_shapes_are_open_is_asked_to_run_first():
    with pytest.raises(isometry.UnsupportedModel, match="first batch"):
        isometry.check(nn.Sequential(nn.LazyLinear(4)), batch(), F.cross_entropy)
