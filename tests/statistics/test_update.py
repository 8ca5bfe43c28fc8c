import numpy as np

from isometry.statistics.update import update_ratio


def test_ratio_is_relative_to_the_weights():
    np.testing.assert_allclose(update_ratio([[1e-4, 3e-30]], [[0.1, 1e-27]]), [[1e-3, 3e-3]])


def test_nothing_relative_is_said_of_zero_or_unrecorded_weights():
    assert np.isnan(update_ratio([1e-3, 1e-3, np.nan], [0.0, np.nan, 1.0])).all()


def test_leaving_float64_is_infinitely_far():
    assert update_ratio(1e300, 1e-300) == np.inf
