"""A smaller ε in adaptive optimisers."""

from collections.abc import Iterable

import numpy as np

from isometry.diagnosis.course import is_adaptive
from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.history.run import Run
from isometry.network.edits import SetEpsilon
from isometry.network.signals import Signal
from isometry.treatment.changes import decades_that_stay
from isometry.treatment.paces import epsilon_of, half_decade
from isometry.treatment.prescription import Effect
from isometry.treatment.remedy import Proposal, remedy

SHARE = 0.01
"""Of the smallest gradient: so much of a step is lost."""
UNDERFLOW = 1e-18
"""The square of a smaller gradient is no number of float32, and nothing is left to divide by."""


@remedy(
    "lower-epsilon",
    treats=["learning_rate_too_low", "loss_not_decreasing", "vanishing_gradient"],
    effect=Effect.RETUNES,
)
def lower_epsilon(diagnosis: Diagnosis, finding: Finding) -> Iterable[Proposal]:
    """Lower ε where gradients are below it, so that an adaptive optimiser divides by their size and not by ε.

    Adam's step is the rate times m / (√v + ε). A gradient of ε / 100 makes a hundredth of a step. It is proposed where
    a layer's gradient was below ε at the median of the first recorded steps; ε then becomes a hundredth of the
    smallest.

    In float16 gradients below 6e-8 are gone before an optimiser sees them, whatever its ε: `scale-loss` and
    `change-precision` are for those.

    Sources: Kingma & Ba 2015, section 2; Micikevicius et al. 2018 for half precision.
    """
    run = diagnosis.run
    epsilon, smallest = epsilon_of(run), _smallest_gradient(run)
    if epsilon is None or smallest is None or not is_adaptive(run) or not UNDERFLOW < smallest < epsilon:
        return
    stays = decades_that_stay(diagnosis, finding) if finding.problem == "vanishing_gradient" else None
    value = half_decade(SHARE * smallest)
    words = f"Lower ε from {epsilon:g} to {value:g}, as gradients of {smallest:.1g} are below it."
    yield Proposal((SetEpsilon(value),), words, stays)


EARLY = 8
"""Recorded steps that are looked at."""


def _smallest_gradient(run: Run) -> float | None:
    """Rms of ∂L/∂W at the layer where it is smallest, median of the first recorded steps."""
    column = (Signal.WEIGHT_GRADIENT, "rms")
    if column not in run.history:
        return None
    values = np.asarray(run.history[column][:EARLY], np.float64)
    known = [found[found > 0] for found in values.T]
    return min((float(np.median(found)) for found in known if len(found)), default=None)
