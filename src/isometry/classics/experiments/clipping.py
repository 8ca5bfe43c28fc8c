"""Gradient clipping in a recurrent network whose gradient explodes through time."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from isometry.classics.classic import Claim, Exhibit, Study, Verdict, classic
from isometry.classics.spread import quartiles, ranged, spread
from isometry.diagnosis.diagnose import diagnose
from isometry.history.run import Run
from isometry.report.chart import Axis, Chart, Level, Line, Ribbon, Shape, Table
from isometry.report.words import number

Numbers = NDArray[np.float64]
How = Literal["none", "norm", "value"]

ARMS: dict[How, str] = {"none": "not clipped", "norm": "clipped by norm", "value": "clipped by value"}
THRESHOLDS = {"none": 0.0, "norm": 1.0, "value": 0.1}
RATES = (1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0)
WATCHED = 4
"""Which of them is watched."""
GAIN = 2.0
"""Spectral radius of the recurrent weights, for wide networks."""
LENGTH = 30
GUESSING = 1.0
"""Mean squared error of always answering 0 where the answers are −1 and +1; who does not come half way down fails."""
SAME = 1e-6
"""Difference of a cosine from 1 that rounding explains."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of one way of clipping."""

    losses: Numbers
    """shape (rates, seeds, epochs)"""
    norms: Numbers
    """Of the gradient before clipping. shape (steps, rates, seeds)"""
    cosines: Numbers
    """Between the gradient and the clipped one, where clipping did anything. shape (steps, rates, seeds)"""

    @property
    def last(self) -> Numbers:
        """Mean loss of the last epoch. shape (rates, seeds)"""
        return np.asarray(self.losses[..., -1])

    @property
    def failed(self) -> Numbers:
        """Share of seeds whose loss ends above half of guessing, or at no number. shape (rates,)"""
        return np.asarray((~(self.last <= GUESSING / 2)).mean(axis=1))


@classic(
    "clipping",
    title="What does clipping the gradient do for a recurrent network that explodes?",
    covers=("B8", "A3"),
    source="summary article; Pascanu, Mikolov & Bengio 2013",
    place=70,
)
def clipping(study: Study) -> Exhibit:
    """A tanh recurrent network of width 32 with recurrent weights of variance 2² / n: a spectral radius near 2.

    It reads −1 or +1, then 29 steps of noise a tenth as large, and has to say at the end what came first (mean squared
    error, 256 sequences, batches of 32, 8 epochs). Plain stochastic gradient descent at six learning rates from 0.01 to
    3: not clipped, the whole gradient scaled down to norm 1, every element cut at 0.1. Each seed's gradient is
    clipped by itself. A run fails if its loss ends above half of that of always answering 0. In every
    step the cosine between the gradient and what clipping made of it is taken.
    """
    results: dict[How, Trained] = {how: _trained(how, study) for how in ARMS}
    rate = RATES[WATCHED]
    watched = {how: _watched(how, rate, study) for how in ARMS}
    return Exhibit(
        claims=(
            _explodes(results["none"]),
            _trains(results),
            _direction(results),
            _free(results),
        ),
        charts=(_share_chart(results), _loss_chart(results), _direction_chart(results), _course_chart(watched, rate)),
        numbers={
            how: {
                "rates": list(RATES),
                "share_failed": one.failed.tolist(),
                "last_loss": one.last.tolist(),
                "gradient_norm_first_step": one.norms[0, 0].tolist(),
                "cosine_quartiles": [
                    [float(part) for part in quartiles(one.cosines[:, place].ravel())] if how != "none" else []
                    for place in range(len(RATES))
                ],
            }
            for how, one in results.items()
        },
        diagnoses={f"{ARMS[how]}, rate {rate:g}": diagnose(run) for how, run in watched.items()},
        remarks=(
            "tanh bounds the states, so the loss cannot grow without end here: a step too far leaves units in their "
            "flat ends, and the network there.",
            "Clipping repairs the size of a step, not the signal: where the gradient vanishes it does nothing.",
            "The thresholds of 1 and 0.1 were not tuned.",
        ),
    )


def _trained(how: How, study: Study) -> Trained:
    from isometry.adapters.torch.train import train_many
    from isometry.classics.build import clipping as build

    study.say(f"{ARMS[how]}, {len(RATES)} learning rates")
    seeds = [seed for _ in RATES for seed in study.seeds]
    rates = [rate for rate in RATES for _ in study.seeds]
    made: list[build.ClippedSGD] = []

    def optimizer(parameters: list[object]) -> build.ClippedSGD:
        made.append(build.ClippedSGD(parameters, how=how, threshold=THRESHOLDS[how], rates=rates, stacked=True))
        return made[-1]

    many = train_many(_experiment(study, optimizer), seeds)
    shape = (len(RATES), len(study.seeds))
    norms = np.array([step.numpy() for step in made[0].norms]).reshape(-1, *shape)
    cosines = np.array([step.numpy() for step in made[0].cosines]).reshape(-1, *shape)
    changed = np.array([step.numpy() for step in made[0].changed]).reshape(-1, *shape)
    return Trained(many.losses.reshape(*shape, -1), norms, np.where(np.isfinite(norms) & changed, cosines, np.nan))


