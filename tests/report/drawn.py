"""Runs and diagnoses of ordinary and extraordinary shape, drawn by hand, for the tests of the report room."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from isometry.diagnosis.finding import Cause, Diagnosis, Evidence, Finding, NotChecked, Severity
from isometry.history.run import Run
from isometry.network.architecture import Layer
from tests.runs import make_run

HOSTILE = (
    "<script>alert(1)</script>",
    '"onmouseover="alert(1)',
    "</svg></title><img src=x onerror=alert(1)>",
    "слой.вход",
    "a" * 300,
    "x\x1b[31mred",
    "$x^2$",
    "fc",
)


def histogram(step: int, layer: str, *, centre: int, zeros: int = 0) -> dict[str, Any]:
    counts = [1, 10, 100, 400, 100, 10, 1]
    return {
        "step": step,
        "signal": "activation",
        "layer": layer,
        "lowest": centre - 3,
        "counts": counts,
        "zeros": zeros,
        "nan": 0,
        "inf": 0,
    }


def vanishing() -> Run:
    """Eleven sigmoid layers, 0.6 decades lost in each."""
    depth = np.arange(11)
    names = [f"fc{k + 1}" for k in depth]
    steps = [0, 1, 2, 3, 50, 99]
    delta = 10.0 ** (-1.5 - 0.6 * (10 - depth))
    return make_run(
        steps=steps,
        names=names,
        activation="sigmoid",
        delta_rms=delta,
        delta_count=640,
        delta_zeros=0,
        delta_nan=0,
        delta_inf=0,
        activation_gradient_rms=4 * delta,
        activation_gradient_count=640,
        input_gradient_rms=np.concatenate([[np.nan], 4 * delta[:-1]]),
        input_gradient_count=640,
        slope_rms=0.25,
        slope_saturated=0.0,
        weight_rms=0.125,
        weight_mean=0.01,
        weight_std=0.125,
        weight_gradient_mean=delta / 10,
        weight_gradient_std=delta,
        update_rms=0.125 * 10.0 ** (-3 - 0.4 * (10 - depth)),
        activation_rms=0.5,
        activation_mean=0.5,
        activation_std=0.05,
        pre_activation_spread=10.0 ** (-0.3 * depth),
        scalars={"loss": np.full(100, 2.3) + 0.01 * np.sin(np.arange(100)), "accuracy": np.full(100, 0.1)},
        events={
            "histogram": [histogram(step, name, centre=-1) for step in (0, 99) for name in names],
            "end": [{"step": 99, "steps": 100, "recorded": 6, "cost": 0.7, "elapsed": 100.0, "ending": "finished"}],
        },
        provenance={"name": "train-1", "python": "3.11"},
    )


def underflowing() -> Run:
    """152 linear layers of W = I / 2: δ leaves float32's range before it reaches the first ones."""
    delta = 10.0 ** (-1 - np.log10(2) * np.arange(151, -1, -1))
    delta[delta < 1.4e-45] = 0
    return make_run(steps=[0, 1], delta_rms=delta, delta_count=64, weight_rms=0.5, update_rms=delta)


def breaking() -> Run:
    """Twenty layers that explode until NaN."""
    grown = 10.0 ** (-2 + 0.35 * np.arange(19, -1, -1) + np.arange(60)[:, None] / 12)
    nan, inf = np.zeros_like(grown), np.zeros_like(grown)
    grown[48:], nan[48:], inf[46:48, :4] = np.nan, 64, 5
    loss = 10.0 ** (np.arange(60) / 20)
    loss[46], loss[47:] = np.inf, np.nan
    return make_run(
        delta_rms=grown,
        delta_count=64,
        delta_nan=nan,
        delta_inf=inf,
        weight_rms=0.1,
        update_rms=grown * 1e-3,
        activation_dead=np.linspace(0, 40, 20),
        activation_units=64,
        activation_mean=0.4,
        activation_std=0.7,
        activation="relu",
        scalars={"loss": loss},
    )


