"""Splits the backward gain of each stretch of a trunk into its causes, in decades that add up exactly.

From one place on the trunk to the one before it, δ passes the weights, whatever lies between, and the nonlinearity:

    ‖δ_l‖ / ‖δ_{l+1}‖ =  σ_w                       weight scale, σ_w = rms W · √fan_in
                       × (‖Wᵀδ‖ / ‖δ‖) / σ_w       weight alignment: 1 where δ is isotropic, not so for low rank
                       × ‖ε‖ / ‖Wᵀδ‖               what lies between: pooling, dropout, other readers of the signal
                       × rms φ′(z)                 slope of φ
                       × (‖φ′ ε‖ / ‖ε‖) / rms φ′   slope alignment

Each factor is a ratio of two recorded numbers, so the product telescopes whatever the network is. The slope is split
once more: into the slope that φ has at rest, which is |φ′(0)| for two-sided units and rms φ′ under N(0, 1) for
one-sided ones, and what the distribution of z makes of it. So sigmoid's quarter slope is told apart from saturation.
For two-sided units the latter is what z ~ N(0, v) makes of it (spread), what z ~ N(m, v) makes of it on top (shift),
and the rest, with the measured mean m and variance v of z. A norm layer is one factor of its own. At a sum x + f(x)

    ‖∂L/∂x‖² / ‖δ‖²  =  1 + b² + 2 b ρ             b what f gives back, ρ its cosine with δ

is split into the branch, 1 + b², and its alignment; b is split in turn along the branch, as above. What a run did not
record is left in one part, unsplit.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis import limits, words
from isometry.diagnosis.finding import Cause
from isometry.diagnosis.trunk import Trunk, column, norm_decades
from isometry.history.run import Run
from isometry.network.architecture import Architecture
from isometry.network.nonlinearity import SLOPES, slope
from isometry.network.signals import Signal

__all__ = [
    "RESTING_SLOPE",
    "TWO_SIDED",
    "UNNAMED_FUNCTION",
    "Gain",
    "Part",
    "PartKind",
    "attribute",
    "causes_of",
    "normal_slope",
]

Array = NDArray[np.float64]

TWO_SIDED = {
    "sigmoid": 0.25,
    "tanh": 1.0,
    "softsign": 1.0,
    "erf": 2 / np.sqrt(np.pi),
    "hardtanh": 1.0,
    "hardsigmoid": 1 / 6,
}
"""|φ′(0)|, the greatest slope of units that saturate on both sides."""

ONE_SIDED = {
    "relu": 1 / 1.414214,
    "relu6": 1 / 1.414214,
    "leaky_relu": 1 / 1.414143,
    "prelu": 1 / 1.371989,
    "rrelu": 1 / 1.385641,
    "elu": 1 / 1.223429,
    "celu": 1 / 1.223429,
    "selu": 1 / 0.966026,
    "gelu": 1 / 1.481114,
    "gelu_tanh": 1 / 1.481114,
    "silu": 1 / 1.623320,
    "softplus": 1 / 1.846229,
    "mish": 1 / 1.444755,
    "hardswish": 1 / 1.670076,
}
"""rms φ′(z) for z from N(0, 1). Sources: quadrature; for the rectifiers √((1 + a²)/2) with slope a below zero."""

RESTING_SLOPE = TWO_SIDED | ONE_SIDED


UNNAMED_FUNCTION = "unnamed function"
"""Name of the cause where what lies between two layers keeps the shape, and nobody else reads it."""


class PartKind(StrEnum):
    """What a part of a gain comes from."""

    WEIGHT_SCALE = "weight scale"
    WEIGHT_ALIGNMENT = "weight alignment"
    RESTING_SLOPE = "slope at rest"
    SPREAD = "spread of z"
    SHIFT = "shift of z"
    OPERATING_SLOPE = "slope at work"
    SLOPE_ALIGNMENT = "slope alignment"
    NORM = "normalisation"
    BRANCH = "residual branch"
    BRANCH_ALIGNMENT = "branch alignment"
    RESIDUAL = "residual sum"
    INSIDE = "inside"
    BETWEEN = "between"
    UNNAMED = UNNAMED_FUNCTION
    UNSPLIT = words.UNKNOWN


@dataclass(frozen=True, slots=True)
class Part:
    """One factor of a backward gain."""

    kind: PartKind
    layer: str
    decades: float


@dataclass(frozen=True, slots=True)
class Gain:
    """From δ at one place of a trunk to δ at the place before it."""

    lower: str
    upper: str
    decades: float
    parts: tuple[Part, ...]
    """Sum to ``decades``."""
    branch: tuple[Part, ...] = ()
    """Sum to log10 b of the residual branch within the stretch, where there is one that could be followed."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """log10 norms of the backward signals of every layer, means over the rows asked for. shape (layers,)"""

    delta: Array
    epsilon: Array
    input_gradient: Array
    slope: Array
    weight: Array
    delta_count: Array
    input_count: Array
    """elements of the two signals, no logarithms; at the first of the rows"""
    z_mean: Array
    """of z itself, no logarithm"""
    z_std: Array
    branch: Array
    """log10 b of a residual sum's branch"""
    with_branch: Array
    """½ log10(1 + b²)"""
    at_fork: Array
    """½ log10(1 + b² + 2bρ)"""


