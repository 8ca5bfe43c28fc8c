"""Laws that initial weights are drawn from, each as a function that fills a matrix of shape (n_out, n_in)."""

from collections.abc import Callable
from math import sqrt

from torch import Tensor, nn

__all__ = ["LAWS", "Fill", "normal", "normalised", "standard"]

Fill = Callable[[Tensor], Tensor]


def normal(gain: float) -> Fill:
    """N(0, gain² / n_in): Xavier's with a gain of 1, He's with √2."""
    return lambda weight: nn.init.normal_(weight, 0.0, gain / sqrt(weight.shape[1]))


def standard(weight: Tensor) -> Tensor:
    """U[±1/√n_in], which Glorot and Bengio call standard: a variance of 1 / (3 n_in)."""
    bound = 1 / sqrt(weight.shape[1])
    return nn.init.uniform_(weight, -bound, bound)


def normalised(weight: Tensor) -> Tensor:
    """U[±√(6 / (n_in + n_out))], Glorot and Bengio's normalised initialisation: a variance of 2 / (n_in + n_out)."""
    bound = sqrt(6 / (weight.shape[0] + weight.shape[1]))
    return nn.init.uniform_(weight, -bound, bound)


LAWS: dict[str, Fill] = {
    "1/n_in": normal(1.0),
    "1/n_out": lambda weight: nn.init.normal_(weight, 0.0, 1 / sqrt(weight.shape[0])),
    "2/(n_in + n_out)": lambda weight: nn.init.normal_(weight, 0.0, sqrt(2 / sum(weight.shape))),
    "2/(n_in + n_out), uniform": normalised,
}
"""By their variance."""
