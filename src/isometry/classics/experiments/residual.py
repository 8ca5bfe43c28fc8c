"""Plain and residual networks from 8 to 152 layers: what trains, and what the signals do."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isometry.classics.classic import Claim, Exhibit, Study, Verdict, classic
from isometry.classics.spread import quartiles, ranged, spread
from isometry.diagnosis import limits
from isometry.diagnosis.diagnose import diagnose
from isometry.diagnosis.finding import Diagnosis
from isometry.history.run import Run
from isometry.network.signals import Signal
from isometry.report.chart import Axis, Chart, Level, Line, Ribbon, Shape, Table
from isometry.report.words import decades, number

Numbers = NDArray[np.float64]

DEPTHS = (8, 20, 56, 152)
"""8, and three of the depths of He et al. 2016."""
WIDTH = 32
PLAIN, PLAIN_NORM, SKIPS, SCALED, NORMALISED = (
    "plain",
    "plain, layer norm",
    "skips",
    "skips, scaled",
    "skips, layer norm",
)
KINDS = (PLAIN, PLAIN_NORM, SKIPS, SCALED, NORMALISED)
ALIKE = 0.1
"""Size of the difference between two images, relative to their own, below which they count as alike: a tenth."""
KEPT = limits.FALL_SLOWS.value
"""Decades, up or down, within which δ has kept its size; the limit of the diagnosis."""
LOST = limits.FALL_HARMS.value
"""Decades from which on δ is lost to the first layers; the limit of the diagnosis."""
QUARTILE = 0.6745
"""Standard deviations of a normal law from its median to a quartile."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of one kind of network at one depth, from every seed."""

    accuracy: Numbers
    """shape (seeds,)"""
    profiles: Numbers
    """δ at every weighted layer before training. [rms], shape (seeds, layers)"""
    cosines: Numbers
    """Between the signals of two images behind the first layer and each block. shape (seeds, layers - 1)"""

    @property
    def change(self) -> Numbers:
        """log10 of δ at the first block over δ at the last one. [decades], shape (seeds,)"""
        return np.asarray(np.log10(self.profiles[:, 1]) - np.log10(self.profiles[:, -2]))

    @property
    def differences(self) -> Numbers:
        """Size of the difference of two signals of equal size, relative to that. shape (seeds, layers - 1)"""
        return np.sqrt(np.maximum(2 * (1 - self.cosines), 0.0))


Results = dict[str, dict[int, Trained]]


@classic(
    "residual-152",
    title="Why does a network of 152 layers need skip connections, and are they enough?",
    covers=("A2", "B9"),
    source="summary article; He et al. 2016, Hanin & Nica 2018, De & Smith 2020",
    place=65,
)
def residual_152(study: Study) -> Exhibit:
    """Plain and residual networks of fully connected layers of width 32 on the handwritten digits.

    One layer reads the data, blocks of one layer follow, one layer gives the logits: 8, 20, 56 or 152 weighted
    layers. A block of the plain network is f(x) = W ReLU(x), one of the residual network x + f(x). He's weights, biases
    0 at the start; Adam at 1e-3, cross-entropy, 3 epochs in batches of 64.

    He et al. had batch normalisation in all their networks, so each of the two comes with layer normalisation in front
    of the ReLU as well, which does the same for one row at a time: plain and residual network then differ in the skips
    alone. A third residual network has no normalisation, but multiplies every branch by 1 / √blocks. Before training, δ
    and the cosine between the signals of different images are read at the first 64 images; four of the deepest
    networks are watched.
    """
    depths = study.size(DEPTHS, (8, 56))
    results: Results = {kind: {depth: _trained(kind, depth, study) for depth in depths} for kind in KINDS}
    deepest, first = depths[-1], depths[0]
    watched = {kind: _watched(kind, deepest, study) for kind in (PLAIN, SKIPS, SCALED, NORMALISED)}
    return Exhibit(
        claims=(
            _degrades(results, first, deepest),
            _skips_train(results, first, deepest),
            _skips_alone(results, first, deepest),
            _he_keeps(results[PLAIN][deepest]),
            _alike(results, deepest),
        ),
        charts=(
            _accuracy_chart(results),
            _difference_chart(results, deepest),
            _delta_chart(results, deepest),
            _branch_chart({kind: run for kind, (run, _) in watched.items() if kind in (SCALED, NORMALISED)}),
        ),
        numbers={
            kind: {
                str(depth): {
                    "accuracy": one.accuracy.tolist(),
                    "decades_first_against_last_block": one.change.tolist(),
                    "difference_of_two_images_at_the_end": one.differences[:, -1].tolist(),
                }
                for depth, one in of_kind.items()
            }
            for kind, of_kind in results.items()
        },
        diagnoses={f"{kind}, {deepest} layers": diagnosis for kind, (_, diagnosis) in watched.items()},
        remarks=(
            "Fully connected layers of width 32 on small images stand for the convolutions of He et al. A narrow plain "
            "network scatters more, and makes images alike sooner, than a wide one (mean field).",
            "A few epochs at one learning rate show who gets going, not how far each network could come.",
        ),
    )


