"""Means of an activation over Gaussian pre-activations u ~ N(0, q), also in the limits q → 0 and q → ∞."""

import math

import numpy as np

from isometry.theory.activations import Activation
from isometry.theory.gaussian import bivariate_expectation, expectation
from isometry.theory.kinks import Elementwise

__all__ = ["fourth_over_second", "mean", "product_mean", "second_moment", "slope_moment", "slope_product", "stretch"]

VANISHING = 1e-16
"""Stands for the limit q → 0, in which u sees a kink at 0 from both sides and is otherwise 0."""
FAR = 1e15
"""Stands for u → ∞; a φ² that is greater than this there has no bound."""


def _limit(function: Elementwise) -> float:
    """E f(u) for q → ∞: half of the mass lies far on either side."""
    with np.errstate(all="ignore"):
        ends = np.asarray(function(np.array([-FAR, FAR])), dtype=np.float64)
    value = float(ends.mean())
    return math.inf if not abs(value) < FAR else value


def _mean(function: Elementwise, activation: Activation, q: float) -> float:
    return _limit(function) if math.isinf(q) else expectation(function, q, kinks=activation.kinks)


def mean(activation: Activation, q: float) -> float:
    """E φ(u)."""
    return _mean(activation.function, activation, q)


def second_moment(activation: Activation, q: float) -> float:
    """E φ(u)²."""
    return _mean(lambda u: activation.function(u) ** 2, activation, q)


def slope_moment(activation: Activation, q: float, *, power: int = 2) -> float:
    """E φ′(u)² or another power; at q = 0 the limit from above, which at a kink is the mean of both sides."""
    return _mean(lambda u: activation.slope(u) ** power, activation, max(q, VANISHING))


def fourth_over_second(activation: Activation, q: float) -> float:
    """κ = E φ′⁴ / (E φ′²)², at least 1: how unevenly a layer's units pass gradients on. NaN where all slopes are 0."""
    second = slope_moment(activation, q)
    return slope_moment(activation, q, power=4) / second**2 if second > 0 else math.nan


def stretch(activation: Activation, q: float) -> float:
    """d/dq E φ(u)² = E φ(u) φ′(u) u / q.

    By partial integration the same as E [φ′² + φ φ″], but right at kinks, where φ″ is no function.
    """
    if math.isinf(q):
        return slope_moment(activation, q)
    q = max(q, VANISHING)
    return _mean(lambda u: activation.function(u) * activation.slope(u) * u, activation, q) / q


def product_mean(activation: Activation, q: float, correlation: float) -> float:
    """E φ(u) φ(v) for u, v of variance q and this correlation."""
    return bivariate_expectation(activation.function, q, correlation, kinks=activation.kinks)


def slope_product(activation: Activation, q: float, correlation: float) -> float:
    """E φ′(u) φ′(v) for u, v of variance q and this correlation."""
    return bivariate_expectation(activation.slope, q, correlation, kinks=activation.kinks)
