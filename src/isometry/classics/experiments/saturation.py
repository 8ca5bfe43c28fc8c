"""How steep nonlinearities are, and where the layers of a network stand on them."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.classics.classic import Claim, Exhibit, Study, Verdict, classic
from isometry.classics.spread import quartiles, spread
from isometry.diagnosis.diagnose import diagnose
from isometry.history.run import Run
from isometry.network.nonlinearity import FUNCTIONS, slope
from isometry.network.signals import Signal
from isometry.report.chart import Axis, Chart, Level, Line, Ribbon, Shape, Table
from isometry.report.words import decades, measured, number
from isometry.statistics.saturation import greatest_slope

Numbers = NDArray[np.float64]
Key = tuple[str, float]
"""Activation, size of the weights."""

SHOWN = ("sigmoid", "tanh", "softsign", "relu", "elu", "gelu")
CALLED = {"relu": "ReLU", "elu": "ELU", "gelu": "GELU", "selu": "SELU", "silu": "SiLU", "leaky_relu": "leaky ReLU"}
WATCHED = ("sigmoid", "tanh", "relu")
SIZES = (1.0, 3.0, 10.0)
"""σ_w, for a variance of σ_w² / n_in: Xavier's, and three and ten times as large."""
HIDDEN, WIDTH = 6, 64
ROUNDING = 1e-6
"""By which a slope in float32 may exceed its bound."""
HALF = 0.5
"""Share of saturated elements from which a layer counts as saturated as a whole."""


@dataclass(frozen=True, slots=True)
class Stand:
    """Where networks of one kind stand before training; one row per seed, one column per hidden layer."""

    slope: Numbers
    """φ′(z). [rms]"""
    steepest: float
    """The greatest |φ′| that any element had."""
    saturated: Numbers
    """Share of elements whose slope is below 5 % of φ's greatest; NaN for a φ that has no two flat sides."""
    spread: Numbers
    """z. [S.D.]"""

    def of(self, activation: str) -> Numbers:
        """Share of the greatest slope that is lost, one number a seed, over all layers together."""
        most = greatest_slope(activation) or float("nan")
        return np.asarray(1 - self.whole / most)

    @property
    def whole(self) -> Numbers:
        """φ′(z) over all layers together, one number a seed. [rms]"""
        return np.asarray(np.sqrt(np.mean(self.slope**2, axis=1)))

    @property
    def share(self) -> Numbers:
        """Of saturated elements in all layers together, one number a seed; 0 for a φ that has no two flat sides."""
        return np.asarray(np.nan_to_num(self.saturated).mean(axis=1))


@classic(
    "saturation",
    title="How much of the signal does a nonlinearity let through, and what do large weights do to that?",
    covers=("A5",),
    source="summary article on vanishing gradients; course notes on initialisation",
    place=20,
)
def saturation(study: Study) -> Exhibit:
    """φ′ of every activation that has a name here is computed by automatic differentiation on |z| ≤ 20, in steps of
    1/1000, and its greatest value is held against the bound that the texts give.

    Then networks of six hidden layers, 64 units each, with sigmoid, tanh or ReLU, are watched for one step on 256
    of the 8 × 8 digits. Weights are drawn from N(0, σ_w² / n_in), biases are 0; σ_w is 1, 3 or 10. The watch measures
    φ′(z) itself, element by element: its rms, its greatest value, and the share of elements that are saturated, which
    is to have less than 5 % of the greatest slope.
    """
    study.say("φ′ of every activation")
    bounds = _bounds()
    stands, runs = {}, {}
    for activation in WATCHED:
        for size in SIZES:
            study.say(f"{_called(activation)}, σ_w = {size:g}")
            stands[activation, size], runs[activation, size] = _stand(study, activation, size)
    return Exhibit(
        claims=(
            _bound_claim(bounds, stands),
            _tanh_claim(stands),
            _large_claim(stands),
            _relu_claim(stands),
        ),
        charts=(
            _slope_chart(),
            _function_chart(),
            _lost_chart(stands),
            _place_chart(stands, runs, "tanh"),
            _place_chart(stands, runs, "sigmoid"),
        ),
        numbers={
            "greatest_slope": bounds,
            "networks": [
                {
                    "activation": activation,
                    "sigma_w": size,
                    "slope_rms": stand.slope.tolist(),
                    "steepest": stand.steepest,
                    "saturated_share": stand.saturated.tolist(),
                    "pre_activation_std": stand.spread.tolist(),
                }
                for (activation, size), stand in stands.items()
            ],
        },
        diagnoses={
            f"{_called(activation)}, σ_w = {size:g}": diagnose(runs[activation, size])
            for activation in WATCHED
            for size in (SIZES[0], SIZES[-1])
        },
        remarks=(
            "Sigmoid loses three quarters of every signal without being saturated at all: that is its slope at 0. "
            "Saturation is what is lost beyond that.",
            "On the way back the signal is multiplied by W as well, so δ of a saturated network need not vanish; this "
            "classic is about φ′ alone.",
        ),
    )


