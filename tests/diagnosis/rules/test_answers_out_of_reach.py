"""D103 finds outputs whose φ leaves out what the loss asks for, in short trainings of several kinds."""

from math import exp, log

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import isometry
from isometry.diagnosis.finding import Severity
from isometry.diagnosis.rules.answers_out_of_reach import answers_out_of_reach
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.statistics.reach import RANGES, least_loss
from tests.runs import make_run

INPUTS = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
CLASSES = INPUTS[:, :4].argmax(1)
HALVES = (INPUTS[:, :1] > 0).float()
NUMBERS = INPUTS[:, :1] + 0.5 * INPUTS[:, 1:2]


SHARE = float(HALVES.mean())
CHANCE = -SHARE * log(SHARE) - (1 - SHARE) * log(1 - SHARE)
TWICE = log(1 + 3 / exp(1)) / log(4)


def left_outside(targets: Tensor, low: float, high: float) -> float:
    """Share of the variance that the nearest numbers within a range leave."""
    return float((targets - targets.clamp(low, high)).square().mean() / targets.var(correction=0))


class Called(nn.Module):
    """Two layers; φ of the output is a function call in ``forward``."""

    def __init__(self, phi, outputs: int = 4) -> None:
        super().__init__()
        self.inner, self.outer, self.phi = nn.Linear(6, 16), nn.Linear(16, outputs), phi

    def forward(self, x: Tensor) -> Tensor:
        return self.phi(self.outer(F.gelu(self.inner(x))))


def chain(phi: nn.Module | None, outputs: int = 4) -> nn.Module:
    parts = [nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, outputs)]
    return nn.Sequential(*parts, phi) if phi is not None else nn.Sequential(*parts)


def trained(model: nn.Module, loss_fn, targets: Tensor, tmp_path, steps: int = 40) -> Run:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with isometry.watch(model, optimizer, run=tmp_path / "run", every=1) as watch:
        for _ in range(steps):
            optimizer.zero_grad()
            loss_fn(model(INPUTS), targets).backward()
            optimizer.step()
    return isometry.load(watch.folder)


def findings(run: Run):
    return [one for one in isometry.diagnose(run).findings if one.code == "D103"]


SICK = {
    "softmax twice": (lambda: chain(nn.Softmax(1)), F.cross_entropy, CLASSES, TWICE),
    "softmax twice, called": (lambda: Called(lambda z: z.softmax(-1)), F.cross_entropy, CLASSES, TWICE),
    "softmax in double": (
        lambda: Called(lambda z: F.softmax(z, -1, dtype=torch.float64)),
        F.cross_entropy,
        CLASSES,
        0.54,
    ),
    "sigmoid on logits": (lambda: chain(nn.Sigmoid()), F.cross_entropy, CLASSES, TWICE),
    "tanh on logits": (lambda: Called(torch.tanh), F.cross_entropy, CLASSES, log(1 + 3 * exp(-2)) / log(4)),
    "sigmoid twice": (
        lambda: chain(nn.Sigmoid(), 1),
        F.binary_cross_entropy_with_logits,
        HALVES,
        (SHARE * log(1 + exp(-1)) + (1 - SHARE) * log(2)) / CHANCE,
    ),
    "ReLU on a logit": (
        lambda: Called(torch.relu, 1),
        F.binary_cross_entropy_with_logits,
        HALVES,
        (1 - SHARE) * log(2) / CHANCE,
    ),
    "ReLU on numbers": (lambda: chain(nn.ReLU(), 1), F.mse_loss, NUMBERS, left_outside(NUMBERS, 0, 99)),
    "tanh on far numbers": (
        lambda: chain(nn.Tanh(), 1),
        F.smooth_l1_loss,
        5 * NUMBERS,
        left_outside(5 * NUMBERS, -1, 1),
    ),
}
HEALTHY = {
    "logits": (lambda: chain(None), F.cross_entropy, CLASSES),
    "log of a softmax": (lambda: Called(lambda z: z.softmax(-1).log()), F.nll_loss, CLASSES),
    "log-softmax": (lambda: chain(nn.LogSoftmax(1)), F.nll_loss, CLASSES),
    "log-softmax twice": (lambda: chain(nn.LogSoftmax(1)), F.cross_entropy, CLASSES),
    "sigmoid, unfused": (lambda: chain(nn.Sigmoid(), 1), F.binary_cross_entropy, HALVES),
    "fused sigmoid": (lambda: chain(None, 1), F.binary_cross_entropy_with_logits, HALVES),
    "ReLU on logits": (lambda: chain(nn.ReLU()), F.cross_entropy, CLASSES),
    "clipped logits": (lambda: Called(lambda z: 10 * torch.tanh(z)), F.cross_entropy, CLASSES),
    "temperature behind a sigmoid": (lambda: Called(lambda z: torch.sigmoid(z) / 0.05), F.cross_entropy, CLASSES),
    "sigmoid on shares": (lambda: chain(nn.Sigmoid(), 1), F.mse_loss, NUMBERS.sigmoid()),
    "tanh within its range": (lambda: Called(torch.tanh, 1), F.mse_loss, NUMBERS.tanh()),
    "ReLU on counts": (lambda: chain(nn.ReLU(), 1), F.mse_loss, NUMBERS.abs()),
    "softmax met by shares": (lambda: chain(nn.Softmax(1)), F.mse_loss, F.one_hot(CLASSES, 4).float()),
    "a hidden softmax": (lambda: nn.Sequential(chain(nn.Softmax(1)), nn.Linear(4, 4)), F.cross_entropy, CLASSES),
    "sigmoid stretched": (lambda: Called(lambda z: 8 * torch.sigmoid(z) - 4, 1), F.mse_loss, NUMBERS),
}


