"""Trains an ``Experiment``: one model under watch, or many seeds of it at once.

Same seed, same numbers: the seed decides the initial weights and the order of the data, whichever way it is trained.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from isometry.adapters.torch.roots import uncompiled
from isometry.adapters.torch.watch import TorchWatch, watch
from isometry.errors import IsometryError
from isometry.history.run import Run
from isometry.network.experiment import Experiment

__all__ = ["Trained", "TrainedMany", "batches_of", "first_batch", "sets", "train", "train_many"]

Floats = NDArray[np.float64]


class Sets(NamedTuple):
    """What to train on, and what to validate on if that is known."""

    training: Any
    validation: Any


@dataclass(frozen=True, slots=True)
class Trained:
    """One training that has ended."""

    model: nn.Module
    losses: Floats
    """Mean over the batches of each epoch. shape (epochs,)"""
    metric: float | None
    run: Run | None


@dataclass(frozen=True, slots=True)
class TrainedMany:
    """One experiment trained from several seeds; the layers are those that have a weight matrix, input first."""

    seeds: tuple[int, ...]
    layers: tuple[str, ...]
    losses: Floats
    """Mean over the batches of each epoch. shape (seeds, epochs)"""
    metrics: Floats
    """NaN where the experiment has no metric. shape (seeds,)"""
    weight_mean: Floats
    """Before training and after each epoch. shape (seeds, epochs + 1, layers)"""
    weight_std: Floats
    gradient_mean: Floats
    """Of the last batch of each epoch. shape (seeds, epochs, layers)"""
    gradient_std: Floats
    models: tuple[nn.Module, ...]
    """As they have become, ready to be evaluated."""


def train(
    experiment: Experiment,
    *,
    seed: int = 0,
    run: str | Path | None = None,
    every: int | None = None,
    signals: Sequence[str] | None = None,
    after_epoch: Callable[[int, nn.Module], Mapping[str, float]] | None = None,
    events: Mapping[str, Mapping[str, Any]] | None = None,
) -> Trained:
    """Train once from a seed; the caller's random numbers stay as they were.

    Args:
        experiment: what to train.
        seed: of initial weights and of the order of the data.
        run: the folder to keep a watched run in; without it nothing watches.
        every: record each so many steps; by default as the budget of a watch allows.
        signals: names of the signals to keep; all if none are named.
        after_epoch: gets the number of the epoch that has ended and the model; what it returns is logged.
        events: what a watched run is told before its first step, by kind.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = uncompiled(experiment.build())
        optimizer = experiment.optimizer(model.parameters())
        batches = _batches(sets(experiment.data).training, experiment.batch_size, [seed])
        losses = np.full(experiment.epochs, np.nan)
        watching: AbstractContextManager[TorchWatch | None] = (
            watch(model, optimizer, run=run, every=every, signals=signals) if run is not None else nullcontext()
        )
        with watching as open_watch:
            if open_watch is not None:
                for kind, facts in (events or {}).items():
                    open_watch.note(kind, **facts)
            for epoch in range(experiment.epochs):
                model.train()
                heard = []
                for inputs, targets in batches():
                    optimizer.zero_grad()
                    loss = experiment.loss_fn(model(inputs[0]), targets[0])
                    loss.backward()
                    optimizer.step()
                    heard.append(loss.detach())
                losses[epoch] = float(torch.stack(heard).mean())
                logged = after_epoch(epoch, model) if after_epoch is not None else {}
                if open_watch is not None and logged:
                    open_watch.log(**logged)
        model.eval()
        metric = experiment.metric(model) if experiment.metric is not None else None
    return Trained(model, losses, metric, open_watch.run if open_watch is not None else None)


def first_batch(experiment: Experiment, seed: int) -> tuple[Any, Any]:
    """Inputs and targets of the first step of a training from ``seed``."""
    for batch in batches_of(sets(experiment.data).training, experiment.batch_size, seed):
        return batch
    raise IsometryError("data: there is no batch in it; at least one is needed.")


