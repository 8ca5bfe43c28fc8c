"""Where the loss stood and where it went, held against what guessing would give."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis import limits
from isometry.diagnosis.trainings import trainings
from isometry.errors import NotRecorded
from isometry.history.history import Series
from isometry.history.run import Run
from isometry.statistics.guessing import guessing_loss
from isometry.statistics.series import Course, course

__all__ = ["Level", "has_rivals", "level_of", "loss_series"]


@dataclass(frozen=True, slots=True)
class Level:
    """The course of a loss and the levels that it is held against. All in the unit of the loss as it was trained on."""

    course: Course
    reference: float
    """The loss of the untrained network."""
    first: float
    """The very first value."""
    guessing: float | None
    """The loss of an answer that ignores the input; None where it cannot be told."""
    kind: str
    """``cross_entropy``, ``mse`` … ``unknown``."""

    @property
    def fallen(self) -> float:
        """Share of the untrained network's loss that is gone at the end; negative if the loss rose."""
        return (self.reference - self.course.end) / self.reference if self.reference > 0 else 0.0

    @property
    def began_trained(self) -> bool:
        """Whether the network knew its task from the start: pretrained, resumed."""
        return self.guessing is not None and self.reference < limits.BEGAN_TRAINED.value * self.guessing

    @property
    def has_floor(self) -> bool:
        """Whether the loss is one of those that cannot go below zero."""
        return self.kind != "unknown"


def loss_series(run: Run) -> Series:
    """The loss, step by step.

    Raises:
        NotRecorded: no loss was seen.
    """
    series = run.history.scalars.get("loss")
    if series is None or not len(series):
        raise NotRecorded("no loss was seen. Call `backward()` on it inside the watch, or log it as `loss`.")
    return series


def level_of(run: Run) -> Level:
    """How the loss of a run went.

    The untrained network's loss is the first value where the first steps alone blew the loss up, else the median of
    the first values. A loss that was multiplied by some number is brought on one scale with guessing where the run
    tells the number; where it does not, and the start is out of all proportion, guessing is left out.

    Raises:
        NotRecorded: no loss, or too few values to tell a trend from noise.
    """
    values = loss_series(run).values
    read = course(np.asarray(values, np.float64))
    if read is None:
        found = int(np.isfinite(values).sum())
        raise NotRecorded(f"steps with a finite loss: {found}, too few to judge a trend")
    first = float(values[np.isfinite(values)][0])
    blown_up = read.start - first > limits.ABOVE_NOISE.value * read.noise
    reference = first if blown_up else read.start
    kind, guessing = _guessing(run, reference if reference > 0 else first)
    return Level(read, reference, first, guessing, kind)


def _guessing(run: Run, reference: float) -> tuple[str, float | None]:
    events = run.history.events("loss_kind")
    if not events:
        return "unknown", None
    event = events[0]
    kind = str(event.get("kind", "unknown"))
    guessing = guessing_loss(kind, classes=event.get("classes"), targets=event.get("targets"))
    if guessing is None:
        return kind, None
    own = event.get("value")
    if own is not None and own > 0 and reference > 0:
        multiplied_by = _value_at(loss_series(run), int(event["step"])) / float(own)
        return kind, guessing * multiplied_by
    proportion = abs(reference) / guessing
    fitting = limits.LEAST_PROPORTION.value < proportion < limits.GREATEST_PROPORTION.value
    return kind, guessing if fitting else None


def _value_at(series: Series, step: int) -> float:
    place = min(int(np.searchsorted(series.steps, step)), len(series) - 1)
    return float(series.values[place])


def has_rivals(run: Run) -> bool:
    """Whether optimisers with different parameters may pull one loss in opposite directions, as in a GAN."""
    return any(_has_rivals(training) for training in trainings(run))


def _has_rivals(run: Run) -> bool:
    groups: list[frozenset[str]] = []
    for event in run.history.events("optimizer"):
        group = frozenset(event.get("parameters", ()))
        if group and all(group.isdisjoint(other) for other in groups):
            groups.append(group)
    return len(groups) > 1


def spread_over(steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """How many training steps each recorded step stands for."""
    return np.gradient(steps.astype(np.float64)) if len(steps) > 1 else np.ones(len(steps))
