"""U101 speaks when large steps and a bad loss come together."""

import numpy as np
import pytest

from isometry.diagnosis.finding import Severity
from isometry.diagnosis.rules.learning_rate_too_high import learning_rate_too_high
from isometry.errors import NotRecorded

from .curves import GUESSING, STEPS, falling, flat, noisy, trained


def test_large_steps_with_a_loss_that_stays_are_found() -> None:
    (finding,) = learning_rate_too_high(trained(flat(noise=0.2), 0.5))
    assert finding.severity == Severity.HARMS


def test_large_steps_with_a_loss_that_gets_stuck_are_found() -> None:
    (finding,) = learning_rate_too_high(trained(falling(1.2), 0.4))
    assert finding.severity == Severity.SLOWS


def test_one_leap_that_killed_the_network_is_found() -> None:
    ratio = np.r_[30.0, np.zeros(STEPS - 1)]
    (finding,) = learning_rate_too_high(trained(np.r_[GUESSING, flat(3.0)[1:]], ratio))
    assert finding.first_step == 0


def test_loss_that_rose_back_to_its_start_is_found() -> None:
    loss = np.r_[falling(0.3, steps=200), flat(steps=200)]
    assert len(learning_rate_too_high(trained(loss, 0.06))) == 1


def test_divergence_to_nan_stops() -> None:
    loss = np.r_[10.0 ** np.arange(0, 38, 6), [np.nan] * 30]
    ratio = np.r_[0.5 * 3.0 ** np.arange(7), [np.nan] * 30]
    (finding,) = learning_rate_too_high(trained(loss, ratio, kind=None))
    assert finding.severity == Severity.STOPS


@pytest.mark.parametrize("scale", [1e-12, 1e6])
def test_scale_of_the_loss_does_not_matter(scale: float) -> None:
    assert len(learning_rate_too_high(trained(flat(noise=0.2) * scale, 0.5))) == 1
    assert learning_rate_too_high(trained(falling() * scale, 0.5)) == ()


def test_bold_rate_that_works_is_no_finding() -> None:
    assert learning_rate_too_high(trained(falling(0.2), 0.3)) == ()


def test_run_still_on_its_way_is_no_finding() -> None:
    assert learning_rate_too_high(trained(noisy(np.linspace(GUESSING, 1.2, STEPS)), 0.2)) == ()


def test_hopeless_task_with_ordinary_steps_is_no_finding() -> None:
    assert learning_rate_too_high(trained(flat(noise=0.3), 2e-2)) == ()


def test_first_steps_of_rmsprop_are_no_finding() -> None:
    ratio = 0.03 / np.sqrt(1 - 0.99 ** np.arange(1, STEPS + 1))
    assert learning_rate_too_high(trained(falling(1.4), ratio)) == ()


def test_nan_out_of_healthy_steps_is_somebody_elses_finding() -> None:
    loss = np.r_[falling(steps=100), [np.nan] * 20]
    ratio = np.r_[np.full(100, 1e-3), np.full(20, np.nan)]
    assert learning_rate_too_high(trained(loss, ratio)) == ()


def test_large_first_steps_are_not_blamed_for_a_loss_that_was_lost_long_after() -> None:
    loss = np.r_[falling(0.1, steps=100), [np.nan] * 20]
    ratio = np.r_[np.full(8, 0.5), np.full(92, 1e-3), np.full(20, np.nan)]
    assert learning_rate_too_high(trained(loss, ratio)) == ()


def test_tiny_run_is_not_judged() -> None:
    with pytest.raises(NotRecorded):
        learning_rate_too_high(trained(flat(steps=20), 1e-2))


def test_regression_that_stops_at_the_noise_of_its_targets_is_no_finding() -> None:
    kind = {"step": 0, "kind": "mse", "targets": {"mean": 0.0, "std": 2.0}, "outputs": None}
    loss = noisy(np.r_[2.2, 1.8, np.full(STEPS - 2, 1.5)], noise=0.3)
    ratio = np.r_[np.full(20, 0.6), np.full(STEPS - 20, 0.02)]
    assert learning_rate_too_high(trained(loss, ratio, kind=kind)) == ()


@pytest.mark.parametrize(
    ("ratio", "words"),
    [(2.5, "250% of their size"), (12.0, "by up to 12 times their size"), (3e20, "more than a million times their")],
)
def test_large_steps_are_told_in_words_that_can_be_read(ratio: float, words: str) -> None:
    (finding,) = learning_rate_too_high(trained(flat(), ratio))
    assert words in finding.summary
