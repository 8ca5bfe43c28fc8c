"""Let the learning rate rise."""

from collections.abc import Iterable
from math import isfinite

from isometry.diagnosis.course import is_adaptive
from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.network.edits import WarmUp
from isometry.treatment.changes import is_unexplained
from isometry.treatment.paces import rate_rises
from isometry.treatment.prescription import Effect
from isometry.treatment.remedy import Proposal, remedy

PART = 0.1
"""Of the training that a warm-up takes at most …"""
PART_OF_ADAPTIVE = 1 / 3
"""… and of one whose optimiser has to learn the sizes of the gradients first."""
FORGETTING = 0.999
"""β₂ of Adam where the run does not tell it."""
FEWEST = 4
"""A warm-up of fewer steps is none."""


@remedy("warm-up", treats=["loss_not_decreasing", "loss_spike", "learning_rate_too_high"], effect=Effect.RETUNES)
def warm_up(diagnosis: Diagnosis, finding: Finding) -> Iterable[Proposal]:
    """Let the rate rise evenly over the first steps, where it was in the first steps that they were too large.

    Adaptive optimisers know little of the gradients' sizes at first, and what they divide by is a guess from a few
    batches: 2 / (1 − β₂) steps give them time. Never more than a third of the training, a tenth with other optimisers;
    and no help where the loss left the numbers. Transformers whose norms come last may be lost in the first steps
    without anything else that shows: so it is also tried where an adaptive optimiser learns nothing for no reason that
    was found.

    Sources: Goyal et al. 2017; Ma & Yarats 2021, for the number of steps; Xiong et al. 2020 on transformers.
    """
    run = diagnosis.run
    adaptive = is_adaptive(run)
    most = int((PART_OF_ADAPTIVE if adaptive else PART) * run.history.total_steps)
    if most < FEWEST or _is_lost(diagnosis) or rate_rises(run):
        return
    if finding.problem == "loss_not_decreasing":
        if not (adaptive and is_unexplained(finding)):
            return
    elif finding.first_step is None or finding.first_step > PART * run.history.total_steps:
        return
    steps = min(round(2 / (1 - _forgetting(diagnosis))), most) if adaptive else most
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
