"""What a wide random network does to the size and the likeness of its signals, and to gradients on their way back.

z = W φ(z′) + b with weights of standard deviation σ_w / √fan_in and biases of σ_b. q is the mean square of z, c the
correlation of the z of two inputs, χ the factor by which the mean of ‖δ‖² = ‖∂L/∂z‖² grows from a layer to the one
before. All of it holds at initialisation and for wide layers; ``width`` and ``sampler`` say what finite ones do.

With dropout, ``keep`` is the share of activations that are kept, which are divided by it.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, overload

import numpy as np
from numpy.typing import NDArray

from isometry.errors import IsometryError
from isometry.theory import moments
from isometry.theory.activations import Activation, ActivationLike, as_activation
from isometry.theory.checks import require_deviation, require_share, require_variance
from isometry.theory.roots import root_between

__all__ = [
    "ENDS",
    "REST",
    "STEP",
    "Law",
    "Map",
    "chi",
    "chi_q",
    "elementwise",
    "fixed_point",
    "law_of",
    "length_map",
    "place_of",
]

Floats = NDArray[np.float64]

STEP = 0.25
"""Decades of q from one look at the length map to the next; activations bend over wider ranges."""
ENDS = 16.0
"""Decades of q, up and down, after which it is said to go to infinity or to 0."""
REST = 1e-12
"""Relative change of q in a layer that is rounding."""
BOTTLENECK = 1e-6
"""Relative change of q in a layer, below which the nearest approach to a fixed point passes for one.

No network is so deep that it would get through; and points of tangency that are given with six digits are found.
"""


class Map(Protocol):
    """A function of one number, or of every number of an array."""

    @overload
    def __call__(self, value: float, /) -> float: ...
    @overload
    def __call__(self, value: Floats, /) -> Floats: ...


@dataclass(frozen=True, slots=True)
class Law:
    """A layer's activation and the deviations of its weights and biases, checked."""

    phi: Activation
    sigma_w: float
    sigma_b: float
    keep: float

    @property
    def weight(self) -> float:
        """What E φ² and E φ′² are multiplied by."""
        return self.sigma_w**2 / self.keep

    def next_q(self, q: float) -> float:
        moment = moments.second_moment(self.phi, q)
        return (self.weight * moment if self.weight else 0.0) + self.sigma_b**2

    def growth(self, q: float) -> float:
        """V(q) / q − 1: above 0 where q grows."""
        return self.next_q(q) / q - 1


def law_of(phi: ActivationLike, sigma_w: float, sigma_b: float, keep: float = 1.0) -> Law:
    return Law(
        as_activation(phi),
        require_deviation("sigma_w", sigma_w),
        require_deviation("sigma_b", sigma_b),
        require_share("keep", keep),
    )


def elementwise(function: Callable[[float], float]) -> Map:
    @overload
    def of(value: float, /) -> float: ...
    @overload
    def of(value: Floats, /) -> Floats: ...
    def of(value: float | Floats, /) -> float | Floats:
        values = np.asarray(value, dtype=np.float64)
        if values.ndim == 0:
            return function(float(values))
        return np.array([function(float(one)) for one in values.ravel()], dtype=np.float64).reshape(values.shape)

    return of


def length_map(activation: ActivationLike, sigma_w: float, sigma_b: float, *, keep: float = 1.0) -> Map:
    """How the mean square of z goes from layer to layer: V(q) = σ_w² E φ(√q x)² + σ_b².

    Returns:
        V, for a number or an array of q. The first layer has q = σ_w² mean(x²) + σ_b², where x is the network's input.

    Raises:
        IsometryError: from the function, for a negative q.

    Sources: Poole et al. 2016, equation 3; with dropout Schoenholz et al. 2017, section 4.
    """
    law = law_of(activation, sigma_w, sigma_b, keep)
    return elementwise(lambda q: law.next_q(require_variance("q", q)))


