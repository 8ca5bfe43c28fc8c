"""Inputs of mean 0 and deviation 1, feature by feature, as a first step inside a model's own call."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from isometry.adapters.torch.describe import describe
from isometry.adapters.torch.surrounding import Surrounding
from isometry.errors import CannotEdit, IsometryError
from isometry.network.architecture import Layer

__all__ = ["standardise"]

MEAN, DEVIATION = "inserted_input_mean", "inserted_input_deviation"
"""Buffers of the model."""


def standardise(model: nn.Module, batches: Iterable[Any]) -> None:
    """Let a model take raw inputs and see standardised ones, in place.

    A feature is what a weight of the first layer stands for: a channel of a convolution, an entry of the last dimension
    for linear and recurrent layers; every element by itself where the input is flattened on the way. Features that do
    not vary stay as they are. Mean and deviation become buffers of the model, and so go into its ``state_dict``.

    Args:
        model: takes one tensor, the first argument of its forward pass.
        batches: the inputs that it is trained with. shapes (batch, …)

    Raises:
        CannotEdit: the inputs are no tensors of real numbers, or there are none.
    """
    mean, deviation = _moments(model, batches)
    is_new = MEAN not in model._buffers
    model.register_buffer(MEAN, mean)
    model.register_buffer(DEVIATION, deviation)
    if is_new:
        vars(model)["forward"] = _Standardising(model)


class _Standardising(Surrounding):
    """Stands as ``forward`` in a model."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if args:
            args = (self._standardised(args[0]), *args[1:])
        else:
            first = next(iter(kwargs))
            kwargs[first] = self._standardised(kwargs[first])
        return self.own(*args, **kwargs)

    def _standardised(self, inputs: Tensor) -> Tensor:
        mean: Tensor = getattr(self.module, MEAN)
        deviation: Tensor = getattr(self.module, DEVIATION)
        return (inputs - mean) / deviation


class _Moments:
    """Mean and deviation of each feature, gathered batch by batch."""

    def __init__(self, first: Tensor, dimensions: tuple[int, ...]) -> None:
        self._dimensions = dimensions
        self._dtype = first.dtype
        self._shift = first.double().mean(dimensions, keepdim=True)  # near the mean, so that squares lose no digits
        self._low = self._high = first.double().amax(dimensions, keepdim=True)
        self._sum = self._squares = torch.zeros_like(self._shift)
        self._count = 0

    def add(self, inputs: Tensor) -> None:
        values = inputs.double()
        self._low = torch.minimum(self._low, values.amin(self._dimensions, keepdim=True))
        self._high = torch.maximum(self._high, values.amax(self._dimensions, keepdim=True))
        values = values - self._shift
        self._count += math.prod(inputs.shape[dimension] for dimension in self._dimensions)
        self._sum = self._sum + values.sum(self._dimensions, keepdim=True)
        self._squares = self._squares + values.square().sum(self._dimensions, keepdim=True)

    def mean_and_deviation(self) -> tuple[Tensor, Tensor]:
        """Of shapes that are broadcast over a batch; 0 and 1 for what does not vary."""
        mean = self._sum / self._count
        deviation = (self._squares / self._count - mean.square()).clamp(min=0).sqrt()
        varies = (self._low < self._high) & (deviation > 0)
        means = torch.where(varies, mean + self._shift, torch.zeros_like(mean))
        return means.to(self._dtype), torch.where(varies, deviation, torch.ones_like(mean)).to(self._dtype)


def _moments(model: nn.Module, batches: Iterable[Any]) -> tuple[Tensor, Tensor]:
    found: _Moments | None = None
    for inputs in batches:
        if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
            kind = str(inputs.dtype) if isinstance(inputs, Tensor) else f"a {type(inputs).__name__}"
            raise CannotEdit(f"The inputs are {kind}: only a tensor of real numbers can be standardised.")
        found = found or _Moments(inputs, _dimensions_of_samples(model, inputs))
        found.add(inputs)
    if found is None:
        raise CannotEdit("There are no inputs to take mean and deviation from.")
    return found.mean_and_deviation()


def _dimensions_of_samples(model: nn.Module, inputs: Tensor) -> tuple[int, ...]:
    """The dimensions over which one feature is averaged."""
    if inputs.dim() <= 2:
        return (0,)
    try:
        first = next((layer for layer in describe(model, inputs) if "" in layer.inputs), None)
    except IsometryError:
        first = None
    feature = _feature_dimension(first, inputs)
    return (0,) if feature is None else tuple(k for k in range(inputs.dim()) if k != feature)


def _feature_dimension(first: Layer | None, inputs: Tensor) -> int | None:
    if first is not None and first.kind == "conv":
        return 1
    if first is not None and first.fan_in == inputs.shape[-1]:
        return inputs.dim() - 1
    return None
