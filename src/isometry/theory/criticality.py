"""Order, chaos and the line between them: where gradients keep their size, and how fast they lose it elsewhere."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from isometry.errors import IsometryError
from isometry.theory import moments
from isometry.theory.activations import Activation, ActivationLike, as_activation
from isometry.theory.checks import require_deviation
from isometry.theory.correlation import LEVEL, correlation_fixed_point, correlation_slope
from isometry.theory.meanfield import ENDS, REST, STEP, chi, chi_q, fixed_point
from isometry.theory.roots import root_between

__all__ = [
    "CriticalPoint",
    "DepthScale",
    "DoublyCriticalPoint",
    "Phase",
    "critical_point",
    "depth_scale",
    "doubly_critical_point",
    "phase",
]

CRITICAL = 1e-6
"""A χ that differs from 1 by this is called critical: it costs 2e-5 decades in a hundred layers."""


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


def phase(activation: ActivationLike, sigma_w: float, sigma_b: float) -> Phase:
    """Ordered, critical or chaotic, by χ at the fixed point.

    Sources: Poole et al. 2016; Schoenholz et al. 2017.
    """
    rate = chi(activation, sigma_w, sigma_b)
    if abs(rate - 1) <= CRITICAL:
        return Phase.CRITICAL
    return Phase.ORDERED if rate < 1 else Phase.CHAOTIC


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
    if bias == 0 and abs(float(phi.function(np.zeros(1))[0])) <= REST and moments.slope_moment(phi, 0.0) > REST:
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
