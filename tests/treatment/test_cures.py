"""Sick trainings whose first prescription is the cure, trained with and without it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isometry.adapters.torch.trials import TorchTrainer
from isometry.diagnosis.diagnose import diagnose
from isometry.history.store import open_run
from isometry.network.edits import ReplaceActivation, ScaleOutput, ScaleRate, SetForgetBias, Unfreeze
from isometry.network.experiment import Experiment
from isometry.treatment.prescribe import prescribe

pytestmark = pytest.mark.slow


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def explained(inputs: Tensor, targets: Tensor):
    """Share of the targets' variance that a model explains, in the user's units."""

    def metric(model: nn.Module) -> float:
        with torch.no_grad():
            return float(1 - (model(inputs) - targets).square().mean() / targets.var(correction=0))

    return metric


def prescribed(experiment: Experiment, folder: Path):
    course = TorchTrainer(experiment, every=4).train((), seed=0, run=folder / "untreated")
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
        (0.0, 2e-4, adam(3e-3), F.mse_loss),
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
    assert not before.score > 0.3
    assert after.score > 0.7


class Tagger(nn.Module):
    """Embeds words, reads them with a convolution, and ends with a φ that its loss applies again."""

    def __init__(self, last) -> None:
        super().__init__()
        self.words, self.read, self.leave, self.last = nn.Embedding(20, 8), nn.Conv1d(8, 16, 3), nn.Linear(16, 12), last

    def forward(self, tokens: Tensor) -> Tensor:
        read = F.relu(self.read(self.words(tokens).transpose(1, 2))).amax(-1)
        return self.last(self.leave(read))


def tokens() -> tuple[Tensor, Tensor]:
    """Sequences of words; the class is the rarest word's remainder."""
    given = torch.randint(0, 20, (600, 5), generator=torch.Generator().manual_seed(0))
    return given, given.amax(1) % 12


def right(inputs: Tensor, targets: Tensor):
    def metric(model: nn.Module) -> float:
        with torch.no_grad():
            return float((model(inputs).argmax(-1) == targets).double().mean())

    return metric


@pytest.mark.parametrize(
    "last", [nn.Softmax(-1), lambda z: torch.softmax(z, -1), nn.Sigmoid(), torch.sigmoid], ids=range(4)
)
def test_an_output_without_the_second_softmax_learns_faster(last, tmp_path):
    inputs, targets = tokens()
    sick = Experiment(
        build=lambda: Tagger(last),
        data=(inputs, targets),
        loss_fn=F.cross_entropy,
        optimizer=adam(3e-3),
        epochs=12,
        batch_size=50,
        metric=right(inputs, targets),
    )
    before, diagnosis, plans = prescribed(sick, tmp_path)
    assert "D103" in [finding.code for finding in diagnosis.findings]
    plan = next(plan for plan in plans if plan.remedy == "free-output")
    assert plan.edits == (ReplaceActivation(("leave",), "identity"),)
    after = TorchTrainer(sick).train(plan.edits, seed=0)
    assert after.score > before.score + 0.1
    assert after.losses[-1] < 1.45  # below what any answer behind a softmax costs: ln(1 + 11 / e) is 1.62


def test_a_regression_without_relu_behind_it_meets_negative_targets(tmp_path):
    sick = plants(mean=-0.5, deviation=1.0, optimizer=adam(3e-3))
    sick = replace(sick, build=lambda: nn.Sequential(nn.Linear(3, 24), nn.Tanh(), nn.Linear(24, 1), nn.ReLU()))
    before, _, plans = prescribed(sick, tmp_path)
    assert plans[0].edits == (ReplaceActivation(("2",), "identity"),)
    after = TorchTrainer(sick).train(plans[0].edits, seed=0)
    assert before.score < 0.5
    assert after.score > 0.7


class Recaller(nn.Module):
    """Says at the end which word came first."""

    def __init__(self, past: nn.Module) -> None:
        super().__init__()
        self.words, self.past, self.leave = nn.Embedding(8, 8), past, nn.Linear(24, 8)

    def forward(self, words: Tensor) -> Tensor:
        return self.leave(self.past(self.words(words))[0][:, -1])


