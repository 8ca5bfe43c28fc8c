"""The mean of each layer's weight gradient, step by step."""

import numpy as np
from numpy.typing import NDArray

from isometry.history.run import Run
from isometry.network.signals import Signal
from isometry.report.chart import Axis, Chart
from isometry.report.curves import curves, table_over_steps, typical, with_values
from isometry.report.plot import plot
from isometry.report.words import called, number

Numbers = NDArray[np.float64]


@plot("weight-gradient-mean-over-steps", place=54)
def weight_gradient_mean_over_steps(run: Run) -> Chart:
    """Mean of the gradient of each layer's weights at every recorded step, biases left out.

    It says whether the weights of a layer are pushed one way together. Gradients of both signs cancel in it, the more
    so the more weights a layer has, so a mean near zero is no vanishing gradient: the picture of the spread tells.
    In networks of many layers a few lines stand for all, and the shade covers the rest.
    """
    mean = with_values(run, Signal.WEIGHT_GRADIENT, "mean")
    axis = Axis("mean of ∂L/∂W")
    said = _title(mean, run.architecture.names)
    return Chart(
        title=said,
        reading="Mean of a layer's weight gradient at each recorded step, as the optimiser receives it.",
        x=Axis("step"),
        y=axis,
        shapes=tuple(curves(mean, run, axis)),
        alt=f"Line chart of the mean weight gradient of each layer over steps. {said}.",
        table=table_over_steps(mean, run),
    )


def _title(mean: Numbers, names: tuple[str, ...]) -> str:
    size = typical(np.abs(mean))
    order = np.argsort(np.where(np.isfinite(size), -size, np.inf))
    k = int(order[0])
    said = f"The mean gradient is largest in {called(names[k])}, typically {number(float(size[k]))}"
    second = size[order[1]] if len(order) > 1 else np.nan
    return f"{said}; elsewhere at most {number(float(second))}" if np.isfinite(second) else said
