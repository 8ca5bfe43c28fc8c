import math

import numpy as np
import pytest

from isometry.network.nonlinearity import SLOPES, slope
from isometry.statistics.saturation import TWO_SIDED, greatest_slope, reference_slope

NORMAL_SHARE = np.vectorize(lambda z: 0.5 * math.erfc(-z / math.sqrt(2)))


def test_every_two_sided_activation_has_a_slope():
    assert SLOPES.keys() >= TWO_SIDED


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
