"""N202 tells weights that are too coarse for their updates."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import isometry
from isometry.diagnosis.finding import Severity
from isometry.diagnosis.rules.updates_round_away import updates_round_away
from isometry.errors import NotRecorded
from isometry.network.architecture import Layer
from tests.runs import make_run

X = torch.randn(64, 8, generator=torch.Generator().manual_seed(4))
Y = X @ torch.randn(8, 2, generator=torch.Generator().manual_seed(5))


def trained(folder, *, weights=torch.bfloat16, rate=2e-4, steps=520, resting=(), schedule=lambda step: 1.0):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 2)).to(weights)
    groups = [
        {"params": list(part.parameters()), "lr": 0.0 if index in resting else rate}
        for index, part in enumerate(model)
        if index != 1
    ]
    optimizer = torch.optim.SGD(groups, lr=rate)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    with isometry.watch(model, optimizer, run=folder / "run", every=16) as watch:
        for _ in range(steps):
            optimizer.zero_grad()
            F.mse_loss(model(X.to(weights)).float(), Y).backward()
            optimizer.step()
            scheduler.step()
    return watch.run


def test_coarse_weights_that_stay_are_found(tmp_path):
    (finding,) = updates_round_away(trained(tmp_path))
    assert (finding.severity, finding.layers) == (Severity.HARMS, ("0", "2"))
    assert finding.evidence[0].measured > 0.85


def test_a_short_run_is_a_note(tmp_path):
    (finding,) = updates_round_away(trained(tmp_path, steps=60))
    assert finding.severity == Severity.NOTE


def test_steps_that_are_large_enough_are_no_finding(tmp_path):
    assert updates_round_away(trained(tmp_path, rate=0.3)) == ()


def test_a_layer_whose_rate_is_zero_is_not_accused(tmp_path):
    run = trained(tmp_path, rate=0.3, steps=60, resting=(0,))
    assert (run.history["update", "zeros"] == run.history["update", "count"])[:, 0].all()
    assert updates_round_away(run) == ()


def test_beside_a_layer_whose_rate_is_zero_others_are_still_found(tmp_path):
    (finding,) = updates_round_away(trained(tmp_path, resting=(0,)))
    assert (finding.severity, finding.layers) == (Severity.HARMS, ("2",))


def test_where_every_rate_is_zero_nothing_is_known(tmp_path):
    with pytest.raises(NotRecorded, match="rate"):
        updates_round_away(trained(tmp_path, resting=(0, 2), steps=40))


def test_a_warm_up_is_not_judged_by_its_beginning(tmp_path):
    run = trained(tmp_path, rate=0.3, schedule=lambda step: min(1.0, (step / 440) ** 8))
    assert updates_round_away(run) == ()


def test_what_lasts_after_a_warm_up_is_found_from_its_end_on(tmp_path):
    (finding,) = updates_round_away(trained(tmp_path, steps=720, schedule=lambda step: min(1.0, step / 160)))
    assert (finding.severity, finding.first_step) == (Severity.HARMS, 160)


def test_little_that_is_left_after_a_warm_up_is_a_note(tmp_path):
    (finding,) = updates_round_away(trained(tmp_path, schedule=lambda step: min(1.0, step / 160)))
    assert finding.severity == Severity.NOTE


def test_weights_in_float32_are_not_looked_at(tmp_path):
    with pytest.raises(NotRecorded, match="half precision"):
        updates_round_away(trained(tmp_path, weights=torch.float32))


@pytest.mark.parametrize(
    ("left", "still", "severity"),
    [(0.35, (0, 1), Severity.SLOWS), (0.05, (0, 1), Severity.NOTE), (0.35, (0,), Severity.NOTE)],
)
def test_it_slows_where_all_hidden_layers_stand_still_and_much_is_left(left, still, severity):
    shape, names = (64, 64), ("a", "b", "out")
    layers = [Layer(name, "linear", "Linear", weight_shape=shape, dtype="bfloat16") for name in names]
    zeros = [4000.0 if place in still else 100.0 for place in range(3)]
    run = make_run(
        layers=layers,
        steps=range(0, 1000, 100),
        update_count=4096.0,
        update_zeros=zeros,
        weight_gradient_count=4096.0,
        weight_gradient_zeros=0.0,
        scalars={"loss": np.linspace(1.0, left, 1000)},
    )
    (finding,) = updates_round_away(run)
    assert finding.severity == severity
