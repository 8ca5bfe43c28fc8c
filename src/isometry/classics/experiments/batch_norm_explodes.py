"""Batch normalisation without skips: δ grows towards the input at a rate that no size of weights changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log10

import numpy as np
from numpy.typing import NDArray

from isometry.classics.classic import Claim, Exhibit, Study, Verdict, classic
from isometry.classics.spread import quartiles, spread
from isometry.diagnosis.diagnose import diagnose
from isometry.diagnosis.finding import Diagnosis
from isometry.report.chart import Axis, Chart, Level, Line, Points, Ribbon, Shape, Table
from isometry.report.words import decades
from isometry.statistics.profile import decades_lost_per_layer
from isometry.theory import as_activation, batch_norm_rate, normalised_residual
from isometry.theory.moments import mean, second_moment, slope_moment

Numbers = NDArray[np.float64]
Key = tuple[str, int]
"""Activation and batch."""

PHIS = ("relu", "tanh", "linear")
CALLED = {"relu": "ReLU", "tanh": "tanh", "linear": "linear"}
KNOWN = {"linear": "identity"}
"""Names that theory has for an activation, where they differ."""
BATCHES = (8, 32, 128)
BATCH = BATCHES[-1]
WIDTH = 256
GAINS = (0.5, 1.0, 2.0)
"""σ_w of the ReLU network."""
WATCHED = "Adam at 0.001"
CLOSE = 0.05
"""Share of the predicted rate by which the measured one may differ."""
LEVEL = 0.01
"""Decades a layer below which a rate counts as none: half a decade over 50 layers."""
NEAR = 0.25
"""Decades in all by which a network with skips may differ from theory, which has neither its width nor its batch."""
DECIMALS = 4


@dataclass(frozen=True, slots=True)
class Measured:
    """δ of untrained networks at the first layer and behind every block, one row a seed."""

    plain: Mapping[Key, Numbers]
    sized: Mapping[float, Numbers]
    """The ReLU network at the largest batch with weights of other sizes, by σ_w."""
    skips: Numbers
    spread: float
    """Variance of a unit of the first layer over the batch, for weights of 1 / n."""


Accuracies = Mapping[str, Mapping[str, tuple[Numbers, Numbers]]]
"""By optimiser and network: test accuracy and the last epoch's training loss, one number a seed."""


@classic(
    "batch-norm-explodes",
    title="Batch normalisation keeps activations in shape; does it keep gradients?",
    covers=("A3", "B7", "B9"),
    source="Yang et al. 2019, A mean field theory of batch normalization; De & Smith 2020",
    place=67,
)
def batch_norm_explodes(study: Study) -> Exhibit:
    """Networks of 50 blocks f(x) = W φ(norm(x)), 256 units wide, on the 8 × 8 digits: norm is batch normalisation, φ is
    ReLU, tanh or nothing, weights are drawn from N(0, 1 / n). δ is read at every layer before training, for batches of
    8, 32 and 128 images, and its slope along depth is held against theory: per layer ‖δ‖² grows by
    E φ′² / Var φ for large batches, π / (π − 1) for ReLU, and by more for small ones. The slope leaves out the fifth of
    the layers nearest to the data, where the images are not yet as alike as deep in the network.

    The same is measured with weights of half and twice the size, and with skips, x + f(x).

    Then ReLU networks of width 64 are trained for 5 epochs, in batches of 64: 5 and 50 blocks without skips, 50 with
    them, by SGD at 0.1 and by Adam at 0.001, usual rates both.
    """
    depth = study.size(50, 30)
    found = _measured(study, depth)
    trained = _trained(study, depth)
    return Exhibit(
        claims=(
            _rate_claim(found, depth),
            _batch_claim(found),
            _weights_claim(found),
            _skips_claim(found, depth),
            _training_claim(trained, depth),
        ),
        charts=(_delta_chart(found, depth), _rates_chart(found), _accuracy_chart(trained, depth)),
        numbers={
            "depth": depth,
            "decades_per_layer": {
                f"{phi}, batch {batch}": {"measured": _slopes(profiles).tolist(), "predicted": _rate(phi, batch)}
                for (phi, batch), profiles in found.plain.items()
            },
            "other_weights": {f"{gain:g}": _slopes(profiles).tolist() for gain, profiles in found.sized.items()},
            "decades_with_skips": _total(found.skips).tolist(),
            "accuracy": {
                optimiser: {name: accuracy.tolist() for name, (accuracy, _) in of.items()}
                for optimiser, of in trained.items()
            },
        },
        diagnoses=_watched(study, depth),
        remarks=(
            "Theory has layers much wider than the batch. Where its rate is next to nothing (linear, large batch) what "
            "a finite width adds is the larger part.",
            "Test images are normalised by their own statistics, as in training; running averages lag behind after a "
            "few epochs.",
            "That the deep network does not train is no proof that the size of δ stops it: Adam, which divides that "
            "size out, does not train it either.",
        ),
    )


