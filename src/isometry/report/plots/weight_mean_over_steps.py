"""Where the mean of each layer's weights goes."""

import numpy as np
from numpy.typing import NDArray

from isometry.history.run import Run
from isometry.network.signals import Signal
from isometry.report.chart import Axis, Chart
from isometry.report.curves import curves, first_and_last, table_over_steps, with_values
from isometry.report.plot import plot
from isometry.report.words import called, number

Numbers = NDArray[np.float64]


@plot("weight-mean-over-steps", place=52)
def weight_mean_over_steps(run: Run) -> Chart:
    """Mean of each layer's weights before every recorded step, biases left out.

    A layer whose curve is level does not learn, unless its weights move against each other; the picture of their
    spread tells. In networks of many layers a few lines stand for all, and the shade covers the rest.
    """
    mean = with_values(run, Signal.WEIGHT, "mean")
    axis = Axis("mean weight")
    said = _title(mean, run.architecture.names)
    return Chart(
        title=said,
        reading="Mean of a layer's weights before each recorded step, biases left out.",
        x=Axis("step"),
        y=axis,
        shapes=tuple(curves(mean, run, axis)),
        alt=f"Line chart of the mean weight of each layer over steps. {said}.",
        table=table_over_steps(mean, run),
    )


def _title(mean: Numbers, names: tuple[str, ...]) -> str:
    first, last = first_and_last(mean)
    k = int(np.nanargmax(np.abs(last - first)))
    if first[k] == last[k]:
        return "No layer's mean weight has changed" if len(mean) > 1 else _range(first)
    return f"The mean weight of {called(names[k])} goes farthest, from {number(first[k])} to {number(last[k])}"


def _range(values: Numbers) -> str:
    return f"Mean weights lie between {number(float(np.nanmin(values)))} and {number(float(np.nanmax(values)))}"