def batches_of(data: Any, batch_size: int, seed: int) -> Iterator[tuple[Any, Any]]:
    """Inputs and targets of the first epoch of a training on these data from ``seed``, batch by batch."""
    for inputs, targets in _batches(data, batch_size, [seed])():
        yield inputs[0], targets[0]


def train_many(
    experiment: Experiment,
    seeds: Iterable[int],
    *,
    after_epoch: Callable[[int, Sequence[nn.Module]], None] | None = None,
) -> TrainedMany:
    """Train from many seeds at once, as so many models side by side in every tensor.

    Optimisers that treat each element by itself (SGD, RMSprop, Adam …) give what so many trainings one after another
    would, up to rounding; those that look at all parameters together (clipping by the global norm, LBFGS) do not.

    Args:
        experiment: what to train.
        seeds: one training each, as ``train`` has them.
        after_epoch: gets the number of the epoch that has ended and the models as they are then, to be evaluated.
    """
    seeds = tuple(seeds)
    with torch.random.fork_rng():
        models = []
        for seed in seeds:
            torch.manual_seed(seed)
            models.append(experiment.build().train())
        parameters, buffers = stack_module_state(models)
        optimizer = experiment.optimizer(list(parameters.values()))
        names = [name for name, value in models[0].named_parameters() if value.dim() > 1]
        batches = _batches(sets(experiment.data).training, experiment.batch_size, list(seeds))
        skeleton = models[0]

        def loss(own: Any, kept: Any, inputs: Tensor, targets: Tensor) -> Any:
            return experiment.loss_fn(functional_call(skeleton, (own, kept), (inputs,)), targets)

        each_loss = torch.vmap(loss, randomness="different")
        epochs = experiment.epochs
        kept = _Kept(len(seeds), epochs, len(names))
        kept.note_weights(0, [parameters[name] for name in names])
        for epoch in range(epochs):
            heard = []
            for inputs, targets in batches():
                optimizer.zero_grad()
                losses = each_loss(parameters, buffers, inputs, targets)
                losses.sum().backward()
                optimizer.step()
                heard.append(losses.detach())
            kept.losses[:, epoch] = torch.stack(heard).mean(0).double().numpy()
            kept.note_weights(epoch + 1, [parameters[name] for name in names])
            kept.note_gradients(epoch, [parameters[name].grad for name in names])
            if after_epoch is not None:
                _take_over(models, parameters, buffers)
                after_epoch(epoch, tuple(model.eval() for model in models))
                skeleton.train()
        metrics = np.full(len(seeds), np.nan)
        _take_over(models, parameters, buffers)
        if experiment.metric is not None:
            metrics[:] = [experiment.metric(model.eval()) for model in models]
    return TrainedMany(
        seeds=seeds,
        layers=tuple(name.rpartition(".")[0] or name for name in names),
        losses=kept.losses,
        metrics=metrics,
        weight_mean=kept.weight_mean,
        weight_std=kept.weight_std,
        gradient_mean=kept.gradient_mean,
        gradient_std=kept.gradient_std,
        models=tuple(model.eval() for model in models),
    )


class _Kept:
    """Statistics of many trainings, filled in as they go on."""

    def __init__(self, seeds: int, epochs: int, layers: int) -> None:
        self.losses = np.full((seeds, epochs), np.nan)
        self.weight_mean = np.full((seeds, epochs + 1, layers), np.nan)
        self.weight_std = np.full((seeds, epochs + 1, layers), np.nan)
        self.gradient_mean = np.full((seeds, epochs, layers), np.nan)
        self.gradient_std = np.full((seeds, epochs, layers), np.nan)

    def note_weights(self, place: int, weights: list[Tensor]) -> None:
        self.weight_mean[:, place], self.weight_std[:, place] = _mean_and_std(weights)

    def note_gradients(self, place: int, gradients: list[Tensor | None]) -> None:
        found = [gradient for gradient in gradients if gradient is not None]
        if len(found) == len(gradients):
            self.gradient_mean[:, place], self.gradient_std[:, place] = _mean_and_std(found)


