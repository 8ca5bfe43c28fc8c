"""What theory needs to know of an activation: φ, φ′ and where they have kinks, by name or found out from φ alone."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isometry.errors import IsometryError
from isometry.network.nonlinearity import FUNCTIONS, SLOPES
from isometry.theory.kinks import Elementwise, find_kinks, numerical_slope

__all__ = ["ACTIVATIONS", "Activation", "ActivationLike", "as_activation"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Activation:
    """An elementwise nonlinearity φ."""

    name: str
    function: Elementwise
    """φ, for arrays."""
    slope: Elementwise
    """φ′, for arrays."""
    kinks: tuple[float, ...] = ()
    """Where φ, φ′ or φ″ jumps."""


ActivationLike = str | Callable[[Floats], ArrayLike] | Activation
"""A name of ``ACTIVATIONS``, a function of NumPy arrays, or an ``Activation`` with a slope of its own."""

PRELU_SLOPE = 0.25
"""Where training starts: He et al. 2015, section 2.1, and the default of PyTorch."""
RRELU_SLOPE = sqrt((1 / 8 * 1 / 8 + 1 / 8 * 1 / 3 + 1 / 3 * 1 / 3) / 3)
"""Root mean square of U(1/8, 1/3), the default of PyTorch: 0.237. Sources: Xu et al. 2015."""
STEEP = 1.702
"""quick_gelu is z times the sigmoid of so many z. Sources: Hendrycks & Gimpel 2016."""
KINKS: dict[str, tuple[float, ...]] = {
    **dict.fromkeys(("relu", "leaky_relu", "elu", "selu", "softsign", "squared_relu"), (0.0,)),
    "relu6": (0.0, 6.0),
    "hardtanh": (-1.0, 1.0),
    "hardsigmoid": (-3.0, 3.0),
    "hardswish": (-3.0, 3.0),
}
ACTIVATIONS: dict[str, Activation] = {
    name: Activation(name, function, SLOPES[name], KINKS.get(name, ())) for name, function in FUNCTIONS.items()
} | {
    "celu": Activation("celu", FUNCTIONS["elu"], SLOPES["elu"], (0.0,)),
    "prelu": Activation(
        "prelu",
        lambda z: np.where(z > 0, z, PRELU_SLOPE * z),
        lambda z: np.where(z > 0, 1.0, PRELU_SLOPE),
        (0.0,),
    ),
    "rrelu": Activation(
        "rrelu",
        lambda z: np.where(z > 0, z, RRELU_SLOPE * z),
        lambda z: np.where(z > 0, 1.0, RRELU_SLOPE),
        (0.0,),
    ),
    "quick_gelu": Activation(
        "quick_gelu",
        lambda z: FUNCTIONS["silu"](STEEP * z) / STEEP,
        lambda z: SLOPES["silu"](STEEP * z),
    ),
    "logsigmoid": Activation("logsigmoid", lambda z: -np.logaddexp(0, -z), lambda z: FUNCTIONS["sigmoid"](-z)),
}
"""Every activation with a name: celu with α = 1, which is elu; prelu with the slope it starts with, 1/4; rrelu with
the one slope that does on average what its random ones do."""


def as_activation(activation: ActivationLike) -> Activation:
    """The activation of this name, or what can be found out about a function: its kinks, and its slope numerically.

    Args:
        activation: a name of ``ACTIVATIONS``; or φ as a function of NumPy arrays, elementwise and without chance; or
            an ``Activation``, which is returned as it is.

    Raises:
        IsometryError: a name that is not known, or a function that is not elementwise.
    """
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, str):
        if activation not in ACTIVATIONS:
            known = " ".join(sorted(ACTIVATIONS))
            near = activation.lower().replace("-", "_").replace(" ", "_")
            if near in ACTIVATIONS:
                raise IsometryError(f"There is no activation named {activation!r}. Did you mean {near!r}?")
            raise IsometryError(
                f"There is no activation named {activation!r}. Known are {known}; or pass φ, a NumPy function."
            )
        return ACTIVATIONS[activation]
    if not callable(activation):
        raise IsometryError(
            f"An activation is needed, a name or a function of NumPy arrays; got {type(activation).__name__}."
        )
    return _examined(activation) if isinstance(activation, Hashable) else _examine(activation)


def _examine(function: Callable[[Floats], ArrayLike]) -> Activation:
    def quiet(z: Floats) -> Floats:
        with np.errstate(all="ignore"):
            return np.asarray(function(z), dtype=np.float64)

    name = getattr(function, "__name__", type(function).__name__)
    _require_elementwise(quiet, name)
    kinks = find_kinks(quiet)
    return Activation(name, quiet, numerical_slope(quiet, kinks), kinks)


_examined = lru_cache(maxsize=64)(_examine)


def _require_elementwise(function: Elementwise, name: str) -> None:
    z = np.linspace(-4.1, 4.3, 24)
    needed = "A function is needed that maps arrays element by element, in NumPy and the same way every time"
    try:
        whole, *halves = function(z), function(z[:7]), function(z[7:])
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise IsometryError(f"{name} cannot be applied to a NumPy array ({error}). {needed}.") from error
    parts = np.concatenate([np.atleast_1d(half) for half in halves])
    if whole.shape != z.shape or parts.shape != z.shape or not np.all(np.isfinite(whole)):
        raise IsometryError(f"{name} does not give one finite number for every element. {needed}.")
    if not np.allclose(whole, parts, rtol=1e-9, atol=1e-12):
        raise IsometryError(f"{name} gives an element another value in another array: it is not elementwise. {needed}.")
