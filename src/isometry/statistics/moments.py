"""One row of moments for a tensor, and how rows of its parts become the row of the whole.

Everything stays right from the smallest subnormal to the largest float: squares are taken of values scaled by a power
of two, which loses no bit, and roots of mean squares are combined by ``hypot``, which neither under- nor overflows.
"""

from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isometry.network.signals import MOMENTS

__all__ = ["Moments", "as_row", "from_row", "merge", "merge_rows", "moments", "pool_rows"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moments:
    """What is kept of a tensor; the moments are of its finite elements, NaN where there are none."""

    count: int
    """All elements, finite or not."""
    mean: float
    std: float
    """Root mean square distance from the mean; of the elements as they are, not an estimate of anything beyond."""
    rms: float
    abs_max: float
    zeros: int
    nan: int
    inf: int

    @property
    def finite(self) -> int:
        """How many elements the moments are of."""
        return self.count - self.nan - self.inf


def moments(array: ArrayLike) -> Moments:
    """Moments of an array, right to 1e-6 relative and mostly to 1e-14.

    Args:
        array: real numbers of any shape and precision.
    """
    values = np.asarray(array).ravel()
    if not np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float64)
    nan, inf = int(np.isnan(values).sum()), int(np.isinf(values).sum())
    finite = values[np.isfinite(values)] if nan or inf else values
    if not len(finite):
        return Moments(len(values), np.nan, np.nan, np.nan, np.nan, 0, nan, inf)
    finite = finite.astype(np.float64)
    abs_max = float(np.abs(finite).max())
    exponent = int(np.frexp(abs_max)[1])
    scaled = np.ldexp(finite, -exponent)  # into [-1, 1]
    mean = float(scaled.mean())
    centred = scaled - mean
    # The mean is rounded; what that leaves in the centred values is taken out again (Chan, Golub & LeVeque 1983, 1.7).
    rest = float(centred.mean())
    variance = float(np.square(centred).mean()) - rest * rest
    return Moments(
        count=len(values),
        mean=float(np.ldexp(mean + rest, exponent)),
        std=float(np.ldexp(np.sqrt(max(variance, 0.0)), exponent)),
        rms=float(np.ldexp(np.sqrt(np.square(scaled).mean()), exponent)),
        abs_max=abs_max,
        zeros=len(finite) - int(np.count_nonzero(finite)),
        nan=nan,
        inf=inf,
    )


def merge(first: Moments, second: Moments) -> Moments:
    """Moments of two arrays together, from the moments of each.

    Sources: Chan, Golub & LeVeque 1983, equation 2.1, with roots of sums of squares in place of sums.
    """
    return from_row(merge_rows(as_row(first), as_row(second)))


def as_row(of: Moments) -> Floats:
    """The moments in the order of ``MOMENTS``. shape (8,)"""
    return np.array(astuple(of), dtype=np.float64)


def from_row(row: ArrayLike) -> Moments:
    """The value of a row. Counts in rows are exact up to 2^53."""
    count, mean, std, rms, abs_max, zeros, nan, inf = np.asarray(row, dtype=np.float64).tolist()
    return Moments(int(count), mean, std, rms, abs_max, int(zeros), int(nan), int(inf))


def merge_rows(first: ArrayLike, second: ArrayLike) -> Floats:
    """``merge`` for many pairs at once, as micro-batches of one step are pooled.

    Args:
        first: rows in the order of ``MOMENTS``. shape (..., 8)
        second: the same. shape (..., 8)

    Returns:
        Rows of the arrays together; a row without finite elements changes only the counts. shape (..., 8)
    """
    a, b = np.broadcast_arrays(np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64))
    merged = np.empty(a.shape)
    for name in ("count", "zeros", "nan", "inf"):
        merged[..., _AT[name]] = a[..., _AT[name]] + b[..., _AT[name]]
    n_a, n_b = _finite(a), _finite(b)
    total = n_a + n_b
    known = np.maximum(total, 1.0)
    share_a, share_b = n_a / known, n_b / known
    a, b = np.where(n_a[..., None] > 0, a, 0.0), np.where(n_b[..., None] > 0, b, 0.0)
    mean_a, mean_b = a[..., _AT["mean"]], b[..., _AT["mean"]]
    half_distance = np.abs(0.5 * mean_b - 0.5 * mean_a)
    between = half_distance * (2.0 * np.sqrt(share_a * share_b))
    within = _root_of_mean_square(share_a, a[..., _AT["std"]], share_b, b[..., _AT["std"]])
    pooled = {
        "mean": share_a * mean_a + share_b * mean_b,
        "std": np.hypot(within, between),
        "rms": _root_of_mean_square(share_a, a[..., _AT["rms"]], share_b, b[..., _AT["rms"]]),
        "abs_max": np.maximum(a[..., _AT["abs_max"]], b[..., _AT["abs_max"]]),
    }
    for name, values in pooled.items():
        merged[..., _AT[name]] = np.where(total > 0, values, np.nan)
    return merged


_AT = {name: place for place, name in enumerate(MOMENTS)}


def pool_rows(rows: ArrayLike) -> Floats:
    """One row for many: merged pair by pair, so that a thousand take ten rounds. shape (n, 8) → (8,)"""
    rows = np.asarray(rows, dtype=np.float64)
    while len(rows) > 1:
        even = len(rows) // 2 * 2
        rows = np.concatenate([merge_rows(rows[0:even:2], rows[1:even:2]), rows[even:]])
    pooled: Floats = rows[0]
    return pooled


def _finite(rows: Floats) -> Floats:
    finite: Floats = rows[..., _AT["count"]] - rows[..., _AT["nan"]] - rows[..., _AT["inf"]]
    return finite


def _root_of_mean_square(share_a: Floats, a: Floats, share_b: Floats, b: Floats) -> Floats:
    return np.asarray(np.hypot(np.sqrt(share_a) * a, np.sqrt(share_b) * b))
