"""A number between two that were tried: what is left to choose where both help and neither is good enough.

The best rate or gain is a point on a line, and one question halves what is unknown of it on a logarithmic scale, which
is that of rates and gains. Each question costs trainings, so there are few of them, and no search needs a library.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import log, sqrt
from typing import Any, cast

from isometry.diagnosis.finding import Diagnosis
from isometry.network.edits import ChangeOptimizer, Clip, Edit, Reinitialise, ScaleRate, ScaleWeights
from isometry.treatment.outcome import Arm
from isometry.treatment.prescription import Prescription
from isometry.treatment.source import by_hand

__all__ = ["between", "finer_than"]

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


def _set(edit: Edit, name: str, value: float) -> Edit:
    changed: Any = replace(edit, **{name: value})  # type: ignore[arg-type]
    return cast(Edit, changed)
