"""The gradient of every weight matrix over the epochs, on two concentric circles: sigmoid, tanh and ReLU."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isometry.classics.classic import Claim, Exhibit, Study, Verdict, classic
from isometry.classics.comparison import first_exceeds, is_within, of_pairs, place_of, scattered
from isometry.classics.spread import quartiles, spread
from isometry.diagnosis.diagnose import diagnose
from isometry.history.run import Run
from isometry.report.chart import Axis, Chart, Level, Line, Ribbon, Shape, Table
from isometry.report.plot import plots
from isometry.report.words import decades, number

if TYPE_CHECKING:
    from isometry.adapters.torch.train import TrainedMany

Numbers = NDArray[np.float64]

TOLD = {"sigmoid": (0.50, 0.652), "tanh": (0.502, 0.994), "relu": (0.503, 0.995)}
"""Accuracy before and after training, as the tutorial tells it of one run of each activation."""
SAID = {"sigmoid": "sigmoid", "tanh": "tanh", "relu": "ReLU"}
BANDS = {"sigmoid": (1e-3, 1e-2), "tanh": (1e-2, 1e-1)}
"""Between which the tutorial reads the S.D. of gradients off its figure."""
EPOCHS = 100
UNSEEN = 0.1
"""A curve ten times nearer to zero than another on the same linear axis is not seen to leave it."""
ALIKE = 1.0
"""Decades within which curves share one band of the tutorial's logarithmic axis."""
HALF = 0.5 * float(np.log(2))
"""Half of the loss of guessing."""
PANELS = ("weight-gradient-mean-over-steps", "weight-gradient-std-over-steps", "loss")


@dataclass(frozen=True, slots=True)
class Trainings:
    """One activation over the seeds."""

    many: "TrainedMany"
    before: Numbers
    """Accuracy of the untrained networks. shape (seeds,)"""
    accuracy: Numbers

    @property
    def mean(self) -> Numbers:
        """Typical size of each layer's mean gradient: median over the epochs. shape (seeds, layers)"""
        return np.asarray(np.median(np.abs(self.many.gradient_mean), axis=1))

    @property
    def std(self) -> Numbers:
        """Typical S.D. of each layer's gradient: median over the epochs. shape (seeds, layers)"""
        return np.asarray(np.median(self.many.gradient_std, axis=1))

    @property
    def to_first(self) -> Numbers:
        """What the S.D. becomes from the output to the first layer; no number where it is zero. [decades, per seed]"""
        ends = self.std[:, (0, -1)]
        logs = np.log10(ends, out=np.full(ends.shape, np.nan), where=ends > 0)
        change: Numbers = logs[:, 0] - logs[:, 1]
        return change

    @property
    def halved(self) -> Numbers:
        """Epoch in which the mean loss is first below half of guessing; one after the last if never. shape (seeds,)"""
        low = self.many.losses < HALF
        epochs: Numbers = np.where(low.any(axis=1), low.argmax(axis=1) + 1.0, low.shape[1] + 1.0)
        return epochs


@classic(
    "circles-gradients",
    title="Two circles: which layers receive a gradient?",
    covers=("C7", "C8", "C9", "A4", "A6"),
    source="visual tutorial",
    place=32,
)
def circles_gradients(study: Study) -> Exhibit:
    """Four hidden layers of 5 units and a sigmoid output on two concentric circles, with sigmoid, tanh or ReLU in the
    hidden layers; mean and standard deviation of the gradient of each weight matrix in the last batch of every epoch,
    biases left out, and the loss.

    1,000 points (factor 0.5, noise 0.1), weights drawn from N(0, 1), biases 0, RMSprop (rate 1e-3, ρ 0.9, ε 1e-7 beside
    the root, as in Keras up to 2.10), batches of 32, the last of each epoch 8, 100 epochs. The pictures of one run are
    those of any watched run, recorded every 32 steps: there it is the first batch of each epoch.

    A text's number agrees, in the full form, if it lies between the least and the greatest of the seeds. What is
    typical of a layer is its median over the epochs. A mean is not seen to leave zero beside one that is ten times as
    large. Layers are alike if their S.D.s lie within one decade. The loss of one activation drops faster than
    another's if it is halved earlier and the middle halves of the seeds do not overlap; in part if the order is more
    than chance (Mann & Whitney 1947).
    """
    trained = {activation: _trained(activation, study) for activation in TOLD}
    runs = {activation: _watched(activation, study) for activation in TOLD}
    return Exhibit(
        claims=(
            *(_number_claim(activation, trainings) for activation, trainings in trained.items() if not study.fast),
            _mean_claim(trained["sigmoid"]),
            _band_claim("sigmoid", trained["sigmoid"]),
            _band_claim("tanh", trained["tanh"]),
            _alike_claim(trained["tanh"]),
            _vanishing_claim(trained),
            _fastest_claim(trained),
        ),
        charts=(
            _profile_chart(trained),
            _accuracy_chart(trained),
            *(panel for activation, run in runs.items() for panel in _panels(activation, run)),
        ),
        numbers={activation: _numbers(trainings) for activation, trainings in trained.items()},
        diagnoses={SAID[activation]: diagnose(run) for activation, run in runs.items()},
        remarks=(
            "The mean of a matrix says little of its size: gradients of both signs cancel, the more the more weights "
            "there are. The output has 5, a hidden matrix 25, the first 10.",
            "A matrix' gradient depends on the layer's inputs as well as on the backward signal; the diagnoses read "
            "that signal itself.",
            "Accuracy is that of the points trained on, as in the tutorial: it tells of learning, not of generalising.",
            "Each seed has its own points, weights and order of the data.",
        ),
    )


