"""Trains an ``Experiment`` with changes, once for each seed and arm of a trial."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from isometry.adapters.torch.curvature import sharpness_of
from isometry.adapters.torch.edit import edit
from isometry.adapters.torch.inspector import own_numbers
from isometry.adapters.torch.loss_scale import loss_scale_of
from isometry.adapters.torch.parted import Parted, parted
from isometry.adapters.torch.precision import set_precision
from isometry.adapters.torch.retuning import retuned
from isometry.adapters.torch.roots import uncompiled
from isometry.adapters.torch.scaled_passes import closed_at_the_end, open_scaling
from isometry.adapters.torch.standardising import standardise
from isometry.adapters.torch.train import Trained, batches_of, first_batch, sets, train
from isometry.errors import IsometryError, UnsupportedModel
from isometry.history.recorder import fresh_folder
from isometry.network.edits import Edit, TrainingEdit
from isometry.network.experiment import Experiment
from isometry.network.trial import Course

__all__ = ["TorchTrainer", "next_number"]

DATA_SEED = 0
"""Where every seed draws data of its own, those of this one tell shapes, means and deviations."""


class TorchTrainer:
    """Trains one experiment with some changes; pickled and sent elsewhere if the experiment can be.

    Args:
        experiment: as it is without changes.
        every: a watched training records each so many steps; by default as the budget of a watch allows.
    """

    def __init__(self, experiment: Experiment, *, every: int | None = None) -> None:
        self.experiment = experiment
        self.every = every

    def train(self, edits: Sequence[Edit], *, seed: int, run: Path | None = None) -> Course:
        """One training, with the numbers that ``train(self.treated(edits), seed=seed)`` gives.

        Same seed, same initial weights before the changes, same order of the data; the caller's random numbers stay as
        they were.

        Args:
            edits: changes; none for the arm that is left untreated.
            seed: of initial weights and of the order of the data.
            run: the folder to keep a watched run in; without it nothing watches.

        Raises:
            CannotEdit: a change cannot be made in this network or with these data.
            Exception: whatever the user's functions raise while nothing is changed. Of a treated training it becomes
                the course's ``fault``.
        """
        folder = fresh_folder(Path(run)) if run is not None else None
        treated = self.treated(edits)
        losses, by_metric = _Losses(treated), self.experiment.metric is not None
        treated = replace(treated, loss_fn=losses)
        with closed_at_the_end():
            events = _curvature(self.experiment, seed) if folder is not None and not edits else {}
        started = perf_counter()
        try:
            with closed_at_the_end():
                trained = train(
                    treated, seed=seed, run=folder, every=self.every, after_epoch=losses.epoch_ended, events=events
                )
            score = self._score(trained, seed)
        except IsometryError:
            raise
        except Exception as fault:
            if not edits:
                raise
            kept = folder if folder is not None and folder.exists() else None
            seconds = perf_counter() - started
            fault_told = _in_one_line(fault)
            return Course(
                seed, losses.means, math.nan, kept, seconds, fault_told, steps=losses.steps, by_metric=by_metric
            )
        kept = trained.run.folder if trained.run is not None else None
        seconds = perf_counter() - started
        return Course(seed, trained.losses, score, kept, seconds, steps=losses.steps, by_metric=by_metric)

    def treated(self, edits: Sequence[Edit]) -> Experiment:
        """The experiment with the changes made: ``build`` and ``optimizer`` make them by themselves.

        Raises:
            CannotEdit: an optimiser cannot be changed like this. What a network refuses, ``build`` tells.
        """
        places = parted(edits)
        treated = self.experiment
        if places.network or places.goes_round:
            treated = replace(treated, build=_Build(self.experiment, places))
        if not places.tuning:
            return treated
        return replace(treated, optimizer=_Optimizer(self.experiment.optimizer, places.tuning))

    def paced_by(self, course: Course) -> "TorchTrainer":
        """Itself: an experiment says how long it goes on."""
        return self

    def _score(self, trained: Trained, seed: int) -> float:
        score = trained.metric
        if score is None:
            with own_numbers(seed), torch.no_grad():
                score = -_mean_loss(self.experiment, trained.model, seed)
        score = float(score)
        return score if math.isfinite(score) else math.nan


class _Build:
    """Builds a model and changes it; a class, so that it can be pickled."""

    def __init__(self, experiment: Experiment, places: Parted) -> None:
        self._experiment, self._places = experiment, places

    def __call__(self) -> nn.Module:
        model = uncompiled(self._experiment.build())
        if self._places.network:
            with own_numbers(DATA_SEED):
                inputs, _ = first_batch(self._experiment, DATA_SEED)
            edit(model, self._places.network, batch=inputs, seed=next_number())
        if self._places.standardises:
            training = sets(self._experiment.data).training
            with own_numbers(DATA_SEED):
                batches = batches_of(training, self._experiment.batch_size, DATA_SEED)
                standardise(model, (inputs for inputs, _ in batches))
        if self._places.format is not None:
            set_precision(model, self._places.format)
        return model


class _Optimizer:
    """Makes an optimiser and changes it."""

    def __init__(self, optimizer: Callable[[Any], Any], edits: tuple[TrainingEdit, ...]) -> None:
        self._optimizer, self._edits = optimizer, edits

    def __call__(self, parameters: Any) -> torch.optim.Optimizer:
        made = retuned(self._optimizer(parameters), self._edits)
        scale = loss_scale_of(made)
        if scale is not None:
            open_scaling(made, scale)  # in the user's hands it closes itself when the optimiser is gone
        return made


class _Losses:
    """The experiment's loss function, with the means of the epochs that have ended: a training that fails has those."""

    def __init__(self, experiment: Experiment) -> None:
        self._loss_fn = experiment.loss_fn
        self._heard: list[Tensor] = []
        self.means = np.full(experiment.epochs, np.nan)
        self.steps = 0

    def __call__(self, output: Any, targets: Any) -> Any:
        loss = self._loss_fn(output, targets)
        self._heard.append(loss.detach())
        self.steps += 1
        return loss

    def epoch_ended(self, number: int, model: nn.Module) -> dict[str, float]:
        self.means[number] = float(torch.stack(self._heard).mean())
        self._heard.clear()
        return {}