def attribute(run: Run, trunk: Trunk, *, rows: NDArray[np.int64]) -> tuple[Gain, ...]:
    """The backward gains along a trunk, input first, each split into its causes; mean of logs over rows.

    A stretch of which δ is zero or not recorded at one end has no gain and is left out.
    """
    measured = _measured(run, rows)
    architecture = run.architecture
    gains = []
    for place in range(len(trunk) - 1):
        lower, upper = trunk.places[place], trunk.places[place + 1]
        total = measured.delta[lower] - measured.delta[upper]
        if not np.isfinite(total):
            continue
        stretch = trunk.path[trunk.path.index(lower) : trunk.path.index(upper) + 1]
        gains.append(
            Gain(
                lower=architecture.layers[trunk.layers[place]].name,
                upper=architecture.layers[trunk.layers[place + 1]].name,
                decades=float(total),
                parts=tuple(_settled(_waypoints(architecture, measured, stretch))),
                branch=tuple(_settled(_branch_waypoints(architecture, measured, stretch))),
            )
        )
    return tuple(gains)


def _measured(run: Run, rows: NDArray[np.int64]) -> _Measured:
    def mean_log(values: Array) -> Array:
        finite = np.isfinite(values)
        total = np.where(finite, values, 0.0).sum(axis=0)
        everywhere = finite.sum(axis=0)
        # A row that misses one of the numbers would make the means of logs disagree, so all rows must have it.
        return np.where(everywhere == len(values), total / max(len(values), 1), np.nan)

    def values(signal: Signal, statistic: str) -> Array:
        if (signal, statistic) not in run.history:
            return np.full((len(rows), len(run.architecture)), np.nan)
        return column(run, signal, statistic, rows=rows)

    def norm(signal: Signal) -> Array:
        if (signal, "rms") not in run.history or (signal, "count") not in run.history:
            return np.full(len(run.architecture), np.nan)
        return mean_log(norm_decades(run, signal, rows=rows))

    b, cosine = values(Signal.DELTA, "branch_gain"), values(Signal.DELTA, "branch_cosine")
    with np.errstate(divide="ignore", invalid="ignore"):
        return _Measured(
            delta=norm(Signal.DELTA),
            epsilon=norm(Signal.ACTIVATION_GRADIENT),
            input_gradient=norm(Signal.INPUT_GRADIENT),
            slope=mean_log(np.log10(values(Signal.SLOPE, "rms"))),
            weight=mean_log(np.log10(values(Signal.WEIGHT, "rms"))),
            delta_count=values(Signal.DELTA, "count")[0],
            input_count=values(Signal.INPUT_GRADIENT, "count")[0],
            z_mean=values(Signal.PRE_ACTIVATION, "mean").mean(axis=0),
            z_std=values(Signal.PRE_ACTIVATION, "std").mean(axis=0),
            branch=mean_log(np.log10(b)),
            with_branch=mean_log(0.5 * np.log10(1 + b**2)),
            at_fork=mean_log(0.5 * np.log10(1 + b**2 + 2 * b * cosine)),
        )


