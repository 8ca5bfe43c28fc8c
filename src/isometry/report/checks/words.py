"""What checks and predictions say, in sentences that every form shares."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis.check import Check, Prediction
from isometry.diagnosis.finding import Diagnosis
from isometry.history.inspection import JacobianFacts, Spectrum
from isometry.report.text import said_first
from isometry.report.words import called, clean, counted, notes_of, number, plural

__all__ = [
    "JACOBIAN",
    "STANDING_OUT",
    "THEORY",
    "band_words",
    "course",
    "dead_words",
    "expectation",
    "facts",
    "headline",
    "inside_words",
    "jacobian_words",
    "leads",
    "nearness",
    "notes",
    "place",
    "reach",
    "reference",
    "size",
    "spectrum_words",
    "standing_out",
    "told_diagnosis",
    "without_rounding",
]

Floats = NDArray[np.float64]
Place = Literal["inside", "below", "above", ""]

THEORY = "What theory says"
JACOBIAN = "How near to an isometry"
OF_TRAININGS = ("L", "U")
"""First letters of the codes of rules that judge losses and updates."""
NEEDS_TRAINING = "only a training shows it"
STANDING_OUT = "Layers that stand out"
MOST_OUTLIERS = 8
"""Layers unlike their neighbours that are told; the rest are counted."""
MOSTLY = 0.5
"""Share of dead networks above which a network is said to be expected dead; words only."""
LEVEL = 0.5
"""Decades between the ends below which δ is said to keep its size; words only."""


def facts(prediction: Prediction, parameters: object = None) -> list[str]:
    """The first line: model, extent, and how many networks were drawn to compare."""
    extent = plural(len(prediction.architecture), "layer")
    if isinstance(parameters, int):
        extent += f", {plural(parameters, 'parameter')}"
    model = clean(prediction.architecture.model) or "a model without a name"
    return [model, extent, _drawn(prediction)]


def _drawn(prediction: Prediction) -> str:
    if not prediction.nets:
        return "nothing was predicted"
    return f"{plural(prediction.nets, 'network')} drawn anew"


def headline(check: Check) -> str:
    """The verdict in one line."""
    if not check.healthy:
        return said_first(check.findings[0])
    return "Healthy before its first step" if check.diagnosis.checked else "Nothing could be checked"


def leads(check: Check) -> list[str]:
    """The sentences beneath the verdict."""
    if not check.healthy:
        return [check.findings[0].summary, inside_words(check)]
    count = len(check.diagnosis.checked)
    if not count:
        return ["Nothing could be checked, so nothing can be said."]
    said = "Before the first step nothing shows that would slow, harm or stop training: "
    said += f"{count} kinds of problem were looked for."
    left = len(check.findings)
    if left:
        said += " One note follows." if left == 1 else f" {left} notes follow."
    return [said, inside_words(check)]


def notes(check: Check) -> tuple[str, ...]:
    """What could not be seen or done, in the measured pass and in the prediction."""
    return tuple(dict.fromkeys((*notes_of(check.run), *check.prediction.notes)))


def told_diagnosis(check: Check) -> Diagnosis:
    """The diagnosis without what needs more than one step, and without forecasts, for which a check has a table."""
    findings = tuple(replace(finding, first_step=None, forecasts=()) for finding in check.findings)
    not_checked = tuple(
        replace(entry, reason=NEEDS_TRAINING) if entry.code.startswith(OF_TRAININGS) else entry
        for entry in check.diagnosis.not_checked
    )
    return replace(check.diagnosis, findings=findings, not_checked=not_checked)


def inside_words(check: Check) -> str:
    """How many of the measured values the prediction explains."""
    if math.isnan(check.inside):
        return "No measured value could be held against a prediction."
    if check.inside == 1:
        return "Every measured value lies in its predicted band."
    share = min(99, round(100 * check.inside))
    return f"{share} % of the measured values lie in their predicted band; of an ordinary network about 95 % do."


# Sizes ----------------------------------------------------------------------------------------------------------------


def size(value: float) -> str:
    """Decades to the second digit after the point: ``−6.98``; ``–`` where nothing is known."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.2f}" if abs(value) < 99.995 else f"{value:.1f}"
    return "0" if float(text) == 0 else text.replace("-", "−")


def reach(low: float, high: float) -> str:
    """``−7.20 … −6.70``"""
    if math.isnan(low) or math.isnan(high):
        return "–"
    return size(low) if size(low) == size(high) else f"{size(low)} … {size(high)}"


def band_words() -> str:
    """What the shaded band of a picture is."""
    return "predicted: 95 % of networks drawn anew"


def place(value: float, low: float, high: float) -> Place:
    """Where a measured value lies beside its band; empty where there is no value or no band."""
    if math.isnan(value) or math.isnan(low) or math.isnan(high) or low == high:
        return ""
    return "below" if value < low else "above" if value > high else "inside"


def reference(prediction: Prediction) -> str:
    """The layer that δ is held against, as it is called in a sentence."""
    known = np.flatnonzero(~np.isnan(prediction.backward.mean))
    return called(prediction.architecture.names[int(known[-1])]) if known.size else "the output"


def expectation(prediction: Prediction) -> str:
    """What δ is predicted to do from the output side to the input side, in one line."""
    mean = prediction.backward.mean
    if prediction.dead > MOSTLY and not np.isnan(mean).all():
        first = np.flatnonzero(~np.isnan(mean))[0]
        mean = np.where(np.arange(len(mean)) == first, -math.inf, mean)
    return course("δ", mean, prediction.architecture.names, backwards=True, predicted=True)


