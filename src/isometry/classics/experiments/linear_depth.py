"""A deep linear network with every W = a · I: signals scale as a to the power of the depth."""

import numpy as np
from numpy.typing import NDArray

from isometry.classics.classic import Claim, Exhibit, Study, Verdict, classic
from isometry.diagnosis.diagnose import diagnose
from isometry.diagnosis.finding import Diagnosis
from isometry.network.signals import Signal
from isometry.report.chart import Axis, Chart, Level, Line, Points, Table
from isometry.report.words import measured, power

Numbers = NDArray[np.float64]

FACTORS = (1.5, 1.1, 1.0, 0.9, 0.5)
DEPTH = 152
"""Layers of the largest residual network of He et al. 2016."""
WIDTH = 8
SMALLEST = 2.0**-149
"""The smallest positive number of float32."""
CLOSE = 1e-3
"""Decades a layer by which measured and predicted may differ: float32 rounds each product to 3e-8 decades."""


@classic(
    "linear-depth",
    title="What does depth do to a signal that every layer multiplies by a?",
    covers=("A1", "A2"),
    source="course notes on initialisation; He et al. 2016 for the depth",
    place=10,
)
def linear_depth(study: Study) -> Exhibit:
    """A chain of up to 152 linear layers without bias, each W = a · I, for a of 0.5, 0.9, 1.0, 1.1 and 1.5.

    The input is drawn from N(0, 1). The loss is the mean inner product of the output with a fixed random vector, so the
    gradient at the output does not depend on a. One step is recorded, and nothing is learned: activations on the way
    forward and δ on the way back are held against a to the power of the number of layers passed.
    """
    depth = study.size(DEPTH, 40)
    forward, backward, diagnoses = {}, {}, {}
    for factor in FACTORS:
        study.say(f"a = {factor:g}, {depth} layers")
        forward[factor], backward[factor], diagnoses[f"a = {factor:g}"] = _signals(factor, depth, study)
    predicted = {factor: factor ** np.arange(depth + 1.0) for factor in FACTORS}
    off = max(
        _off(measured_signal[factor], predicted[factor])
        for measured_signal in (forward, backward)
        for factor in FACTORS
    )
    return Exhibit(
        claims=(_power_claim(off), _hopeless_claim(forward, backward, depth)),
        charts=(_chart(forward, backward, predicted, depth),),
        numbers={
            "depth": depth,
            "worst_difference_decades_per_layer": off,
            "after_all_layers": {
                f"{factor:g}": {
                    "predicted": float(predicted[factor][-1]),
                    "forward": float(forward[factor][-1]),
                    "backward": float(backward[factor][-1]),
                }
                for factor in FACTORS
            },
        },
        diagnoses=diagnoses,
    )


def _signals(factor: float, depth: int, study: Study) -> tuple[Numbers, Numbers, Diagnosis]:
    """Sizes after 0, 1 … layers against the start: forwards from the input, and backwards from the output."""
    import torch

    from isometry.adapters.torch.train import train
    from isometry.classics.build.networks import linear_chain
    from isometry.network.experiment import Experiment

    generator = torch.Generator().manual_seed(study.seeds[0])
    inputs = torch.randn(64, WIDTH, generator=generator)
    direction = torch.randn(64, WIDTH, generator=generator)
    experiment = Experiment(
        build=lambda: linear_chain(factor, depth=depth, width=WIDTH),
        data=(inputs, direction),
        loss_fn=lambda output, target: (output * target).sum(-1).mean(),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0),
        batch_size=64,
    )
    folder = study.runs / f"a-{factor:g}"
    run = train(experiment, seed=study.seeds[0], run=folder, every=1).run
    assert run is not None
    activation = run.history[Signal.ACTIVATION, "rms"][0].astype(np.float64)
    delta = run.history[Signal.DELTA, "rms"][0].astype(np.float64)
    start = float(inputs.double().square().mean().sqrt())
    forward = np.concatenate([[start], activation]) / start
    # δ is recorded at each layer's output; after `depth` layers it has reached the input, where Wᵀδ of the first is.
    backward = delta[::-1] / delta[-1]
    return forward, np.append(backward, np.nan), diagnose(run)


