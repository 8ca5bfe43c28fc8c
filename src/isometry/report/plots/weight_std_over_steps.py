"""How far each layer's weights spread."""

import numpy as np
from numpy.typing import NDArray

from isometry.history.run import Run
from isometry.network.signals import Signal
from isometry.report.chart import Axis, Chart
from isometry.report.columns import log10
from isometry.report.curves import curves, first_and_last, table_over_steps, with_values
from isometry.report.plot import plot
from isometry.report.words import called, number

Numbers = NDArray[np.float64]

WIDE = 30.0
"""Ratio of greatest to least spread from which on the axis is logarithmic."""
SAME = 1.005
"""Factor within which a spread is said to have stayed: it changes nothing in the three digits that are shown."""


@plot("weight-std-over-steps", place=53)
def weight_std_over_steps(run: Run) -> Chart:
    """Standard deviation of each layer's weights before every recorded step, biases left out.

    It grows in layers that learn and stays where nothing is learned. In networks of many layers a few lines stand for
    all, and the shade covers the rest.
    """
    std = with_values(run, Signal.WEIGHT, "std")
    axis = Axis("S.D. of weights", scale="log" if _is_wide(std) else "linear")
    said = _title(std, run.architecture.names)
    return Chart(
        title=said,
        reading="Standard deviation of a layer's weights before each recorded step, biases left out.",
        x=Axis("step"),
        y=axis,
        shapes=tuple(curves(std, run, axis)),
        alt=f"Line chart of the standard deviation of each layer's weights over steps. {said}.",
        table=table_over_steps(std, run),
    )


def _is_wide(std: Numbers) -> bool:
    positive = std[np.isfinite(std) & (std > 0)]
    return positive.size > 0 and bool(positive.max() > WIDE * positive.min())


def _title(std: Numbers, names: tuple[str, ...]) -> str:
    first, last = first_and_last(std)
    change = log10(last) - log10(first)
    if not np.isfinite(change).any() or np.nanmax(np.abs(change)) < np.log10(SAME):
        low, high = (number(float(value)) for value in (np.nanmin(std), np.nanmax(std)))
        stays = "stays" if len(std) > 1 else "lies"
        return (
            f"The S.D. of the weights {stays} at {low}"
            if low == high
            else (f"The S.D. of the weights {stays} between {low} and {high}")
        )
    k = int(np.nanargmax(np.abs(change)))
    verb = "grows" if change[k] > 0 else "shrinks"
    return f"The S.D. of weights {verb} most in {called(names[k])}, from {number(first[k])} to {number(last[k])}"
