"""Which numerator belongs over n_in: Xavier's 1, He's 2, Glorot's mean, and what tuning it is worth."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from isometry.classics.classic import Claim, Exhibit, Study, Verdict, classic
from isometry.classics.comparison import mostly_less
from isometry.classics.spread import quartiles, spread
from isometry.diagnosis.diagnose import diagnose
from isometry.diagnosis.finding import Diagnosis
from isometry.network.experiment import Experiment
from isometry.report.chart import Axis, Chart, Level, Line, Points, Ribbon, Rule, Shape, Table
from isometry.report.words import decades, measured, number
from isometry.statistics.profile import decades_lost_per_layer
from isometry.theory import signal_profile, width_correction

Numbers = NDArray[np.float64]
Key = tuple[str, int, float]
"""Activation, depth, factor."""

TEXTS = {"tanh": 1.0, "relu": sqrt(2)}
"""σ_w of the texts: Xavier's for tanh, He's for ReLU."""
OTHERS = {"softsign": 1.0, "selu": 1.0, "gelu": None, "sigmoid": None}
"""σ_w that is usual, 1/φ′(0) or the self-normalising one; None: where mean field has δ level at the greater depth."""
CALLED = {"relu": "ReLU", "selu": "SELU", "gelu": "GELU"}
FACTORS = (0.5, sqrt(0.5), 0.8, 1.0, 1.25, sqrt(2), 2.0)
"""σ_w against the reference. √½ makes Xavier's of He's, √2 makes He's of Xavier's; 0.8 to 1.25 is tuning by a fifth."""
COARSE = (0.5, sqrt(0.5), 1.0, sqrt(2), 2.0)
NEAR = (0.8, 1.25)
WIDTH = 32
RATE = 2e-3
RATES = (1 / 3, 3.0)
"""Factors on the learning rate, which is known as a more important hyper-parameter."""
ERRORS = 3.0
"""Standard errors of a mean over the seeds that are put down to chance, which exceeds them once in 400 settings."""
TAPER = (512, 256, 128, 64, 32, 16)
GAINS = (0.1, 40.0)
HALVINGS = 20
"""Of the logarithm of their ratio: the gain is known to 6e-6 then."""
SMALL = 0.01
"""Factor on the inputs that keeps tanh in its linear part, which the derivation by Glorot and Bengio assumes."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What came of every activation, depth and factor."""

    references: Mapping[str, float]
    slopes: Mapping[Key, Numbers]
    """Decades that δ loses per layer before training, one number a seed."""
    predicted: Mapping[Key, tuple[float, float]]
    """The same by mean field, and by how much finite width moves it."""
    accuracy: Mapping[Key, Numbers]
    level: Mapping[tuple[str, int], float]
    """σ_w with which mean field has δ as large at the first hidden layer as at the last one."""
    rates: Mapping[Key, Numbers]
    """Accuracy with the text's σ_w; the factor is that on the learning rate."""


