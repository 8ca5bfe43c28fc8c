"""Let the learning rate fall."""

from collections.abc import Iterable

from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.diagnosis.level import has_rivals
from isometry.history.run import Run
from isometry.network.edits import Decay
from isometry.treatment.prescription import Effect
from isometry.treatment.remedy import Proposal, remedy

UNLEARNED = frozenset({"loss_not_decreasing", "non_finite"})
"""With one of these the network never got anywhere."""
LEFT = 0.5
"""Part of the greatest rate that is left at the end of a training without a schedule, at least."""


@remedy("decay-rate", treats=["loss_spike", "learning_rate_too_high"], effect=Effect.RETUNES)
def decay_rate(diagnosis: Diagnosis, finding: Finding) -> Iterable[Proposal]:
    """Let the rate fall evenly to zero, where the network learns at its rate and comes no further.

    Large steps get far, and then jump to and fro over the place that they sought: by the noise of the batches, or
    because they overshoot. So it is proposed where steps are found too large, or the loss jumps, though the network has
    learned; not where the loss left the numbers or never fell, for which the rate is too high from the first step on;
    nor where the rate falls already, or two sides pull at one loss. It takes as many steps as the run that was
    diagnosed: in a longer training nothing is learned behind them.

    Sources: Robbins & Monro 1951; Defazio et al. 2023, for the even fall to zero.
    """
    run = diagnosis.run
    steps = run.history.total_steps
    if has_rivals(run) or _is_decaying(run) or any(found.problem in UNLEARNED for found in diagnosis.findings):
        return
    yield Proposal((Decay(steps),), f"Let the learning rate fall evenly to zero over the {steps:,} steps.")


def _is_decaying(run: Run) -> bool:
    series = run.history.scalars.get("lr")
    return series is not None and len(series) > 0 and float(series.values[-1]) < LEFT * float(series.values.max())
