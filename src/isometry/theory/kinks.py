"""Where a function known only by its values has kinks, and its slope between them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Elementwise", "find_kinks", "numerical_slope"]

Floats = NDArray[np.float64]
Elementwise = Callable[[Floats], Floats]

SEARCHED = 64.0
"""Kinks are looked for in |z| below this."""
INTERVALS = 2311
SLOPE_HALVINGS, CURVATURE_HALVINGS = 22, 11
"""Of intervals of 1/18: to 1e-8 and 3e-5, where rounding still leaves the differences some digits."""
SMALLEST_JUMP = 1e-3
"""Of φ′ or φ″; smaller ones are left to adaptive quadrature."""
STAYS = 0.5
"""Part of a difference that three halvings leave at a kink; where φ is smooth they leave 1/8."""
STEP = 2e-3
"""Of numerical slopes: 8th order leaves 1e-24 of the 9th derivative, and rounding 1e-13."""
FAR_STEP = 2e-5
"""Of |z|, beyond 100, so that rounding of z does not swallow the step."""
CENTRAL = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
"""Weights of (φ(z + kh) − φ(z − kh)) / h for k = 1 … 4."""

Difference = Callable[[Elementwise, Floats, Floats], Floats]


def find_kinks(function: Elementwise) -> tuple[float, ...]:
    """Where φ, φ′ or φ″ jumps, for |z| < 64, by bisection on numerical derivatives.

    Left and right of an interval one-sided differences are compared. Where φ is smooth they come together as the
    interval is halved; at a kink they stay apart.
    """
    found = [_locate(function, low, high) for low, high in _suspects(function, _slope_jump, SLOPE_HALVINGS)]
    found += [
        _vertex(function, (low + high) / 2)
        for low, high in _suspects(function, _curvature_jump, CURVATURE_HALVINGS)
        if all(abs(low - place) > 1e-2 for place in found)
    ]
    found.sort()
    return tuple(place for n, place in enumerate(found) if n == 0 or place - found[n - 1] > 1e-4)


def _suspects(function: Elementwise, difference: Difference, halvings: int) -> list[tuple[float, float]]:
    """Intervals on which the difference stays as they are halved; the half with the greater one is followed."""
    # The ends are numbers that nobody would put a kink at.
    ends = np.linspace(-SEARCHED - 0.137, SEARCHED + 0.211, INTERVALS + 1)
    low, high = ends[:-1], ends[1:]
    history = []
    for _ in range(halvings):
        middle = (low + high) / 2
        left, right = difference(function, low, middle), difference(function, middle, high)
        low, high = np.where(left >= right, low, middle), np.where(left >= right, middle, high)
        history.append(np.maximum(left, right))
    stays = (history[-1] > STAYS * history[-4]) & (history[-1] > SMALLEST_JUMP)
    return [(float(a), float(b)) for a, b in zip(low[stays], high[stays], strict=True)]


def _slope_jump(function: Elementwise, low: Floats, high: Floats) -> Floats:
    """How far the secants left of, on and right of an interval differ; most if the kink or jump is on it."""
    width = high - low
    before, at_low, at_high, after = (function(z) for z in (low - width, low, high, high + width))
    left, on, right = (at_low - before) / width, (at_high - at_low) / width, (after - at_high) / width
    return _beyond_rounding(np.maximum(np.abs(right - left), np.abs(2 * on - left - right)), at_low, width)


def _curvature_jump(function: Elementwise, low: Floats, high: Floats) -> Floats:
    """How far the second differences left and right of an interval differ."""
    width = high - low
    left = function(low - 2 * width) - 2 * function(low - width) + function(low)
    right = function(high) - 2 * function(high + width) + function(high + 2 * width)
    return _beyond_rounding(np.abs(right - left) / width**2, function(low), width**2)


def _beyond_rounding(difference: Floats, values: Floats, divisor: Floats) -> Floats:
    noise = 16 * np.finfo(np.float64).eps * np.abs(values) / divisor
    return np.nan_to_num(np.maximum(difference - noise, 0.0), nan=0.0, posinf=0.0)


def _locate(function: Elementwise, low: float, high: float) -> float:
    """A kink between low and high, to about 1e-12: by bisection if φ jumps, else where the tangents meet."""
    near, step = (low + high) / 2, 1e-6
    left_far, left, right, right_far = function(near + step * np.array([-2.0, -1.0, 1.0, 2.0]))
    slope_left, slope_right = (left - left_far) / step, (right_far - right) / step
    steepest = max(abs(slope_left), abs(slope_right), 1.0)
    if abs(right - left) > 4 * steepest * step or slope_left == slope_right:
        return _locate_jump(function, low, high)
    met = (left - right + step * (slope_left + slope_right)) / (slope_right - slope_left)
    return float(near + np.clip(met, -step, step))


def _locate_jump(function: Elementwise, low: float, high: float) -> float:
    for _ in range(60):
        middle = (low + high) / 2
        at_low, at_middle, at_high = function(np.array([low, middle, high]))
        low, high = (low, middle) if abs(at_middle - at_low) > abs(at_high - at_middle) else (middle, high)
    return (low + high) / 2


def _vertex(function: Elementwise, near: float) -> float:
    """Where φ″ jumps, to about 1e-7: there the parabolas on both sides touch, so their difference has its vertex."""
    steps = 3e-4 * np.array([1.0, 2.0, 3.0])
    right = np.polyfit(steps, function(near + steps), 2)
    left = np.polyfit(-steps, function(near - steps), 2)
    bent, tilted, _ = right - left
    return float(near + np.clip(-tilted / (2 * bent), -steps[0], steps[0]))


def numerical_slope(function: Elementwise, kinks: tuple[float, ...] = ()) -> Elementwise:
    """φ′ by central differences of 8th order that never reach across a kink; at a kink the slope on its left."""
    edges = np.array([-np.inf, *sorted(kinks), np.inf])

    def slope(z: Floats) -> Floats:
        z = np.asarray(z, dtype=np.float64)
        after = np.searchsorted(edges[1:-1], z)
        below, above = edges[after], edges[after + 1]
        z = np.clip(z, below + 1e-7, above - 1e-7)
        step = np.minimum(np.maximum(STEP, FAR_STEP * np.abs(z)), np.minimum(z - below, above - z) / 5)
        changes = [
            weight * (function(z + k * step) - function(z - k * step)) for k, weight in enumerate(CENTRAL, start=1)
        ]
        return np.asarray(sum(changes) / step, dtype=np.float64)

    return slope