def _off(found: Numbers, predicted: Numbers) -> float:
    """Greatest difference from the prediction where float32 holds the number in full precision. [decades / layer]"""
    layers = np.arange(len(found))
    whole = np.isfinite(found) & (predicted > np.finfo(np.float32).tiny) & (layers > 0)
    differences = np.abs(np.log10(found[whole]) - np.log10(predicted[whole])) / layers[whole]
    return float(differences.max())


def _power_claim(off: float) -> Claim:
    return Claim(
        words="In a deep linear network with W = a · I activations and gradients scale as a to the power of the depth.",
        measured=f"Measured and predicted sizes differ by at most {measured(off)} decades a layer, forwards and "
        "backwards, as long as float32 holds the number in full precision.",
        verdict=Verdict.STANDS if off < CLOSE else Verdict.FALLS,
    )


def _hopeless_claim(forward: dict[float, Numbers], backward: dict[float, Numbers], depth: int) -> Claim:
    large, small = forward[1.5][-1], forward[0.5]
    lost = np.flatnonzero(small == 0)
    deaf = np.flatnonzero(backward[0.5] == 0)
    said = f"After {depth} layers a = 1.5 has multiplied the signal by {_magnitude(large)}"
    if lost.size and deaf.size:
        said += (
            f"; a = 0.5 should leave {_magnitude(0.5**depth)} of it, which float32 cannot hold: "
            f"activations are exactly 0 after {lost[0]} layers, δ after {deaf[0]}."
        )
    else:
        said += f"; a = 0.5 leaves {_magnitude(small[-1])} of it."
    hopeless = large > 1e6 and (small[-1] < 1e-6)
    return Claim(
        words="a = 1.5 explodes and a = 0.5 vanishes; at the depth of a 152-layer residual network this is hopeless.",
        measured=said,
        verdict=Verdict.STANDS if hopeless else Verdict.FALLS,
    )


def _magnitude(size: float) -> str:
    return power(round(float(np.log10(size))))


def _chart(
    forward: dict[float, Numbers], backward: dict[float, Numbers], predicted: dict[float, Numbers], depth: int
) -> Chart:
    passed = np.arange(depth + 1.0)
    shapes: list[Line | Points | Level] = []
    for style, factor in enumerate(FACTORS):
        shapes.append(Line(f"a = {factor:g}", passed, forward[factor], style=style))
        sparse = np.arange(0, depth + 1, max(depth // 12, 1))
        words = "δ, counted from the output" if factor == FACTORS[0] else ""
        shapes.append(Points(words, passed[sparse], backward[factor][sparse], style=style))
        shapes.append(Line("", passed, predicted[factor], role="implied"))
    if float(predicted[0.5][-1]) < 1e-30:
        shapes.append(Level(SMALLEST, "smallest number of float32"))
    ends = ", ".join(f"a = {factor:g}: {_magnitude(predicted[factor][-1])}" for factor in FACTORS)
    return Chart(
        title=f"{depth} layers of W = a · I multiply every signal by a to the power of {depth}",
        reading="Lines: activations on the way forward, counted from the input. Signs: δ on the way back, counted from "
        "the output. Dotted: a to the power of the layers passed.",
        x=Axis("layers passed"),
        y=Axis("size of the signal against its start", unit="rms", scale="log"),
        shapes=tuple(shapes),
        alt=f"Line chart on a log scale. Straight lines fan out from 1 at no layer. After {depth} layers: {ends}. "
        "Forward and backward signals lie on the same lines.",
        table=Table(
            ("a", "predicted", "forward", "backward, one layer less"),
            tuple(
                (
                    f"{factor:g}",
                    measured(float(predicted[factor][-1])),
                    measured(float(forward[factor][-1])),
                    measured(float(backward[factor][-2])),
                )
                for factor in FACTORS
            ),
        ),
    )
