"""Small trainings that are sick in one way each; a few hundred steps on the digits or on numbers that are drawn.

A score is the share of right answers, or of the targets' variance that is explained, on data that were not trained on:
1 is perfect. It is NaN where the network gives anything but numbers.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isometry.adapters.torch.trials import TorchTrainer
from isometry.classics.build.data import Split, digits
from isometry.classics.build.networks import mlp
from isometry.network.edits import Edit
from isometry.network.experiment import Experiment
from isometry.network.trial import Course

__all__ = ["DISEASES", "FirstWord", "Residual", "Task", "explained", "right", "trained"]

Optimizer = Callable[[Iterable[Any]], torch.optim.Optimizer]
PIXELS = 4080.0
"""Greatest value of an image of 12 bits whose last four are empty: 16 · 255."""
EVERY = 1
"""Every step is recorded: what one bad batch does shows between two records no more."""


def sgd(rate: float, *, momentum: float = 0.0) -> Optimizer:
    return lambda parameters: torch.optim.SGD(parameters, lr=rate, momentum=momentum)


def adam(rate: float) -> Optimizer:
    return lambda parameters: torch.optim.Adam(parameters, lr=rate)


# Scores ---------------------------------------------------------------------------------------------------------------


def right(inputs: Tensor, targets: Tensor) -> Callable[[nn.Module], float]:
    """Share of the samples that a model answers right."""

    def metric(model: nn.Module) -> float:
        with torch.no_grad():
            answers = model(inputs)
        return float((answers.argmax(-1) == targets).double().mean()) if answers.isfinite().all() else math.nan

    return metric


def explained(inputs: Tensor, targets: Tensor) -> Callable[[nn.Module], float]:
    """Share of the variance of the targets that a model explains; 0 where their mean would answer better."""

    def metric(model: nn.Module) -> float:
        with torch.no_grad():
            answers = model(inputs)
        if not answers.isfinite().all():
            return math.nan
        left = (answers - targets).double().square().mean() / targets.double().var(correction=0)
        return max(0.0, 1.0 - float(left))

    return metric


# Digits ---------------------------------------------------------------------------------------------------------------


@cache
def _digits() -> Split:
    return digits()


def on_digits(
    build: Callable[[], nn.Module],
    optimizer: Optimizer,
    *,
    epochs: int = 8,
    seen: Callable[[Tensor], Tensor] = lambda images: images,
    loss_fn: Callable[[Any, Any], Any] = F.cross_entropy,
) -> Experiment:
    """Handwritten digits in batches of 64, as ``seen`` has them."""
    found = _digits()
    return Experiment(
        build=build,
        data=(seen(found.inputs), found.targets),
        loss_fn=loss_fn,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=64,
        metric=right(seen(found.test_inputs), found.test_targets),
    )


def layers(hidden: int, *, width: int = 64) -> list[int]:
    return [64, *[width] * hidden, 10]


def small(weight: Tensor) -> Tensor:
    return nn.init.normal_(weight, std=0.02)


class Residual(nn.Module):
    """Blocks h + W₂ φ(W₁ h), all weights of variance 2 / n (He), and no norm."""

    def __init__(self, blocks: int, *, width: int = 64) -> None:
        super().__init__()
        self.read = nn.Linear(64, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(blocks)
        )
        self.output = nn.Linear(width, 10)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Images in, logits out. shapes (batch, 64), (batch, 10)"""
        signal = self.read(images)
        for block in self.blocks:
            signal = signal + block(signal)
        logits: Tensor = self.output(signal)
        return logits


def raw(images: Tensor) -> Tensor:
    """Pixels as a sensor gives them, from 0 to 4,080."""
    return (images - images.min()) / (images.max() - images.min()) * PIXELS


def frozen() -> nn.Module:
    """A network whose first two layers are frozen as they were drawn: they lead everything through six units."""
    network = mlp([64, 6, 64, 64, 10], "relu")
    for place in (0, 2):
        network[place].requires_grad_(False)
    return network


def times(factor: float) -> Callable[[Any, Any], Any]:
    """Cross-entropy multiplied by a number."""
    return lambda output, targets: factor * F.cross_entropy(output, targets)