@classic(
    "initialisations",
    title="How large should initial weights be, and how exactly must one hit it?",
    covers=("B1", "B2", "B3", "B4", "B5"),
    source="course notes on initialisation; Glorot & Bengio 2010; He et al. 2015; Schoenholz et al. 2017",
    place=50,
)
def initialisations(study: Study) -> Exhibit:
    """Networks of 10 and of 20 hidden layers, 32 units wide, on the 8 × 8 digits; weights are drawn from
    N(0, σ_w² / n_in), biases are 0. σ_w runs from half to twice its reference: 1 for tanh (Xavier), √2 for ReLU (He), 1
    for softsign and SELU; for GELU and sigmoid the value that keeps δ level by mean field.

    Before training δ is read at every hidden layer, on 128 images, and its slope is held against mean field (q and χ
    layer by layer, by quadrature). Then each network is trained for 5 epochs with Adam, learning rate 0.002, batches of
    64; the accuracy is that on 450 other images. The learning rate is the same for all, and not tuned for any.

    Networks whose width halves from layer to layer (512 … 16), tanh, inputs made 100 times smaller, are drawn with
    variances 1/n_in, 1/n_out and 2/(n_in + n_out); the last by a normal and by a uniform law. Activations and δ are
    compared between the first and the last hidden layer.
    """
    depths = study.size((10, 20), (8, 15))
    sweep = _sweep(study, depths)
    study.say(f"widths {TAPER[0]} … {TAPER[-1]}, four laws")
    tapered = _tapered(study)
    deepest = depths[-1]
    xavier, he = _text_claim(sweep, "tanh", depths), _text_claim(sweep, "relu", depths)
    charts = [*(_accuracy_chart(sweep, depth) for depth in reversed(depths)), _slope_chart(sweep, deepest, TEXTS)]
    if not study.fast:
        charts += [_others_chart(sweep, deepest), _slope_chart(sweep, deepest, OTHERS)]
    return Exhibit(
        claims=(
            xavier,
            he,
            _too_small_claim(sweep, depths),
            _mean_claim(tapered),
            _tuning_claim(sweep, depths),
            _theory_claim(sweep),
        ),
        charts=(*charts, *_taper_charts(tapered)),
        numbers=_numbers(sweep, tapered),
        diagnoses=_diagnoses(study, deepest),
        remarks=(
            "Adam divides out the size of each gradient, so that what is left of the effect of σ_w is its mildest "
            "form, and a rule that looks at δ alone may call a slow one of these trainings healthy.",
            "In Glorot and Bengio's derivation a layer's δ is counted per unit. Counted as a norm over the layer, "
            "variance 1/n_in keeps δ as well: what is lost per unit is spread over more units.",
            f"{WIDTH} units a layer and {'3' if study.fast else '5'} epochs: the accuracies compare initialisations, "
            "they are not what these networks can reach.",
        ),
    )


# What is measured -----------------------------------------------------------------------------------------------------


def _sweep(study: Study, depths: tuple[int, ...]) -> Sweep:
    from isometry.classics.build import data

    batch = data.digits().inputs[:128]
    mean_square = float(batch.double().square().mean())
    references = dict(TEXTS)
    if not study.fast:
        for name, gain in OTHERS.items():
            references[name] = gain or _level_gain(name, depths[-1], mean_square=mean_square)
    slopes, predicted, accuracy, rates = {}, {}, {}, {}
    level = {(name, depth): _level_gain(name, depth, mean_square=mean_square) for name in TEXTS for depth in depths}
    for name, reference in references.items():
        for depth in depths:
            study.say(f"{_called(name)}, {depth} layers")
            for factor in FACTORS if name in TEXTS else COARSE:
                key, gain = (name, depth, factor), factor * reference
                slopes[key] = _slopes(study, name, depth, gain)
                predicted[key] = _predicted(name, depth, gain, mean_square)
                accuracy[key] = _accuracies(study, name, depth, gain)
            for factor in RATES if name in TEXTS else ():
                rates[name, depth, factor] = _accuracies(study, name, depth, reference, rate=RATE * factor)
    return Sweep(references, slopes, predicted, accuracy, level, rates)


def _slopes(study: Study, name: str, depth: int, gain: float) -> Numbers:
    from torch.nn.functional import cross_entropy

    from isometry.classics.build import data
    from isometry.classics.build.initialising import normal
    from isometry.classics.build.networks import mlp
    from isometry.classics.build.signals import delta_profiles

    digits = data.digits()
    profiles = delta_profiles(
        lambda: mlp([64, *[WIDTH] * depth, 10], name, initialise=normal(gain)),
        study.seeds,
        (digits.inputs[:128], digits.targets[:128]),
        cross_entropy,
    )
    return decades_lost_per_layer(profiles[:, :-1])


def _predicted(name: str, depth: int, gain: float, mean_square: float) -> tuple[float, float]:
    """Decades a layer by mean field, and how much less the typical network of this width has."""
    wide = signal_profile(name, gain, 0.0, depth, input_square_mean=mean_square).backward
    narrow = wide + width_correction([WIDTH] * depth, name, gain, 0.0, input_square_mean=mean_square).bias
    slopes = [decades_lost_per_layer(10**profile) for profile in (wide, narrow)]
    return float(slopes[0]), float(abs(slopes[1] - slopes[0]))


