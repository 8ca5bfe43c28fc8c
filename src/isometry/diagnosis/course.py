"""How a training went, as far as several rules need it: progress of the loss, true update ratios, kind of optimiser."""

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis import limits
from isometry.diagnosis.finding import Severity
from isometry.diagnosis.level import has_rivals, level_of, loss_series
from isometry.diagnosis.trunk import column
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.signals import Signal
from isometry.statistics.update import update_ratio

__all__ = ["has_learned", "is_adaptive", "is_told_by_its_loss", "loss_progress", "toll", "update_ratios"]

ADAPTIVE = frozenset({"adam", "adamw", "adamax", "nadam", "radam", "rmsprop", "adagrad", "adadelta", "adafactor"})


LAST_PART = 4
"""The end of a short run is its last quarter."""


def loss_progress(run: Run) -> float | None:
    """Which share of what guessing loses, else of the first loss, is gone at the end; None where that cannot be told.

    A network drawn far too large begins with a huge loss and soon guesses: that is no progress. So the level that an
    answer has which ignores the input counts, where the run knows it.
    """
    try:
        level = level_of(run)
    except NotRecorded:
        return _progress_of_a_few_steps(run)
    if not np.isfinite(loss_series(run).values).all():
        return None
    if level.guessing is not None and level.guessing > 0:
        return 1 - level.course.end / level.guessing
    return level.fallen


def _progress_of_a_few_steps(run: Run) -> float | None:
    """Too few values to tell a trend from noise; but a loss that is all but gone needs no statistics."""
    try:
        values = loss_series(run).values
    except NotRecorded:
        return None
    end = values[-max(1, len(values) // LAST_PART) :]
    if not np.isfinite(values).all() or not len(values) or values[0] <= 0:
        return None
    return float(1 - np.median(end) / values[0])


def has_learned(run: Run) -> bool:
    """The loss is so low that the network cannot be said not to learn."""
    progress = loss_progress(run)
    return progress is not None and progress > limits.LEARNED.value


def is_told_by_its_loss(run: Run) -> bool:
    """Whether a loss that stays up means that nothing is learned: its kind is known, and no two sides pull at it."""
    try:
        return level_of(run).has_floor and not has_rivals(run)
    except NotRecorded:
        return True


def toll(run: Run, *, usually: Severity) -> Severity:
    """What something that stands in the way of learning did to this training, as its loss tells.

    It harms where the loss did not come half of the way down from what guessing loses, or left the numbers; it slows
    where it did. ``usually`` is what it does in most trainings, for runs whose loss does not tell.
    """
    progress = loss_progress(run)
    if progress is None and not _is_lost(run):
        return usually
    return Severity.SLOWS if has_learned(run) else Severity.HARMS


def _is_lost(run: Run) -> bool:
    series = run.history.scalars.get("loss")
    return series is not None and len(series) > 0 and not np.isfinite(series.values[-1])


def update_ratios(run: Run, *, rows: NDArray[np.int64], layers: tuple[int, ...]) -> NDArray[np.float64]:
    """Relative size of each update, rms ΔW / rms W; NaN where no optimiser stepped the layer. shape (rows, layers)"""
    update = column(run, Signal.UPDATE, "rms", rows=rows, layers=layers)
    weight = column(run, Signal.WEIGHT, "rms", rows=rows, layers=layers)
    ratio = np.where(weight > 0, update_ratio(update, weight), np.nan)
    if (Signal.UPDATE, "applied") in run.history:
        applied = column(run, Signal.UPDATE, "applied", rows=rows, layers=layers)
        ratio[~(applied > 0)] = np.nan
    return ratio


def is_adaptive(run: Run) -> bool:
    """Whether an optimiser divides each gradient by its own running size, and so hides how small it is."""
    events = run.history.events("optimizer")
    return any(str(event.get("name", "")).lower() in ADAPTIVE for event in events)
