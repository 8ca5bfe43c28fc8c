"""G102: δ falls through time."""

from collections.abc import Iterable

import numpy as np

from isometry.diagnosis import limits, words
from isometry.diagnosis.course import has_learned, loss_progress
from isometry.diagnosis.finding import Cause, Finding, Severity
from isometry.diagnosis.rule import rule
from isometry.diagnosis.time import TimeProfile, profiles_through_time
from isometry.history.run import Run


@rule("G102", problem="vanishing_gradient", reads=[], follows=["poor_initialization", "saturated_activation"])
def vanishing_through_time(run: Run) -> Iterable[Finding]:
    """δ falls on its way back through a sequence, so that a recurrent layer cannot learn from what came long before.

    Judged is log10 rms δ by time step from the step where the loss reads the layer back to the first, and how it goes
    on through the training. Where the loss reads every step, δ enters everywhere and the profile is level whatever the
    layer forgets; then nothing can be seen here, and nothing is said.

    How it is told apart: an LSTM with a forget gate near one half loses 0.3 decades a step by design, and does well as
    long as what matters is recent. So a network whose loss falls has no more than a note. A fall that the training has
    overcome is told only if the loss has not come down by half.

    Sources: Hochreiter 1991; Bengio et al. 1994; Pascanu et al. 2013; Jozefowicz et al. 2015 for the forget gate.
    """
    for found in profiles_through_time(run):
        yield from _fallen(run, found)


def _fallen(run: Run, found: TimeProfile) -> Iterable[Finding]:
    heard = found.late[found.silent :]
    lost = float(-heard[0])
    per_step = lost / max(len(heard) - 1, 1)
    reach = len(found) if found.silent == 0 else len(heard)
    total = per_step * (len(found) - 1)
    progress = loss_progress(run)
    if total < limits.TIME_FALL_SLOWS.value:
        if progress is not None and progress <= limits.LEARNED.value:
            yield from _outgrown(found, progress)
        return
    yield Finding(
        severity=_severity(run, total=total),
        summary=(
            f"{found.layer}: δ loses {words.decades(per_step)} decades per time step on its way back, "
            f"{words.decades(total)} over {len(found)} time steps"
        ),
        layers=(found.layer,),
        first_step=found.first_step,
        causes=(
            Cause(
                "recurrence",
                -total,
                f"−{total:.1f} decades: the recurrent step, {len(found) - 1} times over",
                (found.layer,),
            ),
        ),
        evidence=(
            limits.TIME_FALL_SLOWS.evidence("fall of log10 rms δ through time", total),
            *([] if progress is None else [limits.LEARNED.evidence("share of the loss gone", progress)]),
        ),
        consequence=_consequence(found, per_step=per_step, reach=reach),
    )


def _outgrown(found: TimeProfile, progress: float) -> Iterable[Finding]:
    """δ fell at first; the layer has grown out of it, but the loss has not come down."""
    early = found.early[np.isfinite(found.early)]
    total = float(-early[0]) if len(early) == len(found) else np.inf
    if total < limits.TIME_FALL_SLOWS.value:
        return
    amount = words.decades(total) if np.isfinite(total) else "all its"
    yield Finding(
        severity=Severity.SLOWS,
        summary=f"{found.layer}: at first δ loses {amount} decades over {len(found)} time steps; later it is level",
        layers=(found.layer,),
        first_step=found.first_step,
        causes=(Cause("recurrence", None, "the recurrent step, many times over", (found.layer,)),),
        evidence=(
            limits.TIME_FALL_SLOWS.evidence("fall of log10 rms δ through time, first steps", total),
            limits.LEARNED.evidence("share of the loss gone", progress),
        ),
        consequence="The layer had to grow before it could learn from what came long before.",
    )


def _severity(run: Run, *, total: float) -> Severity:
    if has_learned(run):
        return Severity.NOTE
    return Severity.SLOWS if total < limits.TIME_FALL_HARMS.value else Severity.HARMS


def _consequence(found: TimeProfile, *, per_step: float, reach: int) -> str:
    if reach < len(found):
        return f"Beyond {reach} time steps nothing arrives at all."
    memory = int(np.ceil(1 / per_step))
    return f"What lies {memory} time steps back counts a tenth of the present."