def _level_gain(name: str, depth: int, *, mean_square: float) -> float:
    """The gain with which δ is as large at the first hidden layer as at the last one, by mean field."""
    low, high = GAINS
    for _ in range(HALVINGS):
        middle = float(np.sqrt(low * high))
        ends = signal_profile(name, middle, 0.0, depth, input_square_mean=mean_square).backward[0]
        low, high = (middle, high) if ends < 0 else (low, middle)
    return middle


def _accuracies(study: Study, name: str, depth: int, gain: float, *, rate: float = RATE) -> Numbers:
    from isometry.adapters.torch.train import train_many

    return train_many(_experiment(study, name, depth, gain, rate), study.seeds).metrics


def _experiment(study: Study, name: str, depth: int, gain: float, rate: float) -> Experiment:
    import torch

    from isometry.classics.build import data
    from isometry.classics.build.before_after import accuracy
    from isometry.classics.build.initialising import normal
    from isometry.classics.build.networks import mlp

    digits = data.digits()
    return Experiment(
        build=lambda: mlp([64, *[WIDTH] * depth, 10], name, initialise=normal(gain)),
        data=digits.training,
        loss_fn=torch.nn.functional.cross_entropy,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=rate, fused=True),
        epochs=study.size(5, 3),
        batch_size=64,
        metric=accuracy(digits),
    )


def _tapered(study: Study) -> dict[str, tuple[Numbers, Numbers]]:
    """Size of activations and of δ per unit at every hidden layer, for each law. shapes (seeds, layers)"""
    import torch
    from torch import nn

    from isometry.classics.build import data
    from isometry.classics.build.initialising import LAWS
    from isometry.classics.build.networks import mlp
    from isometry.classics.build.responses import activation_spreads
    from isometry.classics.build.signals import delta_profile

    digits = data.digits()
    inputs, targets = digits.inputs[:128] * SMALL, digits.targets[:128]
    found = {}
    for law, fill in LAWS.items():
        forward, backward = [], []
        for seed in study.seeds:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                model = mlp([64, *TAPER, 10], "tanh", initialise=fill)
            backward.append(delta_profile(model, inputs, targets, nn.functional.cross_entropy)[:-1])
            forward.append(activation_spreads(model, inputs))
        found[law] = (np.array(forward), np.array(backward))
    return found


def _diagnoses(study: Study, depth: int) -> dict[str, Diagnosis]:
    from isometry.adapters.torch.train import train

    said = {}
    for words, name, gain in (
        ("tanh, Xavier", "tanh", 1.0),
        ("ReLU, He", "relu", sqrt(2)),
        ("ReLU, Xavier", "relu", 1.0),
        ("ReLU, twice He", "relu", 2 * sqrt(2)),
    ):
        folder = study.runs / words.lower().replace(", ", "-").replace(" ", "-")
        run = train(_experiment(study, name, depth, gain, RATE), seed=study.seeds[0], run=folder).run
        assert run is not None
        said[f"{words}, {depth} layers"] = diagnose(run)
    return said


# What it says ---------------------------------------------------------------------------------------------------------


def _called(name: str) -> str:
    return CALLED.get(name, name)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _text_claim(sweep: Sweep, name: str, depths: tuple[int, ...]) -> Claim:
    """It stands where no other σ_w does better than the seeds scatter; in part where it beats half and twice itself."""
    said, best_of_three, unbeaten = [], True, True
    for depth in depths:
        chosen = sweep.accuracy[name, depth, 1.0]
        factors = [factor for each, layers, factor in sweep.accuracy if (each, layers) == (name, depth)]
        best = max(factors, key=lambda factor: float(np.median(sweep.accuracy[name, depth, factor])))
        best_of_three &= all(
            quartiles(sweep.accuracy[name, depth, factor])[2] < quartiles(chosen)[0] for factor in (0.5, 2.0)
        )
        unbeaten &= bool(quartiles(sweep.accuracy[name, depth, best])[0] <= quartiles(chosen)[2])
        values = {factor: spread(sweep.accuracy[name, depth, factor], _percent) for factor in (0.5, 1.0, 2.0)}
        lost = float(np.median(sweep.slopes[name, depth, 1.0]))
        said.append(
            f"{depth} layers: δ changes by {decades(-lost * (depth - 1))} decades in all (level at σ_w = "
            f"{sweep.level[name, depth]:.3g} by mean field); accuracy {values[1.0]}, with "
            f"half the weights {values[0.5]}, with twice the weights {values[2.0]}"
            + (
                ""
                if best == 1.0
                else f", best at {best:.3g} times: {spread(sweep.accuracy[name, depth, best], _percent)}"
            )
        )
    words = {
        "tanh": "With tanh, weights of variance 1/n_in (Xavier) are of the right size.",
        "relu": "With ReLU, weights of variance 2/n_in (He) are of the right size.",
    }
    verdict = Verdict.STANDS if best_of_three and unbeaten else Verdict.PARTLY if best_of_three else Verdict.FALLS
    return Claim(
        words=words[name],
        measured="; ".join(said) + ". Medians and quartiles over the seeds.",
        verdict=verdict,
        expected=Verdict.PARTLY if name == "tanh" else Verdict.STANDS,
    )


