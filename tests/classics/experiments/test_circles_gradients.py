"""Sigmoid's gradient vanishes towards the input; a network whose gradient does not is found out."""

import numpy as np
import pytest

from isometry.classics.classic import Verdict
from isometry.classics.experiments.circles_gradients import circles_gradients
from tests.classics.studies import fast_study
from tests.classics.swaps import swap_activation


@pytest.mark.slow
def test_sigmoids_gradient_vanishes_and_the_others_do_not(tmp_path):
    exhibit = circles_gradients(fast_study(tmp_path))
    assert exhibit.as_expected, [claim.measured for claim in exhibit.claims if not claim.as_expected]
    change = {name: np.median(found["decades_from_output_to_first"]) for name, found in exhibit.numbers.items()}
    assert change["sigmoid"] < -0.5 < 0.3 < change["tanh"]
    for found in exhibit.numbers.values():  # symmetric circles: an untrained network guesses
        assert np.median(found["accuracy_before"]) == pytest.approx(0.5, abs=0.03)
    names = [chart.name for chart in exhibit.charts[2:5]]
    assert names == ["weight-gradient-mean-over-steps", "weight-gradient-std-over-steps", "loss"]


@pytest.mark.slow
def test_tanh_in_sigmoids_place_is_found_out(tmp_path, monkeypatch):
    swap_activation(monkeypatch, "sigmoid", "tanh")
    claims = {claim.words: claim.verdict for claim in circles_gradients(fast_study(tmp_path, seeds=4)).claims}
    for words in (
        "sigmoid: only the last layer's mean gradient is visibly other than zero.",
        "With sigmoid the gradient vanishes towards the first layer, with tanh and ReLU it does not.",
    ):
        assert claims[words] is Verdict.FALLS
