"""Two changes at once."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

from isometry.diagnosis.finding import Diagnosis, Severity
from isometry.history.run import Run
from isometry.network.edits import ChangeOptimizer, Clip, Edit, NetworkEdit, ScaleRate
from isometry.treatment.prescription import Effect, Prescription
from isometry.treatment.source import by_hand

__all__ = ["are_compatible", "combined", "further_than"]


def are_compatible(first: Sequence[Edit], second: Sequence[Edit]) -> bool:
    """Whether both can be carried out: no two changes of one kind, and the rate set in one way alone.

    The norm to clip at was found for the rate as it is.
    """
    kinds, others = {type(edit) for edit in first}, {type(edit) for edit in second}
    both = kinds | others
    return not kinds & others and not (ScaleRate in both and both & {ChangeOptimizer, Clip})


def combined(first: Prescription, second: Prescription, run: Run) -> Prescription | None:
    """What the second one is expected to do to a training that the first one treats; None if both cannot be had.

    Two changes of the rate are one: the second was made for the rate that the first one had left.

    Args:
        first: what has been tried, and was not enough.
        second: made for what was still wrong then.
        run: of the untreated training, for which the change by hand is written.
    """
    factors = [edit.factor for edit in (*first.edits, *second.edits) if isinstance(edit, ScaleRate)]
    ours, others = (first.edits, second.edits) if len(factors) < 2 else map(_without_rate, (first.edits, second.edits))
    rate = (ScaleRate(float(f"{prod(factors):.2g}")),) if len(factors) == 2 else ()
    if not are_compatible((*ours, *rate), others) or rate == (ScaleRate(1.0),):
        return None
    edits = tuple(sorted((*ours, *rate, *others), key=lambda edit: not isinstance(edit, NetworkEdit)))
    return replace(
        second,
        remedy=f"{first.remedy} + {second.remedy}",
        edits=edits,
        effect=max(first.effect, second.effect, key=tuple(Effect).index),
        answers=tuple(dict.fromkeys(first.answers + second.answers)),
        words=f"{first.words} {second.words}",
        patch=by_hand(edits, run),
    )


def _without_rate(edits: Sequence[Edit]) -> tuple[Edit, ...]:
    return tuple(edit for edit in edits if not isinstance(edit, ScaleRate))


def further_than(
    plan: Prescription,
    before: Diagnosis,
    after: Diagnosis | None,
    prescribe: Callable[[Diagnosis], Sequence[Prescription]],
) -> Prescription | None:
    """The treatment together with the best against what is still wrong, where it took one trouble away of several.

    A trouble that shows only now was hidden where all that the treatment answers is gone; else it may be of its making.
    """
    if after is None or after.healthy:
        return None
    wrong = {finding.code for finding in before.findings}
    left = {finding.code for finding in after.findings if finding.severity >= Severity.SLOWS}
    answered = wrong.intersection(plan.answers)
    if answered <= left or (answered & left and not left <= wrong):
        return None
    both = (combined(plan, second, before.run) for second in prescribe(after))
    return next((together for together in both if together is not None), None)
