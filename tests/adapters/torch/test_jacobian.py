import pytest
import torch
from torch import nn

from isometry.adapters.torch.jacobian import jacobian_of


def linear(matrix):
    layer = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False)
    with torch.no_grad():
        layer.weight.copy_(matrix)
    return layer


def facts(model, inputs, *, samples=16, seed=0):
    torch.manual_seed(seed)
    return jacobian_of(model, (torch.randn(samples, inputs),), {})


def test_an_orthogonal_matrix_is_an_isometry():
    told = facts(linear(nn.init.orthogonal_(torch.empty(200, 200))), 200)
    assert told.probes > 0
    assert told.mean_square == pytest.approx(1, abs=0.01)
    assert told.variance == pytest.approx(0, abs=0.06)
    assert told.largest == pytest.approx(1, abs=1e-3)


def test_a_matrix_of_known_singular_values():
    values = torch.linspace(0.2, 3.0, 160)
    torch.manual_seed(1)
    left, right = nn.init.orthogonal_(torch.empty(160, 160)), nn.init.orthogonal_(torch.empty(160, 160))
    squares = values.double().square()
    told = facts(linear(left @ torch.diag(values) @ right), 160)
    assert told.probes > 0
    assert told.mean_square == pytest.approx(float(squares.mean()), rel=0.08)
    assert told.variance == pytest.approx(float(squares.var(correction=0) / squares.mean() ** 2), rel=0.25)
    assert 2.7 <= told.largest <= 3.0 + 1e-3


def test_deep_linear_networks_spread_as_fast_as_theory_says():
    """Gaussian weights: the variance is the depth. Source: Pennington et al. 2017."""
    torch.manual_seed(2)
    layers = [linear(torch.randn(256, 256) / 16) for _ in range(10)]
    told = facts(nn.Sequential(*layers), 256)
    assert told.variance == pytest.approx(10, rel=0.35)


def test_fewer_outputs_than_inputs_are_no_defect():
    told = facts(linear(nn.init.orthogonal_(torch.empty(10, 100))), 100)
    assert told.mean_square == pytest.approx(1, abs=1e-5)


def test_whole_numbers_have_none():
    told = jacobian_of(nn.Embedding(5, 4), (torch.zeros(3, 2, dtype=torch.int64),), {})
    assert "whole numbers" in told.reason


def test_attention_is_derived_twice():
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    torch.manual_seed(0)
    told = jacobian_of(layer, (torch.randn(4, 9, 16),), {})
    assert told.probes > 0 and told.mean_square > 0


def test_the_model_asks_for_the_same_gradients_afterwards():
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))
    model[0].weight.requires_grad_(False)
    before = [p.requires_grad for p in model.parameters()]
    facts(model, 6)
    assert [p.requires_grad for p in model.parameters()] == before
    assert all(p.grad is None for p in model.parameters())