def _too_small_claim(sweep: Sweep, depths: tuple[int, ...]) -> Claim:
    """Too small, if δ and accuracy are lost at every depth; the more so, if the deeper networks lose more of both.

    A seed draws the same weights with both variances, but for their size, so accuracies are compared seed by seed.
    Networks of two depths have no weights in common: what they lose is more where quartiles are apart.
    """
    said, too_small, lost = [], True, []
    for depth in depths:
        small, he = ("relu", depth, sqrt(0.5)), ("relu", depth, 1.0)
        too_small &= bool(quartiles(sweep.slopes[small])[0] > quartiles(sweep.slopes[he])[2])
        too_small &= mostly_less(sweep.accuracy[small], sweep.accuracy[he]) is Verdict.STANDS
        vanished = (sweep.slopes[small] - sweep.slopes[he]) * (depth - 1)
        lost.append((vanished, sweep.accuracy[he] - sweep.accuracy[small]))
        said.append(
            f"{depth} layers: δ loses {spread(sweep.slopes[small], measured)} decades per layer with 1/n_in, "
            f"{spread(sweep.slopes[he], measured)} with 2/n_in, a difference of {np.median(vanished):.1f} decades in "
            f"all; the accuracy after training is {spread(sweep.accuracy[small], _percent)} against "
            f"{spread(sweep.accuracy[he], _percent)}, lower in {(sweep.accuracy[small] < sweep.accuracy[he]).sum()} of "
            f"{len(vanished)} seeds"
        )
    deeper = all(
        bool(quartiles(more)[0] > quartiles(less)[2])
        for shallow, deep in pairwise(lost)
        for less, more in zip(shallow, deep, strict=True)
    )
    return Claim(
        words="Xavier's variance 1/n_in is too small for ReLU, which sets half of the signal to 0, the more so the "
        "deeper the network.",
        measured=f"{'; '.join(said)}. Expected per layer: {np.log10(2) / 2:.3f}, half of log10 2.",
        verdict=Verdict.STANDS if too_small and deeper else Verdict.PARTLY if too_small else Verdict.FALLS,
    )


def _changes(tapered: Mapping[str, tuple[Numbers, Numbers]]) -> dict[str, tuple[Numbers, Numbers]]:
    """Decades that activations and δ win on their way through the tapering network, one number a seed."""
    return {
        law: (np.log10(forward[:, -1] / forward[:, 0]), np.log10(backward[:, 0] / backward[:, -1]))
        for law, (forward, backward) in tapered.items()
    }


def _mean_claim(tapered: Mapping[str, tuple[Numbers, Numbers]]) -> Claim:
    changes = _changes(tapered)
    worst = {law: max(abs(float(np.median(way))) for way in both) for law, both in changes.items()}
    mean, uniform = "2/(n_in + n_out)", "2/(n_in + n_out), uniform"
    between = max(worst[mean], worst[uniform]) < min(worst["1/n_in"], worst["1/n_out"])
    same = all(
        quartiles(changes[uniform][way])[0] <= quartiles(changes[mean][way])[2]
        and quartiles(changes[mean][way])[0] <= quartiles(changes[uniform][way])[2]
        for way in (0, 1)
    )
    said = "; ".join(
        f"{law}: {spread(forward, decades)} forwards, {spread(backward, decades)} backwards"
        for law, (forward, backward) in changes.items()
    )
    return Claim(
        words="Where n_in and n_out differ, 2/(n_in + n_out) is the compromise between keeping activations (1/n_in) "
        "and keeping δ (1/n_out); U[±√(6/(n_in + n_out))] has that variance.",
        measured=f"Widths {', '.join(map(str, TAPER))}. Decades per unit between the first and the last: {said}.",
        verdict=Verdict.STANDS if between and same else Verdict.PARTLY if between else Verdict.FALLS,
    )