def _experiment(study: Study, optimizer: Any) -> Any:
    from isometry.classics.build.clipping import remember

    return remember(
        gain=GAIN,
        length=study.size(LENGTH, 24),
        rows=study.size(256, 128),
        epochs=8,
        seed=study.seeds[0],
        optimizer=optimizer,
    )


def _watched(how: How, rate: float, study: Study) -> Run:
    from isometry.adapters.torch.train import train
    from isometry.classics.build.clipping import ClippedSGD

    experiment = _experiment(
        study,
        lambda parameters: ClippedSGD(parameters, how=how, threshold=THRESHOLDS[how], rates=[rate], stacked=False),
    )
    run = train(experiment, seed=study.seeds[0], run=study.runs / ARMS[how].replace(" ", "-"), every=4).run
    assert run is not None
    return run


# Claims ---------------------------------------------------------------------------------------------------------------


def _explodes(free: Trained) -> Claim:
    failing = free.failed >= 0.5
    grown = np.nanmax(free.norms, axis=0)[WATCHED]
    return Claim(
        words="A recurrent network with a spectral radius above 1 explodes: steps overshoot, and the training is lost.",
        measured=f"The gradient's norm is {spread(free.norms[0, 0], number)} at the first step (median and quartiles "
        f"of {free.norms.shape[2]} seeds) and reaches {spread(grown, number)} at a rate of {RATES[WATCHED]:g}. Share "
        f"of runs that fail without clipping, by learning rate: {_shares(free)}.",
        verdict=_verdict(bool(failing.any())),
    )


def _trains(results: dict[How, Trained]) -> Claim:
    failing = results["none"].failed >= 0.5
    trained = (results["norm"].failed < 0.5) & (results["value"].failed < 0.5)
    place = int(np.argmax(failing & trained))
    said = "; ".join(f"{ARMS[how]} {spread(one.last[place], number)}" for how, one in results.items())
    return Claim(
        words="With clipping, by norm or by value, it trains at rates at which it fails without.",
        measured=f"Share of runs that fail, clipped by norm: {_shares(results['norm'])}; by value: "
        f"{_shares(results['value'])}. Last loss at {RATES[place]:g}: {said}.",
        verdict=_verdict(bool((failing & trained).any())),
    )


def _direction(results: dict[How, Trained]) -> Claim:
    norm, value = results["norm"].cosines, results["value"].cosines
    worst = float(np.nanmin(norm))
    return Claim(
        words="Clipping by norm keeps the gradient's direction; clipping by value does not.",
        measured=f"Cosine between the gradient and the clipped one: by norm at least {worst:.6f} in every step that "
        f"was clipped; by value {spread(value, _two)} (range {ranged(value, _two)}).",
        verdict=_verdict(worst > 1 - SAME and float(np.nanmedian(value)) < 1 - SAME),
    )


