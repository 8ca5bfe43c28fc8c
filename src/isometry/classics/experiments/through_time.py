"""The gradient at every time step of a sequence, in plain and gated recurrent networks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isometry.classics.classic import Claim, Exhibit, Study, Verdict, classic
from isometry.classics.spread import quartiles, ranged, spread
from isometry.diagnosis import limits
from isometry.diagnosis.diagnose import diagnose
from isometry.diagnosis.finding import Diagnosis
from isometry.report.chart import Axis, Chart, Line, Points, Ribbon, Shape, Table
from isometry.report.words import decades

Numbers = NDArray[np.float64]

LENGTH = 100
TORCH, LARGE, ORTHOGONAL = "RNN, torch's weights", "RNN, large weights", "RNN, orthogonal"
FORGET_0, FORGET_1, GRU = "LSTM, forget bias 0", "LSTM, forget bias 1", "GRU"
KINDS = (TORCH, LARGE, ORTHOGONAL, FORGET_0, FORGET_1, GRU)
RESTING = (TORCH, ORTHOGONAL, FORGET_0, FORGET_1, GRU)
"""Those whose state stays near 0, where the Jacobian at rest says what a step does."""
LOUDER = 0.3
"""Size of the noise with which the orthogonal network is run a second time."""
STRAIGHT = 0.99
"""Share of the variance of log10 δ that a straight line explains, from which on it counts as exponential."""
KEPT = limits.TIME_CLIMB_SLOWS.value
"""Decades in all, up or down, within which the past still counts; the limit of the diagnosis."""
GATES = {FORGET_0: float(np.log10(0.5)), FORGET_1: float(-np.log10(1 + np.exp(-1)))}
"""log10 of a forget gate at rest, σ(0) = 0.5 and σ(1) = 0.73. [decades / step]"""
NEAR = 0.1
"""A measured rate agrees with a predicted one if it is off by less than this part of it."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of one kind of layer, from every seed."""

    sizes: Numbers
    """∂L/∂x at each time step. [rms], shape (seeds, length)"""
    rest: Numbers
    """log10 of the greatest eigenvalue of the state's Jacobian at rest. [decades / step], shape (seeds,)"""

    def lines(self) -> tuple[Numbers, Numbers]:
        """Decades won per step back in time, and the share of variance that a straight line explains. shapes (seeds,)

        The last tenth of the sequence is left out: there the gradient is still turning into its slowest direction.
        """
        logs = np.log10(self.sizes[:, : int(0.9 * self.sizes.shape[1])])
        time = np.arange(logs.shape[1]) - (logs.shape[1] - 1) / 2
        centred = logs - logs.mean(axis=1, keepdims=True)
        slope = centred @ time / (time @ time)
        explained = slope**2 * (time @ time) / np.square(centred).sum(axis=1)
        return -slope, explained

    @property
    def rate(self) -> Numbers:
        return self.lines()[0]

    @property
    def total(self) -> Numbers:
        """log10 of the first step's over the last step's. [decades], shape (seeds,)"""
        return np.asarray(np.log10(self.sizes[:, 0]) - np.log10(self.sizes[:, -1]))


@classic(
    "through-time",
    title="How far back in time does the gradient of a recurrent network reach?",
    covers=("A1", "A4"),
    source="Hochreiter 1991; Bengio, Simard & Frasconi 1994; Saxe et al. 2014; Jozefowicz et al. 2015",
    place=75,
)
def through_time(study: Study) -> Exhibit:
    """One recurrent layer of 64 units reads 100 steps of noise; the gradient at every step is measured.

    The noise has size 1, and the weights by which it is read are a hundredth of torch's: what arrives at the units is
    noise of size 0.01, so that states stay near 0, and inputs are of ordinary size.

    The loss is the mean inner product of the last state with fixed random directions, so the gradient does not depend
    on how large the state is. Plain tanh layers: torch's weights (uniform within ±1 / √n, so of variance 1 / 3n),
    weights of variance 9 / n, orthogonal ones (both without bias). LSTM: torch's weights, with the two forget biases of
    torch adding up to 0 or to 1. GRU: as torch has it. ∂L/∂x of each time step is read in double precision, before
    training. Rates are least-squares slopes of log10 over the first nine tenths of the sequence. They are held against
    the greatest eigenvalue of the state's Jacobian at rest. One seed of three layers is watched in single precision.
    """
    length = study.size(LENGTH, 60)
    results = {kind: _measured(kind, length, study) for kind in KINDS}
    louder = _measured(ORTHOGONAL, length, study, noise=LOUDER)
    return Exhibit(
        claims=(
            _exponential(results),
            _explodes(results[LARGE]),
            _orthogonal(results[ORTHOGONAL], louder),
            _longer(results),
            _gate_alone(results),
            _eigenvalue(results),
        ),
        charts=(_time_chart(results), _rate_chart(results)),
        numbers={
            kind: {
                "decades_per_step_back": one.rate.tolist(),
                "decades_in_all": one.total.tolist(),
                "predicted_by_the_jacobian_at_rest": one.rest.tolist(),
            }
            for kind, one in {**results, f"{ORTHOGONAL}, noise of {LOUDER:g}": louder}.items()
        },
        diagnoses={kind: _diagnosis(kind, length, study) for kind in (TORCH, LARGE, FORGET_1)},
        remarks=(
            "Input weights are small on purpose, so that states stay near 0.",
            "All is measured before training: what a network learns moves its gates and its eigenvalues.",
            "Rates hold for states near 0. Larger inputs or biases flatten tanh and shut or open gates.",
        ),
    )


