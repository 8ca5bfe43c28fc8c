"""L201 tells a jump from noise, from schedules and from rivals."""

import numpy as np
import pytest

from isometry.diagnosis.finding import Severity
from isometry.diagnosis.rules.loss_spike import loss_spike
from isometry.errors import NotRecorded
from isometry.history.run import Run

from .curves import STEPS, Values, falling, noisy, trained


def with_jump(loss: Values, *, at: int = 200, height: float = 5.0, fade: float = 15.0) -> Values:
    after = np.arange(len(loss)) - at
    return np.asarray(loss + np.where(after >= 0, height * np.exp(-np.maximum(after, 0) / fade), 0.0))


def test_jump_that_takes_time_to_heal_slows() -> None:
    (finding,) = loss_spike(trained(with_jump(falling()), 1e-3))
    assert finding.severity == Severity.SLOWS
    assert finding.first_step == 200


def test_jump_that_stays_harms() -> None:
    (finding,) = loss_spike(trained(with_jump(falling(), fade=1e9), 1e-3))
    assert finding.severity == Severity.HARMS


def test_single_bad_batch_is_noted() -> None:
    (finding,) = loss_spike(trained(with_jump(falling(), height=20.0, fade=0.01), 1e-3))
    assert finding.severity == Severity.NOTE


@pytest.mark.parametrize("scale", [1e-12, 1e6])
def test_scale_of_the_loss_does_not_matter(scale: float) -> None:
    assert len(loss_spike(trained(with_jump(falling()) * scale, 1e-3))) == 1


@pytest.mark.parametrize("noise", [0.05, 0.3, 0.8])
@pytest.mark.parametrize("seed", range(5))
def test_batch_noise_is_no_finding(noise: float, seed: int) -> None:
    assert loss_spike(trained(noisy(falling(noise=0.0), noise=noise, seed=seed), 1e-3)) == ()


@pytest.mark.parametrize("seed", range(10))
def test_heavy_tail_of_hard_samples_is_at_most_noted(seed: int) -> None:
    random = np.random.default_rng(seed)
    hard = random.random(2000) < 0.05
    loss = np.where(hard, random.exponential(2.0, 2000), random.exponential(0.02, 2000))
    found = loss_spike(trained(np.r_[falling(steps=100), loss], 1e-3))
    assert all(finding.severity == Severity.NOTE for finding in found)


def test_short_last_batch_of_each_epoch_is_no_finding() -> None:
    loss = falling()
    loss[39::40] *= 4
    assert loss_spike(trained(loss, 1e-3)) == ()


def test_restart_of_the_rate_is_no_finding() -> None:
    rate = np.where(np.arange(STEPS) < 200, 1e-4, 1e-2)
    assert loss_spike(trained(with_jump(falling()), 1e-3, scalars={"lr": rate})) == ()


def test_harder_data_from_some_step_on_are_no_finding() -> None:
    loss = falling() + np.where(np.arange(STEPS) > 200, 0.8, 0.0)
    assert loss_spike(trained(loss, 1e-3)) == ()


def test_rivals_are_not_judged() -> None:
    optimizers = [{"step": 0, "name": "Adam", "parameters": [name]} for name in ("g.weight", "d.weight")]
    with pytest.raises(NotRecorded):
        loss_spike(trained(with_jump(falling()), 1e-3, events={"optimizer": optimizers}))


def test_tiny_run_is_not_judged() -> None:
    with pytest.raises(NotRecorded):
        loss_spike(trained(falling(steps=20), 1e-3))


def test_loss_that_rises_again_after_one_bad_batch_harms() -> None:
    loss = falling(steps=400)
    loss[300] += 20
    loss[302:] += np.linspace(0, 1.2, 98)
    (finding,) = loss_spike(trained(loss, 1e-3))
    assert finding.severity == Severity.HARMS
    assert "not for long" in finding.summary


def test_short_jump_of_a_long_run_is_noted() -> None:
    loss = with_jump(falling(steps=4000, pace=200.0), at=2000)
    (finding,) = loss_spike(trained(loss, 1e-3))
    assert finding.severity == Severity.NOTE


def thrown(*, at: int = 4, ratio: float = 1e-3, momentum: float = 0.0, end: float = 2.3) -> Run:
    """One of the first batches has a huge loss, and the training ends here."""
    loss = noisy(np.r_[np.full(at, 2.3), np.linspace(2.3, end, 300)], noise=0.003)
    loss[at : at + 3] = 18.0, 117.0, 2.8
    return trained(loss, ratio, events={"optimizer": [{"step": 0, "name": "SGD", "lr": 0.1, "momentum": momentum}]})


@pytest.mark.parametrize("at", [3, 4, 20, 49])
def test_one_of_the_first_batches_may_throw_the_weights_off(at: int) -> None:
    (finding,) = loss_spike(thrown(at=at))
    assert (finding.severity, finding.first_step) == (Severity.HARMS, at)


def test_a_batch_that_was_got_over_is_noted() -> None:
    (finding,) = loss_spike(thrown(end=0.3))
    assert finding.severity == Severity.NOTE


@pytest.mark.parametrize(("ratio", "momentum"), [(0.3, 0.0), (0.03, 0.9)])
def test_a_jump_after_steps_that_are_too_large_is_the_work_of_the_rate(ratio: float, momentum: float) -> None:
    assert loss_spike(thrown(ratio=ratio, momentum=momentum)) == ()


def test_losses_with_a_heavy_tail_do_not_accuse_an_early_batch() -> None:
    tails = [np.random.default_rng(seed).standard_t(3, 400) for seed in range(60)]
    found = [finding for tail in tails for finding in loss_spike(trained(1 + np.abs(tail), 1e-3, kind=None))]
    assert all(finding.severity == Severity.NOTE for finding in found)


def test_a_loss_that_leaves_the_numbers_soon_after_is_told() -> None:
    loss = np.r_[2.3, 2.31, 2.29, 2.3, 40.0, 1e5, 1e12, np.full(300, np.nan)]
    (finding,) = loss_spike(trained(loss, 1e-3))
    assert finding.first_step == 4
