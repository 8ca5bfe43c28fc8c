"""How steep a nonlinearity can be: what a measured slope is held against before it is called saturated.

Slopes φ′ are written down below and checked against numerical derivatives of φ by the tests; the two numbers that are
read off them follow by computation, except where a closed form is named.
"""

from collections.abc import Callable
from functools import cache
from math import erf, pi, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["SLOPES", "TWO_SIDED", "greatest_slope", "reference_slope", "slope"]

Floats = NDArray[np.float64]

SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805
"""Sources: Klambauer et al. 2017, equation 14."""
LEAKY_SLOPE = 0.01
"""Of the negative side, unless set otherwise: the default of PyTorch, and of Maas et al. 2013."""

TWO_SIDED = frozenset({"sigmoid", "tanh", "softsign", "erf", "hardtanh", "hardsigmoid", "relu6", "sin"})
"""Units whose slope falls to 0, or lower, on both sides."""


def _normal_density(z: Floats) -> Floats:
    return np.asarray(np.exp(-0.5 * z * z) / sqrt(2 * pi), dtype=np.float64)


_error_function = np.vectorize(erf, otypes=[np.float64])


def _normal_share(z: Floats) -> Floats:
    return 0.5 * (1 + np.asarray(_error_function(z / sqrt(2))))


def _logistic(z: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * z)), dtype=np.float64)


def _gelu_tanh(z: Floats) -> Floats:
    inner = sqrt(2 / pi) * (z + 0.044715 * z**3)
    steepness = sqrt(2 / pi) * (1 + 3 * 0.044715 * z * z)
    return np.asarray(0.5 * (1 + np.tanh(inner)) + 0.5 * z * (1 - np.tanh(inner) ** 2) * steepness, dtype=np.float64)


def _mish(z: Floats) -> Floats:
    bent = np.tanh(np.logaddexp(0, z))
    return np.asarray(bent + z * (1 - bent * bent) * _logistic(z), dtype=np.float64)


SLOPES: dict[str, Callable[[Floats], Floats]] = {
    "identity": np.ones_like,
    "relu": lambda z: np.where(z > 0, 1.0, 0.0),
    "leaky_relu": lambda z: np.where(z > 0, 1.0, LEAKY_SLOPE),
    "elu": lambda z: np.where(z > 0, 1.0, np.exp(np.minimum(z, 0))),
    "selu": lambda z: SELU_SCALE * np.where(z > 0, 1.0, SELU_ALPHA * np.exp(np.minimum(z, 0))),
    "gelu": lambda z: _normal_share(z) + z * _normal_density(z),
    "gelu_tanh": _gelu_tanh,
    "silu": lambda z: _logistic(z) * (1 + z * (1 - _logistic(z))),
    "mish": _mish,
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
    "sigmoid": lambda z: _logistic(z) * (1 - _logistic(z)),
    "erf": lambda z: 2 / sqrt(pi) * np.exp(-z * z),
    "softplus": _logistic,
    "softsign": lambda z: 1 / (1 + np.abs(z)) ** 2,
    "relu6": lambda z: np.where((z > 0) & (z < 6), 1.0, 0.0),
    "hardtanh": lambda z: np.where(np.abs(z) < 1, 1.0, 0.0),
    "hardsigmoid": lambda z: np.where(np.abs(z) < 3, 1 / 6, 0.0),
    "hardswish": lambda z: np.where(np.abs(z) < 3, (2 * z + 3) / 6, np.where(z > 0, 1.0, 0.0)),
    "squared_relu": lambda z: 2 * np.maximum(z, 0),
    "sin": np.cos,
}
"""φ′ of every activation that has a name here, as a function of z."""


def slope(activation: str, pre_activation: ArrayLike) -> Floats:
    """φ′(z), element by element.

    Raises:
        KeyError: an activation without a name in ``SLOPES``.
    """
    return np.asarray(SLOPES[activation](np.asarray(pre_activation, dtype=np.float64)))


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
    return float(np.sqrt(np.sum(slope(activation, z) ** 2 * _normal_density(z)) * 1e-4))