def _measured(kind: str, length: int, study: Study, *, noise: float = 0.01) -> Measured:
    from isometry.classics.build import through_time as build

    study.say(f"{kind}, {length} steps")
    sizes = np.array([build.gradients(kind, length=length, seed=seed, noise=noise) for seed in study.seeds])
    return Measured(sizes, np.array([build.rest_rate(kind, seed=seed) for seed in study.seeds]))


def _diagnosis(kind: str, length: int, study: Study) -> Diagnosis:
    from isometry.adapters.torch.train import train
    from isometry.classics.build.through_time import experiment

    folder = study.runs / kind.replace(", ", "-").replace(" ", "-").replace("'", "")
    run = train(experiment(kind, length=length, seed=study.seeds[0]), seed=study.seeds[0], run=folder, every=1).run
    assert run is not None
    return diagnose(run)


# Claims ---------------------------------------------------------------------------------------------------------------


def _exponential(results: dict[str, Measured]) -> Claim:
    rate, explained = results[TORCH].lines()
    return Claim(
        words="In a plain recurrent network the gradient vanishes exponentially with the time that it goes back.",
        measured=f"With torch's weights it changes by {spread(rate, _three)} decades a step (median and quartiles of "
        f"{len(rate)} seeds), {spread(results[TORCH].total, decades)} in all; a straight line explains at least "
        f"{100 * explained.min():.2f} % of it on a log scale.",
        verdict=_verdict(float(np.median(results[TORCH].total)) < -KEPT and float(explained.min()) > STRAIGHT),
    )


def _explodes(large: Measured) -> Claim:
    return Claim(
        words="With large recurrent weights it explodes.",
        measured=f"With weights of variance 9 / n it changes by {spread(large.rate, _three)} decades a step, "
        f"{spread(large.total, decades)} in all. The eigenvalue of W alone would have "
        f"{_three(float(np.median(large.rest)))}: tanh, driven into its flat ends, takes the rest.",
        verdict=_verdict(float(np.median(large.total)) > KEPT),
    )


def _orthogonal(quiet: Measured, louder: Measured) -> Claim:
    return Claim(
        words="An orthogonal recurrent matrix keeps the gradient, as long as the units stay in their linear part.",
        measured=f"It changes by {spread(quiet.total, decades)} decades in all (range {ranged(quiet.total, decades)}) "
        f"with noise of 0.01 at the units, by {spread(louder.total, decades)} with noise of {LOUDER:g}, which "
        "flattens tanh.",
        verdict=_verdict(abs(float(np.median(quiet.total))) < KEPT),
    )


def _longer(results: dict[str, Measured]) -> Claim:
    closed, opened = results[FORGET_0].rate, results[FORGET_1].rate
    return Claim(
        words="A forget bias of 1 keeps the gradient of an LSTM for longer than one of 0.",
        measured=f"Decades a step: {spread(closed, _three)} with a forget bias of 0, {spread(opened, _three)} with 1; "
        f"{spread(results[FORGET_0].total, decades)} and {spread(results[FORGET_1].total, decades)} in all. A GRU has "
        f"{spread(results[GRU].rate, _three)} a step.",
        verdict=_verdict(float(opened.min()) > float(closed.max())),
    )


