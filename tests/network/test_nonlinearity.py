import math

import numpy as np
import pytest

from isometry.network.nonlinearity import FUNCTIONS, SLOPES, error_function, slope

NORMAL_SHARE = np.vectorize(lambda z: 0.5 * math.erfc(-z / math.sqrt(2)))
PHI = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(z)),
    "selu": lambda z: 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(z)),
    "gelu": lambda z: z * NORMAL_SHARE(z),
    "gelu_tanh": lambda z: 0.5 * z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "mish": lambda z: z * np.tanh(np.log1p(np.exp(z))),
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "erf": np.vectorize(math.erf),
    "softplus": lambda z: np.log1p(np.exp(z)),
    "softsign": lambda z: z / (1 + np.abs(z)),
    "relu6": lambda z: np.clip(z, 0, 6),
    "hardtanh": lambda z: np.clip(z, -1, 1),
    "hardsigmoid": lambda z: np.clip(z / 6 + 0.5, 0, 1),
    "hardswish": lambda z: z * np.clip(z / 6 + 0.5, 0, 1),
    "squared_relu": lambda z: np.maximum(z, 0) ** 2,
    "sin": np.sin,
}
AWAY_FROM_KINKS = np.linspace(-8.03, 8.01, 200)


def test_every_activation_is_here():
    assert PHI.keys() == SLOPES.keys()
    assert PHI.keys() == FUNCTIONS.keys()


@pytest.mark.parametrize("activation", SLOPES)
def test_slope_is_the_derivative(activation):
    step = 1e-5
    numerical = (PHI[activation](AWAY_FROM_KINKS + step) - PHI[activation](AWAY_FROM_KINKS - step)) / (2 * step)
    np.testing.assert_allclose(slope(activation, AWAY_FROM_KINKS), numerical, atol=1e-7)


@pytest.mark.parametrize("activation", FUNCTIONS)
def test_function_is_the_textbook_formula(activation):
    z = np.linspace(-30, 30, 1201)
    # Of a few last bits of the greatest |φ| there is on this range.
    np.testing.assert_allclose(FUNCTIONS[activation](z), PHI[activation](z), rtol=1e-13, atol=2e-14)


def test_error_function_is_right_to_the_last_bits():
    x = np.concatenate([np.linspace(-8, 8, 20_001), np.logspace(-300, 0, 301), [math.inf, -math.inf]])
    np.testing.assert_allclose(error_function(x), [math.erf(value) for value in x], rtol=5e-16, atol=0)
    assert np.isnan(error_function(math.nan))


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_slope_of_a_saturated_unit_keeps_its_digits_on_both_sides(activation):
    assert slope(activation, 15.0) == slope(activation, -15.0)
    expected = {"sigmoid": math.exp(-15.0), "tanh": 4 * math.exp(-30.0)}[activation]
    assert float(slope(activation, 15.0)) == pytest.approx(expected, rel=1e-6)
