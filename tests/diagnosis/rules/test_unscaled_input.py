"""D101 finds inputs out of scale, and leaves ids, norms, pictures and one-hot rows alone."""

from dataclasses import replace

import numpy as np
import pytest

from isometry.diagnosis.finding import Severity
from isometry.diagnosis.rules.unscaled_input import unscaled_input
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.architecture import Layer
from tests.diagnosis.rules.curves import CROSS_ENTROPY, falling
from tests.runs import make_run

FIRST = Layer("fc1", "linear", "Linear", ("fc1.weight",), (8, 8), 8, 8, inputs=("",))
SECOND = Layer("fc2", "linear", "Linear", ("fc2.weight",), (8, 8), 8, 8, inputs=("fc1",), output=True)


def reading(mean: float, std: float, *, first: Layer = FIRST, filled: float = 1.0) -> Run:
    nothing = float("nan")
    rms = (mean**2 + std**2) ** 0.5
    return make_run(
        layers=[first, SECOND],
        input_mean=[mean, nothing],
        input_std=[std, nothing],
        input_rms=[rms, nothing],
        input_abs_max=[3 * rms, nothing],
        input_count=[1000, 0],
        input_zeros=[1000 * (1 - filled), 0],
    )


@pytest.mark.parametrize(("mean", "std"), [(33.0, 78.0), (0.0, 1e4), (0.0, 1e-4), (1000.0, 2.0), (100.0, 1.0)])
def test_inputs_out_of_scale_are_found(mean: float, std: float) -> None:
    (finding,) = unscaled_input(reading(mean, std))
    assert finding.severity >= Severity.SLOWS
    assert finding.layers == ("fc1",)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.13, 0.31), (0.45, 0.25), (4.9, 6.0), (0.0, 0.05), (0.5, 0.0)])
def test_ordinary_inputs_are_no_finding(mean: float, std: float) -> None:
    assert unscaled_input(reading(mean, std)) == ()


def test_one_hot_rows_are_no_finding() -> None:
    assert unscaled_input(reading(1e-4, 1e-2, filled=1e-4)) == ()


@pytest.mark.parametrize("kind", ["embedding", "norm"])
def test_ids_and_norms_are_not_judged(kind: str) -> None:
    with pytest.raises(NotRecorded):
        unscaled_input(reading(1e4, 1e4, first=replace(FIRST, kind=kind)))


def test_norm_after_the_first_layer_undoes_the_scale() -> None:
    with pytest.raises(NotRecorded):
        unscaled_input(reading(33.0, 78.0, first=replace(FIRST, norm="bn1")))


def test_loud_inputs_are_found_only_where_the_loss_hardly_falls() -> None:
    def run(end: float) -> Run:
        plain = reading(0.0, 20.0)
        columns = {f"{signal}_{name}": plain.history[signal, name] for signal, name in plain.history.columns}
        return make_run(layers=[FIRST, SECOND], scalars={"loss": np.linspace(2.3, end, 200)}, **columns)

    assert len(unscaled_input(run(2.0))) == 1
    assert unscaled_input(run(0.1)) == ()


@pytest.mark.parametrize(("end", "severity"), [(2.2, Severity.HARMS), (0.1, Severity.SLOWS)])
def test_severity_is_what_the_loss_shows(end: float, severity: Severity) -> None:
    plain = reading(33.0, 78.0)
    columns = {f"input_{name}": plain.history["input", name] for name in ("mean", "std", "rms")}
    run = make_run(
        layers=[FIRST, SECOND],
        scalars={"loss": falling(end, steps=200)},
        events={"loss_kind": [CROSS_ENTROPY]},
        **columns,
    )
    (finding,) = unscaled_input(run)
    assert finding.severity == severity
