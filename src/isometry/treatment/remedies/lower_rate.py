"""A lower learning rate."""

from collections.abc import Iterable

from isometry.diagnosis.course import is_adaptive
from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.network.edits import ScaleRate
from isometry.treatment.changes import is_unexplained
from isometry.treatment.paces import (
    HALF_DECADE,
    LESS,
    fitting_factor,
    half_decade,
    is_high_enough,
    loss_multiplier,
    rate_of,
    two_digits,
    warm_up_steps,
)
from isometry.treatment.prescription import Effect
from isometry.treatment.remedy import Proposal, remedy

FARTHEST = 1e-3
"""Where a cause stands behind the large steps, and gradients make them large, a rate lower than this stops training."""
WELL_BELOW = half_decade(0.1)
"""Second try, against the first: the best rates of networks scatter by a decade."""


@remedy(
    "lower-rate",
    treats=[
        "learning_rate_too_high",
        "loss_spike",
        "dead_units",
        "exploding_gradient",
        "vanishing_gradient",
        "non_finite",
        "loss_not_decreasing",
    ],
    effect=Effect.RETUNES,
)
def lower_rate(diagnosis: Diagnosis, finding: Finding) -> Iterable[Proposal]:
    """Lower the learning rate until a step changes the weights by a fiftieth of their size.

    How far is told by the first step, which found the weights as they were drawn: the update is in proportion to the
    rate there. A rate that was found too high is lowered by a factor of three at least, and by ten times more as a
    second try. Where units died in training, or the profile of δ got out of shape only then, it is lowered if steps
    were too large, and else not. Nor where gradients that exploded for another reason made the steps large: the rate
    that suits them suits nothing else. Under plain gradient descent a loss that is added up over the batch, or
    multiplied by a number, first has the rate divided by as much. An adaptive optimiser that learns nothing, for no
    reason that was found, is tried with a tenth of its rate; with a third where no warm-up can be made.

    Sources: update ratio: Karpathy, CS231n; Cohen et al. 2021 on the edge of stability.
    """
    factor = fitting_factor(diagnosis.run)
    if finding.follows and factor is not None and factor < FARTHEST and not is_adaptive(diagnosis.run):
        return
    times = loss_multiplier(diagnosis.run)
    if times >= HALF_DECADE and not is_adaptive(diagnosis.run) and _may_be_work_of_steps(finding):
        share = two_digits(1 / times)
        words = f"The loss is {two_digits(times):g} times its mean over the batch"
        yield Proposal(
            (ScaleRate(share),), f"{words}: multiply the learning rate by {share:g}{_told(diagnosis, share)}."
        )
    if finding.problem in ("learning_rate_too_high", "loss_spike"):
        first = min(factor or LESS, LESS)
        yield _proposal(diagnosis, first)
        yield _proposal(diagnosis, half_decade(first * WELL_BELOW))
    elif factor is not None and (
        (factor < LESS and _is_work_of_steps(finding)) or (factor <= LESS and _is_bold(diagnosis, finding))
    ):
        yield _proposal(diagnosis, factor)
    elif is_adaptive(diagnosis.run) and is_unexplained(finding) and is_high_enough(diagnosis.run):
        if warm_up_steps(diagnosis.run) is None:  # else a third of the rate is tried with a warm-up
            yield _proposal(diagnosis, LESS)
        yield _proposal(diagnosis, half_decade(LESS / HALF_DECADE))


def _may_be_work_of_steps(finding: Finding) -> bool:
    return finding.problem in ("learning_rate_too_high", "loss_spike") or _is_work_of_steps(finding)


def _is_bold(diagnosis: Diagnosis, finding: Finding) -> bool:
    """Whether the rate of an adaptive optimiser, which fits by the weights alone, may be why nothing is learned.

    What the loss is said to follow from, δ that fades, may itself be the work of the steps: transformers do that whose
    norms come last.
    """
    return finding.problem == "loss_not_decreasing" and bool(finding.follows) and is_adaptive(diagnosis.run)


def _is_work_of_steps(finding: Finding) -> bool:
    """Whether large steps may have done it."""
    names = {cause.name for cause in finding.causes}
    match finding.problem:
        case "dead_units":
            return "died in training" in names
        case "non_finite":
            return bool(names & {"overflow", "optimiser"})
        case "loss_not_decreasing":
            return "sign" not in names and not finding.follows
        case _:
            first = next(iter(finding.evidence), None)
            return first is not None and first.limit is not None and first.measured < first.limit


def _proposal(diagnosis: Diagnosis, factor: float) -> Proposal:
    return Proposal((ScaleRate(factor),), f"Multiply the learning rate by {factor:g}{_told(diagnosis, factor)}.")


def _told(diagnosis: Diagnosis, factor: float) -> str:
    rate = rate_of(diagnosis.run)
    return f" to {two_digits(rate * factor):g}" if rate is not None else ""
