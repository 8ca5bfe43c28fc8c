"""G202: δ grows through time."""

from collections.abc import Iterable

from isometry.diagnosis import limits, words
from isometry.diagnosis.course import has_learned
from isometry.diagnosis.finding import Cause, Finding, Severity
from isometry.diagnosis.rule import rule
from isometry.diagnosis.time import TimeProfile, profiles_through_time
from isometry.history.run import Run


@rule("G202", problem="exploding_gradient", reads=[], follows=["poor_initialization"])
def exploding_through_time(run: Run) -> Iterable[Finding]:
    """δ grows on its way back through a sequence: the gradient is that of the first time steps alone.

    Judged is log10 rms δ by time step, from the step where the loss reads the layer back to the first.

    How it is told apart: where the loss reads every step, δ adds up on its way back, at most in proportion to the
    number of steps, and to its square root for unrelated parts; the limit lies above what adding up can give.

    Sources: Bengio et al. 1994; Pascanu et al. 2013, section 2.2.
    """
    for found in profiles_through_time(run):
        yield from _grown(run, found)


def _grown(run: Run, found: TimeProfile) -> Iterable[Finding]:
    early, late = float(found.early.max()), float(found.late.max())
    worst = max(early, late)
    if worst < limits.TIME_CLIMB_SLOWS.value:
        return
    peak = int((found.late if late >= early else found.early).argmax())
    steps = max(len(found) - 1 - peak, 1)
    yield Finding(
        severity=_severity(run, late=late),
        summary=(
            f"{found.layer}: δ gains {words.decades(worst / steps)} decades per time step on its way back, "
            f"{words.decades(worst)} over {steps} time steps"
        ),
        layers=(found.layer,),
        first_step=found.first_step,
        causes=(Cause("recurrence", worst, f"+{worst:.1f} decades: the recurrent step, {steps} times over"),),
        evidence=(limits.TIME_CLIMB_SLOWS.evidence("growth of log10 rms δ through time", worst),),
        consequence="The gradient is that of the earliest time steps; the later ones are lost beside it.",
    )


def _severity(run: Run, *, late: float) -> Severity:
    if late < limits.TIME_CLIMB_SLOWS.value:
        return Severity.NOTE
    if has_learned(run):
        return Severity.SLOWS if late >= limits.TIME_CLIMB_HARMS.value else Severity.NOTE
    return Severity.HARMS if late >= limits.TIME_CLIMB_HARMS.value else Severity.SLOWS
