"""What would change the network: every counterfactual as a point with its scatter, the gentlest on top."""

import math
from collections.abc import Sequence

import numpy as np

from isometry.diagnosis.check import Counterfactual, Prediction
from isometry.errors import NotRecorded
from isometry.report.chart import Axis, Chart, Line, Points, Shape, Table, Whiskers
from isometry.report.checks.tables import CHANGE_COLUMNS, change_rows, changes_glossary
from isometry.report.checks.words import size
from isometry.report.words import clean, decades

__all__ = ["changes_chart"]

CHANGED, PRESENT, GUIDE = 0, 2, 4
"""Styles: blue circles, an orange triangle for the network as it is, and grey."""


def changes_chart(prediction: Prediction, changes: Sequence[Counterfactual]) -> Chart:
    """Decades that δ gains or loses from the output side to the first layer, under each change.

    Raises:
        NotRecorded: no change was tried.
    """
    if not changes:
        raise NotRecorded("no change was tried")
    at = np.arange(len(changes), dtype=np.float64)
    ends = np.array([one.backward for one in changes])
    spread = np.nan_to_num(np.array([one.spread for one in changes]))
    present = np.array([not one.edits for one in changes])
    shapes: list[Shape] = [
        Line("", np.zeros(2), np.array([len(changes) - 0.55, -0.5]), role="implied", style=GUIDE),
        *(
            Whiskers("", at[rows], ends[rows] - spread[rows], ends[rows] + spread[rows], along="x", style=style)
            for rows, style in ((~present, CHANGED), (present, PRESENT))
        ),
        Points("changed", ends[~present], at[~present], style=CHANGED),
        Points("the network as it is", ends[present], at[present], style=PRESENT),
    ]
    rows = tuple(change_rows(changes))
    return Chart(
        title=_title(changes),
        reading="A point is the mean of drawn networks, its bar one standard deviation; at 0 δ keeps its size.",
        x=Axis("what δ gains or loses on its way to the input", unit="decades"),
        y=Axis("", scale="layers", names=tuple(_name(one) for one in changes)),
        shapes=tuple(shapes),
        alt=f"Ranked points. {changes_glossary(prediction)} "
        + "; ".join(f"{clean(one.name)} {size(one.backward)}" for one in changes)
        + ".",
        table=Table((*CHANGE_COLUMNS[:2], "standard deviation", "z", "remark"), rows),
        name="what-would-change-it",
    )


def _name(one: Counterfactual) -> str:
    return one.name if np.isfinite(one.backward) else f"{one.name}: no gradient"


def _title(changes: Sequence[Counterfactual]) -> str:
    best = min(changes, key=lambda one: abs(one.backward))
    present = next((one for one in changes if not one.edits), None)
    if present is None or best is present:
        return "No change that was tried keeps δ better in size"
    name = clean(best.name[:1].upper() + best.name[1:])
    if not math.isfinite(present.backward):
        return f"{name} would let δ through: {decades(best.backward)} decades"
    return f"{name} would bring δ from {decades(present.backward)} to {decades(best.backward)} decades"
