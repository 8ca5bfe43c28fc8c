"""Let the learning rate rise."""

from collections.abc import Iterable
from math import isfinite

from isometry.diagnosis.course import is_adaptive
from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.network.edits import ScaleRate, WarmUp
from isometry.treatment.changes import is_unexplained
from isometry.treatment.paces import LESS, is_high_enough, rate_of, two_digits, warm_up_steps
from isometry.treatment.prescription import Effect
from isometry.treatment.remedy import Proposal, remedy

EARLY = 0.1
"""Part of the training at whose beginning a trouble may be one of the first steps."""


@remedy("warm-up", treats=["loss_not_decreasing", "loss_spike", "learning_rate_too_high"], effect=Effect.RETUNES)
def warm_up(diagnosis: Diagnosis, finding: Finding) -> Iterable[Proposal]:
    """Let the rate rise evenly over the first steps, where it was in the first steps that they were too large.

    Adaptive optimisers know little of the gradients' sizes at first, and what they divide by is a guess from a few
    batches: 2 / (1 − β₂) steps give them time. Never more than a third of the training, a tenth with other optimisers;
    and no help where the loss left the numbers. Transformers whose norms come last may be lost in the first steps
    without anything else that shows: so it is also tried where an adaptive optimiser learns nothing for no reason that
    was found, up to a third of the rate.

    Sources: Goyal et al. 2017; Ma & Yarats 2021, for the number of steps; Xiong et al. 2020 on transformers.
    """
    run = diagnosis.run
    steps = warm_up_steps(run)
    if steps is None or _is_lost(diagnosis):
        return
    words = f"Let the learning rate rise evenly over the first {steps:,} steps"
    if finding.problem != "loss_not_decreasing":
        if finding.first_step is not None and finding.first_step <= EARLY * run.history.total_steps:
            yield Proposal((WarmUp(steps),), f"{words}.")
    elif is_adaptive(run) and is_unexplained(finding) and is_high_enough(run):
        rate = rate_of(run)
        told = f" to {two_digits(rate * LESS):g}" if rate is not None else ""
        yield Proposal((ScaleRate(LESS), WarmUp(steps)), f"{words}{told}, which is {LESS:g} times as high as now.")


def _is_lost(diagnosis: Diagnosis) -> bool:
    """Whether the loss left the numbers: steps at the full rate would do that again."""
    series = diagnosis.run.history.scalars.get("loss")
    return series is not None and len(series) > 0 and not isfinite(float(series.values[-1]))