@dataclass(frozen=True, slots=True)
class _Waypoint:
    """log10 of the backward signal's norm at one point of a stretch, and what took it there from the point before."""

    decades: float
    kind: PartKind
    layer: str


def _waypoints(architecture: Architecture, measured: _Measured, stretch: tuple[int, ...]) -> list[_Waypoint]:
    """The backward signal from δ at the upper end of a stretch down to δ at its lower end."""
    upper, lower = stretch[-1], stretch[0]
    points = [_Waypoint(measured.delta[upper], PartKind.UNSPLIT, architecture.layers[upper].name)]
    for above, below in zip(stretch[:0:-1], stretch[-2::-1], strict=True):
        name = architecture.layers[above].name
        if architecture.layers[above].kind == "sum":
            points += _through_sum(measured, above, name)
            if abs(float(measured.delta[above] + measured.at_fork[above] - measured.delta[lower])) < limits.FORK.value:
                # φ stands in the next branch alone: the skip comes from before it.
                return [*points, _Waypoint(float(measured.delta[lower]), PartKind.RESIDUAL, name)]
            points.append(_Waypoint(_at_output(architecture, measured, lower), PartKind.RESIDUAL, name))
            return points + _through_slope(architecture, measured, lower)
        points += _through_layer(architecture, measured, above)
        points.append(_between(architecture, measured, above, below))
        points += _through_slope(architecture, measured, below)
    return points


def _between(architecture: Architecture, measured: _Measured, above: int, below: int) -> _Waypoint:
    """From the gradient at a layer's input to the one at the output of the layer before it.

    Nothing but a function of single elements, or dropout, keeps the number of elements and has the layer for its only
    reader. Behind a layer whose φ has a name there is no second one.
    """
    upper, lower = architecture.layers[above], architecture.layers[below]
    readers = [layer for layer in architecture if lower.name in layer.inputs]
    keeps_shape = bool(measured.delta_count[below] == measured.input_count[above] > 0)
    is_unnamed = lower.activation is None and readers == [upper] and upper.inputs == (lower.name,) and keeps_shape
    decades = _at_output(architecture, measured, below)
    return (
        _Waypoint(decades, PartKind.UNNAMED, lower.name)
        if is_unnamed
        else _Waypoint(decades, PartKind.BETWEEN, upper.name)
    )


def _through_sum(measured: _Measured, position: int, name: str) -> list[_Waypoint]:
    """From δ of a sum x + f(x) to the gradient at x; nothing where the sum does not add x itself."""
    if not np.isfinite(measured.at_fork[position]):
        return []
    delta = float(measured.delta[position])
    return [
        _Waypoint(delta + float(measured.with_branch[position]), PartKind.BRANCH, name),
        _Waypoint(delta + float(measured.at_fork[position]), PartKind.BRANCH_ALIGNMENT, name),
    ]


def _branch_waypoints(architecture: Architecture, measured: _Measured, stretch: tuple[int, ...]) -> list[_Waypoint]:
    """From δ of a sum x + f(x) through the layers of f to what comes back at x; log10 b in all."""
    sums = [position for position in stretch[1:] if architecture.layers[position].kind == "sum"]
    if not sums or not np.isfinite(measured.branch[sums[-1]]):
        return [_Waypoint(0.0, PartKind.UNSPLIT, "")]
    top = sums[-1]
    chain = _chain_of_branch(architecture, top)
    points = [_Waypoint(float(measured.delta[top]), PartKind.UNSPLIT, architecture.layers[top].name)]
    before = architecture.layers[top].name
    for place, position in enumerate(chain):
        points.append(_Waypoint(_at_output(architecture, measured, position), PartKind.BETWEEN, before))
        points += _through_slope(architecture, measured, position)
        through = _through_layer(architecture, measured, position)
        last = place == len(chain) - 1  # its input is x, where the gradient of the skip is heard as well
        points += through[:-1] if last else through
        before = architecture.layers[position].name
        if last:
            end = float(measured.delta[top]) + float(measured.branch[top])
            points.append(_Waypoint(end, through[-1].kind, before))
    return points if chain else [_Waypoint(0.0, PartKind.UNSPLIT, "")]


