import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry import IsometryError
from isometry.theory import (
    ACTIVATIONS,
    chi,
    correlation_fixed_point,
    correlation_map,
    correlation_slope,
    fixed_point,
)

few_examples = settings(max_examples=8)  # each takes some 50 ms
C = np.array([-1.0, -0.7, 0.0, 0.3, 0.95, 1.0])


@pytest.mark.parametrize("sigma_b", [0.0, 0.4])
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "sigmoid", "hardtanh", "selu", "softsign"])
def test_identical_inputs_stay_identical(activation, sigma_b):
    assert correlation_map(activation, 1.2, sigma_b)(1.0) == pytest.approx(1.0, rel=1e-12)


def test_relu_has_its_closed_form():
    """Sources: Cho & Saul 2009; Daniely et al. 2016."""
    expected = (np.sqrt(1 - C**2) + C * (math.pi - np.arccos(C))) / math.pi
    for sigma_w in (math.sqrt(2), 1.0, 3.0):  # without biases the weights' size cancels, whatever q does
        np.testing.assert_allclose(correlation_map("relu", sigma_w, 0.0)(C), expected, atol=1e-13)


def test_leaky_relu_has_its_closed_form():
    slope = 0.01
    extra = (1 - slope) ** 2 / (math.pi * (1 + slope**2)) * (np.sqrt(1 - C**2) - C * np.arccos(C))
    np.testing.assert_allclose(correlation_map("leaky_relu", 1.4, 0.0)(C), C + extra, atol=1e-13)


def test_sigmoid_makes_all_inputs_look_alike_in_one_layer():
    # E φ = 1/2, E φ² = 0.2934, so C(0) = 0.852 at q = 1; at the fixed point for σ_w = 1 it is 0.94.
    assert correlation_map("sigmoid", 1.0, 0.0, q=1.0)(0.0) == pytest.approx(0.25 / 0.2934, abs=1e-4)
    assert correlation_map("sigmoid", 1.0, 0.0)(0.0) == pytest.approx(0.94, abs=0.01)


@few_examples
@given(
    activation=st.sampled_from(sorted(set(ACTIVATIONS) - {"squared_relu"})),
    c=st.floats(-0.95, 0.95),
    sigma_b=st.floats(0.05, 1.0),
)
def test_slope_is_the_derivative_of_the_map(activation, c, sigma_b):
    step = 1e-4
    curve = correlation_map(activation, 0.9, sigma_b)
    numerical = (curve(c + step) - curve(c - step)) / (2 * step)
    assert correlation_slope(activation, 0.9, sigma_b)(c) == pytest.approx(numerical, rel=1e-5, abs=1e-7)


@few_examples
@given(sigma_w=st.floats(0.3, 3), sigma_b=st.floats(0.05, 1), activation=st.sampled_from(["tanh", "erf", "hardtanh"]))
def test_slope_at_one_is_chi(activation, sigma_w, sigma_b):
    assert correlation_slope(activation, sigma_w, sigma_b)(1.0) == pytest.approx(
        chi(activation, sigma_w, sigma_b), rel=1e-9
    )


@few_examples
@given(sigma_w=st.floats(0.3, 3), sigma_b=st.floats(0.05, 1), activation=st.sampled_from(["tanh", "erf", "hardtanh"]))
def test_fixed_correlation_is_one_in_order_and_below_in_chaos(activation, sigma_w, sigma_b):
    c = correlation_fixed_point(activation, sigma_w, sigma_b)
    assert (c == 1.0) == (chi(activation, sigma_w, sigma_b) <= 1 + 1e-9)
    assert correlation_map(activation, sigma_w, sigma_b)(c) == pytest.approx(c, abs=1e-11)
    assert correlation_slope(activation, sigma_w, sigma_b)(c) <= 1 + 1e-9


def test_hardtanh_has_its_own_fixed_correlation_in_the_chaotic_phase():
    """A quadrature that does not split at the kinks gets this one wrong; the iteration is slow, but plain."""
    curve, c = correlation_map("hardtanh", 2.0, 0.1), 0.1
    for _ in range(60):  # ξ_c is 4.9 layers
        c = curve(c)
    assert correlation_fixed_point("hardtanh", 2.0, 0.1) == pytest.approx(c, abs=1e-6)


def test_selu_with_biases_ends_at_point_eight():
    assert correlation_fixed_point("selu", 1.0, math.sqrt(0.05)) == pytest.approx(0.80, abs=0.005)


@pytest.mark.parametrize("activation", ["relu", "selu", "gelu", "softplus", "elu"])
def test_signals_that_grow_without_bound_see_a_relu(activation):
    assert fixed_point(activation, 1.8, 0.3) == math.inf
    assert correlation_map(activation, 1.8, 0.3)(0.0) == pytest.approx(1 / math.pi, rel=1e-9)
    assert correlation_fixed_point(activation, 1.8, 0.3) == 1.0


def test_dropout_leaves_no_critical_line():
    """Sources: Schoenholz et al. 2017, section 4."""
    assert correlation_map("tanh", 1.2, 0.2, keep=0.9)(1.0) < 1
    assert correlation_fixed_point("tanh", 1.2, 0.2, keep=0.9) < 0.9


def test_two_inputs_of_a_wide_net_follow_the_map():
    rng, width, sigma_w, sigma_b = np.random.default_rng(0), 800, 1.5, 0.3
    q = fixed_point("tanh", sigma_w, sigma_b)
    curve, c = correlation_map("tanh", sigma_w, sigma_b), 0.2
    mixing = np.array([[1.0, 0.0], [c, math.sqrt(1 - c * c)]])
    z = math.sqrt(q) * mixing @ rng.standard_normal((2, width))
    for _ in range(4):
        W = sigma_w / math.sqrt(width) * rng.standard_normal((width, width))
        z = np.tanh(z) @ W.T + sigma_b * rng.standard_normal(width)
        c = curve(c)
    cosine = z[0] @ z[1] / math.sqrt((z[0] @ z[0]) * (z[1] @ z[1]))
    assert cosine == pytest.approx(c, abs=4 / math.sqrt(width))  # about four standard errors of a correlation


def test_a_correlation_that_was_rounded_past_one_is_one():
    assert correlation_map("tanh", 1.5, 0.1)(1 + 1e-15) == correlation_map("tanh", 1.5, 0.1)(1.0)


def test_impossible_correlations_are_refused():
    with pytest.raises(IsometryError, match="−1 to 1"):
        correlation_map("tanh", 1.5, 0.1)(1.5)
    with pytest.raises(IsometryError, match="no correlation"):
        correlation_map("tanh", 0.0, 0.0)
