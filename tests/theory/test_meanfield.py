import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry import IsometryError
from isometry.theory import ACTIVATIONS, as_activation, chi, chi_q, fixed_point, gain, length_map

few_examples = settings(max_examples=12)
BOUNDED = ("tanh", "sigmoid", "erf", "softsign", "relu6", "hardtanh", "hardsigmoid", "sin")
HOMOGENEOUS = ("identity", "relu", "leaky_relu", "prelu")
DEVIATIONS = st.floats(0.05, 4.0)


def settled(activation, sigma_w, sigma_b, layers):
    step, q = length_map(activation, sigma_w, sigma_b), 1.0
    for _ in range(layers):
        q = step(q)
    return q


@few_examples
@given(activation=st.sampled_from(BOUNDED), sigma_w=DEVIATIONS, sigma_b=st.floats(0.2, 2.0))
def test_fixed_point_is_where_iteration_ends(activation, sigma_w, sigma_b):
    q = fixed_point(activation, sigma_w, sigma_b)
    assert length_map(activation, sigma_w, sigma_b)(q) == pytest.approx(q, rel=1e-12)
    assert abs(chi_q(activation, sigma_w, sigma_b)) < 1
    assert settled(activation, sigma_w, sigma_b, 60) == pytest.approx(q, rel=1e-3)


@few_examples
@given(activation=st.sampled_from(HOMOGENEOUS), sigma_w=DEVIATIONS, sigma_b=DEVIATIONS, scale=st.floats(0.01, 100))
def test_units_of_signals_do_not_matter_to_homogeneous_activations(activation, sigma_w, sigma_b, scale):
    q = length_map(activation, sigma_w, sigma_b)
    assert length_map(activation, sigma_w, scale * sigma_b)(scale**2 * 0.7) == pytest.approx(scale**2 * q(0.7))
    assert fixed_point(activation, sigma_w, scale * sigma_b) == pytest.approx(
        scale**2 * fixed_point(activation, sigma_w, sigma_b), rel=1e-9
    )
    assert chi(activation, sigma_w, scale * sigma_b) == pytest.approx(chi(activation, sigma_w, sigma_b))


@few_examples
@given(activation=st.sampled_from(sorted(ACTIVATIONS)), q=st.floats(0.01, 50), scale=st.floats(0.1, 10))
def test_scaling_the_input_of_phi_is_scaling_the_weights(activation, q, scale):
    """φ(s·) with σ_w, σ_b gives the slopes that φ with s σ_w, s σ_b gives."""
    phi = ACTIVATIONS[activation]
    stretched = type(phi)(
        "stretched",
        lambda z: phi.function(scale * z),
        lambda z: scale * phi.slope(scale * z),
        tuple(kink / scale for kink in phi.kinks),
    )
    assert chi(stretched, 1.3, 0.1, q) == pytest.approx(chi(activation, scale * 1.3, 0.1, scale**2 * q), rel=1e-9)


@few_examples
@given(activation=st.sampled_from(sorted(ACTIVATIONS)), q=st.floats(0.05, 50))
def test_chi_q_is_the_slope_of_the_length_map(activation, q):
    step = length_map(activation, 1.3, 0.2)
    numerical = (step(q * 1.001) - step(q * 0.999)) / (0.002 * q)
    assert chi_q(activation, 1.3, 0.2, q) == pytest.approx(numerical, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("activation", "sigma_w", "sigma_b", "expected"),
    [
        ("tanh", 1.0, 0.0, 0.0),
        ("tanh", 0.5, 0.0, 0.0),
        ("relu", 1.0, 0.0, 0.0),
        ("relu", 1.0, 0.1, 0.02),
        ("relu", math.sqrt(2), 0.0, 1.0),
        ("relu", math.sqrt(2), 0.1, math.inf),
        ("relu", 2.0, 0.0, math.inf),
        ("identity", 0.0, 0.3, 0.09),
        ("identity", 0.0, 0.0, 0.0),
        ("selu", 1.0, 0.0, 1.0),
        ("squared_relu", 1.0, 0.0, math.inf),
        ("squared_relu", 0.5, 0.1, (1 - math.sqrt(0.985)) / 0.75),
    ],
)
def test_fixed_points_that_are_known(activation, sigma_w, sigma_b, expected):
    assert fixed_point(activation, sigma_w, sigma_b) == pytest.approx(expected, rel=1e-7, abs=1e-15)


