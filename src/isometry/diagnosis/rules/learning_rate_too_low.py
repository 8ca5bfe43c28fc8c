"""U102: steps too small to get anywhere."""

from collections.abc import Iterable

import numpy as np

from isometry.diagnosis import limits
from isometry.diagnosis.finding import Cause, Finding, Severity
from isometry.diagnosis.level import Level, has_rivals, level_of, loss_series
from isometry.diagnosis.pace import UPDATE_RMS, WEIGHT_RMS, Pace, optimisers, pace_of
from isometry.diagnosis.pull import is_starved
from isometry.diagnosis.rule import rule
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.signals import Signal

__all__ = ["learning_rate_too_low"]

DELTA_RMS = (Signal.DELTA, "rms")


@rule(
    "U102",
    problem="learning_rate_too_low",
    reads=[UPDATE_RMS, WEIGHT_RMS],
    follows=["poor_initialization", "unscaled_input", "vanishing_gradient", "precision_underflow"],
)
def learning_rate_too_low(run: Run) -> Iterable[Finding]:
    """Every layer's weights went hardly anywhere, and the loss stayed near where it began.

    A layer's path is the sum of its update ratios rms ΔW / rms W over all steps: an upper bound on how far it can
    have moved, in units of its own size, whatever the optimiser. Under Adam one step is about rate / rms W, whether
    the gradient is large or tiny; under plain SGD it is rate · rms g / rms W. A random draw has to move by a good
    part of its own size before it has learned anything; if no layer moved by a third and the loss kept most of its
    height, the steps were too small for the length of the run.

    How it is told apart: a converged network has a low loss; a pretrained one began below guessing and may well be
    tuned with tiny steps; with vanishing gradients only the early layers rest, or δ falls along depth, or, where no δ
    was recorded, ‖∂L/∂W‖ · ‖W‖ is less than a hundredth of the loss; while a warm-up still raises the rate nothing is
    said, and nothing about runs of less than 100 steps.

    What is not seen: rates that are three or ten times too low. They look like a run that was stopped early.

    Sources: update ratio: Karpathy, CS231n. Limits: benchmarks/loss_curves.py.
    """
    level = level_of(run)
    if level.course.steps < limits.LONG_ENOUGH.value:
        raise NotRecorded(f"{level.course.steps} steps are too few to call a rate low")
    if has_rivals(run):
        raise NotRecorded("several optimisers pull at one loss, so its level says nothing about their rates")
    pace = pace_of(run)
    if not _is_slow(pace) or not _is_unlearned(level) or _is_warming_up(run) or _is_starved(run):
        return
    if is_starved(run):
        raise NotRecorded(
            "the gradients are so small that no rate would help, and why is not seen, for no δ was recorded: "
            "`isometry check` sees the signals"
        )
    moved, late = float(pace.moved.max()), float(np.nanmax(pace.late))
    yield Finding(
        severity=Severity.HARMS if level.fallen < limits.NOTHING_GAINED.value else Severity.SLOWS,
        summary=(
            f"over {level.course.steps} steps no layer moved by more than {_readable(moved)} of its own size, "
            f"and the loss kept {1 - level.fallen:.0%} of its height"
        ),
        layers=pace.names,
        first_step=int(pace.steps[0]),
        causes=(Cause("small steps", None, _words(run, late), pace.names),),
        evidence=(
            limits.HARDLY_MOVED.evidence("longest path of a layer over the run", moved, UPDATE_RMS, WEIGHT_RMS),
            limits.SLOW_PACE.evidence("largest update ratio of a layer, second half", late, UPDATE_RMS, WEIGHT_RMS),
            limits.HARDLY_FALLEN.evidence("part of the loss that is gone", level.fallen),
        ),
        consequence=(
            f"At this pace the fastest layer needs about {_rounded(1 / late)} steps to move by its own size."
            if late > 0
            else ""
        ),
    )


def _is_slow(pace: Pace) -> bool:
    if np.isnan(pace.late).all():
        return False
    moved, late = float(pace.moved.max()), float(np.nanmax(pace.late))
    return 0 < moved < limits.HARDLY_MOVED.value and late < limits.SLOW_PACE.value


def _is_unlearned(level: Level) -> bool:
    """The loss is finite, high, and either known to be that of guessing or seen to be on its way down."""
    if level.began_trained or level.reference <= 0 or level.fallen > limits.HARDLY_FALLEN.value:
        return False
    on_its_way = level.course.certainty < -limits.CERTAIN.value
    return on_its_way or (level.guessing is not None and level.course.end > limits.BEGAN_TRAINED.value * level.guessing)


def _is_warming_up(run: Run) -> bool:
    rate = run.history.scalars.get("lr")
    if rate is None or not len(rate):
        return False
    last = int(loss_series(run).steps[-1])
    half = int(np.searchsorted(rate.steps, (run.history.begin + last) / 2, side="right")) - 1
    return bool(rate.values[-1] > limits.WARM_UP.value * rate.values[max(half, 0)])


def _is_starved(run: Run) -> bool:
    """Whether δ at most layers is so far below that at the last one that small updates are not the rate's fault."""
    if DELTA_RMS not in run.history:
        return False
    weighted = [run.architecture.index(layer.name) for layer in run.architecture if layer.weighted]
    delta = np.asarray(run.history[DELTA_RMS][:, weighted], np.float64)
    delta = delta[np.isfinite(delta).any(axis=1)][:1]
    known = delta[np.isfinite(delta)]
    if len(known) < 1 + 1 or known[-1] <= 0:
        return False
    middle = float(np.median(known))
    return bool(middle <= 0 or np.log10(known[-1] / middle) > limits.STARVED.value)


def _words(run: Run, late: float) -> str:
    by = optimisers(run)
    return f"{by or 'The optimiser'} changes no layer by more than {late:.1e} of its size in a step."


def _readable(share: float) -> str:
    return f"{share:.1%}" if share > limits.SLOW_PACE.value else f"{share:.1e}"


def _rounded(steps: float) -> str:
    digits = 10 ** max(int(np.log10(max(steps, 1.0))) - 1, 0)
    return f"{round(steps / digits) * digits:,.0f}"