@pytest.mark.parametrize("name", SICK)
def test_answers_out_of_reach_are_found_with_what_they_cost(name, tmp_path):
    build, loss_fn, targets, left = SICK[name]
    torch.manual_seed(0)
    (found,) = findings(trained(build(), loss_fn, targets, tmp_path))
    assert found.severity >= Severity.SLOWS
    assert found.evidence[0].measured == pytest.approx(left, abs=0.01)
    assert found.layers in (("2",), ("outer",))


@pytest.mark.parametrize("name", HEALTHY)
def test_outputs_that_reach_their_targets_are_no_finding(name, tmp_path):
    build, loss_fn, targets = HEALTHY[name]
    torch.manual_seed(0)
    assert not findings(trained(build(), loss_fn, targets, tmp_path))


@pytest.mark.slow
def test_a_loss_never_falls_below_what_is_foretold(tmp_path):
    torch.manual_seed(0)
    run = trained(chain(nn.Softmax(1)), F.cross_entropy, CLASSES, tmp_path, steps=400)
    least = log(1 + 3 / exp(1))
    assert least < run.history.scalars["loss"].values[-1] < 1.15 * least
    assert findings(run)[0].severity is Severity.SLOWS


@pytest.mark.parametrize("phi", RANGES)
def test_the_least_loss_is_that_of_the_surest_right_answers(phi):
    low, high = (max(min(edge, 40.0), -40.0) for edge in RANGES[phi])
    targets = torch.tensor([0, 1, 2, 1, 0])
    logits = torch.full((5, 3), low).scatter(1, targets[:, None], high)
    told = least_loss("cross_entropy", phi, classes=3, targets=None, beyond=None)
    assert told == pytest.approx(float(F.cross_entropy(logits, targets)), abs=1e-6)
    halves = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])
    answers = torch.where(halves > 0, high, low)
    told = least_loss("binary_cross_entropy", phi, classes=None, targets={"mean": 0.6}, beyond=None)
    assert told == pytest.approx(float(F.binary_cross_entropy_with_logits(answers, halves)), abs=1e-6)


def test_runs_of_earlier_versions_are_not_judged():
    event = {"step": 0, "kind": "cross_entropy", "classes": 4}
    with pytest.raises(NotRecorded):
        answers_out_of_reach(make_run(delta_rms=[1.0, 1.0], events={"loss_kind": [event]}))


def test_it_is_not_told_as_a_matter_of_inputs(tmp_path):
    run = trained(chain(nn.Softmax(dim=-1)), F.cross_entropy, CLASSES, tmp_path)
    told = str(isometry.diagnose(run, only=["D103"]))
    assert told.count("answers out of reach") == 1
    assert "unscaled input" not in told.lower()
    assert [finding.problem for finding in isometry.diagnose(run, only=["D103"]).findings] == ["unscaled_input"]
