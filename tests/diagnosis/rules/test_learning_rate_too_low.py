"""U102 speaks when nothing moved and nothing was learned, and about nothing else."""

import numpy as np
import pytest

from isometry.diagnosis.finding import Severity
from isometry.diagnosis.rules.learning_rate_too_low import learning_rate_too_low
from isometry.errors import NotRecorded
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