# Training -------------------------------------------------------------------------------------------------------------


def _trained(kind: str, depth: int, study: Study) -> Trained:
    import torch

    from isometry.adapters.torch.train import train_many
    from isometry.classics.build import residual
    from isometry.classics.build.signals import delta_profiles

    study.say(f"{kind}, {depth} layers")
    experiment = residual.on_digits(kind, depth=depth, epochs=study.size(3, 4), rows=study.size(None, 640))
    inputs, targets = (part[:64] for part in experiment.data)
    profiles = delta_profiles(experiment.build, study.seeds, (inputs, targets), experiment.loss_fn)
    cosines = []
    with torch.random.fork_rng():
        for seed in study.seeds:
            torch.manual_seed(seed)
            cosines.append(residual.cosines(experiment.build(), inputs))
    return Trained(train_many(experiment, study.seeds).metrics, profiles, np.array(cosines))


def _watched(kind: str, depth: int, study: Study) -> tuple[Run, Diagnosis]:
    from isometry.adapters.torch.train import train
    from isometry.classics.build import residual

    study.say(f"watched: {kind}, {depth} layers")
    experiment = residual.on_digits(kind, depth=depth, epochs=study.size(3, 1), rows=study.size(None, 640))
    folder = study.runs / kind.replace(", ", "-").replace(" ", "-")
    run = train(experiment, seed=study.seeds[0], run=folder, every=16).run
    assert run is not None
    return run, diagnose(run)


# Claims ---------------------------------------------------------------------------------------------------------------


def _degrades(results: Results, first: int, deepest: int) -> Claim:
    shallow, deep = results[PLAIN][first].accuracy, results[PLAIN][deepest].accuracy
    said = "; ".join(f"{depth} layers {spread(one.accuracy, _two)}" for depth, one in results[PLAIN].items())
    return Claim(
        words=f"Plain networks get worse with depth, and at {deepest} layers they do not train.",
        measured=f"Test accuracy of the plain network (median and quartiles of {len(deep)} seeds): {said}; with layer "
        f"normalisation at {deepest} layers {spread(results[PLAIN_NORM][deepest].accuracy, _two)}. Chance is 0.10.",
        verdict=_verdict(float(deep.max()) < float(shallow.min())),
    )


def _skips_train(results: Results, first: int, deepest: int) -> Claim:
    plain, residual = results[PLAIN][first].accuracy, results[NORMALISED][deepest].accuracy
    return Claim(
        words=f"With skip connections {deepest} layers train.",
        measured=f"Test accuracy with skips and layer normalisation at {deepest} layers: {spread(residual, _two)}; a "
        f"plain network of {first} layers reaches {spread(plain, _two)}. With branches of 1 / √blocks and no "
        f"normalisation: {spread(results[SCALED][deepest].accuracy, _two)}.",
        verdict=_verdict(_middle(residual) >= _middle(plain)),
    )


def _skips_alone(results: Results, first: int, deepest: int) -> Claim:
    plain, alone = results[PLAIN][first].accuracy, results[SKIPS][deepest]
    expected = (deepest - 3) * np.log10(2) / 2
    return Claim(
        words="Skip connections do it alone, without anything that keeps the branches small.",
        measured=f"x + f(x) with He's weights doubles the power of the signal in each block: over {deepest - 2} blocks "
        f"δ grows by {spread(alone.change, decades)} decades (predicted {decades(expected)}), and test accuracy is "
        f"{spread(alone.accuracy, _two)}.",
        verdict=_verdict(_middle(alone.accuracy) >= _middle(plain)),
        expected=Verdict.FALLS,
    )


