"""Deep tanh networks of every size of weights, many of them side by side, on handwritten digits."""

from collections.abc import Sequence

import torch
from torch import nn

from isometry.classics.build.before_after import accuracy
from isometry.classics.build.data import digits
from isometry.classics.build.initialising import normal
from isometry.classics.build.networks import mlp
from isometry.network.experiment import Experiment

__all__ = ["WIDTH", "network", "on_digits"]

WIDTH = 64


def network(depth: int, *, sigma_w: float, sigma_b: float) -> nn.Sequential:
    """So many hidden tanh layers; weights are drawn from N(0, σ_w² / n_in), biases from N(0, σ_b²)."""
    model = mlp([64, *[WIDTH] * depth, 10], "tanh", initialise=normal(sigma_w))
    for part in model:
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.bias, 0.0, sigma_b)
    return model


def on_digits(depth: int, sigmas: Sequence[float], *, sigma_b: float, rate: float, epochs: int) -> Experiment:
    """Plain SGD in batches of 32, cross-entropy.

    Every call of ``build`` takes the next σ_w: many seeds of one σ_w after another, trained by ``train_many`` in one
    go, cost little more than a few would, since such small layers take their time by the call.
    """
    left = iter(sigmas)
    data = digits()
    return Experiment(
        build=lambda: network(depth, sigma_w=next(left), sigma_b=sigma_b),
        data=data.training,
        loss_fn=nn.functional.cross_entropy,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=rate),
        epochs=epochs,
        batch_size=32,
        metric=accuracy(data),
    )
