"""L101: the loss ends where it began, and not because there was nothing left to learn."""

from collections.abc import Iterable

import numpy as np

from isometry.diagnosis import limits
from isometry.diagnosis.finding import PROBLEMS, Cause, Evidence, Finding, Severity
from isometry.diagnosis.level import Level, has_rivals, level_of, loss_series
from isometry.diagnosis.pull import is_starved
from isometry.diagnosis.rule import rule
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.signals import Signal
from isometry.statistics.series import BLOCKS, Values

__all__ = ["loss_not_decreasing"]

TRULY_BOUNDED = frozenset({"cross_entropy", "nll", "binary_cross_entropy"})
"""Losses whose guessing level hardly changes from batch to batch, so that staying above it can be told."""

ANSWER_STD, ANSWER_COUNT = (Signal.PRE_ACTIVATION, "std"), (Signal.PRE_ACTIVATION, "count")

CAUSES = tuple(name for name in PROBLEMS if name not in ("loss_not_decreasing", "loss_spike"))
"""A loss that does not fall has its reason inside the network wherever one is found there."""


@rule("L101", problem="loss_not_decreasing", reads=[], follows=CAUSES)
def loss_not_decreasing(run: Run) -> Iterable[Finding]:
    """Over the whole run the loss came down by no more than a few percent, or never below what guessing gives.

    Medians of the first and the last steps and the slope over twenty blocks are compared, so that neither single
    batches nor the ends of epochs decide. Where the noise is too large to exclude a fall, the curve alone says nothing;
    but a regression whose answers do not vary with the input, although its targets do, has learned nothing.

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
    values = np.asarray(loss_series(run).values, np.float64)
    rough = level.course.noise > limits.ROUGH.value * level.course.end and bool((values > 0).all())
    flat = _is_level(values[np.isfinite(values)], level) if rough else _is_flat(level)
    if flat or _is_guessing(level):
        yield _finding(run, level)
        return
    share = _spread_of_answers(run) if rough and _is_trendless(level) else None
    if share is not None and share < limits.SAME_ANSWER.value:
        yield _constant(level, share)


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
    share = limits.NOISY_FALLEN.value if _is_trendless(level) else limits.LITTLE_FALLEN.value
    little = share * level.reference
    return level.reference - level.course.end + _uncertainty(level) < little and -level.course.trend < little


def _is_level(values: Values, level: Level) -> bool:
    """The same for rough curves, from more values: on a logarithmic scale noise is of one size wherever the loss is."""
    count = len(values)
    heights = np.log(values)
    first, late = heights[: max(int(limits.SPIKE_START.value), count // BLOCKS)], heights[count // 2 :]
    error = float(late.std()) * float(np.sqrt(1 / len(first) + 1 / len(late)))
    fall = float(first.mean() - late.mean()) + limits.NO_TREND.value * error
    share = limits.NOISY_FALLEN.value if _is_trendless(level) else limits.LITTLE_FALLEN.value
    return fall < -float(np.log1p(-share)) and -level.course.trend < share * level.reference


def _is_trendless(level: Level) -> bool:
    return level.course.certainty > -limits.NO_TREND.value


def _spread_of_answers(run: Run) -> float | None:
    """Variance of the answers to one batch over that of the targets, at the last recorded step of a regression.

    A regression that explains a share R² of its targets answers with that share of their variance, whatever the noise.
    None where it cannot be told, or was last looked at early in the run.
    """
    targets = next((event.get("targets") for event in run.history.events("loss_kind")), None)
    outputs = [layer for layer in run.architecture if layer.output and layer.activation is None]
    needed = [ANSWER_STD, ANSWER_COUNT]
    if not targets or not outputs or not targets["std"] or any(column not in run.history for column in needed):
        return None
    place = run.architecture.index(outputs[-1].name)
    std, count = (np.asarray(run.history[column][:, place], np.float64) for column in needed)
    known = np.flatnonzero(np.isfinite(std) & (count >= limits.ANSWERS.value))
    history = run.history
    if not len(known) or history.steps[known[-1]] - history.begin < limits.LATE_LOOK.value * history.total_steps:
        return None
    return float((std[known[-1]] / float(targets["std"])) ** 2)


def _constant(level: Level, share: float) -> Finding:
    return Finding(
        severity=Severity.HARMS,
        summary=(
            f"no fall of the loss can be seen in its noise over {level.course.steps} steps, and the answers vary by "
            f"{share:.1g} of the targets' variance: they hardly depend on the input"
        ),
        causes=(Cause("guessing", None, "An answer that ignores the inputs would do as well."),),
        evidence=(
            limits.SAME_ANSWER.evidence("variance of the answers over that of the targets", share, ANSWER_STD),
            limits.NO_TREND.evidence("certainty that the loss falls", -level.course.certainty),
        ),
        consequence="The network has learned nothing that shows in its loss.",
    )


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


def _finding(run: Run, level: Level) -> Finding:
    course = level.course
    rose = level.fallen < -limits.LITTLE_FALLEN.value
    how = f"rose from {level.reference:.3g} to {course.end:.3g}" if rose else f"stayed at {course.end:.3g}"
    at_guessing = level.guessing is not None and abs(course.end / level.guessing - 1) < limits.AT_GUESSING.value
    beside = ", which is what guessing gives" if at_guessing and not rose else ""
    causes = (Cause("guessing", None, "An answer that ignores the inputs would do as well."),) if beside else ()
    evidence: list[Evidence] = [limits.LITTLE_FALLEN.evidence("part of the loss that is gone", level.fallen)]
    if level.guessing is not None:
        evidence.append(
            limits.NEAR_GUESSING.evidence("lowest loss over that of guessing", course.lowest / level.guessing)
        )
    return Finding(
        severity=Severity.HARMS,
        summary=f"the loss {how} over {course.steps} steps{beside}",
        causes=causes + _starving(run),
        evidence=tuple(evidence),
        consequence="The network has learned nothing that shows in its loss.",
    )


def _starving(run: Run) -> tuple[Cause, ...]:
    """Gradients that are too small for any rate, where the run does not hold what would show why."""
    if not is_starved(run):
        return ()
    words = (
        "The gradients are so small that a step of a layer's own size would change the loss by less than a hundredth. "
        "Why is not seen in this run, which holds no signals: `isometry check` sees them."
    )
    return (Cause("small gradients", None, words),)
