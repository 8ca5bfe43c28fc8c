"""What follows from a curve of one number a step: level, trend, roughness and jumps, none of them moved by outliers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Course", "Jump", "course", "jumps", "local_level", "robust_spread"]

Values = NDArray[np.float64]

BLOCKS = 20
"""Parts that a curve is cut into before its trend is told; their medians are nearly independent of each other."""
NORMAL = 1.4826
"""Standard deviation over median absolute deviation of a normal law."""

NEAR = 3.0
"""Standard deviations within which a curve counts as back at its level."""


@dataclass(frozen=True, slots=True)
class Course:
    """How a curve went, from its finite values."""

    start: float
    """Median of the first values."""
    middle: float
    """Median of the tenth around the middle."""
    end: float
    """Median of the last tenth."""
    lowest: float
    """Lowest median of a block."""
    noise: float
    """Scatter of single values about the local level. [unit of the values]"""
    trend: float
    """Theil-Sen slope of the block medians times their number: change over the whole run. [unit of the values]"""
    late_trend: float
    """The same of the second half alone: change over that half."""
    certainty: float
    """Kendall's score of the trend, negative where the curve falls. [standard deviations]"""
    late_certainty: float
    """Kendall's score of the second half."""
    steps: int
    """Values that it was read from."""

    @property
    def fall(self) -> float:
        """How far the curve came down. [unit of the values]"""
        return self.start - self.end

    @property
    def late_share(self) -> float:
        """Part of the fall that came in the second half: 0.5 for a straight line, less for one that settles."""
        return (self.middle - self.end) / self.fall if self.fall > 0 else 0.0


def course(values: Values) -> Course | None:
    """How a curve went; None where it has fewer than two finite values a block.

    Medians of blocks are compared, so neither single outliers nor a periodic last batch of an epoch move it.

    Sources: Theil 1950, Sen 1968 (slope); Mann 1945, Kendall 1938 (score, variance n(n-1)(2n+5)/18).
    """
    finite = values[np.isfinite(values)]
    count = len(finite)
    if count < 2 * BLOCKS:
        return None
    medians = _block_medians(finite, BLOCKS)
    late = _block_medians(finite[count // 2 :], BLOCKS // 2)
    return Course(
        start=float(np.median(finite[: max(3, min(count // BLOCKS, 10))])),
        middle=float(np.median(finite[int(0.45 * count) : int(0.55 * count)])),
        end=float(np.median(finite[-(count // 10) :])),
        lowest=float(medians.min()),
        noise=robust_spread(finite - local_level(finite, max(3, count // BLOCKS))),
        trend=_slope(medians) * len(medians),
        late_trend=_slope(late) * len(late),
        certainty=_score(medians),
        late_certainty=_score(late),
        steps=count,
    )


def _block_medians(values: Values, blocks: int) -> Values:
    return np.array([np.median(part) for part in np.array_split(values, blocks)])


def _differences(values: Values) -> tuple[Values, Values]:
    """All later-minus-earlier differences and how far apart they are."""
    earlier, later = np.triu_indices(len(values), 1)
    return values[later] - values[earlier], (later - earlier).astype(np.float64)


def _slope(values: Values) -> float:
    rises, spans = _differences(values)
    return float(np.median(rises / spans))


def _score(values: Values) -> float:
    rises, _ = _differences(values)
    n = len(values)
    return float(np.sign(rises).sum() / np.sqrt(n * (n - 1) * (2 * n + 5) / 18))


def robust_spread(values: Values) -> float:
    """Standard deviation as the median absolute deviation tells it; NaN for no values."""
    if not len(values):
        return float("nan")
    return float(NORMAL * np.median(np.abs(values - np.median(values))))


def local_level(values: Values, width: int) -> Values:
    """Running median over ``width`` values around each one; shorter at both ends."""
    half = max(width // 2, 1)
    padded = np.pad(values, half, mode="reflect" if len(values) > half else "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    return np.asarray(np.median(windows, axis=-1), np.float64)


@dataclass(frozen=True, slots=True)
class Jump:
    """A sudden rise of a curve above what it had been."""

    at: int
    """Index of the first value above."""
    peak: float
    """Highest value of the excursion. [unit of the values]"""
    before: float
    """Local level before it. [unit of the values]"""
    score: float
    """Rise over the ordinary scatter before it. [standard deviations]"""
    record: float
    """Rise over the largest one in the values before it."""
    length: int
    """Values until the curve is back near its level; up to the last value where it never is."""
    back: bool
    """Whether it came back before the curve ended."""

    @property
    def rise(self) -> float:
        return self.peak - self.before


def jumps(values: Values, *, window: int, score: float, record: float) -> list[Jump]:
    """Rises that stand out from the values just before them, each excursion told once.

    A rise is measured from the median of the trailing window and held against two things: the scatter of the window,
    and the largest rise that the window has seen itself. The second keeps curves with a heavy tail of bad batches
    quiet, however small their scatter is in the middle.

    Args:
        values: the curve, finite values only
        window: number of values before that a value is compared with
        score: least rise, in standard deviations of the window as its median absolute deviation tells them
        record: least rise, as a multiple of the largest rise in the window
    """
    if len(values) <= window:
        return []
    before = np.lib.stride_tricks.sliding_window_view(values[:-1], window)
    level = np.median(before, axis=1)
    scatter = NORMAL * np.median(np.abs(before - level[:, None]), axis=1)
    largest = before.max(axis=1) - level
    rise = values[window:] - level
    standing_out = np.flatnonzero((rise > score * scatter) & (rise > record * largest) & (rise > 0))
    found: list[Jump] = []
    free_from = 0
    for k in standing_out:
        if k < free_from:
            continue
        at = int(k) + window
        length, back = _length(
            values, at, level=float(level[k]), margin=_margin(level[k], rise[k], scatter[k], largest[k])
        )
        peak = float(values[at : at + length].max())
        height = peak - float(level[k])
        found.append(
            Jump(
                at=at,
                peak=peak,
                before=float(level[k]),
                score=height / float(scatter[k]) if scatter[k] > 0 else np.inf,
                record=height / float(largest[k]) if largest[k] > 0 else np.inf,
                length=length,
                back=back,
            )
        )
        free_from = at + length
    return found


def _margin(level: float, rise: float, scatter: float, largest: float) -> float:
    """How near to its level a curve counts as back.

    Within a quarter of the rise, and within twice the level where that is less: after a rise of a thousand times the
    level a quarter of it would be no return. But what the window before saw of itself is near in any case.
    """
    part = min(rise / 4, level) if level > 0 else rise / 4
    return float(max(NEAR * scatter, largest, part))


def _length(values: Values, at: int, *, level: float, margin: float) -> tuple[int, bool]:
    """How long the curve stays away from its level, the median of three values taken, and whether it came back."""
    after = values[at:]
    smooth = after if len(after) < 3 else np.median(np.lib.stride_tricks.sliding_window_view(after, 3), axis=1)
    low = np.flatnonzero(smooth <= level + margin)
    if len(low):
        return int(low[0]) + 1, True
    return len(after), False
