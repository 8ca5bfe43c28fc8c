"""Which layer of one network is unlike the others of its kind, told from a single recorded step.

A layer is held against its neighbours: the layers of the same kind and φ in the same place of the network. Compared is
what the layer itself does, given what it received, so that a fault is not told of the layers behind it as well:

    weight scale       σ_w = rms W · √fan_in
    weight alignment   ‖Wᵀδ‖ / (‖δ‖ σ_w), which is 1 where δ is isotropic and not where W has low rank
    spread of z        std z / (σ_w rms x), the same forwards; biases that differ from unit to unit add to it
    weight tail        max |W| / rms W, which the outer product of two vectors has far greater than a draw
    shift of z         mean z over std z, what the mean of the weights makes of the mean of x taken out
    slope              rms φ′(z), over that of centred normal z of this size

Each has a known scatter between the layers of one healthy network of n units: relative variance 2 / n for the squared
norm of a random matrix times a vector, (κ − 1) / n for the mean of φ′². A deviation counts in units of that scatter, or
of the one that the layers show themselves where that is greater, as after training. Layers of a network may drift
smoothly along depth; so a layer is out of line only if it is so against the median of its group as well as against the
layers before and behind it.

The weights between δ_l and δ_{l+1} belong to layer l + 1. Weight gradients are not looked at: a fault anywhere moves
those of all layers.

Sources: Hanin & Nica 2018 for c.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import log, log10
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis import limits, words
from isometry.diagnosis.attribution import normal_slope
from isometry.diagnosis.finding import Cause
from isometry.diagnosis.trunk import column, norm_decades
from isometry.history.run import Run
from isometry.network.architecture import Architecture, Layer
from isometry.network.nonlinearity import SLOPES
from isometry.network.signals import Signal
from isometry.statistics.series import robust_spread
from isometry.theory import width_noise

__all__ = ["Outlier", "causes_among", "outliers", "suspects"]

Array = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Outlier:
    """One layer in which one part is unlike that of the other layers of its kind."""

    layer: str
    part: str
    """``weight scale``, ``weight alignment``, ``weight tail``, ``spread of z``, ``shift of z`` or ``slope``."""
    decades: float
    """How far the part is off; of a shift of z what it does to rms φ′. −inf where the part is exactly zero."""
    noise: float
    """Standard deviation of that part between the layers of one healthy network. [decades]"""
    z: float
    """How far it is off, in standard deviations."""
    words: str
    """The sentence for the reader."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One number for each layer and how much it scatters by chance alone."""

    name: str
    values: Array
    """By one or several conventions; NaN where a layer has no such number. [decades] shape (conventions, layers)"""
    scatter: Array
    """[decades] shape (layers,)"""
    told: Callable[[int, float], float] | None = None
    """Place and deviation to decades, where the deviation is none in decades itself."""


def outliers(run: Run, step: int = 0) -> tuple[Outlier, ...]:
    """The layers that are out of line with their kind by more than chance, and so far that it matters; worst first.

    By more than chance: of healthy networks one in twenty would show any part of any layer that far. A layer stands
    here once for each of its parts. Groups of fewer than five like layers are not judged.

    Args:
        step: place in ``run.history.steps``.
    """
    looked_at = suspects(run, step)
    chance = limits.FALSE_BLAME.value / max(len(looked_at), 1)
    least = max(limits.ABOVE_NOISE.value, NormalDist().inv_cdf(1 - chance / 2))
    return tuple(one for one in looked_at if one.z > least and abs(one.decades) >= limits.BLAME_MATTERS.value)


def causes_among(run: Run, layers: Collection[str], step: int) -> tuple[Cause, ...]:
    """The worst outlier of each of some layers, as causes of what these layers do together.

    Args:
        layers: names; of the others nothing is said.
        step: place in ``run.history.steps``.
    """
    found = {one.layer: one for one in reversed(outliers(run, step)) if one.layer in layers}
    worst = sorted(found.values(), key=lambda one: -one.z)[: int(limits.BLAMED_AT_MOST.value)]
    return tuple(Cause(f"{one.part} of {one.layer}", None, one.words, (one.layer,)) for one in worst)


def suspects(run: Run, step: int = 0) -> tuple[Outlier, ...]:
    """Every part of every layer that was held against others, the farthest out of line first; most are in line."""
    groups = _groups(run.architecture)
    with np.errstate(all="ignore"):  # a layer of zeros is at −∞; what is broken becomes NaN and is passed over
        found = [
            _outlier(run.architecture.layers[place], part, place, off=off, noise=noise)
            for part in _parts(_Recorded(run, step))
            for group in groups
            for place, off, noise in _held_against_others(part, group)
        ]
    return tuple(sorted(found, key=lambda one: -one.z))


