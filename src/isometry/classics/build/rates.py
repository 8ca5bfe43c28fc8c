"""One small network trained at many learning rates, with the relative size of every step."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from isometry.classics.build.data import digits
from isometry.classics.build.networks import mlp
from isometry.network.experiment import Experiment

__all__ = ["OPTIMISERS", "Measuring", "on_digits"]

OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam}


class Measuring:
    """An optimiser of stacked models that notes how far each step moves each model's weight matrices."""

    def __init__(self, optimizer: torch.optim.Optimizer, parameters: Iterable[Tensor]) -> None:
        self.optimizer = optimizer
        self.weights = [parameter for parameter in parameters if parameter.dim() > 2]
        self.ratios: list[Tensor] = []
        """rms ΔW / rms W of each step. shape (models, matrices)"""

    def zero_grad(self) -> None:
        """As the optimiser."""
        self.optimizer.zero_grad()

    @torch.no_grad()
    def step(self) -> None:
        """As the optimiser."""
        before = [weight.clone() for weight in self.weights]
        self.optimizer.step()
        moved = [new - old for new, old in zip(self.weights, before, strict=True)]
        self.ratios.append(torch.stack([_rms(a) / _rms(b) for a, b in zip(moved, before, strict=True)], dim=1))


def _rms(stacked: Tensor) -> Tensor:
    """Of each model's own matrix. shape (models,)"""
    return stacked.double().flatten(1).square().mean(1).sqrt()


def on_digits(optimizer: Callable[[Any], Any], *, epochs: int) -> Experiment:
    """64 pixels, two hidden layers of 32 with ReLU and He's weights, 10 classes; batches of 64."""
    return Experiment(
        build=lambda: mlp([64, 32, 32, 10], "relu", initialise=_he),
        data=digits().training,
        loss_fn=nn.functional.cross_entropy,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=64,
    )


def _he(weight: Tensor) -> Tensor:
    return nn.init.kaiming_normal_(weight, nonlinearity="relu")
