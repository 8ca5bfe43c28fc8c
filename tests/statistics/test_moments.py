from decimal import Context, Decimal, localcontext
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from isometry.network.signals import MOMENTS
from isometry.statistics.moments import Moments, as_row, from_row, merge, merge_rows, moments, pool_rows

EXACT = Context(prec=60, Emax=10**6, Emin=-(10**6))
FORMATS = (np.float16, np.float32, np.float64)
PROMISED = 1e-6
"""Relative error of float32 data that the project promises."""


def exact_moments(array):
    """Mean, std and rms in 60 decimal digits."""
    with localcontext(EXACT):
        values = [Decimal(float(x)) for x in np.asarray(array).ravel()]
        mean = sum(values) / len(values)
        variance = sum((x - mean) ** 2 for x in values) / len(values)
        mean_square = sum(x * x for x in values) / len(values)
        return float(mean), float(variance.sqrt()), float(mean_square.sqrt())


def assert_close(found: Moments, array, tolerance=1e-12):
    mean, std, rms = exact_moments(array)
    biggest = float(np.abs(np.asarray(array, dtype=np.float64)).max())
    smallest = 5e-324  # results below the smallest subnormal are rounded to it or to 0
    assert found.rms == pytest.approx(rms, rel=tolerance, abs=2 * smallest)
    assert found.mean == pytest.approx(mean, rel=tolerance, abs=biggest * 1e-15 + 2 * smallest)
    assert found.std == pytest.approx(std, rel=tolerance, abs=biggest * 1e-15 + 2 * smallest)


@pytest.mark.parametrize("exponent", range(-30, 31, 5))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_right_from_1e_minus_30_to_1e30(dtype, exponent):
    values = (np.random.default_rng(0).standard_normal(1000) * 10.0**exponent).astype(dtype)
    found, (mean, std, rms) = moments(values), exact_moments(values)
    assert found.rms == pytest.approx(rms, rel=PROMISED, abs=0)
    assert found.std == pytest.approx(std, rel=PROMISED, abs=0)
    assert found.mean == pytest.approx(mean, rel=PROMISED, abs=0)
    assert found.abs_max == np.abs(values.astype(np.float64)).max()


@pytest.mark.parametrize("exponent", [-320, -308, -200, 200, 307])
def test_float64_far_outside_float32_is_right(exponent):
    values = np.random.default_rng(0).uniform(1, 5, 100) * 10.0**exponent
    assert_close(moments(values), values)


@pytest.mark.parametrize("ratio", [1e3, 1e6, 1e9, 1e12])
def test_mean_far_above_std_keeps_the_std(ratio):
    values = ratio + np.random.default_rng(0).standard_normal(1000)
    _, std, _ = exact_moments(values)
    assert moments(values).std == pytest.approx(std, rel=PROMISED)


def test_float32_with_mean_far_above_std_keeps_the_std():
    values = (1e4 + 1e-2 * np.random.default_rng(0).standard_normal(10_000)).astype(np.float32)
    _, std, _ = exact_moments(values)
    assert moments(values).std == pytest.approx(std, rel=PROMISED)


def test_constant_has_no_spread():
    assert moments(np.full(1000, 0.1, dtype=np.float32)).std == 0


@given(hnp.arrays(st.sampled_from(FORMATS), st.integers(1, 50), elements={"allow_nan": False, "allow_infinity": False}))
def test_any_finite_array_is_right(values):
    assert_close(moments(values), values)


@given(hnp.arrays(st.sampled_from(FORMATS), st.integers(0, 50)))
def test_what_is_not_finite_is_counted_and_left_out(values):
    found = moments(values)
    assert found.count == len(values)
    assert found.nan == np.isnan(values).sum()
    assert found.inf == np.isinf(values).sum()
    finite = values[np.isfinite(values)]
    assert found.finite == len(finite)
    assert found.zeros == (finite == 0).sum()
    if len(finite):
        assert np.isfinite([found.mean, found.rms, found.abs_max]).all()
        assert_close(found, finite)
    else:
        assert np.isnan([found.mean, found.std, found.rms, found.abs_max]).all()