def test_self_normalising_unit_explodes_mildly():
    """q* = 1 exactly, χ = 1.071575: +0.0150 decades a layer. Sources: Klambauer et al. 2017 for q*."""
    assert fixed_point("selu", 1.0, 0.0) == pytest.approx(1.0, abs=1e-12)
    assert chi("selu", 1.0, 0.0) == pytest.approx(1.071575, abs=5e-7)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [("gelu", 1.144), ("silu", 1.173), ("mish", 1.076), ("hardswish", 1.224), ("squared_relu", 2.0)],
)
def test_forward_gain_leaves_one_sided_units_unstable(activation, expected):
    sigma_w = gain(activation)
    assert fixed_point(activation, sigma_w, 0.0) == 1.0
    assert chi_q(activation, sigma_w, 0.0) == pytest.approx(expected, abs=5e-4)


def test_sigmoid_at_sigma_four_still_loses_gradients():
    assert chi("sigmoid", 4.0, 0.0) == pytest.approx(0.399, abs=5e-4)


def test_limits_of_chi_at_zero_and_infinity():
    assert chi("tanh", 0.9, 0.0) == pytest.approx(0.81, rel=1e-12)
    assert chi("relu", 2.0, 0.1) == pytest.approx(2.0, rel=1e-12)
    assert chi("squared_relu", 1.0, 0.0, math.inf) == math.inf
    silu = as_activation(lambda z: z / (1 + np.exp(-z)))
    assert chi(silu, 2.0, 0.0, math.inf) == pytest.approx(2.0, rel=1e-9)


def test_a_small_first_step_still_finds_the_way_to_zero_or_out():
    assert fixed_point("tanh", 1.0001, 0.0) == pytest.approx(1e-4, rel=1e-3)  # q* ≈ (σ_w² − 1) / 2
    assert fixed_point("relu", math.sqrt(2) - 1e-9, 0.001) == pytest.approx(1e-6 / (1 - (math.sqrt(2) - 1e-9) ** 2 / 2))


def test_tangency_holds_signals_up():
    """Squared ReLU with σ_w = 1 has V(q) = 1.5 q² + σ_b², which touches the diagonal if σ_b² = 1/6."""
    assert fixed_point("squared_relu", 1.0, math.sqrt(1 / 6), start=0.01) == pytest.approx(1 / 3, rel=1e-3)
    assert fixed_point("squared_relu", 1.0, math.sqrt(0.167), start=0.01) == math.inf


def test_dropout_is_weights_that_are_larger():
    assert fixed_point("tanh", 1.2, 0.1, keep=0.8) == pytest.approx(
        fixed_point("tanh", 1.2 / math.sqrt(0.8), 0.1), rel=1e-12
    )


def test_maps_take_arrays():
    q = np.array([[0.1, 1.0], [2.0, 5.0]])
    mapped = length_map("tanh", 1.5, 0.1)(q)
    assert mapped.shape == (2, 2)
    assert mapped[1, 0] == length_map("tanh", 1.5, 0.1)(2.0)
    assert isinstance(length_map("relu", 1.0, 0.0)(1.0), float)


@pytest.mark.parametrize(
    "call",
    [
        lambda: fixed_point("tanh", -1.0, 0.0),
        lambda: fixed_point("tanh", 1.0, -0.1),
        lambda: fixed_point("tanh", math.nan, 0.1),
        lambda: fixed_point("tanh", 1.0, math.inf),
        lambda: fixed_point("tanh", 1.0, 0.1, keep=0.0),
        lambda: fixed_point("tanh", 1.0, 0.1, start=0.0),
        lambda: length_map("tanh", 1.0, 0.1)(-1.0),
        lambda: chi("tanh", 1.0, 0.1, -1.0),
    ],
)
def test_impossible_numbers_are_refused(call):
    with pytest.raises(IsometryError, match="needed"):
        call()