def _tuning_claim(sweep: Sweep, depths: tuple[int, ...]) -> Claim:
    """It stands where a threefold learning rate moves the accuracy by more than σ_w does, both tuned by a fifth and
    halved or doubled: the text names no ranges, and they decide the order. It stands in part where some networks
    follow it with σ_w tuned by a fifth.
    """
    said, holds, wide = [], [], []
    for name in TEXTS:
        for depth in depths:
            middle = float(np.median(sweep.accuracy[name, depth, 1.0]))

            def moved(found: Mapping[Key, Numbers], factors: tuple[float, ...]) -> list[float]:
                return [100 * (float(np.median(found[name, depth, factor])) - middle) for factor in factors]  # noqa: B023

            near, rates = moved(sweep.accuracy, NEAR), moved(sweep.rates, RATES)
            far = moved(sweep.accuracy, (0.5, 2.0))
            holds.append(max(map(abs, near)) < max(map(abs, rates)))
            wide.append(max(map(abs, far)) < max(map(abs, rates)))
            said.append(
                f"{_called(name)}, {depth} layers: {_points(near)} points at 0.8 and 1.25 times σ_w, {_points(far)} "
                f"at half and twice, {_points(rates)} at a third and three times the learning rate"
            )
    verdict = Verdict.STANDS if all(holds) and all(wide) else Verdict.PARTLY if any(holds) else Verdict.FALLS
    return Claim(
        words="The numerator is a hyper-parameter that can be tuned, but after more important ones.",
        measured="Change of the median accuracy. "
        + "; ".join(said)
        + f". Between σ_w × 0.8 … 1.25 and a learning rate × 1/3 … 3 it is the rate that matters more in {sum(holds)} "
        f"of {len(holds)} networks; against half and twice σ_w, in {sum(wide)}. The ranges decide which is the more "
        "important, and the text names none.",
        verdict=verdict,
        expected=Verdict.PARTLY,
    )


def _points(changes: list[float]) -> str:
    return " and ".join(f"{change:+.0f}".replace("-", "−") for change in changes)


def _theory_claim(sweep: Sweep) -> Claim:
    off = {key: float(abs(sweep.slopes[key].mean() - sweep.predicted[key][0])) for key in sweep.slopes}
    chance = {key: ERRORS * float(values.std(ddof=1)) / sqrt(len(values)) for key, values in sweep.slopes.items()}
    holds = [off[key] <= sweep.predicted[key][1] + chance[key] for key in off]
    worst = max(off, key=lambda key: off[key])
    return Claim(
        words="The size of the weights decides, exponentially in depth, whether δ vanishes or explodes: it changes by "
        "½ log10 χ decades per layer, χ = σ_w² E φ′(z)².",
        measured=f"Slopes run from {decades(-max(map(np.median, sweep.slopes.values())))} to "
        f"{decades(-min(map(np.median, sweep.slopes.values())))} decades per layer towards the input. In {sum(holds)} "
        f"of {len(holds)} settings the mean over the seeds is no farther from mean field than {WIDTH} units of width "
        f"and {len(next(iter(sweep.slopes.values())))} seeds explain; it is off by "
        f"{np.median(list(off.values())):.3f} in the middle and by {off[worst]:.3f} at worst "
        f"({_called(worst[0])}, {worst[1]} layers, {worst[2]:.3g} times the reference).",
        verdict=Verdict.STANDS if all(holds) else Verdict.PARTLY if np.mean(holds) > 0.9 else Verdict.FALLS,
    )