@pytest.mark.parametrize("values", [np.array([1, 2, 4]), np.array([True, False, True]), [[1.0], [3.0]], 2.0])
def test_integers_booleans_lists_and_numbers_are_taken(values):
    assert_close(moments(values), values)


def test_rows_are_in_the_published_order():
    value = Moments(8, 1.0, 2.0, 3.0, 4.0, 5, 1, 2)
    row = as_row(value)
    assert {name: row[place] for place, name in enumerate(MOMENTS)} == {name: getattr(value, name) for name in MOMENTS}
    assert from_row(row) == value


PARTS = st.lists(
    hnp.arrays(np.float32, st.integers(0, 20)),
    min_size=1,
    max_size=6,
)


def assert_same(first: Moments, second: Moments):
    assert (first.count, first.zeros, first.nan, first.inf) == (second.count, second.zeros, second.nan, second.inf)
    assert first.abs_max == pytest.approx(second.abs_max, nan_ok=True)
    scale = second.abs_max if np.isfinite(second.abs_max) else 0.0
    for name in ("mean", "std", "rms"):
        assert getattr(first, name) == pytest.approx(getattr(second, name), rel=1e-9, abs=1e-13 * scale, nan_ok=True)


@given(PARTS)
def test_parts_merge_to_the_moments_of_the_whole(parts):
    assert_same(reduce(merge, map(moments, parts)), moments(np.concatenate(parts)))


@given(PARTS.filter(lambda parts: len(parts) >= 3))
def test_merging_is_associative_and_commutative(parts):
    a, b, c = map(moments, parts[:3])
    assert_same(merge(merge(a, b), c), merge(a, merge(b, c)))
    assert_same(merge(a, b), merge(b, a))


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e30, 1e300])
def test_merging_neither_underflows_nor_overflows(scale):
    random = np.random.default_rng(0)
    a, b = scale * random.standard_normal(100), scale * (random.standard_normal(50) + 3)
    assert_close(merge(moments(a), moments(b)), np.concatenate([a, b]), tolerance=1e-12)


def test_the_largest_floats_of_opposite_sign_merge():
    largest = np.finfo(np.float64).max
    merged = merge(moments([largest]), moments([-largest]))
    assert merged.std == pytest.approx(largest)
    assert merged.mean == 0


@settings(max_examples=settings().max_examples // 3)
@given(hnp.arrays(np.float32, (2, 3, 4, 10)))
def test_rows_merge_like_single_moments(values):
    rows = np.array([[[as_row(moments(x)) for x in part] for part in half] for half in values])
    merged = merge_rows(rows[0], rows[1])
    for place in np.ndindex(3, 4):
        assert_same(from_row(merged[place]), moments(np.concatenate([values[0][place], values[1][place]])))


def test_rows_of_nothing_change_nothing():
    row, nothing = as_row(moments([1.0, 2.0])), as_row(moments([]))
    np.testing.assert_allclose(merge_rows(row, nothing), row, rtol=1e-15)


@settings(max_examples=settings().max_examples // 3)
@given(hnp.arrays(np.float32, (5, 3, 10)))
def test_pooled_rows_are_the_moments_of_all_parts(values):
    pooled = pool_rows(np.array([[as_row(moments(x)) for x in part] for part in values]))
    for layer in range(3):
        assert_same(from_row(pooled[layer]), moments(values[:, layer]))


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_pooling_neither_underflows_nor_overflows(scale):
    parts = scale * (np.random.default_rng(0).standard_normal((4, 50)) + np.arange(4)[:, None])
    assert_close(from_row(pool_rows(np.array([as_row(moments(part)) for part in parts]))), parts, tolerance=1e-12)