class _Recorded:
    """The columns of one recorded step; NaN where the run does not have one."""

    def __init__(self, run: Run, step: int) -> None:
        self.architecture = run.architecture
        self._run = run
        self._rows = np.arange(len(run.history.steps))[[step]]

    def __call__(self, signal: Signal, statistic: str) -> Array:
        """Shape (layers,)"""
        if (signal, statistic) not in self._run.history:
            return np.full(len(self.architecture), np.nan)
        values: Array = column(self._run, signal, statistic, rows=self._rows)[0]
        return values

    def norm(self, signal: Signal) -> Array:
        """log10 of the ℓ2 norm. shape (layers,)"""
        if (signal, "rms") not in self._run.history or (signal, "count") not in self._run.history:
            return np.full(len(self.architecture), np.nan)
        decades: Array = norm_decades(self._run, signal, rows=self._rows)[0]
        return decades


# ------------------------------------------------------------------------------------------------- what is compared


def _parts(recorded: _Recorded) -> tuple[_Part, ...]:
    layers = recorded.architecture.layers
    fan_in, fan_out = (np.array([_fan(layer, side) for layer in layers]) for side in ("fan_in", "fan_out"))
    weights, rms = recorded(Signal.WEIGHT, "count"), recorded(Signal.WEIGHT, "rms")
    inputs, units = weights / fan_out, weights / fan_in
    scale = np.log10(rms * np.sqrt(fan_in))
    # A draw may keep the scale for either side of a layer or for both; it is odd only if no convention explains it.
    scales = np.log10(rms * np.sqrt([fan_in, fan_out, fan_in + fan_out]))
    tail = np.log10(recorded(Signal.WEIGHT, "abs_max") / rms)
    alignment = recorded.norm(Signal.INPUT_GRADIENT) - recorded.norm(Signal.DELTA) - scale
    # Without biases, or with biases of the size of one weight, as PyTorch draws them.
    made = rms * np.sqrt(fan_in * _read(recorded, "rms") ** 2 + [[0.0], [1.0]])
    spread = np.log10(recorded(Signal.PRE_ACTIVATION, "std") / made)
    unnormed = np.array([1.0 if layer.norm is None else np.nan for layer in layers])
    alone = np.array([1.0 if _reads_alone(recorded.architecture, layer) else np.nan for layer in layers])
    return (
        _Part("weight scale", scales * unnormed, _scatter(weights)),
        _Part("weight tail", _finite(tail[None]), _scatter_of_greatest(weights)),
        _Part("weight alignment", _finite(alignment[None] * alone), _scatter(inputs)),
        _Part("spread of z", _finite(spread), _scatter(units, LINEAR * _unison(recorded))),
        _shift(recorded, fan_in, units),
        _slope(recorded, units),
    )


LINEAR = width_noise("identity", 1.0)
"""c of a random matrix times a vector: 2. What a nonlinearity adds to it is (κ − 1), a third of what c has beyond 2."""
TO_DECADES = 1 / (2 * log(10))
"""From ln of a mean square to log10 of a root mean square."""


def _scatter(units: Array, c: Array | float = LINEAR) -> Array:
    """Standard deviation of log10 rms of something whose mean square has the relative variance c / n. [decades]"""
    return np.asarray(np.sqrt(c / units) * TO_DECADES)


def _unison(recorded: _Recorded) -> Array:
    """How far the samples' z move together: 1 where all are alike, less where they differ and errors average out.

    With a part ρ of the variance of z common to all samples, Tr C² / (Tr C)² of their correlations is between
    ρ² + (1 − ρ)² / (samples − 1), for differences in all directions, and ρ² + (1 − ρ)² for those in one; taken is a
    middle, two directions. shape (layers,)
    """
    apart = (recorded(Signal.PRE_ACTIVATION, "spread") / recorded(Signal.PRE_ACTIVATION, "std")) ** 2
    together = np.clip((1 - apart) ** 2 + apart**2 / 2, 0.0, 1.0)
    return np.where(np.isfinite(together), together, 1.0)


def _scatter_of_greatest(count: Array) -> Array:
    """The same of the greatest of so many normal numbers, whose law is Gumbel's, with an exponential tail. [decades]

    The greatest of n is about √(2 ln 2n) and scatters by 1.28 over that.
    """
    return np.asarray(GUMBEL / (2 * np.log(2 * count)) / log(10))


GUMBEL = 2.3
"""1.28, Gumbel's standard deviation, times what makes four standard deviations as rare as they are of a normal law."""


def _finite(values: Array) -> Array:
    """Infinities, which come of a signal that ended elsewhere, made NaN."""
    return np.where(np.isfinite(values), values, np.nan)


def _fan(layer: Layer, side: str) -> float:
    fan = getattr(layer, side)
    matrix = layer.kind in ("linear", "conv") and not layer.recurrent and layer.calls > 0
    return float(fan) if matrix and fan else float("nan")


