"""Sizes of initial weights, as numbers: standard deviations, bounds and gains. No weights are made here.

σ_w = standard deviation · √fan_in is what the rest of ``theory`` speaks of.
"""

import math
from typing import Literal

from isometry.errors import IsometryError
from isometry.theory import moments
from isometry.theory.activations import Activation, ActivationLike, as_activation
from isometry.theory.checks import require_count, require_deviation
from isometry.theory.criticality import critical_point

__all__ = [
    "critical_std",
    "gain",
    "gain_drift",
    "glorot_std",
    "he_std",
    "lecun_std",
    "sigma_w_of",
    "torch_default_std",
    "truncated_std",
    "uniform_bound",
]


def gain(activation: ActivationLike, *, keeps: Literal["forward", "backward"] = "forward") -> float:
    """The σ_w that keeps the size of a signal of unit variance: forwards 1 / √E φ(x)², backwards 1 / √E φ′(x)².

    Both are √2 for ReLU. In general one weight cannot do both; ``gain_drift`` says what δ does under the forward gain.
    For orthogonal weights the backward gain is the factor to put before the matrix. That q = 1 is kept does not make it
    stable: for GELU, SiLU, Mish and hardswish ``chi_q`` is above 1 there.

    Args:
        activation: name or function.
        keeps: the signal to keep: z on its way forwards, or δ on its way back.

    Raises:
        IsometryError: φ, or its slope, is 0 almost everywhere.

    Sources: He et al. 2015, section 2.2, for ReLU; the same condition for any φ.
    """
    phi = as_activation(activation)
    moment = moments.second_moment(phi, 1.0) if keeps == "forward" else moments.slope_moment(phi, 1.0)
    return 1 / math.sqrt(_positive(moment, phi))


def gain_drift(activation: ActivationLike) -> float:
    """How δ grows towards the input under the forward gain: ½ log10 (E φ′² / E φ²). [decades / layer]

    0 for ReLU, −0.41 for sigmoid.
    """
    phi = as_activation(activation)
    steep, size = moments.slope_moment(phi, 1.0), moments.second_moment(phi, 1.0)
    return 0.5 * math.log10(_positive(steep, phi) / _positive(size, phi))


def _positive(moment: float, phi: Activation) -> float:
    if not moment > 0:
        raise IsometryError(f"{phi.name} is flat almost everywhere over N(0, 1): no gain makes up for that.")
    return moment


def lecun_std(fan_in: int) -> float:
    """√(1 / fan_in), for linear units and SELU. Sources: LeCun et al. 1998; Klambauer et al. 2017."""
    return math.sqrt(1 / require_count("fan_in", fan_in))


def he_std(fan: int, *, negative_slope: float = 0.0) -> float:
    """√(2 / (1 + a²) fan), for ReLU and leaky ReLU of slope a; the fan is fan_in as a rule.

    With fan_out instead, a whole net differs by no more than √(n_L / n_0).

    Sources: He et al. 2015, equations 10, 14 and 15.
    """
    return math.sqrt(2 / ((1 + negative_slope**2) * require_count("fan", fan)))


def glorot_std(fan_in: int, fan_out: int) -> float:
    """√(2 / (fan_in + fan_out)), for units that are straight at 0 and have mean 0.

    As a uniform law its ends are ±√(6 / (fan_in + fan_out)), ``uniform_bound`` of this.

    Sources: Glorot & Bengio 2010, equations 12 and 16.
    """
    return math.sqrt(2 / (require_count("fan_in", fan_in) + require_count("fan_out", fan_out)))


def critical_std(activation: ActivationLike, fan_in: int, *, sigma_b: float = 0.0) -> float:
    """The standard deviation of weights at the critical point, where gradients keep their size for any activation."""
    return critical_point(activation, sigma_b=sigma_b).sigma_w / math.sqrt(require_count("fan_in", fan_in))


def torch_default_std(fan_in: int) -> float:
    """√(1 / 3 fan_in), what ``nn.Linear`` and ``nn.Conv2d`` start with: U(±1 / √fan_in), so σ_w² = 1/3."""
    return math.sqrt(1 / (3 * require_count("fan_in", fan_in)))


def uniform_bound(std: float) -> float:
    """The a of U(−a, a) with this standard deviation: √3 times it."""
    return math.sqrt(3) * require_deviation("std", std)


def truncated_std(std: float, *, cut: float = 2.0) -> float:
    """What to ask of a normal law that is cut at ± ``cut`` of its deviations, so that ``std`` is left.

    A cut at 2 leaves 0.8796 of it, which is what TensorFlow and JAX divide by.
    """
    if not cut > 0:
        raise IsometryError(f"cut = {cut}: a positive number of standard deviations is needed.")
    inside = math.erf(cut / math.sqrt(2))
    left = 1 - 2 * cut * math.exp(-(cut**2) / 2) / math.sqrt(2 * math.pi) / inside
    return require_deviation("std", std) / math.sqrt(left)


def sigma_w_of(std: float, fan_in: int) -> float:
    """σ_w of weights with this standard deviation."""
    return require_deviation("std", std) * math.sqrt(require_count("fan_in", fan_in))
