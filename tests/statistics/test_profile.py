import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isometry.errors import NotRecorded
from isometry.statistics.profile import (
    decades_lost_per_layer,
    gain_decades,
    leaves_range,
    norm,
    robust_decades_per_layer,
)

SLOPES = pytest.mark.parametrize("slope", [decades_lost_per_layer, robust_decades_per_layer])


def power_profile(factor, layers, dtype=np.float64):
    """δ of a linear net W = factor · I, whose last layer has δ = 1 · factor; computed step by step in a format."""
    signal, profile = dtype(1), []
    with np.errstate(over="ignore", under="ignore"):
        for _ in range(layers):
            signal = dtype(signal * dtype(factor))
            profile.append(float(signal))
    return np.array(profile[::-1])


@SLOPES
@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 1.1, 1.5])
def test_slope_of_a_power_is_its_logarithm(slope, factor):
    assert slope(power_profile(factor, 20)) == pytest.approx(-np.log10(factor), abs=1e-12)


@SLOPES
def test_what_is_no_positive_number_is_left_out(slope):
    profile = power_profile(0.5, 12)
    profile[[0, 3, 5]] = [0.0, np.nan, np.inf]
    assert slope(profile) == pytest.approx(np.log10(2), abs=1e-12)


@SLOPES
def test_rows_are_told_one_by_one(slope):
    rows = np.stack([power_profile(0.5, 9), power_profile(1.5, 9), np.zeros(9)])
    np.testing.assert_allclose(slope(rows), [np.log10(2), -np.log10(1.5), np.nan], atol=1e-12)


@SLOPES
@pytest.mark.parametrize("profile", [[1.0], [0.0, 0.0, 1.0], [], [[0.0, 1.0], [np.nan, 1.0]], 3.0])
def test_fewer_than_two_layers_have_no_slope(slope, profile):
    with pytest.raises(NotRecorded, match="two layers or more"):
        slope(np.atleast_1d(np.asarray(profile)))


@SLOPES
@given(scale=st.floats(1e-30, 1e30), factor=st.floats(0.1, 10))
def test_slope_knows_no_scale(slope, scale, factor):
    profile = power_profile(factor, 10)
    assert slope(scale * profile) == pytest.approx(slope(profile), abs=1e-9)


def test_robust_slope_is_unmoved_by_odd_layers():
    profile = power_profile(0.5, 20)
    profile[[2, 7, 13, 19]] *= [1e6, 1e-9, 1e4, 1e8]
    assert robust_decades_per_layer(profile) == pytest.approx(np.log10(2), abs=0.02)
    assert abs(decades_lost_per_layer(profile) - np.log10(2)) > 0.1


def test_gains_add_to_the_whole_way():
    profile = np.array([1e-6, 1e-4, 1e-5, 1.0])
    np.testing.assert_allclose(gain_decades(profile), [-2, 1, -5])
    assert gain_decades(profile).sum() == pytest.approx(-6)


def test_gain_beside_an_unmeasured_layer_is_unknown():
    np.testing.assert_array_equal(np.isnan(gain_decades([1.0, np.nan, 1.0, 0.0])), True)


def test_norm_is_that_of_the_elements():
    values = np.random.default_rng(0).standard_normal(100)
    assert norm(np.sqrt(np.mean(values**2)), 100) == pytest.approx(np.linalg.norm(values))


def test_152_halvings_leave_float32_and_imply_minus_45_8_decades():
    found = leaves_range(power_profile(0.5, 152, np.float32))
    assert (found.side, found.explained) == ("below", True)
    assert found.layer == 3  # 2^-149, the smallest subnormal, is the 149th from the output
    assert found.decades_per_layer == pytest.approx(np.log10(0.5), abs=1e-9)
    assert found.decades == pytest.approx(-45.8, abs=0.05)


def test_explosion_out_of_float32_is_told_too():
    found = leaves_range(power_profile(10.0, 60, np.float32))
    assert (found.side, found.explained, found.layer) == ("above", True, 22)
    assert found.decades == pytest.approx(60, abs=1e-3)


@pytest.mark.parametrize(("dtype", "layers"), [(np.float16, 40), (np.float64, 1100)])
def test_other_formats_have_their_own_ends(dtype, layers):
    found = leaves_range(power_profile(0.5, layers, dtype), dtype=np.dtype(dtype).name)
    assert found.explained
    assert found.decades == pytest.approx(layers * np.log10(0.5), abs=1e-3)


def test_profile_within_range_does_not_leave_it():
    assert leaves_range(power_profile(0.5, 100)) is None


def test_silence_that_the_slope_does_not_explain_is_not_called_underflow():
    profile = power_profile(0.9, 20)
    profile[:5] = 0
    assert not leaves_range(profile).explained


def test_zeros_in_the_middle_are_not_the_end_of_a_range():
    profile = power_profile(0.5, 20)
    profile[[7, 8]] = 0
    assert leaves_range(profile) is None


@pytest.mark.parametrize("profile", [np.zeros(5), np.full(5, np.nan), [0.0, 1.0], [0.0, np.inf, 1.0, 1.0], []])
def test_too_little_to_go_by_is_no_answer(profile):
    assert leaves_range(profile) is None
