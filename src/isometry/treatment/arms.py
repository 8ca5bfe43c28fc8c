"""What an arm of a trial says, beside the one without a change and beside others."""

from collections.abc import Sequence
from math import isfinite, nan

import numpy as np

from isometry.network.trial import LAST_WORDS, Course
from isometry.treatment.contrast import number
from isometry.treatment.naming import named
from isometry.treatment.outcome import Arm

__all__ = [
    "behind_a_rival",
    "best_of",
    "compared",
    "helped",
    "promising",
    "saying_nothing",
    "steadier",
    "told",
    "worse",
]


def helped(arm: Arm) -> bool:
    return not arm.stopped and arm.contrast is not None and arm.contrast.verdict == "helped"


def compared(arm: Arm) -> bool:
    """Whether it tells anything at all; what could not be trained does not."""
    return arm.contrast is not None


def promising(arm: Arm) -> bool:
    """Whether it came out ahead from every seed, and only their scatter leaves it open whether that was luck."""
    if arm.stopped or arm.left_out or arm.contrast is None or helped(arm):
        return False
    return arm.contrast.ahead == arm.contrast.seeds


def steadier(arm: Arm, untreated: Arm) -> bool:
    """Whether its scores scatter less than the untreated ones, so that it is these that hide what it does."""
    return float(np.std([course.score for course in arm.courses])) < float(
        np.std([course.score for course in untreated.courses])
    )


def worse(arm: Arm) -> bool:
    """Beyond its interval; or beyond that of the untreated scores, for which it was stopped."""
    behind = bool(arm.stopped) and isfinite(arm.courses[0].score)
    return behind or (arm.contrast is not None and arm.contrast.verdict == "harmed")


def best_of(tried: Sequence[Arm]) -> Arm | None:
    """The one that helped and has the best mean score; if none helped, of those trained in full, or else of all."""
    candidates = (
        [arm for arm in tried if helped(arm)]
        or [arm for arm in tried if compared(arm) and not arm.stopped]
        or [arm for arm in tried if compared(arm)]
    )
    return max(candidates, key=_rank, default=None)


def _rank(arm: Arm) -> tuple[bool, int, float]:
    """Better is greater: it does no harm, fewer breakdowns, mean of the scores that are numbers."""
    scores = [course.score for course in arm.courses if isfinite(course.score)]
    return not worse(arm), len(scores), float(np.mean(scores)) if scores else nan


def told(arm: Arm) -> str:
    return arm.stopped or (arm.contrast.words if arm.contrast is not None else "not compared")


def behind_a_rival(course: Course, rival: Arm | None) -> str:
    """Why an arm is not worth training in full beside one that cures; empty where it may be."""
    if rival is None or rival.prescription is None:
        return ""
    scores = [other.score for other in rival.courses if isfinite(other.score)]
    least = min(rival.courses[0].score, float(np.mean(scores)))
    if course.score > least:
        return ""
    return f"its score is {number(course.score)}, and {number(least)} with {named(rival.prescription)}"


def saying_nothing(courses: Sequence[Course], untreated: Sequence[Course]) -> tuple[int, ...]:
    """Seeds that cannot tell whether a treatment helps: a process died, or one fault ends them with it and without."""
    without = {course.seed: course for course in untreated}
    return tuple(
        course.seed
        for course in courses
        if course.died
        or without[course.seed].died
        or (course.fault and _reason(course) == _reason(without[course.seed]) and not course.cut)
    )


def _reason(course: Course) -> str:
    """Its fault without what it printed last, which differs from one training to the next."""
    return course.fault.partition(LAST_WORDS)[0]
