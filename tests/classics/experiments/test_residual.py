"""Deep plain networks do not train, residual ones do; signals follow their theory."""

import numpy as np
import pytest
import torch
from torch import nn

from isometry.classics.build import residual as build
from isometry.classics.build.signals import delta_profiles
from isometry.classics.classic import Verdict
from isometry.classics.experiments.residual import residual_152
from tests.classics.studies import fast_study


@pytest.mark.slow
def test_skips_with_small_branches_train_where_plain_networks_do_not(tmp_path):
    exhibit = residual_152(fast_study(tmp_path, seeds=3))
    assert exhibit.as_expected


@pytest.mark.slow
def test_a_residual_network_in_the_place_of_the_plain_one_is_found_out(tmp_path, monkeypatch):
    made = build.network

    def always_residual(kind: str, **sizes: int) -> nn.Sequential:
        return made("skips, layer norm", **sizes)

    monkeypatch.setattr(build, "network", always_residual)
    verdicts = [claim.verdict for claim in residual_152(fast_study(tmp_path, seeds=2)).claims]
    assert verdicts[0] is Verdict.FALLS  # it does not get worse with depth
    assert verdicts[2] is Verdict.STANDS  # what stands for bare skips trains
    assert verdicts[4] is Verdict.FALLS  # images stay apart


def test_bare_skips_double_the_power_of_delta_in_each_block():
    experiment = build.on_digits("skips", depth=42, epochs=1)
    batch = experiment.data[0][:64], experiment.data[1][:64]
    profiles = delta_profiles(experiment.build, range(6), batch, experiment.loss_fn)
    decades = np.log10(profiles[:, 1] / profiles[:, -2])
    assert np.median(decades) / 39 == pytest.approx(np.log10(2) / 2, rel=0.1)  # finite width takes some


def test_plain_networks_make_rows_alike_and_skips_do_not():
    rows = torch.randn(32, 64)
    torch.manual_seed(0)
    plain = build.cosines(build.network("plain", depth=60), rows)
    scaled = build.cosines(build.network("skips, scaled", depth=60), rows)
    assert len(plain) == 59
    assert plain[-1] > 0.95
    assert scaled[-1] < 0.9
