"""Bring the outputs to the scale of the targets."""

from collections.abc import Iterable
from math import floor, log10, sqrt

from isometry.diagnosis.course import is_adaptive
from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.network.edits import Edit, ScaleOutput, ScaleRate, SetEpsilon
from isometry.treatment.paces import HALF_DECADE, epsilon_of, fitting_factor, half_decade, rate_of, two_digits
from isometry.treatment.prescription import Effect
from isometry.treatment.remedy import Proposal, remedy

DIGITS = 2
"""Of the deviation, behind the first; the mean is told as finely."""
TARGETS = "scale of the targets"
"""Name of the cause."""


@remedy("scale-outputs", treats=["unscaled_input"], effect=Effect.RETUNES)
def scale_outputs(diagnosis: Diagnosis, finding: Finding) -> Iterable[Proposal]:
    """Let the network give mean + deviation · f(x), with the mean and the deviation of the targets of the first batch.

    A fresh f answers with numbers of about 0 to 1, which then are guesses on the scale of what is asked. Targets, loss
    and metric keep their units. It is what training on standardised targets does, up to a factor in the loss; so for
    plain gradient descent the rate is divided by that factor: deviation² for squared errors, deviation for absolute
    ones. Adam's steps do not know it, if its ε is multiplied by it where gradients become smaller. As the rate may have
    been chosen to suit the unscaled targets, the second try is one at which the first step changes the weights by a
    fiftieth.

    Several outputs of different scales get one mean and one deviation, that of all together.

    Sources: LeCun et al. 1998, section 4.5; Bishop 1995, section 8.2.
    """
    found = _mean_and_deviation(diagnosis)
    if found is None or not any(cause.name == TARGETS for cause in finding.causes):
        return
    kind, mean, deviation = found
    scaling: tuple[Edit, ...] = (ScaleOutput(finding.layers, mean, deviation),)
    epsilon, times = epsilon_of(diagnosis.run), _of_gradients(kind, deviation)
    if is_adaptive(diagnosis.run) and epsilon is not None and times < 1:
        scaling += (SetEpsilon(two_digits(epsilon * times)),)
    words = f"Let the network give {mean:g} + {deviation:g} · f(x), as the targets have that mean and deviation"
    kept = 1.0 if is_adaptive(diagnosis.run) else two_digits(1 / times)
    yield _proposal(diagnosis, scaling, kept, words)
    fitting = _fitting(diagnosis, kind, mean, deviation)
    if fitting is not None and abs(log10(fitting / kept)) > log10(HALF_DECADE):
        yield _proposal(diagnosis, scaling, fitting, words)


def _mean_and_deviation(diagnosis: Diagnosis) -> tuple[str, float, float] | None:
    """Kind of the loss, and mean and deviation of its targets, rounded; None where the run does not tell."""
    event = next(iter(diagnosis.run.history.events("loss_kind")), None)
    targets = event.get("targets") if event is not None else None
    if event is None or not targets:
        return None
    mean, deviation = float(targets["mean"]), float(targets["std"])
    if not deviation > 0:
        deviation = abs(mean)  # constant targets: the size is all there is
    if not 0 < deviation < float("inf"):
        return None
    places = DIGITS - floor(log10(deviation))
    return str(event["kind"]), round(mean, places), round(deviation, places)


def _slope(kind: str, error: float) -> float:
    """How ∂L/∂output grows with the error."""
    match kind:
        case "mse":
            return error
        case "smooth_l1":
            return min(error, 1.0)
        case _:
            return 1.0


def _of_gradients(kind: str, deviation: float) -> float:
    """∂L/∂θ of the scaled network over that of one which learns standardised targets."""
    return deviation * _slope(kind, deviation) / _slope(kind, 1.0)


def _fitting(diagnosis: Diagnosis, kind: str, mean: float, deviation: float) -> float | None:
    """What to multiply the rate by, so that steps of the scaled network fit; None where no step was seen.

    The errors of an untrained network are as large as the targets, and with the change as large as their deviation.
    """
    factor = fitting_factor(diagnosis.run)
    if factor is None or is_adaptive(diagnosis.run):
        return factor
    before, after = (_slope(kind, error) for error in (sqrt(mean**2 + deviation**2), deviation))
    return half_decade(factor * before / (after * deviation))


def _proposal(diagnosis: Diagnosis, edits: tuple[Edit, ...], factor: float, words: str) -> Proposal:
    if factor != 1.0:
        rate = rate_of(diagnosis.run)
        told = f" to {two_digits(rate * factor):g}" if rate is not None else ""
        words += f", and multiply the learning rate by {factor:g}{told}"
        edits += (ScaleRate(factor),)
    return Proposal(edits, f"{words}.")