def _reads_alone(architecture: Architecture, layer: Layer) -> bool:
    """Whether no other layer reads what this one does, so that the gradient there is its own Wᵀδ."""
    return all(set(layer.inputs).isdisjoint(other.inputs) for other in architecture if other is not layer)


def _read(recorded: _Recorded, statistic: str) -> Array:
    """A moment of x, what each layer reads; NaN where anything that changes it may lie between. shape (layers,)"""
    layers, names = recorded.architecture.layers, recorded.architecture
    given, written = recorded(Signal.INPUT, statistic), recorded(Signal.ACTIVATION, statistic)
    size, read_size = recorded(Signal.ACTIVATION, "count"), recorded(Signal.INPUT_GRADIENT, "count")
    result = given.copy()
    for place, layer in enumerate(layers):
        sources = [names.index(name) for name in layer.inputs if name in names]
        if len(sources) == len(layer.inputs) == 1 and size[sources[0]] == read_size[place]:
            result[place] = written[sources[0]]
    return result


def _shift(recorded: _Recorded, fan_in: Array, units: Array) -> _Part:
    """Mean of z in standard deviations, told as what it does to rms φ′; what the mean weight makes of x is taken out.

    Its scatter is what the units differ by on the mean of the batch, over √n, the known part taken out as well.
    """
    layers = recorded.architecture.layers
    mean, std = recorded(Signal.PRE_ACTIVATION, "mean"), recorded(Signal.PRE_ACTIVATION, "std")
    std = np.where(std < HUGE, std, np.nan)
    within, read = np.nan_to_num(recorded(Signal.PRE_ACTIVATION, "spread")), np.nan_to_num(_read(recorded, "mean"))
    has_slope = np.array([1.0 if layer.activation and layer.norm is None else np.nan for layer in layers])
    shift = (mean - fan_in * recorded(Signal.WEIGHT, "mean") * read) / std * has_slope
    known = fan_in * (recorded(Signal.WEIGHT, "rms") * read / std) ** 2
    common = np.maximum(1 - (within / std) ** 2 - known, LEAST_COMMON)
    scatter = np.sqrt(common / units) * _told_by_few(units)

    def told(place: int, off: float) -> float:
        activation, at, width = _formula(layers[place].activation), float(mean[place]), float(std[place])
        return normal_slope(activation, at, width) - normal_slope(activation, at - off * width, width)

    return _Part("shift of z", _finite(shift[None]), scatter, told)


LEAST_COMMON = 0.2
"""Share of the variance of z that is taken to be common to all samples even where less was measured."""


HUGE = 1e150
"""Signals from here on have no square in double precision."""


def _slope(recorded: _Recorded, units: Array) -> _Part:
    """Rms φ′ over that of z from N(0, std² z), so that a size of z that was inherited counts as no fault."""
    layers = recorded.architecture.layers
    std = recorded(Signal.PRE_ACTIVATION, "std")
    units = np.where(np.isfinite(units), units, recorded(Signal.ACTIVATION, "units"))
    has_slope = [layer.activation is not None and 0 < z < HUGE for layer, z in zip(layers, std, strict=True)]
    usual, uneven = np.full(len(layers), np.nan), np.full(len(layers), np.nan)
    for place in np.flatnonzero(has_slope):
        activation = _formula(layers[place].activation)
        usual[place] = normal_slope(activation, 0.0, float(std[place]))
        uneven[place] = _unevenness(activation, round(2 * log10(std[place]), 1))
    values = np.log10(recorded(Signal.SLOPE, "rms"))
    return _Part("slope", (values - _finite(usual))[None], _scatter(units, uneven))


def _formula(activation: str | None) -> str:
    """The activation; ReLU stands for those without a formula, whose layers are compared among themselves anyway."""
    return activation if activation in SLOPES else "relu"


@lru_cache(maxsize=1024)
def _unevenness(activation: str, decades: float) -> float:
    """κ − 1 at q of so many decades."""
    return (width_noise(activation, 10**decades) - LINEAR) / 3


# ------------------------------------------------------------------------------------------------- with whom, and how


def _groups(architecture: Architecture) -> list[Places]:
    """Places of the layers that are alike in kind, φ and surroundings, input first; groups too small to judge left out.

    Names are not looked at: a network's layers may have any.
    """
    readers: dict[str, set[str]] = {}
    for layer in architecture:
        for name in layer.inputs:
            readers.setdefault(name, set()).add(_role(layer))
    together: dict[tuple[object, ...], list[int]] = {}
    for place, layer in enumerate(architecture):
        if layer.calls > 0:
            sources = {_role(architecture[name]) for name in layer.inputs if name in architecture} or {"layer"}
            itself = (layer.kind, layer.activation, layer.norm is None, layer.branch is None, layer.output)
            around = (frozenset(sources), frozenset(readers.get(layer.name, ())))
            together.setdefault((*itself, *around), []).append(place)
    return [np.array(places) for places in together.values() if len(places) >= limits.FEWEST_ALIKE.value]


