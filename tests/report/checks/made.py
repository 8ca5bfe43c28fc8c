"""Checks of ordinary and extraordinary shape, made by hand."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis.blame import Outlier
from isometry.diagnosis.check import Band, Check, Counterfactual, Departure, Prediction
from isometry.diagnosis.finding import Cause, Diagnosis, Finding, NotChecked, Severity
from isometry.history.inspection import JacobianFacts, Spectrum
from isometry.network.architecture import Architecture
from isometry.network.edits import InsertNorm, Reinitialise, ReplaceActivation
from isometry.network.signals import Signal
from isometry.theory.explain import Explanation, HiddenLayer, explain
from tests.report.drawn import HOSTILE, residual
from tests.runs import make_run

Floats = NDArray[np.float64]
UNKNOWN = float("nan")


def band(mean: Floats, reach: Floats) -> Band:
    return Band(mean, mean - reach, mean + reach)


def explained(activation: str, sigma_w: float, sigma_b: float, depth: int) -> Explanation | None:
    return explain([HiddenLayer(activation, sigma_w, sigma_b, 64, "linear", False)] * depth)


def make_check(
    *,
    layers: int,
    activation: str = "tanh",
    sigma_w: float = 1.0,
    sigma_b: float = 0.2,
    delta: float = 0.0,
    z: float = 0.0,
    findings: tuple[Finding, ...] = (),
    names: tuple[str, ...] = (),
    changes: tuple[Counterfactual, ...] = (),
    departures: tuple[Departure, ...] = (),
) -> Check:
    """A chain of layers in which δ changes by ``delta`` decades a layer and z by ``z``, as predicted."""
    depth = np.arange(layers, dtype=np.float64)
    back, forth = (layers - 1 - depth) * delta, -0.2 + z * depth
    wobble = 0.02 * np.sin(3 * depth)
    run = make_run(
        steps=[0],
        names=names or tuple(f"fc{k + 1}" for k in range(layers)),
        activation=activation,
        delta_rms=10.0 ** (back + wobble - 2),
        delta_count=640,
        pre_activation_rms=10.0 ** (forth + wobble),
        events={"end": [{"step": 0, "steps": 1, "recorded": 1}]},
        provenance={"parameters": 4160 * layers},
    )
    prediction = Prediction(
        architecture=run.architecture,
        forward=band(forth, np.full(layers, 0.1)),
        backward=band(back, 0.04 * np.sqrt(np.arange(layers)[::-1])),
        dead=0.0,
        nets=20,
        explanation=explained(activation, sigma_w, sigma_b, layers - 1),
    )
    return Check(
        diagnosis=Diagnosis(
            findings,
            ("vanishing_gradient", "exploding_gradient", "non_finite", "poor_initialization"),
            (NotChecked("loss_spike", "L201", "fewer than 50 steps"),),
            run,
        ),
        prediction=prediction,
        forward=forth + wobble,
        backward=back + wobble - wobble[-1],
        departures=departures,
        counterfactuals=changes,
        jacobian=computed([[1.9, 0.8, 0.3, 0.1], [1.7, 0.9, 0.2, 0.1], [1.8, 0.7, 0.4, 0.2]]),
    )


def computed(values: list[list[float]], *, samples: int = 0, together: bool = False) -> JacobianFacts:
    """Facts of a Jacobian whose singular values are these; the moments are not theirs."""
    rows = tuple(map(tuple, values))
    spectrum = Spectrum(rows, samples or len(rows), together, 1e-6)
    return JacobianFacts(64, len(rows[0]), 0, 0.31, 1.2, 1.9, spectrum=spectrum)


def vanishing(layers: int, decades: float) -> Finding:
    return Finding(
        Severity.STOPS,
        f"δ loses {-decades:.2f} decades per layer: fc1 receives 1/10,000,000 of what reaches fc{layers}.",
        layers=tuple(f"fc{k + 1}" for k in range(layers - 1)),
        first_step=0,
        causes=(Cause("slope of sigmoid", -6.6, "−6.6 decades: the quarter slope of sigmoid, 11 times"),),
        consequence="fc1 will move by 3e-10 of its size per step.",
        problem="vanishing_gradient",
        code="G101",
        confidence=0.97,
    )


def healthy() -> Check:
    """Eight tanh layers near their critical point."""
    return make_check(layers=8, sigma_w=1.3, delta=-0.02, z=-0.01)


def sick() -> Check:
    """Twelve sigmoid layers, with what would help them."""
    names = tuple(f"fc{k + 1}" for k in range(12))
    changes = (
        Counterfactual("layer norm after sigmoid", (InsertNorm(names, "layer", after=True),), 0.07, 0.11, 0.09),
        Counterfactual("He + ReLU", (Reinitialise(names, 2**0.5), ReplaceActivation(names, "relu")), -0.10, -0.2, 0.21),
        Counterfactual("tanh at its critical point", (ReplaceActivation(names, "tanh"),), -0.21, 0.02, 0.08),
        Counterfactual("layer norm before sigmoid", (InsertNorm(names, "layer"),), -4.08, 0.0, 0.12),
        Counterfactual("as it is", (), -7.0, -0.22, 0.13),
        Counterfactual("half the weights", (Reinitialise(names, 0.5),), -10.3, -3.0, 0.14),
    )
    found = (vanishing(12, -0.63),)
    return make_check(
        layers=12, activation="sigmoid", sigma_b=0.0, delta=-0.635, z=-0.02, findings=found, changes=changes
    )


def deep() -> Check:
    """A hundred tanh layers, two of which were drawn from another law."""
    departures = (
        Departure(
            "fc41",
            Signal.DELTA,
            -1.2,
            -0.1,
            0.06,
            "fc41: δ loses 1.20 decades across it; −0.10 … +0.06 were predicted.",
        ),
        Departure(
            "fc70", Signal.PRE_ACTIVATION, 0.9, -0.1, 0.1, "fc70: z grows by 0.90 decades; ±0.10 were predicted."
        ),
    )
    made = make_check(layers=100, delta=-0.02, departures=departures)
    backward, forward = made.backward.copy(), made.forward.copy()
    backward[:41] -= 1.2
    forward[69] += 0.9
    outliers = tuple(
        Outlier(f"fc{k}", "weight scale", -0.3, 0.01, 30.0 - k, f"fc{k}: its weights are 0.30 decades smaller.")
        for k in range(2, 14)
    )
    jacobian = JacobianFacts(3072, 1000, 2, 0.31, 1.2, 1.9, unlisted="inputs and outputs are more than 128 each")
    return replace(made, backward=backward, forward=forward, outliers=outliers, jacobian=jacobian)


def broken() -> Check:
    """Layers without a band, bands without an end, δ that is exactly zero; theory has nothing to say."""
    made = make_check(layers=7, activation="relu", findings=(vanishing(7, -1.0),))
    back, low, high = (np.array([UNKNOWN, -3.0, UNKNOWN, -2.0, -1.0, -0.5, 0.0]) for _ in range(3))
    low[1], high[1], low[3], high[3] = -np.inf, -1.0, -2.5, -1.5
    forth = Band(np.full(7, UNKNOWN), np.full(7, UNKNOWN), np.full(7, UNKNOWN))
    prediction = replace(
        made.prediction,
        backward=Band(back, low, high),
        forward=forth,
        dead=0.35,
        explanation=None,
        notes=("The embedding was kept as it is: it has no law of weights.",),
    )
    gone = Counterfactual("as it is", (), -np.inf, UNKNOWN, UNKNOWN)
    return replace(
        made,
        prediction=prediction,
        forward=np.full(7, UNKNOWN),
        backward=np.array([-np.inf, -np.inf, -3.0, -2.0, -1.1, UNKNOWN, 0.0]),
        counterfactuals=(Counterfactual("He", (Reinitialise(("fc1",), 2**0.5),), -0.2, UNKNOWN, 0.1), gone),
        jacobian=JacobianFacts(0, 0, 0, UNKNOWN, UNKNOWN, UNKNOWN, "the input is no tensor of real numbers"),
    )


def single() -> Check:
    """One layer: there is no depth to speak of."""
    made = make_check(layers=1)
    return replace(made, jacobian=None, prediction=replace(made.prediction, explanation=None))


def hostile() -> Check:
    """Names that would be markup, commands or formulas where they are not escaped; a Jacobian full of NaN and 0."""
    changes = (Counterfactual(HOSTILE[0], (Reinitialise(HOSTILE, 1.0),), -0.5, 0.0, 0.1),)
    departures = (Departure(HOSTILE[0], Signal.DELTA, -1.0, -0.1, 0.1, f"{HOSTILE[5]}: {HOSTILE[2]}"),)
    made = make_check(layers=len(HOSTILE), names=HOSTILE, changes=changes, departures=departures)
    return replace(made, jacobian=computed([[UNKNOWN, UNKNOWN], [3.0, 0.0], [0.0, 0.0]]))


def without_layers() -> Check:
    """Nothing was seen."""
    made = make_check(layers=1)
    nothing = np.zeros(0)
    prediction = replace(
        made.prediction,
        architecture=Architecture(()),
        forward=band(nothing, nothing),
        backward=band(nothing, nothing),
        nets=0,
        explanation=None,
    )
    diagnosis = replace(made.diagnosis, checked=(), run=make_run(steps=[], layers=[]))
    return replace(made, diagnosis=diagnosis, prediction=prediction, forward=nothing, backward=nothing)


def branched() -> Check:
    """Four residual blocks, whose branches carry smaller signals."""
    run = residual()
    count = len(run.architecture)
    back = np.array([0.0 if layer.branch is None else -0.5 for layer in run.architecture])
    made = make_check(layers=count)
    prediction = replace(
        made.prediction,
        architecture=run.architecture,
        backward=band(back, np.full(count, 0.1)),
        forward=band(back, np.full(count, 0.1)),
        explanation=None,
    )
    diagnosis = replace(made.diagnosis, run=replace(made.run, architecture=run.architecture))
    return replace(made, diagnosis=diagnosis, prediction=prediction, forward=back, backward=back)


CHECKS: dict[str, Callable[[], Check]] = {
    made.__name__: made for made in (healthy, sick, deep, broken, single, branched, hostile, without_layers)
}
