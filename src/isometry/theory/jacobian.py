"""How uneven the singular values of a random network's Jacobian are; dynamical isometry is when they are not."""

from isometry.theory import moments
from isometry.theory.activations import ActivationLike, as_activation
from isometry.theory.checks import require_count
from isometry.theory.meanfield import fixed_point
from isometry.theory.sampler import Weights

__all__ = ["jacobian_variance", "largest_linear_singular_value"]


def jacobian_variance(
    activation: ActivationLike,
    sigma_w: float,
    sigma_b: float,
    layers: int,
    *,
    weights: Weights = "gaussian",
) -> float:
    """Variance of the squared singular values of ∂output/∂input, their mean brought to 1.

    It is L κ for Gaussian weights and L (κ − 1) for orthogonal ones.
    κ = E φ′⁴ / (E φ′²)² at the fixed point: 1 for linear nets, 2 for ReLU. So ReLU nets are never isometric; orthogonal
    weights with tanh and a small q nearly are.

    Sources: Pennington et al. 2017, 2018.
    """
    phi = as_activation(activation)
    kappa = moments.fourth_over_second(phi, fixed_point(phi, sigma_w, sigma_b))
    return require_count("layers", layers) * (kappa - (0 if weights == "gaussian" else 1))


def largest_linear_singular_value(layers: int) -> float:
    """Largest s² of a product of L wide Gaussian matrices with σ_w = 1: (L + 1)^(L + 1) / L^L, about e L.

    Sources: Pennington et al. 2017.
    """
    count = require_count("layers", layers)
    return float((count + 1) * ((count + 1) / count) ** count)
