"""Weights drawn to match the size of what arrives at them, which is computed along the way where that is possible."""

import math
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from isometry.adapters.torch.laws import normal
from isometry.adapters.torch.levelling import Sizing, rescaled, size_on
from isometry.adapters.torch.nonlinearity import recognise
from isometry.adapters.torch.passes import Call
from isometry.adapters.torch.recording import tensors_in
from isometry.adapters.torch.trace import ADDITIONS, PRODUCTS
from isometry.adapters.torch.weights import Matrix, fill, scaled
from isometry.errors import CannotEdit

__all__ = ["level_by_moments"]

SHAPES = frozenset({"flatten", "reshape", "view", "permute", "transpose", "movedim", "squeeze", "unsqueeze"})
SAME = SHAPES | {"contiguous", "clone", "to", "float", "double"}
"""Operations that keep mean and variance of what they are given."""
DROPOUTS = frozenset({"dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout"})
SIGNALS = {"bilinear": slice(0, 2), "addmm": slice(1, 2)}
"""Which arguments of an operation are multiplied by the weight, where it is not the first."""
REACH, POINTS = 8.0, 4001
"""φ is averaged over so many deviations of a normal law, at so many points: right to 1e-5, kinks included."""


def level_by_moments(model: nn.Module, call: Call, matrices: Iterable[Matrix], generator: torch.Generator) -> None:
    """Var(w) = 1 / (fan_in E x²), so that the output of every layer has the variance 1 over networks drawn like this.

    E x² is computed where x is a known function of what layers put out: φ, dropout, reshaping, sums with a branch,
    factors. Elsewhere (the network's input, pooling, norms) it is measured on the batch. The output of attention is
    rescaled as LSUV does it. Padding counts as signal, as in the source. That a head changes what it reads, where an
    embedding shares its matrix, is not followed.

    Raises:
        CannotEdit: a layer does not run on this batch, or nothing arrives at it.

    Sources: Bingham & Miikkulainen 2023, AutoInit.
    """
    matrices = list(matrices)
    for matrix in matrices:
        fill(matrix, normal, 1.0, generator)
    size_on(model, call, _Tracking(matrices), generator)


@dataclass(frozen=True, slots=True)
class Level:
    """What is known of a signal's size, over networks drawn alike."""

    mean: float
    variance: float
    latest: int
    """Number of the last matrix that it depends on."""
    fresh: bool = False
    """Straight from that matrix, so that it is uncorrelated with all that does not depend on it."""
    normal: bool = False

    @property
    def mean_square(self) -> float:
        return self.variance + self.mean**2


class _Tracking(Sizing):
    """Carries mean and variance along, and scales each matrix to match what arrives at it."""

    def __init__(self, matrices: Iterable[Matrix]) -> None:
        super().__init__(matrices)
        self._known: dict[int, tuple[weakref.ref[Tensor], Level]] = {}
        self._met = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        matrix = self.reached_by(func, [args, kwargs])
        if matrix is not None:
            result = self._sized(matrix, func, args, kwargs)
            self._met += 1
            unbiased = not any(_shifts(tensor, matrix) for tensor in tensors_in([args, kwargs]))
            level = Level(0.0, 1.0, self._met, fresh=True, normal=True) if unbiased else None
        else:
            level = self._carried(func, args, kwargs)
            result = func(*args, **kwargs)
        if isinstance(result, Tensor):
            self._keep(result, level)
        elif getattr(func, "__name__", "") == "__setitem__":
            self._keep(args[0], None)
        return result

    def _sized(self, matrix: Matrix, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func.__name__ == "multi_head_attention_forward":
            return rescaled(matrix, lambda: func(*args, **kwargs))
        signals = [*args, *kwargs.values()][SIGNALS.get(func.__name__, slice(0, 1))]
        arriving = math.prod(self._mean_square(signal) for signal in signals)
        if not 0 < arriving < math.inf:
            raise CannotEdit(
                f"`{matrix.layer}`: what arrives there has a mean square of {arriving:g} on this batch, which no "
                "weight turns into 1. Check the layers before it, or name the other layers in `layers`."
            )
        scaled(matrix, 1 / math.sqrt(arriving))
        return func(*args, **kwargs)

    def _mean_square(self, signal: Tensor) -> float:
        level = self._level(signal)
        return level.mean_square if level is not None else float(signal.detach().double().square().mean())

    def _carried(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Level | None:
        """Mean and variance of a result, where they follow from those of the arguments."""
        level = self._level(args[0]) if args else None
        if level is None:
            return None
        name = getattr(func, "__name__", "")
        if name in SAME:
            return level
        if name in ADDITIONS | PRODUCTS and len(args) == 2 and not kwargs:
            return self._with(level, args[1], product=name in PRODUCTS)
        if name.rstrip("_") in DROPOUTS:
            return _thinned(level, *args[1:3], **{key: kwargs[key] for key in ("p", "training") if key in kwargs})
        # PReLU has a slope for each channel.
        if level.normal and name != "prelu" and recognise(name, args, kwargs) is not None:
            return _through(level, lambda z: func(z, *args[1:], **kwargs))
        return None

    def _with(self, level: Level, other: Any, *, product: bool) -> Level | None:
        """Of a sum or product with a number, or of a sum with something uncorrelated."""
        if isinstance(other, int | float):
            if product:
                return replace(level, mean=level.mean * other, variance=level.variance * other**2)
            return replace(level, mean=level.mean + other, fresh=False)
        added = self._level(other)
        if product or added is None:
            return None
        first, second = sorted((level, added), key=lambda one: one.latest)
        if not second.fresh or first.latest == second.latest:
            return None
        both = first.normal and second.normal
        return Level(first.mean + second.mean, first.variance + second.variance, second.latest, normal=both)

    def _level(self, tensor: Any) -> Level | None:
        entry = self._known.get(id(tensor))
        return entry[1] if entry is not None and entry[0]() is tensor else None

    def _keep(self, tensor: Tensor, level: Level | None) -> None:
        if level is None:
            self._known.pop(id(tensor), None)
        else:
            self._known[id(tensor)] = (weakref.ref(tensor), level)


def _shifts(tensor: Tensor, matrix: Matrix) -> bool:
    """Whether this is another parameter of the layer, such as a frozen bias, and not 0."""
    return isinstance(tensor, nn.Parameter) and tensor is not matrix.parameter and bool(tensor.detach().any())


def _thinned(level: Level, p: float = 0.5, training: bool = True) -> Level:
    """Dropout keeps the mean, and E x² / (1 − p) is left of E x²."""
    if not training:
        return level
    if p >= 1:
        return replace(level, mean=0.0, variance=0.0, fresh=False, normal=False)
    return replace(level, variance=level.mean_square / (1 - p) - level.mean**2, fresh=False, normal=False)


def _through(level: Level, function: Callable[[Tensor], Tensor]) -> Level | None:
    """Moments of φ(z) for normal z."""
    nodes = torch.linspace(-REACH, REACH, POINTS, dtype=torch.float64)
    weights = torch.exp(-0.5 * nodes**2)
    weights /= weights.sum()
    values = function(level.mean + math.sqrt(level.variance) * nodes).detach()
    mean, square = float(weights @ values), float(weights @ values.square())
    if not math.isfinite(square):
        return None
    return replace(level, mean=mean, variance=square - mean**2, fresh=False, normal=False)
