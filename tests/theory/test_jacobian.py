import math

import numpy as np
import pytest

from isometry.theory import critical_point, jacobian_variance, largest_linear_singular_value
from tests.theory.simulated import orthogonal


def test_spread_of_singular_values():
    """Sources: Pennington et al. 2017, 2018."""
    assert jacobian_variance("identity", 1.0, 0.0, 10) == pytest.approx(10)
    assert jacobian_variance("relu", math.sqrt(2), 0.0, 10) == pytest.approx(20)
    assert jacobian_variance("relu", math.sqrt(2), 0.0, 10, weights="orthogonal") == pytest.approx(10)
    sigma_b = math.sqrt(0.05)
    sigma_w = critical_point("tanh", sigma_b=sigma_b).sigma_w
    assert jacobian_variance("tanh", sigma_w, sigma_b, 10, weights="orthogonal") == pytest.approx(3.423, abs=5e-4)


def test_spread_of_a_real_relu_net():
    rng, n, layers = np.random.default_rng(0), 128, 5
    spreads = []
    for _ in range(4):
        J, a = np.eye(n), rng.standard_normal(n)
        for W in math.sqrt(2) * orthogonal(rng, layers, n):
            z = W @ a
            J, a = (z > 0)[:, None] * (W @ J), np.maximum(z, 0)
        squared = np.linalg.svd(J, compute_uv=False) ** 2
        spreads.append(np.var(squared / squared.mean()))
    expected = jacobian_variance("relu", math.sqrt(2), 0.0, layers, weights="orthogonal")
    assert np.mean(spreads) == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize(("layers", "expected"), [(10, 28.5), (152, 414.5)])
def test_largest_singular_value_of_linear_nets(layers, expected):
    assert largest_linear_singular_value(layers) == pytest.approx(expected, abs=0.05)
