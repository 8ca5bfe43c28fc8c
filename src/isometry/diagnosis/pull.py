"""How strongly the gradients pull at the weights, told without δ: a compiled model shows nothing else."""

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis import limits
from isometry.diagnosis.level import level_of
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.signals import Signal

__all__ = ["is_starved", "pull"]

COLUMNS = tuple(
    (signal, statistic) for signal in (Signal.WEIGHT_GRADIENT, Signal.WEIGHT) for statistic in ("rms", "count")
)


def pull(run: Run) -> float | None:
    """‖∂L/∂W‖ · ‖W‖ / L in the first recorded steps, median over the layers that multiply by a matrix.

    It is the share of the loss that a step of a layer's own size along its gradient takes away, to first order. A
    factor on the loss does not change it. [decades]

    Returns:
        Its log10, −∞ where the gradients are exactly zero; None where it cannot be told.
    """
    try:
        loss = level_of(run).reference
    except NotRecorded:
        return None
    weighted = [k for k, layer in enumerate(run.architecture) if layer.weighted]
    if loss <= 0 or not weighted or any(column not in run.history for column in COLUMNS):
        return None
    pulls = _norm(run, Signal.WEIGHT_GRADIENT, weighted) * _norm(run, Signal.WEIGHT, weighted) / loss
    known = np.isfinite(pulls).any(axis=1)
    if not known.any():
        return None
    first = pulls[int(known.argmax())]
    with np.errstate(divide="ignore"):
        return float(np.log10(np.median(first[np.isfinite(first)])))


def _norm(run: Run, signal: Signal, layers: list[int]) -> NDArray[np.float64]:
    rms, count = (np.asarray(run.history[signal, statistic][:, layers]) for statistic in ("rms", "count"))
    return np.asarray(rms * np.sqrt(count), np.float64)


def is_starved(run: Run) -> bool:
    """Whether the gradients are so small that no rate would help, in a run without δ that could show why."""
    if (Signal.DELTA, "rms") in run.history:
        return False
    found = pull(run)
    return found is not None and found < limits.STARVED_PULL.value
