"""δ grows at batch norm's rate, and networks without it, or with skips in its place, are found out."""

import numpy as np
import pytest
from torch import nn

from isometry.classics.build import batch_norm
from isometry.classics.build.data import digits
from isometry.classics.build.signals import delta_profiles
from isometry.classics.classic import Verdict
from isometry.classics.experiments import batch_norm_explodes as module
from isometry.classics.experiments.batch_norm_explodes import batch_norm_explodes
from tests.classics.studies import fast_study


@pytest.mark.slow
def test_batch_norm_without_skips_explodes_and_does_not_train(tmp_path):
    exhibit = batch_norm_explodes(fast_study(tmp_path))
    assert exhibit.as_expected
    rates = exhibit.numbers["decades_per_layer"]["relu, batch 8"]
    assert np.median(rates["measured"]) == pytest.approx(rates["predicted"], rel=0.05)


@pytest.mark.slow
def test_skips_in_every_network_are_found_out(tmp_path, monkeypatch):
    made = batch_norm.network

    def healthy(activation: str, **how: object) -> nn.Sequential:
        return made(activation, **{**how, "skip": True})

    monkeypatch.setattr(batch_norm, "network", healthy)
    exhibit = batch_norm_explodes(fast_study(tmp_path, seeds=4))
    assert [claim.verdict for claim in exhibit.claims] == [Verdict.FALLS] * 5


def test_layer_norm_in_its_place_keeps_delta_level(monkeypatch):
    monkeypatch.setattr(nn, "BatchNorm1d", nn.LayerNorm)
    data = digits()
    profiles = delta_profiles(
        lambda: batch_norm.network("relu", depth=30, width=128),
        range(4),
        (data.inputs[:64], data.targets[:64]),
        nn.functional.cross_entropy,
    )
    assert abs(np.median(module._slopes(profiles[:, :-1]))) < 0.02  # batch norm: 0.087


def test_accuracy_is_that_with_the_statistics_of_the_test_images():
    experiment = batch_norm.on_digits(2, "Adam at 0.001", skip=False, epochs=1)
    model = experiment.build().eval()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm1d):
            part.running_mean.fill_(1e6)
    assert experiment.metric is not None
    first, second = experiment.metric(model), experiment.metric(model)
    assert first == second
    assert not model.training
