"""The classic measures what was put in, and says so when it is not there."""

import numpy as np
import pytest
from torch import nn

from isometry.classics.build import networks
from isometry.classics.classic import Verdict
from isometry.classics.experiments.linear_depth import linear_depth
from tests.classics.studies import fast_study


def test_signals_scale_as_a_to_the_power_of_depth(tmp_path):
    exhibit = linear_depth(fast_study(tmp_path))
    assert exhibit.as_expected
    ends = exhibit.numbers["after_all_layers"]
    for factor in (0.5, 0.9, 1.0, 1.1, 1.5):
        assert ends[f"{factor:g}"]["forward"] == pytest.approx(factor ** exhibit.numbers["depth"], rel=1e-4)
    assert exhibit.diagnoses["a = 1"].healthy
    assert not exhibit.diagnoses["a = 0.5"].healthy


def test_healthy_chains_in_their_place_are_found_out(tmp_path, monkeypatch):
    def orthogonal(factor: float, *, depth: int, width: int) -> nn.Sequential:
        chain = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(depth)))
        for layer in chain:
            nn.init.orthogonal_(layer.weight)
        return chain

    monkeypatch.setattr(networks, "linear_chain", orthogonal)
    exhibit = linear_depth(fast_study(tmp_path))
    assert [claim.verdict for claim in exhibit.claims] == [Verdict.FALLS, Verdict.FALLS]
    assert np.isclose(exhibit.numbers["after_all_layers"]["0.5"]["forward"], 1, rtol=1e-3)
