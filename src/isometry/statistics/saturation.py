"""How steep a nonlinearity can be: what a measured slope is held against before it is called saturated.

The two numbers are read off φ′ (``network/nonlinearity.py``) by computation, except where a closed form is named.
"""

from functools import cache
from math import pi, sqrt

import numpy as np

from isometry.network.nonlinearity import SLOPES, slope

__all__ = ["TWO_SIDED", "greatest_slope", "reference_slope"]

TWO_SIDED = frozenset({"sigmoid", "tanh", "softsign", "erf", "hardtanh", "hardsigmoid", "relu6", "sin"})
"""Units whose slope falls to 0, or lower, on both sides."""


@cache
def greatest_slope(activation: str) -> float | None:
    """The largest |φ′| there is: 1/4 for sigmoid, 1 for tanh, infinite for squared ReLU; None for an unknown φ.

    Found on |z| ≤ 40, outside of which no φ of the list but squared ReLU is any steeper than inside.
    """
    if activation not in SLOPES:
        return None
    if activation == "squared_relu":
        return float("inf")
    coarse = np.linspace(-40, 40, 80_001)
    steepest = coarse[np.abs(slope(activation, coarse)).argmax()]
    fine = steepest + np.linspace(-1e-3, 1e-3, 20_001)
    return float(np.abs(slope(activation, fine)).max())


@cache
def reference_slope(activation: str) -> float | None:
    """The slope of a unit that works as intended, against which spread and shift of z are called saturation.

    For two-sided units |φ′(0)|, the middle of their range: sigmoid 1/4, tanh 1; for relu6, whose middle is no such
    place, and all one-sided units rms φ′(z) over z ~ N(0, 1): relu 1/√2. None for an unknown φ.

    In ‖δ_l‖ / ‖δ_{l+1}‖ = scale of W · rms φ′ · alignments it is the part of rms φ′ that the choice of φ alone decides.
    """
    if activation not in SLOPES:
        return None
    if activation in TWO_SIDED and activation != "relu6":
        return float(np.abs(slope(activation, 0.0)))
    # Midpoints avoid the kinks at 0, 3 and 6; beyond 12 the density is below 1e-31.
    z = np.asarray((np.arange(-120_000, 120_000) + 0.5) * 1e-4, dtype=np.float64)
    return float(np.sqrt(np.sum(slope(activation, z) ** 2 * np.exp(-0.5 * z * z)) / sqrt(2 * pi) * 1e-4))
