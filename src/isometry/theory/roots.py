"""Zeros of a continuous function of one variable."""

from collections.abc import Callable

__all__ = ["root_between"]

ROUNDS = 200
PRECISION = 4e-16
"""Of the place, relative."""


def root_between(function: Callable[[float], float], low: float, high: float) -> float:
    """A zero of a function that has different signs at low and high.

    Inverse quadratic interpolation where the last three values allow it, else bisection.

    Sources: Chandrupatla 1997.
    """
    x1, x2, f1, f2, part = low, high, function(low), function(high), 0.5
    for _ in range(ROUNDS):
        x = x1 + part * (x2 - x1)
        f = function(x)
        if (f > 0) == (f1 > 0):
            x3, f3 = x1, f1
        else:
            x3, f3, x2, f2 = x2, f2, x1, f1
        x1, f1 = x, f
        best, smallest = (x1, f1) if abs(f1) < abs(f2) else (x2, f2)
        step = PRECISION * abs(best) / abs(x2 - x1) if x2 != x1 else 1.0
        if smallest == 0 or step > 0.5:
            return best
        part = min(max(_interpolated(x1, f1, x2, f2, x3, f3), step), 1 - step)
    return best


def _interpolated(x1: float, f1: float, x2: float, f2: float, x3: float, f3: float) -> float:
    """Where between x1 and x2 the parabola through three points has its zero; 1/2 where it is not to be trusted."""
    at, height = (x1 - x2) / (x3 - x2), (f1 - f2) / (f3 - f2)
    if height**2 >= at or (1 - height) ** 2 >= 1 - at:
        return 0.5
    return f1 / (f2 - f1) * f3 / (f2 - f3) + (x3 - x1) / (x2 - x1) * f1 / (f3 - f1) * f2 / (f3 - f2)
