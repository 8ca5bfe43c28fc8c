"""What single changes would make of a profile of δ, by mean field, told from what a run recorded at one step.

The layers of the trunk become a chain of theory with their own φ, weights and norms. Beside every layer stand the
factors by which the measurement differs from mean field: they make the chain give what was measured, and stay where a
change does not touch them. Layers whose weights are drawn anew lose those that the old weights had. Stretches that are
no chain of dense or convolutional layers stay as they were measured. Where most of a profile is in such stretches or in
such factors nothing is foretold.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis import limits
from isometry.diagnosis.alternatives import Alternative, alternatives
from isometry.diagnosis.attribution import Gain, PartKind, attribute
from isometry.diagnosis.block import Block, block
from isometry.diagnosis.finding import AS_IT_IS, Forecast
from isometry.diagnosis.trunk import Trunk, column, delta_decades
from isometry.errors import IsometryError
from isometry.history.run import Run
from isometry.network.architecture import Layer
from isometry.network.edits import AddSkip, InsertNorm, NetworkEdit, Reinitialise, ReplaceActivation, ScaleWeights
from isometry.network.signals import Signal
from isometry.theory import ACTIVATIONS
from isometry.theory.chain import ChainLayer, chain_profile, fit_chain
from isometry.theory.width import width_noise

__all__ = ["forecasts"]

Array = NDArray[np.float64]

OUTSIDE = (PartKind.BETWEEN, PartKind.UNNAMED)
"""What lies between layers, where the layers themselves have no share in it."""
NEEDED = (Signal.DELTA, Signal.PRE_ACTIVATION, Signal.WEIGHT)


@dataclass(frozen=True, slots=True)
class _Chain:
    """A stretch of a trunk that mean field can follow, fitted to what was measured."""

    names: tuple[str, ...]
    layers: tuple[ChainLayer, ...]
    between: tuple[float, ...]
    """Part of ``backward`` that the layers themselves have no share in: pooling, dropout."""
    units: tuple[float, ...]
    """Of every layer; infinite for convolutions, which average their noise over positions."""
    first: float
    """Mean square of z of the first layer."""
    elsewhere: float
    """Decades of the rest of the trunk, as measured."""

    def decades(self, layers: Sequence[ChainLayer]) -> float:
        """log10 ‖δ‖ at the first place of the trunk over that at its last, with these layers in the chain."""
        first = self.first * (layers[0].sigma_w / self.layers[0].sigma_w) ** 2
        return float(chain_profile(layers, first=first).backward[0]) + self.elsewhere


def forecasts(run: Run, trunk: Trunk, row: int) -> tuple[Forecast, ...]:
    """Single changes with the decades that δ would change by along the whole trunk; the one that keeps it best first.

    The network as it is stands among them. What keeps δ to a tenth of a decade is called alike, and the gentler change,
    as ``alternatives`` has them, comes first.

    Empty where mean field does not explain what was measured, or the run lacks a signal that it takes.

    Args:
        run: of any training; most is foretold of the weights as they were drawn.
        trunk: places that were recorded.
        row: of the history.
    """
    if any((signal, "rms") not in run.history for signal in NEEDED):
        return ()
    changes = alternatives(run.architecture, sigma_b=0.0)
    found = _of_sums(run, trunk, row, changes) or _of_chain(run, trunk, row, changes)
    return tuple(sorted((one for one in found if np.isfinite(one.decades)), key=lambda one: round(abs(one.decades), 1)))


def _of_sums(run: Run, trunk: Trunk, row: int, changes: Sequence[Alternative]) -> list[Forecast]:
    """Lighter branches of a residual network: δ² becomes 1 + b² + 2bρ times as large at each sum, b their own gain.

    Not where a φ stands behind the sums: with other branches it would work at another place.
    """
    places = [place for place in trunk.layers if run.architecture.layers[place].kind == "sum"]
    if not places or (Signal.DELTA, "branch_gain") not in run.history:
        return []
    rows, sums = np.array([row]), {run.architecture.layers[place].name for place in places}
    between = [gain for gain in attribute(run, trunk, rows=rows) if {gain.lower, gain.upper} <= sums]
    if any(part.kind is PartKind.RESTING_SLOPE for gain in between for part in gain.parts):
        return []
    b, cosine = (
        column(run, Signal.DELTA, statistic, rows=rows, layers=tuple(places))[0]
        for statistic in ("branch_gain", "branch_cosine")
    )
    delta = delta_decades(run, trunk, rows=rows)[0]
    whole = float(delta[0] - delta[-1])

    def through(factor: float) -> float:
        return float(np.sum(0.5 * np.log10(1 + (factor * b) ** 2 + 2 * factor * b * cosine)))

    found = [
        Forecast(name, edits, whole - through(1.0) + through(edits[0].factor))
        for name, edits in changes
        if len(edits) == 1 and isinstance(edits[0], ScaleWeights)
    ]
    return [Forecast(AS_IT_IS, (), whole), *found] if found else []


def _of_chain(run: Run, trunk: Trunk, row: int, changes: Sequence[Alternative]) -> list[Forecast]:
    chain = _chain(run, trunk, row)
    if chain is None:
        return []
    found = [Forecast(AS_IT_IS, (), chain.decades(chain.layers))]
    for name, edits in changes:
        if any(isinstance(edit, Reinitialise) and edit.orthogonal for edit in edits):
            continue  # in mean field the same as independent weights
        try:
            found.append(Forecast(name, edits, chain.decades(_changed(chain, edits))))
        except IsometryError:  # a φ that is constant in front of a norm: no change to propose
            continue
    return found


def _chain(run: Run, trunk: Trunk, row: int) -> _Chain | None:
    rows = np.array([row])
    delta = delta_decades(run, trunk, rows=rows)[0]
    part = _longest_stretch(run, trunk, row, delta)
    if part is None:
        return None
    places = range(part.start, part.stop)
    names = tuple(run.architecture.layers[trunk.layers[place]].name for place in places)
    blocks = [block(run.architecture, run.architecture[name]) for name in names]
    drawn = [_as_drawn(run, one, row) for one in blocks]
    q = [_mean_square(run, Signal.PRE_ACTIVATION, one.layer, row) for one in blocks]
    try:
        fitted = fit_chain(drawn, q, delta[part])
    except IsometryError:
        return None
    between = _between(attribute(run, trunk, rows=rows), names)
    whole = float(delta[0] - delta[-1])
    inside = float(delta[part.start] - delta[part.stop - 1])
    unexplained = float(sum(0.5 * np.log10([layer.backward for layer in fitted[:-1]]))) - sum(between)
    # Where the rest of the trunk or what theory leaves out has most of it, a change of the chain would tell little.
    if max(abs(unexplained), abs(whole - inside)) > limits.FORETOLD.value * max(abs(whole), 1.0):
        return None
    units = [(one.layer.fan_out or np.inf) if one.layer.kind == "linear" else np.inf for one in blocks]
    return _Chain(names, fitted, tuple(between), tuple(units), q[0], whole - inside)


def _longest_stretch(run: Run, trunk: Trunk, row: int, delta: Array) -> slice | None:
    """The most places in a row that are layers which mean field follows."""
    best, start = slice(0, 0), 0
    for place in range(len(trunk) + 1):
        if place < len(trunk) and np.isfinite(delta[place]) and _is_followed(run, trunk.layers[place], row):
            continue
        if place - start > best.stop - best.start:
            best = slice(start, place)
        start = place + 1
    return best if best.stop - best.start >= limits.FEWEST_PLACES.value else None


def _is_followed(run: Run, position: int, row: int) -> bool:
    layer = run.architecture.layers[position]
    around = block(run.architecture, layer)
    return (
        layer.kind in {"linear", "conv"}
        and bool(layer.fan_in)
        and not (layer.recurrent or layer.gated)
        and (around.activation is None or around.activation in ACTIVATIONS)
        and (around.norm is None or bool(around.averages_over))
        and _mean_square(run, Signal.WEIGHT, layer, row) > 0
        and 0 < _mean_square(run, Signal.PRE_ACTIVATION, layer, row) < np.inf
    )


def _mean_square(run: Run, signal: Signal, layer: Layer, row: int) -> float:
    place = (run.architecture.index(layer.name),)
    return float(column(run, signal, "rms", rows=np.array([row]), layers=place)[0, 0]) ** 2


def _as_drawn(run: Run, around: Block, row: int) -> ChainLayer:
    """A layer in the words of theory, its weights as large as they are."""
    scale = 1.0
    if around.norm is not None and not around.after:
        scale = sqrt(_mean_square(run, Signal.PRE_ACTIVATION, around.norm, row)) or 1.0
    return ChainLayer(
        activation=around.activation or "identity",
        sigma_w=sqrt(_mean_square(run, Signal.WEIGHT, around.layer, row) * (around.layer.fan_in or 1)),
        norm=around.averages_over,
        after=around.after,
        scale=scale if np.isfinite(scale) else 1.0,
    )


def _between(gains: Sequence[Gain], names: Sequence[str]) -> list[float]:
    """Decades that pooling and the like take between each layer and the one above it. shape (layers − 1,)"""
    taken = {
        gain.lower: sum(part.decades for part in gain.parts if part.kind in OUTSIDE)
        for gain in gains
        if gain.lower in names
    }
    return [taken.get(name, 0.0) for name in names[:-1]]


def _changed(chain: _Chain, edits: Sequence[NetworkEdit]) -> tuple[ChainLayer, ...]:
    layers = list(chain.layers)
    for edit in edits:
        for place, name in enumerate(chain.names):
            if name in edit.layers:
                layers[place] = _edited(layers[place], edit)
                if isinstance(edit, Reinitialise) and place:
                    taken = chain.between[place - 1] - _narrowness(layers[place - 1], chain.units[place - 1])
                    layers[place - 1] = replace(layers[place - 1], backward=10.0 ** (2 * taken))
    return tuple(layers)


def _edited(layer: ChainLayer, edit: NetworkEdit) -> ChainLayer:
    match edit:
        case Reinitialise():  # what the old weights had beside their size is gone
            return replace(layer, sigma_w=edit.gain, forward=1.0)
        case ReplaceActivation():
            return replace(layer, activation=edit.activation)
        case InsertNorm():
            return replace(layer, norm=edit.norm, after=edit.after, scale=1.0)
        case AddSkip():
            return replace(layer, skip=True)
        case ScaleWeights():
            return replace(layer, sigma_w=edit.factor * layer.sigma_w)
        case _:  # nothing that changes how δ goes along depth
            return layer


def _narrowness(layer: ChainLayer, units: float) -> float:
    """Decades by which a typical network of so many units stays below the mean of ‖δ‖² at a layer."""
    return width_noise(layer.activation, 1.0) / units / (4 * log(10))
