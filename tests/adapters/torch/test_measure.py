"""Rows that the adapter measures are those of the NumPy reference, on the CPU path and on the path of other devices."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from isometry.adapters.torch import measure
from isometry.network.signals import MOMENTS
from isometry.statistics.histogram import histogram
from isometry.statistics.moments import as_row, moments

PROMISED = 1e-6
"""Relative error of float32 data that the project promises."""
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def on_device(tensor: Tensor) -> np.ndarray:
    return measure._row_on_device(tensor.reshape(-1)).numpy()


def on_cpu(tensor: Tensor) -> np.ndarray:
    return np.array(measure.row(tensor))


PATHS = pytest.mark.parametrize("path", [on_cpu, on_device])


def assert_equal_to_reference(found: np.ndarray, values: np.ndarray) -> None:
    expected = as_row(moments(values))
    finite = np.abs(values[np.isfinite(values)])
    biggest = float(finite.max()) if finite.size else 0.0
    for name, one, other in zip(MOMENTS, found, expected, strict=True):
        # A mean of numbers that cancel, and a spread of numbers that are alike, are right to the rounding of the sum.
        below = biggest * 1e-15 if name in ("mean", "std") else 0.0
        assert one == pytest.approx(other, rel=PROMISED, abs=below, nan_ok=True), name


@PATHS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("exponent", range(-30, 31, 10))
def test_right_from_1e_minus_30_to_1e30(path, dtype, exponent):
    values = (torch.randn(5000, generator=torch.Generator().manual_seed(1)).double() * 10.0**exponent).to(dtype)
    assert_equal_to_reference(path(values), values.numpy())


@PATHS
@pytest.mark.parametrize("exponent", [-300, -160, 160, 300])
def test_float64_whose_squares_leave_its_range(path, exponent):
    values = torch.randn(500, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 10.0**exponent
    assert_equal_to_reference(path(values), values.numpy())


@PATHS
@pytest.mark.parametrize("dtype", DTYPES)
def test_half_precision_is_summed_in_double(path, dtype):
    values = (60_000 * torch.rand(70_000, generator=torch.Generator().manual_seed(1))).to(dtype)
    assert_equal_to_reference(path(values), values.double().numpy())


@PATHS
@pytest.mark.parametrize("ratio", [1e3, 1e6])
def test_mean_far_above_std_keeps_the_std(path, ratio):
    values = (ratio + torch.randn(200_000, generator=torch.Generator().manual_seed(1))).float()
    found = path(values)
    assert found[MOMENTS.index("std")] == pytest.approx(values.double().numpy().std(), rel=PROMISED)


@PATHS
@given(hnp.arrays(st.sampled_from([np.float32, np.float64]), st.integers(1, 60)))
def test_any_array_with_what_is_not_finite_counted(path, values):
    assert_equal_to_reference(path(torch.from_numpy(values)), values)


def test_an_empty_tensor_has_no_moments():
    assert_equal_to_reference(on_cpu(torch.empty(0, 3)), np.empty(0))


def test_a_tensor_that_is_a_strided_view_is_read_as_it_looks():
    values = torch.arange(24.0).reshape(4, 6)[::2, 1::2]
    assert_equal_to_reference(on_cpu(values.T), values.numpy().copy())


def test_a_complex_tensor_counts_both_parts():
    values = torch.complex(torch.arange(4.0), -torch.arange(4.0)).conj()
    assert_equal_to_reference(on_cpu(values), np.concatenate([np.arange(4.0), np.arange(4.0)]))


def test_a_sparse_gradient_has_the_zeros_that_it_does_not_store():
    values = torch.sparse_coo_tensor([[0, 2, 2]], [1.0, 2.0, 3.0], (5,), check_invariants=True)
    assert_equal_to_reference(on_cpu(values), np.array([1.0, 0.0, 5.0, 0.0, 0.0]))


def test_the_step_slope_of_relu_follows_from_its_output():
    z = torch.randn(1000, generator=torch.Generator().manual_seed(1))
    assert_equal_to_reference(
        np.array(measure.row_of_step_slope(measure.row(z.relu()))), (z > 0).numpy().astype(np.float64)
    )


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_spread_is_the_deviation_between_samples(offset):
    values = offset + torch.randn(40, 5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = float(np.sqrt(values.numpy().var(axis=0).mean()))
    assert measure.spread(values) == pytest.approx(expected, rel=PROMISED)
    assert math.isnan(measure.spread(values[:1]))


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("size", [7, 200_000])
@pytest.mark.parametrize("path", [measure.rest, measure._rest_on_device])
def test_rest_is_the_ratio_and_the_cosine(path, scale, size):
    part, left = torch.randn(2, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gain, cosine = path(scale * (part + 0.3 * left), scale * part)
    assert float(gain) == pytest.approx(0.3 * float(left.norm() / part.norm()), rel=PROMISED)
    assert float(cosine) == pytest.approx(float(left @ part / left.norm() / part.norm()), rel=PROMISED)


def test_rest_of_equal_tensors_is_nothing_and_of_zero_or_non_finite_unknown():
    one = torch.ones(3)
    assert measure.rest(one, one) == (0.0, 0.0)
    for whole, part in ((one, torch.zeros(3)), (one, one / 0), (one / 0, one)):
        assert all(math.isnan(value) for value in measure.rest(whole, part))


@pytest.mark.parametrize("scale", [1e-320, 1e-20, 1.0, 1e300])
@pytest.mark.parametrize("strange", [[], [0.0, float("nan"), float("inf"), -float("inf"), 1e-42]])
@pytest.mark.parametrize("size", [0, 3000])
def test_magnitudes_are_the_reference_histogram(scale, strange, size):
    values = torch.randn(size, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * scale
    values = torch.cat([values, torch.tensor(strange, dtype=torch.float64)])
    found, expected = measure.magnitudes(values), histogram(values.numpy())
    assert (found["zeros"], found["nan"], found["inf"]) == (expected.zeros, expected.nan, expected.inf)
    assert found["lowest"] == expected.lowest
    assert found["counts"] == list(expected.counts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_magnitudes_of_every_dtype_are_those_of_its_values(dtype):
    values = (torch.randn(200, 5, generator=torch.Generator().manual_seed(1)) * 1e-4).to(dtype).T
    found, expected = measure.magnitudes(values), histogram(values.double().numpy())
    assert (found["lowest"], found["counts"]) == (expected.lowest, list(expected.counts))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.complex64])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_a_level_is_the_rms_of_the_row(dtype, scale):
    values = (torch.randn(30, 20, generator=torch.Generator().manual_seed(2)) * scale).to(dtype)[:, ::2]
    count, rms = MOMENTS.index("count"), MOMENTS.index("rms")
    level, row = measure.level(values), measure.row(values)
    assert level[count] == row[count]
    assert level[rms] == pytest.approx(float(row[rms]), rel=1e-9)


@pytest.mark.parametrize("strange", [float("nan"), float("inf")])
def test_a_level_tells_what_is_not_finite(strange):
    assert measure.level(torch.tensor([1.0, strange]))[MOMENTS.index("nan")] == 1