def _chain_of_branch(architecture: Architecture, top: int) -> list[int]:
    """The layers of a sum's branch from the sum down to the fork, where one follows the other; else none."""
    name = architecture.layers[top].name
    inside = {position for position, layer in enumerate(architecture) if layer.branch == name and layer.calls > 0}
    chain: list[int] = []
    sources = architecture.layers[top].inputs
    while True:
        below = [architecture.index(source) for source in sources if source in architecture]
        below = [position for position in below if position in inside and position not in chain]
        if len(below) > 1:
            return []
        if not below:
            return chain if len(chain) == len(inside) else []
        chain += below
        sources = architecture.layers[below[0]].inputs


def _at_output(architecture: Architecture, measured: _Measured, position: int) -> float:
    """ε, which is δ where there is no nonlinearity."""
    has_slope = architecture.layers[position].activation is not None
    return float((measured.epsilon if has_slope else measured.delta)[position])


def _through_layer(architecture: Architecture, measured: _Measured, position: int) -> list[_Waypoint]:
    """From δ at a layer's output to the gradient at its input."""
    layer = architecture.layers[position]
    at_input = float(measured.input_gradient[position])
    if layer.kind == "norm":
        return [_Waypoint(at_input, PartKind.NORM, layer.name)]
    if layer.kind not in ("linear", "conv") or layer.fan_in is None:
        return [_Waypoint(at_input, PartKind.INSIDE, layer.name)]
    scale = float(measured.weight[position]) + 0.5 * np.log10(layer.fan_in)
    return [
        _Waypoint(float(measured.delta[position]) + scale, PartKind.WEIGHT_SCALE, layer.name),
        _Waypoint(at_input, PartKind.WEIGHT_ALIGNMENT, layer.name),
    ]


def _through_slope(architecture: Architecture, measured: _Measured, position: int) -> list[_Waypoint]:
    """From ε to δ of one layer, where it has a nonlinearity."""
    layer = architecture.layers[position]
    if layer.activation is None:
        return []
    epsilon = float(measured.epsilon[position])
    resting = np.log10(RESTING_SLOPE[layer.activation]) if layer.activation in RESTING_SLOPE else 0.0
    points = [_Waypoint(epsilon + resting, PartKind.RESTING_SLOPE, layer.name)]
    mean, std = float(measured.z_mean[position]), float(measured.z_std[position])
    if layer.activation in TWO_SIDED and layer.activation in SLOPES and np.isfinite(mean) and np.isfinite(std):
        points += [
            _Waypoint(epsilon + normal_slope(layer.activation, 0.0, std), PartKind.SPREAD, layer.name),
            _Waypoint(epsilon + normal_slope(layer.activation, mean, std), PartKind.SHIFT, layer.name),
        ]
    return [
        *points,
        _Waypoint(epsilon + float(measured.slope[position]), PartKind.OPERATING_SLOPE, layer.name),
        _Waypoint(float(measured.delta[position]), PartKind.SLOPE_ALIGNMENT, layer.name),
    ]


NORMAL = (np.arange(-1600, 1600) + 0.5) * 5e-3
"""Midpoints over ±8 standard deviations: hardtanh's kinks cost 1e-3 decades at worst."""


