"""Mean field by quadrature gives the closed forms and the known critical points."""

import numpy as np
import pytest

from isometry.classics.build.mean_field import backward_profile, gaussian_mean, level_gain


def test_gaussian_means_are_exact():
    assert gaussian_mean(lambda z: z**4, 2.0) == pytest.approx(12, rel=1e-12)
    assert gaussian_mean(lambda z: np.maximum(z, 0) ** 2, 3.0) == pytest.approx(1.5, rel=1e-12)


def test_relu_loses_the_logarithm_of_its_gain():
    profile = backward_profile("relu", 1.0, 5, mean_square=1.0)
    assert profile == pytest.approx(0.5 * np.log10(0.5) * np.arange(4, -1, -1), abs=1e-12)
    assert level_gain("relu", 7, mean_square=0.3) == pytest.approx(np.sqrt(2), rel=1e-6)


def test_selu_explodes_mildly_at_its_own_fixed_point():
    # χ = 1.071575 at q = 1, where SELU's q stays
    assert backward_profile("selu", 1.0, 2, mean_square=1.0)[0] == pytest.approx(0.5 * np.log10(1.071575), abs=1e-6)


def test_finite_width_takes_five_over_twice_the_width_from_relu():
    wide, narrow = (backward_profile("relu", 1.4, 2, mean_square=1.0, width=width)[0] for width in (np.inf, 50))
    assert wide - narrow == pytest.approx(5 / 100 / (2 * np.log(10)), rel=1e-9)
