"""Norms and skips that begin by changing nothing: what they add is multiplied by α, which is learned from 0 on.

To who follows a forward pass a gated norm is a norm, for it is one by its class and ends in one operation.

Sources: Bachlechner et al. 2020, "ReZero is all you need", equation 1, De & Smith 2020, section 3, for skips; here the
same for norms. Chen et al. 2016, "Net2Net", on changes that preserve the function.
"""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["GATED", "Gated", "GatedSkip"]


def _alpha() -> nn.Parameter:
    """It has a dimension, for optimisers and ways of sharding that know no parameters without one. shape (1,)"""
    return nn.Parameter(torch.zeros(1))


class GatedSkip(nn.Module):
    """h + α·x."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = _alpha()

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        return h + self.alpha.to(h.dtype) * x.to(h.dtype)

    def extra_repr(self) -> str:
        return "h + alpha * x, alpha from 0 on"


class Gated(nn.Module):
    """z + α·(N(z) - z), with the norm N of the class that stands beside this one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.alpha = _alpha()

    def forward(self, z: Tensor) -> Tensor:
        normalised = super().forward(z)
        wide = torch.promote_types(z.dtype, normalised.dtype)  # autocast may normalise in another precision
        return torch.lerp(z.to(wide), normalised.to(wide), self.alpha.to(wide)).to(z.dtype)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, z + alpha * (norm(z) - z), alpha from 0 on"


class GatedLayerNorm(Gated, nn.LayerNorm): ...


class GatedGroupNorm(Gated, nn.GroupNorm): ...


class GatedRMSNorm(Gated, nn.RMSNorm): ...


class GatedBatchNorm1d(Gated, nn.BatchNorm1d): ...


class GatedBatchNorm2d(Gated, nn.BatchNorm2d): ...


class GatedBatchNorm3d(Gated, nn.BatchNorm3d): ...


GATED: dict[type[nn.Module], type[Gated]] = {
    nn.LayerNorm: GatedLayerNorm,
    nn.GroupNorm: GatedGroupNorm,
    nn.RMSNorm: GatedRMSNorm,
    nn.BatchNorm1d: GatedBatchNorm1d,
    nn.BatchNorm2d: GatedBatchNorm2d,
    nn.BatchNorm3d: GatedBatchNorm3d,
}
"""By the norm that stands in them."""