def normal_slope(activation: str, mean: float, std: float) -> float:
    """log10 of rms φ′(z) for z ~ N(mean, std²)."""
    density = np.exp(-0.5 * NORMAL**2)
    squares = slope(activation, mean + std * NORMAL) ** 2
    with np.errstate(divide="ignore"):
        return float(0.5 * np.log10(np.sum(density * squares) / np.sum(density)))


def _settled(points: list[_Waypoint]) -> Iterable[Part]:
    """Differences from point to point; across points that were not recorded the difference stays in one piece."""
    last, skipped = points[0].decades, False
    for point in points[1:]:
        if not np.isfinite(point.decades):
            skipped = True
            continue
        yield Part(PartKind.UNSPLIT if skipped else point.kind, point.layer, point.decades - last)
        last, skipped = point.decades, False


def causes_of(gains: Iterable[Gain], architecture: Architecture) -> tuple[Cause, ...]:
    """Parts of one kind put together, the largest first. Their decades add up to those of the gains.

    Only the product of weight scale and resting slope is physical for one-sided units, whose weights are drawn larger
    to make up for the half that is off; there both count as weight scale. Where a norm layer follows the weights their
    scale cancels in it; there weights and norm are one cause. Parts that are nothing but rounding are left out.
    """
    gains = list(gains)
    together = _together([(part, gain.parts) for gain in gains for part in gain.parts], architecture)
    branches = [gain.branch for gain in gains if gain.branch]
    found = []
    for (kind, activation), parts in sorted(together.items(), key=lambda item: -abs(_total(item[1]))):
        amount = round(_total(parts), 6)
        if amount:
            name = f"{kind} of {activation}" if activation else kind
            sentence = _words(kind, activation, parts, architecture)
            if kind == PartKind.BRANCH:
                sentence += _words_inside(branches, architecture)
            found.append(Cause(name, amount, sentence, tuple(dict.fromkeys(part.layer for part in parts))))
    return tuple(found)


Kind = tuple[str, str]
"""A cause and, where it depends on it, the activation."""


def _together(parts: Iterable[tuple[Part, tuple[Part, ...]]], architecture: Architecture) -> dict[Kind, list[Part]]:
    """Parts by their cause; each comes with its companions of the same stretch."""
    together: dict[Kind, list[Part]] = {}
    for part, companions in parts:
        together.setdefault(_cause(part, companions, architecture), []).append(part)
    return together


def _total(parts: Iterable[Part]) -> float:
    return float(sum(part.decades for part in parts))


def _cause(part: Part, companions: tuple[Part, ...], architecture: Architecture) -> Kind:
    activation = architecture[part.layer].activation or ""
    match part.kind:
        case PartKind.RESTING_SLOPE if activation in TWO_SIDED:
            return "slope", activation
        case PartKind.RESTING_SLOPE:
            return _scale_cause(companions), ""
        case PartKind.SPREAD | PartKind.SHIFT | PartKind.OPERATING_SLOPE if activation in TWO_SIDED:
            return "saturation", activation
        case PartKind.OPERATING_SLOPE:
            return "operating point", activation
        case PartKind.WEIGHT_SCALE | PartKind.NORM:
            return _scale_cause(companions), ""
        case _:
            return str(part.kind), ""


def _scale_cause(companions: tuple[Part, ...]) -> str:
    normed = any(part.kind == PartKind.NORM for part in companions)
    return "weights and normalisation" if normed else str(PartKind.WEIGHT_SCALE)


FRACTIONS = {"sigmoid": "quarter", "hardsigmoid": "sixth"}


