"""The way of the signal through a network, and the size of δ along it.

A profile is a line of numbers, one for each place on a chain of layers. A network is a graph, so the chain has to be
found first: the longest path from input to output over layers that multiply by a matrix and over residual sums, with
residual branches left out. Between two places on one chain log10 of ‖δ‖ telescopes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isometry.history.run import Run
from isometry.network.architecture import Architecture
from isometry.network.signals import Signal

__all__ = ["Trunk", "column", "delta_decades", "norm_decades", "pooling_decades", "sampled_rows", "trunks"]

Array = NDArray[np.float64]

DENSE_ROWS = 64
SPREAD_ROWS = 448


@dataclass(frozen=True, slots=True)
class Trunk:
    """One chain of layers, input first."""

    layers: tuple[int, ...]
    """Layers that multiply or add, as columns of the history."""
    places: tuple[int, ...]
    """Where δ is read for each of them: at the norm layer that follows it, else at the layer itself. Behind a norm the
    scale of the weights cancels, so a step from place to place has no part that the network's function ignores."""
    path: tuple[int, ...]
    """Every layer on the way, norms and scales included."""

    def __len__(self) -> int:
        return len(self.layers)


def trunks(architecture: Architecture) -> tuple[Trunk, ...]:
    """The chains along which a profile can be read, longest first; side towers end where they join a longer one."""
    sources = _sources(architecture)
    free = set(range(len(architecture)))
    found: list[Trunk] = []
    while True:
        path = _longest(architecture, sources, free)
        trunk = _trunk(architecture, path)
        if len([layer for layer in trunk.layers if layer in free]) < 2:
            return tuple(found)
        found.append(trunk)
        free -= set(path)


def _sources(architecture: Architecture) -> list[list[int]]:
    """For each layer the layers it reads from; the layer before it where no graph was traced."""
    traced = any(layer.inputs for layer in architecture)
    sources: list[list[int]] = []
    for position, layer in enumerate(architecture):
        known = [architecture.index(name) for name in layer.inputs if name in architecture]
        earlier = [source for source in known if source < position]
        sources.append(earlier if traced else list(range(position))[-1:])
    return sources


def _longest(architecture: Architecture, sources: list[list[int]], free: set[int]) -> tuple[int, ...]:
    """The path with most places among the free layers; it may end in one layer of a path found before."""
    length = [0] * len(architecture)
    before = [-1] * len(architecture)
    for position, layer in enumerate(architecture):
        for source in sources[position]:
            if source in free and length[source] > length[position]:
                length[position], before[position] = length[source], source
        length[position] += int(position in free and _is_place(architecture, position) and layer.calls > 0)
    if not length:
        return ()
    position = max(range(len(length)), key=lambda end: (length[end], end in free, end))
    path = [position]
    while before[position] >= 0:
        position = before[position]
        path.append(position)
    return tuple(reversed(path))


def _is_place(architecture: Architecture, position: int) -> bool:
    layer = architecture.layers[position]
    return layer.branch is None and (layer.weighted or layer.kind == "sum")


def _trunk(architecture: Architecture, path: tuple[int, ...]) -> Trunk:
    layers = tuple(position for position in path if _is_place(architecture, position))
    return Trunk(layers, tuple(_place(architecture, position, path) for position in layers), path)


def _place(architecture: Architecture, position: int, path: tuple[int, ...]) -> int:
    norm = architecture.layers[position].norm
    if norm is None or norm not in architecture or architecture[norm].branch is not None:
        return position
    return architecture.index(norm) if architecture.index(norm) in path else position


def sampled_rows(run: Run) -> NDArray[np.int64]:
    """Recorded rows that are enough to judge by: all of the first ones, then an even choice of the rest."""
    recorded = len(run.history.steps)
    rest = np.linspace(DENSE_ROWS, recorded - 1, SPREAD_ROWS) if recorded > DENSE_ROWS else np.empty(0)
    return np.unique(np.concatenate([np.arange(min(recorded, DENSE_ROWS)), rest.astype(np.int64)]))


def column(
    run: Run, signal: Signal, statistic: str, *, rows: NDArray[np.int64], layers: tuple[int, ...] | None = None
) -> Array:
    """Some rows and layers of one column, in double precision. shape (rows, layers)"""
    chosen = run.history.rows((signal, statistic), rows)
    return np.asarray(chosen if layers is None else chosen[:, list(layers)], dtype=np.float64)


def norm_decades(run: Run, signal: Signal, *, rows: NDArray[np.int64], layers: tuple[int, ...] | None = None) -> Array:
    """log10 of a signal's ℓ2 norm: −inf where it is exactly zero, NaN where it was not recorded or is not finite."""
    rms = column(run, signal, "rms", rows=rows, layers=layers)
    count = column(run, signal, "count", rows=rows, layers=layers)
    with np.errstate(divide="ignore", invalid="ignore"):
        decades = np.log10(rms) + 0.5 * np.log10(count)
    broken = count == 0
    for statistic in ("nan", "inf"):
        if (signal, statistic) in run.history:
            broken |= column(run, signal, statistic, rows=rows, layers=layers) > 0
    decades[broken] = np.nan
    return decades


def delta_decades(run: Run, trunk: Trunk, *, rows: NDArray[np.int64]) -> Array:
    """log10 ‖δ‖ at each place of a trunk. shape (rows, places)"""
    return norm_decades(run, Signal.DELTA, rows=rows, layers=trunk.places)


def pooling_decades(run: Run, trunk: Trunk, *, rows: NDArray[np.int64]) -> Array:
    """What averaging over positions took from ‖δ‖ between each place and the next, at most ½ log10 of the positions.

    An average over S positions divides ‖δ‖ by √S and makes the S parts equal, so that the weight gradient, which adds
    them up, loses nothing. Such decades are no loss of signal. shape (rows, places − 1), ≥ 0
    """
    nothing = np.zeros((len(rows), len(trunk) - 1))
    if any((signal, "rms") not in run.history for signal in (Signal.ACTIVATION_GRADIENT, Signal.INPUT_GRADIENT)):
        return nothing
    lower, upper = trunk.places[:-1], trunk.layers[1:]
    epsilon = norm_decades(run, Signal.ACTIVATION_GRADIENT, rows=rows, layers=lower)
    below = np.where(np.isnan(epsilon), norm_decades(run, Signal.DELTA, rows=rows, layers=lower), epsilon)
    above = norm_decades(run, Signal.INPUT_GRADIENT, rows=rows, layers=upper)
    with np.errstate(divide="ignore", invalid="ignore"):
        positions = 0.5 * np.log10(
            column(run, Signal.DELTA, "count", rows=rows, layers=lower)
            / column(run, Signal.INPUT_GRADIENT, "count", rows=rows, layers=upper)
        )
        taken = np.clip(above - below, 0.0, np.maximum(positions, 0.0))
    return np.where(np.isfinite(taken), taken, 0.0)
