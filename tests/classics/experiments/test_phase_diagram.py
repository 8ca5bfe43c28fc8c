"""The map of trained networks follows theory, and networks that train wherever they stand are found out."""

import numpy as np
import pytest
import torch
from torch import nn

from isometry.classics.build import phases
from isometry.classics.classic import Verdict
from isometry.classics.experiments import phase_diagram as module
from isometry.classics.experiments.phase_diagram import phase_diagram
from tests.classics.studies import fast_study


@pytest.mark.slow
def test_trained_depths_follow_theory(tmp_path):
    exhibit = phase_diagram(fast_study(tmp_path, seeds=3))
    assert exhibit.as_expected
    assert min(exhibit.numbers["trainable_depth"][0]) > exhibit.numbers["six_xi_c"][0] / 2


@pytest.mark.slow
def test_networks_that_train_everywhere_make_the_claims_fall(tmp_path, monkeypatch):
    made = phases.network

    def healthy(depth: int, *, sigma_w: float, sigma_b: float) -> nn.Sequential:
        return made(4, sigma_w=1.327, sigma_b=sigma_b)

    monkeypatch.setattr(phases, "network", healthy)
    exhibit = phase_diagram(fast_study(tmp_path, seeds=3))
    assert [claim.verdict for claim in exhibit.claims] == [Verdict.FALLS] * 3


def test_every_network_gets_the_next_size_of_weights():
    experiment = phases.on_digits(3, [0.5, 2.0], sigma_b=0.2, rate=0.1, epochs=1)
    torch.manual_seed(0)
    for sigma_w in (0.5, 2.0):
        linear = [part for part in experiment.build() if isinstance(part, nn.Linear)]
        assert len(linear) == 4
        # 64 × 64 draws: a deviation is known to 1 / √8192, a hundredth
        assert float(linear[1].weight.detach().std()) == pytest.approx(sigma_w / 8, rel=0.05)
        assert float(torch.cat([one.bias.detach() for one in linear]).std()) == pytest.approx(0.2, rel=0.2)


def test_the_trainable_depth_lies_between_two_depths_on_a_log_scale():
    depths = (4, 16, 64)
    assert module._depth_at(0.5, depths, np.array([0.9, 0.6, 0.4])) == pytest.approx(32)
    assert module._depth_at(0.5, depths, np.array([0.4, 0.1, 0.1])) == 0
    assert module._depth_at(0.5, depths, np.array([0.9, 0.9, 0.9])) == np.inf


def test_depths_far_from_theory_are_found_out():
    accuracy = np.full((3, 3, 3), 0.1)
    accuracy[:, 1], accuracy[0] = 0.9, 0.9
    found = module.Map(np.array([0.9, 1.8, 3.6]), (4, 8, 64), accuracy, np.array([10.0, np.inf, 10.0]))
    assert module._deepest(found).verdict is Verdict.STANDS
    assert module._six_scales(found).verdict is Verdict.FALLS
