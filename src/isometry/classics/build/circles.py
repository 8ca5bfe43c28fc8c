"""The trainings of the visual tutorial: small networks on two concentric circles, in Keras' settings."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import repeat
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from isometry.classics.build import data, networks
from isometry.network.experiment import Experiment

__all__ = ["HASTE", "INITIALISATIONS", "accuracies", "deep", "losses", "points", "shallow", "untrained"]

INITIALISATIONS: dict[str, Callable[[Tensor], object]] = {
    "N(0, 1)": lambda weight: nn.init.normal_(weight, 0.0, 1.0),
    "Glorot": nn.init.xavier_uniform_,
    "He": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
}
"""Ways to fill a weight matrix; biases start at 0. Glorot's is the uniform form, which Keras takes by default."""
HASTE = 4
"""For tests: so many times fewer epochs at so many times the rate. Adam's and RMSprop's steps are as large as the rate,
so about the same way is gone."""
DEEP = (2, 5, 5, 5, 5, 1)
"""Widths of the named network: the point, four hidden layers, the output."""


def shallow(activation: str, *, hidden: int, epochs: int, haste: int = 1) -> Experiment:
    """Hidden layers of 5 units with Glorot's uniform weights, trained by Adam as Keras has it."""
    return _experiment(
        (2, *[5] * hidden, 1),
        activation,
        repeat("Glorot"),
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3 * haste, eps=1e-7, fused=True),
        epochs=epochs // haste,
    )


def deep(activation: str, initialisation: str | Sequence[str], *, epochs: int, haste: int = 1) -> Experiment:
    """Four hidden layers of 5 units with weights of a named kind, trained by RMSprop as Keras 2 has it.

    Of several kinds every call of ``build`` takes the next: many models that ``train_many`` has side by side take
    little longer than a few, since such small layers take their time by the call.

    Both Keras 2 (up to 2.10) and torch divide by √v + ε; from 2.11 on Keras divides by √(v + ε).
    """
    return _experiment(
        DEEP,
        activation,
        repeat(initialisation) if isinstance(initialisation, str) else initialisation,
        optimizer=lambda parameters: torch.optim.RMSprop(parameters, lr=1e-3 * haste, alpha=0.9, eps=1e-7),
        epochs=epochs // haste,
    )


def _experiment(
    widths: Sequence[int],
    activation: str,
    initialisations: Iterable[str],
    *,
    optimizer: Callable[[Any], Any],
    epochs: int,
) -> Experiment:
    left = iter(initialisations)
    return Experiment(
        build=lambda: _named(networks.mlp(widths, activation, initialise=INITIALISATIONS[next(left)])),
        data=points,
        loss_fn=binary_cross_entropy_with_logits,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=32,
    )


def _named(net: nn.Sequential) -> nn.Sequential:
    """The same layers under the names hidden1, hidden2 … and output."""
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    names = {id(layer): f"hidden{place}" for place, layer in enumerate(linear, start=1)}
    names[id(linear[-1])] = "output"
    return nn.Sequential(
        OrderedDict(
            (names.get(id(layer), f"{type(layer).__name__.lower()}{place}"), layer) for place, layer in enumerate(net)
        )
    )


@cache
def points(seed: int) -> tuple[Tensor, Tensor]:
    """A seed's own draw of the points, as every run of the tutorial has its own."""
    return data.circles(seed=seed)


def accuracies(models: Iterable[nn.Module], seeds: Iterable[int]) -> list[float]:
    """Share of the training points on the right side, as the tutorial counts it, for each seed's model."""
    return [_accuracy(model, *points(seed)) for model, seed in zip(models, seeds, strict=True)]


def _accuracy(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    with torch.no_grad():
        return float(((model(inputs) > 0) == (targets > 0.5)).float().mean())


def losses(models: Iterable[nn.Module], seeds: Iterable[int]) -> list[float]:
    """Loss over all training points at once, for each seed's model."""
    found = []
    with torch.no_grad():
        for model, seed in zip(models, seeds, strict=True):
            inputs, targets = points(seed)
            found.append(float(binary_cross_entropy_with_logits(model(inputs), targets)))
    return found


def untrained(experiment: Experiment, seeds: Iterable[int]) -> tuple[nn.Module, ...]:
    """The models of many seeds as they are before training."""
    found = []
    with torch.random.fork_rng():
        for seed in seeds:
            torch.manual_seed(seed)
            found.append(experiment.build())
    return tuple(found)
