"""Xavier's, He's and Glorot's sizes come out, and networks that no size of weights can harm are found out."""

import numpy as np
import pytest
from torch import nn

from isometry.classics.build import initialising, networks
from isometry.classics.classic import Verdict
from isometry.classics.experiments import initialisations as module
from isometry.classics.experiments.initialisations import initialisations
from tests.classics.studies import fast_study


@pytest.mark.slow
def test_sizes_of_the_texts_come_out(tmp_path):
    exhibit = initialisations(fast_study(tmp_path))
    assert exhibit.as_expected
    for setting in exhibit.numbers["settings"]:
        measured = np.mean(setting["delta_decades_lost_per_layer"])
        assert measured == pytest.approx(setting["predicted"], abs=0.03)
        if setting["activation"] == "relu":  # exactly ½ log10 (σ_w² / 2)
            assert setting["predicted"] == pytest.approx(-np.log10(setting["factor"]), abs=1e-9)


@pytest.mark.slow
def test_networks_with_batch_norm_make_the_claims_fall(tmp_path, monkeypatch):
    original = networks.mlp

    def normalised(widths, activation, *, initialise=None, after=None):
        return original(widths, activation, initialise=initialise, after=nn.BatchNorm1d)

    monkeypatch.setattr(networks, "mlp", normalised)
    exhibit = initialisations(fast_study(tmp_path, seeds=4))
    _, he, too_small, _, tuning, theory = (claim.verdict for claim in exhibit.claims)
    assert he is not Verdict.STANDS
    assert too_small is Verdict.FALLS
    assert tuning is not Verdict.FALLS
    assert theory is Verdict.FALLS


def test_a_law_of_another_variance_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setitem(initialising.LAWS, "2/(n_in + n_out), uniform", initialising.standard)
    assert module._mean_claim(module._tapered(fast_study(tmp_path))).verdict is Verdict.FALLS


def test_too_small_at_all_depths_but_no_more_so_is_found_out():
    alike = np.linspace(0.0, 0.01, 8)
    factors = {np.sqrt(0.5): (0.15 + alike, 0.6 + alike), 1.0: (alike, 0.9 + alike)}
    slopes = {("relu", depth, factor): lost / (depth - 1) for depth in (8, 15) for factor, (lost, _) in factors.items()}
    accuracy = {("relu", depth, factor): right for depth in (8, 15) for factor, (_, right) in factors.items()}
    sweep = module.Sweep({}, slopes, {}, accuracy, {}, {})
    assert module._too_small_claim(sweep, (8, 15)).verdict is Verdict.PARTLY