def _curvature(experiment: Experiment, seed: int) -> dict[str, dict[str, float]]:
    """The event that tells λ of the loss on the first batch; none where no rate is judged by it, or it is not known."""
    with own_numbers(seed):
        try:
            model = experiment.build().train()
            if not isinstance(experiment.optimizer(model.parameters()), torch.optim.SGD):
                return {}
            inputs, targets = first_batch(experiment, seed)
        except Exception:  # noqa: BLE001  the training calls the same functions of the user, and what they raise is told there
            return {}
        try:
            found = sharpness_of(lambda: experiment.loss_fn(model(inputs), targets), list(model.parameters()))
        except UnsupportedModel:
            return {}
        except Exception as fault:  # noqa: BLE001  a rate can be judged without it
            warnings.warn(
                f"The curvature of the loss is not known: {_in_one_line(fault)}", RuntimeWarning, stacklevel=2
            )
            return {}
    return {"curvature": {"sharpness": found.value, "error": found.error, "products": found.rounds}}


def next_number() -> int:
    """A seed that depends on where the global generator stands, which stays there: another one for each build."""
    generator = torch.Generator()
    generator.set_state(torch.get_rng_state())
    return int(torch.randint(2**62, (), generator=generator))


def _mean_loss(experiment: Experiment, model: nn.Module, seed: int) -> float:
    """Over the validation data, or those for training where there are no others; every sample counts the same."""
    data = sets(experiment.data)
    total, count = 0.0, 0
    for inputs, targets in batches_of(
        data.validation if data.validation is not None else data.training, experiment.batch_size, seed
    ):
        rows = len(targets) if targets.dim() else 1
        total += rows * float(experiment.loss_fn(model(inputs), targets))
        count += rows
    return total / count if count else math.nan


def _in_one_line(fault: Exception) -> str:
    return " ".join(f"{type(fault).__name__}: {fault}".split())
