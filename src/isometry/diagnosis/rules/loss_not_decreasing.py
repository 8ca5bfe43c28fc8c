"""L101: the loss ends where it began, and not because there was nothing left to learn."""

from collections.abc import Iterable

import numpy as np

from isometry.diagnosis import limits
from isometry.diagnosis.finding import PROBLEMS, Cause, Evidence, Finding, Severity
from isometry.diagnosis.level import Level, has_rivals, level_of
from isometry.diagnosis.rule import rule
from isometry.errors import NotRecorded
from isometry.history.run import Run

__all__ = ["loss_not_decreasing"]

TRULY_BOUNDED = frozenset({"cross_entropy", "nll", "binary_cross_entropy"})
"""Losses whose guessing level hardly changes from batch to batch, so that staying above it can be told."""

CAUSES = tuple(name for name in PROBLEMS if name not in ("loss_not_decreasing", "loss_spike"))
"""A loss that does not fall has its reason inside the network wherever one is found there."""


@rule("L101", problem="loss_not_decreasing", reads=[], follows=CAUSES)
def loss_not_decreasing(run: Run) -> Iterable[Finding]:
    """Over the whole run the loss came down by no more than a few percent, or never below what guessing gives.

    Medians of the first and the last steps and the slope over twenty blocks are compared, so that neither single
    batches nor the ends of epochs decide; where the noise is too large to exclude a fall, nothing is said.

    How it is told apart: a converged or pretrained network has a loss far below that of guessing (ln of the number of
    classes, variance of the targets). Losses that are not known to have a floor at zero (policy gradients,
    contrastive, hand-made ones) and losses that two optimisers pull at (GANs) may be flat in good health, so they
    are not judged.

    Sources: Theil 1950, Sen 1968; Mann 1945. Limits: benchmarks/loss_curves.py.
    """
    level = level_of(run)
    if not level.has_floor:
        raise NotRecorded("the kind of the loss is unknown, so a flat curve may be a good one")
    if has_rivals(run) and (level.guessing is None or level.kind == "binary_cross_entropy"):
        raise NotRecorded("several optimisers pull at the loss, so a flat curve may be a good one")
    if _is_negated(level):
        yield _negated(level)
    if level.began_trained or level.reference <= 0:
        return
    if _is_flat(level) or _is_guessing(level):
        yield _finding(level)


def _is_negated(level: Level) -> bool:
    """A loss that cannot be negative begins at minus what guessing gives: somebody maximises it."""
    if level.guessing is None or level.kind not in TRULY_BOUNDED:
        return False
    return abs(level.first / level.guessing + 1) < limits.NEGATED.value


def _negated(level: Level) -> Finding:
    return Finding(
        severity=Severity.HARMS,
        summary=(
            f"the loss begins at {level.first:.3g}, minus what guessing gives, and ends at {level.course.end:.3g}: "
            "its sign is turned, so training makes the network worse"
        ),
        causes=(Cause("sign", None, f"{level.kind} cannot be below zero."),),
        evidence=(limits.NEGATED.evidence("start of the loss over that of guessing", level.first / level.guessing),)
        if level.guessing
        else (),
        consequence="The network learns to avoid the right answers.",
    )


def _is_flat(level: Level) -> bool:
    """The fall is small even if noise hid a part of it; or somewhat larger, and no trend is there at all."""
    trendless = level.course.certainty > -limits.NO_TREND.value
    share = limits.NOISY_FALLEN.value if trendless else limits.LITTLE_FALLEN.value
    little = share * level.reference
    return level.reference - level.course.end + _uncertainty(level) < little and -level.course.trend < little


def _uncertainty(level: Level) -> float:
    """Standard error of the difference between the levels at both ends; medians have 1.25 that of means."""
    steps = level.course.steps
    few, many = min(steps // 20, 10), steps // 10
    return float(limits.MEDIAN_ERROR.value * level.course.noise * np.sqrt(1 / few + 1 / many))


def _is_guessing(level: Level) -> bool:
    """The loss came down at most to what an answer gives that ignores the input."""
    if level.guessing is None or level.kind not in TRULY_BOUNDED:
        return False
    course, near = level.course, limits.NEAR_GUESSING.value * level.guessing
    return course.lowest > near and course.end > near and -course.late_trend < limits.LITTLE_FALLEN.value * course.end


def _finding(level: Level) -> Finding:
    course = level.course
    rose = level.fallen < -limits.LITTLE_FALLEN.value
    how = f"rose from {level.reference:.3g} to {course.end:.3g}" if rose else f"stayed at {course.end:.3g}"
    at_guessing = level.guessing is not None and abs(course.end / level.guessing - 1) < limits.AT_GUESSING.value
    beside = ", which is what guessing gives" if at_guessing and not rose else ""
    evidence: list[Evidence] = [limits.LITTLE_FALLEN.evidence("part of the loss that is gone", level.fallen)]
    if level.guessing is not None:
        evidence.append(
            limits.NEAR_GUESSING.evidence("lowest loss over that of guessing", course.lowest / level.guessing)
        )
    return Finding(
        severity=Severity.HARMS,
        summary=f"the loss {how} over {course.steps} steps{beside}",
        causes=(Cause("guessing", None, "An answer that ignores the inputs would do as well."),) if beside else (),
        evidence=tuple(evidence),
        consequence="The network has learned nothing that shows in its loss.",
    )