def _numbers(sweep: Sweep, tapered: Mapping[str, tuple[Numbers, Numbers]]) -> dict[str, object]:
    return {
        "references": dict(sweep.references),
        "settings": [
            {
                "activation": name,
                "depth": depth,
                "factor": factor,
                "delta_decades_lost_per_layer": sweep.slopes[name, depth, factor].tolist(),
                "predicted": sweep.predicted[name, depth, factor][0],
                "shift_by_finite_width": sweep.predicted[name, depth, factor][1],
                "accuracy": sweep.accuracy[name, depth, factor].tolist(),
            }
            for name, depth, factor in sweep.accuracy
        ],
        "learning_rates": [
            {"activation": name, "depth": depth, "factor": factor, "accuracy": values.tolist()}
            for (name, depth, factor), values in sweep.rates.items()
        ],
        "tapering": {
            law: {"forward_decades": forward.tolist(), "backward_decades": backward.tolist()}
            for law, (forward, backward) in _changes(tapered).items()
        },
    }


# What is shown --------------------------------------------------------------------------------------------------------


def _of(found: Mapping[Key, Numbers], name: str, depth: int) -> tuple[Numbers, Numbers]:
    """Factors, and one row of seeds for each."""
    factors = [factor for each, layers, factor in found if (each, layers) == (name, depth)]
    return np.array(factors), np.array([found[name, depth, factor] for factor in factors])


def _accuracy_chart(sweep: Sweep, depth: int) -> Chart:
    shapes: list[Shape] = []
    for style, name in enumerate(TEXTS):
        factors, values = _of(sweep.accuracy, name, depth)
        low, middle, high = quartiles(values, axis=1)
        shapes.append(Ribbon("quartiles over the seeds" if style == 0 else "", factors, low, high, style=style))
        shapes.append(Line(_called(name), factors, middle, style=style, markers=True))
    shapes += [Level(0.1, "chance"), Rule(1.0, "1/n_in for tanh, 2/n_in for ReLU")]
    said = {
        name: [f"{100 * np.median(sweep.accuracy[name, depth, factor]):.0f}" for factor in (0.5, 1.0, 2.0)]
        for name in TEXTS
    }
    story = "; ".join(f"{_called(name)} {', '.join(ends)} %" for name, ends in said.items())
    return Chart(
        title=f"{depth} layers at half, once and twice the texts' σ_w: {story}",
        reading="Accuracy on images not trained on, after the same short training.",
        x=Axis("σ_w against the texts' choice", low=0.4, high=2.1),
        y=Axis("test accuracy", low=0.0, high=1.0),
        shapes=tuple(shapes),
        alt=f"Accuracy against the size of initial weights, {depth} layers: {story}.",
        table=_table(sweep, depth, tuple(TEXTS)),
    )


def _others_chart(sweep: Sweep, depth: int) -> Chart:
    shapes: list[Shape] = []
    for style, name in enumerate(OTHERS):
        factors, values = _of(sweep.accuracy, name, depth)
        low, middle, high = quartiles(values, axis=1)
        shapes.append(Ribbon("quartiles over the seeds" if style == 0 else "", factors, low, high, style=style))
        words = f"{_called(name)}, σ_w = {number(sweep.references[name])}"
        shapes.append(Line(words, factors, middle, style=style, markers=True))
    shapes += [Level(0.1, "chance"), Rule(1.0, "reference")]
    best = {name: float(np.median(_of(sweep.accuracy, name, depth)[1], axis=1).max()) for name in OTHERS}
    story = ", ".join(f"{_called(name)} {100 * value:.0f} %" for name, value in best.items())
    return Chart(
        title=f"Other activations, {depth} layers, each at its best: {story}",
        reading="σ_w of the reference stands beside each name. Sigmoid's keeps δ level, and yet little is learned.",
        x=Axis("σ_w against the reference", low=0.4, high=2.1),
        y=Axis("test accuracy", low=0.0, high=1.0),
        shapes=tuple(shapes),
        alt=f"Accuracy against the size of initial weights, {depth} layers. Best: {story}.",
        table=_table(sweep, depth, tuple(OTHERS)),
    )


