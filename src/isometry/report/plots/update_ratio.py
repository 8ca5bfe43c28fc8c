"""How far each layer moves in a step, beside its own size."""

import numpy as np
from numpy.typing import NDArray

from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.signals import Signal
from isometry.report.chart import Axis, Chart, Level, Line, Mark, Ribbon, Shape, Table, Zone
from isometry.report.columns import column, listed, log10, representative
from isometry.report.placing import thinned
from isometry.report.plot import plot
from isometry.report.words import called, clean, number, plural, shortened

Numbers = NDArray[np.float64]

USUAL = (1e-4, 1e-2)
"""Range in which healthy trainings mostly lie; a rule of thumb that shades the picture and judges nothing.

Source: Karpathy, CS231n notes, "ratio of weights:updates", about 1e-3.
"""
ROUNDING = {"float32": 2.0**-24, "bfloat16": 2.0**-9, "float16": 2.0**-11}
"""Half the relative distance between neighbouring numbers: smaller changes are lost in rounding. Source: IEEE 754."""
MOST_LINES = 7


@plot("update-ratio", place=50, proves=("learning_rate_too_high", "learning_rate_too_low"))
def update_ratio(run: Run) -> Chart:
    """Size of ΔW over that of W for each layer: the relative size of one optimiser step, whatever the optimiser.

    About a thousandth is usual. Where it is much smaller, nothing is learned in time; where it is much larger, one step
    undoes another. In networks of many layers a few lines stand for all, and the shade covers the rest.
    """
    weight, update = column(run, Signal.WEIGHT, "rms"), column(run, Signal.UPDATE, "rms")
    positive = np.isfinite(weight) & (weight > 0)
    ratio = np.divide(update, weight, out=np.full(weight.shape, np.nan), where=positive)
    if not np.isfinite(ratio).any():
        raise NotRecorded("no optimiser step was recorded together with its weights")
    steps, names = run.history.steps.astype(np.float64), run.architecture.names
    typical = _typical(ratio)
    if not np.isfinite(typical).any():
        raise NotRecorded("no recorded step moved any layer")
    chosen = representative(typical, MOST_LINES)
    shapes: list[Shape] = [Zone(*USUAL, "usual")]
    unnamed = int(np.isfinite(typical).sum()) - len(chosen)
    if unnamed:
        shapes.append(_shade(ratio, steps, f"and {plural(unnamed, 'more layer')}: the shade covers all"))
    with_value = np.flatnonzero(np.isfinite(typical))
    for place, k in enumerate(chosen):
        x, y = thinned(steps, np.where(ratio[:, k] > 0, ratio[:, k], np.nan), 120)
        depth = (k - with_value[0]) / max(with_value[-1] - with_value[0], 1)
        shapes.append(Line(shortened(called(names[k]), 20), x, y, style=place, shade=float(depth), markers=len(x) <= 8))
    shapes += _stopped(ratio, steps, names)
    floor = ROUNDING.get(_dtype(run))
    lowest = float(np.nanmin(typical))
    if floor is not None and 10.0**lowest < floor * 30:
        shapes.append(Level(floor, f"{_dtype(run)}: smaller changes are mostly rounded away"))
    return Chart(
        title=_title(typical, names),
        reading="How far a layer moves in one step, beside the size of its weights (rms over rms).",
        x=Axis("step"),
        y=Axis("update ratio ΔW / W", scale="log"),
        shapes=tuple(shapes),
        alt=_alt(typical, names, unnamed),
        table=Table(
            ("layer", "update ratio, median over steps"),
            tuple((clean(names[k]), number(10.0 ** float(typical[k]))) for k in _shown(typical)),
        ),
    )


def _dtype(run: Run) -> str:
    kinds = [layer.dtype for layer in run.architecture if layer.parameters] or ["float32"]
    return max(set(kinds), key=kinds.count)


def _typical(ratio: Numbers) -> Numbers:
    """Median log10 over the steps in which the layer moved. shape (layers,)"""
    logs = log10(ratio[:: max(1, len(ratio) // 2000)])
    known = np.isfinite(logs).any(axis=0)
    typical = np.full(ratio.shape[1], np.nan)
    typical[known] = np.nanmedian(logs[:, known], axis=0)
    return typical


def _shade(ratio: Numbers, steps: Numbers, words: str) -> Ribbon:
    """From the lowest to the highest layer at each of a few hundred steps."""
    logs = log10(ratio)
    filled = np.isfinite(logs).any(axis=1)
    low, high = np.nanmin(logs[filled], axis=1), np.nanmax(logs[filled], axis=1)
    x = steps[filled]
    bounds = np.unique(np.linspace(0, len(x), min(len(x), 200) + 1).astype(int))
    starts = bounds[:-1]
    lowest, highest = np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)
    return Ribbon(words, x[starts], 10.0**lowest, 10.0**highest, style=4)


def _stopped(ratio: Numbers, steps: Numbers, names: tuple[str, ...]) -> list[Shape]:
    """Signs for layers that an optimiser step left exactly where they were."""
    still = ratio == 0
    return [
        Mark(float(steps[int(still[:, k].argmax())]), "zero", f"{clean(names[k])}: did not move")
        for k in np.flatnonzero(still.any(axis=0))
    ]


def _title(typical: Numbers, names: tuple[str, ...]) -> str:
    known = np.flatnonzero(np.isfinite(typical))
    low, high = int(known[typical[known].argmin()]), int(known[typical[known].argmax()])
    if low == high or typical[high] - typical[low] < 0.5:
        return f"Layers move by about {number(10.0 ** float(np.median(typical[known])))} of their size in a step"
    return (
        f"In a step {called(names[low])} moves by {number(10.0 ** float(typical[low]))} of its size, "
        f"{called(names[high])} by {number(10.0 ** float(typical[high]))}"
    )


def _alt(typical: Numbers, names: tuple[str, ...], unnamed: int) -> str:
    known = np.flatnonzero(np.isfinite(typical))
    low, high = int(known[typical[known].argmin()]), int(known[typical[known].argmax()])
    return (
        f"Line chart of the update ratio over steps, log scale. Smallest in "
        f"{called(names[low])}, median {number(10.0 ** float(typical[low]))}; largest in {called(names[high])}, "
        f"{number(10.0 ** float(typical[high]))}."
        + (f" {plural(unnamed, 'layer')} without a line of their own lie in the shade." if unnamed else "")
    )


def _shown(typical: Numbers) -> list[int]:
    known = [int(k) for k in np.flatnonzero(np.isfinite(typical))]
    return [known[k] for k in listed([""] * len(known), 60)]
