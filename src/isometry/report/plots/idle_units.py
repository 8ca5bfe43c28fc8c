"""Units that do nothing: dead rectifiers and saturated two-sided units, by layer."""

import numpy as np
from numpy.typing import NDArray

from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.signals import Signal
from isometry.report.chart import Axis, Bars, Chart, Part, Table
from isometry.report.columns import optional
from isometry.report.plot import plot
from isometry.report.words import called, clean, plural

Numbers = NDArray[np.float64]

VISIBLE = 0.5
"""A share below it would be said as 0, and its bar could not be seen. [%]"""


@plot("idle-units", place=55, proves=("dead_units", "saturated_activation"))
def idle_units(run: Run) -> Chart:
    """Share of each layer's units that were never active, and of its elements that lie where φ is flat.

    Dead: a rectifier's unit that was active on no sample of the whole window. Saturated: elements whose |φ′| is below
    5 % of φ's greatest slope, for sigmoid, tanh and their like. Both at the last recorded step that tells. Where no
    layer has any, there is no picture.
    """
    dead, saturated = _dead(run), _saturated(run)
    known = np.flatnonzero(np.isfinite(dead) | np.isfinite(saturated))
    if not known.size:
        raise NotRecorded("no rectifier whose units were watched, and no nonlinearity that saturates on both sides")
    names = tuple(run.architecture.names[k] for k in known)
    parts = tuple(
        Part(words, np.nan_to_num(100 * values[known]))
        for words, values in (("dead units", dead), ("saturated elements", saturated))
        if np.isfinite(values[known]).any()
    )
    together = np.sum([part.values for part in parts], axis=0)
    worst = int(together.argmax())
    if together[worst] < VISIBLE:
        raise NotRecorded(f"there are no {' and no '.join(part.words for part in parts)} to show")
    main = max(parts, key=lambda part: float(part.values[worst]))
    title = f"{main.values[worst]:.0f} % {main.words} in {called(names[worst])}"
    return Chart(
        title=title,
        reading="Dead: never active on any sample of the window. Saturated: where φ is flat.",
        x=Axis("layer, input first", scale="layers", names=names),
        y=Axis(
            "share", unit="%", low=0.0, high=100.0 if together.max() > 40 else max(10.0, float(together.max()) * 1.15)
        ),
        shapes=(Bars(parts),),
        alt=f"Bars for {plural(len(names), 'layer')}. {title}.",
        table=Table(
            ("layer", *(f"{part.words}, %" for part in parts)),
            tuple((clean(name), *(f"{part.values[k]:.1f}" for part in parts)) for k, name in enumerate(names)),
        ),
    )


def _dead(run: Run) -> Numbers:
    """Dead units over watched ones at the last step that knows both. shape (layers,)"""
    dead, units = (optional(run, Signal.ACTIVATION, statistic) for statistic in ("dead", "units"))
    share = np.full(len(run.architecture), np.nan)
    if dead is None or units is None:
        return share
    watched = np.isfinite(units) & (units > 0) & np.isfinite(dead)
    for k in np.flatnonzero(watched.any(axis=0)):
        row = int(np.flatnonzero(watched[:, k])[-1])
        share[k] = dead[row, k] / units[row, k]
    return share


def _saturated(run: Run) -> Numbers:
    saturated = optional(run, Signal.SLOPE, "saturated")
    share = np.full(len(run.architecture), np.nan)
    if saturated is None:
        return share
    for k in np.flatnonzero(np.isfinite(saturated).any(axis=0)):
        share[k] = saturated[np.flatnonzero(np.isfinite(saturated[:, k]))[-1], k]
    return share
