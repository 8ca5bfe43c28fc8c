"""Clip the gradient."""

from collections.abc import Iterable

from isometry.diagnosis.course import is_adaptive
from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.network.edits import Clip
from isometry.treatment.changes import decades_that_stay
from isometry.treatment.paces import threshold
from isometry.treatment.prescription import Effect
from isometry.treatment.remedy import Proposal, remedy

PERCENTILE = 10.0
"""Sources: Seetharaman et al. 2020."""
DEVIATIONS = 2.5
"""Sources: Kumar et al. 2025."""
SHARE = 0.01
"""Sources: Brock et al. 2021, section 4."""


@remedy(
    "clip",
    treats=["loss_spike", "exploding_gradient", "non_finite", "learning_rate_too_high"],
    effect=Effect.RETUNES,
)
def clip(diagnosis: Diagnosis, finding: Finding) -> Iterable[Proposal]:
    """Scale gradients down that are too long, so that no single step throws the weights off.

    First at a threshold, the typical norm of the gradients before the trouble began. Under plain gradient descent it is
    at most what changes the weights by a fiftieth of their size, so that gradients which were too long from the first
    step on are cut too. The profile of δ along depth stays as it is: a network that explodes by its weights keeps doing
    so.

    Where the loss jumps, also against what gradients were like lately, as their size changes with the training: under
    adaptive optimisers where a norm stands out from the moving mean, else at the tenth percentile of the norms. Where
    steps of plain gradient descent are too large, also unit by unit, at a hundredth of the unit's weights.

    Sources: Pascanu et al. 2013, section 3.2; Seetharaman et al. 2020; Brock et al. 2021; Kumar et al. 2025.
    """
    if finding.problem == "learning_rate_too_high" and is_adaptive(diagnosis.run):
        return  # its steps do not depend on the gradient's size
    if finding.problem == "non_finite" and not any(cause.name == "overflow" for cause in finding.causes):
        return
    norm = threshold(diagnosis.run, finding.first_step)
    if norm is None:
        return
    stays = decades_that_stay(diagnosis, finding) if finding.problem == "exploding_gradient" else None
    words = f"Clip the gradient at a norm of {norm:g}, which ordinary steps do not exceed."
    yield Proposal((Clip(norm),), words, stays)
    if finding.problem == "loss_spike":
        edit, where = Clip(PERCENTILE, "percentile"), f"at percentile {PERCENTILE:g} of its latest norms"
        if is_adaptive(diagnosis.run):
            edit = Clip(DEVIATIONS, "zscore")
            where = f"where its norm lies {DEVIATIONS:g} standard deviations above its moving mean"
        yield Proposal((edit,), f"Clip the gradient {where}.")
    elif not is_adaptive(diagnosis.run):
        words = f"Clip what each unit gets at {SHARE:g} times the norm of its weights."
        yield Proposal((Clip(SHARE, "adaptive"),), words, stays)
