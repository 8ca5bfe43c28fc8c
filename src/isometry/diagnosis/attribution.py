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
A norm layer or a residual sum is one factor of its own. What a run did not record is left in one part, unsplit.
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
from isometry.network.architecture import Architecture, Layer
from isometry.network.signals import Signal

__all__ = ["RESTING_SLOPE", "TWO_SIDED", "Gain", "Part", "PartKind", "attribute", "causes_of"]

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


class PartKind(StrEnum):
    """What a part of a gain comes from."""

    WEIGHT_SCALE = "weight scale"
    WEIGHT_ALIGNMENT = "weight alignment"
    RESTING_SLOPE = "slope at rest"
    OPERATING_SLOPE = "slope at work"
    SLOPE_ALIGNMENT = "slope alignment"
    NORM = "normalisation"
    RESIDUAL = "residual sum"
    INSIDE = "inside"
    BETWEEN = "between"
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


@dataclass(frozen=True, slots=True)
class _Measured:
    """log10 norms of the backward signals of every layer, means over the rows asked for. shape (layers,)"""

    delta: Array
    epsilon: Array
    input_gradient: Array
    slope: Array
    weight: Array


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

    def recorded(signal: Signal) -> Array:
        if (signal, "rms") not in run.history or (signal, "count") not in run.history:
            return np.full(len(run.architecture), np.nan)
        return mean_log(norm_decades(run, signal, rows=rows))

    def scale(signal: Signal) -> Array:
        if (signal, "rms") not in run.history:
            return np.full(len(run.architecture), np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            return mean_log(np.log10(column(run, signal, "rms", rows=rows)))

    return _Measured(
        delta=recorded(Signal.DELTA),
        epsilon=recorded(Signal.ACTIVATION_GRADIENT),
        input_gradient=recorded(Signal.INPUT_GRADIENT),
        slope=scale(Signal.SLOPE),
        weight=scale(Signal.WEIGHT),
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
            points.append(_Waypoint(_at_output(architecture, measured, lower), PartKind.RESIDUAL, name))
            return points + _through_slope(architecture, measured, lower)
        points += _through_layer(architecture, measured, above)
        points.append(_Waypoint(_at_output(architecture, measured, below), PartKind.BETWEEN, name))
        points += _through_slope(architecture, measured, below)
    return points


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
    epsilon, slope = float(measured.epsilon[position]), float(measured.slope[position])
    resting = np.log10(RESTING_SLOPE[layer.activation]) if layer.activation in RESTING_SLOPE else 0.0
    return [
        _Waypoint(epsilon + resting, PartKind.RESTING_SLOPE, layer.name),
        _Waypoint(epsilon + slope, PartKind.OPERATING_SLOPE, layer.name),
        _Waypoint(float(measured.delta[position]), PartKind.SLOPE_ALIGNMENT, layer.name),
    ]


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
    scale cancels in it; there weights and norm are one cause. Parts that are exactly nothing are left out.
    """
    decades: dict[tuple[str, str], float] = {}
    layers: dict[tuple[str, str], list[str]] = {}
    for gain in gains:
        for part in gain.parts:
            key = _cause(part, gain, architecture)
            decades[key] = decades.get(key, 0.0) + part.decades
            layers.setdefault(key, []).append(part.layer)
    order = sorted((key for key in decades if decades[key]), key=lambda key: -abs(decades[key]))
    found = []
    for kind, activation in order:
        names = tuple(dict.fromkeys(layers[kind, activation]))
        amount = decades[kind, activation]
        name = f"{kind} of {activation}" if activation else kind
        sentence = _words(kind, activation, decades=amount, layers=[architecture[layer] for layer in names])
        found.append(Cause(name, round(amount, 6), sentence, names))
    return tuple(found)


def _cause(part: Part, gain: Gain, architecture: Architecture) -> tuple[str, str]:
    activation = architecture[part.layer].activation or ""
    match part.kind:
        case PartKind.RESTING_SLOPE if activation in TWO_SIDED:
            return "slope", activation
        case PartKind.RESTING_SLOPE:
            return _scale_cause(gain, architecture), ""
        case PartKind.OPERATING_SLOPE if activation in TWO_SIDED:
            return "saturation", activation
        case PartKind.OPERATING_SLOPE:
            return "operating point", activation
        case PartKind.WEIGHT_SCALE | PartKind.NORM:
            return _scale_cause(gain, architecture), ""
        case _:
            return str(part.kind), ""


def _scale_cause(gain: Gain, architecture: Architecture) -> str:
    normed = any(part.kind == PartKind.NORM for part in gain.parts)
    return "weights and normalisation" if normed else str(PartKind.WEIGHT_SCALE)


FRACTIONS = {"sigmoid": "quarter", "hardsigmoid": "sixth"}


def _words(kind: str, activation: str, *, decades: float, layers: list[Layer]) -> str:
    amount = f"{decades:+.1f} decades".replace("-", "−")
    count = len(layers)
    match kind:
        case "slope":
            part = FRACTIONS.get(activation)
            steepest = f"the {part} slope of {activation}" if part else f"the slope of {activation} at rest"
            return f"{amount}: {steepest}, {count} times; even where it is steepest δ shrinks"
        case "saturation" if decades < -limits.FLAT.value * count:
            return f"{amount}: saturation of {activation}, z far from where it is steep"
        case "saturation":
            return f"{amount}: the spread of z over {activation}, away from its steepest point; it is not saturated"
        case "operating point":
            return f"{amount}: where z lies on {activation}, against z from N(0, 1)"
        case "weight scale":
            return f"{amount}: weights too {'small' if decades < 0 else 'large'} to keep ‖δ‖"
        case "weights and normalisation":
            return f"{amount}: weights together with the normalisation behind them"
        case "weight alignment":
            return f"{amount}: δ lies in directions that the weights {'shrink' if decades < 0 else 'stretch'}"
        case "slope alignment":
            return f"{amount}: the gradient is large where φ is {'flat' if decades < 0 else 'steep'}"
        case "residual sum":
            return f"{amount}: residual sums"
        case "inside":
            return f"{amount}: inside {', '.join(layer.name for layer in layers[:3])}"
        case "between":
            return f"{amount}: between layers (pooling, dropout, other readers of the same signal)"
        case _:
            return f"{amount}: not recorded apart"
