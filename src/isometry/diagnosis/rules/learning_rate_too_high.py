"""U101: steps so large that what was learned is lost again."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis import limits
from isometry.diagnosis.finding import Cause, Evidence, Finding, Severity
from isometry.diagnosis.level import Level, level_of, loss_series
from isometry.diagnosis.pace import UPDATE_RMS, WEIGHT_RMS, Pace, optimisers, pace_of
from isometry.diagnosis.rule import rule
from isometry.history.run import Run

__all__ = ["learning_rate_too_high"]

REGRESSION = frozenset({"mse", "l1", "smooth_l1"})


@rule(
    "U101",
    problem="learning_rate_too_high",
    reads=[UPDATE_RMS, WEIGHT_RMS],
    follows=["unscaled_input", "poor_initialization", "exploding_gradient"],
)
def learning_rate_too_high(run: Run) -> Iterable[Finding]:
    """Single steps change the weights by a large part of their size, and the loss is the worse for it.

    A rate is high or low only against the network: 0.5 is right for softmax regression, 0.1 breaks a deep net under
    Adam. So two things must come together. The true update ratio rms ΔW / rms W, in the middle over the layers, was
    above 0.15 for three to eight recorded steps, or above 1 once. And the loss shows it: it is not finite any more,
    it came down by less than 60 % and does not fall further, or it fell and rose back to where it began.

    How it is told apart: large steps on a loss that falls are a bold and good rate; a noisy or hopeless loss with
    ordinary steps has another cause; layers that start at zero, or far below an ordinary draw, may grow by more than
    their size at first; a regression on rough targets stops falling at their noise, whatever the rate, so one that ends
    well below guessing is not judged.

    Sources: Cohen et al. 2021 (edge of stability: beyond 2 / λ a step overshoots). Limits: benchmarks/loss_curves.py.
    """
    pace = pace_of(run)
    values = loss_series(run).values
    if not np.isfinite(values[-1]):
        yield from _lost(run, pace, values)
        return
    level = level_of(run)
    if level.kind in REGRESSION and _is_below_guessing(level):
        return
    sustained, highest = _sustained(pace.common), float(np.nanmax(pace.common))
    overshoots = sustained > limits.OVERSHOOT.value or highest > limits.LEAP.value
    stuck = overshoots and level.fallen < limits.TOO_LITTLE_FALLEN.value and not _is_on_its_way(level)
    thrown_back = sustained > limits.REBOUND_PACE.value and _has_rebounded(level)
    if stuck or thrown_back:
        yield _finding(run, pace, level)


def _is_below_guessing(level: Level) -> bool:
    """Whether the loss ended well below what an answer gives that ignores the input."""
    if level.guessing is None:
        return False
    return level.course.end < (1 - limits.HARDLY_FALLEN.value) * level.guessing


def _sustained(common: NDArray[np.float64]) -> float:
    """The largest ratio that held for several recorded steps in a row, single ones in between forgiven."""
    width = int(np.clip(len(common) * limits.PART_IN_A_ROW.value, limits.FEW_IN_A_ROW.value, limits.IN_A_ROW.value))
    if len(common) < width:
        return float(np.nanmin(common))
    windows = np.lib.stride_tricks.sliding_window_view(common, width)
    return float(np.nanmax(np.nanmedian(windows, axis=1)))


def _is_on_its_way(level: Level) -> bool:
    """Whether the loss was still coming down when the run ended."""
    course = level.course
    falling = course.late_certainty < -limits.CERTAIN.value and course.late_trend < 0
    return falling and abs(course.late_trend) > limits.STILL_FALLING.value * course.end and level.fallen > 0


def _has_rebounded(level: Level) -> bool:
    lowest, end = level.course.lowest, level.course.end
    fell = lowest < limits.REBOUND_FROM.value * level.reference
    return level.reference > 0 and fell and end > limits.REBOUND_TO.value * level.reference


def _finding(run: Run, pace: Pace, level: Level) -> Finding:
    highest = float(np.nanmax(pace.common))
    back = level.fallen < 1 - limits.REBOUND_TO.value
    return Finding(
        severity=Severity.HARMS if back else Severity.SLOWS,
        summary=(
            f"one step changed the weights by up to {_readable(highest, 'their size')}, and the loss "
            + ("ended where it began or above" if back else f"got stuck at {1 - level.fallen:.0%} of its height")
        ),
        layers=pace.names,
        first_step=_first_step(pace),
        causes=_causes(run, pace),
        evidence=(
            *_ratios(pace),
            limits.TOO_LITTLE_FALLEN.evidence("part of the loss that is gone", level.fallen),
        ),
        consequence="Each step throws away part of what the steps before it had learned.",
    )


def _lost(run: Run, pace: Pace, values: NDArray[np.float64]) -> Iterable[Finding]:
    """The loss is not finite any more: the rate's doing if large steps or a growing loss came before."""
    gone = int(np.flatnonzero(np.isfinite(values))[-1]) + 1 if np.isfinite(values).any() else 0
    before = pace.common[pace.steps < loss_series(run).steps[min(gone, len(values) - 1)]]
    if not gone or not len(before) or np.isnan(before).all():
        return
    finite = values[:gone]
    if _had_learned(finite):
        before = before[-1:]  # large steps of long ago did no lasting harm
    overshot = np.nanmax(before) > limits.LEAP.value or _sustained(before) > limits.OVERSHOOT.value
    size = "the weights' size"
    rising = bool(finite[-1] > limits.BLOWN_UP.value * abs(finite[0]) and np.nanmax(before) > limits.REBOUND_PACE.value)
    if not overshot and not rising:
        return
    yield Finding(
        severity=Severity.STOPS,
        summary=(
            f"steps of up to {_readable(float(np.nanmax(before)), size)} drove the loss "
            + (f"from {finite[0]:.3g} to {finite.max():.3g} and " if finite.max() > finite[0] else "")
            + "out of the range of numbers"
        ),
        layers=pace.names,
        first_step=_first_step(pace),
        causes=_causes(run, pace),
        evidence=_ratios(pace),
        consequence=f"Training is lost from step {int(loss_series(run).steps[gone])} on.",
    )


def _had_learned(finite: NDArray[np.float64]) -> bool:
    """Whether the loss lay well below its beginning when it was lost."""
    last = finite[-int(limits.FEW_IN_A_ROW.value) :]
    return bool(np.max(last) < limits.LEARNED.value * finite[0])


def _first_step(pace: Pace) -> int:
    large = pace.common > limits.OVERSHOOT.value
    return int(pace.steps[int(large.argmax()) if large.any() else int(np.nanargmax(pace.common))])


def _causes(run: Run, pace: Pace) -> tuple[Cause, ...]:
    row = int(np.nanargmax(pace.common))
    worst = pace.names[int(np.nanargmax(pace.guarded[row]))]
    by = optimisers(run) or "The optimiser"
    words = f"{by} takes steps that are too large for this network; largest at {worst}, step {int(pace.steps[row])}."
    return (Cause("large steps", None, words, (worst,)),)


def _ratios(pace: Pace) -> tuple[Evidence, ...]:
    read = (UPDATE_RMS, WEIGHT_RMS)
    return (
        limits.OVERSHOOT.evidence("largest sustained update ratio, median of layers", _sustained(pace.common), *read),
        limits.LEAP.evidence("largest update ratio, median of layers", float(np.nanmax(pace.common)), *read),
    )


def _readable(share: float, size: str) -> str:
    if share < limits.BLOWN_UP.value:
        return f"{share:.0%} of {size}"
    return f"{share:.2g} times {size}" if share < limits.UNTOLD.value else f"more than a million times {size}"
