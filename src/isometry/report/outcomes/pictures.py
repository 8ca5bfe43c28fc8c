"""Before beside after, as data: scores, losses, and the size of δ along depth."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.script import Script
from isometry.network.signals import Signal
from isometry.report.chart import Axis, Chart, Line, Points, Ribbon, Shape, Table
from isometry.report.columns import chains, log10, norms
from isometry.report.outcomes.words import arm_name, best_arm, score_words
from isometry.report.words import clean, decades
from isometry.treatment.contrast import number
from isometry.treatment.outcome import Arm, Outcome

__all__ = ["outcome_charts"]

Numbers = NDArray[np.float64]

BEFORE, AFTER = 2, 0
"""Styles: orange for the untreated network, blue for the treated one."""


def outcome_charts(outcome: Outcome) -> list[Chart]:
    """The pictures that can be drawn of an outcome."""
    charts = [_scores(outcome)] if len(outcome.trials) > 1 else []
    best = best_arm(outcome)
    if best is not None:
        charts += [
            chart
            for chart in (_losses(outcome.trials[0], best, _unit(outcome)), _profiles(outcome))
            if chart is not None
        ]
    return charts


def _scores(outcome: Outcome) -> Chart:
    names = tuple(arm_name(arm) for arm in outcome.trials)
    shapes: list[Shape] = []
    rows = []
    for place, arm in enumerate(outcome.trials):
        scores = np.array([course.score for course in arm.courses], dtype=np.float64)
        known = scores[np.isfinite(scores)]
        style = BEFORE if arm.prescription is None else AFTER
        words = {0: "untreated, one seed each", 1: "treated, one seed each"}.get(place, "")
        shapes.append(Points(words, known, np.full(len(known), float(place)), style=style))
        rows.append((names[place], ", ".join(number(score) for score in scores)))
    title = f"Scores of {len(names)} arms, seed by seed"
    best = best_arm(outcome)
    if best is not None:
        title = f"{arm_name(best)[:1].upper()}{arm_name(best)[1:]} against the untreated network, seed by seed"
    return Chart(
        title=title,
        reading="Each sign is one training; every arm had the same seeds, the same data and the same number of steps.",
        x=Axis(f"score: {score_words(outcome)}"),
        y=Axis("", scale="layers", names=names),
        shapes=tuple(shapes),
        alt=f"Points by arm. {'; '.join(f'{name}: {scores}' for name, scores in rows)}.",
        table=Table(("arm", "scores"), tuple(rows)),
        name="scores",
    )


def _losses(untreated: Arm, best: Arm, unit: str) -> Chart | None:
    """``unit``: ``epoch`` where each loss is of one, ``step`` where it is of a part of the training."""
    shapes: list[Shape] = []
    rows: list[tuple[str, ...]] = []
    ends = []
    for arm, style in ((untreated, BEFORE), (best, AFTER)):
        courses = [course for course in arm.courses if len(course.losses) > 1]  # others ended at once
        if not courses:
            return None
        length = min(len(course.losses) for course in courses)
        losses = np.array([course.losses[:length] for course in courses])
        losses[~np.isfinite(losses)] = np.nan
        if np.isnan(losses).all(axis=0).any():
            return None
        each = max(course.steps for course in courses) / length if unit == "step" else 1.0
        ends_at = each * np.arange(1.0, length + 1)
        middle = np.nanmedian(losses, axis=0)
        if len(losses) > 1:
            shapes.append(Ribbon("", ends_at, np.nanmin(losses, axis=0), np.nanmax(losses, axis=0), style=style))
        shapes.append(Line(arm_name(arm), ends_at, middle, style=style))
        rows.append((arm_name(arm), number(float(middle[0])), number(float(middle[-1]))))
        ends.append(float(middle[-1]))
    return Chart(
        title=f"The training loss ends at {number(ends[1])} instead of {number(ends[0])}",
        reading=f"Median over the seeds of the mean loss of each {'epoch' if unit == 'epoch' else 'part'} of the "
        "training; shaded: from the lowest to the highest seed.",
        x=Axis(unit),
        y=Axis("training loss"),
        shapes=tuple(shapes),
        alt="Two curves of the loss. " + "; ".join(f"{row[0]}: from {row[1]} to {row[2]}" for row in rows) + ".",
        table=Table(("arm", "first", "last"), tuple(rows)),
        name="losses",
    )


def _unit(outcome: Outcome) -> str:
    """What the losses are counted by: nobody knows the epochs of a script."""
    return "step" if isinstance(outcome.experiment, Script) else "epoch"


def _profiles(outcome: Outcome) -> Chart | None:
    if outcome.after is None:
        return None
    shapes: list[Shape] = []
    rows = []
    for words, run, style in (("before", outcome.before.run, BEFORE), ("after", outcome.after.run, AFTER)):
        try:
            depth, sizes = _profile(run)
        except NotRecorded:
            return None
        shapes.append(Line(words, depth, sizes, style=style, markers=len(depth) <= MARKED))
        rows.append((words, clean(run.name), decades(float(sizes[0] - sizes[-1]))))
    return Chart(
        title=f"δ changes by {rows[1][2]} decades from the output to the input, before by {rows[0][2]}",
        reading="At the first recorded step; from the output (right) to the input (left). Level is healthy.",
        x=Axis("depth, from the input (0) to the output (1)"),
        y=Axis("size of δ against the last layer", unit="decades"),
        shapes=tuple(shapes),
        alt="Two profiles of δ along depth. " + "; ".join(f"{row[0]}: {row[2]} decades" for row in rows) + ".",
        table=Table(("", "run", "decades"), tuple(rows)),
        name="delta-before-and-after",
    )


MARKED = 60
"""Places up to which each bears a marker."""


def _profile(run: Run) -> tuple[Numbers, Numbers]:
    """Depth and log10 ‖δ‖ along the main path at the first step in which it is known at two places or more."""
    sizes, _ = norms(run, Signal.DELTA)
    paths: Sequence[NDArray[np.int64]] = chains(run.architecture)
    for row in sizes:
        logs = log10(row)[paths[0]]
        known = np.flatnonzero(np.isfinite(logs))
        if len(known) > 1:
            depth = known / known[-1]
            return depth.astype(np.float64), np.asarray(logs[known] - logs[known[-1]])
    raise NotRecorded("δ was positive at no two layers of any step")
