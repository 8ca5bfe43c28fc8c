"""The pair differs in its gradient, and a cured network in the place of the sick one is found out."""

import numpy as np
import pytest
import torch
from torch import nn

from isometry.adapters.torch.train import train
from isometry.classics.build import before_after as build
from isometry.classics.build.signals import delta_profile
from isometry.classics.classic import Verdict
from isometry.classics.experiments.before_after import before_after
from isometry.network.signals import Signal
from tests.classics.studies import fast_study


@pytest.mark.slow
def test_sigmoid_loses_the_gradient_and_one_change_is_enough(tmp_path):
    exhibit = before_after(fast_study(tmp_path))
    assert exhibit.as_expected
    lost = exhibit.numbers["random_labels"]["none"]["decades_lost_per_layer"]
    assert np.median(lost) == pytest.approx(0.632, abs=0.02)  # mean field at σ_w = 1; 0.012 between networks
    assert not exhibit.diagnoses["sigmoid, random labels"].healthy
    assert exhibit.diagnoses["ReLU, batch norm, random labels"].healthy


@pytest.mark.slow
def test_a_cured_network_in_the_place_of_the_sick_one_is_found_out(tmp_path, monkeypatch):
    made = build.network

    def always_cured(change: str, *, inputs: int, outputs: int) -> nn.Sequential:
        return made("relu and batch norm", inputs=inputs, outputs=outputs)

    monkeypatch.setattr(build, "network", always_cured)
    verdicts = [claim.verdict for claim in before_after(fast_study(tmp_path, seeds=2)).claims]
    assert verdicts[:2] == [Verdict.FALLS, Verdict.FALLS]
    assert verdicts[4] is Verdict.FALLS


def test_critical_weights_act_like_tanh_at_its_critical_point():
    torch.manual_seed(0)
    model = build.network("critical", inputs=64, outputs=10)
    with torch.no_grad():
        first = model[1](model[0](torch.randn(256, 64)))
        z = model[2](first)
    assert float(first.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(z.mean()) == pytest.approx(0.0, abs=0.2)
    tanh = torch.tanh(torch.randn(100_000)).square().mean().sqrt()  # u = z / 2 with weights of 1 / √n
    assert float((z / 2).square().mean().sqrt()) == pytest.approx(float(tanh), rel=0.15)


@pytest.mark.slow
def test_profiles_read_by_hooks_are_those_of_the_watch(tmp_path):
    experiment = build.on_random_labels("none")
    inputs, targets = experiment.data(3)
    run = train(experiment, seed=3, run=tmp_path / "run", every=1).run
    generator = torch.Generator().manual_seed(3)
    chosen = torch.randperm(len(inputs), generator=generator)[:32]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = experiment.build()
    profile = delta_profile(model, inputs[chosen], targets[chosen], experiment.loss_fn)
    assert np.allclose(run.history[Signal.DELTA, "rms"][0], profile, rtol=1e-4)


def test_every_seed_has_data_of_its_own_that_no_weight_repeats():
    first, second = build.labelled(0), build.labelled(1)
    assert not torch.equal(first.inputs, second.inputs)
    assert not torch.equal(first.test_targets, second.test_targets)
    torch.manual_seed(0)
    drawn = torch.rand(64 * 20)  # what Glorot's law scales
    assert float(torch.isin(drawn, first.inputs).double().mean()) < 0.01
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weight = build.network("none", inputs=20, outputs=1)[0].weight.detach().flatten()
    between = torch.corrcoef(torch.stack([weight, first.inputs.flatten()[: len(weight)]]))[0, 1]
    assert abs(float(between)) < 4 / len(weight) ** 0.5