def _gate_alone(results: dict[str, Measured]) -> Claim:
    rates = {kind: float(np.median(results[kind].rate)) for kind in GATES}
    near = [abs(rates[kind] - gate) <= NEAR * abs(gate) for kind, gate in GATES.items()]
    said = "; ".join(f"{kind}: {_three(rates[kind])}, its gate has {_three(gate)}" for kind, gate in GATES.items())
    return Claim(
        words="What an LSTM loses in a step is the logarithm of its forget gate.",
        measured=f"Decades a step: {said}. The way from the cell through the output and back into it carries some of "
        "the gradient as well, so it lasts longer than the gate says.",
        verdict=Verdict.STANDS if all(near) else Verdict.PARTLY if any(near) else Verdict.FALLS,
        expected=Verdict.FALLS,
    )


def _eigenvalue(results: dict[str, Measured]) -> Claim:
    off = {kind: np.abs(results[kind].rate - results[kind].rest) for kind in RESTING}
    allowed = {kind: max(NEAR * abs(float(np.median(results[kind].rest))), KEPT / LENGTH) for kind in RESTING}
    worst = max(off, key=lambda kind: float(np.median(off[kind])))
    return Claim(
        words="The rate is the greatest eigenvalue of the state's Jacobian: W, or f + i · o · W_g with gates.",
        measured=f"Off by {spread(np.concatenate(list(off.values())), _three)} decades a step over all seeds of the "
        f"five layers whose state stays near 0, most in {worst} ({spread(off[worst], _three)}).",
        verdict=_verdict(all(float(np.median(off[kind])) <= allowed[kind] for kind in RESTING)),
    )


def _verdict(stands: bool) -> Verdict:
    return Verdict.STANDS if stands else Verdict.FALLS


def _three(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−") if abs(value) >= 5e-4 else "0"


# Pictures -------------------------------------------------------------------------------------------------------------


def _time_chart(results: dict[str, Measured]) -> Chart:
    shapes: list[Shape] = []
    for style, (kind, one) in enumerate(results.items()):
        low, middle, high = quartiles(one.sizes / one.sizes[:, -1:])
        back = np.arange(len(middle), dtype=np.float64)
        shapes.append(Ribbon("", back, low[::-1], high[::-1], style=style))
        shapes.append(Line(kind, back, middle[::-1], style=style))
    totals = {kind: decades(float(np.median(one.total))) for kind, one in results.items()}
    length = results[TORCH].sizes.shape[1]
    return Chart(
        title=f"{length} steps back a plain network's gradient has changed by {totals[TORCH]} decades, an orthogonal "
        f"one's by {totals[ORTHOGONAL]}, an LSTM's by {totals[FORGET_0]} or {totals[FORGET_1]}",
        reading="∂L/∂x at each time step over that at the last one (left), before training: median and quartiles over "
        "seeds.",
        x=Axis("time steps back from the loss"),
        y=Axis("size of the gradient against the last step", unit="rms", scale="log"),
        shapes=tuple(shapes),
        alt="Line chart on a log scale; lines fan out from the last step. Decades over the whole sequence: "
        + "; ".join(f"{kind} {total}" for kind, total in totals.items())
        + ".",
        table=Table(
            ("layer", "decades a step", "decades in all"),
            tuple((kind, spread(one.rate, _three), spread(one.total, decades)) for kind, one in results.items()),
        ),
    )


def _rate_chart(results: dict[str, Measured]) -> Chart:
    shapes: list[Shape] = []
    for place, (kind, one) in enumerate(results.items()):
        x = place + np.linspace(-0.25, 0.25, len(one.rate))
        said = place == 0
        shapes.append(Points("measured, one seed" if said else "", x, one.rate, style=0))
        if kind in RESTING:
            shapes.append(Points("eigenvalue of the Jacobian at rest" if said else "", x, one.rest, style=2))
        if kind in GATES:
            first = kind == FORGET_0
            shapes.append(
                Points("forget gate alone" if first else "", np.array([float(place)]), np.array([GATES[kind]]), style=4)
            )
    return Chart(
        title="The Jacobian's greatest eigenvalue tells the rate; the forget gate alone promises too little",
        reading="Decades that the gradient wins (up) or loses (down) with each step back in time, of every seed.",
        x=Axis("layer", scale="layers", names=tuple(results)),
        y=Axis("change per step back", unit="decades"),
        shapes=tuple(shapes),
        alt="Dots for every seed of six layers. Medians: "
        + "; ".join(f"{kind} {_three(float(np.median(one.rate)))}" for kind, one in results.items())
        + ".",
    )
