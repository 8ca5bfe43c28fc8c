"""What a loss cannot fall below when φ keeps the answers in a range."""

from collections.abc import Mapping
from math import exp, inf, log, log1p

__all__ = ["RANGES", "least_loss"]

RANGES: dict[str, tuple[float, float]] = {
    "softmax": (0.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "relu": (0.0, inf),
    "softplus": (0.0, inf),
    "exponential": (0.0, inf),
}
"""What each φ can give, whatever z is."""


def least_loss(
    kind: str, phi: str, *, classes: int | None, targets: Mapping[str, float] | None, beyond: float | None
) -> float | None:
    """The loss of the best answers that φ allows, where the loss takes them for logits, or for numbers to be met.

    With logits between a and b the right class gets at most 1 / (1 + (C − 1) e^(a − b)), so cross-entropy stays above
    ln(1 + (C − 1) e^(a − b)): 1.46 behind a softmax over ten classes. Of a square stays what the targets have outside.

    Args:
        kind: ``cross_entropy``, ``binary_cross_entropy`` or ``mse``.
        phi: a name in ``RANGES``.
        classes: how many there are.
        targets: their moments.
        beyond: mean square of what the targets have outside the range.

    Returns:
        None where it cannot be told.
    """
    low, high = RANGES[phi]
    match kind:
        case "cross_entropy":
            return log1p((classes - 1) * exp(low - high)) if classes is not None and classes > 1 else None
        case "binary_cross_entropy":
            share = float(targets["mean"]) if targets is not None else -1.0
            return share * _softplus(-high) + (1 - share) * _softplus(low) if 0 <= share <= 1 else None
        case "mse":
            return beyond
        case _:
            return None


def _softplus(value: float) -> float:
    return log(1 + exp(value)) if value > -inf else 0.0
