"""When to record: densely at first, then as often as the budget allows, densely again on alarm.

A pure policy without a clock: it decides by what it was told, so the same costs give the same steps.
"""

import math
from collections import deque
from statistics import median

from isometry.errors import IsometryError

__all__ = ["Cadence"]

FIRST_STEPS = 4
"""Steps at the beginning that are always recorded: initialisation shows there and nowhere else."""
CERTAIN = frozenset(2 * 4**power for power in range(1, 20))
"""Steps of the sparse skeleton that are recorded whatever they cost."""
RESTARTS = 8
"""A script that makes a new optimiser for every batch shall not be recorded at every batch."""
SKELETON_EXCESS = 5.0
"""The rest of the skeleton may take the cost to this multiple of what the budget allows so far …"""
SKELETON_GRACE = 0.05
"""… but to no more than this beyond it [seconds] …"""
SKELETON_SHARE = 3.0
"""… or, in a longer training, to this multiple: there are only two such steps in an octave."""
ALARM_STEPS = 8
"""Steps recorded after an alarm, at most."""
ALARMS_ON_CREDIT = 3
"""So many alarms' worth of recordings may be owed to the budget at any time."""


class Cadence:
    """Chooses the steps to record.

    With ``every=k`` it takes exactly every k-th step. Otherwise a step is taken when the watch's whole cost so far and
    that of one more recording stay within ``budget`` × the training time so far. Three things come on top, all bounded:
    the first four steps; a skeleton at the powers of two and half-way between; and up to eight steps after an alarm.

    Args:
        every: record every so many steps, whatever it costs.
        budget: share of the training time that watching may take.
    """

    def __init__(self, every: int | None = None, budget: float = 0.01) -> None:
        if every is not None and every < 1:
            raise IsometryError(
                f"every={every}: a whole number of steps from 1 upwards is needed. Use every=1 for all."
            )
        if not (math.isfinite(budget) and budget > 0):
            raise IsometryError(f"budget={budget}: a positive share of step time is needed, such as 0.01 for 1 %.")
        self.every = every
        self.budget = budget
        self.spent = 0.0
        """What watching took so far. [seconds]"""
        self.trained = 0.0
        """What training took so far, watching left out. [seconds]"""
        self.recorded = 0
        """Steps recorded so far."""
        self._setup = 0.0
        self._cost = 0.0
        self._costs: deque[float] = deque(maxlen=5)
        self._typical_step = 0.0
        self._plain_step = 0.0
        self._slower: deque[float] = deque(maxlen=5)
        self._unseen = 0
        self._last = -1
        self._dense_until = -1
        self._origin = 0
        self._restarts = 0

    @property
    def share(self) -> float:
        """Cost of watching as a share of training time."""
        return self.spent / self.trained if self.trained > 0 else 0.0

    def wants(self, step: int) -> bool:
        """Whether to record this step. Asking changes nothing."""
        if self.every is not None:
            return step % self.every == 0
        since = step - self._origin
        if 0 <= since < FIRST_STEPS or since in CERTAIN:
            return True
        cost, income = self._cost, self.budget * self.trained
        after = self.spent + cost
        if step <= self._dense_until:
            return after <= income + ALARMS_ON_CREDIT * ALARM_STEPS * cost
        if step - self._last < self._least_gap(cost):
            return False
        # The first recording also finds out the network's structure, once. Half the income pays that back, and the
        # other half goes on recording meanwhile: else a short training would have no middle.
        recurring = after - max(0.0, self._setup - cost)
        excess = max(income + SKELETON_GRACE, SKELETON_SHARE * income)
        if _in_skeleton(step) and recurring <= min(SKELETON_EXCESS * income, excess):
            return True
        return after <= income or recurring <= income / 2

    def paid(self, step: int, watch_seconds: float, step_seconds: float, recorded: bool) -> None:
        """Be told what a step cost.

        Args:
            step: its number.
            watch_seconds: seen to be spent on watching in this step, recorded or not.
            step_seconds: the rest of the step. In a recorded one it holds what the watch does not see of its own cost
                too: hooks that slow the framework down, a cache filled with other things. That is told by how much
                longer it took than the steps between, and counted as spent.
            recorded: whether it was recorded.
        """
        self.spent += watch_seconds
        self.trained += step_seconds
        self._typical_step = _followed(self._typical_step, step_seconds)
        if not recorded:
            self._plain_step = _followed(self._plain_step, step_seconds)
            return
        unseen = self._unseen_cost(watch_seconds, step_seconds)
        self.spent += unseen
        self.trained -= unseen
        watch_seconds += unseen
        self.recorded += 1
        self._last = step
        if self.recorded == 1:
            self._setup = watch_seconds
        else:
            self._costs.append(watch_seconds)
        self._cost = median(self._costs) if self._costs else watch_seconds

    def _unseen_cost(self, watch_seconds: float, step_seconds: float) -> float:
        """Of this recording, and of the first ones, as soon as there are plain steps to compare with. [seconds]

        The median of five, and never more than what was seen, so that an evaluation within the step counts for little.
        """
        self._unseen += 1
        if self._plain_step == 0.0:
            return 0.0
        self._slower.append(min(max(step_seconds - self._plain_step, 0.0), watch_seconds))
        recordings, self._unseen = self._unseen, 0
        return min(recordings * median(self._slower), self.trained)

    def restart(self, step: int) -> None:
        """Something new is trained from this step on: its first steps are recorded as those of a training are."""
        if self._restarts < RESTARTS:
            self._restarts += 1
            self._origin = step

    def alarm(self, step: int, steps: int = ALARM_STEPS) -> None:
        """Record the ``steps`` steps after this one too, at most eight."""
        self._dense_until = max(self._dense_until, step + min(steps, ALARM_STEPS))

    def _least_gap(self, cost: float) -> float:
        """Half the distance at which recordings use up the budget, so that savings are not spent in one burst."""
        income_per_step = self.budget * self._typical_step
        return cost / income_per_step / 2 if income_per_step > 0 else 1.0


def _followed(typical: float, seconds: float) -> float:
    """The typical duration after one more; a step with an evaluation in it counts as three, not as three hundred."""
    return typical + (min(seconds, 3 * typical) - typical) / 16 if typical > 0 else seconds


def _in_skeleton(step: int) -> bool:
    """Whether it is a power of two or half-way between two of them."""
    odd = step // (step & -step)
    return odd == 1 or odd == 3
