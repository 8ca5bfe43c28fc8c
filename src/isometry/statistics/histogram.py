"""How the magnitudes of a tensor are distributed, in powers of two: no range to choose, and parts add up exactly."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["Histogram", "histogram", "merge", "quantile"]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of finite, non-zero elements by magnitude; bin i holds 2^(lowest+i) ≤ |x| < 2^(lowest+i+1)."""

    lowest: int = 0
    counts: tuple[int, ...] = ()
    """Without empty bins at either end."""
    zeros: int = 0
    nan: int = 0
    inf: int = 0

    @property
    def finite(self) -> int:
        """How many elements are numbers, zeros among them."""
        return sum(self.counts) + self.zeros


def histogram(array: ArrayLike) -> Histogram:
    """Histogram of an array's magnitudes.

    Args:
        array: real numbers of any shape and precision.
    """
    values = np.asarray(array).ravel()
    if not np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float64)
    nan, inf = int(np.isnan(values).sum()), int(np.isinf(values).sum())
    finite = values[np.isfinite(values)] if nan or inf else values
    exponents = np.frexp(finite[finite != 0])[1].astype(np.int64) - 1
    zeros = len(finite) - len(exponents)
    if not len(exponents):
        return Histogram(zeros=zeros, nan=nan, inf=inf)
    lowest = int(exponents.min())
    counts = np.bincount(exponents - lowest)
    return Histogram(lowest, tuple(counts.tolist()), zeros, nan, inf)


def merge(first: Histogram, second: Histogram) -> Histogram:
    """Histogram of two arrays together."""
    parts = [part for part in (first, second) if part.counts]
    lowest = min((part.lowest for part in parts), default=0)
    highest = max((part.lowest + len(part.counts) for part in parts), default=0)
    counts = np.zeros(highest - lowest, dtype=object)  # Python's integers: no count is too large
    for part in parts:
        counts[part.lowest - lowest :][: len(part.counts)] += np.array(part.counts, dtype=object)
    return Histogram(
        lowest=lowest,
        counts=tuple(int(count) for count in counts),
        zeros=first.zeros + second.zeros,
        nan=first.nan + second.nan,
        inf=first.inf + second.inf,
    )


def quantile(of: Histogram, share: float) -> float:
    """The magnitude that a share of the finite elements does not exceed.

    Zeros count as elements of magnitude 0. Inside a bin the elements are taken to lie evenly on the logarithmic scale,
    so the answer is right to a factor of 2.

    Args:
        of: the histogram.
        share: from 0 to 1.

    Returns:
        NaN where no element is finite.
    """
    if not of.finite:
        return float("nan")
    wanted = share * of.finite
    if not of.counts or (wanted <= of.zeros and of.zeros):
        return 0.0
    above_zeros = np.cumsum(np.array(of.counts, dtype=np.float64))
    wanted -= of.zeros
    place = min(int(np.searchsorted(above_zeros, wanted)), len(of.counts) - 1)
    below = above_zeros[place] - of.counts[place]
    inside = (wanted - below) / of.counts[place] if of.counts[place] else 0.0
    return float(np.exp2(of.lowest + place + min(max(inside, 0.0), 1.0)))