def _trained(activation: str, study: Study) -> Trainings:
    from isometry.adapters.torch.train import train_many
    from isometry.classics.build import circles

    study.say(f"{activation}, {len(study.seeds)} seeds")
    experiment = circles.deep(activation, "N(0, 1)", epochs=EPOCHS, haste=study.size(1, circles.HASTE))
    many = train_many(experiment, study.seeds)
    before, after = (
        np.array(circles.accuracies(models, study.seeds))
        for models in (circles.untrained(experiment, study.seeds), many.models)
    )
    return Trainings(many, before, after)


def _watched(activation: str, study: Study) -> Run:
    from isometry.adapters.torch.train import train
    from isometry.classics.build import circles

    study.say(f"{activation}, watched")
    run = train(
        circles.deep(activation, "N(0, 1)", epochs=study.size(EPOCHS, 5)),
        seed=study.seeds[0],
        run=study.runs / activation,
        every=32,
        after_epoch=lambda epoch, model: {"accuracy": circles.accuracies([model], study.seeds[:1])[0]},
    ).run
    assert run is not None
    return run


# What is claimed ------------------------------------------------------------------------------------------------------


def _exact(value: float) -> str:
    return f"{value:.3f}"


def _number_claim(activation: str, trainings: Trainings) -> Claim:
    told = TOLD[activation]
    found = trainings.before, trainings.accuracy
    inside = [is_within(one, values) for one, values in zip(told, found, strict=True)]
    return Claim(
        words=f"{SAID[activation]}: accuracy {told[0]:.3g} before training, {told[1]} after 100 epochs.",
        measured=f"Median and quartiles: {spread(found[0], _exact)} before, {spread(found[1], _exact)} after. "
        f"The text's values lie {place_of(told[0], found[0])} and {place_of(told[1], found[1])}.",
        verdict=(Verdict.FALLS, Verdict.PARTLY, Verdict.STANDS)[sum(inside)],
    )


def _mean_claim(sigmoid: Trainings) -> Claim:
    beside = sigmoid.mean[:, :-1].max(axis=1) / sigmoid.mean[:, -1]
    seen = beside < UNSEEN
    return Claim(
        words="sigmoid: only the last layer's mean gradient is visibly other than zero.",
        measured=f"Typically {spread(sigmoid.mean[:, -1])} in the last layer; the largest of the others has "
        f"{spread(beside)} of that, less than a tenth in {int(seen.sum())} of {len(seen)} seeds.",
        verdict=Verdict.STANDS if 2 * seen.sum() > len(seen) else Verdict.FALLS,
    )


def _band_claim(activation: str, trainings: Trainings) -> Claim:
    low, high = BANDS[activation]
    middle = np.median(trainings.std, axis=0)
    inside = (middle >= low) & (middle <= high)
    every = trainings.many.gradient_std
    share = float(((every >= low) & (every <= high)).mean())
    layers = trainings.many.layers
    said = ", ".join(f"{name} {number(float(f'{one:.2g}'))}" for name, one in zip(layers, middle, strict=True))
    return Claim(
        words=f"{SAID[activation]}: the S.D. of the gradients lies between {low:g} and {high:g}.",
        measured=f"Typically {said}. {int(inside.sum())} of {len(layers)} layers lie there, "
        f"and {100 * share:.0f} % of all values.",
        verdict=Verdict.STANDS if inside.all() else Verdict.PARTLY if 2 * inside.sum() > len(layers) else Verdict.FALLS,
        expected=Verdict.PARTLY if activation == "sigmoid" else Verdict.STANDS,
    )


def _alike_claim(tanh: Trainings) -> Claim:
    logs = np.log10(tanh.std)
    apart = np.ptp(logs, axis=1)
    return Claim(
        words="tanh: all layers' gradients move alike.",
        measured=f"The largest and the smallest typical S.D. of a network's layers are {spread(apart)} decades apart; "
        f"the first layer's is the largest in {int((logs.argmax(axis=1) == 0).sum())} of {len(apart)} seeds.",
        verdict=Verdict.STANDS if np.median(apart) < ALIKE else Verdict.FALLS,
    )


