"""A jump of the loss among the first steps, which have too short a past to be judged by its scatter."""

import numpy as np

from isometry.diagnosis import limits
from isometry.diagnosis.pace import pace_of, relative_step
from isometry.errors import NotRecorded
from isometry.history.history import Integers
from isometry.history.run import Run
from isometry.statistics.series import Jump, Values, jumps

__all__ = ["first_jump"]


def first_jump(run: Run, values: Values, steps: Integers) -> Jump | None:
    """The first jump out of a batch unlike the others, within the first fifty steps; None where there is none.

    So short a past is taken whole: the loss doubles, and rises by ten times the whole range of what it was before.
    The steps before must have been of ordinary size, so that none of them can have thrown the weights off.

    Args:
        run: with recorded updates; without them nothing is said.
        values: the loss, finite values only.
        steps: of the values.
    """
    for at in range(int(limits.EARLY_PAST.value), min(int(limits.SPIKE_WINDOW.value) + 1, len(values))):
        before = values[:at]
        rise = values[at] - np.median(before)
        if rise > limits.EARLY_RECORD.value * np.ptp(before) and _is_doubled(values[at], float(np.median(before))):
            jump = jumps(values, window=at, score=0.0, record=0.0)[0]
            return jump if _is_apart(jump, before, values) and _are_ordinary_until(run, int(steps[at])) else None
    return None


def _is_doubled(value: float, level: float) -> bool:
    return level <= 0 or value > limits.SPIKE_FACTOR.value * level


def _are_ordinary_until(run: Run, step: int) -> bool:
    """Whether the steps before this one were seen, and none was so large that it may overshoot."""
    first = relative_step(run)
    if first is None or first > limits.OVERSHOOT.value:
        return False
    try:
        pace = pace_of(run)
    except NotRecorded:
        return False
    before = pace.common[pace.steps < step]
    return bool(len(before)) and bool(np.nanmax(before) < limits.OVERSHOOT.value)


def _is_apart(jump: Jump, before: Values, values: Values) -> bool:
    """Whether the batches at once behind it suffer too, or no others come near it but those of its kind.

    A loss with a heavy tail has many rises of a tenth for each one of the half.
    """
    behind = values[jump.at + 1 : jump.at + 1 + int(limits.EARLY_ECHO.value)]
    if len(behind) and bool((behind > jump.before + limits.SPIKE_RECORD.value * np.ptp(before)).all()):
        return True
    rises = values[jump.at :] - jump.before
    like, near = (np.sum(rises > part.value * jump.rise) for part in (limits.EARLY_LIKE, limits.EARLY_NEAR))
    return bool(near <= limits.SPIKE_FACTOR.value * like)
