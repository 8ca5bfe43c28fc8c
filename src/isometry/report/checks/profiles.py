"""Signals by depth: the band where they were predicted, and the line where they were measured."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis.check import Band, Check, Prediction
from isometry.errors import NotRecorded
from isometry.report.chart import Axis, Chart, Level, Line, Mark, Points, Ribbon, Shape, Table, Whiskers
from isometry.report.checks.words import band_words, course, expectation, place, reach, reference, size
from isometry.report.columns import chains, listed
from isometry.report.words import clean, plural

__all__ = ["backward_profile", "forward_profile"]

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
"""Layers that a signal runs through one after the other, by their places."""

MEASURED, PREDICTED = 0, 4
"""Styles: a solid line with round markers, and grey."""
MARKED = 60
"""Layers up to which each bears a marker."""
SAID = (
    (-9.0, "a billionth"),
    (-6.0, "a millionth"),
    (-3.0, "a thousandth"),
    (3.0, "a thousand times"),
    (6.0, "a million times"),
)


def backward_profile(prediction: Prediction, check: Check | None = None) -> Chart:
    """δ at every layer, against the layer nearest to the output.

    Raises:
        NotRecorded: it was neither predicted nor measured at any layer.
    """
    against = reference(prediction)
    measured, names = check.backward if check else None, prediction.architecture.names
    title = expectation(prediction) if check is None else course("δ", check.backward, names, backwards=True)
    return _profile(
        prediction,
        prediction.backward,
        measured,
        title=title,
        reading="δ runs from the output (right) to the input (left); a straight slope is an exponential.",
        axis=Axis(f"size of δ = ∂L/∂z, against {against}", unit="decades"),
        levels=[
            Level(at, f"{words} of {against}'s") if at < 0 else Level(at, f"{words} {against}'s") for at, words in SAID
        ],
        name="delta-against-prediction",
    )


def forward_profile(prediction: Prediction, check: Check | None = None) -> Chart:
    """Root mean square of z at every layer.

    Raises:
        NotRecorded: it was neither predicted nor measured at any layer.
    """
    measured = check.forward if check else None
    values = prediction.forward.mean if check is None else check.forward
    return _profile(
        prediction,
        prediction.forward,
        measured,
        title=course("z", values, prediction.architecture.names, backwards=False, predicted=check is None),
        reading="The signal runs from the input (left) to the output (right); 0 is the size 1, −1 a tenth of it.",
        axis=Axis("size of z (rms), log10", unit="decades"),
        levels=[],
        name="z-against-prediction",
    )


def _profile(
    prediction: Prediction,
    band: Band,
    measured: Floats | None,
    *,
    title: str,
    reading: str,
    axis: Axis,
    levels: Sequence[Level],
    name: str,
) -> Chart:
    if not np.isfinite(band.mean).any() and (measured is None or not np.isfinite(measured).any()):
        raise NotRecorded(f"{axis.words.partition(',')[0]} was neither predicted nor measured at any layer")
    names = prediction.architecture.names
    paths = chains(prediction.architecture)
    shapes = [*_bands(band, measured, paths, band_words()), *_means(band, paths, said=measured is None)]
    if measured is not None:
        shapes += _measured(measured, paths, names)
    seen = np.concatenate([values[np.isfinite(values)] for values in (band.low, band.high, *_given(measured))])
    shapes += [level for level in levels if seen.size and seen.min() <= level.at <= seen.max()]
    return Chart(
        title=title,
        reading=reading,
        x=Axis("layer, input first", scale="layers", names=names),
        y=axis,
        shapes=tuple(shapes),
        alt=_alt(prediction, band, measured, title),
        table=_table(names, band, measured),
        name=name,
    )


def _given(measured: Floats | None) -> tuple[Floats, ...]:
    return () if measured is None else (measured,)


def _bands(band: Band, measured: Floats | None, paths: Sequence[Places], words: str) -> list[Shape]:
    """A ribbon along each path, whiskers for a layer beside them or alone; −∞ is drawn below all that is seen."""
    seen = np.concatenate([values[np.isfinite(values)] for values in (band.low, band.high, *_given(measured))])
    low = np.where(np.isneginf(band.low), (seen.min() if seen.size else 0.0) - 1, band.low)
    there = np.isfinite(low) & np.isfinite(band.high)
    alone = there.copy()
    shapes: list[Shape] = []
    for path in paths:
        known = there[path]
        joined = known & (np.append(known[1:], False) | np.append(False, known[:-1]))
        alone[path[joined]] = False
        if joined.any():
            lower, upper = (np.where(known, end[path], np.nan) for end in (low, band.high))
            shapes.append(Ribbon("" if shapes else words, path.astype(np.float64), lower, upper, style=PREDICTED))
    if alone.any():
        at = np.flatnonzero(alone)
        shapes.append(Whiskers("" if shapes else words, at.astype(np.float64), low[at], band.high[at], style=PREDICTED))
    return shapes


def _means(band: Band, paths: Sequence[Places], *, said: bool) -> list[Shape]:
    return [
        Line("mean predicted" if said and place == 0 else "", *_along(band.mean, path), style=PREDICTED, role="context")
        for place, path in enumerate(paths)
    ]


def _measured(values: Floats, paths: Sequence[Places], names: Sequence[str]) -> list[Shape]:
    """A line along each path, points beside them, and a sign where nothing arrives."""
    marked = len(values) <= MARKED
    shapes: list[Shape] = [
        Line("measured" if place == 0 else "", *_along(values, path), style=MEASURED, markers=marked)
        for place, path in enumerate(paths)
    ]
    beside = np.setdiff1d(np.flatnonzero(np.isfinite(values)), np.concatenate(paths))
    if beside.size:
        words = "measured beside the main path (branches, before a norm)"
        shapes.append(Points(words, *_along(values, beside)))
    gone = np.flatnonzero(np.isneginf(values)).tolist()
    return [*shapes, *(Mark(float(k), "zero", f"no signal at {clean(names[k])}") for k in gone)]


def _along(values: Floats, path: Places) -> tuple[Floats, Floats]:
    return path.astype(np.float64), np.where(np.isfinite(values[path]), values[path], np.nan)


# In words -------------------------------------------------------------------------------------------------------------


def _alt(prediction: Prediction, band: Band, measured: Floats | None, title: str) -> str:
    said = f"Line chart for {plural(len(prediction.architecture), 'layer')} over the predicted band. {title}."
    if measured is None:
        return said
    places = [place(float(v), float(a), float(b)) for v, a, b in zip(measured, band.low, band.high, strict=True)]
    inside, held = places.count("inside"), sum(bool(where) for where in places)
    return f"{said} {inside} of {held} measured values that can be compared lie inside the band."


def _table(names: Sequence[str], band: Band, measured: Floats | None) -> Table:
    columns = ("layer", *(() if measured is None else ("measured",)), "mean predicted", "95 % of networks")
    rows = []
    for k in listed(names, 60):
        given = () if measured is None else (size(float(measured[k])),)
        rows.append(
            (clean(names[k]), *given, size(float(band.mean[k])), reach(float(band.low[k]), float(band.high[k])))
        )
    return Table(columns, tuple(rows))
