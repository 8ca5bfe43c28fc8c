"""Two concentric circles: ReLU against sigmoid, one hidden layer against three."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isometry.classics.classic import Claim, Exhibit, Study, Verdict, classic
from isometry.classics.comparison import first_exceeds, is_within, mostly, of_pairs, place_of, scattered
from isometry.classics.spread import quartiles, spread
from isometry.diagnosis.diagnose import diagnose
from isometry.diagnosis.finding import Diagnosis
from isometry.report.chart import Axis, Chart, Level, Line, Ribbon, Rule, Shape, Table
from isometry.report.words import decades, number

if TYPE_CHECKING:
    from torch import nn

    from isometry.adapters.torch.train import TrainedMany

Numbers = NDArray[np.float64]

GUESSING = float(np.log(2))
"""Loss of a network that gives every point the same even chance."""
EPOCHS = 100
LONGER = 3
"""Sigmoid networks are followed so many times as long as in the tutorial."""


@dataclass(frozen=True, slots=True)
class Net:
    """One network of the tutorial, or its control."""

    words: str
    activation: str
    hidden: int
    loss: float | None = None
    """As the tutorial told it of one run."""
    accuracy: float | None = None


NETS = (
    Net("ReLU, 1 layer", "relu", 1, 0.2404, 0.973),
    Net("sigmoid, 1 layer", "sigmoid", 1, 0.6927, 0.654),
    Net("sigmoid, 3 layers", "sigmoid", 3, 0.6922, 0.533),
    Net("ReLU, 3 layers", "relu", 3),
)


@dataclass(frozen=True, slots=True)
class Course:
    """A network over the seeds, epoch by epoch."""

    many: "TrainedMany"
    epochs: int
    """Of the tutorial; what comes after them was trained on."""
    accuracies: list[list[float]]
    """On all points after each epoch. shape (epochs, seeds)"""
    whole_losses: list[list[float]]

    @property
    def accuracy(self) -> Numbers:
        """After the tutorial's epochs. shape (seeds,)"""
        return np.array(self.accuracies[self.epochs - 1])

    @property
    def loss(self) -> Numbers:
        return np.array(self.whole_losses[self.epochs - 1])

    @property
    def spreads(self) -> Numbers:
        """S.D. of each layer's weight gradient, median over the first tenth of the epochs. shape (seeds, layers)"""
        return np.median(self.many.gradient_std[:, : self.epochs // 10], axis=1)


@classic(
    "circles-depth",
    title="Two circles: does depth with sigmoid stop a network from learning?",
    covers=("C1", "C2", "C3"),
    source="visual tutorial",
    place=30,
)
def circles_depth(study: Study) -> Exhibit:
    """Hidden layers of 5 units and a sigmoid output on two concentric circles: one hidden ReLU layer, one and three
    hidden sigmoid layers, and as a control three hidden ReLU layers.

    1,000 points (factor 0.5, noise 0.1), Glorot's uniform weights, biases 0, Adam (rate 1e-3, ε 1e-7), batches of 32,
    100 epochs; the sigmoid networks go on to 300. Loss and accuracy are those of all 1,000 points after an epoch. The
    sigmoid of the output is computed together with the loss, which is the same function.

    A text's number is held against the seeds, in the full form: it agrees if it lies between the least and the
    greatest of them. One network learns better than another if the middle halves of their seeds do not overlap; in
    part if the order is more than chance (Mann & Whitney 1947). That three layers learn less than one has to hold
    after 100 epochs, by the median accuracy, and at the end, by the median loss. A network goes on learning if its
    loss is lower at the end than half-way in more of the seeds than a coin's falls would give.
    """
    courses = {net: _course(net, study) for net in NETS}
    relu, one, three, control = courses.values()
    return Exhibit(
        claims=(
            *(_number_claim(net, courses[net]) for net in NETS if net.accuracy is not None and not study.fast),
            _sigmoid_claim(relu, one),
            _depth_claim(one, three),
            _vanishing_claim(three, control),
            _stopped_claim(one, three),
        ),
        charts=(_accuracy_chart(courses), _loss_chart(courses), _gradient_chart(courses)),
        numbers={net.words: _numbers(course) for net, course in courses.items()},
        diagnoses={net.words: _watched(net, study) for net in NETS[:3]},
        remarks=(
            "Each seed has its own points, weights and order of the data.",
            "Accuracy is that of the points trained on, as in the tutorial: it tells of learning, not of generalising.",
        ),
    )


def _course(net: Net, study: Study) -> Course:
    from isometry.adapters.torch.train import train_many
    from isometry.classics.build import circles

    longer = EPOCHS * LONGER if net.activation == "sigmoid" else EPOCHS
    haste = study.size(1, circles.HASTE)
    study.say(f"{net.words}, {len(study.seeds)} seeds, {longer // haste} epochs")
    accuracies: list[list[float]] = []
    losses: list[list[float]] = []

    def note(epoch: int, models: "Sequence[nn.Module]") -> None:
        accuracies.append(circles.accuracies(models, study.seeds))
        losses.append(circles.losses(models, study.seeds))

    many = train_many(
        circles.shallow(net.activation, hidden=net.hidden, epochs=longer, haste=haste), study.seeds, after_epoch=note
    )
    return Course(many, EPOCHS // haste, accuracies, losses)


def _watched(net: Net, study: Study) -> Diagnosis:
    """The run of the first seed, as a user's run is watched."""
    from isometry.adapters.torch.train import train
    from isometry.classics.build import circles

    study.say(f"{net.words}, watched")
    run = train(
        circles.shallow(net.activation, hidden=net.hidden, epochs=study.size(EPOCHS, 5)),
        seed=study.seeds[0],
        run=study.runs / net.words.replace(", ", "-").replace(" ", "-").lower(),
        every=32,
        after_epoch=lambda epoch, model: {"accuracy": circles.accuracies([model], study.seeds[:1])[0]},
    ).run
    assert run is not None
    return diagnose(run)


# What is claimed ------------------------------------------------------------------------------------------------------


def _number_claim(net: Net, course: Course) -> Claim:
    assert net.accuracy is not None and net.loss is not None
    inside = is_within(net.accuracy, course.accuracy), is_within(net.loss, course.loss)
    return Claim(
        words=f"{net.words}: loss {net.loss}, accuracy {net.accuracy} after 100 epochs.",
        measured=f"Median and quartiles after {course.epochs} epochs: loss {spread(course.loss)}, accuracy "
        f"{spread(course.accuracy)}. The text's loss lies {place_of(net.loss, course.loss)}, its accuracy "
        f"{place_of(net.accuracy, course.accuracy)}.",
        verdict=(Verdict.FALLS, Verdict.PARTLY, Verdict.STANDS)[sum(inside)],
    )


def _sigmoid_claim(relu: Course, sigmoid: Course) -> Claim:
    share = of_pairs(relu.accuracy, sigmoid.accuracy)
    return Claim(
        words="With sigmoid in place of ReLU the network learns much less.",
        measured=f"Accuracy: ReLU {spread(relu.accuracy)}, sigmoid {spread(sigmoid.accuracy)}. Of two networks, one of "
        f"each kind, ReLU is ahead in {100 * share:.0f} % of the pairs.",
        verdict=first_exceeds(relu.accuracy, sigmoid.accuracy),
    )


def _depth_claim(one: Course, three: Course) -> Claim:
    share = of_pairs(one.accuracy, three.accuracy)
    less = np.median(three.accuracy) < np.median(one.accuracy)
    still_less = np.median(three.whole_losses[-1]) > np.median(one.whole_losses[-1])
    return Claim(
        words="Three sigmoid layers learn less than one.",
        measured=f"Accuracy after {one.epochs} epochs: one layer {spread(one.accuracy)}, "
        f"three {spread(three.accuracy)}; one is ahead in {100 * share:.0f} % of the pairs. "
        f"Loss after {len(three.whole_losses)} epochs: one layer {spread(one.whole_losses[-1])}, "
        f"three {spread(three.whole_losses[-1])}.",
        verdict=(Verdict.FALLS, Verdict.PARTLY, Verdict.STANDS)[int(less) + int(still_less)],
        expected=Verdict.PARTLY,
    )


def _decades_to_first(course: Course) -> Numbers:
    """From the output to the first layer. [decades, per seed]"""
    spreads = np.maximum(course.spreads, np.finfo(np.float32).tiny)
    return np.log10(spreads[:, 0] / spreads[:, -1])


def _vanishing_claim(three: Course, control: Course) -> Claim:
    sick, healthy = _decades_to_first(three), _decades_to_first(control)
    learns = first_exceeds(control.accuracy, three.accuracy)
    smaller = first_exceeds(healthy, sick)
    return Claim(
        words="Vanishing gradients are what sigmoid does to depth: ReLU layers of the same number learn.",
        measured=f"S.D. of the gradient, first layer against output, in decades: sigmoid {spread(sick, decades)}, ReLU "
        f"{spread(healthy, decades)}. Accuracy of three ReLU layers: {spread(control.accuracy)}.",
        verdict=Verdict.STANDS
        if learns is smaller is Verdict.STANDS
        else Verdict.FALLS
        if Verdict.FALLS in (learns, smaller)
        else Verdict.PARTLY,
    )


def _stopped_claim(one: Course, three: Course) -> Claim:
    said, go_on = [], []
    for words, course in (("one layer", one), ("three layers", three)):
        last = len(course.whole_losses)
        half, end = (np.array(course.whole_losses[epoch - 1]) for epoch in (last // 2, last))
        go_on.append(mostly(end < half))
        said.append(
            f"{words}: loss {spread(half)} after {last // 2} epochs, {spread(end)} after {last}, where accuracy is "
            f"{spread(course.accuracies[-1])}"
        )
    return Claim(
        words="The sigmoid networks have stopped learning.",
        measured=f"Guessing has a loss of 0.693. With {'; with '.join(said)}.",
        verdict=(Verdict.STANDS, Verdict.PARTLY, Verdict.FALLS)[sum(go_on)],
        expected=Verdict.FALLS,
    )


def _numbers(course: Course) -> dict[str, object]:
    return {
        "accuracy": course.accuracy.tolist(),
        "loss": course.loss.tolist(),
        "last_epoch": len(course.accuracies),
        "last_accuracy": course.accuracies[-1],
        "last_loss": course.whole_losses[-1],
        "gradient_std": course.spreads.tolist(),
    }


# What is shown --------------------------------------------------------------------------------------------------------


def _accuracy_chart(courses: Mapping[Net, Course]) -> Chart:
    groups = {net.words: course.accuracy for net, course in courses.items()}
    middle = [f"{np.median(values):.2f}" for values in groups.values()]
    epochs = courses[NETS[0]].epochs
    return Chart(
        title=f"Accuracy: sigmoid {middle[1]}, three layers {middle[2]}; ReLU {middle[0]}, three layers {middle[3]}",
        reading=f"Accuracy after {epochs} epochs. Within a network the seeds stand in rising order.",
        x=Axis("network", scale="layers", names=tuple(groups)),
        y=Axis("accuracy on the points trained on"),
        shapes=(Level(0.5, "guessing"), *scattered(groups, [net.accuracy for net in courses])),
        alt="Points of every seed for four networks. "
        + "; ".join(f"{words}: median {value}" for words, value in zip(groups, middle, strict=True))
        + ".",
        table=Table(
            ("network", "the text's run", "least", "median", "greatest"),
            tuple(
                (
                    net.words,
                    "–" if net.accuracy is None else number(net.accuracy),
                    *(number(float(value)) for value in np.quantile(groups[net.words], (0, 0.5, 1))),
                )
                for net in courses
            ),
        ),
    )


def _loss_chart(courses: Mapping[Net, Course]) -> Chart:
    shapes: list[Shape] = [Level(GUESSING, "guessing")]
    for style, (net, course) in enumerate(courses.items()):
        low, middle, high = quartiles(np.array(course.whole_losses), axis=1)
        epochs = np.arange(1.0, len(middle) + 1)
        shapes += [Ribbon("", epochs, low, high, style=style), Line(net.words, epochs, middle, style=style)]
    longest = max(len(course.whole_losses) for course in courses.values())
    shapes.append(Rule(float(courses[NETS[0]].epochs), "the tutorial ends"))
    last = {net: float(np.median(course.whole_losses[-1])) for net, course in courses.items()}
    one, three = (f"{last[net]:.2f}" for net in NETS[1:3])
    return Chart(
        title=f"Loss after {longest} epochs: one sigmoid layer {one}, three {three}",
        reading="Median loss over the seeds; shaded: the middle half of them.",
        x=Axis("epoch"),
        y=Axis("loss"),
        shapes=tuple(shapes),
        alt="Line chart of the loss over epochs. "
        + "; ".join(f"{net.words} ends at {number(value)}" for net, value in last.items())
        + ".",
        table=Table(
            ("network", "last epoch", "loss"),
            tuple((net.words, str(len(courses[net].whole_losses)), number(value)) for net, value in last.items()),
        ),
    )


def _gradient_chart(courses: Mapping[Net, Course]) -> Chart:
    layers = courses[NETS[2]].many.layers
    shapes: list[Shape] = []
    for style, net in enumerate(NETS[2:]):
        low, middle, high = quartiles(courses[net].spreads)
        at = np.arange(len(layers), dtype=np.float64)
        shapes += [
            Ribbon("", at, low, high, style=style),
            Line(net.words, at, middle, style=style, markers=True),
        ]
    sick, healthy = (decades(float(np.median(_decades_to_first(courses[net])))) for net in NETS[2:])
    return Chart(
        title=f"From output to input the gradient changes by {sick} decades with sigmoid, {healthy} with ReLU",
        reading="S.D. of each weight matrix's gradient in the first tenth of the training; shaded: the middle half of "
        "the seeds.",
        x=Axis("layer, input first", scale="layers", names=layers),
        y=Axis("S.D. of ∂L/∂W", scale="log"),
        shapes=tuple(shapes),
        alt=f"Line chart on a log scale over four layers. Towards the input sigmoid changes by {sick} decades, "
        f"ReLU by {healthy}.",
        table=Table(
            ("network", *layers),
            tuple(
                (net.words, *(number(float(value)) for value in np.median(courses[net].spreads, axis=0)))
                for net in NETS[2:]
            ),
        ),
    )
