"""Inputs that the code of a patch standardises."""

import pytest
import torch
from torch import nn

from isometry.network.edits import Standardise
from isometry.treatment.patch import patch
from tests.treatment.patch.nets import BATCH, architecture_of


def test_inputs_are_standardised_and_constant_ones_stay_finite():
    inputs = torch.stack([200 + 50 * BATCH[:, 0], torch.full((64,), 3.0)], dim=1)
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    told = architecture_of(model, BATCH[:, :2])
    space = {"model": model, "inputs": inputs}
    exec(patch([Standardise()], told), space)
    assert float(space["inputs"][:, 0].mean()) == pytest.approx(0, abs=1e-5)
    assert float(space["inputs"][:, 0].std(correction=0)) == pytest.approx(1, abs=1e-4)
    assert not space["inputs"][:, 1].any()
