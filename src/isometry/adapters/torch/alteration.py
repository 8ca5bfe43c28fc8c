"""Edits carried out while a forward pass runs, so that a change can be tried without making it."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from isometry.adapters.torch.sites import Site
from isometry.network.edits import AddSkip, InsertNorm, NetworkEdit, ReplaceActivation

__all__ = ["FUNCTIONS", "Alteration", "groups_of"]

Function = Callable[[Tensor], Tensor]

FUNCTIONS: dict[str, Function] = {
    "identity": lambda z: z,
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": torch.selu,
    "gelu": F.gelu,
    "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "erf": torch.erf,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "relu6": F.relu6,
    "hardtanh": F.hardtanh,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "squared_relu": lambda z: torch.relu(z).square(),
    "sin": torch.sin,
}
"""φ of ``network.nonlinearity.FUNCTIONS``, of tensors."""


PER_GROUP = 8
"""Of two numbers a norm leaves nothing but their order. Sources: Wu & He 2018, figure 7: 8 to 32 channels a group."""


def groups_of(units: int) -> int:
    """As many groups as leave at least eight units in each."""
    return next(count for count in range(max(units // PER_GROUP, 1), 0, -1) if units % count == 0)


class Alteration:
    """What becomes of φ at each layer that an edit names."""

    def __init__(self, edits: Iterable[NetworkEdit]) -> None:
        self._functions: dict[str, Function] = {}
        self._before: dict[str, str] = {}
        self._after: dict[str, str] = {}
        self._skips: set[str] = set()
        self._read: dict[str, Tensor] = {}
        for edit in edits:
            if isinstance(edit, ReplaceActivation):
                self._functions |= dict.fromkeys(edit.layers, FUNCTIONS[edit.activation])
            elif isinstance(edit, InsertNorm):
                where = self._after if edit.after else self._before
                where |= dict.fromkeys(edit.layers, edit.norm)
            elif isinstance(edit, AddSkip):
                self._skips.update(edit.layers)

    def reads(self, site: Site, tensor: Tensor) -> None:
        """A layer runs on this tensor."""
        if site.name in self._skips:
            self._read[site.name] = tensor

    def concerns(self, site: Site | None) -> bool:
        """Whether φ of a layer is to be computed otherwise than the model does."""
        if site is None:
            return False
        name = _layer_of(site)
        return any(name in named for named in (self._functions, self._before, self._after, self._skips))

    def activation(
        self, site: Site, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """H of a layer, from the call ``function(z, …)`` that stands in the model."""
        name, z = _layer_of(site), args[0]
        if name in self._before:
            z = _normalised(z, self._before[name], site.unit_dimension)
        own = self._functions.get(name)
        h: Tensor = own(z) if own is not None else function(z, *args[1:], **kwargs)
        if name in self._after:
            h = _normalised(h, self._after[name], site.unit_dimension)
        read = self._read.pop(name, None)
        return h + read if read is not None and read.shape == h.shape else h


def _layer_of(site: Site) -> str:
    """The layer that φ belongs to: where it follows a norm layer, the one that the norm layer reads."""
    return site.inputs[0] if site.kind == "norm" and len(site.inputs) == 1 and site.inputs[0] else site.name


def _normalised(values: Tensor, norm: str, unit: int) -> Tensor:
    """Without scale and shift, by the statistics of this batch."""
    if norm == "layer":
        return F.layer_norm(values, values.shape[unit % values.dim() :])
    if norm == "rms":
        return F.rms_norm(values, values.shape[unit % values.dim() :])
    if norm == "group":
        return F.group_norm(values, groups_of(values.shape[1]))
    units = values.movedim(unit, -1)
    flat = units.reshape(-1, units.shape[-1])
    return F.batch_norm(flat, None, None, training=True).reshape(units.shape).movedim(-1, unit)