def _he_keeps(deep: Trained) -> Claim:
    passed = deep.profiles.shape[1] - 3
    fluctuation = 5 * passed / WIDTH
    mean, sd = -fluctuation / 9.21, float(np.sqrt(fluctuation)) / 4.61
    return Claim(
        words=f"It is not the gradient's size that stops the plain network: He's weights keep δ over {passed} layers.",
        measured=f"Between the last and the first block δ changes by {spread(deep.change, decades)} decades (range "
        f"{ranged(deep.change, decades)}). Theory has 0 for wide layers, {_two(mean)} with a standard deviation of "
        f"{_two(sd)} for width {WIDTH}.",
        verdict=_kept(*quartiles(deep.change)),
        expected=_kept(mean - QUARTILE * sd, mean + QUARTILE * sd),
    )


def _kept(*quarters: float | Numbers) -> Verdict:
    """Whether half of the networks keep δ within the limit, or lose more, or all that counts."""
    worst = max(abs(float(change)) for change in quarters)
    return Verdict.STANDS if worst < KEPT else Verdict.PARTLY if worst < LOST else Verdict.FALLS


def _alike(results: Results, deepest: int) -> Claim:
    plain, residual = results[PLAIN][deepest].differences[:, -1], results[NORMALISED][deepest].differences[:, -1]
    predicted = _predicted(results[PLAIN][deepest])[-1]
    return Claim(
        words="In the deep plain network the forward signal no longer tells images apart; with skips it does.",
        measured=f"In front of the output two images differ by {spread(plain, number)} of their size in the plain "
        f"network (mean field: {number(float(predicted))}), by {spread(residual, _two)} with skips and layer "
        f"normalisation, by {spread(results[SCALED][deepest].differences[:, -1], _two)} with scaled branches; "
        f"behind the first layer by {spread(results[PLAIN][deepest].differences[:, 0], _two)}.",
        verdict=_verdict(_middle(plain) < ALIKE < _middle(residual)),
    )


def _predicted(plain: Trained) -> Numbers:
    """Relative difference of two signals by mean field: C(c) = (√(1 − c²) + c (π − arccos c)) / π a ReLU layer.

    Sources: Cho & Saul 2009; He's weights keep the size of the signal, so the correlation follows from c alone.
    """
    c = float(np.median(plain.cosines[:, 0]))
    found = []
    for _ in range(plain.cosines.shape[1]):
        found.append(np.sqrt(2 * (1 - c)))
        c = min((np.sqrt(1 - c * c) + c * (np.pi - np.arccos(c))) / np.pi, 1.0)
    return np.array(found)


def _verdict(stands: bool) -> Verdict:
    return Verdict.STANDS if stands else Verdict.FALLS


def _middle(values: Numbers) -> float:
    return float(np.median(values))


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


# Pictures -------------------------------------------------------------------------------------------------------------


def _accuracy_chart(results: Results) -> Chart:
    shapes: list[Shape] = [Level(0.1, "chance")]
    for style, (kind, of_kind) in enumerate(results.items()):
        x = np.array(list(of_kind), dtype=np.float64)
        low, middle, high = quartiles(np.array([one.accuracy for one in of_kind.values()]), axis=1)
        shapes.append(Ribbon("", x, low, high, style=style))
        shapes.append(Line(kind, x, middle, style=style, markers=True))
    deepest = max(results[PLAIN])
    ends = {kind: _two(_middle(of_kind[deepest].accuracy)) for kind, of_kind in results.items()}
    return Chart(
        title=f"At {deepest} layers the plain network guesses ({ends[PLAIN]}); with skips and small branches it learns "
        f"({ends[NORMALISED]}, {ends[SCALED]})",
        reading="Test accuracy on the digits after a few epochs: median and quartiles over seeds.",
        x=Axis("weighted layers"),
        y=Axis("test accuracy", low=0.0, high=1.0),
        shapes=tuple(shapes),
        alt=f"Line chart of test accuracy over depth. At {deepest} layers: "
        + ", ".join(f"{kind} {end}" for kind, end in ends.items())
        + ".",
        table=Table(
            ("network", *(f"{depth} layers" for depth in results[PLAIN])),
            tuple(
                (kind, *(spread(one.accuracy, _two) for one in of_kind.values())) for kind, of_kind in results.items()
            ),
        ),
    )


