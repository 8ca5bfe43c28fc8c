"""What a watch keeps: the steps that were measured, the network as it turns out to be, and what there is to say."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from isometry.adapters.torch.recording import COLUMNS, ActiveUnits, Chronicle, Recording
from isometry.adapters.torch.sites import Site, Sites
from isometry.history.recorder import Recorder
from isometry.network.architecture import Architecture

__all__ = ["Ledger"]


class Ledger:
    """Writes a run, and remembers what has been written of it.

    Args:
        recorder: of the run's folder; None where that cannot be written, and then nothing is kept.
        sites: the layers that are watched.
    """

    def __init__(self, recorder: Recorder | None, sites: Sites) -> None:
        self.recorder = recorder
        self.notes: list[str] = []
        """What was said of the watch itself."""
        self.architecture: Architecture | None = None
        """The network as it was written last."""
        self.growths = 0
        """How often it turned out to be more than that."""
        self.recorded = 0
        """Steps that were written."""
        self.formats: dict[str, str] = {}
        """In which half-precision formats layers compute."""
        self._sites = sites
        self._scale = 1.0
        self._units: dict[Site, ActiveUnits] = {}
        self._missing: list[dict[str, str]] = []
        self._resting: set[str] = set()

    # ------------------------------------------------------------------ single facts

    def event(self, kind: str, step: int, /, **fields: Any) -> None:
        """Keep what happened in a step."""
        if self.recorder is not None:
            self.recorder.event(kind, step, **fields)

    def scalar(self, step: int, name: str, value: float) -> None:
        """Keep a number of a step."""
        if self.recorder is not None:
            self.recorder.scalar(step, name, value)

    def note(self, step: int, words: str) -> None:
        """Say something of the watch, once."""
        if words not in self.notes:
            self.notes.append(words)
            self.event("trouble", step, words=words)

    def missing(self, step: int, parameters: list[dict[str, str]]) -> None:
        """Which parameters no gradient has reached so far."""
        if parameters != self._missing:
            self._missing = parameters
            self.event("no_gradient", step, parameters=parameters)

    def at_rest(self, step: int, resting: Sequence[str], sites: Sequence[Site]) -> None:
        """Which of an optimiser's layers have a learning rate of 0 at present."""
        now = (self._resting - {site.name for site in sites}) | set(resting)
        if now != self._resting:
            self._resting = now
            self.event("zero_rate", step, layers=sorted(now))

    # ------------------------------------------------------------------------- steps

    def write(self, recording: Recording, scale: float, places: Mapping[str, Any] | None) -> Chronicle:
        """Reduce what was measured in one step, and keep it.

        Args:
            recording: of the step.
            scale: what the loss had been multiplied by.
            places: where in the source modules and functions were called, if there is news of that.

        Returns:
            Every row in the order of its making.
        """
        assert self.recorder is not None
        columns, chronicle = recording.reduce(self._sites.in_order(), self._units, scale)
        self._describe(self.recorder)
        if places is not None:
            self.event("places", recording.step, **places)
        self.recorder.record(recording.step, columns)
        self._note_precision(recording, scale)
        for site, profile in recording.time_profiles(scale):
            self.event("through_time", recording.step, layer=site.name, rms=profile)
        for (site, signal), histogram in (recording.distributions or {}).items():
            self.event("histogram", recording.step, layer=site.name, signal=str(signal), **histogram)
        self.recorded += 1
        return chronicle

    def _note_precision(self, recording: Recording, scale: float) -> None:
        """In which half-precision formats layers compute, the loss scale, and what the loss sent before rounding."""
        formats = self.formats | {site.name: name for site, name in recording.formats.items()}
        if formats != self.formats:
            self.formats = formats
            self.event("formats", recording.step, formats=formats)
        if scale != self._scale:
            self._scale = scale
            self.event("loss_scale", recording.step, scale=scale)
        arriving = recording.arriving()
        if arriving is not None:
            self.event("rounded", recording.step, size=arriving[0], largest=arriving[1])

    def _describe(self, recorder: Recorder) -> None:
        """Write the architecture when it is first known, and again when it turns out to be more."""
        architecture = self._sites.architecture(tuple(self.notes))
        if architecture == self.architecture:
            return
        if self.architecture is not None:
            if _alike(architecture, self.architecture):
                return
            self.growths += 1
        self.architecture = architecture
        double = any(p.dtype in (torch.float64, torch.complex128) for _, p in self._sites.parameters())
        recorder.add_provenance(seed=torch.initial_seed(), device=_device(self._sites))  # the script has set both
        recorder.begin(architecture, COLUMNS, double=double)


def _device(sites: Sites) -> str | None:
    for _, parameter in sites.parameters():
        return str(parameter.device)
    return None


def _alike(new: Architecture, old: Architecture) -> bool:
    """Whether all that rules rely on is unchanged: later calls may be more, an unused layer stays unused."""

    def essence(architecture: Architecture) -> Sequence[tuple[Any, ...]]:
        return [
            (layer.name, layer.kind, layer.activation, layer.norm, layer.branch, layer.trainable, layer.calls > 0)
            for layer in architecture.layers
        ]

    return essence(new) == essence(old)
