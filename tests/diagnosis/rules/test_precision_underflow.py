"""N201 tells gradients that float16 rounds away from those that vanish, and from zeros that are there by nature."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import isometry
from isometry.diagnosis.finding import Severity
from isometry.diagnosis.rules.precision_underflow import precision_underflow
from isometry.errors import NotRecorded

STEPS = 24
X = torch.randn(96, 10, generator=torch.Generator().manual_seed(1))
Y = (X[:, :3]).argmax(1)


def network(phi=nn.ReLU, depth=3):
    layers = [part for k in range(depth) for part in (nn.Linear(10 if k == 0 else 24, 24), phi())]
    return nn.Sequential(*layers, nn.Linear(24, 3))


def trained(folder, model, *, factor=1.0, format="float16", scaler=False, rate=0.02):
    """A run of ordinary descent, whose steps do not depend on the factor."""
    optimizer = torch.optim.SGD(model.parameters(), lr=rate / factor)
    scaling = torch.amp.GradScaler("cpu", enabled=scaler)
    dtype = getattr(torch, format)
    with isometry.watch(model, optimizer, run=folder / "run", every=1) as watch:
        for _ in range(STEPS):
            optimizer.zero_grad()
            with torch.autocast(
                "cpu", dtype=dtype if format != "float32" else torch.bfloat16, enabled=format != "float32"
            ):
                outputs = model(X)
            scaling.scale(factor * F.cross_entropy(outputs.float(), Y)).backward()
            scaling.step(optimizer)
            scaling.update()
    return watch.run


@pytest.mark.parametrize(("factor", "severity"), [(1e-8, Severity.STOPS), (3e-6, Severity.HARMS)])
def test_small_losses_in_float16_are_found(tmp_path, factor, severity):
    (finding,) = precision_underflow(trained(tmp_path, network(), factor=factor))
    assert finding.severity >= severity
    assert finding.problem == "precision_underflow"
    assert set(finding.layers) == {"0", "2", "4", "6"} if severity == Severity.STOPS else "0" in finding.layers


@pytest.mark.parametrize(
    "healthy",
    [
        {},
        {"factor": 1e-6, "scaler": True},
        {"factor": 1e-8, "format": "bfloat16"},
    ],
)
def test_ordinary_and_scaled_losses_are_not(tmp_path, healthy):
    run = trained(tmp_path, network(), **healthy)
    if healthy.get("format") == "bfloat16":
        with pytest.raises(NotRecorded, match="float16"):
            precision_underflow(run)
    else:
        assert precision_underflow(run) == ()


def test_dead_units_are_not_taken_for_it(tmp_path):
    model = network()
    nn.init.constant_(model[2].bias, -50.0)
    run = trained(tmp_path, model)
    assert (run.history["delta", "rms"][:, 0] == 0).all()
    assert precision_underflow(run) == ()


def test_a_network_that_loses_them_is_to_blame_itself(tmp_path):
    (finding,) = precision_underflow(trained(tmp_path, network(nn.Sigmoid, depth=9)))
    assert finding.severity == Severity.NOTE


def test_float32_is_not_looked_at(tmp_path):
    with pytest.raises(NotRecorded, match="float16"):
        precision_underflow(trained(tmp_path, network(nn.Sigmoid, depth=9), format="float32"))


def test_gradients_of_rows_that_nobody_asked_for_are_zero_by_nature(tmp_path):
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.rows, self.last = nn.Embedding(400, 12), nn.Linear(12, 3)

        def forward(self, _):
            return self.last(torch.tanh(self.rows(torch.arange(96))))

    assert precision_underflow(trained(tmp_path, Words())) == ()


def test_zeros_that_float16_makes_of_a_fading_gradient_are_not_told_as_a_cut(tmp_path):
    torch.manual_seed(0)
    found = {one.code: one for one in isometry.diagnose(trained(tmp_path, network(nn.Sigmoid, depth=12))).findings}
    assert "G301" not in found
    assert found["G101"].severity >= Severity.HARMS
    assert not found["G101"].follows
