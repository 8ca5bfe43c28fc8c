"""How a training went, as far as several rules need it: progress of the loss, true update ratios, kind of optimiser."""

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis import limits
from isometry.history.run import Run
from isometry.network.signals import Signal

__all__ = ["has_learned", "is_adaptive", "loss_progress", "update_ratios"]

ADAPTIVE = frozenset({"adam", "adamw", "adamax", "nadam", "radam", "rmsprop", "adagrad", "adadelta", "adafactor"})


def loss_progress(run: Run) -> float | None:
    """Which share of the loss at the start is gone at the end; None where there is no loss, or too little of it.

    Medians of the first and the last tenth of the steps are compared, so that single batches do not decide.
    """
    series = run.history.scalars.get("loss")
    if series is None:
        return None
    values = np.asarray(series.values, dtype=np.float64)
    finite = values[np.isfinite(values)]
    span = max(1, len(finite) // 10)
    if len(finite) < 2 * span + 1 or len(finite) < len(values):
        return None
    start, end = float(np.median(finite[:span])), float(np.median(finite[-span:]))
    return (start - end) / abs(start) if start else None


def has_learned(run: Run) -> bool:
    """The loss has fallen by so much that the network cannot be said not to learn."""
    progress = loss_progress(run)
    return progress is not None and progress > limits.LEARNED.value


def update_ratios(run: Run, *, rows: NDArray[np.int64], layers: tuple[int, ...]) -> NDArray[np.float64]:
    """Relative size of each update, rms ΔW / rms W; NaN where no optimiser stepped the layer. shape (rows, layers)"""
    update = np.asarray(run.history[Signal.UPDATE, "rms"][rows][:, list(layers)], dtype=np.float64)
    weight = np.asarray(run.history[Signal.WEIGHT, "rms"][rows][:, list(layers)], dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = update / weight
    ratio[~np.isfinite(ratio)] = np.nan
    if (Signal.UPDATE, "applied") in run.history:
        applied = np.asarray(run.history[Signal.UPDATE, "applied"][rows][:, list(layers)], dtype=np.float64)
        ratio[~(applied > 0)] = np.nan
    return ratio


def is_adaptive(run: Run) -> bool:
    """Whether an optimiser divides each gradient by its own running size, and so hides how small it is."""
    events = run.history.events("optimizer")
    return any(str(event.get("name", "")).lower() in ADAPTIVE for event in events)
