"""A higher learning rate."""

from collections.abc import Iterable

from isometry.diagnosis.course import is_adaptive
from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.network.edits import ScaleRate
from isometry.treatment.changes import is_out_of_reach, reads_input
from isometry.treatment.paces import HALF_DECADE, fitting_factor, half_decade, rate_of, two_digits
from isometry.treatment.prescription import Effect
from isometry.treatment.remedy import Proposal, remedy

LEAST = half_decade(HALF_DECADE)
"""A rate that was found to be too low is raised at least so far."""
OF_TARGETS = 10
"""Times the rate that suits the weights: the last layer has to grow to the size of the targets."""
WELL_BELOW = half_decade(0.1)
"""Second try, against the first: the best rates of networks scatter by a decade, and too high is worse than too low."""


@remedy("raise-rate", treats=["learning_rate_too_low", "loss_not_decreasing", "unscaled_input"], effect=Effect.RETUNES)
def raise_rate(diagnosis: Diagnosis, finding: Finding) -> Iterable[Proposal]:
    """Raise the learning rate until a step changes the weights by a fiftieth of their size.

    How far is told by the first step: the update is in proportion to the rate there. A loss that does not fall for no
    reason that was found has the rate raised only if its steps were smaller than that. Where gradients are small for
    another reason, and steps with them, the rate that makes up for that fits nothing else. Targets out of scale want a
    bolder one of an adaptive optimiser, whose steps do not grow with them.

    Sources: update ratio: Karpathy, CS231n.
    """
    if finding.follows and not is_adaptive(diagnosis.run):
        return
    factor = fitting_factor(diagnosis.run)
    if finding.problem == "learning_rate_too_low":
        first = max(factor or LEAST, LEAST)
        yield _proposal(diagnosis, first)
        if (second := half_decade(first * WELL_BELOW)) >= LEAST:
            yield _proposal(diagnosis, second)
    elif finding.problem == "unscaled_input":
        if not (reads_input(finding) or is_out_of_reach(finding)) and is_adaptive(diagnosis.run):
            yield _proposal(diagnosis, half_decade(max(factor or 1.0, 1.0) * OF_TARGETS))
    elif factor is not None and factor > LEAST and not finding.follows and _may_be_slow(finding):
        yield _proposal(diagnosis, factor)


def _may_be_slow(finding: Finding) -> bool:
    return all(cause.name == "guessing" for cause in finding.causes)


def _proposal(diagnosis: Diagnosis, factor: float) -> Proposal:
    rate = rate_of(diagnosis.run)
    told = f" to {two_digits(rate * factor):g}" if rate is not None else ""
    return Proposal((ScaleRate(factor),), f"Multiply the learning rate by {factor:g}{told}.")
