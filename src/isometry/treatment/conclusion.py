"""What follows from the arms of a study."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from types import MappingProxyType

import numpy as np

from isometry.diagnosis.finding import Diagnosis
from isometry.network.edits import Edit
from isometry.network.experiment import Experiment
from isometry.network.script import Script
from isometry.treatment.arms import best_of, compared, helped, told, worse
from isometry.treatment.contrast import number
from isometry.treatment.naming import named
from isometry.treatment.outcome import Arm, Outcome

__all__ = ["concluded"]


def concluded(
    treated: Callable[[Sequence[Edit]], Experiment | Script],
    untreated: Arm,
    before: Diagnosis,
    tried: Sequence[Arm] = (),
    found: Mapping[int, Diagnosis | None] = MappingProxyType({}),
    *,
    left: int = 0,
) -> Outcome:
    """The verdict, and what else there is to tell.

    Args:
        treated: edits → the experiment with them.
        untreated: the arm without a change.
        before: what is wrong with it.
        tried: the other arms, in the order in which they were trained.
        found: what is wrong with those, by place among them; None where no run can be read.
        left: prescriptions that were not tried.
    """
    untouched = treated(())
    notes = [*_notes(untreated, left, told=bool(tried))]
    trials = (untreated, *tried)
    own = [course.fault for course in untreated.courses if course.fault and not course.cut]
    if before.healthy and len(own) == len(untreated.courses):
        words = f"Every training ends with {own[0]}. No finding explains that, so nothing was changed."
        return Outcome("no difference", words, trials, None, None, before, None, untouched)
    if before.healthy:
        words = "Nothing was found that slows, harms or stops the training, so nothing was changed."
        notes += [f"Not looked at: {one}." for one in _unjudged(before)]
        return Outcome("nothing to fix", words, trials, None, None, before, None, untouched, notes=tuple(notes))
    best = best_of(tried)
    if best is None or best.prescription is None:
        reason = next((told(arm).removeprefix("could not be trained: ") for arm in tried), "")
        words = f"No treatment could be trained: {reason}" if tried else "Nothing is known that could be tried."
        return Outcome("no difference", words, trials, None, None, before, None, untouched, notes=tuple(notes))
    place = next(place for place, arm in enumerate(tried) if arm is best)
    if best.left_out:
        trials = (replace(untreated, left_out=best.left_out), *tried)
        faults = "; ".join(best.faults or untreated.faults)
        notes.append(f"Left out of the comparison: {_seeds(best.left_out)} ({faults}).")
    after = found[place]
    plan = best.prescription
    said = f"{named(plan)}: {told(best)}."
    if helped(best):
        if after is not None and not after.healthy:
            notes.append(f"The treated run is not healthy yet: {after.findings[0].summary}.")
        if best.contrast is not None and best.contrast.survival:
            notes += _course_of_loss(best)
        return Outcome(
            verdict="helped",
            words=said,
            trials=trials,
            contrast=best.contrast,
            prescription=plan,
            before=before,
            after=after,
            experiment=treated(plan.edits),
            patch=plan.patch,
            notes=tuple(notes),
        )
    harmed = all(worse(arm) for arm in tried if compared(arm))
    opening = "All that was tried did worse" if harmed else "Nothing that was tried helped"
    return Outcome(
        verdict="harmed" if harmed else "no difference",
        words=f"{opening}; the best was {said}",
        trials=trials,
        contrast=best.contrast,
        prescription=plan if not harmed and any(isfinite(course.score) for course in best.courses) else None,
        before=before,
        after=after,
        experiment=untouched,
        notes=tuple(notes),
    )


def _course_of_loss(arm: Arm) -> list[str]:
    """What there is to tell of an arm whose scores have nothing to be held against."""
    courses = [course for course in arm.courses if len(course.losses) > 1 and np.isfinite(course.losses[[0, -1]]).all()]
    if not courses:
        return []
    first, last = np.median([course.losses[[0, -1]] for course in courses], axis=0)
    does = "falls" if last < first else "does not fall; it goes"
    return [f"With the change the training loss {does} from {number(first)} to {number(last)}."]


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _unjudged(diagnosis: Diagnosis) -> list[str]:
    """What nobody looked at, though a training that learns nothing would show there."""
    telling = {
        "loss_not_decreasing": "whether the loss falls",
        "learning_rate_too_low": "whether the learning rate is too low",
    }
    reasons = {entry.problem: entry.reason for entry in reversed(diagnosis.not_checked)}
    missing = [problem for problem in telling if problem in reasons and problem not in diagnosis.checked]
    return [f"{telling[problem]} ({reasons[problem]})" for problem in missing]


def _notes(untreated: Arm, left: int, *, told: bool) -> list[str]:
    """``told``: whether some comparison says already from how many seeds training breaks down."""
    notes, seeds = [], untreated.seeds
    fallen = sum(not isfinite(course.score) for course in untreated.courses)
    if fallen and (untreated.faults or not told):
        faults = f": {'; '.join(untreated.faults)}" if untreated.faults else ""
        which = "the one seed that there is" if len(seeds) == 1 else f"{fallen} of {len(seeds)} seeds"
        notes.append(f"Without a change training breaks down from {which}{faults}.")
    if len(seeds) == 1:
        notes.append("One seed tells no scatter, so only a breakdown could be told from luck. Take three or more.")
    if len(seeds) == 2:
        notes.append("Two seeds tell little of the scatter. Ask for three or more: what has been trained is kept.")
    first = untreated.courses[0]
    if first.cut:
        notes.append(f"The training did not end in its time, so all trainings were ended after {first.steps:,} steps.")
    if (
        len(seeds) > 1
        and len(first.losses)
        and all(np.array_equal(course.losses, first.losses) for course in untreated.courses)
    ):
        notes.append(
            "All seeds gave the same numbers, so nothing is known of the scatter: each training fixes its own."
        )
    if left:
        notes.append(f"{left} more treatment{' was' if left == 1 else 's were'} not tried.")
    return notes
