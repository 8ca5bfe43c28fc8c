"""Plain and residual networks of the same layers, on handwritten digits."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isometry.classics.build.before_after import accuracy
from isometry.classics.build.data import Split, digits
from isometry.network.experiment import Experiment

__all__ = ["KINDS", "WIDTH", "Block", "cosines", "network", "on_digits"]

WIDTH = 32
KINDS = ("plain", "plain, layer norm", "skips", "skips, scaled", "skips, layer norm")


class Block(nn.Module):
    """f(x) = W φ(x), or x + s f(x); φ is ReLU, behind layer normalisation if that is asked for."""

    def __init__(self, *, skip: bool, norm: bool, scale: float = 1.0) -> None:
        super().__init__()
        self.skip, self.scale = skip, scale
        self.norm = nn.LayerNorm(WIDTH) if norm else nn.Identity()
        self.linear = he(nn.Linear(WIDTH, WIDTH), gain=2.0)

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.linear(torch.relu(self.norm(x)))
        if not self.skip:
            return branch
        return x + (branch if self.scale == 1 else self.scale * branch)


def he(layer: nn.Linear, *, gain: float) -> nn.Linear:
    """Weights of variance gain / n, no bias; 2 behind a ReLU, 1 for what reads the data."""
    nn.init.normal_(layer.weight, std=(gain / layer.in_features) ** 0.5)
    nn.init.zeros_(layer.bias)
    return layer


def network(kind: str, *, depth: int, inputs: int = 64, outputs: int = 10) -> nn.Sequential:
    """So many weighted layers: one that reads the data, blocks of one layer each, the output.

    Args:
        kind: one of ``KINDS``; ``scaled`` multiplies every branch by 1 / √blocks.
        depth: weighted layers.
        inputs: numbers in a row of data.
        outputs: logits.
    """
    blocks = depth - 2
    skip, norm = kind.startswith("skips"), kind.endswith("norm")
    scale = blocks**-0.5 if kind.endswith("scaled") else 1.0
    return nn.Sequential(
        he(nn.Linear(inputs, WIDTH), gain=1.0),
        *(Block(skip=skip, norm=norm, scale=scale) for _ in range(blocks)),
        nn.LayerNorm(WIDTH) if norm else nn.Identity(),
        nn.ReLU(),
        he(nn.Linear(WIDTH, outputs), gain=2.0),
    )


def on_digits(kind: str, *, depth: int, epochs: int, rows: int | None = None) -> Experiment:
    """Adam at 1e-3, batches of 64, cross-entropy."""
    found = digits()
    data = Split(found.inputs[:rows], found.targets[:rows], found.test_inputs, found.test_targets)
    return Experiment(
        build=lambda: network(kind, depth=depth),
        data=data.training,
        loss_fn=nn.functional.cross_entropy,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3, fused=True),
        epochs=epochs,
        batch_size=64,
        metric=accuracy(data),
    )


def cosines(model: nn.Sequential, inputs: Tensor) -> NDArray[np.float64]:
    """Mean cosine of two rows' signals behind the first layer and each block. shape (blocks + 1,)"""
    found: list[float] = []
    signal = inputs
    with torch.no_grad():
        for part in model:
            signal = part(signal)
            if isinstance(part, Block) or not found:
                # Sizes may lie far apart, and the product of two of them beyond float32.
                unit = nn.functional.normalize(signal.double() / signal.double().abs().amax().clamp_min(1e-300), dim=1)
                rows = len(unit)
                found.append(float(((unit @ unit.T).sum() - unit.square().sum()) / (rows * (rows - 1))))
    return np.array(found)
