"""What the pictures take out of a run: rows that tell its story, chains of layers, steps gathered into columns."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis.trunk import trunks
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.architecture import Architecture
from isometry.network.signals import Signal

__all__ = [
    "chains",
    "column",
    "ends",
    "gathered",
    "listed",
    "log10",
    "norms",
    "optional",
    "representative",
    "telling_rows",
]

Numbers = NDArray[np.float64]


def column(run: Run, signal: str, statistic: str) -> Numbers:
    """One column of the history.

    Raises:
        NotRecorded: the run has no such column, no recorded step or no layer.
    """
    values = np.asarray(run.history[signal, statistic])
    if not values.size:
        raise NotRecorded(f"no step was recorded, so there is no {signal.replace('_', ' ')} to show")
    return values


def optional(run: Run, signal: str, statistic: str) -> Numbers | None:
    """One column of the history, None where it was not recorded."""
    if (signal, statistic) not in run.history:
        return None
    values = np.asarray(run.history[signal, statistic])
    return values if values.size else None


def log10(values: Numbers) -> Numbers:
    """log10 of the positive values, NaN for the rest."""
    values = np.asarray(values, dtype=np.float64)
    return np.log10(values, out=np.full(values.shape, np.nan), where=np.isfinite(values) & (values > 0))


def telling_rows(values: Numbers, steps: NDArray[np.int64]) -> list[int]:
    """Rows of the first, the middle and the last recorded step that tell of most layers; fewer where there are fewer.

    Steps in which most layers are zero or not finite give way to fuller ones, if there are any.

    Args:
        values: a column. shape (steps, layers)
        steps: the recorded step numbers
    """
    filled = (np.isfinite(values) & (values != 0)).sum(axis=1)
    holds = np.flatnonzero((filled > 0) & (2 * filled >= filled.max(initial=0)))
    if not holds.size:
        holds = np.flatnonzero(np.isfinite(values).any(axis=1))
    if not holds.size:
        raise NotRecorded("no recorded step holds a finite value")
    first, last = int(holds[0]), int(holds[-1])
    middle_step = (steps[first] + steps[last]) / 2
    middle = int(holds[np.abs(steps[holds] - middle_step).argmin()])
    return sorted({first, middle, last})


def chains(architecture: Architecture) -> list[NDArray[np.int64]]:
    """Chains of places along which a profile reads, the longest first; every layer where no chain was found."""
    found = [np.array(trunk.places, dtype=np.int64) for trunk in trunks(architecture)]
    return found or [np.arange(len(architecture), dtype=np.int64)]


def norms(run: Run, signal: Signal) -> tuple[Numbers, str]:
    """Size of a signal at each layer, and what it is: the ℓ2 norm, which telescopes along depth whatever the widths;
    the root mean square where no counts were recorded.

    Returns:
        sizes, NaN where not recorded or not finite, shape (steps, layers); the unit
    """
    rms = column(run, signal, "rms")
    count = optional(run, signal, "count")
    if count is None:
        return rms, "rms"
    known = np.sqrt(count, out=np.full(count.shape, np.nan), where=count > 0)
    return rms * known, "ℓ2 norm"


def ends(profile: Numbers, positions: NDArray[np.int64]) -> tuple[int, int] | None:
    """First and last of some positions at which a profile is positive; None where there are not two."""
    positive = [int(k) for k in positions if np.isfinite(profile[k]) and profile[k] > 0]
    return (positive[0], positive[-1]) if len(positive) > 1 else None


def gathered(steps: NDArray[np.int64], most: int = 400) -> tuple[Numbers, list[NDArray[np.int64]]]:
    """Columns of equal extent along the steps, and the recorded rows in each; an empty one keeps the row before it.

    Args:
        steps: recorded step numbers, ascending
        most: number of columns that is never passed

    Returns:
        edges, shape (columns + 1), and for each column the positions of its rows
    """
    first, last = int(steps[0]), int(steps[-1])
    count = min(most, last - first + 1)
    edges = np.linspace(first, last + 1, count + 1)
    bounds = np.searchsorted(steps, edges, side="left")
    bounds[-1] = len(steps)
    rows = []
    for low, high in pairwise(bounds):
        rows.append(np.arange(low, high) if high > low else np.array([max(low - 1, 0)]))
    return edges, rows


def representative(lowest: Numbers, count: int) -> list[int]:
    """At most ``count`` layers that stand for all: the ends, the lowest, the highest, others evenly between.

    Args:
        lowest: one number per layer that says where it lies, NaN where the layer has none
    """
    present = np.flatnonzero(np.isfinite(lowest))
    if len(present) <= count:
        return [int(k) for k in present]
    chosen = {int(present[0]), int(present[-1])}
    chosen |= {int(present[lowest[present].argmin()]), int(present[lowest[present].argmax()])}
    for k in np.linspace(0, len(present) - 1, count).round().astype(int):
        if len(chosen) < count:
            chosen.add(int(present[k]))
    return sorted(chosen)


def listed(names: Sequence[str], most: int) -> list[int]:
    """At most ``most`` positions, evenly, first and last among them."""
    if len(names) <= most:
        return list(range(len(names)))
    return sorted({int(k) for k in np.linspace(0, len(names) - 1, most).round()})
