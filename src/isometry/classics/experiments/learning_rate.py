"""Final loss against the learning rate, and what the size of the updates tells of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isometry.classics.classic import Claim, Exhibit, Study, Verdict, classic
from isometry.classics.spread import quartiles, spread
from isometry.diagnosis.diagnose import diagnose
from isometry.diagnosis.finding import Diagnosis
from isometry.report.chart import Axis, Chart, Level, Line, Points, Ribbon, Shape, Table, Zone
from isometry.report.words import number

Numbers = NDArray[np.float64]

RATES = tuple(float(f"{10.0**exponent:.2g}") for exponent in np.arange(-5.0, 1.01, 0.5))
OPTIMISERS = ("SGD", "Adam")
GUESSING = float(np.log(10))
"""Cross-entropy of naming every class with the same probability; who does not come half way down has not trained."""
RULE = 1e-3
"""The rule of thumb for the size of an update against its weights. Source: Karpathy, CS231n notes."""
NEAR = 0.5
"""Decades within which a ratio is near the rule's."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of one optimiser at every learning rate."""

    last: Numbers
    """Mean loss of the last epoch. shape (rates, seeds)"""
    ratio: Numbers
    """rms ΔW / rms W, median over steps and matrices. shape (rates, seeds)"""

    @property
    def typical(self) -> Numbers:
        """Median over seeds; infinite where most runs are no number. shape (rates,)"""
        return np.asarray(np.median(np.where(np.isfinite(self.last), self.last, np.inf), axis=1))

    @property
    def best(self) -> int:
        return int(np.argmin(self.typical))

    @property
    def by_the_rule(self) -> int:
        """The rate whose updates are nearest to the rule's size."""
        middle = np.median(self.ratio, axis=1)
        return int(np.nanargmin(np.abs(np.log10(np.where(middle > 0, middle, np.nan) / RULE))))

    def ratio_at(self, place: int) -> float:
        """Median over seeds."""
        return float(np.median(self.ratio[place]))


@classic(
    "learning-rate",
    title="Which learning rate fits, and does the size of the updates tell it?",
    covers=("B10", "A3", "A5"),
    source="summary article; Karpathy, CS231n notes, for the ratio of 1e-3",
    place=80,
)
def learning_rate(study: Study) -> Exhibit:
    """A network of two hidden layers of 32 on the handwritten digits at 13 learning rates, two to a decade, 1e-5 to 10.

    ReLU, He's weights, cross-entropy, 5 epochs in batches of 64; plain stochastic gradient descent and Adam. In each
    step the rms of what every weight matrix moved by is divided by the rms of the matrix; the median over steps and
    matrices is the run's update ratio. A run has trained if its loss in the last epoch is below half of that of
    guessing. Three of Adam's rates are watched.
    """
    results = {name: _trained(name, study) for name in OPTIMISERS}
    places = {"too low": 0, "best": results["Adam"].best, "too high": len(RATES) - 1}
    return Exhibit(
        claims=(_between(results), _diverges(results), _rule(results), _transfers(results)),
        charts=(_loss_chart(results), _ratio_chart(results), _rule_chart(results)),
        numbers={
            name: {
                "rates": list(RATES),
                "last_loss": one.last.tolist(),
                "update_ratio": one.ratio.tolist(),
                "best_rate": RATES[one.best],
                "update_ratio_at_best_rate": one.ratio_at(one.best),
            }
            for name, one in results.items()
        },
        diagnoses={f"Adam at {RATES[at]:g} ({words})": _diagnosis(at, study) for words, at in places.items()},
        remarks=(
            "The best rate is the best for 5 epochs: a longer training would do well with a smaller one.",
            "The update ratio is read after the fact. It tells whether a rate is far off, within a decade or so; it "
            "does not replace trying some.",
            "Beyond the rates that train the ratio falls again, as weights have grown and dead units get no gradient: "
            "a run that is lost can have the ratio of the rule.",
        ),
    )


