"""L101 tells a loss that stays from one that has arrived."""

import numpy as np
import pytest

from isometry.diagnosis.rules.loss_not_decreasing import loss_not_decreasing
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.architecture import Layer

from .curves import CROSS_ENTROPY, GUESSING, STEPS, falling, flat, noisy, trained

SQUARES = {"step": 0, "kind": "mse", "targets": {"mean": 0.0, "std": 1.0}, "outputs": None}


def test_loss_of_guessing_is_found() -> None:
    (finding,) = loss_not_decreasing(trained(flat(), 1e-3))
    assert "guessing" in finding.summary


def test_loss_that_only_fell_to_guessing_is_found() -> None:
    loss = noisy(GUESSING + 1.5 * np.exp(-np.arange(STEPS) / 20), noise=0.005)
    assert len(loss_not_decreasing(trained(loss, 1e-3))) == 1


def test_rising_loss_is_found() -> None:
    (finding,) = loss_not_decreasing(trained(noisy(np.linspace(1.0, 3.0, STEPS)), 1e-3, kind=SQUARES))
    assert "rose" in finding.summary


@pytest.mark.parametrize("scale", [1e-12, 1e6])
def test_scale_of_the_loss_does_not_matter(scale: float) -> None:
    assert len(loss_not_decreasing(trained(flat() * scale, 1e-3))) == 1
    assert loss_not_decreasing(trained(falling() * scale, 1e-3)) == ()


def test_own_value_of_the_loss_tells_the_scale() -> None:
    kind = {**CROSS_ENTROPY, "value": 0.05}
    assert loss_not_decreasing(trained(flat(0.05 * 1e4), 1e-5, kind=kind)) == ()


@pytest.mark.parametrize("noise", [0.05, 0.3, 0.8])
def test_falling_loss_is_no_finding(noise: float) -> None:
    assert loss_not_decreasing(trained(falling(noise=noise), 1e-3)) == ()


def test_converged_network_is_no_finding() -> None:
    assert loss_not_decreasing(trained(flat(0.05, noise=0.5), 1e-4)) == ()


def test_fall_hidden_in_noise_is_no_finding() -> None:
    random = np.random.default_rng(3)
    loss = np.abs(random.normal(size=60)) * np.linspace(1.0, 0.8, 60)
    assert loss_not_decreasing(trained(loss, 1e-3, kind=SQUARES)) == ()


def test_flat_loss_of_unknown_kind_is_not_judged() -> None:
    with pytest.raises(NotRecorded):
        loss_not_decreasing(trained(flat(0.7), 1e-3, kind=None))


def test_balance_of_two_rivals_is_not_judged() -> None:
    binary = {"step": 0, "kind": "binary_cross_entropy", "targets": {"mean": 1.0, "std": 0.0}}
    optimizers = [{"step": 0, "name": "Adam", "parameters": [name]} for name in ("g.weight", "d.weight")]
    with pytest.raises(NotRecorded):
        loss_not_decreasing(trained(flat(0.69), 1e-3, kind=binary, events={"optimizer": optimizers}))


def test_tiny_run_is_not_judged() -> None:
    with pytest.raises(NotRecorded):
        loss_not_decreasing(trained(flat(steps=20), 1e-3))


def test_turned_sign_is_found() -> None:
    loss = -GUESSING - np.arange(STEPS) ** 2.0
    (finding,) = loss_not_decreasing(trained(loss, 1e-3))
    assert finding.causes[0].name == "sign"


def test_negative_part_of_a_composite_loss_is_no_finding() -> None:
    assert loss_not_decreasing(trained(noisy(-np.linspace(0.1, 0.4, STEPS)), 1e-3)) == ()


def rough(std: float, *, seed: int = 0, answers: float = 16.0) -> Run:
    """A regression on small batches of rough targets: its curve shows nothing, its answers vary by ``std``."""
    loss = np.random.default_rng(seed).chisquare(8, STEPS) / 8
    return trained(
        loss,
        1e-3,
        kind=SQUARES,
        layers=[Layer(f"fc{k}", "linear", "Linear", (f"fc{k}.weight",), output=k == 2) for k in range(3)],
        pre_activation_std=[0.5, 0.5, std],
        pre_activation_count=[512.0, 512.0, answers],
    )


@pytest.mark.parametrize("seed", range(4))
def test_answers_that_do_not_vary_tell_what_noise_hides(seed: int) -> None:
    for finding in loss_not_decreasing(rough(0.03, seed=seed)):
        assert "learned nothing" in finding.consequence
    assert len(loss_not_decreasing(rough(0.03, seed=seed))) == 1


def test_answers_that_vary_are_not_told() -> None:
    found = [loss_not_decreasing(rough(0.5, seed=seed)) for seed in range(8)]
    assert not any("answers" in finding.summary for findings in found for finding in findings)


def test_few_answers_say_nothing_by_their_variance() -> None:
    found = [loss_not_decreasing(rough(0.0, seed=seed, answers=1.0)) for seed in range(8)]
    assert not any("answers" in finding.summary for findings in found for finding in findings)
