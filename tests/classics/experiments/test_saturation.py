"""Slopes and saturation are those of theory, and a tanh that cannot saturate is found out."""

from math import sqrt

import numpy as np
import pytest
from torch import nn

from isometry.classics.build import networks
from isometry.classics.classic import Verdict
from isometry.classics.experiments.saturation import saturation
from tests.classics.studies import fast_study


@pytest.mark.slow
def test_large_weights_saturate_sigmoid_and_tanh_but_not_relu(tmp_path):
    exhibit = saturation(fast_study(tmp_path, seeds=2))
    assert exhibit.as_expected
    assert exhibit.numbers["greatest_slope"]["sigmoid"] == 0.25
    assert exhibit.numbers["greatest_slope"]["tanh"] == 1
    networks_found = {(one["activation"], one["sigma_w"]): one for one in exhibit.numbers["networks"]}
    assert np.mean(networks_found["relu", 10.0]["slope_rms"]) == pytest.approx(1 / sqrt(2), rel=0.05)
    assert np.max(networks_found["sigmoid", 1.0]["slope_rms"]) < 0.25
    shares = {name: np.mean(networks_found[name, 10.0]["saturated_share"], axis=1) for name in ("tanh", "sigmoid")}
    said = {name: f"{100 * np.median(values):.0f} % of" for name, values in shares.items()}
    lost, at_tanh, at_sigmoid = exhibit.charts[2:]
    assert said["tanh"] in at_tanh.title
    assert said["sigmoid"] in at_sigmoid.title
    assert all(words in lost.reading for words in said.values())
    assert said["sigmoid"] in exhibit.claims[2].measured


@pytest.mark.slow
def test_tanh_that_cannot_saturate_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setitem(networks.ACTIVATIONS, "tanh", nn.ReLU)
    exhibit = saturation(fast_study(tmp_path, seeds=2))
    verdicts = {claim.words: claim.verdict for claim in exhibit.claims}
    assert verdicts["tanh saturates too."] is Verdict.FALLS
