"""What convolution and pooling change in mean field: the edges of the image, and averages.

Apart from this a wide convolution behaves like a dense layer with fan_in = kernel area · input channels / groups.
"""

import numpy as np
from numpy.typing import NDArray

from isometry.errors import IsometryError
from isometry.theory.checks import require_count

__all__ = ["average_pool_backward", "average_pool_forward", "padding_factor", "padding_map"]

Floats = NDArray[np.float64]


def padding_map(height: int, width: int, layers: int, *, kernel: int = 3) -> Floats:
    """Share of the mean square that zero padding leaves at every place, after so many layers. shape (height, width)

    For φ that scale with their input (ReLU at its He gain), stride 1 and padding that keeps the size: v ← T v Tᵀ,
    where T averages over the kernel and counts what lies outside as 0.

    Args:
        height: of the image; likewise width.
        layers: convolutions in a row.
        kernel: side of the kernel, odd.
    """
    if require_count("kernel", kernel) % 2 == 0:
        raise IsometryError(f"kernel = {kernel}: an odd side is needed for padding that keeps the size.")
    rows, columns = (
        np.linalg.matrix_power(_band(require_count(name, side), kernel), require_count("layers", layers))
        for name, side in (("height", height), ("width", width))
    )
    return np.outer(rows.sum(axis=1), columns.sum(axis=1))


def _band(size: int, kernel: int) -> Floats:
    places = np.arange(size)
    return np.where(np.abs(np.subtract.outer(places, places)) <= kernel // 2, 1 / kernel, 0.0)


def padding_factor(height: int, width: int, layers: int, *, kernel: int = 3) -> float:
    """Mean over the image of ``padding_map``: 0.29 after ten 3 × 3 layers on 7 × 7, or 0.27 decades of the norm."""
    return float(padding_map(height, width, layers, kernel=kernel).mean())


def average_pool_backward(kernel: int) -> float:
    """Factor of ‖δ‖ through k × k average pooling without overlap: 1/k. Through max pooling it is 1."""
    return 1 / require_count("kernel", kernel)


def average_pool_forward(kernel: int, correlation: float) -> float:
    """Factor of the mean square through k × k average pooling: (1 + (k² − 1) ρ) / k².

    Args:
        kernel: k.
        correlation: ρ, mean of a(x) a(x′) over pairs within a window, over the mean of a².
    """
    area = require_count("kernel", kernel) ** 2
    return (1 + (area - 1) * correlation) / area