def _trained(name: str, study: Study) -> Trained:
    from isometry.adapters.torch.train import train_many
    from isometry.classics.build import rates as build

    study.say(f"{name}, {len(RATES)} learning rates")
    last, ratio = [], []
    for rate in RATES:
        made: list[build.Measuring] = []

        def optimizer(parameters: list[object], made: list[build.Measuring] = made, rate: float = rate) -> object:
            made.append(build.Measuring(build.OPTIMISERS[name](parameters, lr=rate), parameters))  # type: ignore[arg-type]
            return made[-1]

        many = train_many(build.on_digits(optimizer, epochs=study.size(5, 4)), study.seeds)
        last.append(many.losses[:, -1])
        steps = np.array([step.numpy() for step in made[0].ratios])
        ratio.append(np.median(steps, axis=(0, 2)))
    return Trained(np.array(last), np.array(ratio))


def _diagnosis(place: int, study: Study) -> Diagnosis:
    import torch

    from isometry.adapters.torch.train import train
    from isometry.classics.build.rates import on_digits

    rate = RATES[place]
    experiment = on_digits(lambda parameters: torch.optim.Adam(parameters, lr=rate), epochs=study.size(5, 4))
    run = train(experiment, seed=study.seeds[0], run=study.runs / f"adam-{rate:g}", every=4).run
    assert run is not None
    return diagnose(run)


# Claims ---------------------------------------------------------------------------------------------------------------


def _between(results: dict[str, Trained]) -> Claim:
    ends, fits = [], []
    for name, one in results.items():
        trained = np.array(RATES)[one.typical < GUESSING / 2]
        ends.append(bool(one.typical[0] >= GUESSING / 2 <= one.typical[-1] and trained.size > 0))
        reach = f"from {trained.min():g} to {trained.max():g}" if trained.size else "at no rate"
        fits.append(
            f"{name} trains {reach}, best at {RATES[one.best]:g} with a loss of {spread(one.last[one.best], number)}; "
            f"{number(float(one.typical[0]))} at {RATES[0]:g} and {number(float(one.typical[-1]))} at {RATES[-1]:g}"
        )
    return Claim(
        words="Too small a learning rate does not move, too large a one fails; one that fits lies between.",
        measured=f"{'. '.join(fits)} (guessing: {number(GUESSING)}; medians and quartiles of "
        f"{results['SGD'].last.shape[1]} seeds).",
        verdict=_verdict(ends),
    )


def _diverges(results: dict[str, Trained]) -> Claim:
    above = {name: (~(one.last[-1] <= GUESSING)).mean() for name, one in results.items()}
    lost = {name: (~np.isfinite(one.last)).mean(axis=1)[-1] for name, one in results.items()}
    said = "; ".join(
        f"{name} {100 * above[name]:.0f} % of the runs, {100 * lost[name]:.0f} % as NaN or infinity" for name in results
    )
    return Claim(
        words="Too large a learning rate overshoots and diverges: the loss ends above that of guessing.",
        measured=f"At a rate of {RATES[-1]:g} above guessing: {said}.",
        verdict=_verdict([bool(share > 0.5) for share in above.values()]),
    )


def _rule(results: dict[str, Trained]) -> Claim:
    near, said = [], []
    for name, one in results.items():
        ratio, place = one.ratio_at(one.best), one.by_the_rule
        near.append(bool(abs(np.log10(ratio / RULE)) <= NEAR))
        said.append(
            f"{name} is best at {RATES[one.best]:g}, where the ratio is {number(ratio)}; the rate nearest to the rule "
            f"is {RATES[place]:g}, with a loss of {number(float(one.typical[place]))} instead of "
            f"{number(float(one.typical[one.best]))}"
        )
    return Claim(
        words="The learning rate fits where updates have about a thousandth of the size of their weights.",
        measured=f"{'. '.join(said)}. Near means within half a decade.",
        verdict=_verdict(near),
        expected=Verdict.FALLS,
    )


def _transfers(results: dict[str, Trained]) -> Claim:
    sgd, adam = (results[name] for name in OPTIMISERS)
    rates = abs(float(np.log10(RATES[sgd.best] / RATES[adam.best])))
    ratios = abs(float(np.log10(sgd.ratio_at(sgd.best) / adam.ratio_at(adam.best))))
    return Claim(
        words="The best rates of two optimisers lie far apart, the sizes of their updates there do not.",
        measured=f"The best rates of SGD and Adam are {rates:.1f} decades apart, the update ratios at these rates "
        f"{ratios:.1f} decades ({number(sgd.ratio_at(sgd.best))} and {number(adam.ratio_at(adam.best))}).",
        verdict=_verdict([ratios < rates]),
    )


