"""U102 speaks when nothing moved and nothing was learned, and about nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import isometry
from isometry.diagnosis.finding import Severity
from isometry.diagnosis.pull import is_starved
from isometry.diagnosis.rules.learning_rate_too_low import learning_rate_too_low
from isometry.diagnosis.rules.loss_not_decreasing import loss_not_decreasing
from isometry.errors import NotRecorded
from isometry.history.run import Run
from tests.runs import make_run

from .curves import CROSS_ENTROPY, GUESSING, STEPS, falling, flat, noisy, trained

LINE = noisy(np.linspace(GUESSING, 0.97 * GUESSING, STEPS), noise=0.01)


def test_tiny_steps_and_a_straight_slow_loss_are_found() -> None:
    (finding,) = learning_rate_too_low(trained(LINE, 1e-4))
    assert finding.severity == Severity.SLOWS
    assert finding.layers == ("fc1", "fc2", "fc3")


def test_steps_without_any_effect_harm() -> None:
    (finding,) = learning_rate_too_low(trained(flat(), 1e-6))
    assert finding.severity == Severity.HARMS


@pytest.mark.parametrize("scale", [1e-12, 1e6])
def test_scale_of_the_loss_does_not_matter(scale: float) -> None:
    assert len(learning_rate_too_low(trained(LINE * scale, 1e-4))) == 1


def test_optimiser_is_named() -> None:
    events = {"optimizer": [{"step": 0, "name": "Adam", "lr": 1e-6, "parameters": ["fc1.weight"]}]}
    (finding,) = learning_rate_too_low(trained(LINE, 1e-5, events=events))
    assert "Adam at a rate of 1e-06" in finding.causes[0].words


def test_ordinary_training_is_no_finding() -> None:
    assert learning_rate_too_low(trained(falling(), 3e-3)) == ()


def test_converged_training_with_a_rate_that_decayed_is_no_finding() -> None:
    assert learning_rate_too_low(trained(falling(), 1e-2 * 0.97 ** np.arange(STEPS))) == ()


def test_pretrained_network_tuned_gently_is_no_finding() -> None:
    assert learning_rate_too_low(trained(noisy(np.linspace(0.5, 0.48, STEPS), noise=0.01), 1e-5)) == ()


def test_flat_loss_of_unknown_kind_is_no_finding() -> None:
    assert learning_rate_too_low(trained(flat(0.3), 1e-5, kind=None)) == ()


def test_hopeless_task_with_ordinary_steps_is_no_finding() -> None:
    assert learning_rate_too_low(trained(flat(), 3e-3)) == ()


def test_warm_up_is_no_finding() -> None:
    rate = np.linspace(0.0, 1e-3, STEPS)
    assert learning_rate_too_low(trained(LINE, 1e-4 * rate / rate[-1], scalars={"lr": rate})) == ()


def test_vanishing_delta_is_somebody_elses_finding() -> None:
    assert learning_rate_too_low(trained(flat(), 1e-5, delta_rms=[1e-6, 1e-3, 1.0])) == ()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_gradients_too_small_for_any_rate_are_no_low_rate_where_no_delta_was_seen(scale: float) -> None:
    def run(gradient: float) -> Run:
        kind = {**CROSS_ENTROPY, "value": GUESSING}
        columns = {"weight_gradient_rms": scale * gradient, "weight_gradient_count": 64, "weight_count": 64}
        return trained(scale * flat(), 1e-5, kind=kind, **columns)

    assert len(learning_rate_too_low(run(0.03))) == 1
    with pytest.raises(NotRecorded, match="isometry check"):
        learning_rate_too_low(run(1e-7))
    (finding,) = loss_not_decreasing(run(1e-7))
    assert "isometry check" in finding.causes[-1].words
    (finding,) = loss_not_decreasing(run(0.03))
    assert all(cause.name != "small gradients" for cause in finding.causes)


@pytest.mark.parametrize(("activation", "is_sick"), [(nn.ReLU, True), (nn.Tanh, False)])
def test_the_pull_of_a_network_whose_signals_are_not_seen(activation: type[nn.Module], is_sick: bool, tmp_path: Path):
    """As a compiled model: only weights, gradients and updates."""
    torch.manual_seed(0)
    hidden = [part for _ in range(16) for part in (nn.Linear(32, 32), activation())]
    net = nn.Sequential(*hidden, nn.Linear(32, 4))
    for layer in net.modules():
        if isinstance(layer, nn.Linear) and not is_sick:
            nn.init.orthogonal_(layer.weight)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-7)
    inputs, targets = torch.randn(64, 32), torch.randint(4, (64,))
    with isometry.watch(net, run=tmp_path / "run", signals=["weight", "weight_gradient", "update"]) as watch:
        for _ in range(120):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs), targets).backward()
            optimizer.step()
    codes = {finding.code for finding in isometry.diagnose(watch.run).findings}
    assert is_starved(watch.run) == is_sick
    assert ("U102" in codes) != is_sick


def test_layers_that_move_while_others_rest_are_no_finding() -> None:
    run = make_run(
        update_rms=np.full((STEPS, 3), 0.1) * [1e-5, 1e-5, 1e-2],
        weight_rms=0.1,
        scalars={"loss": flat()},
        events={"loss_kind": [CROSS_ENTROPY]},
    )
    assert learning_rate_too_low(run) == ()


@pytest.mark.parametrize("steps", [20, 60])
def test_short_run_is_not_judged(steps: int) -> None:
    with pytest.raises(NotRecorded):
        learning_rate_too_low(trained(flat(steps=steps), 1e-5))
