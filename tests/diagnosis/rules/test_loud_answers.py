"""W103 hears first answers that are far too large, also in networks whose layers are not seen."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import isometry
from isometry.diagnosis.finding import Finding, Severity
from isometry.diagnosis.rules.loud_answers import loud_answers
from isometry.errors import NotRecorded
from tests.runs import make_run

INPUTS = torch.randn(64, 20, generator=torch.Generator().manual_seed(0))
TARGETS = INPUTS[:, :5].argmax(1)
HALVES = (INPUTS[:, :1] > 0).float()


class Bare(nn.Module):
    """Weight matrices in a list, multiplied by hand."""

    def __init__(self, sizes: Sequence[int], gain: float) -> None:
        super().__init__()
        pairs = pairwise(sizes)
        self.weights = nn.ParameterList([torch.randn(a, b) * gain / a**0.5 for a, b in pairs])

    def forward(self, x: Tensor) -> Tensor:
        for weight in self.weights[:-1]:
            x = torch.relu(x @ weight)
        return x @ self.weights[-1]


def checked(model: nn.Module, loss_fn=F.cross_entropy, targets: Tensor = TARGETS) -> list[Finding]:
    found = isometry.check(model, (INPUTS, targets), loss_fn, nets=3)
    return [finding for finding in found.diagnosis.findings if finding.code == "W103"]


@pytest.mark.parametrize(("gain", "severity"), [(10.0, Severity.HARMS), (5.0, Severity.HARMS), (3.3, Severity.SLOWS)])
def test_weights_drawn_too_large_are_heard_in_the_first_loss(gain: float, severity: Severity) -> None:
    torch.manual_seed(0)
    (finding,) = checked(Bare([20, 40, 40, 40, 40, 5], gain))
    assert finding.severity == severity
    assert "times what guessing loses (1.61)" in finding.summary


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_a_factor_on_the_loss_changes_nothing(factor: float) -> None:
    torch.manual_seed(0)
    loud, ordinary = Bare([20, 40, 40, 40, 40, 5], 8.0), Bare([20, 40, 40, 40, 40, 5], 1.4)

    def scaled(answers: Tensor, targets: Tensor) -> Tensor:
        return factor * F.cross_entropy(answers, targets)

    assert [finding.summary for finding in checked(loud, scaled)] == [finding.summary for finding in checked(loud)]
    assert not checked(ordinary, scaled)


@pytest.mark.parametrize("gain", [0.1, 1.0, 2**0.5, 2.0])
def test_ordinary_draws_are_not_accused(gain: float) -> None:
    torch.manual_seed(0)
    assert not checked(Bare([20, 40, 40, 40, 40, 5], gain))


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 5)),
        nn.Sequential(*[part for _ in range(12) for part in (nn.LazyLinear(20), nn.BatchNorm1d(20))], nn.Linear(20, 5)),
        nn.Linear(20, 5),
    ],
    ids=["two layers", "deep, with norms", "softmax regression"],
)
def test_default_draws_are_not_accused(model: nn.Module) -> None:
    model(INPUTS)
    assert not checked(model)


def test_one_yes_or_no_answer_is_judged_too() -> None:
    torch.manual_seed(0)
    loss_fn = F.binary_cross_entropy_with_logits
    assert checked(Bare([20, 40, 40, 1], 12.0), loss_fn, HALVES)
    assert not checked(Bare([20, 40, 40, 1], 1.4), loss_fn, HALVES)


def test_regressions_and_trainings_are_not_judged() -> None:
    kind = {"step": 0, "kind": "cross_entropy", "classes": 10, "value": 1e5}
    assert loud_answers(make_run(delta_rms=[1.0, 1.0], events={"loss_kind": [kind]}))
    with pytest.raises(NotRecorded):
        loud_answers(make_run(update_rms=[1.0, 1.0], events={"loss_kind": [kind]}))
    with pytest.raises(NotRecorded):
        loud_answers(make_run(delta_rms=[1.0, 1.0], events={"loss_kind": [{**kind, "kind": "mse"}]}))
