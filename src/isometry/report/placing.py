"""Where ticks, names and labels go, and how a long curve is thinned without losing its extremes.

Shared by matplotlib figures and the page's vector pictures, so that both show the same picture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from isometry.report.chart import Axis
from isometry.report.words import clean, number, power, shortened

__all__ = ["Names", "Tick", "layer_names", "spread", "text_width", "thinned", "ticks"]

Numbers = NDArray[np.float64]

SHORT, MIDDLING, LONG = 22, 28, 42
"""Signs of a name along an axis, beside one, and beside one with few names."""
FEW = 12
SIGN = 0.56
"""Mean width of a sign over the type size, for the sans-serif faces of the figures; wide enough for most names."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis, already on its scale, and what is written there."""

    at: float
    words: str
    remark: bool = False
    """It says what the value means, and stands for a value that somebody chose."""


def text_width(text: str, size: float) -> float:
    """Approximate width of a text. [unit of ``size``]"""
    wide = sum(1 for sign in text if ord(sign) > 0x2E80)
    return size * (SIGN * (len(text) - wide) + wide)


def ticks(axis: Axis, low: float, high: float, most: int = 8) -> list[Tick]:
    """Ticks of a linear or logarithmic axis between placed limits; a log axis says in words what its values mean."""
    if axis.scale == "log":
        return _log_ticks(axis, low, high, most)
    step = _round_step((high - low) / max(most - 1, 1), whole=axis.unit == "" and axis.words.startswith("step"))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [Tick(k * step, number(float(f"{k * step:.10g}"))) for k in range(first, last + 1)]


def _log_ticks(axis: Axis, low: float, high: float, most: int) -> list[Tick]:
    first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
    stride = next(
        (s for s in (1, 2, 3, 5, 10, 20, 50, 100) if (last - first) / s <= most - 1), max(1, (last - first) // most)
    )
    found = {float(k): Tick(float(k), power(k)) for k in range(first, last + 1) if k % stride == 0}
    if len(found) < 2:
        values = [m * 10.0**e for e in range(first - 1, last + 1) for m in (1, 2, 5)]
        found = {math.log10(v): Tick(math.log10(v), number(v)) for v in values if low <= math.log10(v) <= high}
    for value, words in axis.remarks:
        at = math.log10(value)
        if low <= at <= high:
            exponent = round(at)
            said = power(exponent) if abs(at - exponent) < 1e-6 else number(value)
            near = [key for key in found if abs(key - at) < 0.045 * (high - low)]
            for key in near:
                del found[key]
            found[at] = Tick(at, f"{said} · {words}", remark=True)
    return [found[key] for key in sorted(found)]


def _round_step(raw: float, *, whole: bool) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    if raw <= 0 or not math.isfinite(raw):
        return 1.0
    base = 10.0 ** math.floor(math.log10(raw))
    step = next(m * base for m in (1, 2, 5, 10) if m * base >= raw * 0.999)
    return max(1.0, step) if whole else step


@dataclass(frozen=True, slots=True)
class Names:
    """Layer names along an axis: which, and whether they have to lean."""

    ticks: tuple[Tick, ...]
    leaning: bool = False
    thinned: bool = False


def layer_names(names: Sequence[str], *, length: float, size: float, upright: bool = False) -> Names:
    """Names that fit along an axis without touching: all, leaning, or every so many with the first and the last.

    Args:
        names: layer names, input first
        length: extent of the axis, in the unit of ``size``
        size: type size
        upright: the axis runs top to bottom, so that each name needs only a line's height
    """
    count = len(names)
    if not count:
        return Names(())
    room = length / count
    longest = LONG if upright and count <= FEW else MIDDLING if upright else SHORT
    said = [shortened(clean(name), longest) for name in names]
    if upright:
        return _every(said, max(1, math.ceil(size * 1.25 / room)))
    widest = max(text_width(name, size) for name in said) + size
    if widest <= room:
        return _every(said, 1)
    if size * 1.5 <= room and count <= 40:
        return Names(_every(said, 1).ticks, leaning=True)
    return _every(said, max(1, math.ceil(widest / room)))


def _every(names: list[str], stride: int) -> Names:
    """Every so many names, the first and the last always; the one before the last makes way for it."""
    kept = list(range(0, len(names), stride))
    last = len(names) - 1
    if kept[-1] != last:
        if last - kept[-1] < stride * 0.9 and len(kept) > 1:
            kept.pop()
        kept.append(last)
    return Names(tuple(Tick(float(k), names[k]) for k in kept), thinned=stride > 1)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions as near as possible to the wanted ones, at least a gap apart, within limits; any order in, same out."""
    order = sorted(range(len(wanted)), key=lambda k: wanted[k])
    if not order:
        return []
    gap = min(gap, (high - low) / max(len(order) - 1, 1)) if len(order) > 1 else gap
    groups: list[tuple[float, int]] = []  # (centre, members): touching labels move as one
    for k in order:
        groups.append((min(max(wanted[k], low), high), 1))
        while len(groups) > 1 and groups[-1][0] - groups[-2][0] < gap * (groups[-1][1] + groups[-2][1]) / 2 - 1e-12:
            (b, m), (a, n) = groups.pop(), groups.pop()
            centre, reach = (a * n + b * m) / (n + m), gap * (n + m - 1) / 2
            groups.append((min(max(centre, low + reach), high - reach), n + m))
    placed = [centre + gap * (i - (members - 1) / 2) for centre, members in groups for i in range(members)]
    result = [0.0] * len(order)
    for k, at in zip(order, placed, strict=True):
        result[k] = at
    return result


def thinned(x: Numbers, y: Numbers, most: int = 600) -> tuple[Numbers, Numbers]:
    """A curve of at most about ``most`` points that keeps the least and the greatest value of every stretch.

    Points that are not finite are left out: who calls shows them as marks.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    if len(x) <= most:
        return x, y
    bounds = np.linspace(0, len(x), max(most // 2, 1) + 1).astype(int)
    kept = {0, len(x) - 1}
    for first, last in pairwise(bounds):
        if last > first:
            kept.update((first + int(y[first:last].argmin()), first + int(y[first:last].argmax())))
    chosen = np.array(sorted(kept))
    return x[chosen], y[chosen]
