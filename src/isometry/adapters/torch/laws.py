"""The laws that weights are drawn from.

Numbers are drawn on the CPU, in single precision at least, so that one seed gives the same weights on every device.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["LAWS", "Block", "Law", "flat_orthogonal", "glorot", "normal"]

TRUNCATED = 0.8796256610342398
"""Standard deviation of a standard normal law that is cut at ±2."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One matrix or kernel that signals are multiplied by: a gate, a group of a convolution, or the whole parameter."""

    values: Tensor
    """A view of the parameter. shape (outputs, inputs, *kernel)"""
    fan_in: float
    """Connections into a unit; those of a transposed convolution are spread over stride times as many units."""
    fan_out: float


Law = Callable[[Block, float, torch.Generator], Tensor]
"""A block, σ_w or the like, a generator → values of the block's shape."""


def _empty(block: Block) -> Tensor:
    return torch.empty(block.values.shape, dtype=torch.promote_types(block.values.dtype, torch.float32))


def _normal_of(std: float, block: Block, generator: torch.Generator) -> Tensor:
    return _empty(block).normal_(0.0, std, generator=generator)


def normal(block: Block, gain: float, generator: torch.Generator) -> Tensor:
    """N(0, gain² / fan_in)."""
    return _normal_of(gain / math.sqrt(block.fan_in), block, generator)


def _normal_by_fan_out(block: Block, gain: float, generator: torch.Generator) -> Tensor:
    return _normal_of(gain / math.sqrt(block.fan_out), block, generator)


def glorot(block: Block, gain: float, generator: torch.Generator) -> Tensor:
    """N(0, 2 gain² / (fan_in + fan_out))."""
    return _normal_of(gain * math.sqrt(2 / (block.fan_in + block.fan_out)), block, generator)


def _glorot_uniform(block: Block, gain: float, generator: torch.Generator) -> Tensor:
    reach = gain * math.sqrt(6 / (block.fan_in + block.fan_out))
    return _empty(block).uniform_(-reach, reach, generator=generator)


def _truncated_normal(block: Block, gain: float, generator: torch.Generator) -> Tensor:
    asked = gain / math.sqrt(block.fan_in) / TRUNCATED
    return nn.init.trunc_normal_(_empty(block), 0.0, asked, -2 * asked, 2 * asked, generator=generator)


def flat_orthogonal(block: Block, gain: float, generator: torch.Generator) -> Tensor:
    """Every singular value is ``gain``; a kernel counts as part of the inputs."""
    return nn.init.orthogonal_(_empty(block), gain, generator=generator)


def _orthogonal(block: Block, gain: float, generator: torch.Generator) -> Tensor:
    """The same of the one tap in the middle of a kernel, and 0 around it: delta-orthogonal, Xiao et al. 2018."""
    kernel = block.values.shape[2:]
    values = _empty(block).zero_()
    tap = values
    for size in reversed(kernel):
        tap = tap[..., size // 2]
    tap.copy_(nn.init.orthogonal_(torch.empty_like(tap), gain, generator=generator))
    return values


LAWS: dict[str, tuple[Law, float | None]] = {
    "lecun": (normal, 1.0),
    "he": (normal, math.sqrt(2)),
    "he_fan_out": (_normal_by_fan_out, math.sqrt(2)),
    "glorot": (glorot, 1.0),
    "glorot_uniform": (_glorot_uniform, 1.0),
    "truncated_normal": (_truncated_normal, 1.0),
    "orthogonal": (_orthogonal, 1.0),
    "critical": (normal, None),
}
"""Law and gain of every scheme that needs no batch; None where the caller has to know the gain."""
