"""What a wide random network does to signals on average, by quadrature.

Notation of Poole et al. 2016 and Schoenholz et al. 2017: weights have variance σ_w² / n_in, biases are 0, q is the mean
square of z, χ the mean squared backward gain of a layer.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from isometry.network.nonlinearity import FUNCTIONS, slope

__all__ = ["backward_profile", "gaussian_mean", "level_gain"]

Floats = NDArray[np.float64]
NODES = 16
"""Gauss–Legendre nodes of each panel; with panels of 1/2 every smooth φ of the shelf is integrated to 1e-12."""
REACH = 10.5
"""Standard deviations that are integrated over; beyond, the normal density is below 1e-24."""


@cache
def _nodes() -> tuple[Floats, Floats]:
    """Places and weights for means over N(0, 1), split at 0, where ReLU, SELU and their like have their kink."""
    places, weights = np.polynomial.legendre.leggauss(NODES)
    edges = np.concatenate([[0.0], np.geomspace(1e-4, 0.5, 15), np.arange(1.0, REACH + 0.5, 0.5)])
    edges = np.concatenate([-edges[:0:-1], edges])
    half = np.diff(edges)[:, None] / 2
    x = (edges[:-1, None] + half + half * places).ravel()
    return x, (half * weights).ravel() * np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)


def gaussian_mean(function: Callable[[Floats], Floats], variance: float) -> float:
    """E f(z) over z ~ N(0, variance), for an f that is smooth but for a kink at 0."""
    x, weights = _nodes()
    return float(weights @ function(np.sqrt(variance) * x))


def backward_profile(activation: str, gain: float, depth: int, *, mean_square: float, width: float = np.inf) -> Floats:
    """log10 of the size of δ at every hidden layer against the last, for weights of variance gain² / n_in.

    Mean field gives the mean of ‖δ‖². With a ``width`` the typical ‖δ‖ is given, whose square is smaller by
    (3κ − 1) / 2n in its logarithm at each layer, where κ = E φ′⁴ / (E φ′²)²; good while depth / width is small.

    Args:
        mean_square: of the network's inputs.

    Returns:
        0 for the last hidden layer. [decades], shape (depth,)

    Sources: Poole et al. 2016 (how q travels); Schoenholz et al. 2017 (χ); Hanin and Nica 2018 (ReLU's correction).
    """
    phi = FUNCTIONS[activation]
    q = gain**2 * mean_square
    steps = []
    for _ in range(depth):
        squared = gaussian_mean(lambda z: slope(activation, z) ** 2, q)
        fourth = gaussian_mean(lambda z: slope(activation, z) ** 4, q)
        typical = (3 * fourth / squared**2 - 1) / (2 * width)
        steps.append((np.log(gain**2 * squared) - typical) / (2 * np.log(10)))
        q = gain**2 * gaussian_mean(lambda z: phi(z) ** 2, q)
    gained = np.array(steps[:-1])
    return np.append(np.cumsum(gained[::-1])[::-1], 0.0)


def level_gain(activation: str, depth: int, *, mean_square: float) -> float:
    """The gain with which δ is as large at the first hidden layer as at the last one, by mean field."""
    low, high = 0.1, 40.0
    for _ in range(60):
        middle = float(np.sqrt(low * high))
        ends = backward_profile(activation, middle, depth, mean_square=mean_square)[0]
        low, high = (middle, high) if ends < 0 else (low, middle)
    return middle
