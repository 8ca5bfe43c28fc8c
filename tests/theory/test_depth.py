import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry import IsometryError
from isometry.theory import chi, length_map, signal_profile


@given(a=st.floats(0.3, 2.0), layers=st.integers(1, 40), size=st.floats(0.01, 100))
@settings(max_examples=10)
def test_linear_net_gives_powers_of_its_weights(a, layers, size):
    profile = signal_profile("identity", a, 0.0, layers, input_square_mean=size)
    depth = np.arange(layers)
    np.testing.assert_allclose(profile.q, size * a ** (2 * (depth + 1.0)), rtol=1e-10)
    np.testing.assert_allclose(profile.backward, (layers - 1 - depth) * math.log10(a), atol=1e-11)


def test_powers_of_ten_layers_by_hand():
    """W = a I, 152 layers of it: −6.955 decades for 0.9, −45.76 for 0.5, +26.77 for 1.5."""
    for a, decades in ((0.9, -6.955), (0.5, -45.76), (1.5, 26.77)):
        assert signal_profile("identity", a, 0.0, 153).backward[0] == pytest.approx(decades, abs=0.005)


@pytest.mark.parametrize(("layers", "decades"), [(10, -0.573), (50, -0.922), (152, -1.165)])
def test_tanh_at_its_critical_point_still_loses_like_one_over_depth(layers, decades):
    assert signal_profile("tanh", 1.0, 0.0, layers + 1).backward[0] == pytest.approx(decades, abs=5e-4)


def test_sigmoid_loses_what_eleven_layers_lose():
    assert signal_profile("sigmoid", 1.0, 0.0, 12).backward[0] == pytest.approx(-6.9466, abs=5e-5)
    assert signal_profile("sigmoid", 8.0, 0.0, 12).backward[0] == pytest.approx(-0.6439, abs=5e-5)


def test_forward_gelu_grows_away_from_its_unstable_point():
    assert signal_profile("gelu", 1.533530, 0.0, 51).backward[0] == pytest.approx(1.87, abs=0.005)


@pytest.mark.parametrize(("activation", "expected"), [("relu", -0.389), ("sigmoid", -0.85)])
def test_torch_default_initialisation_loses_gradients(activation, expected):
    """U(±1/√fan_in) for weights and biases: σ_w² = 1/3; the biases depend on the width."""
    profile = signal_profile(activation, math.sqrt(1 / 3), 0.0, 11)
    assert profile.backward[0] / 10 == pytest.approx(expected, abs=0.01)


def test_torch_default_tanh_over_fifty_layers():
    assert signal_profile("tanh", math.sqrt(1 / 3), 0.0, 51).backward[0] == pytest.approx(-12.2, abs=0.3)


def test_profile_is_the_maps_step_by_step():
    profile = signal_profile("gelu", [1.5, 1.2, 1.1], [0.1, 0.2, 0.3], 3)
    q = [1.5**2 + 0.1**2]
    q.append(length_map("gelu", 1.2, 0.2)(q[0]))
    q.append(length_map("gelu", 1.1, 0.3)(q[1]))
    np.testing.assert_allclose(profile.q, q, rtol=1e-12)
    gains = [chi("gelu", 1.2, 0.0, q[0]), chi("gelu", 1.1, 0.0, q[1])]
    np.testing.assert_allclose(profile.chi[:2], gains, rtol=1e-12)
    assert profile.backward[0] == pytest.approx(0.5 * math.log10(gains[0] * gains[1]))
    assert profile.forward[2] == pytest.approx(0.5 * math.log10(q[2]))


def test_dropout_adds_the_same_both_ways():
    kept = signal_profile("identity", 1.0, 0.0, 3, keep=0.5)
    np.testing.assert_allclose(kept.q, [1, 2, 4])
    np.testing.assert_allclose(kept.backward, [math.log10(2), 0.5 * math.log10(2), 0])


@pytest.mark.parametrize(
    "call",
    [
        lambda: signal_profile("tanh", 1.0, 0.0, 0),
        lambda: signal_profile("tanh", [1.0, 1.0], 0.0, 3),
        lambda: signal_profile("tanh", [1.0, -1.0], 0.0, 2),
    ],
)
def test_impossible_shapes_are_refused(call):
    with pytest.raises(IsometryError, match="needed"):
        call()
