"""Where along depth δ is lost or won, and by what: the backward gain of each layer split into its causes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis.attribution import Gain, PartKind, attribute
from isometry.diagnosis.trunk import trunks
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.signals import Signal
from isometry.report.chart import Axis, Bars, Chart, Part, Table
from isometry.report.columns import column
from isometry.report.plot import plot
from isometry.report.words import called, clean, decades, plural

Numbers = NDArray[np.float64]

ROWS = 8
"""First recorded steps whose gains are averaged: the network as it was drawn."""
GROUPS = {
    PartKind.WEIGHT_SCALE: "weights and norms",
    PartKind.NORM: "weights and norms",
    PartKind.RESTING_SLOPE: "slope of φ at rest",
    PartKind.SPREAD: "place of z on φ",
    PartKind.SHIFT: "place of z on φ",
    PartKind.OPERATING_SLOPE: "place of z on φ",
    PartKind.WEIGHT_ALIGNMENT: "alignment",
    PartKind.SLOPE_ALIGNMENT: "alignment",
    PartKind.BRANCH: "residual sums",
    PartKind.BRANCH_ALIGNMENT: "residual sums",
    PartKind.RESIDUAL: "residual sums",
}
NOTABLE = 0.2
"""Share of the whole from which on a part of the other sign stands in the title; words only."""
REST = "rest, not split"
ORDER = ("slope of φ at rest", "weights and norms", "place of z on φ", "alignment", "residual sums", REST)


@plot("gain-by-layer", place=30, proves=("vanishing_gradient", "exploding_gradient", "poor_initialization"))
def gain_by_layer(run: Run) -> Chart:
    """Decades that δ wins or loses on its way through each layer, split into causes that add up exactly.

    Weights and norms: the scale of W (σ_w = rms W · √fan-in), a norm behind it taken with it. Slope at rest: |φ′(0)|,
    a quarter for sigmoid. Place of z on φ: what the distribution of z makes of the slope, saturation among it.
    Alignment: δ lies in directions that W or φ′ treat unlike the average.
    """
    column(run, Signal.DELTA, "rms")
    gains, when = _gains(run)
    names = tuple(gain.lower for gain in gains)
    groups = _groups(gains)
    totals = np.array([gain.decades for gain in gains])
    parts = tuple(Part(name, groups[name]) for name in ORDER if name in groups and np.abs(groups[name]).max() > 5e-4)
    return Chart(
        title=_title(gains, totals, parts),
        reading=f"Below zero δ shrinks on its way to the input. The mark is the sum of the parts; mean of {when}.",
        x=Axis("layer that δ arrives at, input first", scale="layers", names=names),
        y=Axis("backward gain", unit="decades"),
        shapes=(Bars(parts or (Part("gain", totals),), totals=totals),),
        alt=f"Stacked bars for {plural(len(gains), 'layer')}. " + _alt(parts, totals),
        table=Table(
            ("layer", "in all", *(part.words for part in parts)),
            tuple(
                (clean(name), decades(float(totals[k])), *(decades(float(part.values[k])) for part in parts))
                for k, name in enumerate(names)
            ),
        ),
    )


def _gains(run: Run) -> tuple[Sequence[Gain], str]:
    """Gains along the longest chain, and the steps they are means of."""
    found = trunks(run.architecture)
    if not found:
        raise NotRecorded("no chain of layers was found along which δ could be followed")
    rows = _first_rows(run, found[0].places)
    gains = attribute(run, found[0], rows=rows)
    if not gains:
        raise NotRecorded("δ was not recorded at two neighbouring layers, or was zero there")
    steps = [int(run.history.steps[row]) for row in rows]
    return gains, f"step {steps[0]:,}" if len(steps) == 1 else f"steps {steps[0]:,} to {steps[-1]:,}"


def _first_rows(run: Run, places: Sequence[int]) -> NDArray[np.int64]:
    """The first recorded steps in which δ was positive along the chain."""
    delta = column(run, Signal.DELTA, "rms")[: 64 * ROWS, list(places)]
    whole = np.flatnonzero((np.isfinite(delta) & (delta > 0)).mean(axis=1) > 0)
    if not whole.size:
        raise NotRecorded("δ was positive at no layer in the first recorded steps")
    return whole[:ROWS].astype(np.int64)


def _groups(gains: Sequence[Gain]) -> dict[str, Numbers]:
    groups: dict[str, Numbers] = {}
    for place, gain in enumerate(gains):
        for part in gain.parts:
            values = groups.setdefault(GROUPS.get(part.kind, REST), np.zeros(len(gains)))
            values[place] += part.decades
    return groups


def _title(gains: Sequence[Gain], totals: Numbers, parts: Sequence[Part]) -> str:
    whole = float(totals.sum())
    if abs(whole) < 0.5 or not parts:
        return f"Along {plural(len(gains), 'layer')} δ changes by {decades(whole)} decades in all"
    main = max(parts, key=lambda part: float(np.sign(whole) * part.values.sum()))
    if main.words == REST:
        worst = int((np.sign(whole) * totals).argmax())
        verb = "loses" if whole < 0 else "wins"
        return f"δ {verb} {abs(totals[worst]):.1f} decades on its way to {called(gains[worst].lower)}"
    against = [part for part in parts if float(part.values.sum()) * whole < -NOTABLE * whole**2]
    if against:
        other = max(against, key=lambda part: abs(float(part.values.sum())))
        said = [f"{decades(float(part.values.sum()))} {part.words}" for part in (main, other)]
        return f"δ {'loses' if whole < 0 else 'wins'} {abs(whole):.1f} decades in all: {said[0]}, {said[1]}"
    verb = "lost" if whole < 0 else "won"
    return f"Of {abs(whole):.1f} decades {verb}, {abs(float(main.values.sum())):.1f} come from the {main.words}"


def _alt(parts: Sequence[Part], totals: Numbers) -> str:
    said = ", ".join(f"{part.words} {decades(float(part.values.sum()))}" for part in parts)
    worst = int(np.abs(totals).argmax())
    return (
        f"Decades in all {decades(float(totals.sum()))}: {said or 'not split'}. "
        f"Largest at bar {worst + 1}: {decades(float(totals[worst]))}."
    )