def _words(kind: str, activation: str, parts: list[Part], architecture: Architecture) -> str:
    decades = _total(parts)
    amount = _amount(decades)
    layers = [architecture[name] for name in dict.fromkeys(part.layer for part in parts)]
    count = len(layers)
    match kind:
        case "slope":
            part = FRACTIONS.get(activation)
            steepest = f"the {part} slope of {activation}" if part else f"the slope of {activation} at rest"
            return f"{amount}: {steepest}, {count} times; even where it is steepest δ shrinks"
        case "saturation" if decades < -limits.FLAT.value * count:
            return f"{amount}: saturation of {activation}, {_spread_or_shift(parts)}"
        case "saturation":
            return f"{amount}: the spread of z over {activation}, away from its steepest point; it is not saturated"
        case "operating point":
            return f"{amount}: where z lies on {activation}, against z from N(0, 1)"
        case "weight scale":
            return f"{amount}: weights too {'small' if decades < 0 else 'large'} to keep ‖δ‖{_mismatch(parts)}"
        case "weights and normalisation":
            return f"{amount}: weights together with the normalisation behind them"
        case "weight alignment":
            return f"{amount}: δ lies in directions that the weights {'shrink' if decades < 0 else 'stretch'}"
        case "slope alignment":
            return f"{amount}: the gradient is large where φ is {'flat' if decades < 0 else 'steep'}"
        case "residual branch":
            return f"{amount}: what {_plural(count, 'residual branch', 'residual branches')} adds to the skip"
        case "branch alignment":
            direction = "against" if decades < 0 else "along"
            return f"{amount}: residual branches give back δ that points {direction} that of the skip"
        case "residual sum":
            return f"{amount}: residual sums"
        case "inside":
            return f"{amount}: inside {', '.join(layer.name for layer in layers[:3])}"
        case "between":
            return f"{amount}: between layers; by pooling, dropout, or other readers of the same signal"
        case "unnamed function":
            return f"{amount}: functions without a name, or dropout, behind {words.span([one.name for one in layers])}"
        case _:
            return f"{amount}: not recorded apart"


def _amount(decades: float) -> str:
    return f"{decades:+.1f} decades".replace("-", "−")


def _mismatch(parts: list[Part]) -> str:
    """The size of the weights beside the one that would keep ‖δ‖, geometric means over the layers."""
    scales = [part for part in parts if part.kind == PartKind.WEIGHT_SCALE]
    if not scales:
        return ""
    mean = _total(scales) / len(scales)
    kept = mean - _total(parts) / len(scales)
    return f"; σ_w is {10**mean:.2g}, at {10**kept:.2g} they would {'take' if mean < kept else 'add'} nothing"


def _plural(count: int, one: str, several: str) -> str:
    return f"the {one}" if count == 1 else f"each of {count} {several}"


def _spread_or_shift(parts: list[Part]) -> str:
    """How z came to lie where φ is flat."""
    spread = _total(part for part in parts if part.kind == PartKind.SPREAD)
    shift = _total(part for part in parts if part.kind == PartKind.SHIFT)
    if not spread and not shift:
        return "z far from where it is steep"
    if spread <= shift:
        return "z spread too wide" + (f", and {_amount(shift)} by its shift" if shift < LEAST_TOLD * spread else "")
    return "z shifted to one side" + (f", and {_amount(spread)} by its spread" if spread < LEAST_TOLD * shift else "")


def _words_inside(branches: list[tuple[Part, ...]], architecture: Architecture) -> str:
    """How much a branch gives back, and the causes of that, the largest first; geometric means over the branches."""
    if not branches:
        return ""
    together = _together([(part, branch) for branch in branches for part in branch], architecture)
    means = {key: _total(parts) / len(branches) for key, parts in together.items()}
    named = [
        f"{kind} of {activation} {_amount(means[kind, activation])}"
        if activation
        else f"{kind} {_amount(means[kind, ''])}"
        for kind, activation in sorted(means, key=lambda key: -abs(means[key]))[:CAUSES_OF_BRANCH]
        if abs(means[kind, activation]) >= SHOWN
    ]
    size = f"; a branch gives back {10 ** sum(means.values()):.2g} of what the skip does"
    return f"{size}: {', '.join(named)}" if named else size


LEAST_TOLD = 0.1
"""Share of the main cause from which on a second one is told."""
CAUSES_OF_BRANCH = 3
SHOWN = 0.05
"""Less would be written as 0.0 decades."""
