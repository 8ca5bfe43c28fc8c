"""Where weights move, and what the classic says of other networks in their place."""

import numpy as np
import pytest

from isometry.classics.classic import Verdict
from isometry.classics.experiments.circles_weights import circles_weights
from tests.classics.studies import fast_study
from tests.classics.swaps import swap_activation


@pytest.mark.slow
def test_the_spread_of_sigmoids_first_layer_grows_most_and_tanh_settles(tmp_path):
    exhibit = circles_weights(fast_study(tmp_path))
    assert exhibit.as_expected, [claim.measured for claim in exhibit.claims if not claim.as_expected]
    grown = np.median(exhibit.numbers["sigmoid"]["growth_of_std"], axis=0)
    assert grown.argmax() == 0
    assert np.median(exhibit.numbers["tanh"]["accuracy"]) > 0.98
    before = np.array(exhibit.numbers["tanh"]["mean_before"])
    # The mean of n weights from N(0, 1) has a standard deviation of 1 / √n: 10, 25, 25, 25 and 5 weights.
    assert np.sqrt(np.mean(before[:, 1:4] ** 2)) == pytest.approx(0.2, rel=0.35)
    names = [chart.name for chart in exhibit.charts[2:]]
    assert names == ["weight-mean-over-steps", "weight-std-over-steps"] * 3


@pytest.mark.slow
def test_each_in_the_others_place_is_found_out(tmp_path, monkeypatch):
    swap_activation(monkeypatch, "*", "tanh")
    exhibit = circles_weights(fast_study(tmp_path, seeds=4))
    claims = {claim.words: claim.verdict for claim in exhibit.claims}
    assert claims["sigmoid: only the first layer's S.D. grows."] is Verdict.FALLS
    monkeypatch.undo()
    swap_activation(monkeypatch, "*", "sigmoid")
    claims = {claim.words: claim.verdict for claim in circles_weights(fast_study(tmp_path / "again", seeds=4)).claims}
    assert claims["tanh: all layers drift slowly and settle."] is Verdict.FALLS
