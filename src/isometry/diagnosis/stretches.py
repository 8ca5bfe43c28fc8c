"""Where along depth a profile changes: stretches of layers that lose, or gain, about the same each."""

from dataclasses import dataclass
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis import limits
from isometry.statistics.series import robust_spread

__all__ = ["Segment", "segments", "telling"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a sequence within which it is level but for noise."""

    first: int
    last: int
    """Places of its first and last value."""
    decades: float
    """Mean of its values."""


def segments(decades: Array, *, noise: float | None = None) -> tuple[Segment, ...]:
    """Cuts a sequence, such as the log gains of layers, into stretches within which it is level.

    The cuts are those of least Σ (value − mean of its stretch)² / noise² + penalty · cuts, found exactly by dynamic
    programming. Values that are not finite are passed over.

    Args:
        decades: shape (places,)
        noise: standard deviation of one value about its level; told from the differences of neighbours if not given.

    Sources: Yao 1988 (penalty); Jackson et al. 2005 (optimal partitioning).
    """
    places = np.flatnonzero(np.isfinite(decades))
    values = np.asarray(decades, dtype=np.float64)[places]
    count = len(values)
    if noise is None:
        noise = robust_spread(np.diff(values)) / sqrt(2) if count > 2 else 0.0
    noise = max(noise, limits.SAME.value)
    sums, squares = (np.concatenate([[0.0], np.cumsum(powers)]) for powers in (values, values**2))
    penalty = limits.CHANGE_POINT.value * log(max(count, 2)) * noise**2
    best, start = np.zeros(count + 1), np.zeros(count + 1, dtype=np.int64)
    for end in range(1, count + 1):
        begin = np.arange(end)
        misfit = squares[end] - squares[:end] - (sums[end] - sums[:end]) ** 2 / (end - begin)
        costs = best[:end] + np.maximum(misfit, 0.0) + penalty
        start[end] = int(np.argmin(costs))
        best[end] = costs[start[end]]
    found: list[Segment] = []
    end = count
    while end:
        begin_at = int(start[end])
        mean = float(values[begin_at:end].mean())
        found.append(Segment(int(places[begin_at]), int(places[end - 1]), mean))
        end = begin_at
    return tuple(reversed(found))


def telling(steps: Array) -> tuple[slice, ...]:
    """The stretches that make most of the sum of some steps, in their order; at least the one that adds most.

    Neighbouring segments whose means are close together are one stretch, so that a smooth drift is not cut up.

    Args:
        steps: what every layer loses or gains, all finite. [decades] shape (layers,)
    """
    parts = [slice(one.first, one.last + 1) for one in segments(steps)]
    while (closest := _closest(steps, parts)) is not None:
        parts[closest : closest + 2] = [slice(parts[closest].start, parts[closest + 1].stop)]
    sums = [float(steps[part].sum()) for part in parts]
    least = min(limits.LEADING.value * sum(sums), max(sums))
    return tuple(part for part, amount in zip(parts, sums, strict=True) if amount >= least)


def _closest(steps: Array, parts: list[slice]) -> int | None:
    """The first of the two neighbours that differ least; None where none are close together."""
    means = np.array([steps[part].mean() for part in parts])
    if len(means) == 1:
        return None
    apart = np.abs(np.diff(means)) / np.maximum(np.abs(means[:-1]), np.abs(means[1:]))
    closest = int(apart.argmin())
    return closest if apart[closest] <= limits.EVEN.value else None