def _difference_chart(results: Results, deepest: int) -> Chart:
    shapes: list[Shape] = []
    for style, kind in enumerate(KINDS):
        low, middle, high = quartiles(results[kind][deepest].differences)
        x = np.arange(1.0, len(middle) + 1)
        shapes.append(Ribbon("", x, low, high, style=style))
        shapes.append(Line(kind, x, middle, style=style))
    predicted = _predicted(results[PLAIN][deepest])
    shapes.append(Line("mean field, plain", np.arange(1.0, len(predicted) + 1), predicted, role="implied"))
    plain, residual = (_middle(results[kind][deepest].differences[:, -1]) for kind in (PLAIN, NORMALISED))
    return Chart(
        title=f"The plain network makes all images alike: at the end they differ by {number(plain)} of their size",
        reading="Size of the difference between two images' signals relative to their own, before training; median "
        "and quartiles over seeds.",
        x=Axis("layer, input first"),
        y=Axis("difference of two images", unit="relative", scale="log"),
        shapes=tuple(shapes),
        alt=f"Line chart on a log scale. The plain network's curve falls to {number(plain)} at layer {deepest - 1}, "
        f"that with skips and layer normalisation stays at {number(residual)}.",
        table=Table(
            ("network", "behind the first layer", "in front of the output"),
            tuple(
                (kind, *(spread(results[kind][deepest].differences[:, place], number) for place in (0, -1)))
                for kind in KINDS
            ),
        ),
    )


def _delta_chart(results: Results, deepest: int) -> Chart:
    shapes: list[Shape] = []
    for style, kind in enumerate(KINDS):
        profiles = results[kind][deepest].profiles[:, 1:-1]
        low, middle, high = quartiles(profiles / profiles[:, -1:])
        x = np.arange(2.0, len(middle) + 2)
        shapes.append(Ribbon("", x, low, high, style=style))
        shapes.append(Line(kind, x, middle, style=style))
    changes = {kind: results[kind][deepest].change for kind in KINDS}
    return Chart(
        title=f"Over {deepest - 2} blocks δ changes by {decades(_middle(changes[PLAIN]))} decades in the plain network,"
        f" by {decades(_middle(changes[SKIPS]))} with bare skips, {decades(_middle(changes[NORMALISED]))} with norm",
        reading="δ from the last block (right) to the first (left), relative to the last; before training, median and "
        "quartiles over seeds.",
        x=Axis("layer, input first"),
        y=Axis("size of δ against the last block", unit="rms", scale="log"),
        shapes=tuple(shapes),
        alt="Line chart on a log scale. Decades from the last block to the first: "
        + "; ".join(f"{kind} {decades(_middle(change))}" for kind, change in changes.items())
        + ".",
        table=Table(
            ("network", "decades, last to first block", "range over seeds"),
            tuple((kind, spread(change, decades), ranged(change, decades)) for kind, change in changes.items()),
        ),
    )


def _branch_chart(runs: dict[str, Run]) -> Chart:
    shapes: list[Shape] = []
    ends = {}
    for style, (kind, run) in zip((KINDS.index(kind) for kind in runs), runs.items(), strict=True):
        gains = run.history[Signal.DELTA, "branch_gain"][0]
        gains = gains[np.isfinite(gains)]
        x = np.arange(1.0, len(gains) + 1)
        ends[kind] = gains
        implied = 1 / np.sqrt(x) if kind == NORMALISED else np.full(len(x), len(x) ** -0.5)
        shapes.append(Line(kind, x, gains, style=style))
        shapes.append(Line(f"{'1 / √block' if kind == NORMALISED else '1 / √blocks'}", x, implied, role="implied"))
    last = {kind: number(float(gains[-1])) for kind, gains in ends.items()}
    return Chart(
        title=f"Late blocks add little to δ: at the last one the branch has {last[NORMALISED]} of the skip's size",
        reading="δ that comes back through a block's branch over what comes back through its skip, at the first step "
        "of a watched training.",
        x=Axis("block, input first", scale="log"),
        y=Axis("branch gain of δ", scale="log"),
        shapes=tuple(shapes),
        alt="Line chart on two log scales. With layer normalisation the branch gain falls like 1 over the root of the "
        f"block's number to {last[NORMALISED]}; with scaled branches it lies near {last[SCALED]} everywhere.",
        table=Table(
            ("network", "first block", "middle block", "last block"),
            tuple(
                (kind, *(number(float(gains[place])) for place in (0, len(gains) // 2, -1)))
                for kind, gains in ends.items()
            ),
        ),
    )
