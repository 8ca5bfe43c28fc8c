"""Whatever else the user logged."""

import numpy as np

from isometry.errors import NotRecorded
from isometry.history.history import Series
from isometry.history.run import Run
from isometry.report.chart import Axis, Chart, Line, Table
from isometry.report.placing import thinned
from isometry.report.plot import plot
from isometry.report.words import clean, number, shortened

OWN = ("loss", "lr", "step_seconds")
"""Scalars that the watch writes itself."""
MOST = 4


@plot("metrics", place=70)
def metrics(run: Run) -> Chart:
    """The curves that the user logged: accuracy or anything else, on one axis where they share a range.

    The first one decides the range; those that lie more than ten times higher or lower are left out and named.
    """
    logged = {
        name: series
        for name, series in run.history.scalars.items()
        if name not in OWN and np.isfinite(series.values).any()
    }
    if not logged:
        raise NotRecorded("nothing was logged beside the loss")
    first = next(iter(logged))
    shown = [name for name in logged if _alike(logged[first], logged[name])][:MOST]
    left = [name for name in logged if name not in shown]
    lines = []
    for style, name in enumerate(shown):
        x, y = thinned(logged[name].steps.astype(np.float64), logged[name].values, 400)
        lines.append(Line(shortened(clean(name), 24), x, y, style=style, markers=len(x) <= 40))
    told = [_sentence(name, logged[name]) for name in shown]
    beside = f" Not shown, of another range: {', '.join(clean(name) for name in left)}." if left else ""
    return Chart(
        title=told[0],
        reading=f"Logged by the training.{beside}",
        x=Axis("step"),
        y=Axis(shortened(clean(first), 30) if len(shown) == 1 else "value"),
        shapes=tuple(lines),
        alt=f"Line chart over steps. {'. '.join(told)}.",
        table=Table(
            ("name", "first", "last", "least", "greatest"),
            tuple((clean(name), *(number(value) for value in _four(series))) for name, series in logged.items()),
        ),
    )


def _four(series: Series) -> tuple[float, float, float, float]:
    known = series.values[np.isfinite(series.values)]
    return float(known[0]), float(known[-1]), float(known.min()), float(known.max())


def _alike(first: Series, other: Series) -> bool:
    a, b = (np.nanmax(np.abs(np.where(np.isfinite(s.values), s.values, np.nan))) for s in (first, other))
    return bool(max(a, b) <= 10 * min(a, b))


def _sentence(name: str, series: Series) -> str:
    """From where to where, by the medians of a fiftieth of the values at either end."""
    known = series.values[np.isfinite(series.values)]
    few = max(1, len(known) // 50)
    first, last = (number(float(f"{np.median(part):.3g}")) for part in (known[:few], known[-few:]))
    return f"{clean(name)}: from {first} to {last}"
