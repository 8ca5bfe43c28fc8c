"""What a loss is worth when the network's answer does not depend on its input."""

from collections.abc import Mapping

import numpy as np

__all__ = ["guessing_loss"]


def guessing_loss(kind: str, *, classes: int | None, targets: Mapping[str, float] | None) -> float | None:
    """Loss of the best answer that ignores the input, as far as the targets' moments tell it.

    Cross-entropy of equally frequent classes is ln(classes); binary cross-entropy of targets with mean p is the entropy
    of p; the square leaves the variance of the targets. For the absolute value and its smooth form the targets are
    taken as normal. Rare classes make guessing cheaper than this says, never dearer.

    Returns:
        None where it cannot be told, or where the targets never change and guessing is perfect.

    Sources: Cover & Thomas 2006, theorem 2.6.4.
    """
    if kind in ("cross_entropy", "nll"):
        return float(np.log(classes)) if classes is not None and classes > 1 else None
    if targets is None:
        return None
    mean, std = float(targets["mean"]), float(targets["std"])
    if not np.isfinite([mean, std]).all() or std == 0:
        return None
    if kind == "binary_cross_entropy":
        return float(-mean * np.log(mean) - (1 - mean) * np.log(1 - mean)) if 0 < mean < 1 else None
    absolute = std * float(np.sqrt(2 / np.pi))
    by_kind = {"mse": std**2, "l1": absolute, "smooth_l1": min(std**2 / 2, absolute)}
    return by_kind.get(kind)
