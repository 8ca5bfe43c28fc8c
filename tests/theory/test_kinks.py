import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.theory import ACTIVATIONS, as_activation, expectation, find_kinks


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_kinks_are_found_from_values_alone(name):
    found = find_kinks(ACTIVATIONS[name].function)
    assert found == pytest.approx(ACTIVATIONS[name].kinks, abs=1e-6)


@settings(max_examples=10)
@given(place=st.floats(-60, 60), left=st.floats(-2, 2), right=st.floats(2.1, 5))
def test_a_kink_is_found_wherever_it_is(place, left, right):
    found = find_kinks(lambda z: np.where(z > place, right, left) * (z - place))
    assert found == pytest.approx((place,), abs=1e-9)


def test_a_jump_is_found_to_the_last_digits():
    assert find_kinks(lambda z: np.where(z > 0.1, 1.0, 0.0) + z) == pytest.approx((0.1,), abs=1e-14)


@pytest.mark.parametrize("steepness", [1, 30, 1000])
def test_what_is_smooth_has_no_kinks_however_steep(steepness):
    assert find_kinks(lambda z: np.tanh(steepness * z)) == ()


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("q", [0.01, 5.0])
def test_moments_of_a_bare_function_are_right_to_ten_digits(name, q):
    known = ACTIVATIONS[name]
    bare = as_activation(lambda z: known.function(z))
    slopes = [expectation(lambda u, phi=phi: phi.slope(u) ** 2, q, kinks=phi.kinks) for phi in (known, bare)]
    assert slopes[1] == pytest.approx(slopes[0], rel=1e-10)