def _slope_chart(sweep: Sweep, depth: int, names: Mapping[str, float | None]) -> Chart:
    shapes: list[Shape] = []
    for style, name in enumerate(names):
        factors, values = _of(sweep.slopes, name, depth)
        low, middle, high = quartiles(-values, axis=1)
        expected = np.array([-sweep.predicted[name, depth, factor][0] for factor in factors])
        shapes.append(Line("", factors, expected, role="implied"))
        shapes.append(Ribbon("", factors, low, high, style=style))
        shapes.append(Line(_called(name), factors, middle, style=style, markers=True))
    shapes += [Level(0.0, "δ level"), Rule(1.0, "reference")]
    halves = ", ".join(f"{np.median(sweep.slopes[name, depth, 0.5]):.2f} with {_called(name)}" for name in names)
    return Chart(
        title=f"With half the weights each layer takes decades from δ: {halves}",
        reading=f"Change of δ on its way to the input, {depth} layers, untrained. Dotted: mean field.",
        x=Axis("σ_w against the reference", low=0.4, high=2.1),
        y=Axis("change of δ per layer", unit="decades"),
        shapes=tuple(shapes),
        alt=f"Slope of δ along depth against the size of initial weights, with mean field on top. {halves}.",
        table=_table(sweep, depth, tuple(names)),
    )


def _table(sweep: Sweep, depth: int, names: tuple[str, ...]) -> Table:
    keys = [(name, layers, factor) for name, layers, factor in sweep.accuracy if name in names and layers == depth]
    return Table(
        ("activation", "σ_w", "change of δ per layer", "by mean field", "accuracy"),
        tuple(
            (
                _called(key[0]),
                number(key[2] * sweep.references[key[0]]),
                spread(-sweep.slopes[key], decades),
                decades(-sweep.predicted[key][0]),
                spread(sweep.accuracy[key], _percent),
            )
            for key in keys
        ),
    )


def _taper_charts(tapered: Mapping[str, tuple[Numbers, Numbers]]) -> tuple[Chart, Chart]:
    """Activations on their way forward, and δ on its way back."""
    changes = _changes(tapered)
    table = Table(
        ("variance", "activations, decades", "δ, decades"),
        tuple((law, spread(a, decades), spread(b, decades)) for law, (a, b) in changes.items()),
    )
    wins, loses = (decades(float(np.median(changes["2/(n_in + n_out)"][way]))) for way in (0, 1))
    to_last, to_first = (decades(float(np.median(changes[law][way]))) for law, way in (("1/n_out", 0), ("1/n_in", 1)))
    return (
        _taper_chart(
            {law: forward / forward[:, :1] for law, (forward, _) in tapered.items()},
            title=f"Where widths halve, activations change by {to_last} decades with 1/n_out, {wins} with the mean",
            words="activations against the first layer's",
            table=table,
        ),
        _taper_chart(
            {law: backward / backward[:, -1:] for law, (_, backward) in tapered.items()},
            title=f"… and δ by {to_first} decades with 1/n_in, {loses} with the mean",
            words="δ against the last layer's",
            table=table,
        ),
    )


def _taper_chart(signals: Mapping[str, Numbers], *, title: str, words: str, table: Table) -> Chart:
    layers = np.arange(len(TAPER), dtype=np.float64)
    shapes: list[Shape] = [Level(1.0, "kept")]
    for style, (law, values) in enumerate(signals.items()):
        low, middle, high = quartiles(values)
        if law.endswith("uniform"):
            shapes.append(Points(law, layers, middle, style=style))
            continue
        shapes.append(Ribbon("quartiles over the seeds" if style == 0 else "", layers, low, high, style=style))
        shapes.append(Line(law, layers, middle, style=style, markers=True))
    return Chart(
        title=title,
        reading="Untrained. Variance 1/n_in keeps activations, 1/n_out keeps δ, their mean neither.",
        x=Axis("units of the hidden layer, input first", scale="layers", names=tuple(map(str, TAPER))),
        y=Axis(words, unit="rms", scale="log"),
        shapes=tuple(shapes),
        alt=f"Line chart over layers of {', '.join(map(str, TAPER))} units, one line for each variance of weights.",
        table=table,
    )
