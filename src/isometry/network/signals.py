"""The signals that travel through a network, and the names under which their statistics are kept."""

from enum import StrEnum

__all__ = ["MOMENTS", "Signal"]


class Signal(StrEnum):
    """One kind of tensor that is measured at every layer.

    A layer computes z = W x + b, then h = φ(z), where φ may be missing. L is the loss.
    """

    INPUT = "input"
    """x, what the layer reads; kept only where it comes from outside the network."""
    PRE_ACTIVATION = "pre_activation"
    """z, the layer's own output before its nonlinearity."""
    ACTIVATION = "activation"
    """h = φ(z), what the next layer sees; equal to z where there is no φ."""
    SLOPE = "slope"
    """φ′(z), element by element; kept only where there is a φ."""
    DELTA = "delta"
    """δ = ∂L/∂z."""
    ACTIVATION_GRADIENT = "activation_gradient"
    """ε = ∂L/∂h; kept only where there is a φ."""
    INPUT_GRADIENT = "input_gradient"
    """∂L/∂x, all consumers of x together; Wᵀδ where the layer is the only one."""
    WEIGHT = "weight"
    """W, the layer's weight matrices together, biases left out."""
    WEIGHT_GRADIENT = "weight_gradient"
    """∂L/∂W as the optimiser receives it: unscaled, accumulated, clipped."""
    UPDATE = "update"
    """ΔW, what the optimiser really did to W in this step."""


MOMENTS = ("count", "mean", "std", "rms", "abs_max", "zeros", "nan", "inf")
"""The statistics that every signal has, in the order in which adapters report them.

``count`` counts all elements; ``nan`` and ``inf`` those that are not finite; the moments and ``zeros`` are
of the finite ones.
"""