def _role(layer: Layer) -> str:
    """What a layer is to its neighbours."""
    return "layer" if layer.kind in ("linear", "conv") else layer.kind


def _held_against_others(part: _Part, group: Places) -> Iterator[tuple[int, float, float]]:
    """For each layer of a group that has the part: place, how far it is off, and the scatter of that."""
    values = part.values[:, group]
    has = ~np.isnan(values).any(axis=0) & np.isfinite(part.scatter[group])
    if has.sum() < limits.FEWEST_ALIKE.value or np.isinf(values[:, has]).mean() > 1 / 2:
        return
    places, values = group[has], values[:, has]
    by_law = np.stack([_off(law) for law in values])
    off = np.take_along_axis(by_law, np.abs(by_law).argmin(axis=0)[None], axis=0)[0]
    own = robust_spread(off[np.isfinite(off)]) * _told_by_few(np.array(float(len(off))))
    noise = np.maximum(part.scatter[places], own)
    yield from zip(places.tolist(), off.tolist(), noise.tolist(), strict=True)


def _told_by_few(count: Array) -> Array:
    """What a scatter is multiplied by, because few values tell it badly: Student's quantiles over normal ones."""
    return np.asarray(1 + limits.FEW_ALIKE.value / count)


def _off(values: Array) -> Array:
    """How far each value is from the others: from their median or from its neighbours' trend, whichever is less."""
    whole = values - np.median(values)
    near = values - _expected(values)
    near = np.where(np.isfinite(near), near, whole)
    return np.where(np.abs(near) < np.abs(whole), near, whole)


def _expected(values: Array) -> Array:
    """What the layers around would have each value be: median over mirrored pairs, at the ends a line through them."""
    pairs = np.full((NEIGHBOURS, len(values)), np.nan)
    for k in range(1, min(NEIGHBOURS, (len(values) - 1) // 2) + 1):
        pairs[k - 1, k:-k] = (values[: -2 * k] + values[2 * k :]) / 2
    pairs[:, 0], pairs[:, -1] = _before(values[1:]), _before(values[-2::-1])
    pairs[0, np.isnan(pairs).all(axis=0)] = np.inf
    return np.asarray(np.nanmedian(pairs, axis=0))


def _before(values: Array) -> float:
    """What would stand before some values: by the line through the first of them, Theil's and Sen's."""
    first_values = values[: 2 * NEIGHBOURS - 1]
    first, second = np.triu_indices(len(first_values), k=1)
    slope = np.median((first_values[second] - first_values[first]) / (second - first))
    return float(np.median(first_values - slope * np.arange(1, len(first_values) + 1)))


NEIGHBOURS = 3
"""Layers on either side that a layer is held against; of three pairs one may hold another fault."""


def _outlier(layer: Layer, part: _Part, place: int, *, off: float, noise: float) -> Outlier:
    z = abs(off) / noise
    decades = part.told(place, off) if part.told else off
    return Outlier(
        layer=layer.name,
        part=part.name,
        decades=decades,
        noise=abs(decades) / z if part.told and z else noise,
        z=z,
        words=_words(layer, part.name, off, decades, z),
    )


def _words(layer: Layer, part: str, off: float, decades: float, z: float) -> str:
    amount = words.decades(abs(decades)) + " decades"
    less, smaller = ("less", "smaller") if off < 0 else ("more", "larger")
    scatter = f"({z:.0f} times the scatter)"
    match part:
        case "weight scale" if np.isinf(off):
            told = "its weights are all zero, unlike those of its neighbours"
        case "slope" if np.isinf(off):
            told = f"{layer.activation} is flat for every sample, unlike in its neighbours"
        case "weight scale":
            told = f"its weights are {amount} {smaller} than those of its neighbours {scatter}"
        case "weight tail":
            told = f"its greatest weight is {amount} {less} above the rest than in its neighbours {scatter}"
        case "weight alignment":
            told = f"its weights pass on {amount} {less} of δ than those of its neighbours, scale aside {scatter}"
        case "spread of z":
            told = f"its z spread {amount} {less} than its weights explain, held against its neighbours {scatter}"
        case "shift of z":
            side = "below" if off < 0 else "above"
            takes = f"takes {amount} of" if decades < 0 else f"adds {amount} to"
            told = f"its z lie {abs(off):.2g} standard deviations {side} those of its neighbours {scatter}"
            told += f", which {takes} the slope"
        case _:
            told = f"the slope of {layer.activation} is {amount} {smaller} than its neighbours' at such z {scatter}"
    return f"{words.called(layer.name)}: {told}"