def _mean_and_std(tensors: list[Tensor]) -> tuple[Floats, Floats]:
    """Of each model's own matrix. shapes (seeds, layers)"""
    flat = [tensor.detach().flatten(1).double() for tensor in tensors]
    mean = torch.stack([values.mean(1) for values in flat], dim=1)
    std = torch.stack([values.std(1, correction=0) for values in flat], dim=1)
    return mean.numpy(), std.numpy()


def _take_over(models: Sequence[nn.Module], parameters: dict[str, Any], buffers: dict[str, Any]) -> None:
    """Give every model its own part of the stacked tensors."""
    with torch.no_grad():
        for place, model in enumerate(models):
            for name, value in (*model.named_parameters(), *model.named_buffers()):
                value.copy_((parameters if name in parameters else buffers)[name][place])


# The data -------------------------------------------------------------------------------------------------------------


def sets(data: Any) -> Sets:
    """Training and validation data of an experiment; the latter None where it has none."""
    if isinstance(data, tuple | list) and len(data) == 2 and not all(_is_array(part) for part in data):
        return Sets(*data)
    return Sets(data, None)


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


Batches = Callable[[], Iterator[tuple[Tensor, Tensor]]]


def _batches(data: Any, size: int, seeds: list[int]) -> Batches:
    """One epoch of batches after another, those of all seeds stacked. shapes (seeds, batch, …)"""
    if isinstance(data, tuple | list) and len(data) == 2 and all(_is_array(part) for part in data):
        inputs, targets = (torch.as_tensor(part) for part in data)
        return _shuffled(inputs, targets, size, seeds)
    if callable(data) and not isinstance(data, Iterable) and not hasattr(data, "__getitem__"):
        drawn = [data(seed) for seed in seeds]
        inputs, targets = (torch.stack([torch.as_tensor(part) for part in parts]) for parts in zip(*drawn, strict=True))
        return _shuffled(inputs, targets, size, seeds, own=True)
    if isinstance(data, list):
        return lambda: _repeated(data, len(seeds))
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        pairs = [data[index] for index in range(len(data))]
        inputs = torch.stack([torch.as_tensor(pair[0]) for pair in pairs])
        targets = torch.stack([torch.as_tensor(pair[1]) for pair in pairs])
        return _shuffled(inputs, targets, size, seeds)
    if not isinstance(data, Iterable) or isinstance(data, Iterator):
        raise IsometryError(
            f"data: a {type(data).__name__} was given; (inputs, targets), a dataset with a length, or batches that can "
            "be gone through again and again are needed. Put the batches that a generator yields into a list."
        )
    return lambda: _repeated(data, len(seeds))


def _shuffled(inputs: Tensor, targets: Tensor, size: int, seeds: list[int], *, own: bool = False) -> Batches:
    """Each seed's own order of the data that all share; of its own data, stacked along the first axis, with ``own``."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    count = inputs.shape[1] if own else len(inputs)
    seed_of = torch.arange(len(seeds))[:, None]

    def epoch() -> Iterator[tuple[Tensor, Tensor]]:
        orders = torch.stack([torch.randperm(count, generator=generator) for generator in generators])
        for chosen in orders.split(size, dim=1):
            yield (inputs[seed_of, chosen], targets[seed_of, chosen]) if own else (inputs[chosen], targets[chosen])

    return epoch


def _repeated(batches: Iterable[Any], times: int) -> Iterator[tuple[Tensor, Tensor]]:
    for inputs, targets in batches:
        yield inputs.expand(times, *inputs.shape), targets.expand(times, *targets.shape)
