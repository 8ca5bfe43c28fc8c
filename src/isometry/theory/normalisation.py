"""What normalisation layers do to gradients. The size of the weights cancels in all of it."""

import math

import numpy as np
from numpy.typing import NDArray

from isometry.errors import IsometryError
from isometry.theory import moments
from isometry.theory.activations import Activation, ActivationLike, as_activation
from isometry.theory.checks import require_count
from isometry.theory.gaussian import panel_nodes
from isometry.theory.kinks import Elementwise

__all__ = ["batch_norm_rate", "layer_norm_rate", "normalised_weight_gain"]

Floats = NDArray[np.float64]


def batch_norm_rate(activation: ActivationLike, batch: int | None = None) -> float:
    """Factor of the mean of ‖δ‖² a layer in a plain net with batch norm before every φ: at least 1, so δ explodes.

    For B → ∞ it is E φ′(x)² / Var φ(x), x ~ N(0, 1): 1 for a linear net only, π / (π − 1) for ReLU. A net of L layers
    gains ½ L log10 of it in decades, whatever its weights. With skips it does not hold, nor in evaluation mode.

    For a finite batch the normalised z of one unit is uniform on the sphere of radius √B that is orthogonal to the
    ones; it is assumed that the batch's covariance has come to its fixed point, with all inputs equally alike. Wide
    layers.

    Args:
        activation: φ.
        batch: B, at least 4; infinite if None. With less than 4 the mean does not exist.

    Sources: Yang et al. 2019; for B → ∞ in closed form.
    """
    phi = as_activation(activation)
    if batch is None:
        return _ratio(moments.slope_moment(phi, 1.0), _variance(phi), phi.name)
    size = require_count("batch", batch, least=4)
    return _finite_batch_rate(phi, size)


def layer_norm_rate(activation: ActivationLike, *, before: bool = True) -> float:
    """Factor of the mean of ‖δ‖² a layer in a plain net with layer norm (or RMS norm, if before φ).

    Before φ, on z: E φ′² / E φ². After φ its mean is removed too, and E φ′² / Var φ is left, batch norm's rate. For
    sigmoid the first is 0.15 and the second 1.03: only the norm after it rescues the gradient.

    Args:
        activation: φ.
        before: whether the norm stands before φ.
    """
    phi = as_activation(activation)
    size = moments.second_moment(phi, 1.0) if before else _variance(phi)
    return _ratio(moments.slope_moment(phi, 1.0), size, phi.name)


def normalised_weight_gain(activation: ActivationLike) -> float:
    """γ = 1 / √Var φ(x), x ~ N(0, 1), which keeps the variance in nets that centre their weights instead of signals.

    Sources: Brock et al. 2021, "Characterizing signal propagation", section 4.
    """
    phi = as_activation(activation)
    return math.sqrt(_ratio(1.0, _variance(phi), phi.name))


def _variance(phi: Activation) -> float:
    return moments.second_moment(phi, 1.0) - moments.mean(phi, 1.0) ** 2


def _ratio(above: float, below: float, name: str) -> float:
    if not below > 0:
        raise IsometryError(f"{name} is constant over N(0, 1): nothing is left after a norm layer.")
    return above / below


def _finite_batch_rate(phi: Activation, batch: int) -> float:
    """The rate as E tr [P D Q D] / (B − 1) · B / (B − 3) / (E φ(x₁)² − E φ(x₁) φ(x₂)).

    D = diag φ′(x), P removes the mean, Q also x itself; x₁ and x₂ are two entries of the normalised batch, and 1 / (B
    − 3) is the mean inverse of the χ² of B − 1 degrees of freedom, z's own size.
    """
    x, y, weights = _two_entries(phi, batch)

    def mean(function: Elementwise) -> tuple[float, float]:
        left = function(x)
        return float(np.sum(weights * left**2)), float(np.sum(weights * left * function(y)))

    size, alike = mean(phi.function)
    steep, steep_alike = mean(phi.slope)
    pulled, pulled_alike = mean(lambda z: z * phi.slope(z))
    share = 1 - 1 / batch
    trace = steep * (batch - 2 + 1 / batch) + share * (steep_alike - pulled + pulled_alike)
    return _ratio(trace / (batch - 1) * batch / (batch - 3), size - alike, phi.name)


def _two_entries(phi: Activation, batch: int) -> tuple[Floats, Floats, Floats]:
    """Places and weights for means over two entries of a normalised batch, panels ending at the kinks of φ.

    With n = B − 1 they are √n r cos θ and √n r cos(θ − θ₀), cos θ₀ = −1/n, where r = sin α has the density
    (n − 2) cos^{n−3} α sin α dα, and θ is uniform.
    """
    n = batch - 1
    apart = math.acos(-1 / n)
    reach = min(math.pi / 2, 9 / math.sqrt(n - 2))
    theta, weights_theta = (side.ravel() for side in panel_nodes(*_between(_angles(phi, n, apart))))
    slopes = np.sqrt(n) * np.stack([np.cos(theta), np.cos(theta - apart)], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        meets = np.array([kink / slopes for kink in phi.kinks if kink != 0]).reshape(-1, len(theta), 2)
    bends = np.arcsin(np.clip(np.nan_to_num(np.concatenate([*meets], axis=1) if len(meets) else slopes * 0), 0, 1))
    even = np.broadcast_to(np.linspace(0, reach, 13), (len(theta), 13))
    edges = np.sort(np.minimum(np.concatenate([even, bends], axis=1), reach), axis=1)
    alpha, weights_alpha = panel_nodes(edges[:, :-1], edges[:, 1:])
    density = (n - 2) / (2 * math.pi) * np.cos(alpha) ** (n - 3) * np.sin(alpha)
    radius = np.sin(alpha)
    entries = radius * slopes[:, 0, None, None], radius * slopes[:, 1, None, None]
    return *entries, weights_alpha * density * weights_theta[:, None, None]


def _angles(phi: Activation, n: int, apart: float) -> Floats:
    """Ends of panels of θ: where an entry is 0, where one leaves the disc at a kink, where both are at kinks."""
    own = [math.pi / 2, *(math.acos(k / math.sqrt(n)) for k in phi.kinks if abs(k) < math.sqrt(n))]
    both = [
        math.atan2(other - kink * math.cos(apart), kink * math.sin(apart))
        for kink in phi.kinks
        for other in phi.kinks
        if kink != 0
    ]
    marks = np.array([*own, *(-a for a in own), *(apart + a for a in own), *(apart - a for a in own), *both])
    turned = np.concatenate([marks, marks + math.pi]) % (2 * math.pi)
    return np.unique(np.concatenate([np.linspace(0, 2 * math.pi, 17), turned]))


def _between(edges: Floats) -> tuple[Floats, Floats]:
    return edges[:-1], edges[1:]
