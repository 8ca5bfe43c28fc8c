"""N203 tells values that float16 cannot hold from a training that goes off, and from a loss scaler at work."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import isometry
from isometry.diagnosis.finding import Severity
from isometry.diagnosis.rules.precision_overflow import precision_overflow
from isometry.errors import NotRecorded

X = torch.randn(64, 12, generator=torch.Generator().manual_seed(2))
Y = X[:, :4].argmax(1)


def network():
    return nn.Sequential(nn.Linear(12, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))


def trained(folder, *, scale=1.0, factor=1.0, format=torch.float16, scaler=False, first_scale=65536.0, rate=0.02):
    torch.manual_seed(0)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate / factor)
    scaling = torch.amp.GradScaler("cpu", enabled=scaler, init_scale=first_scale)
    with isometry.watch(model, optimizer, run=folder / "run", every=1) as watch:
        for _ in range(16):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=format):
                outputs = model(scale * X)
            scaling.scale(factor * F.cross_entropy(outputs.float(), Y)).backward()
            scaling.step(optimizer)
            scaling.update()
    return watch.run


@pytest.mark.parametrize(("scaler", "scale"), [(False, 1e6), (True, 1e6), (False, 1e9)])
def test_large_outputs_are_found_and_no_scaler_helps(tmp_path, scaler, scale):
    (finding,) = precision_overflow(trained(tmp_path, scale=scale, scaler=scaler))
    assert (finding.layers, finding.first_step, finding.severity) == (("0",), 0, Severity.STOPS)
    assert "output" in finding.summary


def test_large_gradients_are_found(tmp_path):
    (finding,) = precision_overflow(trained(tmp_path, factor=1e8))
    assert (finding.layers, finding.severity) == (("5",), Severity.STOPS)
    assert "δ" in finding.summary


def test_a_scaler_that_looks_for_its_place_is_healthy(tmp_path):
    run = trained(tmp_path, scaler=True, first_scale=2.0**30)
    assert (run.history["delta", "inf"] > 0).any()
    assert precision_overflow(run) == ()


def by_hand(folder, *, first_scale, factor=1.0):
    """Dynamic loss scaling that a training does by itself."""
    torch.manual_seed(0)
    model, scale = network(), first_scale
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with isometry.watch(model, optimizer, run=folder / "run", every=1) as watch:
        for _ in range(90):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.float16):
                outputs = model(X)
            (scale * factor * F.cross_entropy(outputs.float(), Y)).backward()
            gradients = [parameter.grad for parameter in model.parameters()]
            if not all(gradient.isfinite().all() for gradient in gradients):
                scale /= 2
                continue
            for gradient in gradients:
                gradient /= scale * factor
            optimizer.step()
    return watch.run


def test_a_scaler_written_by_hand_that_looks_for_its_place_is_a_note(tmp_path):
    run = by_hand(tmp_path, first_scale=2.0**32)
    assert (run.history["delta", "inf"] > 0).any()
    assert run.history.scalars["loss"].values[-1] < 0.8 * run.history.scalars["loss"].values[0]
    assert [finding.severity for finding in precision_overflow(run)] == [Severity.NOTE]


def test_a_scaler_that_fell_to_zero_is_told(tmp_path):
    (finding,) = precision_overflow(trained(tmp_path, scale=1e6, scaler=True, first_scale=2.0**-142))
    assert (finding.severity, finding.first_step) == (Severity.STOPS, 0)
    assert "it is 0 by step 8" in finding.consequence


def test_ordinary_values_are_no_finding(tmp_path):
    assert precision_overflow(trained(tmp_path)) == ()


def test_bfloat16_holds_them(tmp_path):
    with pytest.raises(NotRecorded, match="float16"):
        precision_overflow(trained(tmp_path, scale=1e6, format=torch.bfloat16))


def test_the_loss_of_numbers_is_told_as_its_consequence(tmp_path):
    diagnosis = isometry.diagnose(trained(tmp_path, scale=1e6))
    assert diagnosis.findings[0].code == "N203"
    (lost,) = [finding for finding in diagnosis.findings if finding.code == "N101"]
    assert "N203" in lost.follows
