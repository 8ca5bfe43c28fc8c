import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry import IsometryError
from isometry.theory import (
    chi,
    critical_std,
    gain,
    gain_drift,
    glorot_std,
    he_std,
    lecun_std,
    length_map,
    sigma_w_of,
    torch_default_std,
    truncated_std,
    uniform_bound,
)


@pytest.mark.parametrize(
    ("activation", "forward", "backward", "drift"),
    [
        ("relu", 1.414214, 1.414214, 0),
        ("leaky_relu", 1.414143, 1.414143, 0),
        ("elu", 1.245198, 1.223429, +0.0077),
        ("selu", 1.000000, 0.966026, +0.0150),
        ("gelu", 1.533530, 1.481114, +0.0151),
        ("silu", 1.676532, 1.623320, +0.0140),
        ("tanh", 1.592537, 1.467414, +0.0355),
        ("erf", 1.467167, 1.325218, +0.0442),
        ("softplus", 1.041867, 1.846229, -0.2485),
        ("sigmoid", 1.846229, 4.722646, -0.4079),
        ("hardtanh", 1.392036, 1.210287, +0.0608),
        ("hardsigmoid", 1.897840, 6.008116, -0.5005),
        ("hardswish", 1.736657, 1.670076, +0.0170),
        ("mish", 1.486848, 1.444755, +0.0125),
    ],
)
def test_gains_and_drifts_at_unit_variance(activation, forward, backward, drift):
    assert gain(activation) == pytest.approx(forward, abs=5.1e-7)
    assert gain(activation, keeps="backward") == pytest.approx(backward, abs=5.1e-7)
    assert gain_drift(activation) == pytest.approx(drift, abs=5.1e-5)


def test_gain_keeps_what_it_says():
    assert length_map("mish", gain("mish"), 0.0)(1.0) == pytest.approx(1, rel=1e-12)
    assert chi("mish", gain("mish", keeps="backward"), 0.0, 1.0) == pytest.approx(1, rel=1e-12)


@given(scale=st.floats(0.01, 100))
@settings(max_examples=10)
def test_gain_makes_up_for_the_size_of_phi(scale):
    assert gain(lambda z: scale * np.tanh(z)) == pytest.approx(gain("tanh") / scale, rel=1e-9)


def test_the_familiar_gain_of_tanh_is_chaotic():
    """5/3, PyTorch's ``calculate_gain``: +0.0414 decades a layer in the limit."""
    assert 0.5 * math.log10(chi("tanh", 5 / 3, 0.0)) == pytest.approx(0.0414, abs=5e-5)


def test_schemes_are_their_textbook_formulas():
    assert he_std(50) == pytest.approx(0.2)
    assert he_std(50, negative_slope=1.0) == lecun_std(50)
    assert glorot_std(30, 20) == pytest.approx(0.2)
    assert uniform_bound(glorot_std(30, 20)) == pytest.approx(math.sqrt(6 / 50))
    assert uniform_bound(torch_default_std(64)) == pytest.approx(1 / 8)
    assert sigma_w_of(torch_default_std(64), 64) == pytest.approx(math.sqrt(1 / 3))
    assert sigma_w_of(critical_std("tanh", 100, sigma_b=math.sqrt(0.05)), 100) ** 2 == pytest.approx(1.760955, abs=1e-6)


def test_glorot_weights_of_relu_lose_a_factor_of_two_a_layer():
    assert 0.5 * math.log10(chi("relu", sigma_w_of(glorot_std(64, 64), 64), 0.0, 1.0)) == pytest.approx(
        -0.1505, abs=5e-5
    )


def test_truncation_at_two_deviations_leaves_the_known_share():
    assert 1 / truncated_std(1.0) == pytest.approx(0.8796257, abs=1e-7)
    drawn = np.random.default_rng(0).standard_normal(200_000) * truncated_std(3.0, cut=1.5)
    kept = drawn[np.abs(drawn) < 1.5 * truncated_std(3.0, cut=1.5)]
    assert kept.std() == pytest.approx(3.0, rel=0.01)


def test_what_has_no_gain_is_refused():
    with pytest.raises(IsometryError, match="flat"):
        gain(lambda z: np.sign(z), keeps="backward")
    with pytest.raises(IsometryError, match="fan_in = 0"):
        lecun_std(0)
    with pytest.raises(IsometryError, match="cut"):
        truncated_std(1.0, cut=0.0)