def _vanishing_claim(trained: Mapping[str, Trainings]) -> Claim:
    falls = {activation: trainings.to_first for activation, trainings in trained.items()}
    said = "; ".join(f"{activation} {spread(values, decades)}" for activation, values in falls.items())
    known = {activation: values[np.isfinite(values)] for activation, values in falls.items()}
    orders = [first_exceeds(known[other], known["sigmoid"]) for other in ("tanh", "relu")]
    shrinks = float(np.median(known["sigmoid"])) < 0
    return Claim(
        words="With sigmoid the gradient vanishes towards the first layer, with tanh and ReLU it does not.",
        measured=f"S.D. of the gradient, first layer against output, in decades: {said}.",
        verdict=Verdict.FALLS if Verdict.FALLS in orders or not shrinks else max(orders, key=_weakness),
    )


def _weakness(verdict: Verdict) -> int:
    return (Verdict.STANDS, Verdict.PARTLY, Verdict.FALLS).index(verdict)


def _fastest_claim(trained: Mapping[str, Trainings]) -> Claim:
    halved = {activation: trainings.halved for activation, trainings in trained.items()}
    never = {activation: int((trained[activation].many.losses >= HALF).all(axis=1).sum()) for activation in trained}
    orders = [first_exceeds(halved[other], halved["relu"]) for other in ("sigmoid", "tanh")]
    ahead = of_pairs(halved["tanh"], halved["relu"])
    return Claim(
        words="ReLU: the loss drops fastest.",
        measured=f"It is half of guessing after {spread(halved['relu'])} epochs with ReLU, {spread(halved['tanh'])} "
        f"with tanh; never with sigmoid in {never['sigmoid']} of {len(halved['sigmoid'])} seeds. ReLU is ahead of tanh "
        f"in {100 * ahead:.0f} % of the pairs.",
        verdict=max(orders, key=_weakness),
        expected=Verdict.FALLS,
    )


def _numbers(trainings: Trainings) -> dict[str, object]:
    return {
        "layers": trainings.many.layers,
        "accuracy_before": trainings.before.tolist(),
        "accuracy": trainings.accuracy.tolist(),
        "typical_mean": trainings.mean.tolist(),
        "typical_std": trainings.std.tolist(),
        "decades_from_output_to_first": trainings.to_first.tolist(),
        "epoch_of_half_loss": trainings.halved.tolist(),
    }


# What is shown --------------------------------------------------------------------------------------------------------


def _profile_chart(trained: Mapping[str, Trainings]) -> Chart:
    layers = next(iter(trained.values())).many.layers
    at = np.arange(len(layers), dtype=np.float64)
    shapes: list[Shape] = []
    for style, (activation, trainings) in enumerate(trained.items()):
        low, middle, high = quartiles(np.where(trainings.std > 0, trainings.std, np.nan))
        shapes += [
            Ribbon("", at, low, high, style=style),
            Line(SAID[activation], at, middle, style=style, markers=True),
        ]
    said = ", ".join(
        f"{SAID[activation]} {decades(float(np.nanmedian(trainings.to_first)))}"
        for activation, trainings in trained.items()
    )
    return Chart(
        title=f"Decades that the gradient gains or loses from output to input: {said}",
        reading="S.D. of each weight matrix' gradient, median over the epochs and the seeds; shaded: the middle half "
        "of the seeds.",
        x=Axis("layer, input first", scale="layers", names=layers),
        y=Axis("S.D. of ∂L/∂W", scale="log"),
        shapes=tuple(shapes),
        alt=f"Line chart on a log scale over {len(layers)} layers. From the output to the input, in decades: {said}.",
        table=Table(
            ("activation", *layers),
            tuple(
                (SAID[activation], *(number(float(v)) for v in np.median(trainings.std, axis=0)))
                for activation, trainings in trained.items()
            ),
        ),
    )


def _accuracy_chart(trained: Mapping[str, Trainings]) -> Chart:
    groups: dict[str, Numbers] = {}
    told: list[float] = []
    for activation, trainings in trained.items():
        groups[f"{SAID[activation]} before"] = trainings.before
        groups[f"{SAID[activation]} after"] = trainings.accuracy
        told += TOLD[activation]
    said = ", ".join(f"{SAID[activation]} {np.median(one.accuracy):.2f}" for activation, one in trained.items())
    return Chart(
        title=f"Accuracy from about 0.5 to: {said}",
        reading="Within a column the seeds stand in rising order.",
        x=Axis("network", scale="layers", names=tuple(groups)),
        y=Axis("accuracy on the points trained on"),
        shapes=(Level(0.5, "guessing"), *scattered(groups, told)),
        alt=f"Points of every seed before and after training. Medians after it: {said}.",
        table=Table(
            ("network", "the text's run", "least", "median", "greatest"),
            tuple(
                (name, number(one), *(_exact(float(v)) for v in np.quantile(groups[name], (0, 0.5, 1))))
                for name, one in zip(groups, told, strict=True)
            ),
        ),
    )


def _panels(activation: str, run: Run) -> list[Chart]:
    """The pictures of the report, with the activation in front of what they say."""
    charts = [plot(run) for name in PANELS for plot in plots() if plot.name == name]
    return [replace(chart, title=f"{SAID[activation]}: {chart.title[:1].lower()}{chart.title[1:]}") for chart in charts]
