"""L201: the loss jumps."""

from collections.abc import Iterable

import numpy as np

from isometry.diagnosis import limits
from isometry.diagnosis.course import has_learned
from isometry.diagnosis.finding import Cause, Evidence, Finding, Severity
from isometry.diagnosis.first_jump import first_jump
from isometry.diagnosis.level import has_rivals, loss_series
from isometry.diagnosis.rule import rule
from isometry.errors import NotRecorded
from isometry.history.history import Integers
from isometry.history.run import Run
from isometry.statistics.series import Jump, Values, jumps

__all__ = ["loss_spike"]


@rule(
    "L201", problem="loss_spike", reads=[], follows=["learning_rate_too_high", "unscaled_input", "exploding_gradient"]
)
def loss_spike(run: Run) -> Iterable[Finding]:
    """The loss rises within a few steps far above everything that its own recent past makes plausible.

    A rise counts when it stands out twice: against the ordinary scatter of the fifty steps before, and against
    the largest rise among them. And it must matter: the loss doubles, and goes at least half of the way back to where
    training began.

    The first fifty steps have too little past for that. There a jump counts that rises by ten times the whole range of
    the loss before it, after steps of ordinary size: one batch unlike the others. It harms where the loss ended no
    lower than before it, and slows where less than half of it is gone at the end: one such step may throw the weights
    off, and an adaptive optimiser divides by its gradient long afterwards.

    How it is told apart: noise of small batches, hard samples and short last batches of an epoch repeat, so the past,
    a longer one for single batches, already holds rises like them; a rate that was raised on purpose shows in the
    recorded rate; losses that two optimisers pull at (GANs) jump in good health and are not judged. A jump that
    stays, below the level of the start, is taken for harder data. What comes back within a few steps is one bad
    batch, and only noted, unless the run ends far above where it was before; so are jumps that cost less than a
    fiftieth of the run.

    Sources: Chowdhery et al. 2023, section 5.1 (spikes of large models). Limits: benchmarks/loss_curves.py.
    """
    if has_rivals(run):
        raise NotRecorded("several optimisers pull at the loss, so jumps belong to it")
    series = loss_series(run)
    finite = np.isfinite(series.values)
    values, steps = np.asarray(series.values[finite], np.float64), series.steps[finite]
    early = first_jump(run, values, steps)
    if len(values) <= limits.SPIKE_WINDOW.value and (early is None or finite.all()):
        raise NotRecorded(f"steps with a finite loss: {len(values)}, too few to tell a jump from noise")
    found = [early] if early is not None and not _follows_rate(run, early, steps) else []
    found += [
        jump
        for jump in _candidates(values)
        if _matters(jump, values) and not _follows_rate(run, jump, steps) and not _is_tail(jump, values)
    ]
    if found:
        yield _finding(run, found, values, steps)


def _candidates(values: Values) -> list[Jump]:
    return jumps(
        values,
        window=int(limits.SPIKE_WINDOW.value),
        score=limits.SPIKE_SCORE.value,
        record=limits.SPIKE_RECORD.value,
    )


def _matters(jump: Jump, values: Values) -> bool:
    """The loss at least doubles and goes half of the way back to where training began; if it stays up, all the way."""
    start = float(np.median(values[: int(limits.SPIKE_START.value)]))
    way = start - jump.before
    part = limits.SPIKE_PART.value if jump.back else 1.0
    doubled = jump.before <= 0 or jump.peak > limits.SPIKE_FACTOR.value * jump.before
    return doubled and jump.rise > part * way


def _is_tail(jump: Jump, values: Values) -> bool:
    """Whether a jump of one batch is but the next of a kind that a longer past already knows."""
    if not jump.back or jump.length > limits.ONE_BATCH.value:
        return False
    past = values[max(jump.at - int(limits.SPIKE_MEMORY.value), 0) : jump.at]
    return bool(jump.rise < limits.SPIKE_RECORD.value * (past.max() - jump.before))


