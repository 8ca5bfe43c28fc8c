import math

import numpy as np
import pytest

from isometry import IsometryError
from isometry.theory import dead_probability, sample_profile, width_correction, width_noise


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("identity", 2),
        ("relu", 5),
        (lambda z: np.where(z > 0, z, 0.2 * z), 4.56),
        ("tanh", 3.75),
        ("sigmoid", 2.41),
        ("gelu", 5.27),
        ("silu", 4.97),
    ],
)
def test_noise_of_a_layer(activation, expected):
    assert width_noise(activation, 1.0) == pytest.approx(expected, abs=0.005)


def test_correction_of_relu_is_five_over_width():
    """Sources: Hanin & Nica 2018. For one layer the sd of 64 units is 0.061 decades, of 512 units 0.021, of 5 0.217."""
    found = width_correction([64] * 51, "relu", math.sqrt(2), 0.0)
    beta = 5 * 50 / 64
    assert (found.beta[0], found.bias[0], found.deviation[0]) == pytest.approx(
        (beta, -beta / 9.2103, math.sqrt(beta) / 4.6052), rel=1e-4
    )
    for width, expected in ((5, 0.217), (64, 0.061), (512, 0.021)):
        assert width_correction([width] * 2, "relu", 1.0, 0.0).deviation[0] == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(("layers", "expected"), [(10, 0.272), (50, 0.796)])
def test_narrow_relu_nets_die(layers, expected):
    assert dead_probability([5] * layers) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(
    ("activation", "weight_variance", "bias_variance", "expected"),
    [("tanh", 1.76095464, 0.05, 0.384), ("selu", 1.0, 0.0, 0.395)],
)
def test_fluctuations_of_q_add_to_the_scatter(activation, weight_variance, bias_variance, expected):
    """50 layers of 64; simulated 0.388 and 0.394."""
    found = width_correction([64] * 51, activation, math.sqrt(weight_variance), math.sqrt(bias_variance))
    assert found.deviation[0] == pytest.approx(expected, abs=5e-4)
    assert found.deviation[0] > math.sqrt(found.beta[0]) / 4.6052


@pytest.mark.parametrize("activation", ["tanh", "selu", "sigmoid", "relu"])
def test_scatter_of_every_layer_meets_the_sampler(activation):
    widths, sigma_w = [200, 300, 100, 200, 200, 200, 150, 200], 1.3
    drawn = sample_profile(widths, activation, sigma_w, 0.2, nets=2000, seed=0)
    found = width_correction(widths, activation, sigma_w, 0.2)
    np.testing.assert_allclose(
        drawn.std(axis=0), found.deviation, rtol=0.08
    )  # standard error 1.6 %, the rest order n⁻²


def test_a_layer_without_units_is_refused():
    with pytest.raises(IsometryError, match="needed"):
        width_correction([64, 0], "tanh", 1.0, 0.0)


def test_a_signal_that_ends_has_no_scatter():
    with pytest.raises(IsometryError, match="neither ends nor overflows"):
        width_correction([8, 8], "relu", 0.0, 0.0)