def residual() -> Run:
    """A healthy net of four residual blocks."""
    layers = [Layer("stem", "conv", "Conv2d", inputs=("",), activation="relu")]
    for block in range(4):
        before, total = layers[-1].name, f"block{block}.add"
        layers += [
            Layer(f"block{block}.conv1", "conv", "Conv2d", inputs=(before,), branch=total, activation="relu"),
            Layer(f"block{block}.conv2", "conv", "Conv2d", inputs=(f"block{block}.conv1",), branch=total),
            Layer(total, "sum", "add", inputs=(before, f"block{block}.conv2")),
        ]
    layers.append(
        Layer("head", "linear", "Linear", inputs=(layers[-1].name,), output=True, parameters=("head.weight",))
    )
    weight = np.array([0.05 if layer.kind != "sum" else np.nan for layer in layers])
    return make_run(
        layers=layers,
        steps=range(0, 400, 20),
        delta_rms=np.array([1e-3 if layer.branch is None else 3e-4 for layer in layers]),
        delta_count=1024,
        weight_rms=weight,
        update_rms=weight * 1e-3,
        activation_rms=0.8,
        scalars={"loss": 2.3 * np.exp(-np.arange(400) / 50)},
    )


def recurrent() -> Run:
    """An LSTM that forgets six hundredths of a decade in each time step."""
    layers = [
        Layer("embedding", "embedding", "Embedding", inputs=("",)),
        Layer("lstm", "recurrent", "LSTM", recurrent=True, inputs=("embedding",)),
        Layer("head", "linear", "Linear", inputs=("lstm",), output=True),
    ]
    time = [float(value) for value in 10.0 ** (-2 - 0.06 * np.arange(99, -1, -1))]
    events = {"through_time": [{"step": step, "layer": "lstm", "rms": time} for step in (0, 50)]}
    return make_run(layers=layers, steps=[0, 50], delta_rms=0.01, delta_count=64, events=events)


def tiny() -> Run:
    return make_run(
        names=["0", "2", "4"],
        steps=range(5),
        delta_rms=[0.01, 0.02, 0.05],
        weight_rms=0.3,
        update_rms=3e-4,
        scalars={"loss": [0.7, 0.69, 0.66, 0.6, 0.55]},
    )


def hostile() -> Run:
    """Names that would be markup, commands or formulas where they are not escaped."""
    return make_run(
        names=HOSTILE,
        steps=range(3),
        delta_rms=10.0 ** -np.arange(8.0)[::-1],
        weight_rms=0.1,
        update_rms=1e-4,
        scalars={"loss": [1.0, 1.0, 1.0], "<b>accuracy</b>": [0.1, 0.2, 0.3]},
        provenance={"<i>key</i>": "<script>alert(2)</script>", "name": "</title><script>alert(3)</script>"},
    )


def empty() -> Run:
    return make_run(steps=[], names=["a", "b"], delta_rms=np.zeros((0, 2)))


def without_layers() -> Run:
    return make_run(steps=[], layers=[])


RUNS: dict[str, Callable[[], Run]] = {
    made.__name__: made
    for made in (vanishing, underflowing, breaking, residual, recurrent, tiny, hostile, empty, without_layers)
}


def diagnosed(run: Run, *, sick: bool = True) -> Diagnosis:
    """A diagnosis with two findings, or none."""
    names = run.architecture.names or ("nowhere",)
    vanishes = Finding(
        Severity.STOPS,
        f"δ loses 0.60 decades per layer: {names[0]} receives 1/1,000,000 of what reaches {names[-1]}.",
        layers=tuple(names[:-1]),
        first_step=0,
        causes=(
            Cause("slope of sigmoid", -6.0, "−6.0 decades: the quarter slope of sigmoid, 10 times", tuple(names)),
            Cause("spread of z", -0.25, "the spread of z"),
        ),
        evidence=(
            Evidence("slope of log10 ‖δ‖", -0.6, -0.2, "decades / layer", (("delta", "rms"),), "Glorot & Bengio 2010"),
        ),
        consequence=f"{names[0]} moves by 3e-9 of its size per step.",
        problem="vanishing_gradient",
        code="G101",
        confidence=0.97,
    )
    slow = Finding(
        Severity.SLOWS,
        f"{names[0]} hardly moves.",
        layers=tuple(names[:1]),
        first_step=3,
        evidence=(Evidence("update ratio", float("nan"), 1e-5),),
        problem="learning_rate_too_low",
        code="U102",
        confidence=0.9,
    )
    return Diagnosis(
        findings=(vanishes, slow) if sick else (),
        checked=("vanishing_gradient", "exploding_gradient", "non_finite", "learning_rate_too_low"),
        not_checked=(
            NotChecked("loss_spike", "L201", "fewer than 50 steps"),
            NotChecked("loss_not_decreasing", "L101", "fewer than 50 steps"),
            NotChecked("vanishing_gradient", "G102", "no recurrent layer"),
        ),
        run=replace(run, folder=Path("runs/train-1")),
    )