def _follows_rate(run: Run, jump: Jump, steps: Integers) -> bool:
    """Whether the recorded rate was raised shortly before, as restarts do."""
    rate = run.history.scalars.get("lr")
    if rate is None or not len(rate):
        return False
    at = int(steps[jump.at])
    earlier = int(steps[max(jump.at - int(limits.SPIKE_RESTART.value), 0)])
    recent = rate.values[(rate.steps >= earlier) & (rate.steps <= at)]
    before = rate.values[rate.steps < earlier]
    settled = before[-1] if len(before) else rate.values[0]
    return bool(len(recent) and recent.max() > limits.RAISED.value * settled)


def _finding(run: Run, found: list[Jump], values: Values, steps: Integers) -> Finding:
    lasting = [jump for jump in found if _is_lost(jump, values)]
    worst = max(lasting or found, key=lambda jump: (not jump.back, jump.length > 1, jump.rise))
    at = int(steps[worst.at])
    more = f", the worst of {len(found)} such jumps" if len(found) > 1 else ""
    end = _end(values)
    return Finding(
        severity=_severity(run, found, steps=len(values), lost=bool(lasting)),
        summary=(
            f"the loss jumps from {worst.before:.3g} to {worst.peak:.3g} at step {at}{more}; "
            f"{_aftermath(worst, end, lost=bool(lasting))}"
        ),
        first_step=int(steps[found[0].at]),
        causes=(_cause(worst, lost=bool(lasting)),),
        evidence=(
            Evidence("loss before the jump", worst.before),
            Evidence("loss at the end", end),
            limits.SPIKE_SCORE.evidence("rise over the scatter before it", min(worst.score, limits.UNTOLD.value)),
            limits.SPIKE_RECORD.evidence("rise over the largest one before", min(worst.record, limits.UNTOLD.value)),
        ),
        consequence=(
            "What was learned before is lost." if lasting else "The steps until it is back are spent in vain."
        ),
    )


def _end(values: Values) -> float:
    return float(np.median(values[-int(limits.SPIKE_START.value) :]))


def _is_lost(jump: Jump, values: Values) -> bool:
    """Whether the run ended far above its level before the jump, at once or after the loss had touched it again."""
    if _is_early(jump):
        return _end(values) > min(limits.REBOUND_TO.value * jump.before, jump.before)
    if jump.length <= limits.ONE_BATCH.value and len(values) - jump.at <= limits.SPIKE_START.value:
        return False  # the end is the jump itself
    if not jump.back:
        return jump.length > limits.ONE_BATCH.value
    left, start = _end(values) - jump.before, float(np.median(values[: int(limits.SPIKE_START.value)]))
    doubled = jump.before <= 0 or _end(values) > limits.SPIKE_FACTOR.value * jump.before
    return (
        doubled
        and left > limits.SPIKE_LEFT.value * abs(start - jump.before)
        and left > limits.ABOVE_NOISE.value * jump.rise / jump.score
    )


def _is_early(jump: Jump) -> bool:
    return jump.at <= limits.SPIKE_WINDOW.value


def _severity(run: Run, found: list[Jump], *, steps: int, lost: bool) -> Severity:
    """Lost for good, lost for a good while, or a few steps."""
    if lost:
        return Severity.HARMS
    if _is_early(found[0]) and not has_learned(run):
        return Severity.SLOWS
    spent = sum(jump.length for jump in found if jump.length > limits.ONE_BATCH.value)
    return Severity.SLOWS if spent >= limits.SPIKE_COST.value * steps and spent else Severity.NOTE


def _aftermath(jump: Jump, end: float, *, lost: bool) -> str:
    if not jump.back:
        return "it had not come back when the run ended"
    back = f"it is back after {jump.length} step{'s' if jump.length > 1 else ''}"
    return f"{back}, but not for long: it ends at {end:.3g}" if lost else back


def _cause(jump: Jump, *, lost: bool) -> Cause:
    if not lost and jump.back and jump.length <= limits.ONE_BATCH.value:
        return Cause("one batch", None, "The weights were hardly harmed; that batch was unlike the others.")
    return Cause("the weights", None, "Later batches suffer too, so a step threw the weights off.")
