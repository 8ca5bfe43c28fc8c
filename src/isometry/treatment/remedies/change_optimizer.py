"""Another optimiser."""

from collections.abc import Iterable

from isometry.diagnosis.course import is_adaptive
from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.network.edits import ChangeOptimizer
from isometry.treatment.changes import decades_that_stay, is_out_of_reach, reads_input
from isometry.treatment.paces import adam_rate, half_decade, sgd_rate
from isometry.treatment.prescription import Effect
from isometry.treatment.remedy import Proposal, remedy

OF_TARGETS = 10
"""Times the rate that suits the weights: the last layer has to grow to the size of the targets."""
OF_THE_NETWORK = ("poor_initialization", "vanishing_gradient", "exploding_gradient")
"""Problems that no optimiser cures by itself."""


@remedy(
    "change-optimizer",
    treats=[
        "loss_not_decreasing",
        "unscaled_input",
        "learning_rate_too_low",
        "learning_rate_too_high",
        "poor_initialization",
        "vanishing_gradient",
        "exploding_gradient",
    ],
    effect=Effect.RETUNES,
)
def change_optimizer(diagnosis: Diagnosis, finding: Finding) -> Iterable[Proposal]:
    """Adam in place of plain gradient descent, whose steps are as large as the gradients happen to be.

    Adam divides by the size of the gradient, so that its rate fits by the size of the weights alone; losses, targets
    and inputs out of scale do not decide how far a step goes. Gradients that vanish or explode with depth stay as they
    are beneath it: there it comes last by itself, and is of use together with what changes the network. SGD with
    momentum in place of Adam where the loss does not fall for no reason that was found.

    Sources: Kingma & Ba 2015.
    """
    run = diagnosis.run
    stays = decades_that_stay(diagnosis, finding) if finding.problem in OF_THE_NETWORK else None
    if not run.history.events("optimizer") or (finding.problem in OF_THE_NETWORK and stays is None):
        return
    if finding.problem == "loss_not_decreasing" and (finding.follows or _is_by_hand(finding)):
        return
    if is_out_of_reach(finding):
        return
    if not is_adaptive(run):
        rate = adam_rate(run)
        if rate is not None:
            words = f"Use Adam at a rate of {rate:g}, at which a step changes ordinary weights by a fiftieth."
            if finding.problem == "unscaled_input" and not reads_input(finding):
                far = half_decade(rate * OF_TARGETS)
                told = f"Use Adam at a rate of {far:g}, bold enough to reach targets that are out of scale."
                yield Proposal((ChangeOptimizer("adam", far),), told)
            else:
                yield Proposal((ChangeOptimizer("adam", rate),), words, stays)
    elif finding.problem == "loss_not_decreasing":
        rate = sgd_rate(run)
        if rate is not None:
            words = f"Use SGD with momentum at a rate of {rate:g}, by the size of the first gradients."
            yield Proposal((ChangeOptimizer("sgd", rate),), words, is_resort=True)


def _is_by_hand(finding: Finding) -> bool:
    """Whether something stands in the way that no optimiser can do anything about: a wrong sign, a missing step."""
    return any(cause.name != "guessing" for cause in finding.causes)