def _verdict(holds: list[bool]) -> Verdict:
    """Whether something holds for all optimisers, for some, or for none."""
    return Verdict.STANDS if all(holds) else Verdict.PARTLY if any(holds) else Verdict.FALLS


# Pictures -------------------------------------------------------------------------------------------------------------


def _finite(values: Numbers) -> Numbers:
    """NaN in the rows in which any seed is no number: a curve ends there."""
    return np.where(np.isfinite(values).all(axis=1, keepdims=True), values, np.nan)


def _lines(results: dict[str, Trained], field: str) -> list[Shape]:
    shapes: list[Shape] = []
    for style, (name, one) in enumerate(results.items()):
        low, middle, high = np.quantile(_finite(getattr(one, field)), (0.25, 0.5, 0.75), axis=1)
        shapes.append(Ribbon("", np.array(RATES), low, high, style=style))
        shapes.append(Line(name, np.array(RATES), middle, style=style, markers=True))
    return shapes


def _loss_chart(results: dict[str, Trained]) -> Chart:
    best = ", ".join(f"{name} at {RATES[one.best]:g}" for name, one in results.items())
    return Chart(
        title=f"Between rates that do not move and rates that diverge one fits: {best}",
        reading="Loss of the last epoch for each learning rate: median and quartiles over seeds.",
        x=Axis("learning rate", scale="log"),
        y=Axis("last loss", unit="nats", scale="log"),
        shapes=(Level(GUESSING, "guessing"), *_lines(results, "last")),
        alt=f"Two curves on log scales, each falling to a lowest point and rising again. Lowest: {best}.",
        table=Table(
            ("learning rate", *(f"loss, {name}" for name in results), *(f"update ratio, {name}" for name in results)),
            tuple(
                (
                    f"{rate:g}",
                    *(number(float(one.typical[place])) for one in results.values()),
                    *(number(one.ratio_at(place)) for one in results.values()),
                )
                for place, rate in enumerate(RATES)
            ),
        ),
    )


def _ratio_chart(results: dict[str, Trained]) -> Chart:
    shapes = [Zone(RULE * 10**-NEAR, RULE * 10**NEAR, "rule of thumb: 1e-3"), *_lines(results, "ratio")]
    bests = list(results.values())
    shapes.append(
        Points(
            "best rate",
            np.array([RATES[one.best] for one in bests]),
            np.array([one.ratio_at(one.best) for one in bests]),
            style=3,
        )
    )
    said = ", ".join(f"{name} {number(one.ratio_at(one.best))}" for name, one in results.items())
    return Chart(
        title=f"At the best rate an update has this share of its weights: {said}",
        reading="rms ΔW / rms W, median over steps and matrices: median and quartiles over seeds.",
        x=Axis("learning rate", scale="log"),
        y=Axis("update ratio", unit="rms ΔW / rms W", scale="log"),
        shapes=tuple(shapes),
        alt=f"Two rising lines on log scales; a zone marks 1e-3. Ratio at the best rate: {said}.",
    )


def _rule_chart(results: dict[str, Trained]) -> Chart:
    shapes: list[Shape] = [Level(GUESSING, "guessing")]
    for style, (name, one) in enumerate(results.items()):
        _, middle, _ = quartiles(_finite(one.ratio), axis=1)
        known = np.isfinite(one.typical) & np.isfinite(middle)
        shapes.append(Line(name, middle[known], one.typical[known], style=style, markers=True))
    bests = [one.ratio_at(one.best) for one in results.values()]
    low, high = min(bests), max(bests)
    return Chart(
        title=f"Drawn over the update ratio both are lowest between {number(low)} and {number(high)}",
        reading="The same losses over the update ratio of each rate: medians over seeds.",
        x=Axis("update ratio", unit="rms ΔW / rms W", scale="log"),
        y=Axis("last loss", unit="nats", scale="log"),
        shapes=tuple(shapes),
        alt=f"Two curves over the update ratio on log scales with their lowest points between {number(low)} and "
        f"{number(high)}.",
    )
