import math

import numpy as np
import pytest

from isometry.statistics.saturation import SLOPES, TWO_SIDED, greatest_slope, reference_slope, slope

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
    assert SLOPES.keys() >= TWO_SIDED


@pytest.mark.parametrize("activation", SLOPES)
def test_slope_is_the_derivative(activation):
    step = 1e-5
    numerical = (PHI[activation](AWAY_FROM_KINKS + step) - PHI[activation](AWAY_FROM_KINKS - step)) / (2 * step)
    np.testing.assert_allclose(slope(activation, AWAY_FROM_KINKS), numerical, atol=1e-7)


@pytest.mark.parametrize(
    ("activation", "greatest"),
    [
        ("sigmoid", 0.25),
        ("tanh", 1.0),
        ("relu", 1.0),
        ("erf", 2 / math.sqrt(math.pi)),
        ("softplus", 1.0),
        ("hardsigmoid", 1 / 6),
        ("hardswish", 1.5),
        ("squared_relu", math.inf),
        ("gelu", NORMAL_SHARE(math.sqrt(2)) + math.sqrt(2) * math.exp(-1) / math.sqrt(2 * math.pi)),
        ("silu", 1.0998393194),
        ("selu", 1.0507009873554805 * 1.6732632423543772),
    ],
)
def test_greatest_slopes_are_the_known_ones(activation, greatest):
    assert greatest_slope(activation) == pytest.approx(float(greatest), rel=1e-6)


@pytest.mark.parametrize("activation", SLOPES)
def test_no_slope_is_greater_than_the_greatest(activation):
    assert np.abs(slope(activation, np.linspace(-30, 30, 9999))).max() <= greatest_slope(activation) * (1 + 1e-7)


@pytest.mark.parametrize(
    ("activation", "reference"),
    [
        ("sigmoid", 0.25),
        ("tanh", 1.0),
        ("hardsigmoid", 1 / 6),
        ("relu", math.sqrt(0.5)),
        ("leaky_relu", math.sqrt((1 + 0.01**2) / 2)),
        ("squared_relu", math.sqrt(2.0)),
        ("identity", 1.0),
    ],
)
def test_reference_slopes_are_the_known_ones(activation, reference):
    assert reference_slope(activation) == pytest.approx(reference, rel=1e-9)


@pytest.mark.parametrize("activation", SLOPES)
def test_reference_slopes_agree_with_sampling(activation):
    if activation in TWO_SIDED and activation != "relu6":
        expected = abs(float(slope(activation, 0.0)))
    else:
        z = np.random.default_rng(0).standard_normal(400_000)
        expected = math.sqrt(np.mean(slope(activation, z) ** 2))
    assert reference_slope(activation) == pytest.approx(expected, rel=5e-3)


def test_unknown_activation_has_no_reference():
    assert reference_slope("softmax") is None
    assert greatest_slope("softmax") is None
