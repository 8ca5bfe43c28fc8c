"""One rate fits between two that do not, and the sizes of updates are measured as they are."""

import numpy as np
import pytest
import torch

from isometry.adapters.torch.train import train_many
from isometry.classics.build import rates as build
from isometry.classics.classic import Verdict
from isometry.classics.experiments.learning_rate import learning_rate
from tests.classics.studies import fast_study


@pytest.mark.slow
def test_one_rate_fits_between_those_that_do_not_move_and_those_that_diverge(tmp_path):
    exhibit = learning_rate(fast_study(tmp_path, seeds=3))
    assert exhibit.as_expected
    best = next(diagnosis for words, diagnosis in exhibit.diagnoses.items() if "best" in words)
    assert best.healthy


@pytest.mark.slow
def test_optimisers_that_do_not_overshoot_are_found_out(tmp_path, monkeypatch):
    def tamed(optimiser):
        """Takes 0.03 whatever it is asked for."""
        return lambda parameters, lr: optimiser(parameters, lr=0.03)

    for name, optimiser in dict(build.OPTIMISERS).items():
        monkeypatch.setitem(build.OPTIMISERS, name, tamed(optimiser))
    verdicts = [claim.verdict for claim in learning_rate(fast_study(tmp_path, seeds=2)).claims]
    assert verdicts[:2] == [Verdict.FALLS, Verdict.FALLS]


def test_the_first_step_of_adam_moves_by_the_rate():
    made = []

    def optimizer(parameters):
        made.append(build.Measuring(torch.optim.Adam(parameters, lr=1e-3), parameters))
        return made[0]

    many = train_many(build.on_digits(optimizer, epochs=1), [0, 1])
    first = made[0].ratios[0].numpy()
    expected = 1e-3 / many.weight_std[:, 0]  # Adam's first step is the sign of the gradient times the rate
    assert first[:, 1:] == pytest.approx(expected[:, 1:], rel=0.1)  # but for dead units
    assert np.all(first <= expected * 1.001)
