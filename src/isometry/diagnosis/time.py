"""The profile of δ through time: how much of it reaches the earlier steps of a sequence in a recurrent layer."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis import limits
from isometry.errors import NotRecorded
from isometry.history.run import Run

__all__ = ["TimeProfile", "profiles_through_time"]

Array = NDArray[np.float64]

LATE_SHARE = 4


@dataclass(frozen=True, slots=True)
class TimeProfile:
    """log10 rms δ by time step relative to its last step that δ enters, medians over training steps."""

    layer: str
    early: Array
    late: Array
    first_step: int
    silent: int
    """How many of the earliest time steps receive exactly zero in the later training steps."""

    def __len__(self) -> int:
        return len(self.late)


def profiles_through_time(run: Run) -> Iterator[TimeProfile]:
    """One profile for each recurrent layer, earliest time step first.

    Raises:
        NotRecorded: the run holds no recurrent layer whose δ was kept by time step.
    """
    events = run.history.events("through_time")
    if not events:
        raise NotRecorded("no recurrent layer whose δ was kept by time step")
    for layer in dict.fromkeys(str(event["layer"]) for event in events):
        found = _profile(layer, [event for event in events if event["layer"] == layer])
        if found is not None:
            yield found


def _profile(layer: str, events: list[dict[str, Any]]) -> TimeProfile | None:
    # Sequences differ in length from batch to batch; they are laid end on end at the last step, the shortest decides.
    length = min(len(event["rms"]) for event in events)
    if length < limits.FEWEST_TIMES.value:
        return None
    rms = np.asarray([event["rms"][-length:] for event in events], dtype=np.float64)
    rms = rms[np.isfinite(rms).all(axis=1) & (rms > 0).any(axis=1)]
    if not len(rms):
        return None
    with np.errstate(divide="ignore"):
        decades = np.log10(rms)
    # A loss that reads only one time step leaves exact zeros after it: the profile ends where δ enters.
    entry = int(np.median([np.flatnonzero(np.isfinite(row)).max() for row in decades])) + 1
    if entry < limits.FEWEST_TIMES.value:
        return None
    decades = decades[:, :entry]
    decades = decades - np.where(np.isfinite(decades[:, -1:]), decades[:, -1:], decades.max(axis=1, keepdims=True))
    late = max(1, len(decades) // LATE_SHARE)
    typical = np.median(decades[-late:], axis=0)
    heard = np.flatnonzero(np.isfinite(typical))
    return TimeProfile(
        layer=layer,
        early=np.median(decades[:late], axis=0),
        late=typical,
        first_step=int(events[0]["step"]),
        silent=int(heard[0]) if len(heard) else len(typical),
    )
