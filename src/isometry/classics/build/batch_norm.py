"""Deep networks with batch normalisation in front of every nonlinearity, with skips and without, on digits."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from isometry.classics.build.data import Split, digits
from isometry.classics.build.initialising import normal
from isometry.network.experiment import Experiment

__all__ = ["ACTIVATIONS", "OPTIMISERS", "TRAINED_WIDTH", "Block", "network", "on_digits"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "linear": nn.Identity}
OPTIMISERS: dict[str, Callable[[Any], Any]] = {
    "SGD at 0.1": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    "Adam at 0.001": lambda parameters: torch.optim.Adam(parameters, lr=1e-3, fused=True),
}
TRAINED_WIDTH = 64


class Block(nn.Module):
    """f(x) = W φ(norm(x)), or x + f(x): δ at the output of W is that of the stream, with a skip and without."""

    def __init__(self, activation: str, *, width: int, gain: float, skip: bool) -> None:
        super().__init__()
        self.skip = skip
        self.norm = nn.BatchNorm1d(width)
        self.activation = ACTIVATIONS[activation]()
        self.linear = nn.Linear(width, width, bias=False)
        normal(gain)(self.linear.weight)

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.linear(self.activation(self.norm(x)))
        return x + branch if self.skip else branch


def network(activation: str, *, depth: int, width: int, gain: float = 1.0, skip: bool = False) -> nn.Sequential:
    """One layer that reads the data, so many blocks, batch norm, φ and the output; weights of N(0, gain² / n_in)."""
    first, last = nn.Linear(64, width, bias=False), nn.Linear(width, 10)
    normal(gain)(first.weight)
    normal(1.0)(last.weight)
    blocks = (Block(activation, width=width, gain=gain, skip=skip) for _ in range(depth))
    return nn.Sequential(first, *blocks, nn.BatchNorm1d(width), ACTIVATIONS[activation](), last)


def on_digits(depth: int, optimiser: str, *, skip: bool, epochs: int) -> Experiment:
    """ReLU networks with one of ``OPTIMISERS``; batches of 64, cross-entropy."""
    data = digits()
    return Experiment(
        build=lambda: network("relu", depth=depth, width=TRAINED_WIDTH, skip=skip),
        data=data.training,
        loss_fn=nn.functional.cross_entropy,
        optimizer=OPTIMISERS[optimiser],
        epochs=epochs,
        batch_size=64,
        metric=_accuracy(data),
    )


def _accuracy(data: Split) -> Callable[[nn.Module], float]:
    """Share of the test images that are classified rightly, normalised by their own statistics.

    Running averages lag behind after a few epochs, and a deep network would be judged by them instead of its weights.
    """

    def measure(model: nn.Module) -> float:
        model.train()
        with torch.no_grad():
            right = model(data.test_inputs).argmax(1) == data.test_targets
        model.eval()
        return float(right.double().mean())

    return measure