def forgetful(kind: type[nn.Module], bias: float) -> nn.Module:
    """A layer whose gates that keep the past begin with this beside what torch draws."""
    past = kind(8, 24, batch_first=True)
    with torch.no_grad():
        past.bias_ih_l0[24:48] += bias
    return past


@pytest.mark.parametrize(("kind", "bias"), [(nn.LSTM, 0.0), (nn.GRU, -1.0)])
def test_a_network_whose_gates_begin_open_remembers_what_came_first(kind, bias, tmp_path):
    words = torch.randint(0, 8, (512, 30), generator=torch.Generator().manual_seed(0))
    targets = words[:, 0].clone()
    words[:, 1:] = 0
    sick = Experiment(
        build=lambda: Recaller(forgetful(kind, bias)),
        data=(words, targets),
        loss_fn=F.cross_entropy,
        optimizer=adam(1e-2),
        epochs=15,
        batch_size=32,
        metric=right(words, targets),
    )
    before, _, plans = prescribed(sick, tmp_path)
    plan = next(plan for plan in plans if plan.remedy == "forget-bias")
    assert plan.edits == (SetForgetBias(("past",), 3.4, opposed=kind is nn.LSTM),)  # ln 29
    after = TorchTrainer(sick).train(plan.edits, seed=0)
    assert before.score < 0.3
    assert after.score > 0.6


def stripes(scale: float = 1.0, *, summed: bool = False, optimizer, build=None) -> Experiment:
    """Four classes of random vectors; the loss is multiplied, or added up."""
    inputs = numbers(480, 10, seed=2)
    targets = (inputs @ numbers(10, 4, seed=3)).argmax(1)
    reduction = "sum" if summed else "mean"
    return Experiment(
        build=build or (lambda: nn.Sequential(nn.Linear(10, 20), nn.SiLU(), nn.Linear(20, 4))),
        data=(inputs, targets),
        loss_fn=lambda output, wanted: scale * F.cross_entropy(output, wanted, reduction=reduction),
        optimizer=optimizer,
        epochs=12,
        batch_size=96,
        metric=right(inputs, targets),
    )


def test_an_adam_whose_gradients_are_below_its_epsilon_learns_with_a_smaller_one(tmp_path):
    sick = stripes(1e-11, optimizer=adam(0.01))
    before, _, plans = prescribed(sick, tmp_path)
    plan = next(plan for plan in plans if plan.remedy == "lower-epsilon")
    after = TorchTrainer(sick).train(plan.edits, seed=0)
    assert before.score < 0.6
    assert after.score > 0.8


def test_a_loss_that_is_added_up_first_gets_a_rate_divided_by_the_batch(tmp_path):
    sick = stripes(summed=True, optimizer=sgd(1.0))
    before, _, plans = prescribed(sick, tmp_path)
    assert plans[0].edits == (ScaleRate(0.01),)  # 1 / 96
    after = TorchTrainer(sick).train(plans[0].edits, seed=0)
    assert after.score > max(before.score + 0.1, 0.85)


def frozen() -> nn.Module:
    """Three layers; two were drawn far too small for the others to read, and are frozen."""
    model = nn.Sequential(
        nn.Linear(10, 4), nn.Tanh(), nn.Linear(4, 2), nn.Tanh(), nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 4)
    )
    model[0].requires_grad_(False)
    model[2].requires_grad_(False)
    return model


def test_layers_that_were_frozen_by_mistake_are_unfrozen(tmp_path):
    sick = stripes(optimizer=adam(0.01), build=frozen)
    before, _, plans = prescribed(sick, tmp_path)
    plan = next(plan for plan in plans if plan.remedy == "unfreeze")
    assert plan.edits == (Unfreeze(("0", "2")),)
    after = TorchTrainer(sick).train(plan.edits, seed=0)
    assert after.score > before.score + 0.15