def course(signal: str, values: Floats, names: Sequence[str], *, backwards: bool, predicted: bool = False) -> str:
    """What a signal does along depth: ``δ falls by 7.0 decades from fc12 to fc1``.

    Args:
        signal: what to call it.
        values: log10 of its size; NaN where it is not known, −∞ where nothing arrives. shape (layers,)
        names: of the layers.
        backwards: from the output to the input.
        predicted: say that it is predicted to do so.
    """
    known, gone = np.flatnonzero(np.isfinite(values)), np.flatnonzero(np.isneginf(values))
    if gone.size and backwards:
        where = called(names[int(gone.max())])
        return f"{signal} is predicted not to reach {where}" if predicted else f"{signal} does not reach {where}"
    if known.size < 2:
        return f"{signal} is {'predicted' if predicted else 'known'} at fewer than two layers"
    start, end = (int(k) for k in (known[[-1, 0]] if backwards else known[[0, -1]]))
    change = float(values[end] - values[start])
    ending = "" if predicted else "s"
    if abs(change) < LEVEL:
        does = f"keep{ending} its size"
    else:
        does = f"{'fall' if change < 0 else 'grow'}{ending} by {abs(change):.1f} decades"
    verb = "is predicted to " if predicted else ""
    return f"{signal} {verb}{does} from {called(names[start])} to {called(names[end])}"


def dead_words(prediction: Prediction) -> str:
    """In how many networks nothing arrives."""
    return f"In {100 * prediction.dead:.0f} % of such networks the first layer gets no gradient at all."


# The Jacobian ---------------------------------------------------------------------------------------------------------


def nearness(check: Check) -> list[str]:
    """How far the whole map is from an isometry, and how its singular values lie: at most two paragraphs."""
    facts = check.jacobian
    return [] if facts is None else [words for words in (jacobian_words(facts), spectrum_words(facts)) if words]


def jacobian_words(facts: JacobianFacts) -> str:
    """How far the whole map is from an isometry, in one sentence."""
    if facts.reason:
        return f"The Jacobian was not measured: {clean(facts.reason).rstrip('.')}."
    largest = f"is {number(facts.largest)}" if facts.spectrum else f"is at least {number(facts.largest)}"
    return (
        f"Between {plural(facts.inputs, 'input')} and {plural(facts.outputs, 'output')} the Jacobian's squared "
        "singular values (how much it stretches directions) have the mean "
        f"{number(facts.mean_square)} and, in units of that mean squared, the variance {number(facts.variance)}, and "
        f"the largest singular value {largest}; "
        "in an isometry these are 1, 0 and 1."
    )


def spectrum_words(facts: JacobianFacts) -> str:
    """Where most of the singular values lie, and which of them are none; or why they were not computed."""
    if facts.spectrum is None:
        return f"Not all singular values were computed: {clean(facts.unlisted)}." if facts.unlisted else ""
    values = np.array(facts.spectrum.values)
    finite = values[np.isfinite(values).all(axis=1)]
    zeros, told = int((finite == 0).sum()), without_rounding(finite, facts.spectrum)
    lost = int((told == 0).sum()) - zeros
    said = [_lying(told, facts.spectrum)] if finite.size else []
    if len(finite) < len(values):
        broken = "all samples together" if facts.spectrum.together else plural(len(values) - len(finite), "sample")
        said.append(f"The Jacobian of {broken} is not finite.")
    if zeros and told.any():
        said.append(f"{counted(zeros)} of {counted(told.size)} are 0, or below the range of the number type.")
    if lost:
        said.append(
            f"{counted(lost)} of {counted(told.size)} are so far below the largest that they may be rounding, and "
            "count as 0."
        )
    return " ".join(said)


def without_rounding(values: Floats, spectrum: Spectrum) -> Floats:
    """Singular values, with 0 for what may be nothing but rounding beside the largest of its row."""
    return np.where(values > values.max(axis=1, keepdims=True, initial=0) * spectrum.rounding, values, 0.0)


def _lying(values: Floats, spectrum: Spectrum) -> str:
    whose = f"each of {counted(spectrum.samples)} samples" if spectrum.samples > 1 else "1 sample"
    if spectrum.together:
        whose = f"{plural(spectrum.samples, 'sample')} together, which depend on each other"
    count = values.shape[1]
    lead = f"All {counted(count)} singular values of {whose}" if count > 1 else f"The only singular value of {whose}"
    low, middle, high = (number(float(at)) for at in np.quantile(values, (0.1, 0.5, 0.9)))
    if number(float(values.min())) == number(float(values.max())):
        return f"{lead}: {middle}."
    return f"{lead}: median {middle}, 10 % to 90 % at {low} … {high}."


def standing_out(check: Check) -> list[str]:
    """Layers that their law of weights does not explain, then those unlike their neighbours: one sentence each."""
    worst = {outlier.layer: outlier.words for outlier in reversed(check.outliers)}
    told = [worst[name] for name in dict.fromkeys(outlier.layer for outlier in check.outliers)]
    left = len(told) - MOST_OUTLIERS
    more = [f"{left} more layers are out of line with the others of their kind."] if left > 0 else []
    return [*(departure.words for departure in check.departures), *told[:MOST_OUTLIERS], *more]
