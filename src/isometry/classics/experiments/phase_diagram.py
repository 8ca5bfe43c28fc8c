"""Tanh networks of every depth and size of weights, trained: the map that mean field draws before the first step."""

from dataclasses import dataclass
from math import log2

import numpy as np
from numpy.typing import NDArray

from isometry.classics.classic import Claim, Exhibit, Study, Verdict, classic
from isometry.classics.spread import ranged
from isometry.report.chart import Axis, Chart, Heat, Line, Note, Points, Rule, Shape, Table
from isometry.report.words import number
from isometry.theory import critical_point, depth_scale

Numbers = NDArray[np.float64]

SIGMA_B = 0.05**0.5
"""Deviation of the biases, as in the paper's figure 5."""
FACTORS = tuple(2 ** (half / 2) for half in range(-4, 5))
"""σ_w² against the critical one: even steps of √2 on either side."""
FEW = (0.25, 1.0, 4.0)
DEPTHS = (4, 8, 16, 23, 32, 45, 64)
SEEDS = 3
"""Of those that the study offers: a map has many places, and each of them costs as much as a whole small classic."""
SCALES = 6
"""Depth scales of the correlation that a network can be deep, says the paper."""
RATE, EPOCHS = 0.01, 5
CHANCE = 0.1
NEAR, FAR = 2.0, 3.0
"""Factors within which a depth agrees with the predicted one closely, and roughly."""
MOST = 0.8
"""Share of the networks from which on a rule holds in part."""
CURVE, CURVE_POINTS = 2, 241
"""Style of the predicted curve, and from how many places it is drawn."""


@dataclass(frozen=True, slots=True)
class Map:
    """What was trained, and what mean field says of it; σ_w² rises."""

    sigma_w2: Numbers
    depths: tuple[int, ...]
    accuracy: Numbers
    """Of images not trained on. shape (depths, σ_w², seeds)"""
    scales: Numbers
    """ξ_c of each σ_w²; inf at the critical one."""

    @property
    def critical(self) -> int:
        """Place of the critical σ_w²."""
        return int(np.argmax(self.scales))

    @property
    def predicted(self) -> Numbers:
        """Depth to which networks should train, 6 ξ_c."""
        return SCALES * self.scales

    @property
    def trainable(self) -> Numbers:
        """Depth at which accuracy is half way from chance to the best; inf if none is so deep. shape (σ_w², seeds)

        Between the depths of the map it lies on a line over log depth; what fails already at the first counts as 0.
        """
        middle = (CHANCE + np.median(self.accuracy, axis=2).max()) / 2
        columns = self.accuracy.transpose(1, 2, 0)
        return np.array([[_depth_at(middle, self.depths, seed) for seed in column] for column in columns])


def _depth_at(middle: float, depths: tuple[int, ...], accuracy: Numbers) -> float:
    failing = np.flatnonzero(accuracy < middle)
    if not failing.size:
        return np.inf
    first = int(failing[0])
    if first == 0:
        return 0.0
    above, below = accuracy[first - 1], accuracy[first]
    share = (above - middle) / (above - below)
    return float(2 ** (log2(depths[first - 1]) * (1 - share) + log2(depths[first]) * share))


@classic(
    "phase-diagram",
    title="How deep can a network be and still train, and can one know it before the first step?",
    covers=("A5", "B2", "B5"),
    source="Schoenholz et al. 2017, figure 5; Poole et al. 2016",
    place=53,
)
def phase_diagram(study: Study) -> Exhibit:
    """Tanh networks of width 64 on the 8 × 8 digits, 4 to 64 hidden layers deep. Weights are drawn from
    N(0, σ_w² / n_in) and biases from N(0, 0.05); σ_w² runs from a quarter to four times the critical 1.761, in even
    steps of √2. Each place of that map is trained from three seeds by plain SGD and tested on 450 other images.

    Mean field gives ξ_c of each σ_w² by quadrature: the number of layers over which the correlation of two inputs comes
    nearer to its end by a factor of e. Below the critical σ_w² that end is 1, all inputs look alike, and δ vanishes;
    above it like inputs come apart, and δ explodes. Schoenholz et al. found that networks train to about 6 ξ_c layers,
    with widths of 300 and many more steps. Here the trainable depth is that at which accuracy is half way from chance
    to the best of the map, between two depths by interpolation.
    """
    found = _trained(study)
    return Exhibit(
        claims=(_six_scales(found), _deepest(found), _one_number(found)),
        charts=(_map_chart(found), _depth_chart(found)),
        numbers={
            "sigma_w2": found.sigma_w2.tolist(),
            "depths": list(found.depths),
            "accuracy": found.accuracy.tolist(),
            "trainable_depth": found.trainable.tolist(),
            "six_xi_c": found.predicted.tolist(),
        },
        remarks=(
            "The greatest depth depends on the training as well: a few epochs of SGD at one learning rate stop the "
            "critical network, whose ξ_c is infinite, and those near it. More steps move the upper end of the map.",
            f"{found.accuracy.shape[2]} seeds at each place, and width 64, where the paper has 300: the ordered "
            "boundary is sharp, the chaotic one scatters.",
        ),
    )


