"""A number between two that were tried, or beyond them: what is left to choose where none is good enough.

The best rate or gain is a point on a line, and one question halves what is unknown of it on a logarithmic scale, which
is that of rates and gains. Each question costs trainings, so there are few of them, and no search needs a library.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import log, sqrt
from typing import Any, cast

from isometry.diagnosis.finding import Diagnosis
from isometry.network.edits import ChangeOptimizer, Clip, Edit, Reinitialise, ScaleRate, ScaleWeights
from isometry.treatment.arms import helped
from isometry.treatment.outcome import Arm
from isometry.treatment.paces import HALF_DECADE, half_decade, rate_of, two_digits
from isometry.treatment.prescription import Prescription
from isometry.treatment.source import by_hand

__all__ = ["between", "farther_than", "finer_than"]

NUMBERS: dict[type, str] = {
    ScaleRate: "factor",
    ChangeOptimizer: "rate",
    Clip: "threshold",
    Reinitialise: "gain",
    ScaleWeights: "factor",
}
"""Numbers of edits that may be anything above zero."""
APART = 3.0
"""Numbers closer than this factor leave nothing to choose."""
AHEAD = 0.1
"""Share of the untreated score; less may be the scatter of trainings that learn nothing."""


def between(one: Prescription, other: Prescription, diagnosis: Diagnosis) -> Prescription | None:
    """The same change with the geometric mean of the one number in which two prescriptions differ.

    Args:
        one: a prescription.
        other: another one.
        diagnosis: of the untreated run.

    Returns:
        None where they differ in something else, or by less than a factor of three.
    """
    if one.remedy != other.remedy or len(one.edits) != len(other.edits):
        return None
    differing = [place for place, pair in enumerate(zip(one.edits, other.edits, strict=True)) if pair[0] != pair[1]]
    if len(differing) != 1:
        return None
    place = differing[0]
    name = NUMBERS.get(type(one.edits[place]))
    if name is None or type(one.edits[place]) is not type(other.edits[place]):
        return None
    low, high = sorted(float(getattr(plan.edits[place], name)) for plan in (one, other))
    middle = float(f"{sqrt(low * high):.2g}") if low > 0 else 0.0
    if (
        middle <= 0
        or log(high / low) < log(APART)
        or _set(one.edits[place], name, middle) != _set(other.edits[place], name, middle)
    ):
        return None
    edits = (*one.edits[:place], _set(one.edits[place], name, middle), *one.edits[place + 1 :])
    return replace(
        one,
        edits=edits,
        expected=None,
        words=f"The same with a {name} of {middle:g}: {low:.3g} and {high:.3g} were both better than no change.",
        patch=by_hand(edits, diagnosis.run),
    )


def finer_than(tried: Sequence[Arm], prescribed: Sequence[Prescription], before: Diagnosis) -> Prescription | None:
    """A number between that of the last arm and that of an earlier one, where both did better than no treatment.

    What lies between two that were prescribed is asked, and not what lies between that and them.
    """
    better = [arm for arm in tried if arm.prescription in prescribed and arm.contrast is not None]
    plans = [arm.prescription for arm in better if arm.contrast is not None and arm.contrast.mean > 0]
    last = tried[-1].prescription
    if last is None or last not in plans:
        return None
    known = {arm.prescription.edits for arm in tried if arm.prescription is not None}
    finer = (between(plan, last, before) for plan in reversed(plans) if plan is not None)
    return next((plan for plan in finer if plan is not None and plan.edits not in known), None)


def farther_than(tried: Sequence[Arm], waiting: Sequence[Prescription], before: Diagnosis) -> Prescription | None:
    """Half a decade more of the last arm's change of rate, where it came out ahead and all smaller changes less far.

    Ahead by a tenth of the untreated score, and not so far that it is proved to help. Nobody knows beforehand how far
    the first rate that was tried is from one that serves.

    Args:
        tried: all arms, the last one last.
        waiting: what will be tried anyway; another rate among them comes first.
        before: of the untreated run.
    """
    last, factor = tried[-1], _factor(tried[-1].prescription)
    if last.prescription is None or factor is None or any(_factor(plan) is not None for plan in waiting):
        return None
    if helped(last) or last.contrast is None or not last.contrast.mean > AHEAD * abs(last.score - last.contrast.mean):
        return None
    for arm in tried[:-1]:
        other = _factor(arm.prescription)
        if other is not None and (abs(log(other)) > abs(log(factor)) or arm.score >= last.score):
            return None
    farther = half_decade(factor * HALF_DECADE ** (1 if factor > 1 else -1))
    rate = rate_of(before.run)
    told = f" to {two_digits(rate * farther):g}" if rate is not None else ""
    words = f"Multiply the learning rate by {farther:g}{told}: with {factor:g} it was better than no change."
    edits = (ScaleRate(farther),)
    return replace(last.prescription, edits=edits, words=words, patch=by_hand(edits, before.run))


def _factor(plan: Prescription | None) -> float | None:
    """What a plan multiplies the rate by, if that is all it does."""
    match plan.edits if plan is not None else ():
        case (ScaleRate(factor),):
            return factor
    return None


def _set(edit: Edit, name: str, value: float) -> Edit:
    changed: Any = replace(edit, **{name: value})  # type: ignore[arg-type]
    return cast(Edit, changed)
