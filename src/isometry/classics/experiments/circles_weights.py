"""The weights of every layer over the epochs, on two concentric circles: sigmoid, tanh and ReLU."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isometry.classics.classic import Claim, Exhibit, Study, Verdict, classic
from isometry.classics.comparison import is_within, place_of, scattered
from isometry.classics.spread import quartiles, spread
from isometry.diagnosis.diagnose import diagnose
from isometry.history.run import Run
from isometry.report.chart import Axis, Chart, Level, Line, Ribbon, Shape, Table
from isometry.report.plot import plots
from isometry.report.words import number

if TYPE_CHECKING:
    from isometry.adapters.torch.train import TrainedMany

Numbers = NDArray[np.float64]

TOLD = {"sigmoid": (0.665, 0.588), "tanh": (0.0129, 0.993), "relu": (0.0169, 0.994)}
"""Loss and accuracy that the tutorial tells of one run of each activation."""
SAID = {"sigmoid": "sigmoid", "tanh": "tanh", "relu": "ReLU"}
EPOCHS = 100
EARLY = 10
"""Epochs in which the tutorial sees the means of the sigmoid network move."""
UNSEEN = 0.1
"""Beside a curve that moves ten times as far on the same axis, one is not seen to move."""
EVEN = 0.25
"""Share of its range that a curve of even drift covers in the last quarter of the epochs."""
PANELS = ("weight-mean-over-steps", "weight-std-over-steps")


@classic(
    "circles-weights",
    title="Two circles: where do the weights move while a network learns?",
    covers=("C4", "C5", "C6", "A4"),
    source="visual tutorial",
    place=31,
)
def circles_weights(study: Study) -> Exhibit:
    """Four hidden layers of 5 units and a sigmoid output on two concentric circles, with sigmoid, tanh or ReLU in the
    hidden layers; mean and standard deviation of each layer's weights before training and after every epoch.

    1,000 points (factor 0.5, noise 0.1), weights drawn from N(0, 1), biases 0, RMSprop (rate 1e-3, ρ 0.9, ε 1e-7 beside
    the root, as in Keras up to 2.10), batches of 32, 100 epochs. The pictures of one run are those of any watched run,
    recorded every 32 steps, which is once an epoch.

    A text's number agrees, in the full form, if it lies between the least and the greatest of the seeds. A mean moves
    only in the first 10 epochs if it goes less far in the 90 after them. A spread is not seen to grow beside one that
    grows ten times as much. A layer settles if its mean and its spread cover less of their range in the last quarter
    of the epochs than an even drift would, which is a quarter.
    """
    trained = {activation: _trained(activation, study) for activation in TOLD}
    runs = {activation: _watched(activation, study) for activation in TOLD}
    sigmoid = trained["sigmoid"]
    return Exhibit(
        claims=(
            *(_number_claim(activation, many) for activation, many in trained.items() if not study.fast),
            _early_claim(sigmoid),
            _first_layer_claim(sigmoid),
            *(_settling_claim(activation, trained[activation]) for activation in ("tanh", "relu")),
        ),
        charts=(
            _growth_chart(trained),
            _accuracy_chart(trained),
            *(panel for activation, run in runs.items() for panel in _panels(activation, run)),
        ),
        numbers={activation: _numbers(many) for activation, many in trained.items()},
        diagnoses={SAID[activation]: diagnose(run) for activation, run in runs.items()},
        remarks=(
            "A step's picture shows the weights before it: the first is the state before training, the last that "
            "before the last epoch.",
            "Accuracy is that of the points trained on, as in the tutorial: it tells of learning, not of generalising.",
            "Each seed has its own points, weights and order of the data.",
        ),
    )


def _trained(activation: str, study: Study) -> "TrainedMany":
    from isometry.adapters.torch.train import train_many
    from isometry.classics.build import circles

    study.say(f"{activation}, {len(study.seeds)} seeds")
    many = train_many(
        circles.deep(activation, "N(0, 1)", epochs=EPOCHS, haste=study.size(1, circles.HASTE)), study.seeds
    )
    return replace(many, metrics=np.array(circles.accuracies(many.models, study.seeds)))


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


def _number_claim(activation: str, many: "TrainedMany") -> Claim:
    loss, accuracy = TOLD[activation]
    last = many.losses[:, -1]
    inside = is_within(loss, last), is_within(accuracy, many.metrics)
    return Claim(
        words=f"{SAID[activation]}: loss {loss}, accuracy {accuracy} after 100 epochs.",
        measured=f"Median and quartiles: loss of the last epoch {spread(last)}, "
        f"accuracy {spread(many.metrics, _exact)}. "
        f"The text's loss lies {place_of(loss, last)}, its accuracy {place_of(accuracy, many.metrics)}.",
        verdict=(Verdict.FALLS, Verdict.PARTLY, Verdict.STANDS)[sum(inside)],
    )


def _exact(value: float) -> str:
    return f"{value:.3f}"


def _early_claim(many: "TrainedMany") -> Claim:
    until = round(EARLY * many.losses.shape[1] / EPOCHS)
    early = np.abs(many.weight_mean[:, until] - many.weight_mean[:, 0])
    late = np.abs(many.weight_mean[:, -1] - many.weight_mean[:, until])
    ended = late < early
    layers = ended.sum(axis=1)
    wholly = int(ended.all(axis=1).sum())
    return Claim(
        words="sigmoid: the means of the weights move only in the first 10 epochs.",
        measured=f"In {wholly} of {len(layers)} seeds every layer's mean goes less far after epoch {until} than before "
        f"it; in the median {number(float(np.median(layers)))} of {ended.shape[1]} layers do. Of {many.layers[-1]} it "
        f"is true in {int(ended[:, -1].sum())} seeds, of {many.layers[0]} in {int(ended[:, 0].sum())}.",
        verdict=Verdict.STANDS
        if 2 * wholly >= len(layers)
        else Verdict.PARTLY
        if 2 * np.median(layers) > ended.shape[1]
        else Verdict.FALLS,
        expected=Verdict.FALLS,
    )


def _growth(many: "TrainedMany") -> Numbers:
    """S.D. after training over that before it. shape (seeds, layers)"""
    return np.asarray(many.weight_std[:, -1] / many.weight_std[:, 0])


def _first_layer_claim(many: "TrainedMany") -> Claim:
    grown = np.median(_growth(many), axis=0) - 1
    first = int((_growth(many).argmax(axis=1) == 0).sum())
    seeds = len(many.seeds)
    said = ", ".join(f"{name} {100 * share:+.0f} %" for name, share in zip(many.layers, grown, strict=True))
    alone = grown[0] > 0 and np.abs(grown[1:]).max() < UNSEEN * grown[0]
    return Claim(
        words="sigmoid: only the first layer's S.D. grows.",
        measured=f"It grows most in the first layer in {first} of {seeds} seeds. Medians: {said}.".replace("-", "−"),
        verdict=Verdict.STANDS if alone else Verdict.PARTLY if 2 * first > seeds else Verdict.FALLS,
        expected=Verdict.PARTLY,
    )


def _late_share(values: Numbers) -> Numbers:
    """Distance covered in the last quarter of the epochs over the whole range. shape (seeds, layers)"""
    quarter = values.shape[1] - 1 - (values.shape[1] - 1) // 4
    ranged = np.ptp(values, axis=1)
    late = np.abs(values[:, -1] - values[:, quarter])
    share: Numbers = np.divide(late, ranged, out=np.zeros_like(late), where=ranged > 0)
    return share


def _settling_claim(activation: str, many: "TrainedMany") -> Claim:
    mean, std = _late_share(many.weight_mean), _late_share(many.weight_std)
    most = float(max(np.median(mean, axis=0).max(), np.median(std, axis=0).max()))
    covered = f"{number(float(np.median(mean)))} of its range, the S.D. {number(float(np.median(std)))}"
    return Claim(
        words=f"{SAID[activation]}: all layers drift slowly and settle.",
        measured=f"In the last quarter of the epochs a layer's mean covers {covered} (medians over seeds and layers; "
        f"at most {number(most)} in one layer). An even drift would have 0.25.",
        verdict=Verdict.STANDS if most < EVEN else Verdict.FALLS,
    )


def _numbers(many: "TrainedMany") -> dict[str, object]:
    return {
        "layers": many.layers,
        "accuracy": many.metrics.tolist(),
        "loss": many.losses[:, -1].tolist(),
        "growth_of_std": _growth(many).tolist(),
        "mean_before": many.weight_mean[:, 0].tolist(),
        "mean_after": many.weight_mean[:, -1].tolist(),
        "late_share_of_mean": _late_share(many.weight_mean).tolist(),
        "late_share_of_std": _late_share(many.weight_std).tolist(),
    }


# What is shown --------------------------------------------------------------------------------------------------------


def _growth_chart(trained: Mapping[str, "TrainedMany"]) -> Chart:
    layers = next(iter(trained.values())).layers
    at = np.arange(len(layers), dtype=np.float64)
    shapes: list[Shape] = [Level(1.0, "as before training")]
    for style, (activation, many) in enumerate(trained.items()):
        low, middle, high = quartiles(_growth(many))
        shapes += [
            Ribbon("", at, low, high, style=style),
            Line(SAID[activation], at, middle, style=style, markers=True),
        ]
    medians = {SAID[activation]: np.median(_growth(many), axis=0) for activation, many in trained.items()}
    most = {activation: int(values.argmax()) for activation, values in medians.items()}
    said = ", ".join(
        f"{activation} {layers[most[activation]]} ×{values.max():.1f}" for activation, values in medians.items()
    )
    return Chart(
        title=f"The S.D. of weights grows most in: {said}",
        reading="S.D. of a layer's weights after training over that before it, median over the seeds; shaded: the "
        "middle half of them.",
        x=Axis("layer, input first", scale="layers", names=layers),
        y=Axis("S.D. after training / before"),
        shapes=tuple(shapes),
        alt=f"Line chart over {len(layers)} layers. Greatest growth: {said}.",
        table=Table(
            ("activation", *layers),
            tuple((activation, *(number(float(v)) for v in values)) for activation, values in medians.items()),
        ),
    )


def _accuracy_chart(trained: Mapping[str, "TrainedMany"]) -> Chart:
    groups = {SAID[activation]: many.metrics for activation, many in trained.items()}
    said = ", ".join(f"{activation} {np.median(values):.2f}" for activation, values in groups.items())
    return Chart(
        title=f"Accuracy after {next(iter(trained.values())).losses.shape[1]} epochs: {said}",
        reading="Within an activation the seeds stand in rising order.",
        x=Axis("activation", scale="layers", names=tuple(groups)),
        y=Axis("accuracy on the points trained on"),
        shapes=(Level(0.5, "guessing"), *scattered(groups, [told for _, told in TOLD.values()])),
        alt=f"Points of every seed for three activations. Medians: {said}.",
        table=Table(
            ("activation", "the text's run", "least", "median", "greatest"),
            tuple(
                (
                    SAID[activation],
                    number(told),
                    *(_exact(float(v)) for v in np.quantile(groups[SAID[activation]], (0, 0.5, 1))),
                )
                for activation, (_, told) in TOLD.items()
            ),
        ),
    )


def _panels(activation: str, run: Run) -> list[Chart]:
    """The pictures of the report, with the activation in front of what they say."""
    charts = [plot(run) for name in PANELS for plot in plots() if plot.name == name]
    return [replace(chart, title=f"{SAID[activation]}: {chart.title[:1].lower()}{chart.title[1:]}") for chart in charts]
