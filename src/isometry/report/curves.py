"""Curves of a statistic over steps: a line for each layer, or a few that stand for all and a shade over the rest."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.signals import Signal
from isometry.report.chart import Axis, Line, Mark, Ribbon, Shape, Symbol, Table
from isometry.report.columns import column, listed, log10, representative
from isometry.report.placing import thinned
from isometry.report.words import called, clean, measured, plural, shortened

__all__ = ["curves", "first_and_last", "table_over_steps", "typical", "with_values"]

Numbers = NDArray[np.float64]

MOST_LINES = 7
MOST_POINTS = 240
"""Of one curve; its extremes are kept."""
MOST_STRETCHES = 200
"""Into which the shade divides the steps."""
FEW = 8
"""Recorded steps up to which each bears a marker."""


def with_values(run: Run, signal: Signal, statistic: str) -> Numbers:
    """One column of the history, in which at least one number is finite. shape (steps, layers)

    Raises:
        NotRecorded: there is no such number.
    """
    values = column(run, signal, statistic)
    if not np.isfinite(values).any():
        raise NotRecorded(f"no finite {signal.replace('_', ' ')} was recorded")
    return np.asarray(values, dtype=np.float64)


def typical(values: Numbers) -> Numbers:
    """Median over the steps at which a layer has a finite value, NaN for a layer that has none. shape (layers,)"""
    some = values[:: max(1, len(values) // 2000)]
    known = np.isfinite(some).any(axis=0)
    found = np.full(values.shape[1], np.nan)
    found[known] = np.nanmedian(np.where(np.isfinite(some), some, np.nan)[:, known], axis=0)
    return found


def first_and_last(values: Numbers) -> tuple[Numbers, Numbers]:
    """The first and the last finite value of each layer, NaN for a layer that has none. shapes (layers,)"""
    finite = np.isfinite(values)
    layers = np.arange(values.shape[1])
    first, last = finite.argmax(axis=0), len(values) - 1 - finite[::-1].argmax(axis=0)
    known = finite.any(axis=0)
    return np.where(known, values[first, layers], np.nan), np.where(known, values[last, layers], np.nan)


def curves(values: Numbers, run: Run, axis: Axis) -> list[Shape]:
    """Lines, the shade over those that have none, and signs for what the axis cannot place.

    Args:
        values: of every layer at every recorded step. shape (steps, layers)
        run: gives steps and names.
        axis: the y axis; on a logarithmic one zeros are signs.
    """
    steps, names = run.history.steps.astype(np.float64), run.architecture.names
    placed = np.where(np.isfinite(axis.placed(values)), values, np.nan)
    level = typical(log10(placed) if axis.scale == "log" else placed)
    chosen = representative(level, MOST_LINES)
    known = np.flatnonzero(np.isfinite(level))
    shapes: list[Shape] = []
    if len(known) > len(chosen):
        shapes.append(_shade(placed, steps, len(known)))
    for style, k in enumerate(chosen):
        x, y = thinned(steps, placed[:, k], MOST_POINTS)
        depth = float((k - known[0]) / max(known[-1] - known[0], 1))
        shapes.append(Line(shortened(called(names[k]), 20), x, y, style=style, shade=depth, markers=len(x) <= FEW))
    return shapes + _signs(values, steps, names, log=axis.scale == "log")


def _shade(values: Numbers, steps: Numbers, layers: int) -> Ribbon:
    """From the lowest to the highest layer in each of a few hundred stretches of steps."""
    filled = np.isfinite(values).any(axis=1)
    low, high = np.nanmin(values[filled], axis=1), np.nanmax(values[filled], axis=1)
    x = steps[filled]
    starts = np.unique(np.linspace(0, len(x), min(len(x), MOST_STRETCHES) + 1).astype(int))[:-1]
    lowest, highest = np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)
    return Ribbon(f"all {plural(layers, 'layer')}", x[starts], lowest, highest, style=4)


def _signs(values: Numbers, steps: Numbers, names: Sequence[str], *, log: bool) -> list[Shape]:
    """One for each layer and kind of value that has no place, where it first occurs."""
    kinds: list[tuple[Symbol, str, NDArray[np.bool_]]] = [
        ("zero", "exactly 0", (values == 0) & log),
        ("inf", "infinite", np.isinf(values)),
    ]
    return [
        Mark(float(steps[int(flags[:, k].argmax())]), symbol, f"{clean(names[int(k)])}: {words}")
        for symbol, words, flags in kinds
        for k in np.flatnonzero(flags.any(axis=0))
    ]


def table_over_steps(values: Numbers, run: Run) -> Table:
    """Six recorded steps, first and last among them, of at most sixty layers."""
    steps, names = run.history.steps, run.architecture.names
    rows = sorted({int(k) for k in np.linspace(0, len(steps) - 1, 6).round()})
    known = [int(k) for k in np.flatnonzero(np.isfinite(values).any(axis=0))]
    shown = [known[k] for k in listed([""] * len(known), 60)]
    return Table(
        ("layer", *(f"step {int(steps[row]):,}" for row in rows)),
        tuple((clean(names[k]), *(measured(float(values[row, k])) for row in rows)) for k in shown),
    )