# What is measured -----------------------------------------------------------------------------------------------------


def _measured(study: Study, depth: int) -> Measured:
    from isometry.classics.build import batch_norm
    from isometry.classics.build.data import digits

    def profiles(phi: str, batch: int, *, gain: float = 1.0, skip: bool = False) -> Numbers:
        from torch.nn.functional import cross_entropy

        from isometry.classics.build.signals import delta_profiles

        study.say(f"{CALLED[phi]}, batch {batch}, σ_w = {gain:g}{', skips' if skip else ''}")
        data = digits()
        return delta_profiles(
            lambda: batch_norm.network(phi, depth=depth, width=WIDTH, gain=gain, skip=skip),
            study.seeds,
            (data.inputs[:batch], data.targets[:batch]),
            cross_entropy,
        )[:, :-1]

    plain = {(phi, batch): profiles(phi, batch) for phi in PHIS for batch in study.size(BATCHES, (8, BATCH))}
    sized = {gain: plain["relu", BATCH] if gain == 1 else profiles("relu", BATCH, gain=gain) for gain in GAINS}
    apart = float(digits().inputs[:BATCH].double().var(0, correction=0).mean())
    return Measured(plain, sized, profiles("relu", BATCH, skip=True), apart)


def _trained(study: Study, depth: int) -> Accuracies:
    from isometry.adapters.torch.train import train_many
    from isometry.classics.build import batch_norm

    found: dict[str, dict[str, tuple[Numbers, Numbers]]] = {}
    for optimiser in batch_norm.OPTIMISERS:
        found[optimiser] = {}
        for name, (blocks, skip) in _networks(depth).items():
            study.say(f"{optimiser}: {name}")
            experiment = batch_norm.on_digits(blocks, optimiser, skip=skip, epochs=study.size(5, 3))
            many = train_many(experiment, study.seeds[: study.size(6, 4)])
            found[optimiser][name] = many.metrics, many.losses[:, -1]
    return found


def _networks(depth: int) -> dict[str, tuple[int, bool]]:
    """What is trained: blocks and whether there are skips, by name."""
    return {"5 blocks": (5, False), f"{depth} blocks": (depth, False), f"{depth} blocks, skips": (depth, True)}


def _watched(study: Study, depth: int) -> dict[str, Diagnosis]:
    from isometry.adapters.torch.train import train
    from isometry.classics.build import batch_norm

    found = {}
    for name, (blocks, skip) in list(_networks(depth).items())[1:]:
        study.say(f"watched: {name}")
        experiment = batch_norm.on_digits(blocks, WATCHED, skip=skip, epochs=1)
        folder = study.runs / name.replace(", ", "-").replace(" ", "-")
        run = train(experiment, seed=study.seeds[0], run=folder, every=5).run
        assert run is not None
        found[name] = diagnose(run)
    return found


