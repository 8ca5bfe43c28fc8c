"""Mean field followed layer by layer, and what finite width makes of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isometry.errors import IsometryError
from isometry.theory import moments
from isometry.theory.activations import ActivationLike, as_activation
from isometry.theory.checks import require_count, require_deviation, require_share, require_variance

__all__ = [
    "SignalProfile",
    "WidthCorrection",
    "dead_probability",
    "per_layer",
    "signal_profile",
    "width_correction",
    "width_noise",
]

Floats = NDArray[np.float64]
PerLayer = float | Sequence[float] | Floats
"""One number for all layers, or one for each, input first."""


@dataclass(frozen=True, slots=True)
class SignalProfile:
    """What mean field says of every layer, input first. shape (layers,)"""

    q: Floats
    """Mean square of z."""
    chi: Floats
    """Factor of the mean of ‖δ‖² from the layer above to this one; the last one has no part in ``backward``."""
    chi_q: Floats
    """Factor of a small error of q from this layer to the next."""
    forward: Floats
    """log10 of rms z. [decades]"""
    backward: Floats
    """½ log10 of the mean of ‖δ‖² against the last layer, where it is 0. [decades]"""


@dataclass(frozen=True, slots=True)
class WidthCorrection:
    """How log10 ‖δ‖ of one net of finite width differs from mean field, to first order. shape (layers,)"""

    beta: Floats
    """Σ c / n over the layers between this one and the last."""
    bias: Floats
    """Mean difference: −β / (4 ln 10). [decades]"""
    deviation: Floats
    """Standard deviation between nets: √β / (2 ln 10). [decades]"""


def per_layer(name: str, values: PerLayer, layers: int) -> Floats:
    """Standard deviations as one for each layer.

    Raises:
        IsometryError: one is negative, or there are not as many as layers.
    """
    listed = np.asarray(values, dtype=np.float64)
    for value in listed.ravel():
        require_deviation(name, float(value))
    if listed.shape not in ((), (layers,)):
        raise IsometryError(
            f"{name} has the shape {listed.shape}: one number is needed, or one for each of {layers} layers."
        )
    return np.broadcast_to(listed, (layers,))


def signal_profile(
    activation: ActivationLike,
    sigma_w: PerLayer,
    sigma_b: PerLayer,
    layers: int,
    *,
    input_square_mean: float = 1.0,
    keep: float = 1.0,
) -> SignalProfile:
    """The length map and χ, layer by layer, from the input on.

    This, and not χ(q*) to the power of the depth, is what mean field predicts: near a critical point the approach to
    q* is slow. With tanh, σ_w = 1 and no biases q falls like 1 / 2l, and δ loses 0.57 decades over 10 layers and 1.17
    over 152, although χ(q*) = 1.

    Args:
        activation: φ between the layers.
        sigma_w: weights of a layer have the standard deviation σ_w / √fan_in; one for all or one for each layer.
        sigma_b: of the biases, likewise.
        layers: number of z, the last one included.
        input_square_mean: mean of x² over the network's inputs.
        keep: share of activations that dropout keeps.

    Sources: Poole et al. 2016; Schoenholz et al. 2017.
    """
    count = require_count("layers", layers)
    weights, biases = per_layer("sigma_w", sigma_w, count), per_layer("sigma_b", sigma_b, count)
    phi, share = as_activation(activation), require_share("keep", keep)
    q = [weights[0] ** 2 * require_variance("input_square_mean", input_square_mean) + biases[0] ** 2]
    for weight, bias in zip(weights[1:], biases[1:], strict=True):
        q.append(float(weight**2 / share * moments.second_moment(phi, q[-1]) + bias**2))
    # χ of a layer takes the weights of the next one, which lie between the two δ.
    above = np.append(weights[1:], weights[-1]) ** 2 / share
    chi = above * np.array([moments.slope_moment(phi, one) for one in q])
    chi_q = above * np.array([moments.stretch(phi, one) for one in q])
    with np.errstate(divide="ignore"):
        lost = 0.5 * np.log10(chi[:-1])
        forward = 0.5 * np.log10(q)
    return SignalProfile(np.array(q), chi, chi_q, forward, np.append(np.cumsum(lost[::-1])[::-1], 0.0))


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
    """First-order effect of finite width on ‖δ‖: its logarithm is nearly normal, below mean field and scattered.

    Good while β is small and χ_q ≤ 1; ``sample_profile`` is exact for Gaussian weights, also where this is not. Left
    out are the fluctuations of q, which matter for tanh and SELU at the per cent level.

    Sources: Hanin & Nica 2018 for ReLU; for other φ the same argument.
    """
    layers = [require_count("width", width) for width in widths]
    profile = signal_profile(activation, sigma_w, sigma_b, len(layers), input_square_mean=input_square_mean)
    steps = [width_noise(activation, q) / n for q, n in zip(profile.q[:-1], layers[:-1], strict=True)]
    beta = np.append(np.cumsum(steps[::-1])[::-1], 0.0)
    return WidthCorrection(beta, -beta / (4 * math.log(10)), np.sqrt(beta) / (2 * math.log(10)))


def dead_probability(widths: Sequence[int]) -> float:
    """Probability that a ReLU net without biases passes no gradient: some layer has only negative z.

    Each unit of each layer is off with probability 1/2, whatever the layers below do: 1 − Π (1 − 2^−n).

    Args:
        widths: of the layers that have a ReLU.
    """
    alive = [1 - 0.5 ** require_count("width", width) for width in widths]
    return 1 - math.prod(alive)
