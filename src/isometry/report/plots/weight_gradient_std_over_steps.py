"""The spread of each layer's weight gradient, step by step."""

import numpy as np
from numpy.typing import NDArray

from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.signals import Signal
from isometry.report.chart import Axis, Chart
from isometry.report.columns import log10
from isometry.report.curves import curves, table_over_steps, typical, with_values
from isometry.report.plot import plot
from isometry.report.words import called, number

Numbers = NDArray[np.float64]

ALIKE = 0.5
"""Decades between the typical spreads of two layers up to which they are said to be alike; it judges nothing."""


@plot("weight-gradient-std-over-steps", place=55)
def weight_gradient_std_over_steps(run: Run) -> Chart:
    """Standard deviation of the gradient of each layer's weights at every recorded step, biases left out, log axis.

    Curves far apart say that layers receive gradients of different size. The sizes of ∂L/∂W also depend on the layers'
    widths and inputs; the picture of δ by depth shows the backward signal alone. A gradient of exactly zero bears a
    sign. In networks of many layers a few lines stand for all, and the shade covers the rest.
    """
    std = with_values(run, Signal.WEIGHT_GRADIENT, "std")
    if not (std > 0).any():
        raise NotRecorded("no layer's weight gradient has a spread: each is one number, or all are equal")
    axis = Axis("S.D. of ∂L/∂W", scale="log")
    said = _title(typical(log10(std)), run.architecture.names)
    return Chart(
        title=said,
        reading="Standard deviation of a layer's weight gradient at each recorded step, as the optimiser receives it.",
        x=Axis("step"),
        y=axis,
        shapes=tuple(curves(std, run, axis)),
        alt=f"Line chart of the standard deviation of each layer's weight gradient over steps, log scale. {said}.",
        table=table_over_steps(std, run),
    )


def _title(level: Numbers, names: tuple[str, ...]) -> str:
    low, high = int(np.nanargmin(level)), int(np.nanargmax(level))
    least, greatest = (number(float(f"{10.0 ** level[k]:.2g}")) for k in (low, high))
    if level[high] - level[low] < ALIKE:
        return f"The S.D. of gradients is alike in all layers, typically {least} to {greatest}"
    return f"The S.D. of gradients is typically {greatest} in {called(names[high])} and {least} in {called(names[low])}"