# What is measured -----------------------------------------------------------------------------------------------------


def _called(name: str) -> str:
    return CALLED.get(name, name)


def _bounds() -> dict[str, float]:
    """Greatest |φ′| of the activations of the networks here, by automatic differentiation."""
    import torch

    from isometry.classics.build.networks import ACTIVATIONS

    found = {}
    for name, activation in ACTIVATIONS.items():
        z = torch.arange(-20_000, 20_001, dtype=torch.float64).div(1000).requires_grad_()
        (slopes,) = torch.autograd.grad(activation()(z).sum(), z)
        found[name] = float(slopes.abs().max())
    return found


def _stand(study: Study, activation: str, size: float) -> tuple[Stand, Run]:
    """Of all seeds; the run of the first is kept."""
    from tempfile import TemporaryDirectory

    slopes, saturated, spreads, steepest, first = [], [], [], 0.0, None
    for seed in study.seeds:
        with TemporaryDirectory() as passing:
            folder = study.runs / f"{activation}-{size:g}" if first is None else passing + "/run"
            run = _watched(activation, size, seed, folder)
            slopes.append(run.history[Signal.SLOPE, "rms"][0, :-1])
            spreads.append(run.history[Signal.PRE_ACTIVATION, "std"][0, :-1])
            steepest = max(steepest, float(np.nanmax(run.history[Signal.SLOPE, "abs_max"][0])))
            known = (Signal.SLOPE, "saturated") in run.history
            saturated.append(run.history[Signal.SLOPE, "saturated"][0, :-1] if known else np.full(HIDDEN, np.nan))
            first = first or run
    assert first is not None
    return Stand(np.array(slopes), steepest, np.array(saturated), np.array(spreads)), first


def _watched(activation: str, size: float, seed: int, folder: Any) -> Run:
    import torch

    from isometry.adapters.torch.train import train
    from isometry.classics.build import data, networks
    from isometry.classics.build.initialising import normal
    from isometry.network.experiment import Experiment

    digits = data.digits()
    experiment = Experiment(
        build=lambda: networks.mlp([64, *[WIDTH] * HIDDEN, 10], activation, initialise=normal(size)),
        data=(digits.inputs[:256], digits.targets[:256]),
        loss_fn=torch.nn.functional.cross_entropy,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.01),
        batch_size=256,
    )
    run = train(experiment, seed=seed, run=folder, every=1).run
    assert run is not None
    return run


# What it says ---------------------------------------------------------------------------------------------------------


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _bound_claim(bounds: Mapping[str, float], stands: Mapping[Key, Stand]) -> Claim:
    steepest = max(stands["sigmoid", size].steepest for size in SIZES)
    best = max(float(stands["sigmoid", size].slope.max()) for size in SIZES)
    holds = max(bounds["sigmoid"], steepest) <= 0.25 + ROUNDING
    others = ", ".join(f"{_called(name)} {number(bounds[name])}" for name in SHOWN[1:])
    return Claim(
        words="The derivative of the sigmoid is at most 0.25.",
        measured=f"Its greatest value is {bounds['sigmoid']:.6f}, at z = 0; the greatest that any element of the "
        f"watched networks had is {steepest:.6f}, and no layer has more than {best:.3f} (rms). Others reach: {others}.",
        verdict=Verdict.STANDS if holds else Verdict.FALLS,
    )


