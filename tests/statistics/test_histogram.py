import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from isometry.statistics.histogram import Histogram, histogram, merge, quantile

ARRAYS = hnp.arrays(st.sampled_from([np.float16, np.float32, np.float64]), st.integers(0, 60))


@given(ARRAYS)
def test_every_element_is_in_exactly_one_place(values):
    found = histogram(values)
    assert sum(found.counts) + found.zeros + found.nan + found.inf == len(values)
    magnitudes = np.abs(values[np.isfinite(values)].astype(np.longdouble))
    for i, count in enumerate(found.counts):
        low = np.longdouble(2.0) ** (found.lowest + i)
        assert count == ((magnitudes >= low) & (magnitudes < 2 * low)).sum()


@given(ARRAYS, ARRAYS, ARRAYS)
def test_parts_merge_to_the_histogram_of_the_whole(a, b, c):
    whole = histogram(np.concatenate([a, b, c]).astype(np.float64))
    assert merge(merge(histogram(a), histogram(b)), histogram(c)) == whole
    assert merge(histogram(a), merge(histogram(b), histogram(c))) == whole


def test_powers_of_two_open_their_bins():
    assert histogram([1.0, 1.99, 2.0, -4.0, 0.0]) == Histogram(lowest=0, counts=(2, 1, 1), zeros=1)


def test_subnormals_have_bins_of_their_own():
    assert histogram(np.array([5e-324])) == Histogram(lowest=-1074, counts=(1,))


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.9, 0.99])
def test_quantiles_are_right_to_a_factor_of_two(share):
    values = np.random.default_rng(0).lognormal(mean=-40, sigma=6, size=20_000)
    found = quantile(histogram(values), share)
    assert 0.5 <= found / np.quantile(values, share) <= 2


def test_zeros_are_the_lowest_elements():
    of = histogram([0.0, 0.0, 0.0, 8.0])
    assert quantile(of, 0.5) == 0
    assert 8 <= quantile(of, 1.0) <= 16


def test_no_element_has_no_quantile():
    assert np.isnan(quantile(histogram([np.nan, np.inf]), 0.5))
    assert quantile(histogram([0.0]), 1.0) == 0


@given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e300, 1e300)), st.floats(0, 1), st.floats(0, 1))
def test_quantiles_never_fall(values, a, b):
    of = histogram(values)
    low, high = sorted([a, b])
    assert quantile(of, low) <= quantile(of, high)
