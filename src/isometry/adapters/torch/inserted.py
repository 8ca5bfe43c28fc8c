"""The modules that edits put into a model: other nonlinearities, and norm layers that learn."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isometry.adapters.torch.alteration import FUNCTIONS, groups_of
from isometry.adapters.torch.gated import GATED, Gated

__all__ = ["Activated", "BatchNormOfUnits", "Elementwise", "activation_module", "norm_over_units"]

OWN_MODULE: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "gelu_tanh": partial(nn.GELU, approximate="tanh"),
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "relu6": nn.ReLU6,
    "hardtanh": nn.Hardtanh,
    "hardsigmoid": nn.Hardsigmoid,
    "hardswish": nn.Hardswish,
}
"""Where torch has a module for φ."""

EPSILON = 1e-5
"""Torch's own for the other norms."""
BATCH_NORMS: dict[int, type[nn.Module]] = {
    2: nn.BatchNorm1d,
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
    5: nn.BatchNorm3d,
}
"""By the dimensions of a tensor whose second one counts the units."""


class Elementwise(nn.Module):
    """One of ``network.nonlinearity.FUNCTIONS`` that torch has no module for."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, z: Tensor) -> Tensor:
        return FUNCTIONS[self.name](z)

    def extra_repr(self) -> str:
        return self.name


def activation_module(name: str) -> nn.Module:
    """A module that computes φ of this name."""
    return OWN_MODULE[name]() if name in OWN_MODULE else Elementwise(name)


class BatchNormOfUnits(nn.Module):
    """Batch normalisation of tensors whose last dimension counts the units, over all others together.

    It is no subclass of torch's: of those it is known that their second dimension counts them.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, units: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(units)), nn.Parameter(torch.zeros(units))
        self.register_buffer("running_mean", torch.zeros(units))
        self.register_buffer("running_var", torch.ones(units))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, values: Tensor) -> Tensor:
        if self.training:
            self.num_batches_tracked.add_(1)
        flat = values.reshape(-1, values.shape[-1])
        normalised = F.batch_norm(
            flat, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
        )
        return normalised.reshape(values.shape)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}, momentum={self.momentum}"


class GatedBatchNormOfUnits(Gated, BatchNormOfUnits): ...


def norm_over_units(norm: str, shape: torch.Size, unit: int, *, gated: bool = False) -> nn.Module:
    """A norm layer with a scale and a shift for every unit.

    Args:
        norm: ``layer``, over the units of each sample, for convolutions at all positions together; ``rms``, likewise
            without a mean, and without a shift; ``group``, over a part of the units; or ``batch``, over the samples,
            unit by unit.
        shape: of what it normalises, samples first.
        unit: dimension that counts the units, 1 or -1.
        gated: let it begin as the identity.
    """
    kind, arguments = _class_of(norm, shape, unit)
    if not gated:
        return kind(*arguments)
    return GatedBatchNormOfUnits(*arguments) if kind is BatchNormOfUnits else GATED[kind](*arguments)


def _class_of(norm: str, shape: torch.Size, unit: int) -> tuple[type[nn.Module], tuple[Any, ...]]:
    units, dimensions = shape[unit], len(shape)
    in_channels = unit == 1 and dimensions > 2
    if norm == "layer":
        return (nn.GroupNorm, (1, units)) if in_channels else (nn.LayerNorm, (units,))
    if norm == "rms":
        return nn.RMSNorm, (units, EPSILON)
    if norm == "group":
        return nn.GroupNorm, (groups_of(units), units)
    return BATCH_NORMS[dimensions] if in_channels or dimensions == 2 else BatchNormOfUnits, (units,)


class Activated(nn.Module):
    """φ with a norm layer before it or after it, in the place of φ alone."""

    def __init__(self, before: nn.Module | None, activation: nn.Module, after: nn.Module | None) -> None:
        super().__init__()
        if before is not None:
            self.norm = before
        self.activation = activation
        if after is not None:
            self.norm_after = after

    def forward(self, z: Tensor) -> Tensor:
        for part in self.children():
            z = part(z)
        return z