def _tanh_claim(stands: Mapping[Key, Stand]) -> Claim:
    small, large = (stands["tanh", size].share for size in (SIZES[0], SIZES[-1]))
    holds = bool(quartiles(large)[0] > HALF > quartiles(small)[2])
    return Claim(
        words="tanh saturates too.",
        measured=f"Share of tanh's elements that are saturated: {spread(small, _percent)} for σ_w = {SIZES[0]:g}, "
        f"{spread(large, _percent)} for σ_w = {SIZES[-1]:g}. Over z the slope falls below 5 % of its greatest at "
        f"|z| = {np.arctanh(sqrt(0.95)):.1f}.",
        verdict=Verdict.STANDS if holds else Verdict.FALLS,
    )


def _large_claim(stands: Mapping[Key, Stand]) -> Claim:
    said, holds = [], True
    for activation in ("sigmoid", "tanh"):
        lost = [stands[activation, size].of(activation) for size in SIZES]
        holds &= all(quartiles(a)[2] < quartiles(b)[0] for a, b in pairwise(lost))
        shares = [float(np.median(stands[activation, size].share)) for size in SIZES]
        said.append(
            f"{activation}: {', '.join(spread(values, _percent) for values in lost)} of the greatest slope are lost, "
            f"{', '.join(map(_percent, shares))} of the elements are saturated"
        )
    return Claim(
        words="Large weights saturate: they push z to where φ is flat.",
        measured=f"With σ_w = {', '.join(f'{size:g}' for size in SIZES)}: {'; '.join(said)}.",
        verdict=Verdict.STANDS if holds else Verdict.FALLS,
    )


def _relu_claim(stands: Mapping[Key, Stand]) -> Claim:
    """The slope of ReLU does not see the size of its input, so the same weights, enlarged, lose the same."""
    lost = [stands["relu", size].of("relu") for size in SIZES]
    moved = max(float(np.abs(values - lost[0]).max()) for values in lost)
    return Claim(
        words="ReLU does not saturate, however large the weights.",
        measured=f"With σ_w = {', '.join(f'{size:g}' for size in SIZES)}: ReLU loses "
        f"{', '.join(spread(values, _percent) for values in lost)} of its slope, which is the half of its "
        f"elements that are off (1 − 1/√2 = 29 %). Between sizes no seed moves by more than {measured(moved)}.",
        verdict=Verdict.STANDS if moved < 1e-3 else Verdict.FALLS,
    )


# What is shown --------------------------------------------------------------------------------------------------------


def _slope_chart() -> Chart:
    z = np.linspace(-6, 6, 481)
    shapes: list[Shape] = [Level(0.25, "sigmoid: at most 0.25")]
    shapes += [Line(_called(name), z, slope(name, z), style=style) for style, name in enumerate(SHOWN)]
    bounds = {name: greatest_slope(name) or float("nan") for name in SHOWN}
    return Chart(
        title="Sigmoid's slope is nowhere above 0.25; tanh's is 1, but only near 0",
        reading="Each layer multiplies the signal on its way back by φ′(z).",
        x=Axis("pre-activation z"),
        y=Axis("slope φ′(z)"),
        shapes=tuple(shapes),
        alt="Curves of φ′. Sigmoid, tanh and softsign fall to 0 on both sides; ReLU, ELU and GELU are near 1 for "
        "positive z.",
        table=Table(("activation", "greatest slope"), tuple((_called(name), number(bounds[name])) for name in SHOWN)),
    )


def _function_chart() -> Chart:
    z = np.linspace(-6, 6, 481)
    return Chart(
        title="Sigmoid, tanh and softsign have two flat ends, the others at most one",
        reading="Where φ is flat, a change of z changes nothing, and nothing is learned.",
        x=Axis("pre-activation z"),
        y=Axis("activation φ(z)", high=3.0),
        shapes=tuple(
            Line(_called(name), z, np.where(FUNCTIONS[name](z) <= 3, FUNCTIONS[name](z), np.nan), style=style)
            for style, name in enumerate(SHOWN)
        ),
        alt="Curves of φ, from −6 to 6.",
    )


