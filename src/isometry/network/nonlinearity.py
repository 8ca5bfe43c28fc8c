"""The elementwise nonlinearities that have a name here: φ and φ′ as NumPy functions.

Slopes are written down, not derived; the tests hold them against numerical derivatives of φ.
"""

from collections.abc import Callable
from math import erf as exact_erf
from math import pi, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["FUNCTIONS", "LEAKY_SLOPE", "SELU_ALPHA", "SELU_SCALE", "SLOPES", "error_function", "slope"]

Floats = NDArray[np.float64]
Elementwise = Callable[[Floats], Floats]

SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805
"""Sources: Klambauer et al. 2017, equation 14."""
LEAKY_SLOPE = 0.01
"""Of the negative side, unless set otherwise: the default of PyTorch, and of Maas et al. 2013."""

ERF_ENDS, ERF_STEPS = 6, 128
"""erf is ±1 to the last bit outside ±6; between, it is tabulated 128 times per unit and continued from there."""
ERF_TABLE = np.array([exact_erf(k / ERF_STEPS) for k in range(-ERF_ENDS * ERF_STEPS, ERF_ENDS * ERF_STEPS + 1)])
GAUSS = ((0.5 - sqrt(0.15), 5 / 18), (0.5, 8 / 18), (0.5 + sqrt(0.15), 5 / 18))
"""Nodes and weights of three-point Gauss-Legendre quadrature on [0, 1]."""


def error_function(x: ArrayLike) -> Floats:
    """Erf, element by element, right to 2e-16; small x keep their relative precision.

    NumPy has no erf, and ``math.erf`` in a loop takes several times as long. From the nearest tabulated point the
    integral of the density is continued over at most 1/256, where three nodes leave an error far below the last bit.
    """
    clipped = np.clip(np.asarray(x, dtype=np.float64), -ERF_ENDS, ERF_ENDS)
    nearest = np.rint(np.fmax(clipped, -ERF_ENDS) * ERF_STEPS)  # fmax: NaN has no nearest point, but keeps its rest
    start = nearest / ERF_STEPS
    rest = clipped - start
    density = sum(weight * np.exp(-np.square(start + node * rest)) for node, weight in GAUSS)
    return np.asarray(ERF_TABLE[nearest.astype(np.intp) + ERF_ENDS * ERF_STEPS] + 2 / sqrt(pi) * rest * density)


def _normal_density(z: Floats) -> Floats:
    return np.asarray(np.exp(-0.5 * z * z) / sqrt(2 * pi), dtype=np.float64)


def _normal_share(z: Floats) -> Floats:
    return 0.5 * (1 + error_function(z / sqrt(2)))


def _logistic(z: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * z)), dtype=np.float64)


def _logistic_slope(z: Floats) -> Floats:
    # Of the small side: 1 − σ(z) would lose all digits where the unit is saturated.
    tail = np.exp(-np.abs(z))
    return np.asarray(tail / (1 + tail) ** 2, dtype=np.float64)


def _gelu_tanh_inner(z: Floats) -> Floats:
    return np.asarray(np.tanh(sqrt(2 / pi) * (z + 0.044715 * z * z * z)), dtype=np.float64)


def _gelu_tanh_slope(z: Floats) -> Floats:
    bent = _gelu_tanh_inner(z)
    steepness = sqrt(2 / pi) * (1 + 3 * 0.044715 * z * z)
    return np.asarray(0.5 * (1 + bent) + 0.5 * z * (1 - bent * bent) * steepness, dtype=np.float64)


def _mish_slope(z: Floats) -> Floats:
    bent = np.tanh(np.logaddexp(0, z))
    return np.asarray(bent + z * (1 - bent * bent) * _logistic(z), dtype=np.float64)


FUNCTIONS: dict[str, Elementwise] = {
    "identity": np.positive,
    "relu": lambda z: np.maximum(z, 0.0),
    "leaky_relu": lambda z: np.where(z > 0, z, LEAKY_SLOPE * z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "selu": lambda z: SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(np.minimum(z, 0))),
    "gelu": lambda z: z * _normal_share(z),
    "gelu_tanh": lambda z: 0.5 * z * (1 + _gelu_tanh_inner(z)),
    "silu": lambda z: z * _logistic(z),
    "mish": lambda z: z * np.tanh(np.logaddexp(0, z)),
    "tanh": np.tanh,
    "sigmoid": _logistic,
    "erf": error_function,
    "softplus": lambda z: np.logaddexp(0, z),
    "softsign": lambda z: z / (1 + np.abs(z)),
    "relu6": lambda z: np.clip(z, 0.0, 6.0),
    "hardtanh": lambda z: np.clip(z, -1.0, 1.0),
    "hardsigmoid": lambda z: np.clip(z / 6 + 0.5, 0.0, 1.0),
    "hardswish": lambda z: z * np.clip(z / 6 + 0.5, 0.0, 1.0),
    "squared_relu": lambda z: np.maximum(z, 0.0) ** 2,
    "sin": np.sin,
}
"""φ of every activation that has a name here, as a function of z."""

SLOPES: dict[str, Elementwise] = {
    "identity": np.ones_like,
    "relu": lambda z: np.where(z > 0, 1.0, 0.0),
    "leaky_relu": lambda z: np.where(z > 0, 1.0, LEAKY_SLOPE),
    "elu": lambda z: np.where(z > 0, 1.0, np.exp(np.minimum(z, 0))),
    "selu": lambda z: SELU_SCALE * np.where(z > 0, 1.0, SELU_ALPHA * np.exp(np.minimum(z, 0))),
    "gelu": lambda z: _normal_share(z) + z * _normal_density(z),
    "gelu_tanh": _gelu_tanh_slope,
    "silu": lambda z: _logistic(z) + z * _logistic_slope(z),
    "mish": _mish_slope,
    "tanh": lambda z: 4 * _logistic_slope(2 * z),
    "sigmoid": _logistic_slope,
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