def _slopes(profiles: Numbers) -> Numbers:
    """Decades that δ grows per layer towards the input, deep in the network. shape (seeds,)"""
    return -decades_lost_per_layer(profiles[:, profiles.shape[1] // 5 :])


def _total(profiles: Numbers) -> Numbers:
    """Decades that δ grows from the last block to the first layer. shape (seeds,)"""
    return np.asarray(np.log10(profiles[:, 0] / profiles[:, -1]))


def _rate(phi: str, batch: int | None) -> float:
    """The same by theory, for infinitely wide layers."""
    return 0.5 * log10(batch_norm_rate(KNOWN.get(phi, phi), batch))


def _with_skips(found: Measured, depth: int) -> float:
    """Decades over all blocks with skips by theory: the stream grows by Var φ a block, each adds its share to δ."""
    relu = as_activation("relu")
    varying = second_moment(relu, 1.0) - mean(relu, 1.0) ** 2
    return normalised_residual(depth, branch=varying, back=slope_moment(relu, 1.0), q=found.spread).backward


# Claims ---------------------------------------------------------------------------------------------------------------


def _rate_claim(found: Measured, depth: int) -> Claim:
    slopes, wide = _slopes(found.plain["relu", BATCH]), _rate("relu", None)
    holds = abs(float(np.median(slopes)) - wide) < CLOSE * wide
    return Claim(
        words="With batch norm and ReLU, without skips, δ grows towards the input by √(π / (π − 1)) = 1.211 a layer.",
        measured=f"Batch {BATCH}: {spread(slopes, _exact)} decades per layer; expected {_exact(wide)}, and "
        f"{_exact(_rate('relu', BATCH))} for that batch. Over {depth} blocks δ grows by "
        f"{spread(_total(found.plain['relu', BATCH]), decades)} decades.",
        verdict=Verdict.STANDS if holds else Verdict.FALLS,
    )


def _batch_claim(found: Measured) -> Claim:
    """It stands where every rate is that of theory, in part where every rate that is more than none is."""
    off = {key: abs(float(np.median(_slopes(found.plain[key]))) / _rate(*key) - 1) for key in found.plain}
    holds = [key for key in off if off[key] < CLOSE]
    all_large = all(off[key] < 2 * CLOSE for key in off if _rate(*key) > LEVEL)
    batches = sorted({batch for _, batch in found.plain})
    said = "; ".join(
        f"{CALLED[phi]}, batch {', '.join(map(str, batches))}: "
        + ", ".join(f"{_middle(found.plain[phi, batch])} ({_exact(_rate(phi, batch))})" for batch in batches)
        for phi in PHIS
    )
    return Claim(
        words="Small batches make it worse, and the rate follows from φ and the batch alone; linear networks have "
        "nearly none.",
        measured=f"Decades per layer, expected ones in brackets: {said}. Within {CLOSE:.0%} in {len(holds)} of "
        f"{len(off)} cases.",
        verdict=Verdict.STANDS if len(holds) == len(off) else Verdict.PARTLY if all_large else Verdict.FALLS,
        expected=Verdict.PARTLY,
    )


def _weights_claim(found: Measured) -> Claim:
    rates = {gain: float(np.median(_slopes(found.sized[gain]))) for gain in GAINS}
    apart = max(abs(rate - rates[1.0]) for rate in rates.values())
    said = ", ".join(f"{_exact(rate)} for σ_w = {gain:g}" for gain, rate in rates.items())
    return Claim(
        words="No initialisation helps: the rate does not depend on the size of the weights.",
        measured=f"Decades per layer with ReLU, batch {BATCH}: {said}.",
        verdict=Verdict.STANDS if _grows(found.sized[1.0]) and apart < CLOSE * rates[1.0] else Verdict.FALLS,
    )


def _skips_claim(found: Measured, depth: int) -> Claim:
    skips, plain = _total(found.skips), _total(found.plain["relu", BATCH])
    off = abs(float(np.median(skips)) - _with_skips(found, depth))
    cured = bool(np.median(skips) < np.median(plain) / 2)
    return Claim(
        words="Skips cure it: δ grows with a power of the depth instead of exponentially.",
        measured=f"Over {depth} blocks δ grows by {spread(skips, decades)} decades with skips (expected "
        f"{decades(_with_skips(found, depth))}), by {spread(plain, decades)} without.",
        verdict=Verdict.STANDS if cured and off < NEAR else Verdict.PARTLY if cured else Verdict.FALLS,
    )


def _grows(profiles: Numbers) -> bool:
    """Whether δ grows at a rate that can be batch norm's."""
    return bool(np.median(_slopes(profiles)) > _rate("relu", None) / 2)


def _training_claim(trained: Accuracies, depth: int) -> Claim:
    """It stands where with every optimiser all deep plain networks are worse than all deep ones with skips."""
    _, deep, skips = _networks(depth)
    worse = [float(of[deep][0].max()) < float(of[skips][0].min()) for of in trained.values()]
    said = "; ".join(
        f"{optimiser}: " + ", ".join(f"{name} {spread(accuracy, _two)}" for name, (accuracy, _) in of.items())
        for optimiser, of in trained.items()
    )
    return Claim(
        words=f"Batch norm alone does not make {depth} layers trainable at usual rates; with skips they are.",
        measured=f"Test accuracy: {said}. Chance is 0.10.",
        verdict=Verdict.STANDS if all(worse) else Verdict.PARTLY if any(worse) else Verdict.FALLS,
    )


def _middle(profiles: Numbers) -> str:
    return _exact(float(np.median(_slopes(profiles))))


def _exact(value: float) -> str:
    return f"{value:.{DECIMALS}f}".replace("-", "−")


def _two(value: float) -> str:
    return f"{value:.2f}"


# Pictures -------------------------------------------------------------------------------------------------------------


def _delta_chart(found: Measured, depth: int) -> Chart:
    shown = {f"{CALLED[phi]}": found.plain[phi, BATCH] for phi in PHIS} | {"ReLU, skips": found.skips}
    shapes: list[Shape] = []
    x = np.arange(depth + 1.0)
    for style, (name, profiles) in enumerate(shown.items()):
        low, middle, high = quartiles(profiles / profiles[:, -1:])
        shapes.append(Ribbon("", x, low, high, style=style))
        shapes.append(Line(name, x, middle, style=style))
    shapes += [Line("", x, 10 ** (_rate(phi, BATCH) * (depth - x)), role="implied") for phi in PHIS[:2]]
    total = {name: decades(float(np.median(_total(profiles)))) for name, profiles in shown.items()}
    return Chart(
        title=f"Batch norm without skips: δ grows by {total['ReLU']} decades over {depth} ReLU layers, with skips by "
        f"{total['ReLU, skips']}",
        reading=f"δ from the last block (right) to the first layer (left), untrained, batch {BATCH}; median and "
        "quartiles over seeds. Dotted: theory.",
        x=Axis("block, input first"),
        y=Axis("size of δ against the last block", unit="rms", scale="log"),
        shapes=tuple(shapes),
        alt="Line chart on a log scale. Decades from the last block to the first layer: "
        + "; ".join(f"{name} {end}" for name, end in total.items())
        + ".",
        table=Table(
            ("network", "decades in all", "decades per layer"),
            tuple(
                (name, spread(_total(profiles), decades), spread(_slopes(profiles), _exact))
                for name, profiles in shown.items()
            ),
        ),
    )


def _rates_chart(found: Measured) -> Chart:
    batches = np.array(sorted({batch for _, batch in found.plain}))
    shapes: list[Shape] = []
    fine = np.unique(np.geomspace(batches[0], batches[-1], 25).round().astype(int))
    for style, phi in enumerate(PHIS):
        slopes = np.array([_slopes(found.plain[phi, batch]) for batch in batches])
        at = np.repeat(batches.astype(np.float64), slopes.shape[1])
        shapes.append(Line("", fine.astype(np.float64), np.array([_rate(phi, b) for b in fine]), role="implied"))
        shapes.append(Points("one seed each" if style == 0 else "", at, slopes.ravel(), style=None))
        middle = np.median(slopes, axis=1)
        shapes.append(Line(CALLED[phi], batches.astype(np.float64), middle, style=style, markers=True))
    first, last = (_middle(found.plain["relu", int(batch)]) for batch in batches[[0, -1]])
    return Chart(
        title=f"Small batches are worse: ReLU {first} decades a layer at {batches[0]} images, {last} at {batches[-1]}",
        reading="Growth of δ towards the input, deep in untrained networks without skips. Lines: medians; dotted: "
        "theory for wide layers.",
        x=Axis("images in the batch", scale="log"),
        y=Axis("growth of δ per layer", unit="decades", low=0.0),
        shapes=tuple(shapes),
        alt=f"Growth of δ per layer against the batch, falling. ReLU lies above tanh, tanh above linear. {first} for "
        f"ReLU at {batches[0]}, {last} at {batches[-1]}.",
        table=Table(
            ("φ", "batch", "measured", "theory"),
            tuple(
                (CALLED[phi], str(batch), spread(_slopes(profiles), _exact), _exact(_rate(phi, batch)))
                for (phi, batch), profiles in found.plain.items()
            ),
        ),
    )


def _accuracy_chart(trained: Accuracies, depth: int) -> Chart:
    names = tuple(_networks(depth))
    shapes: list[Shape] = [Level(0.1, "chance")]
    for style, (optimiser, of) in enumerate(trained.items()):
        for place, name in enumerate(names):
            values = np.sort(of[name][0])
            across = place + (style - 0.5) * 0.4 + np.linspace(-0.12, 0.12, len(values))
            shapes.append(Points(optimiser if place == 0 else "", across, values, style=style))
    ends = {name: float(np.median(next(iter(trained.values()))[name][0])) for name in names}
    return Chart(
        title=f"{depth} blocks with batch norm alone stay at {_two(ends[names[1]])}, with skips they reach "
        f"{_two(ends[names[2]])} by SGD",
        reading="Test accuracy after a few epochs, one sign a seed, in rising order.",
        x=Axis("network", scale="layers", names=names),
        y=Axis("test accuracy", low=0.0, high=1.0),
        shapes=tuple(shapes),
        alt="Test accuracy of three networks by two optimisers. "
        + "; ".join(f"{name} {_two(end)} by SGD" for name, end in ends.items())
        + ".",
        table=Table(
            ("network", *trained),
            tuple((name, *(spread(of[name][0], _two) for of in trained.values())) for name in names),
        ),
    )
