"""The loss of every step."""

import numpy as np
from numpy.typing import NDArray

from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.report.chart import Axis, Chart, Line, Mark, Shape, Table
from isometry.report.columns import listed
from isometry.report.placing import thinned
from isometry.report.plot import plot
from isometry.report.words import counted, number

Numbers = NDArray[np.float64]

WIDE = 30.0
"""Ratio of greatest to least loss from which on the axis is logarithmic."""
SMOOTHED_OVER = 40
"""A curve of more steps than five times this is smoothed over a fortieth of its length."""
MOST_MARKS = 20


@plot("loss", place=5, proves=("loss_not_decreasing", "loss_spike"))
def loss(run: Run) -> Chart:
    """The loss of every step, recorded in full or not, and its running mean; where it is not finite, a sign says so."""
    if "loss" not in run.history.scalars or not len(run.history.scalars["loss"]):
        raise NotRecorded("no loss was noticed")
    series = run.history.scalars["loss"]
    steps, values = series.steps.astype(np.float64), series.values
    finite = values[np.isfinite(values)]
    smooth_x, smooth_y = _smooth(steps, values)
    positive = finite.size > 0 and bool(finite.min() > 0)
    wide = positive and float(finite.max()) > WIDE * float(finite.min())
    x, y = thinned(steps, values)
    shapes: list[Shape] = []
    if len(smooth_x):
        shapes.append(Line("", x, y, style=4, role="context"))
        shapes.append(Line("running mean", smooth_x, smooth_y, style=0))
    else:
        shapes.append(Line("", x, y, style=0, markers=len(x) <= 30))
    shapes += _broken(steps, values)
    return Chart(
        title=_title(steps, values),
        reading="Loss of every step" + (", grey, and its running mean." if len(smooth_x) else "."),
        x=Axis("step"),
        y=Axis("loss", scale="log" if wide else "linear"),
        shapes=tuple(shapes),
        alt=f"Line chart of the loss over {counted(len(steps))} steps. {_title(steps, values)}.",
        table=Table(
            ("step", "loss"),
            tuple((f"{int(steps[k]):,}", number(float(values[k]))) for k in listed([""] * len(steps), 40)),
        ),
    )


def _smooth(steps: Numbers, values: Numbers) -> tuple[Numbers, Numbers]:
    """Running mean over a fortieth of the length, of a long curve; empty for a short one."""
    finite = np.isfinite(values)
    x, y = steps[finite], values[finite]
    width = len(y) // SMOOTHED_OVER
    if width < 5:
        return np.empty(0), np.empty(0)
    sums = np.cumsum(np.insert(y, 0, 0.0))
    means = (sums[width:] - sums[:-width]) / width
    return thinned(x[width // 2 : width // 2 + len(means)], means, 400)


def _ends(values: Numbers) -> tuple[float, float]:
    """Typical loss at the start and at the end: medians over a fiftieth of the steps."""
    finite = values[np.isfinite(values)]
    few = max(1, len(finite) // 50)
    return float(np.median(finite[:few])), float(np.median(finite[-few:]))


def _title(steps: Numbers, values: Numbers) -> str:
    broken = np.flatnonzero(~np.isfinite(values))
    if broken.size:
        word = "NaN" if np.isnan(values[broken[0]]) else "infinite"
        return (
            f"The loss is {word} from step {int(steps[broken[0]]):,} on"
            if broken[-1] == len(values) - 1
            else (f"The loss is not finite in {counted(broken.size)} of {counted(len(values))} steps")
        )
    start, end = _ends(values)
    if abs(start - end) <= 0.02 * max(abs(start), abs(end)):
        return f"The loss stays at {number(float(f'{end:.3g}'))} over {counted(len(values))} steps"
    said = [number(float(f"{value:.3g}")) for value in (start, end)]
    return f"The loss {'falls' if end < start else 'rises'} from {said[0]} to {said[1]}"


def _broken(steps: Numbers, values: Numbers) -> list[Shape]:
    """A sign at the start of each stretch that is not finite."""
    marks: list[Shape] = []
    for kind, flags in (("nan", np.isnan(values)), ("inf", np.isinf(values))):
        begins = np.flatnonzero(flags & ~np.insert(flags[:-1], 0, False))
        for k in begins[:MOST_MARKS]:
            word = "NaN" if kind == "nan" else "infinite"
            marks.append(Mark(float(steps[k]), kind, f"{word} from step {int(steps[k]):,}"))  # type: ignore[arg-type]
    return marks
