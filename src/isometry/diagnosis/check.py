"""A network before its first step: what should happen in it, what does, and what would under a change."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.history.inspection import JacobianFacts
from isometry.history.run import Run
from isometry.network.architecture import Architecture
from isometry.network.edits import NetworkEdit, edit_facts
from isometry.network.signals import Signal
from isometry.shown import Shown

if TYPE_CHECKING:  # theory is loaded when it is first asked for
    from isometry.diagnosis.blame import Outlier
    from isometry.theory.explain import Explanation

__all__ = ["Band", "Check", "Counterfactual", "Departure", "Prediction"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """Where one network's values lie with a probability of 95 %. NaN where nothing is said. shape (layers,) each"""

    mean: Floats
    low: Floats
    high: Floats

    def to_dict(self, layer: int) -> dict[str, float]:
        """The part of one layer."""
        return {"mean": float(self.mean[layer]), "low": float(self.low[layer]), "high": float(self.high[layer])}


@dataclass(frozen=True, slots=True, eq=False)
class Prediction(Shown):
    """What a network of this architecture and this law of weights should show before its first step."""

    architecture: Architecture
    forward: Band
    """log10 of rms z. [decades]"""
    backward: Band
    """log10 of ‖δ‖ over the batch, against the layer nearest to the output, where it is 0. [decades]"""
    dead: float
    """Share of such networks whose first layer gets no gradient at all."""
    nets: int
    """How many were drawn."""
    explanation: "Explanation | None" = None
    """What mean-field theory says of the layers that most of the network is made of; None where it says nothing."""
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": "isometry/prediction/1",
            "model": self.architecture.model,
            "layers": self.layers(),
            "dead": self.dead,
            "nets": self.nets,
            "explanation": self.explanation and self.explanation.to_dict(),
            "notes": list(self.notes),
        }

    def layers(self, **measured: Floats) -> list[dict[str, Any]]:
        """One entry for each layer, input first: its bands, and what was measured of ``forward`` and ``backward``."""
        bands: Mapping[str, Band] = {"forward": self.forward, "backward": self.backward}
        return [
            {"name": layer.name, "kind": layer.kind}
            | {
                signal: ({"measured": float(measured[signal][place])} if signal in measured else {})
                | band.to_dict(place)
                for signal, band in bands.items()
            }
            for place, layer in enumerate(self.architecture)
        ]


@dataclass(frozen=True, slots=True)
class Departure:
    """A layer at which the network does what its law of weights does not explain."""

    layer: str
    signal: Signal
    measured: float
    """Gain of the signal across this layer. [decades]"""
    low: float
    high: float
    """Where 95 % of the drawn networks have it. [decades]"""
    words: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"signal": str(self.signal)}


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """The same network with one thing changed, predicted."""

    name: str
    """``He + ReLU``"""
    edits: tuple[NetworkEdit, ...]
    backward: float
    """log10 of ‖δ‖ at the first layer over that at the last one; the mean over the drawn networks. [decades]"""
    forward: float
    """log10 of rms z at the last layer over that at the first. [decades]"""
    spread: float
    """Standard deviation of ``backward`` from one network to the next. [decades]"""

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "edits": [edit_facts(edit) for edit in self.edits],
            "backward": self.backward,
            "forward": self.forward,
            "spread": self.spread,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Check(Shown):
    """Predicted and measured signals of a network before its first step, and the verdict."""

    diagnosis: Diagnosis
    """Of the one measured pass."""
    prediction: Prediction
    forward: Floats
    """Measured log10 of rms z. shape (layers,)"""
    backward: Floats
    """Measured log10 of ‖δ‖, against the layer nearest to the output. shape (layers,)"""
    departures: tuple[Departure, ...]
    counterfactuals: tuple[Counterfactual, ...]
    """Those that lose least first; the network as it is among them, named ``as it is``."""
    jacobian: JacobianFacts | None
    outliers: tuple["Outlier", ...] = ()
    """Layers unlike the others of their kind, worst first."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the rules find in the measured pass, worst first."""
        return self.diagnosis.findings

    @property
    def healthy(self) -> bool:
        """No finding that slows, harms or stops training."""
        return self.diagnosis.healthy

    @property
    def run(self) -> Run:
        """The measured pass."""
        return self.diagnosis.run

    @property
    def inside(self) -> float:
        """Share of the measured values that lie inside their band; NaN where none can be held against one."""
        within = [
            (band.low[k] <= measured[k] <= band.high[k])
            for band, measured in ((self.prediction.forward, self.forward), (self.prediction.backward, self.backward))
            for k in range(len(measured))
            if np.isfinite([band.low[k], band.high[k]]).all()
            and not np.isnan(measured[k])
            and band.high[k] > band.low[k]
        ]
        return float(np.mean(within)) if within else float("nan")

    def to_dict(self) -> dict[str, Any]:
        prediction = self.prediction.to_dict()
        prediction["layers"] = self.prediction.layers(forward=self.forward, backward=self.backward)
        return (
            self.diagnosis.to_dict()
            | prediction
            | {
                "schema": "isometry/check/1",
                "inside": self.inside,
                "departures": [departure.to_dict() for departure in self.departures],
                "outliers": [asdict(outlier) for outlier in self.outliers],
                "counterfactuals": [one.to_dict() for one in self.counterfactuals],
                "jacobian": self.jacobian and asdict(self.jacobian),
            }
        )
