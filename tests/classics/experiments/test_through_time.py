"""The gradient's rate through time is that of the Jacobian, and healthy layers are found out."""

import numpy as np
import pytest
import torch
from torch import nn

from isometry.classics.build import through_time as build
from isometry.classics.classic import Verdict
from isometry.classics.experiments.through_time import through_time
from tests.classics.studies import fast_study


@pytest.mark.slow
def test_plain_networks_forget_exponentially_and_gates_last_longer(tmp_path):
    exhibit = through_time(fast_study(tmp_path, seeds=4))
    assert exhibit.as_expected
    first = {kind: diagnosis.findings[0].problem for kind, diagnosis in exhibit.diagnoses.items()}
    assert first["RNN, torch's weights"] == "vanishing_gradient"
    assert first["RNN, large weights"] == "exploding_gradient"


def test_the_same_seed_gives_data_and_weights_of_other_streams():
    experiment = build.experiment("RNN, large weights", length=5, seed=3)
    torch.manual_seed(3)
    assert float(torch.isin(experiment.data[0], torch.randn(16, 5, build.SIZE)).double().mean()) < 0.01
    assert float(experiment.data[0].std()) == pytest.approx(1, abs=0.05)


@pytest.mark.slow
def test_orthogonal_layers_in_the_place_of_plain_ones_are_found_out(tmp_path, monkeypatch):
    monkeypatch.setitem(build.PLAIN, "RNN, torch's weights", nn.init.orthogonal_)
    monkeypatch.setitem(build.PLAIN, "RNN, large weights", nn.init.orthogonal_)
    verdicts = [claim.verdict for claim in through_time(fast_study(tmp_path, seeds=2)).claims]
    assert verdicts[:2] == [Verdict.FALLS, Verdict.FALLS]


def test_half_a_rotation_halves_the_gradient(monkeypatch):
    monkeypatch.setitem(build.PLAIN, "RNN, orthogonal", lambda weight: nn.init.orthogonal_(weight, gain=0.5))
    sizes = build.gradients("RNN, orthogonal", length=20, seed=0)
    per_step = np.log10(sizes[-1] / sizes[0]) / 19
    assert per_step == pytest.approx(np.log10(2), rel=0.03)  # the way from x into the layer scatters by a tenth
    assert build.rest_rate("RNN, orthogonal", seed=0) == pytest.approx(np.log10(0.5))


def test_the_forget_bias_is_the_sum_of_torchs_two():
    gated = dict(build.layer("LSTM, forget bias 1").named_parameters())
    both = gated["bias_ih_l0"] + gated["bias_hh_l0"]
    assert both[build.SIZE : 2 * build.SIZE].tolist() == [1.0] * build.SIZE
