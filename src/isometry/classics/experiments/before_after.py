"""The how-to's pair: a deep sigmoid network, and the same with ReLU and batch normalisation."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isometry.classics.classic import Claim, Exhibit, Study, Verdict, classic
from isometry.classics.spread import quartiles, ranged, spread
from isometry.diagnosis import limits
from isometry.diagnosis.diagnose import diagnose
from isometry.diagnosis.finding import Diagnosis
from isometry.history.run import Run
from isometry.network.signals import Signal
from isometry.report.chart import Axis, Chart, Level, Line, Points, Ribbon, Shape, Table
from isometry.report.words import decades, measured, number
from isometry.statistics.profile import decades_lost_per_layer
from isometry.theory import batch_norm_rate, signal_profile

if TYPE_CHECKING:
    from torch import Tensor

Numbers = NDArray[np.float64]

CHANGES = {
    "none": "sigmoid",
    "he": "sigmoid, He",
    "critical": "sigmoid, critical",
    "batch norm": "sigmoid, batch norm",
    "relu": "ReLU",
    "relu and batch norm": "ReLU, batch norm",
}
SICK, CURED = "none", "relu and batch norm"
SINGLE = ("he", "critical", "batch norm", "relu")
VANISHED = limits.FALL_HARMS.value
"""Decades between the last and the first hidden layer from which on δ has vanished; the limit of the diagnosis."""
KEPT = limits.FALL_SLOWS.value
"""Decades, up or down, within which δ has kept its size; the limit of the diagnosis."""
STEEPEST = float(np.log10(4))
"""Decades that a sigmoid's slope of at most 1/4 takes from δ, where weights neither shrink nor enlarge it."""
VALIDATION = 200
"""Rows with random labels that a network is not trained on."""
CHANCE = 2.0
"""Standard errors within which the mean share of right answers of a coin stays in 95 % of cases."""
BATCH = 32


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of one network from every seed."""

    profiles: Numbers
    """δ before training. [rms], shape (seeds, layers)"""
    losses: Numbers
    """shape (seeds, epochs)"""
    accuracy: Numbers
    """Of data that it was not trained on. shape (seeds,)"""

    @property
    def change(self) -> Numbers:
        """log10 of δ at the first hidden layer over δ at the last one. [decades], shape (seeds,)"""
        return np.asarray(np.log10(self.profiles[:, 0]) - np.log10(self.profiles[:, -2]))

    @property
    def per_layer(self) -> Numbers:
        """Decades that a hidden layer takes from δ. shape (seeds,)"""
        return decades_lost_per_layer(self.profiles[:, :-1])

    def numbers(self) -> dict[str, object]:
        """As JSON has them."""
        return {
            "decades_first_against_last_hidden_layer": self.change.tolist(),
            "decades_lost_per_layer": self.per_layer.tolist(),
            "last_loss": self.losses[:, -1].tolist(),
            "accuracy": self.accuracy.tolist(),
        }


@classic(
    "before-after",
    title="What do ReLU and batch normalisation change in a deep sigmoid network?",
    covers=("D1", "D2", "B6", "B7", "A6"),
    source="how-to on vanishing gradients; Glorot & Bengio 2010, Ioffe & Szegedy 2015, Yang et al. 2019",
    place=60,
)
def before_after(study: Study) -> Exhibit:
    """The pair of the how-to, and what each of its two changes does by itself.

    Dense(64) that reads 20 numbers, ten more Dense(64), Dense(1); sigmoid, or ReLU with batch normalisation after each
    activation. Weights from Glorot's uniform law, biases 0, as Keras draws them; 1,000 rows of uniform numbers with
    random labels, drawn anew for every seed, a fifth for validation; binary cross-entropy, Adam at 1e-3 with ε of 1e-7,
    5 epochs in batches of 32; batch normalisation with Keras' ε of 1e-3 and torch's running averages, which need fewer
    steps than Keras'.

    Then the same networks with 10 outputs on the handwritten digits (cross-entropy, 10 epochs), where accuracy means
    something, and each change by itself: only ReLU, only batch normalisation, only He's weights (variance 2 / n), only
    critical weights (variance 16 / n, since a sigmoid's slope is 1/4, a quarter of that in the first layer, and biases
    that take out the sigmoid's mean of 1/2). δ before training is read at the first 32 rows, of every seed; one seed of
    the pair is watched from the first to the last step.
    """
    labelled = {change: _random_labels(change, study) for change in (SICK, CURED)}
    watched = {change: _watched(change, study) for change in (SICK, CURED)}
    trained = {change: _digits(change, study) for change in CHANGES}
    diagnoses = {f"{CHANGES[change]}, random labels": diagnosis for change, (_, diagnosis) in watched.items()}
    return Exhibit(
        claims=(
            _vanishes(labelled[SICK]),
            _slope(labelled[SICK]),
            _keeps(labelled[CURED], watched[CURED][0]),
            _coin(labelled),
            _learns(trained),
            _together(trained),
        ),
        charts=(
            _pair_chart(labelled, {change: run for change, (run, _) in watched.items()}),
            _accuracy_chart(trained),
            _profile_chart(trained),
            _loss_chart(trained),
        ),
        numbers={
            "random_labels": {change: result.numbers() for change, result in labelled.items()},
            "digits": {change: result.numbers() for change, result in trained.items()},
        },
        diagnoses=diagnoses,
        remarks=(
            "The labels of the pair are random: there is nothing in them to learn, so it can show how the gradient "
            "flows, and nothing of how well a network generalises. The digits stand in for that.",
            "On the digits all seeds share one division into training and test data, and one learning rate: an order "
            "of these networks at 10 epochs is no order of the methods at their best.",
        ),
    )


# Training -------------------------------------------------------------------------------------------------------------


def _random_labels(change: str, study: Study) -> Trained:
    from isometry.adapters.torch.train import train_many
    from isometry.classics.build.before_after import accuracy, labelled, on_random_labels
    from isometry.classics.build.signals import delta_profiles

    study.say(f"random labels: {CHANGES[change]}")
    experiment = on_random_labels(change)
    many = train_many(experiment, study.seeds)
    profiles = [
        delta_profiles(experiment.build, [seed], _first(experiment.data(seed)), experiment.loss_fn)[0]
        for seed in study.seeds
    ]
    held_out = [accuracy(labelled(seed))(model) for seed, model in zip(study.seeds, many.models, strict=True)]
    return Trained(np.array(profiles), many.losses, np.array(held_out))


def _digits(change: str, study: Study) -> Trained:
    from isometry.adapters.torch.train import train_many
    from isometry.classics.build.before_after import on_digits
    from isometry.classics.build.signals import delta_profiles

    study.say(f"digits: {CHANGES[change]}")
    experiment = on_digits(change, epochs=study.size(10, 3), rows=study.size(None, 480))
    profiles = delta_profiles(experiment.build, study.seeds, _first(experiment.data), experiment.loss_fn)
    many = train_many(experiment, study.seeds)
    return Trained(profiles, many.losses, many.metrics)


def _first(data: "tuple[Tensor, Tensor]") -> "tuple[Tensor, Tensor]":
    """The rows at which δ is read before training."""
    return data[0][:BATCH], data[1][:BATCH]


def _watched(change: str, study: Study) -> tuple[Run, Diagnosis]:
    from isometry.adapters.torch.train import train
    from isometry.classics.build.before_after import on_random_labels

    experiment = on_random_labels(change)
    folder = study.runs / change.replace(" ", "-")
    run = train(experiment, seed=study.seeds[0], run=folder, every=4).run
    assert run is not None
    return run, diagnose(run)


def _deltas(run: Run) -> Numbers:
    """δ at the weighted layers. [rms], shape (steps, layers)"""
    weighted = [place for place, layer in enumerate(run.architecture) if layer.weighted]
    return run.history[Signal.DELTA, "rms"][:, weighted]


# Claims ---------------------------------------------------------------------------------------------------------------


def _verdict(stands: bool) -> Verdict:
    return Verdict.STANDS if stands else Verdict.FALLS


def _vanishes(sick: Trained) -> Claim:
    change = sick.change
    return Claim(
        words="In the sigmoid network the gradient vanishes on its way to the first layers.",
        measured=f"Between the last and the first of 11 hidden layers δ changes by {spread(change, decades)} decades "
        f"(median and quartiles of {len(change)} seeds) before training.",
        verdict=_verdict(float(np.median(change)) <= -VANISHED),
    )


def _slope(sick: Trained) -> Claim:
    lost = sick.per_layer
    hidden = sick.profiles.shape[1] - 1
    theory = signal_profile("sigmoid", 1.0, 0.0, hidden, input_square_mean=1 / 3).backward[0] / (1 - hidden)
    return Claim(
        words="The cause is the sigmoid's derivative of at most 1/4: a layer takes at least log10 4 = 0.60 decades.",
        measured=f"A layer takes {spread(lost, _two)} decades; with Glorot's weights, which keep a signal's size, "
        f"theory has {_two(theory)}.",
        verdict=_verdict(float(np.median(lost)) >= STEEPEST),
    )


def _keeps(cured: Trained, run: Run) -> Claim:
    change, deltas = cured.change, _deltas(run)
    inside = decades_lost_per_layer(cured.profiles[:, 1:-1])
    theory = 0.5 * float(np.log10(batch_norm_rate("relu", BATCH)))
    after = float(np.log10(deltas[-1, 0]) - np.log10(deltas[-1, -2]))
    return Claim(
        words="With ReLU and batch normalisation the gradient reaches the first layers.",
        measured=f"δ changes by {spread(change, decades)} decades before training. Batch normalisation makes it "
        f"grow: {_two(-_middle(inside))} decades a layer from the second layer on (theory for wide layers and "
        f"{BATCH} rows: {_two(theory)}). After training {decades(after)} in all.",
        verdict=_verdict(abs(float(np.median(change))) < KEPT),
    )


def _coin(labelled: dict[str, Trained]) -> Claim:
    said = "; ".join(f"{CHANGES[change]} {spread(result.accuracy, _two)}" for change, result in labelled.items())
    losses = "; ".join(f"{CHANGES[change]} {spread(result.losses[:, -1], _two)}" for change, result in labelled.items())
    within = CHANCE * 0.5 / np.sqrt(VALIDATION * len(labelled[SICK].accuracy))
    means = {change: float(result.accuracy.mean()) for change, result in labelled.items()}
    near = all(abs(mean - 0.5) <= within for mean in means.values())
    mean = "; ".join(f"{CHANGES[change]} {value:.3f}" for change, value in means.items())
    return Claim(
        words="With random labels validation accuracy is 0.5 for both networks: the pair shows gradient flow only.",
        measured=f"Validation accuracy: {said}. Mean over seeds, each with {VALIDATION} rows of its own: {mean}; a "
        f"coin's stays within 0.5 ± {within:.3f} in 95 % of cases. Training loss of the last epoch: {losses}; guessing "
        f"has {_two(float(np.log(2)))}.",
        verdict=_verdict(near),
    )


def _learns(trained: dict[str, Trained]) -> Claim:
    sick, cured = trained[SICK].accuracy, trained[CURED].accuracy
    return Claim(
        words="Before the cure the network does not train, after it does: on real data as well.",
        measured=f"Test accuracy on the digits after {trained[SICK].losses.shape[1]} epochs: {spread(sick, _two)} "
        f"before, {spread(cured, _two)} after (chance: 0.10).",
        verdict=_verdict(float(cured.min()) > float(sick.max())),
    )


def _together(trained: dict[str, Trained]) -> Claim:
    together = _middle(trained[CURED].accuracy)
    enough = [change for change in SINGLE if _middle(trained[change].accuracy) >= together]
    said = "; ".join(f"{CHANGES[change]} {spread(trained[change].accuracy, _two)}" for change in (*SINGLE, CURED))
    judged = "No single change reaches both together" if not enough else f"{len(enough)} of 4 single changes reach both"
    return Claim(
        words="It takes both, ReLU and batch normalisation, to cure this network.",
        measured=f"Test accuracy on the digits: {said}. {judged}.",
        verdict=_verdict(not enough),
        expected=Verdict.FALLS,
    )


def _middle(values: Numbers) -> float:
    return float(np.median(values))


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


# Pictures -------------------------------------------------------------------------------------------------------------


def _names(layers: int) -> tuple[str, ...]:
    """Output first, as δ goes."""
    return ("output", *(str(place) for place in range(layers - 1, 0, -1)))


def _pair_chart(labelled: dict[str, Trained], runs: dict[str, Run]) -> Chart:
    shapes: list[Shape] = []
    for style, (change, result) in zip((2, 0), labelled.items(), strict=True):
        low, middle, high = quartiles(result.profiles[:, ::-1])
        x = np.arange(len(middle), dtype=np.float64)
        shapes.append(Ribbon("", x, low, high, style=style))
        shapes.append(Line(CHANGES[change], x, middle, style=style, markers=True))
        shapes.append(Line(f"{CHANGES[change]}, trained", x, _deltas(runs[change])[-1, ::-1], style=style + 1))
    lost, kept = _middle(labelled[SICK].change), _middle(labelled[CURED].change)
    return Chart(
        title=f"δ changes by {decades(lost)} decades with sigmoid, by {decades(kept)} with ReLU and batch norm",
        reading="δ runs from the output (left) to the input (right). Marked: before training, median and quartiles "
        "of all seeds; unmarked: one of them after training.",
        x=Axis("layer, output first", scale="layers", names=_names(labelled[SICK].profiles.shape[1])),
        y=Axis("size of δ = ∂L/∂z", unit="rms", scale="log"),
        shapes=tuple(shapes),
        alt=f"Line chart on a log scale. From the last hidden layer to the first δ changes by {decades(lost)} "
        f"decades with sigmoid; for ReLU with batch normalisation it changes by {decades(kept)} decades.",
        table=Table(
            ("layer", *(f"δ, {CHANGES[change]}" for change in labelled)),
            tuple(
                (name, *(measured(float(np.median(result.profiles[:, -1 - place]))) for result in labelled.values()))
                for place, name in enumerate(_names(labelled[SICK].profiles.shape[1]))
            ),
        ),
    )


def _accuracy_chart(trained: dict[str, Trained]) -> Chart:
    shapes: list[Shape] = [Level(0.1, "chance")]
    for place, result in enumerate(trained.values()):
        count = len(result.accuracy)
        x = place + np.linspace(-0.2, 0.2, count)
        shapes.append(Points("one seed" if place == 0 else "", x, result.accuracy))
        shapes.append(
            Points(
                "median" if place == 0 else "", np.array([float(place)]), np.array([_middle(result.accuracy)]), style=0
            )
        )
    best = max(trained, key=lambda change: _middle(trained[change].accuracy))
    reached, both = _middle(trained[best].accuracy), _middle(trained[CURED].accuracy)
    if best in SINGLE:
        title = f"On the digits one change is enough ({_two(reached)}); both together reach {_two(both)}"
    else:
        title = f"On the digits {CHANGES[best]} does best: {_two(reached)}"
    return Chart(
        title=title,
        reading="Share of the test digits named correctly: every seed, and their median.",
        x=Axis("network", scale="layers", names=tuple(CHANGES[change] for change in trained)),
        y=Axis("test accuracy", low=0.0),
        shapes=tuple(shapes),
        alt="Dots for every seed of six networks. "
        + " ".join(f"{CHANGES[change]}: {spread(result.accuracy, _two)}." for change, result in trained.items()),
        table=Table(
            ("network", "test accuracy", "range"),
            tuple(
                (CHANGES[change], spread(result.accuracy, _two), ranged(result.accuracy, _two))
                for change, result in trained.items()
            ),
        ),
    )


def _profile_chart(trained: dict[str, Trained]) -> Chart:
    shapes: list[Shape] = []
    for style, (change, result) in enumerate(trained.items()):
        middle = np.median(result.profiles, axis=0)[::-1]
        x = np.arange(len(middle), dtype=np.float64)
        shapes.append(Line(CHANGES[change], x, middle, style=style, markers=True))
    ends = "; ".join(f"{CHANGES[change]} {decades(_middle(result.change))}" for change, result in trained.items())
    single = _middle(trained["critical"].change)
    return Chart(
        title=f"From the last hidden layer to the first δ changes by {decades(_middle(trained[SICK].change))} decades "
        f"with sigmoid, by {decades(single)} with critical weights, by {decades(_middle(trained[CURED].change))} with "
        "ReLU and batch norm",
        reading="δ before training on the digits, from the output (left) to the input (right); medians over seeds.",
        x=Axis("layer, output first", scale="layers", names=_names(trained[SICK].profiles.shape[1])),
        y=Axis("size of δ = ∂L/∂z", unit="rms", scale="log"),
        shapes=tuple(shapes),
        alt=f"Line chart on a log scale. Decades from the last hidden layer to the first: {ends}.",
        table=Table(
            ("network", "decades, last to first hidden layer", "decades lost per layer"),
            tuple(
                (CHANGES[change], spread(result.change, decades), spread(result.per_layer, number))
                for change, result in trained.items()
            ),
        ),
    )


def _loss_chart(trained: dict[str, Trained]) -> Chart:
    shapes: list[Shape] = [Level(float(np.log(10)), "guessing")]
    for style, (change, result) in enumerate(trained.items()):
        low, middle, high = quartiles(result.losses)
        x = np.arange(1.0, len(middle) + 1)
        shapes.append(Ribbon("", x, low, high, style=style))
        shapes.append(Line(CHANGES[change], x, middle, style=style))
    ends = "; ".join(f"{CHANGES[change]} {spread(result.losses[:, -1], number)}" for change, result in trained.items())
    stuck = _middle(trained[SICK].losses[:, -1])
    return Chart(
        title=f"Loss of the last epoch: sigmoid {stuck:.2f}, with ReLU and batch norm "
        f"{_middle(trained[CURED].losses[:, -1]):.2f}; guessing has {np.log(10):.2f}",
        reading="Mean training loss of each epoch: median and quartiles over seeds.",
        x=Axis("epoch"),
        y=Axis("training loss", unit="nats", scale="log"),
        shapes=tuple(shapes),
        alt=f"Line chart on a log scale. Loss in the last epoch: {ends}.",
        table=Table(
            ("network", "loss, first epoch", "loss, last epoch"),
            tuple(
                (CHANGES[change], spread(result.losses[:, 0], number), spread(result.losses[:, -1], number))
                for change, result in trained.items()
            ),
        ),
    )
