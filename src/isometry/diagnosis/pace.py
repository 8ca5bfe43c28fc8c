"""How fast the weights moved: true update ratios of the layers that learn."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis import limits
from isometry.diagnosis.course import is_adaptive
from isometry.diagnosis.level import spread_over
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.signals import Signal
from isometry.statistics.update import update_ratio

__all__ = ["Pace", "optimisers", "pace_of", "rate_of", "rate_rise", "relative_step", "without_momentum"]

UPDATE_RMS = (Signal.UPDATE, "rms")
WEIGHT_RMS = (Signal.WEIGHT, "rms")
APPLIED = (Signal.UPDATE, "applied")


@dataclass(frozen=True, slots=True)
class Pace:
    """Update ratios of the layers that an optimiser moves."""

    names: tuple[str, ...]
    steps: NDArray[np.int64]
    ratio: NDArray[np.float64]
    """rms ΔW / rms W; NaN where no optimiser stepped the layer. shape (steps, layers)"""
    guarded: NDArray[np.float64]
    """The same, with W taken no smaller than a quarter of what an ordinary draw would give it: a layer that begins at
    zero, or near it, must be free to grow by more than its own size."""

    @property
    def moved(self) -> NDArray[np.float64]:
        """Length of each layer's path over the run, in units of its own size. shape (layers,)"""
        return np.asarray(np.nansum(self.ratio * spread_over(self.steps)[:, None], axis=0))

    @property
    def late(self) -> NDArray[np.float64]:
        """Median ratio of each layer in the second half of the recorded steps, NaN where it rested. shape (layers,)"""
        half = self.ratio[len(self.ratio) // 2 :]
        seen = np.asarray(np.isfinite(half).any(axis=0))
        return np.array([np.nanmedian(half[:, k]) if seen[k] else np.nan for k in range(len(seen))])

    @property
    def common(self) -> NDArray[np.float64]:
        """Median over the layers of the guarded ratio. shape (steps,)"""
        return np.asarray(np.nanmedian(self.guarded, axis=1))


def pace_of(run: Run) -> Pace:
    """Update ratios of the layers that multiply by a matrix and that an optimiser stepped.

    Raises:
        NotRecorded: no such layer.
    """
    history = run.history
    update, weight = np.asarray(history[UPDATE_RMS], np.float64), np.asarray(history[WEIGHT_RMS], np.float64)
    ratio = update_ratio(update, weight)
    ordinary = np.array([_ordinary(layer.fan_in) for layer in run.architecture])
    guarded = update_ratio(update, np.fmax(weight, ordinary))
    if APPLIED in history:
        stepped = np.asarray(history[APPLIED]) > 0
        ratio, guarded = np.where(stepped, ratio, np.nan), np.where(stepped, guarded, np.nan)
    learning = np.array([layer.weighted and layer.trainable for layer in run.architecture], dtype=bool)
    learning &= np.isfinite(guarded).any(axis=0)
    if not learning.any():
        raise NotRecorded("no optimiser was seen to move a weight matrix")
    rows = np.isfinite(guarded[:, learning]).any(axis=1)
    names = tuple(name for name, is_learning in zip(run.architecture.names, learning, strict=True) if is_learning)
    return Pace(names, history.steps[rows], ratio[np.ix_(rows, learning)], guarded[np.ix_(rows, learning)])


def _ordinary(fan_in: int | None) -> float:
    """A quarter of the rms that a draw with variance 1 / fan-in has."""
    return limits.ORDINARY.value / float(np.sqrt(fan_in)) if fan_in else 0.0


def relative_step(run: Run) -> float | None:
    """Relative size of the steps on the weights as drawn, at the run's greatest rate: median over the layers.

    Momentum is taken as built up. None where no step was measured.
    """
    try:
        pace = pace_of(run)
    except NotRecorded:
        return None
    if not np.isfinite(pace.common).any():
        return None
    row = int(np.flatnonzero(np.isfinite(pace.common))[0])
    first = float(pace.common[row]) * rate_rise(run, int(pace.steps[row])) / without_momentum(run)
    return first if 0 < first < np.inf else None


def rate_of(run: Run) -> float | None:
    """The greatest learning rate that was recorded."""
    series = run.history.scalars.get("lr")
    rates = [] if series is None else [float(value) for value in series.values if np.isfinite(value)]
    rates += [float(event["lr"]) for event in run.history.events("optimizer") if event.get("lr") is not None]
    return max(rates, default=0.0) or None


def rate_rise(run: Run, step: int) -> float:
    """How many times the rate of this step the greatest one was."""
    series, greatest = run.history.scalars.get("lr"), rate_of(run)
    if series is None or not len(series) or greatest is None:
        return 1.0
    place = max(int(np.searchsorted(series.steps, step, side="right")) - 1, 0)
    then = float(series.values[place])
    return greatest / then if then > 0 else 1.0


def without_momentum(run: Run) -> float:
    """1 − momentum: the first step over those that follow where the gradient stays as it is."""
    if is_adaptive(run):
        return 1.0
    events = run.history.events("optimizer")
    momentum = float((events[-1] if events else {}).get("momentum") or 0.0)
    return 1 - momentum if 0 <= momentum < 1 else 1.0


def optimisers(run: Run) -> str:
    """``Adam at a rate of 1e-06``; empty where none was seen."""
    latest = {str(event.get("name")): event.get("lr") for event in run.history.events("optimizer")}
    return " and ".join(f"{name} at a rate of {lr:g}" if lr is not None else name for name, lr in latest.items())
