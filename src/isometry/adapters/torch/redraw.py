"""Weights drawn anew from the law that a network's weights look drawn from."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from isometry.adapters.torch import measure

__all__ = ["KEPT", "Law", "draw", "law_of"]

FLATTER_THAN_NORMAL = 2.1
"""Kurtosis below which a law is taken for uniform (1.8) rather than normal (3); a normal one cut at 2σ has 2.37."""
FEW = 32
"""Numbers among which no law can be told."""
DRIFT = 5.0
"""Standard errors by which the mean must differ from 0 to count."""
PROBES = 3
"""Random directions that an orthogonal matrix must not stretch …"""
ISOMETRIC = 1e-3
"""… by more than this part. A random 1000 × 1000 matrix stretches them by some percent."""
SAMPLE = 2**16
"""Entries, spread evenly, from which a law is told: their standard deviation is right to 0.3 %."""
ALIKE = 1e-6
"""Standard deviation, as a part of the mean, up to which all entries are the same but for rounding."""
MOSTLY_ZERO = 0.5
"""Share of exact zeros above which a matrix has a structure that drawing would destroy."""


@dataclass(frozen=True, slots=True)
class Law:
    """What the entries of a weight are drawn from, independently unless it is orthogonal."""

    kind: str
    """``normal``, ``uniform``, ``orthogonal``; ``kept`` where the weight stays as it is."""
    mean: float = 0.0
    std: float = 0.0


KEPT = Law("kept")


def law_of(weight: Tensor) -> Law:
    """The law that a weight's entries look drawn from.

    Constants, masks, identities, and whatever is not finite are kept as they are.
    """
    if weight.dim() < 2 or weight.numel() == 0 or not measure.measurable(weight):
        return KEPT
    values = weight.detach().reshape(-1)
    sample = values[:: -(-len(values) // SAMPLE)].double()
    mean, std = float(sample.mean()), float(sample.std(correction=0))
    if not math.isfinite(mean + std):
        return KEPT
    told = len(sample) >= FEW and std > ALIKE * abs(mean) and float((sample == 0).double().mean()) <= MOSTLY_ZERO
    if not told:
        return Law("kept", mean, std)
    if _is_orthogonal(weight.detach(), std):
        return Law("orthogonal", 0.0, std)
    kurtosis = float(((sample - mean) / std).square().square().mean())
    mean = mean if abs(mean) > DRIFT * std / math.sqrt(len(sample)) else 0.0
    return Law("uniform" if kurtosis < FLATTER_THAN_NORMAL else "normal", mean, std)


def _is_orthogonal(weight: Tensor, std: float) -> bool:
    """Whether the rows, or the columns where they are fewer, are orthogonal and of one length."""
    matrix = weight.flatten(1).float() / std
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(matrix.shape[0], PROBES, generator=generator).to(matrix.device)
    stretched = (matrix.T @ directions).norm(dim=0) / directions.norm(dim=0)
    length = math.sqrt(matrix.shape[1])
    return matrix.shape[0] > 1 and bool(((stretched / length - 1).abs() < ISOMETRIC).all())


@torch.no_grad()
def draw(weight: Tensor, law: Law, generator: torch.Generator) -> None:
    """Put newly drawn entries into a weight."""
    if law.kind == "kept":
        return
    if law.kind == "orthogonal":
        wide = torch.empty(weight.shape, dtype=torch.float32, device=weight.device)  # half precision has no QR
        torch.nn.init.orthogonal_(wide, generator=generator)
        weight.copy_(wide * (law.std * math.sqrt(weight.numel()) / wide.norm()))
    elif law.kind == "uniform":
        reach = math.sqrt(3.0) * law.std
        weight.uniform_(law.mean - reach, law.mean + reach, generator=generator)
    else:
        weight.normal_(law.mean, law.std, generator=generator)
