"""All singular values of the Jacobian from input to output, sample by sample, beside the 1 of an isometry."""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isometry.errors import NotRecorded
from isometry.history.inspection import JacobianFacts, Spectrum
from isometry.report.chart import Axis, Chart, Level, Line, Mark, Note, Points, Shape, Table
from isometry.report.checks.words import without_rounding
from isometry.report.words import counted, number, plural

__all__ = ["spectrum_chart"]

Floats = NDArray[np.float64]

MEDIAN, SAMPLE = 0, 4
"""Styles: a solid line with round markers, and grey."""
MARKED = 40
"""Values up to which each of the thick line bears a marker."""
AIR = 0.08
"""Share of the height above and below all that is drawn."""
ABOVE = 0.055
"""Share of the height that words stand above their line."""
LISTED = 40
"""Rows of the table at most."""


def spectrum_chart(facts: JacobianFacts | None) -> Chart:
    """Singular values on a logarithmic axis, largest first: one thin line a sample, and their median.

    Where there is one alone, as with a single output, the samples stand side by side instead.

    Raises:
        NotRecorded: they were not computed, or are not finite.
    """
    spectrum = _known(facts)
    values = np.array(spectrum.values)
    finite = values[np.isfinite(values).all(axis=1)]
    if not finite.size:
        raise NotRecorded("the Jacobian is not finite")
    alone = finite.shape[1] == 1
    drawn = values.T if alone else finite
    axis = _height(finite)
    return Chart(
        title=_title(without_rounding(finite, spectrum)),
        reading=_reading(spectrum, alone, int(finite.any(axis=1).sum())),
        x=Axis("sample" if alone else "singular value, largest first", scale="layers", names=_numbers(drawn.shape[1])),
        y=axis,
        shapes=(
            *([Points("", _places(drawn[0]), drawn[0], style=MEDIAN)] if alone else _lines(finite, spectrum)),
            *_level(1.0, "1: dynamical isometry", axis, drawn.shape[1] - 1.0, side="left"),
            *_rounding(finite, spectrum, axis),
            *_zeros(drawn),
            *_broken(values, alone),
        ),
        alt=f"Singular values of the Jacobian of {_count(spectrum)}, {plural(finite.shape[1], 'value')} in each, from "
        f"{number(float(finite.min()))} to {number(float(finite.max()))}; their median is "
        f"{number(float(np.median(finite)))}. In an isometry all are 1.",
        table=_table(drawn, alone),
        name="singular-values",
    )


def _known(facts: JacobianFacts | None) -> Spectrum:
    if facts is None:
        raise NotRecorded("the Jacobian was not measured")
    if facts.spectrum is None:
        raise NotRecorded(facts.reason or facts.unlisted or "they were not computed")
    return facts.spectrum


# Shapes ---------------------------------------------------------------------------------------------------------------


def _places(row: Floats) -> Floats:
    return np.arange(len(row), dtype=np.float64)


def _lines(finite: Floats, spectrum: Spectrum) -> list[Shape]:
    """One thin line a sample, and a thick one; the latter alone where there is one Jacobian."""
    middle, several = np.median(finite, axis=0), len(finite) > 1
    words = f"median of {len(finite)} samples" if several else _count(spectrum)
    return [
        *(Line("", _places(row), row, style=SAMPLE, role="context") for row in finite if several),
        Line(words, _places(middle), middle, style=MEDIAN, markers=len(middle) <= MARKED),
    ]


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(counted(k + 1) for k in range(count))


def _height(finite: Floats) -> Axis:
    """From the smallest that is not 0 to the largest, with the 1 in between."""
    seen = np.concatenate([finite.ravel(), np.median(finite, axis=0)])
    logs = np.log10(seen[seen > 0])
    low, high = min([0.0, *logs]), max([0.0, *logs])
    if high - low < 1:
        low, high = (low + high - 1) / 2, (low + high + 1) / 2
    margin = AIR * (high - low)
    return Axis("how much it stretches", scale="log", low=10 ** (low - margin), high=10 ** (high + margin))


def _level(at: float, words: str, axis: Axis, x: float, side: Literal["over", "left"]) -> list[Shape]:
    """A dotted line, and its words a little higher, where points on the line leave them free."""
    low, high = (float(axis.placed(np.array(end))) for end in (axis.low, axis.high))
    return [Level(at, ""), Note(x, at * 10 ** (ABOVE * (high - low)), words, side=side)]


def _rounding(finite: Floats, spectrum: Spectrum, axis: Axis) -> list[Shape]:
    """Where rounding begins, if anything that is not 0 lies there; said on the left, for values fall to the right."""
    if not ((finite > 0) & (without_rounding(finite, spectrum) == 0)).any():
        return []
    floor = float(np.median(finite.max(axis=1))) * spectrum.rounding
    return _level(floor, "below: rounding", axis, 0.2 * (finite.shape[1] - 1), side="over")


def _zeros(drawn: Floats) -> list[Shape]:
    return [
        Mark(float(k), "zero", f"0 in {plural(int(count), 'sample')}")
        for k, count in enumerate((drawn == 0).sum(axis=0))
        if count
    ]


def _broken(values: Floats, alone: bool) -> list[Shape]:
    """A sign for the samples that are not finite: at their places, or else one for all."""
    broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if alone:
        return [Mark(float(k), "nan", "not finite") for k in broken]
    words = f"not finite in {plural(len(broken), 'sample')}"
    return [Mark(0.3 * (values.shape[1] - 1), "nan", words)] if broken.size else []


# In words -------------------------------------------------------------------------------------------------------------


def _title(finite: Floats) -> str:
    low, middle, high = (number(float(at)) for at in (finite.min(), np.median(finite), finite.max()))
    one = finite.shape[1] == 1
    if not finite.any():
        return "No small change of the input reaches the output"
    if low == high:
        return (
            f"The Jacobian's only singular value is {high}" if one else f"The Jacobian's singular values are all {high}"
        )
    if one:
        return f"The Jacobian's only singular value lies between {low} and {high}"
    return f"The Jacobian's singular values run from {high} down to {low}, median {middle}"


def _reading(spectrum: Spectrum, alone: bool, lines: int) -> str:
    end = "On the dotted line at 1 gradients keep their length."
    if alone:
        return f"A single singular value for each sample: the length of the gradient. {end}"
    if spectrum.together:
        return f"The samples depend on each other, so that all of them have one Jacobian. {end}"
    return f"{'Each thin line is one sample. ' * (lines > 1)}{end}"


def _count(spectrum: Spectrum) -> str:
    return f"{plural(spectrum.samples, 'sample')}{' together' * spectrum.together}"


def _table(drawn: Floats, alone: bool) -> Table:
    lead = "sample" if alone else "singular value"
    rows = list(range(0, drawn.shape[1], math.ceil(drawn.shape[1] / LISTED)))
    if len(drawn) == 1:
        return Table((lead, "stretches by"), tuple((counted(k + 1), number(float(drawn[0, k]))) for k in rows))
    columns = np.stack([drawn.min(axis=0), np.median(drawn, axis=0), drawn.max(axis=0)])
    return Table(
        (lead, "least of the samples", "median", "most of the samples"),
        tuple((counted(k + 1), *(number(float(value)) for value in columns[:, k])) for k in rows),
    )
