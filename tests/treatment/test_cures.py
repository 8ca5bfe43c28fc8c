"""Sick trainings whose first prescription is the cure, trained with and without it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isometry.adapters.torch.trials import TorchTrainer
from isometry.diagnosis.diagnose import diagnose
from isometry.history.store import open_run
from isometry.network.edits import ScaleOutput
from isometry.network.experiment import Experiment
from isometry.treatment.prescribe import prescribe


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def explained(inputs: Tensor, targets: Tensor):
    """Share of the targets' variance that a model explains, in the user's units."""

    def metric(model: nn.Module) -> float:
        with torch.no_grad():
            return float(1 - (model(inputs) - targets).square().mean() / targets.var(correction=0))

    return metric


def prescribed(experiment: Experiment, folder: Path):
    course = TorchTrainer(experiment, every=1).train((), seed=0, run=folder / "untreated")
    diagnosis = diagnose(open_run(course.run))
    return course, diagnosis, prescribe(diagnosis)


def plants(*, mean: float, deviation: float, optimizer, loss_fn=F.mse_loss) -> Experiment:
    """A smooth function of three columns, on another scale than a network begins with."""
    inputs = numbers(512, 3)
    bare = torch.sin(inputs[:, :1]) + 0.5 * inputs[:, 1:2] * inputs[:, 2:]
    targets = mean + deviation * bare / bare.std()
    return Experiment(
        build=lambda: nn.Sequential(nn.Linear(3, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 1)),
        data=(inputs, targets),
        loss_fn=loss_fn,
        optimizer=optimizer,
        epochs=30,
        batch_size=32,
        metric=explained(inputs, targets),
    )


def sgd(rate: float):
    return lambda parameters: torch.optim.SGD(parameters, lr=rate)


def adam(rate: float):
    return lambda parameters: torch.optim.Adam(parameters, lr=rate)


@pytest.mark.parametrize(
    ("mean", "deviation", "optimizer", "loss_fn"),
    [
        (5_000.0, 900.0, sgd(0.05), F.mse_loss),
        (0.0, 4e5, sgd(0.05), F.smooth_l1_loss),
        (-2_000.0, 40.0, adam(3e-3), F.smooth_l1_loss),
        (101_325.0, 700.0, adam(3e-3), F.mse_loss),
        (0.0, 5e-3, sgd(0.05), F.mse_loss),
    ],
)
def test_outputs_on_the_scale_of_the_targets_let_a_regression_learn(mean, deviation, optimizer, loss_fn, tmp_path):
    sick = plants(mean=mean, deviation=deviation, optimizer=optimizer, loss_fn=loss_fn)
    before, _, plans = prescribed(sick, tmp_path)
    plan = next(plan for plan in plans if plan.remedy == "scale-outputs")
    assert plans.index(plan) == 0
    scaling = plan.edits[0]
    assert isinstance(scaling, ScaleOutput)
    assert scaling.factor == pytest.approx(deviation, rel=0.5)
    after = TorchTrainer(sick).train(plan.edits, seed=0)
    print(mean, deviation, plan.words, before.score, after.score)
    assert not before.score > 0.3
    assert after.score > 0.7