class Float16(nn.Module):
    """Computes in float16 under autocast, with weights in float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, dtype=torch.float16):
            answers: Tensor = self.network(images).float()
        return answers


# Words ----------------------------------------------------------------------------------------------------------------


class FirstWord(nn.Module):
    """Reads words one after another and says at the end which one came first."""

    def __init__(self, past: Callable[..., nn.RNNBase], *, words: int = 8, width: int = 32) -> None:
        super().__init__()
        self.words = nn.Embedding(words, 8)
        self.past = past(8, width, batch_first=True)
        self.leave = nn.Linear(width, words)

    def forward(self, words: Tensor) -> Tensor:
        """Words in, logits of the first one out. shapes (batch, time), (batch, words)"""
        logits: Tensor = self.leave(self.past(self.words(words))[0][:, -1])
        return logits


def first_words(past: Callable[..., nn.RNNBase], optimizer: Optimizer, *, length: int, epochs: int) -> Experiment:
    """One word of eight comes first, and the same filler from then on."""
    words = torch.zeros(768, length, dtype=torch.int64)
    words[:, 0] = torch.randint(0, 8, (768,), generator=torch.Generator().manual_seed(0))
    targets = words[:, 0].clone()
    return Experiment(
        build=lambda: FirstWord(past),
        data=(words[:512], targets[:512]),
        loss_fn=F.cross_entropy,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=32,
        metric=right(words[512:], targets[512:]),
    )


# Numbers --------------------------------------------------------------------------------------------------------------


THREE = [3, 32, 32, 1]
"""Widths of a network for three columns."""


def prices(optimizer: Optimizer, *, mean: float, deviation: float, off: float = 0.0) -> Experiment:
    """A smooth function of three columns, in the units of what it stands for.

    Args:
        optimizer: how it is trained.
        mean: of the targets.
        deviation: of the targets.
        off: how many deviations three of the 512 targets for training are off.
    """
    inputs = torch.randn(768, 3, generator=torch.Generator().manual_seed(0))
    bare = torch.sin(inputs[:, :1]) + 0.5 * inputs[:, 1:2] * inputs[:, 2:]
    targets = mean + deviation * bare / bare.std()
    given = targets[:512].clone()
    given[1::250] += off * deviation
    return Experiment(
        build=lambda: mlp(THREE, "tanh"),
        data=(inputs[:512], given),
        loss_fn=F.mse_loss,
        optimizer=optimizer,
        epochs=25,
        batch_size=32,
        metric=explained(inputs[512:], targets[512:]),
    )


# All of them ----------------------------------------------------------------------------------------------------------

DISEASES: Mapping[str, Callable[[], Experiment]] = MappingProxyType(
    {
        "6 layers of sigmoid": lambda: on_digits(lambda: mlp(layers(6), "sigmoid"), adam(1e-3)),
        "8 layers of tanh, weights of N(0, 0.02²)": lambda: on_digits(
            lambda: mlp(layers(8), "tanh", initialise=small), adam(1e-3)
        ),
        "16 layers of ReLU": lambda: on_digits(lambda: mlp(layers(16), "relu"), adam(1e-3), epochs=6),
        "12 residual blocks without a norm": lambda: on_digits(lambda: Residual(12), adam(1e-3), epochs=5),
        "plain recurrent layer, 15 words": lambda: first_words(nn.RNN, adam(1e-3), length=15, epochs=20),
        "LSTM, 30 words": lambda: first_words(nn.LSTM, adam(1e-2), length=30, epochs=15),
        "ReLU in front of targets of −0.5 ± 1": lambda: replace(
            prices(adam(3e-3), mean=-0.5, deviation=1.0), build=lambda: nn.Sequential(*mlp(THREE, "tanh"), nn.ReLU())
        ),
        "targets of 5,000 ± 900": lambda: prices(adam(3e-3), mean=5000.0, deviation=900.0),
        "pixels from 0 to 4,080": lambda: on_digits(lambda: mlp(layers(2), "relu"), sgd(0.01, momentum=0.9), seen=raw),
        "Adam at a rate of 0.3": lambda: on_digits(lambda: mlp(layers(3), "relu"), adam(0.3)),
        "Adam at a rate of 0.5, one layer of tanh": lambda: on_digits(lambda: mlp(layers(1), "tanh"), adam(0.5)),
        "Adam at a rate of 0.3, layer norms": lambda: on_digits(
            lambda: mlp(layers(4), "relu", after=nn.LayerNorm), adam(0.3), epochs=12
        ),
        "SGD at a rate of 0.0001": lambda: on_digits(lambda: mlp(layers(2), "relu"), sgd(1e-4, momentum=0.9)),
        "a loss times 0.0001": lambda: on_digits(lambda: mlp(layers(3), "relu"), sgd(0.05), loss_fn=times(1e-4)),
        "a loss times 1e-9": lambda: on_digits(lambda: mlp(layers(2), "relu"), adam(1e-3), loss_fn=times(1e-9)),
        "float16, a loss times 1e-6": lambda: on_digits(
            lambda: Float16(mlp(layers(2), "relu")), sgd(5e4, momentum=0.9), loss_fn=times(1e-6)
        ),
        "float16 behind pixels of a million": lambda: on_digits(
            lambda: Float16(mlp(layers(2), "relu", after=nn.LayerNorm)),
            sgd(0.05, momentum=0.9),
            seen=lambda images: 256 * raw(images),
        ),
        "every 250th target 300 deviations off": lambda: prices(sgd(0.05), mean=0.0, deviation=1.0, off=300.0),
        "two layers frozen by mistake": lambda: on_digits(frozen, adam(1e-3)),
    }
)


# Training them --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Task:
    """One training of one disease."""

    disease: str
    edits: tuple[Edit, ...]
    seed: int
    run: Path | None = None
    """Where a watched run is kept; without it nothing watches."""


def trained(task: Task) -> Course:
    """Carry it out, in whichever process."""
    return TorchTrainer(DISEASES[task.disease](), every=EVERY).train(task.edits, seed=task.seed, run=task.run)
