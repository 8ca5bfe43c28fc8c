"""What finite width makes of mean field, in formulas; ``sampler`` draws it exactly."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isometry.errors import IsometryError
from isometry.theory import moments
from isometry.theory.activations import Activation, ActivationLike, as_activation
from isometry.theory.checks import require_count, require_counts, require_variance
from isometry.theory.depth import PerLayer, per_layer, signal_profile
from isometry.theory.gaussian import expectation

__all__ = ["WidthCorrection", "dead_probability", "width_correction", "width_noise"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class WidthCorrection:
    """How log10 ‖δ‖ of one net of finite width differs from mean field. shape (layers,)"""

    beta: Floats
    """Σ c / n over the layers between this one and the last."""
    bias: Floats
    """Mean difference, to first order: −β / (4 ln 10). [decades]"""
    deviation: Floats
    """Standard deviation between nets: √β / (2 ln 10), and what fluctuations of q add to it. [decades]"""


@dataclass(frozen=True, slots=True)
class _Noise:
    """What one layer of n units adds to the logarithms of ‖δ‖² and q, as (co)variances times n."""

    gradient: float
    """c, of ln ‖δ‖²."""
    signal: float
    """Of ln q of the next layer."""
    both: float
    """Of the two together."""
    answer: float
    """d ln χ / d ln q: how the gradient answers to a change of q."""
    passed_on: float
    """d ln q of the next layer / d ln q."""


def width_noise(activation: ActivationLike, q: float) -> float:
    """How much a layer of n units adds to the variance of ln ‖δ‖², times n: c = 3κ − 1, κ = E φ′⁴ / (E φ′²)².

    2 for a linear layer, 5 for ReLU.

    Sources: Hanin 2018; Hanin & Rolnick 2018 (Σ 1/n); Hanin & Nica 2018 (ReLU).
    """
    return 3 * moments.fourth_over_second(as_activation(activation), require_variance("q", q)) - 1


def width_correction(
    widths: Sequence[int],
    activation: ActivationLike,
    sigma_w: PerLayer,
    sigma_b: PerLayer,
    *,
    input_square_mean: float = 1.0,
) -> WidthCorrection:
    """Effect of finite width on ‖δ‖: its logarithm is nearly normal, below mean field and scattered.

    The scatter is that of the gradient's own noise, c / n a layer, and of the noise of q, to which χ of all later
    layers answers: (1/n) Σ_k [c_k + 2 G_k cov_k + G_k² v_k] in linear response, with no second part for homogeneous φ.

    Good while β is small and χ_q ≤ 1; ``sample_profile`` is exact for Gaussian weights, also where this is not.

    Raises:
        IsometryError: mean field has the signal end, or overflow, within these layers.

    Sources: Hanin & Nica 2018 for ReLU; for other φ the same argument.
    """
    sizes = require_counts("widths", widths)
    phi, weights = as_activation(activation), per_layer("sigma_w", sigma_w, len(sizes))
    profile = signal_profile(phi, weights, sigma_b, len(sizes), input_square_mean=input_square_mean)
    noises = [
        _noise(phi, float(q), float(after), float(weight))
        for q, after, weight in zip(profile.q, profile.q[1:], weights[1:], strict=False)
    ]
    own = [noise.gradient / n for noise, n in zip(noises, sizes, strict=False)]
    beta = np.append(np.cumsum(own[::-1])[::-1], 0.0)
    variance = np.array([_variance(noises, sizes, layer) for layer in range(len(sizes))])
    return WidthCorrection(beta, -beta / (4 * math.log(10)), np.sqrt(variance) / (2 * math.log(10)))


def _noise(phi: Activation, q: float, after: float, sigma_w: float) -> _Noise:
    if not (0 < q < math.inf and 0 < after < math.inf):
        raise IsometryError(
            f"q goes from {q:g} to {after:g} in a layer: a signal that neither ends nor overflows is needed."
        )

    def mean(power: int, slope_power: int, u_power: int = 0) -> float:
        return expectation(
            lambda u: phi.function(u) ** power * phi.slope(u) ** slope_power * u**u_power, q, kinks=phi.kinks
        )

    size, steep, share = mean(2, 0), mean(0, 2), sigma_w**2 / after
    return _Noise(
        gradient=width_noise(phi, q),
        signal=share**2 * (mean(4, 0) - size**2),
        both=share * (mean(2, 2) / steep - size),
        answer=0.5 * (mean(0, 2, 2) / (q * steep) - 1),
        passed_on=share * q * moments.stretch(phi, q),
    )


def _variance(noises: Sequence[_Noise], sizes: Sequence[int], layer: int) -> float:
    """Of ln ‖δ‖² of this layer against the last. Noise of q from before this layer counts too."""
    total, answer = 0.0, 0.0
    for k in range(len(noises) - 1, -1, -1):
        noise, is_between = noises[k], k >= layer
        own = noise.gradient + 2 * answer * noise.both if is_between else 0.0
        total += (own + answer**2 * noise.signal) / sizes[k]
        answer = (noise.answer if is_between else 0.0) + noise.passed_on * answer
    return total


def dead_probability(widths: Sequence[int]) -> float:
    """Probability that a ReLU net without biases passes no gradient: some layer has only negative z.

    Each unit of each layer is off with probability 1/2, whatever the layers below do: 1 − Π (1 − 2^−n).

    Args:
        widths: of the layers that have a ReLU.
    """
    alive = [1 - 0.5 ** require_count("width", width) for width in widths]
    return 1 - math.prod(alive)
