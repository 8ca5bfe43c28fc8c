"""How far an optimiser moved the weights, relative to their size."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["update_ratio"]


def update_ratio(update_rms: ArrayLike, weight_rms: ArrayLike) -> NDArray[np.float64]:
    """The relative size of one step: rms ΔW / rms W.

    Args:
        update_rms: of what the optimiser really did. any shape
        weight_rms: of the weights before the step. the same shape

    Returns:
        NaN where either was not recorded or W is all zeros: nothing relative can be said of a weight that begins at 0.
    """
    update, weight = np.asarray(update_rms, dtype=np.float64), np.asarray(weight_rms, dtype=np.float64)
    measurable = np.where(weight > 0, weight, np.nan)
    with np.errstate(over="ignore"):  # 1e300 / 1e-300: infinitely far is the truth
        return np.asarray(update / measurable)