def fixed_point(
    activation: ActivationLike, sigma_w: float, sigma_b: float, *, keep: float = 1.0, start: float = 1.0
) -> float:
    """q*, where the mean square of z settles with depth, coming from q = 1.

    It is the limit of q → V(q) (found by its sign changes, not by waiting), hence the stable one if there are several:

    - 0 if signals die out: V(q) < q all the way down. So for tanh with σ_w ≤ 1 and no biases.
    - inf if they grow without bound: V(q) > q all the way up. So for ReLU with σ_w > √2, or σ_w = √2 with biases.
    - 1 if V(1) = 1, also if q = 1 is unstable, as for GELU with its forward gain; ``chi_q`` is above 1 then. So for
      ReLU with σ_w = √2 and no biases, where every q is a fixed point.
    - the point of tangency where V touches the diagonal. Near a doubly critical point q* depends on the last digits of
      σ_w and σ_b; ask ``critical_point`` there.

    Args:
        activation: name or function.
        sigma_w: weights have the standard deviation σ_w / √fan_in.
        sigma_b: standard deviation of the biases.
        keep: share of activations that dropout keeps.
        start: the q to come from, positive.

    Returns:
        q*, from 0 to inf.

    Raises:
        IsometryError: a negative σ, or a start that is not positive.

    Sources: Poole et al. 2016.
    """
    law = law_of(activation, sigma_w, sigma_b, keep)
    if not 0 < start < math.inf:
        raise IsometryError(f"start = {start}: a positive second moment is needed to come from.")
    first = law.growth(start)
    if abs(first) <= REST:
        return float(start)
    direction = 1 if first > 0 else -1
    before = here = (math.log10(start), first)
    at_rest = None
    for place, value in _looks(law, here[0], direction):
        if abs(value) <= REST:
            at_rest = at_rest or 10**place
            continue
        if value * first < 0:
            return _settled(law, here[0], place)
        if at_rest is not None:
            return at_rest
        if abs(here[1]) < min(abs(before[1]), abs(value), 0.1):
            touched = _touch(law, before[0], here[0], place)
            if touched is not None:
                return touched
        before, here = here, (place, value)
    return math.inf if direction > 0 else 0.0


def _looks(law: Law, start: float, direction: int) -> Iterator[tuple[float, float]]:
    """log10 q and V(q) / q − 1, in steps away from the start."""
    for n in range(1, int(2 * ENDS / STEP)):
        place = start + direction * n * STEP
        if abs(place) > ENDS:
            return
        yield place, law.growth(10**place)


def _settled(law: Law, low: float, high: float) -> float:
    return float(root_between(law.growth, 10**low, 10**high))


def _touch(law: Law, before: float, middle: float, after: float) -> float | None:
    """The fixed point that lies hidden between three places at which q moves the same way, if there is one."""
    sign = 1.0 if law.growth(10**middle) > 0 else -1.0
    low, high = min(before, after), max(before, after)
    nearest = _least(lambda place: sign * law.growth(10**place), low, high)
    value = sign * law.growth(10**nearest)
    if value < 0:
        return _settled(law, before, nearest)
    return float(10**nearest) if value < BOTTLENECK else None


def _least(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one minimum has it, by golden section, to about half of the digits."""
    shrink = (math.sqrt(5) - 1) / 2
    left, right = high - shrink * (high - low), low + shrink * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(36):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - shrink * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + shrink * (high - low)
            at_right = function(right)
    return (low + high) / 2


def chi(
    activation: ActivationLike, sigma_w: float, sigma_b: float, q: float | None = None, *, keep: float = 1.0
) -> float:
    """χ = σ_w² E φ′(√q x)², by which the mean of ‖δ‖² grows from a layer to the one before; 1 is critical.

    The norm itself changes by ½ log10 χ decades a layer. At the fixed point it is also the slope of the correlation map
    at c = 1, so that it decides between order and chaos.

    Args:
        activation: name or function.
        sigma_w: weights have the standard deviation σ_w / √fan_in.
        sigma_b: standard deviation of the biases; of no effect if q is given.
        q: mean square of z; the fixed point if None. 0 and inf stand for the limits.
        keep: share of activations that dropout keeps.

    Sources: Schoenholz et al. 2017, equations 7 and 10.
    """
    law = law_of(activation, sigma_w, sigma_b, keep)
    return law.weight * moments.slope_moment(law.phi, place_of(law, q))


def chi_q(
    activation: ActivationLike, sigma_w: float, sigma_b: float, q: float | None = None, *, keep: float = 1.0
) -> float:
    """χ_q = V′(q), by which a small error of q grows from a layer to the next; a fixed point is stable below 1.

    Above 1 no single network keeps to the mean: quote quantiles of ``sample_profile`` then.
    """
    law = law_of(activation, sigma_w, sigma_b, keep)
    return law.weight * moments.stretch(law.phi, place_of(law, q))


def place_of(law: Law, q: float | None) -> float:
    if q is not None:
        return require_variance("q", q)
    return fixed_point(law.phi, law.sigma_w, law.sigma_b, keep=law.keep)
