"""Sigmoid learns late, and the classic notices a network that is not what it says."""

import numpy as np
import pytest

from isometry.classics.classic import Verdict
from isometry.classics.experiments import circles_depth
from tests.classics.studies import fast_study
from tests.classics.swaps import swap_activation


@pytest.mark.slow
def test_sigmoid_networks_are_slow_and_not_stuck(tmp_path):
    exhibit = circles_depth.circles_depth(fast_study(tmp_path))
    assert exhibit.as_expected, [claim.measured for claim in exhibit.claims if not claim.as_expected]
    three = exhibit.numbers["sigmoid, 3 layers"]
    assert np.median(three["loss"]) == pytest.approx(np.log(2), abs=0.02)  # guessing
    assert np.median(three["last_loss"]) < 0.64
    assert np.median(exhibit.numbers["ReLU, 3 layers"]["accuracy"]) > 0.98


@pytest.mark.slow
def test_relu_in_sigmoids_place_is_found_out(tmp_path, monkeypatch):
    swap_activation(monkeypatch, "sigmoid", "relu")
    exhibit = circles_depth.circles_depth(fast_study(tmp_path, seeds=6))
    claims = {claim.words: claim.verdict for claim in exhibit.claims}
    for words in (
        "With sigmoid in place of ReLU the network learns much less.",
        "Three sigmoid layers learn less than one.",
        "Vanishing gradients are what sigmoid does to depth: ReLU layers of the same number learn.",
    ):
        assert claims[words] is Verdict.FALLS, words
