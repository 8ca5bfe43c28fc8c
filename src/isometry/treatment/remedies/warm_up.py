"""Let the learning rate rise."""

from collections.abc import Iterable
from math import isfinite

from isometry.diagnosis.course import is_adaptive
from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.network.edits import WarmUp
from isometry.treatment.prescription import Effect
from isometry.treatment.remedy import Proposal, remedy

PART = 0.1
"""Of the training that a warm-up takes at most."""
FORGETTING = 0.999
"""β₂ of Adam where the run does not tell it."""
FEWEST = 4
"""A warm-up of fewer steps is none."""


@remedy("warm-up", treats=["loss_spike", "learning_rate_too_high"], effect=Effect.RETUNES)
def warm_up(diagnosis: Diagnosis, finding: Finding) -> Iterable[Proposal]:
    """Let the rate rise evenly over the first steps, where it was in the first steps that they were too large.

    Adaptive optimisers know little of the gradients' sizes at first, and what they divide by is a guess from a few
    batches: 2 / (1 − β₂) steps give them time. Never more than a tenth of the training; and no help where the loss
    left the numbers.

    Sources: Goyal et al. 2017; Ma & Yarats 2021, for the number of steps.
    """
    run = diagnosis.run
    most = int(PART * run.history.total_steps)
    if _is_lost(diagnosis):
        return
    if finding.first_step is None or finding.first_step > most or most < FEWEST:
        return
    steps = min(round(2 / (1 - _forgetting(diagnosis))), most) if is_adaptive(run) else most
    yield Proposal((WarmUp(steps),), f"Let the learning rate rise evenly over the first {steps:,} steps.")


def _is_lost(diagnosis: Diagnosis) -> bool:
    """Whether the loss left the numbers: steps at the full rate would do that again."""
    series = diagnosis.run.history.scalars.get("loss")
    return series is not None and len(series) > 0 and not isfinite(float(series.values[-1]))


def _forgetting(diagnosis: Diagnosis) -> float:
    for event in diagnosis.run.history.events("optimizer"):
        betas = event.get("betas")
        if isinstance(betas, list) and betas and 0 <= betas[-1] < 1:
            return float(betas[-1])
    return FORGETTING
