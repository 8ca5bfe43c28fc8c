"""Each model's gradient is clipped by itself, and clipping is what lets the network train."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from isometry.adapters.torch.train import train, train_many
from isometry.classics.build import clipping as build
from isometry.classics.classic import Verdict
from isometry.classics.experiments.clipping import clipping
from isometry.network.experiment import Experiment
from tests.classics.studies import fast_study


def _experiment(optimizer: object) -> Experiment:
    """In double precision: an exploding gradient enlarges rounding."""
    given = build.remember(gain=2.0, length=12, rows=64, epochs=3, seed=0, optimizer=optimizer)
    return replace(given, build=lambda: given.build().double(), data=tuple(part.double() for part in given.data))


def _clipped_by_torch(clip):
    """SGD behind torch's own clipping."""

    class Reference(torch.optim.SGD):
        def step(self, closure=None):
            clip([p for group in self.param_groups for p in group["params"]])
            super().step(closure)

    return lambda parameters: Reference(parameters, lr=0.25)


@pytest.mark.parametrize(
    ("how", "threshold", "clip"),
    [
        ("norm", 1.0, lambda parameters: nn.utils.clip_grad_norm_(parameters, 1.0)),
        ("value", 0.1, lambda parameters: nn.utils.clip_grad_value_(parameters, 0.1)),
    ],
)
def test_clipping_of_stacked_models_is_torchs_clipping_of_each(how, threshold, clip):
    stacked = _experiment(
        lambda parameters: build.ClippedSGD(parameters, how=how, threshold=threshold, rates=[0.25] * 3, stacked=True)
    )
    many = train_many(stacked, [3, 4, 5])
    for place, seed in enumerate([3, 4, 5]):
        alone = train(_experiment(_clipped_by_torch(clip)), seed=seed)
        assert np.allclose(many.losses[place], alone.losses, rtol=1e-6)  # rounding, enlarged


def test_a_model_is_clipped_without_a_look_at_its_neighbour():
    weights = nn.Parameter(torch.zeros(2, 3))
    weights.grad = torch.tensor([[300.0, 0.0, 400.0], [0.3, 0.0, 0.4]])
    optimizer = build.ClippedSGD([weights], how="norm", threshold=1.0, rates=[1.0, 1.0], stacked=True)
    optimizer.step()
    assert torch.allclose(weights.detach(), -torch.tensor([[0.6, 0.0, 0.8], [0.3, 0.0, 0.4]]), atol=1e-5)


@pytest.mark.slow
def test_clipping_trains_what_fails_without(tmp_path):
    exhibit = clipping(fast_study(tmp_path, seeds=6))
    assert exhibit.as_expected


@pytest.mark.slow
def test_a_network_that_does_not_explode_is_found_out(tmp_path, monkeypatch):
    made = build.Recurrent.__init__

    def gentle(self: build.Recurrent, *, gain: float, width: int = 32) -> None:
        made(self, gain=1.0, width=width)
        nn.init.eye_(self.recurrent.weight)

    monkeypatch.setattr(build.Recurrent, "__init__", gentle)
    monkeypatch.setattr("isometry.classics.experiments.clipping.RATES", (0.001, 0.003, 0.01, 0.03, 0.1, 0.2))
    verdicts = [claim.verdict for claim in clipping(fast_study(tmp_path, seeds=3)).claims]
    assert verdicts[1] is Verdict.FALLS
