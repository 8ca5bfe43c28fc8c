"""What one statistic does along depth: gains, slopes, and where it leaves the range of its number format.

Profiles are input first: index 0 is the layer nearest to the data.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isometry.errors import NotRecorded

__all__ = [
    "RANGES",
    "OutOfRange",
    "decades_lost_per_layer",
    "gain_decades",
    "leaves_range",
    "norm",
    "robust_decades_per_layer",
]

Floats = NDArray[np.float64]

RANGES = {
    "float64": (5e-324, float(np.finfo(np.float64).tiny), float(np.finfo(np.float64).max)),
    "float32": (2.0**-149, 2.0**-126, float(np.finfo(np.float32).max)),
    "bfloat16": (2.0**-133, 2.0**-126, (2 - 2.0**-7) * 2.0**127),
    "float16": (2.0**-24, 2.0**-14, 65504.0),
}
"""Smallest subnormal, smallest normal and largest number of each format.

Sources: IEEE 754-2019, table 3.5; bfloat16 is float32 cut to 7 bits of fraction.
"""


def norm(rms: ArrayLike, count: ArrayLike) -> Floats:
    """The 2-norm of a tensor from its rms and its number of elements: rms · √count."""
    return np.asarray(np.asarray(rms, dtype=np.float64) * np.sqrt(np.asarray(count, dtype=np.float64)))


def gain_decades(profile: ArrayLike) -> Floats:
    """What each layer does to a backward signal: log10 of the statistic at a layer over that at the next one.

    Args:
        profile: one positive value per layer, input first. shape (..., layers)

    Returns:
        Negative where the signal shrinks on its way to the input; NaN where either side is not a positive number.
        [decades], shape (..., layers - 1)
    """
    logarithms = _decades(profile)
    return np.asarray(logarithms[..., :-1] - logarithms[..., 1:])


def decades_lost_per_layer(profile: ArrayLike) -> Floats:
    """How fast a statistic falls from the output towards the input.

    Args:
        profile: one positive value per layer, input first; others are left out. shape (..., layers)

    Returns:
        Least-squares slope of log10 along depth; positive when the signal vanishes towards the input. NaN for a row
        with fewer than two positive values, beside rows that have them. [decades / layer], shape (...)

    Raises:
        NotRecorded: no row has two layers with a positive value.

    Sources: Glorot & Bengio 2010, figure 7, read as a slope.
    """
    logarithms = _measured(profile)
    known = np.isfinite(logarithms)
    count = known.sum(axis=-1, keepdims=True)
    depth = np.where(known, np.arange(logarithms.shape[-1], dtype=np.float64), 0.0)
    values = np.where(known, logarithms, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        depth = np.where(known, depth - depth.sum(axis=-1, keepdims=True) / count, 0.0)
        values = np.where(known, values - values.sum(axis=-1, keepdims=True) / count, 0.0)
        slope = (depth * values).sum(axis=-1) / np.square(depth).sum(axis=-1)
    return np.asarray(np.where(count[..., 0] >= 2, slope, np.nan))


def robust_decades_per_layer(profile: ArrayLike) -> Floats:
    """The same slope, unmoved by a minority of odd layers: the median of the slopes between all pairs of layers.

    Args:
        profile: one positive value per layer, input first; others are left out. shape (..., layers)

    Returns:
        As ``decades_lost_per_layer``; holds its ground while less than 29 % of the layers are odd.

    Raises:
        NotRecorded: no row has two layers with a positive value.

    Sources: Theil 1950; Sen 1968.
    """
    logarithms = _measured(profile)
    rows = logarithms.reshape(-1, logarithms.shape[-1])
    slopes = np.array([_median_slope(row) for row in rows])
    return slopes.reshape(logarithms.shape[:-1])


@dataclass(frozen=True, slots=True)
class OutOfRange:
    """A profile that ran out of its number format on the way to the input."""

    side: Literal["below", "above"]
    """Below: exact zeros towards the input. Above: infinities."""
    layer: int
    """Index of the last layer, seen from the output, whose signal the format still holds. Below it there is none."""
    decades_per_layer: float
    """Slope of the part that the format holds in full precision, as a gain: negative where the signal shrinks."""
    decades: float
    """What that slope comes to over the whole depth, one factor a layer, as if the format had no end."""
    explained: bool
    """Whether that slope does reach the end of the format about there; if not, something else put the zeros in."""


def leaves_range(profile: ArrayLike, dtype: str = "float32") -> OutOfRange | None:
    """Where a backward signal leaves the range of its number format, and what it would have come to.

    Args:
        profile: one rms per layer, input first; 0 where every element was 0, inf where none was finite, NaN where
            nothing was recorded. shape (layers,)
        dtype: format that the signal was computed in, one of ``RANGES``; another counts as float32.

    Returns:
        None where no unbroken stretch of zeros or infinities begins at the input, or fewer than two layers above it
        can be measured. A net of 152 layers, each halving the signal, answers −45.8 decades and names the layer.
    """
    values = np.asarray(profile, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    inside = known[(values[known] > 0) & np.isfinite(values[known])]
    if not len(inside) or inside[0] == known[0]:
        return None
    first = int(inside[0])
    lost = values[known[known < first]]
    if not (np.all(lost == 0) or np.all(np.isinf(lost))):
        return None
    smallest, normal, largest = RANGES.get(dtype, RANGES["float32"])
    exact = np.where((values >= normal) & np.isfinite(values), values, np.nan)
    if np.isfinite(exact).sum() < 2:
        return None
    per_layer = -float(decades_lost_per_layer(exact))
    logarithms = np.log10(exact)
    nearest = int(np.flatnonzero(np.isfinite(exact))[0])
    # What the slope says of the first lost layer; half the elements can be lost a few layers before the rms is.
    expected = logarithms[nearest] + per_layer * (nearest - (first - 1))
    below = bool(lost[0] == 0)
    limit = np.log10(smallest if below else largest)
    slack = 1.0 + 2 * abs(per_layer)
    return OutOfRange(
        side="below" if below else "above",
        layer=first,
        decades_per_layer=per_layer,
        decades=per_layer * len(values),
        explained=bool(expected <= limit + slack if below else expected >= limit - slack),
    )


def _decades(profile: ArrayLike) -> Floats:
    """log10 where that is a number, NaN elsewhere."""
    values = np.asarray(profile, dtype=np.float64)
    positive = (values > 0) & np.isfinite(values)
    return np.log10(values, out=np.full(values.shape, np.nan), where=positive)


def _measured(profile: ArrayLike) -> Floats:
    logarithms = _decades(profile)
    if not np.any(np.isfinite(logarithms).sum(axis=-1) >= 2):
        raise NotRecorded(
            f"a slope along depth needs a positive value at two layers or more, and no step has them in "
            f"{logarithms.shape[-1] if logarithms.ndim else 1} layers. Watch a deeper network, or more of its layers."
        )
    return logarithms


def _median_slope(logarithms: Floats) -> float:
    depth = np.flatnonzero(np.isfinite(logarithms))
    if len(depth) < 2:
        return float("nan")
    first, second = np.triu_indices(len(depth), k=1)
    rise = logarithms[depth[second]] - logarithms[depth[first]]
    return float(np.median(rise / (depth[second] - depth[first])))
