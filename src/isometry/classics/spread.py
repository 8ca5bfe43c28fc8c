"""How a number scatters over seeds, and how that is said."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isometry.report.words import number

__all__ = ["quartiles", "ranged", "spread"]


def quartiles(values: ArrayLike, axis: int = 0) -> tuple[NDArray[np.float64], ...]:
    """First quartile, median and third quartile over seeds; what is NaN does not count."""
    array = np.asarray(values, dtype=np.float64)
    return tuple(np.asarray(part) for part in np.nanquantile(array, (0.25, 0.5, 0.75), axis=axis))


def spread(values: ArrayLike, say: Callable[[float], str] = number) -> str:
    """Median and quartiles of one number per seed: ``0.97 (0.96 … 0.98)``."""
    low, middle, high = (float(part) for part in quartiles(np.ravel(values)))
    return f"{say(middle)} ({say(low)} … {say(high)})"


def ranged(values: ArrayLike, say: Callable[[float], str] = number) -> str:
    """Least and greatest of one number per seed: ``0.91 … 0.99``."""
    array = np.asarray(values, dtype=np.float64)
    return f"{say(float(np.nanmin(array)))} … {say(float(np.nanmax(array)))}"