def _lost_chart(stands: Mapping[Key, Stand]) -> Chart:
    shapes: list[Shape] = []
    places = np.arange(len(SIZES), dtype=np.float64)
    for style, activation in enumerate(WATCHED):
        low, middle, high = quartiles(np.array([stands[activation, size].whole for size in SIZES]), axis=1)
        shapes.append(Ribbon("quartiles over the seeds" if style == 0 else "", places, low, high, style=style))
        shapes.append(Line(_called(activation), places, middle, style=style, markers=True))
    shapes.append(Level(0.25, "sigmoid's most"))
    small, large = (number(float(np.median(stands["tanh", size].whole))) for size in (SIZES[0], SIZES[-1]))
    shares = {name: float(np.median(stands[name, SIZES[-1]].share)) for name in ("tanh", "sigmoid")}
    return Chart(
        title=f"Weights ten times Xavier's take tanh's slope from {small} to {large}; ReLU keeps its own",
        reading=f"All {HIDDEN} hidden layers, before training. With σ_w = {SIZES[-1]:g}, {_percent(shares['tanh'])} of "
        f"tanh's elements and {_percent(shares['sigmoid'])} of sigmoid's have less than 5 % of the greatest slope.",
        x=Axis(
            "σ_w, with a variance of the weights of σ_w² / n_in",
            scale="layers",
            names=tuple(f"{size:g}" for size in SIZES),
        ),
        y=Axis("slope φ′(z)", unit="rms", low=0.0),
        shapes=tuple(shapes),
        alt="Line chart. With growing weights the slope of tanh and of sigmoid falls, that of ReLU stays at 0.71.",
        table=Table(
            ("network", "S.D. of z", "rms φ′", "saturated", "decades per layer"),
            tuple(
                (
                    f"{_called(activation)}, σ_w = {size:g}",
                    measured(float(np.median(stand.spread))),
                    measured(float(np.median(stand.slope))),
                    _percent(float(np.median(stand.share))) if np.isfinite(stand.saturated).all() else "–",
                    decades(float(np.median(np.log10(stand.slope)))),
                )
                for (activation, size), stand in stands.items()
            ),
        ),
    )


def _place_chart(stands: Mapping[Key, Stand], runs: Mapping[Key, Run], activation: str) -> Chart:
    """Histograms of |z| over all hidden layers of the first seed, with φ′ above them.

    The share in the title was counted element by element: bins of a factor of two would round it.
    """
    most = greatest_slope(activation) or float("nan")
    at = np.exp2(np.linspace(-6, 6, 2001))
    shapes: list[Shape] = [Line("", at, slope(activation, at) / most, role="implied")]
    share = float(np.median(stands[activation, SIZES[-1]].share))
    flat = float(at[np.argmax(slope(activation, at) < 0.05 * most)])
    for style, size in enumerate(SIZES):
        shapes.append(Line(f"σ_w = {size:g}", *_histogram(runs[activation, size]), style=style, markers=True))
    return Chart(
        title=f"{_called(activation)}: beyond |z| = {flat:.1f} it is flat, and {_percent(share)} of all z are "
        f"there with σ_w = {SIZES[-1]:g}",
        reading="Share of elements in each factor of two of |z|. Dotted: φ′(z) against its greatest value.",
        x=Axis("size of z", scale="log"),
        y=Axis("share of elements, and of the slope", low=0.0),
        shapes=tuple(shapes),
        alt=f"Distributions of |z| for three sizes of weights; the larger they are, the farther beyond {flat:.1f}, "
        "where the slope has fallen to 5 % of its greatest value.",
    )


def _histogram(run: Run) -> tuple[Numbers, Numbers]:
    """Middles of powers of two from 2^-6 to 2^6, and the share of z in them."""
    exponents = np.arange(-6, 6)
    shares, total = np.zeros(len(exponents)), 0
    for event in run.history.events("histogram"):
        if event["signal"] != Signal.PRE_ACTIVATION or event["layer"] == run.architecture.names[-1]:
            continue
        total += sum(event["counts"]) + int(event["zeros"])
        for k, count in enumerate(event["counts"]):
            place = int(event["lowest"]) + k + 6
            if 0 <= place < len(shares):
                shares[place] += count
    return np.exp2(exponents + 0.5), shares / max(total, 1)
