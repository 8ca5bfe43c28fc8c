"""What a wide random network does to the size and the likeness of its signals, and to gradients on their way back.

z = W φ(z′) + b with weights of standard deviation σ_w / √fan_in and biases of σ_b. q is the mean square of z, c the
correlation of the z of two inputs, χ the factor by which the mean of ‖δ‖² = ‖∂L/∂z‖² grows from a layer to the one
before. All of it holds at initialisation and for wide layers; ``width`` and ``sampler`` say what finite ones do.

With dropout, ``keep`` is the share of activations that are kept, which are divided by it.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, overload

import numpy as np
from numpy.typing import NDArray

from isometry.errors import IsometryError
from isometry.theory import moments
from isometry.theory.activations import Activation, ActivationLike, as_activation
from isometry.theory.checks import require_deviation, require_share, require_variance
from isometry.theory.roots import root_between

__all__ = [
    "CriticalPoint",
    "DepthScale",
    "DoublyCriticalPoint",
    "Phase",
    "chi",
    "chi_q",
    "correlation_fixed_point",
    "correlation_map",
    "correlation_slope",
    "critical_point",
    "depth_scale",
    "doubly_critical_point",
    "fixed_point",
    "length_map",
    "phase",
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
LEVEL = 1e-12
"""A rate that differs from 1 by this is 1."""
CRITICAL = 1e-6
"""A χ that differs from 1 by this is called critical: it costs 2e-5 decades in a hundred layers."""


class Map(Protocol):
    """A function of one number, or of every number of an array."""

    @overload
    def __call__(self, value: float, /) -> float: ...
    @overload
    def __call__(self, value: Floats, /) -> Floats: ...


class Phase(StrEnum):
    """What a deep wide network does at its fixed point."""

    ORDERED = "ordered"
    """χ < 1: gradients vanish, all inputs come to look alike."""
    CRITICAL = "critical"
    CHAOTIC = "chaotic"
    """χ > 1: gradients explode, like inputs come apart."""


@dataclass(frozen=True, slots=True)
class CriticalPoint:
    """Where χ = 1 at a fixed point of q."""

    sigma_w: float
    q: float
    """The fixed point; inf if it is reached only in the limit, 1 if every q is one."""
    chi_q: float
    """Slope of the length map there; above 1 the fixed point is unstable: other q run away from it."""


@dataclass(frozen=True, slots=True)
class DoublyCriticalPoint:
    """Where gradients keep their size and q is marginal too: χ = χ_q = 1."""

    sigma_w: float
    sigma_b: float
    q: float


@dataclass(frozen=True, slots=True)
class DepthScale:
    """Layers over which a signal comes nearer to its end by a factor of e; inf where it does so by a power of depth."""

    length: float
    """ξ_q = 1 / |ln χ_q|: q to its fixed point."""
    correlation: float
    """ξ_c = −1 / ln C′(c*): the correlation of two inputs to c*. Networks train to a depth of about 6 ξ_c."""
    gradient: float
    """ξ_∇ = 1 / |ln χ|: ‖δ‖², to zero or to infinity."""


@dataclass(frozen=True, slots=True)
class _Law:
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


def _law(phi: ActivationLike, sigma_w: float, sigma_b: float, keep: float = 1.0) -> _Law:
    return _Law(
        as_activation(phi),
        require_deviation("sigma_w", sigma_w),
        require_deviation("sigma_b", sigma_b),
        require_share("keep", keep),
    )


def _elementwise(function: Callable[[float], float]) -> Map:
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
    law = _law(activation, sigma_w, sigma_b, keep)
    return _elementwise(lambda q: law.next_q(require_variance("q", q)))


def fixed_point(
    activation: ActivationLike, sigma_w: float, sigma_b: float, *, keep: float = 1.0, start: float = 1.0
) -> float:
    """q*, where the mean square of z settles with depth, coming from q = 1.

    It is the limit of q → V(q) (found by its sign changes, not by waiting), hence the stable one if there are several:

    - 0 if signals die out: V(q) < q all the way down. So for tanh with σ_w ≤ 1 and no biases.
    - inf if they grow without bound: V(q) > q all the way up. So for ReLU with σ_w > √2, or σ_w = √2 with biases.
    - 1 if V(1) = 1, also if q = 1 is unstable, as for GELU with its forward gain; ``chi_q`` is above 1 then. For ReLU
    with
      σ_w = √2 and no biases every q is a fixed point.
    - the point of tangency where V touches the diagonal.

    Args:
        activation: name or function.
        sigma_w: weights have the standard deviation σ_w / √fan_in.
        sigma_b: standard deviation of the biases.
        keep: share of activations that dropout keeps.
        start: the q to come from.

    Sources: Poole et al. 2016.
    """
    law = _law(activation, sigma_w, sigma_b, keep)
    first = law.growth(require_variance("start", start))
    if abs(first) <= REST:
        return float(start)
    direction = 1 if first > 0 else -1
    places = _looks(law, math.log10(start), direction)
    (before, at_before), (here, at_here) = next(places), next(places)
    if at_before * at_here <= 0:
        return _settled(law, before, here)
    for place, value in places:
        if value * at_here <= 0:
            return _settled(law, here, place)
        if abs(at_here) < min(abs(at_before), abs(value), 0.1):
            touched = _touch(law, before, here, place)
            if touched is not None:
                return touched
        before, at_before, here, at_here = here, at_here, place, value
    return math.inf if direction > 0 else 0.0


def _looks(law: _Law, start: float, direction: int) -> Iterator[tuple[float, float]]:
    """log10 q and V(q) / q − 1, from the start on."""
    for n in range(int(2 * ENDS / STEP)):
        place = start + direction * n * STEP
        if abs(place) > ENDS:
            return
        yield place, law.growth(10**place)


def _settled(law: _Law, low: float, high: float) -> float:
    return float(root_between(law.growth, 10**low, 10**high))


def _touch(law: _Law, before: float, middle: float, after: float) -> float | None:
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
    law = _law(activation, sigma_w, sigma_b, keep)
    return law.weight * moments.slope_moment(law.phi, _at(law, q))


def chi_q(
    activation: ActivationLike, sigma_w: float, sigma_b: float, q: float | None = None, *, keep: float = 1.0
) -> float:
    """χ_q = V′(q), by which a small error of q grows from a layer to the next; a fixed point is stable below 1.

    Above 1 no single network keeps to the mean: quote quantiles of ``sample_profile`` then.
    """
    law = _law(activation, sigma_w, sigma_b, keep)
    return law.weight * moments.stretch(law.phi, _at(law, q))


def _at(law: _Law, q: float | None) -> float:
    if q is not None:
        return require_variance("q", q)
    return fixed_point(law.phi, law.sigma_w, law.sigma_b, keep=law.keep)


def phase(activation: ActivationLike, sigma_w: float, sigma_b: float) -> Phase:
    """Ordered, critical or chaotic, by χ at the fixed point.

    Sources: Poole et al. 2016; Schoenholz et al. 2017.
    """
    rate = chi(activation, sigma_w, sigma_b)
    if abs(rate - 1) <= CRITICAL:
        return Phase.CRITICAL
    return Phase.ORDERED if rate < 1 else Phase.CHAOTIC


def correlation_map(
    activation: ActivationLike, sigma_w: float, sigma_b: float, *, q: float | None = None, keep: float = 1.0
) -> Map:
    """How the correlation of two inputs goes from layer to layer: C(c) = (σ_w² E φ(u) φ(v) + σ_b²) / V(q).

    u and v have variance q and correlation c. q is the fixed point unless it is given, so that V(q) = q; for fixed
    points 0 and inf C is the limit. With dropout C(1) < 1: what is dropped differs between the two.

    Returns:
        C, for a number or an array of c.

    Raises:
        IsometryError: from the function, for a c outside [−1, 1].

    Sources: Poole et al. 2016, equation 5; Schoenholz et al. 2017, section 4.
    """
    law = _law(activation, sigma_w, sigma_b, keep)
    at, scale = _scale(law, q)
    if scale == 0:
        raise IsometryError("sigma_w = 0 and sigma_b = 0: z is 0 for every input, and has no correlation.")

    def next_c(c: float) -> float:
        if not -1 <= c <= 1:
            raise IsometryError(f"c = {c}: a correlation from −1 to 1 is needed.")
        return (law.sigma_w**2 * moments.product_mean(law.phi, at, c) + law.sigma_b**2) / scale

    return _elementwise(next_c)


def correlation_slope(
    activation: ActivationLike, sigma_w: float, sigma_b: float, *, q: float | None = None, keep: float = 1.0
) -> Map:
    """C′(c), the slope of ``correlation_map``: σ_w² E φ′(u) φ′(v) at a fixed point.

    Sources: Schoenholz et al. 2017.
    """
    law = _law(activation, sigma_w, sigma_b, keep)
    at, scale = _scale(law, q)
    return _elementwise(lambda c: law.sigma_w**2 * at / scale * moments.slope_product(law.phi, at, c))


def _scale(law: _Law, q: float | None) -> tuple[float, float]:
    """The q to take means at, which stands for the limits too, and V(q) there."""
    at = min(max(_at(law, q), moments.VANISHING), 1e24)
    return at, law.next_q(at)


def correlation_fixed_point(activation: ActivationLike, sigma_w: float, sigma_b: float, *, keep: float = 1.0) -> float:
    """c*, the correlation that any two inputs end with: 1 in the ordered phase, below 1 in the chaotic one.

    C is convex on [0, 1] (its Hermite coefficients are squares). So where C′(1) ≤ 1 and nothing is dropped c* = 1; else
    Newton's method from c = 0 comes to c* from below.
    """
    maps = (
        correlation_map(activation, sigma_w, sigma_b, keep=keep),
        correlation_slope(activation, sigma_w, sigma_b, keep=keep),
    )
    if keep == 1 and maps[1](1.0) <= 1 + LEVEL:
        return 1.0
    c = 0.0
    for _ in range(100):
        ahead = maps[0](c) - c
        if ahead <= 1e-15:
            break
        c = min(c + ahead / (1 - maps[1](c)), 1.0)
    return c


def critical_point(activation: ActivationLike, *, sigma_b: float) -> CriticalPoint:
    """The σ_w at which gradients neither vanish nor explode, and the fixed point of q there.

    At a fixed point σ_w² = (q − σ_b²) / E φ², so χ = 1 is one equation for q: q − E φ² / E φ′² = σ_b². For σ_b = 0 the
    answer is the limit q → 0 if φ(0) = 0: 1 / φ′(0) for tanh and its like.

    Raises:
        IsometryError: there is none, as for softplus, whose mean is too large for every σ_b.

    Sources: Poole et al. 2016; Schoenholz et al. 2017; Hayou et al. 2019.
    """
    phi, bias = as_activation(activation), require_deviation("sigma_b", sigma_b) ** 2

    def missing(q: float) -> float:
        return q - moments.second_moment(phi, q) / moments.slope_moment(phi, q) - bias

    q = _critical_q(phi, bias, missing)
    sigma_w = math.sqrt(1 / moments.slope_moment(phi, q))
    return CriticalPoint(sigma_w, q, chi_q(phi, sigma_w, sigma_b, q))


def _critical_q(phi: Activation, bias: float, missing: Callable[[float], float]) -> float:
    if abs(missing(1.0) + bias) <= REST:  # φ is homogeneous: q = E φ² / E φ′² for every q
        return 1.0 if bias == 0 else math.inf
    if bias == 0 and abs(float(phi.function(np.zeros(1))[0])) == 0:
        return 0.0
    direction = 1 if missing(1.0) < 0 else -1
    for n in range(int(ENDS / STEP)):
        near, far = 10 ** (direction * n * STEP), 10 ** (direction * (n + 1) * STEP)
        if missing(near) * missing(far) <= 0:
            return float(root_between(missing, near, far))
    raise IsometryError(
        f"{phi.name} has no critical point with sigma_b = {math.sqrt(bias):g}: wherever χ = 1, q has no fixed point."
    )


def doubly_critical_point(activation: ActivationLike) -> DoublyCriticalPoint:
    """The one point of the critical line at which χ_q = 1 as well, for GELU, SiLU, Mish, hardswish and their like.

    There E φ φ″ = 0. On the line below it q is unstable, above it stable; at it errors of q neither grow nor fade.

    Raises:
        IsometryError: there is none with q between 10^−4 and 10^6, as for ReLU, tanh and their like.

    Sources: Roberts, Yaida & Hanin 2022, chapter 5.
    """
    phi = as_activation(activation)

    def excess(q: float) -> float:
        return moments.stretch(phi, q) / moments.slope_moment(phi, q) - 1

    places = [10**place for place in np.arange(-4.0, 6.0 + STEP, STEP).tolist()]
    values = [excess(place) for place in places]
    for n in range(len(places) - 1):
        if values[n] > REST and values[n + 1] < -REST:
            q = root_between(excess, places[n], places[n + 1])
            steep = moments.slope_moment(phi, q)
            bias = q - moments.second_moment(phi, q) / steep
            if bias >= 0:
                return DoublyCriticalPoint(math.sqrt(1 / steep), math.sqrt(bias), q)
    raise IsometryError(f"{phi.name} has no point with a positive q at which χ and χ_q are both 1.")


def depth_scale(activation: ActivationLike, sigma_w: float, sigma_b: float, *, keep: float = 1.0) -> DepthScale:
    """How many layers signals and gradients go before they are e times nearer to their end.

    All three hold near the fixed point. On a critical line the approach follows a power of depth, and the scale is inf.

    Sources: Schoenholz et al. 2017, equations 6, 9 and 11.
    """
    q = fixed_point(activation, sigma_w, sigma_b, keep=keep)
    c = correlation_fixed_point(activation, sigma_w, sigma_b, keep=keep)
    return DepthScale(
        length=_scale_of(chi_q(activation, sigma_w, sigma_b, q, keep=keep)),
        correlation=_scale_of(correlation_slope(activation, sigma_w, sigma_b, q=q, keep=keep)(c)),
        gradient=_scale_of(chi(activation, sigma_w, sigma_b, q, keep=keep)),
    )


def _scale_of(rate: float) -> float:
    if abs(rate - 1) <= LEVEL:
        return math.inf
    return 1 / abs(math.log(abs(rate))) if rate != 0 else 0.0
