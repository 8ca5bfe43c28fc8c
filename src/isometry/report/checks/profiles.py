"""Signals by depth: the band where they were predicted, and the line where they were measured."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis.check import Band, Check, Prediction
from isometry.errors import NotRecorded
from isometry.report.chart import Axis, Chart, Level, Line, Mark, Ribbon, Shape, Table, Whiskers
from isometry.report.checks.words import band_words, course, expectation, place, reach, reference, size
from isometry.report.columns import listed
from isometry.report.words import clean, plural

__all__ = ["backward_profile", "forward_profile"]

Floats = NDArray[np.float64]

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
    shapes = _band(band, measured, band_words(prediction))
    shapes.append(_line("mean predicted" if measured is None else "", band.mean, style=PREDICTED, context=True))
    if measured is not None:
        shapes.append(_line("measured", measured, style=MEASURED))
        shapes += [
            Mark(float(k), "zero", f"no signal at {clean(names[k])}") for k in np.flatnonzero(np.isneginf(measured))
        ]
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


def _band(band: Band, measured: Floats | None, words: str) -> list[Shape]:
    """A ribbon, and whiskers where a layer stands alone. An end at −∞ is drawn at the lowest value of the picture."""
    known = [values[np.isfinite(values)] for values in (band.low, band.high, *_given(measured))]
    lowest = float(np.concatenate(known).min()) if any(part.size for part in known) else 0.0
    low = np.where(np.isneginf(band.low), lowest - 1, band.low)
    x = np.arange(len(low), dtype=np.float64)
    there = np.isfinite(low) & np.isfinite(band.high)
    beside = np.zeros_like(there)
    beside[1:] |= there[:-1]
    beside[:-1] |= there[1:]
    alone = there & ~beside
    shapes: list[Shape] = []
    if (there & beside).any():
        shapes.append(
            Ribbon(words, x, np.where(there, low, np.nan), np.where(there, band.high, np.nan), style=PREDICTED)
        )
    if alone.any():
        shapes.append(Whiskers("" if shapes else words, x[alone], low[alone], band.high[alone], style=PREDICTED))
    return shapes


def _line(words: str, values: Floats, *, style: int, context: bool = False) -> Line:
    x = np.arange(len(values), dtype=np.float64)
    placed = np.where(np.isfinite(values), values, np.nan)
    markers = not context and len(values) <= MARKED
    return Line(words, x, placed, style=style, role="context" if context else "main", markers=markers)


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
