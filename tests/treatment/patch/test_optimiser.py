"""Optimisers and rates that the code of a patch changes."""

import pytest
import torch

from isometry.network.edits import ChangeOptimizer, Decay, ScaleRate, SetEpsilon, WarmUp
from tests.treatment.patch.nets import dense, patched, step


def test_rates_are_scaled_and_optimisers_made():
    model = dense()
    optimizer = torch.optim.SGD(model.parameters(), lr=2.0)
    patched([ScaleRate(0.003)], model, optimizer=optimizer)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.006)
    made = patched([ChangeOptimizer("adam", 0.003)], model, optimizer=optimizer)["optimizer"]
    assert (type(made), made.param_groups[0]["lr"]) == (torch.optim.Adam, 0.003)
    head_alone = torch.optim.SGD(model[6].parameters(), lr=2.0)
    made = patched([ChangeOptimizer("sgd", 0.1)], model, optimizer=head_alone)["optimizer"]
    assert made.param_groups[0]["params"] == list(model[6].parameters())
    assert made.param_groups[0]["momentum"] == 0.9


def test_epsilon_is_set():
    model = dense()
    optimizer = torch.optim.Adam(model.parameters())
    patched([SetEpsilon(3e-13)], model, optimizer=optimizer)
    assert optimizer.param_groups[0]["eps"] == 3e-13


def test_the_rate_rises_evenly_and_stays():
    model = dense()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.8)
    patched([WarmUp(4)], model, optimizer=optimizer)
    seen = []
    for _ in range(6):
        seen.append(optimizer.param_groups[0]["lr"])
        step(model, optimizer)
    assert seen == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])


def test_the_rate_falls_evenly_to_zero_and_rises_before_with_a_warm_up():
    model = dense()
    for edits, expected in (
        ([Decay(4)], [0.8, 0.6, 0.4, 0.2, 0.0, 0.0]),
        ([Decay(4), WarmUp(2)], [0.4, 0.6, 0.4, 0.2, 0.0, 0.0]),
    ):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.8)
        patched(edits, model, optimizer=optimizer)
        seen = []
        for _ in range(6):
            seen.append(optimizer.param_groups[0]["lr"])
            step(model, optimizer)
        assert seen == pytest.approx(expected, abs=1e-9)