def _free(results: dict[How, Trained]) -> Claim:
    free, norm = results["none"].last[0], results["norm"].last[0]
    slower = int((norm > free).sum())
    best = "; ".join(f"{ARMS[how]} {number(_best(one))}" for how, one in results.items())
    return Claim(
        words="Clipping costs nothing where the training would have gone well without.",
        measured=f"At {RATES[0]:g} the last loss is {spread(free, number)} without clipping and {spread(norm, number)} "
        f"with clipping by norm, higher for {slower} of {len(norm)} seeds: clipping shortens good large steps as well, "
        f"and asks for a higher rate. Best median over all rates: {best}.",
        verdict=_verdict(slower <= len(norm) // 2),
        expected=Verdict.FALLS,
    )


def _best(one: Trained) -> float:
    return float(np.nanmin(np.median(one.last, axis=1)))


def _shares(one: Trained) -> str:
    return ", ".join(f"{rate:g}: {_share(share)}" for rate, share in zip(RATES, one.failed, strict=True))


def _share(share: float) -> str:
    return f"{100 * share:.0f} %"


def _verdict(stands: bool) -> Verdict:
    return Verdict.STANDS if stands else Verdict.FALLS


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


# Pictures -------------------------------------------------------------------------------------------------------------


def _share_chart(results: dict[How, Trained]) -> Chart:
    x = np.array(RATES)
    at = {how: _share(one.failed[WATCHED]) for how, one in results.items()}
    return Chart(
        title=f"At a learning rate of {RATES[WATCHED]:g} {at['none']} of the runs fail; clipped by norm {at['norm']}, "
        f"by value {at['value']}",
        reading="Share of seeds whose loss does not come half way down from guessing, for each learning rate.",
        x=Axis("learning rate", scale="log"),
        y=Axis("runs that fail", unit="%"),
        shapes=tuple(
            Line(ARMS[how], x, 100 * one.failed, style=style, markers=True)
            for style, (how, one) in enumerate(results.items())
        ),
        alt="Line chart over the learning rate. Share of runs that fail: "
        + "; ".join(f"{ARMS[how]} {_shares(one)}" for how, one in results.items())
        + ".",
        table=Table(
            ("learning rate", *ARMS.values()),
            tuple(
                (f"{rate:g}", *(_share(one.failed[place]) for one in results.values()))
                for place, rate in enumerate(RATES)
            ),
        ),
    )


def _loss_chart(results: dict[How, Trained]) -> Chart:
    shapes: list[Shape] = [Level(GUESSING, "guessing")]
    x = np.array(RATES)
    for style, (how, one) in enumerate(results.items()):
        finite = np.where(np.isfinite(one.last).all(axis=1, keepdims=True), one.last, np.nan)
        low, middle, high = _known_quartiles(finite)
        shapes.append(Ribbon("", x, low, high, style=style))
        shapes.append(Line(ARMS[how], x, middle, style=style, markers=True))
    best = {how: _best(one) for how, one in results.items()}
    return Chart(
        title=f"Best median loss: {number(best['none'])} not clipped, {number(best['norm'])} by norm, "
        f"{number(best['value'])} by value",
        reading="Mean loss of the last epoch: median and quartiles over seeds.",
        x=Axis("learning rate", scale="log"),
        y=Axis("last loss", unit="mean squared error", scale="log"),
        shapes=tuple(shapes),
        alt="Line chart on two log scales: the loss of the last epoch over the learning rate. Without clipping it is "
        "lowest at small rates and rises early; clipped it is lowest at larger ones.",
        table=Table(
            ("learning rate", *ARMS.values()),
            tuple(
                (f"{rate:g}", *(number(float(np.median(one.last[place]))) for one in results.values()))
                for place, rate in enumerate(RATES)
            ),
        ),
    )


def _known_quartiles(values: Numbers) -> tuple[Numbers, ...]:
    """Over seeds, NaN where any seed is. shapes (rates,)"""
    return tuple(np.quantile(values, (0.25, 0.5, 0.75), axis=1))


def _direction_chart(results: dict[How, Trained]) -> Chart:
    shapes: list[Shape] = []
    x = np.array(RATES)
    middles = {}
    for style, how in ((1, "norm"), (2, "value")):
        cosines = results[how].cosines  # type: ignore[index]
        low, middle, high = quartiles(cosines.transpose(1, 0, 2).reshape(len(RATES), -1), axis=1)
        middles[how] = middle
        shapes.append(Ribbon("", x, low, high, style=style))
        shapes.append(Line(ARMS[how], x, middle, style=style, markers=True))  # type: ignore[index]
    least = float(np.min(middles["value"]))
    return Chart(
        title=f"Clipping by norm keeps the direction; by value the cosine falls to {_two(least)}",
        reading="Cosine between the gradient before and after clipping, where it did anything: median and quartiles "
        "over steps and seeds.",
        x=Axis("learning rate", scale="log"),
        y=Axis("cosine with the unclipped gradient", low=0.0),
        shapes=tuple(shapes),
        alt=f"Line chart over the learning rate. By norm the cosine is 1 throughout; by value its median is at least "
        f"{_two(least)} and at most {_two(float(np.max(middles['value'])))}.",
    )


def _course_chart(runs: dict[How, Run], rate: float) -> Chart:
    shapes: list[Shape] = [Level(GUESSING, "guessing")]
    ends = {}
    for style, (how, run) in enumerate(runs.items()):
        series = run.history.scalars["loss"]
        shapes.append(Line(ARMS[how], series.steps.astype(np.float64), series.values, style=style))
        ends[how] = float(series.values[-1]) if len(series) else float("nan")
    return Chart(
        title=f"At a rate of {rate:g} the loss without clipping ends at {number(ends['none'])}, clipped by norm at "
        f"{number(ends['norm'])}",
        reading="Loss of every step of one watched training each.",
        x=Axis("step"),
        y=Axis("loss", unit="mean squared error", scale="log"),
        shapes=tuple(shapes),
        alt="Line chart on a log scale: the loss step by step. Last values: "
        + "; ".join(f"{ARMS[how]} {number(end)}" for how, end in ends.items())
        + ".",
    )
