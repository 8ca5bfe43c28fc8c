"""The first NaN or infinity of a run: which step, which layer or operation, forwards or backwards."""

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from isometry.adapters.torch.loss import Suspect, where_not_finite, where_slope_not_finite
from isometry.adapters.torch.recording import FORWARD, FROM_THE_LOSS, Chronicle, Recording, first_non_finite
from isometry.adapters.torch.sites import Sites
from isometry.network.signals import Signal

__all__ = ["Outbreak"]

DIRECTIONS = (
    ("weight", frozenset({Signal.WEIGHT})),
    ("forward", FORWARD - {Signal.SLOPE}),
    ("backward", FROM_THE_LOSS | {Signal.WEIGHT_GRADIENT}),
)


class Event(Protocol):
    """Keeps an event of the run."""

    def __call__(self, kind: str, step: int, /, **fields: Any) -> None: ...


class Outbreak:
    """Looks for it until it is found, and tells it once.

    Args:
        sites: the layers of the watched models.
        event: keeps an event.
        alarm: is told in words what makes the next steps worth recording.
    """

    def __init__(self, sites: Sites, event: Event, alarm: Callable[[str], None]) -> None:
        self._sites = sites
        self._event = event
        self._alarm = alarm
        self._told = False
        self._suspect: Suspect | None = None

    def finite(self, loss: Tensor, recording: Recording | None) -> None:
        """A loss is finite. In a recorded step: does an operation behind it have a gradient that will not be?"""
        if recording is not None and self._suspect is None and not self._told:
            self._suspect = where_slope_not_finite(loss, self._owners())

    def lost(self, loss: Tensor, step: int, recording: Recording | None) -> None:
        """The loss is not finite: record densely, and ask autograd's saved tensors where that began."""
        if self._told:
            return
        self._alarm(f"the loss is {float(loss.detach())}")
        suspect = where_not_finite(loss, self._owners())
        if suspect is None:
            return
        if recording is not None and recording.entries:
            self._suspect = suspect  # the rows of this step tell more of the layers
            return
        self._told = True
        self._event("non_finite", step, producer=not suspect.weight, **suspect.as_event())

    def next_step(self) -> None:
        """What was suspected of the last step does not concern the next."""
        self._suspect = None

    def _owners(self) -> dict[int, str]:
        """Name of the layer of each parameter, by ``id``."""
        return {id(p): site.name for site in self._sites.all for p in site.parameters.values()}

    def examine(self, recording: Recording, chronicle: Chronicle) -> None:
        """Look through the rows of a recorded step, in the order of their making."""
        suspect, self._suspect = self._suspect, None
        if self._told:
            return
        for direction, signals in DIRECTIONS:
            if direction == "backward" and suspect is not None and suspect.forward and not self._told:
                self._told = True
                self._event("non_finite", recording.step, producer=not suspect.weight, **suspect.as_event())
            found = first_non_finite(chronicle, signals)
            if found is None:
                continue
            site, signal, row = found
            producer = not self._told
            self._told = True
            self._event(
                "non_finite",
                recording.step,
                direction=direction,
                layer=site.name,
                signal=str(signal),
                producer=producer and signal not in (Signal.INPUT, Signal.WEIGHT),
                words=f"{int(row[6])} NaN and {int(row[7])} infinite of {int(row[0])} in {signal} of {site.name}",
                **(suspect.explanation() if suspect is not None and producer else {}),
            )
        if self._told:
            self._alarm("a signal is not finite")