def _trained(study: Study) -> Map:
    from isometry.adapters.torch.train import train_many
    from isometry.classics.build import phases

    centre = critical_point("tanh", sigma_b=SIGMA_B).sigma_w
    sigmas = [centre * factor**0.5 for factor in study.size(FACTORS, FEW)]
    depths, seeds = study.size(DEPTHS, (4, 8, 16, 32)), study.seeds[:SEEDS]
    accuracy = []
    for depth in depths:
        study.say(f"{depth} layers, σ_w² from {number(sigmas[0] ** 2)} to {number(sigmas[-1] ** 2)}")
        each = [sigma for sigma in sigmas for _ in seeds]
        experiment = phases.on_digits(depth, each, sigma_b=SIGMA_B, rate=RATE, epochs=EPOCHS)
        trained = train_many(experiment, seeds * len(sigmas))
        accuracy.append(trained.metrics.reshape(len(sigmas), len(seeds)))
    scales = [depth_scale("tanh", sigma, SIGMA_B).correlation for sigma in sigmas]
    scales[int(np.argmax(scales))] = np.inf
    return Map(np.square(sigmas), depths, np.array(accuracy), np.array(scales))


# Claims ---------------------------------------------------------------------------------------------------------------


def _middles(found: Map) -> Numbers:
    """Trainable depth of the middle seed, for each σ_w²; inf if it is deeper than the map."""
    return np.asarray(np.sort(found.trainable, axis=1)[:, found.trainable.shape[1] // 2])


def _six_scales(found: Map) -> Claim:
    """It stands where every σ_w² but the critical one agrees within a factor of 2, in part where they do within 3."""
    off = [place for place in range(len(found.scales)) if place != found.critical]
    ratios = _ratios(found)
    said = "; ".join(
        f"σ_w² = {number(found.sigma_w2[place])}: {_layers(_middles(found)[place])} against "
        f"{number(found.predicted[place])}"
        for place in off
    )
    return Claim(
        words="Networks train to a depth of about six times ξ_c, in the ordered phase and in the chaotic one.",
        measured=f"Layers at which accuracy is half way to chance, against 6 ξ_c: {said}. That is "
        f"{ranged(ratios, _two)} of 6 ξ_c.",
        verdict=Verdict.STANDS if _within(ratios, NEAR) else Verdict.PARTLY if _within(ratios, FAR) else Verdict.FALLS,
        expected=Verdict.PARTLY,
    )


def _ratios(found: Map) -> Numbers:
    """Trainable depth against the predicted one, for every σ_w² but the critical one."""
    return np.asarray(np.delete(_middles(found), found.critical) / np.delete(found.predicted, found.critical))


def _within(ratios: Numbers, factor: float) -> bool:
    return bool(np.all((ratios > 1 / factor) & (ratios < factor)))


def _deepest(found: Map) -> Claim:
    """It stands where every seed of the critical σ_w² is deeper than all others, in part where the middle one is."""
    critical = found.trainable[found.critical]
    others = np.delete(found.trainable, found.critical, axis=0)
    best = int(np.argmax(np.median(np.minimum(others, found.depths[-1]), axis=1)))
    rival = float(np.delete(found.sigma_w2, found.critical)[best])
    all_deeper = bool(critical.min() > others.max())
    middle_deeper = bool(_middles(found)[found.critical] > np.delete(_middles(found), found.critical).max())
    return Claim(
        words=f"The deepest networks train at the critical point, σ_w² = {found.sigma_w2[found.critical]:.3f}.",
        measured=f"There networks of {_range(critical)} layers train, seed by seed; of the others those with σ_w² = "
        f"{number(rival)} are the deepest, {_range(others[best])} layers.",
        verdict=Verdict.STANDS if all_deeper else Verdict.PARTLY if middle_deeper else Verdict.FALLS,
    )


def _one_number(found: Map) -> Claim:
    """It stands where this holds of all networks off the critical σ_w², in part where it does of most."""
    middle = np.median(found.accuracy, axis=2)
    half = (CHANCE + middle.max()) / 2
    share = np.array(found.depths, dtype=np.float64)[:, None] / found.predicted
    shallow, deep = (share > 0) & (share <= 1 / NEAR), share >= NEAR
    right = int((middle[shallow] > half).sum()), int((middle[deep] < half).sum())
    counts = int(shallow.sum()), int(deep.sum())
    total = sum(right) / sum(counts)
    return Claim(
        words="Depth over ξ_c decides, a number that is known before the first step: well below 6 a network trains, "
        "well above it does not.",
        measured=f"Of {counts[0]} networks at most half as deep as 6 ξ_c {right[0]} pass half way, of {counts[1]} at "
        f"least twice as deep {right[1]} do not; these have accuracies of {ranged(middle[shallow], _two)} and "
        f"{ranged(middle[deep], _two)}. At the critical σ_w², to which theory sets no limit, {found.depths[-1]} layers "
        f"reach {_two(float(middle[-1, found.critical]))}.",
        verdict=Verdict.STANDS if total == 1 else Verdict.PARTLY if total > MOST else Verdict.FALLS,
    )


def _layers(depth: float) -> str:
    return f"{depth:.0f}" if np.isfinite(depth) else "more than all"


def _range(depths: Numbers) -> str:
    low, high = _layers(depths.min()), _layers(depths.max())
    return low if low == high else f"{low} … {high}"


def _two(value: float) -> str:
    return f"{value:.2f}"


# Pictures -------------------------------------------------------------------------------------------------------------


def _map_chart(found: Map) -> Chart:
    values = np.median(found.accuracy, axis=2)[::-1]
    step = float(np.sqrt(found.sigma_w2[1] / found.sigma_w2[0]))
    edges = np.append(found.sigma_w2 / step, found.sigma_w2[-1] * step)
    none = np.zeros(values.shape, dtype=np.bool_)
    x, y = _curve(edges, found.depths)
    depths = _middles(found)
    shown = np.isfinite(depths) & (depths > 0)
    critical, ratios = found.sigma_w2[found.critical], _ratios(found)
    return Chart(
        title=f"Networks train to {ranged(ratios, _two)} times {SCALES} ξ_c layers, deepest at the critical point",
        reading="Test accuracy after a few epochs, bright is good. Curve: 6 ξ_c by mean field. Squares: where accuracy "
        "is half way to chance.",
        x=Axis("σ_w², variance of the weights times fan-in", scale="log"),
        y=Axis("hidden layers", scale="layers", names=tuple(str(depth) for depth in reversed(found.depths))),
        shapes=(
            Heat(values, edges, Axis("test accuracy"), none, none, none),
            Line("", x, y, style=CURVE),
            Note(float(x[y > 0][-1]), float(y[y > 0][-1]) - 0.9, f"{SCALES} ξ_c", side="left"),
            Points("measured: half way to chance", found.sigma_w2[shown], _row(depths[shown], found.depths), style=1),
            Rule(float(critical), f"critical: {critical:.3f}"),
        ),
        alt=f"Heat map of test accuracy over σ_w² and depth. A bright region reaches highest near the critical σ_w² of "
        f"{critical:.3f} and falls to both sides, along the curve of 6 ξ_c. " + _said(found),
        table=Table(
            ("hidden layers", *(f"σ_w² = {number(value)}" for value in found.sigma_w2)),
            tuple(
                (str(depth), *(_two(value) for value in row))
                for depth, row in zip(found.depths, np.median(found.accuracy, axis=2), strict=True)
            ),
        ),
    )


def _row(depths: Numbers, rows: tuple[int, ...]) -> Numbers:
    """Where depths stand between the rows of the map, the deepest on top."""
    places = np.interp(np.log2(depths), np.log2(rows), np.arange(len(rows)), left=np.nan, right=np.nan)
    return np.asarray(len(rows) - 1 - places)


def _curve(edges: Numbers, depths: tuple[int, ...]) -> tuple[Numbers, Numbers]:
    """6 ξ_c along the map, where it lies in it."""
    x = np.geomspace(edges[0], edges[-1], CURVE_POINTS)
    predicted = np.array([SCALES * depth_scale("tanh", float(value) ** 0.5, SIGMA_B).correlation for value in x])
    return x, _row(predicted, depths)


def _said(found: Map) -> str:
    ends = [0, found.critical, len(found.scales) - 1]
    return (
        "; ".join(f"σ_w² = {number(found.sigma_w2[end])}: {_layers(_middles(found)[end])} layers" for end in ends) + "."
    )


def _depth_chart(found: Map) -> Chart:
    x = np.sort(np.delete(found.predicted, found.critical))
    shapes: list[Shape] = [Line("", x, x, role="implied")]
    phases = {"ordered": slice(None, found.critical), "chaotic": slice(found.critical + 1, None)}
    for style, (phase, part) in enumerate(phases.items()):
        depths = found.trainable[part]
        at = np.repeat(found.predicted[part], depths.shape[1])
        known = np.isfinite(depths).ravel() & (depths.ravel() > 0)
        shapes.append(Points(f"{phase}, one seed each", at[known], depths.ravel()[known], style=style))
    return Chart(
        title=f"Trainable depths are {ranged(_ratios(found), _two)} of the predicted ones",
        reading="Each sign is one seed of one σ_w²; on the dotted line accuracy is half way to chance at 6 ξ_c layers.",
        x=Axis("6 ξ_c by mean field", unit="layers", scale="log"),
        y=Axis("trainable depth", unit="layers", scale="log"),
        shapes=tuple(shapes),
        alt="Scatter of measured against predicted trainable depths on two log scales, near the diagonal. "
        + _said(found),
        table=Table(
            ("σ_w²", "6 ξ_c", "trainable depth, all seeds"),
            tuple(
                (number(value), number(predicted), _range(depths))
                for value, predicted, depths in zip(found.sigma_w2, found.predicted, found.trainable, strict=True)
            ),
        ),
    )
