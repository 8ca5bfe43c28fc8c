"""What mean-field theory is asked about a network, and what it answers."""

from dataclasses import asdict, dataclass
from typing import Any

from isometry.theory.criticality import DepthScale, Phase

__all__ = ["Explanation", "HiddenLayer"]


@dataclass(frozen=True, slots=True)
class HiddenLayer:
    """A layer of a network as far as mean field looks at it."""

    activation: str | None
    """φ; None where there is none."""
    sigma_w: float
    """√fan_in × standard deviation of its weights; NaN where it has no matrix."""
    sigma_b: float
    fan_in: int
    kind: str
    """As ``network.architecture`` has it: ``linear``, ``conv`` …"""
    normalised: bool
    """A norm layer stands between its z and φ."""
    residual: bool = False
    """It stands in a residual branch."""
    norm: str = ""
    """What the norm layer beside φ averages over: ``batch`` or ``layer``; empty where there is none, or another."""
    after: bool = False
    """The norm layer stands behind φ instead."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Mean field of the layers that most of a network is made of, at initialisation."""

    activation: str
    norm: str
    """``batch norm before``, ``layer norm after`` …: where a norm layer stands beside φ; empty where none does."""
    sigma_w: float
    """Root mean square over the layers; likewise ``sigma_b``."""
    sigma_b: float
    depth: int
    """Hidden layers with this φ."""
    phase: Phase
    """``ordered``, ``critical`` or ``chaotic``; critical is also what is too near to it to matter at this depth."""
    q: float
    """The fixed point of the mean square of z; NaN where there is none."""
    chi: float
    """χ₁ at the fixed point, or in the limit of depth where there is none."""
    chi_q: float
    """Slope of the length map there."""
    decades_per_layer: float
    """½ log10 χ₁: negative where δ falls towards the input. [decades / layer]"""
    decades: float
    """The same over these layers, followed one by one from q = 1 at the input: q may be far from its end. [decades]"""
    drift: float
    """A relative error of q in the last layer over the one in the first that caused it."""
    critical_sigma_w: float
    """NaN where no σ_w is, none that q stays with, or where the size of the weights does not matter."""
    critical_q: float
    """NaN there too, and where every q will do."""
    depth_scales: DepthScale
    """NaN where theory says nothing; so ξ_c where q has no positive end."""
    trainable_depth: float
    """6 ξ_c; inf where critical, NaN where theory says nothing. [layers]"""
    words: tuple[str, ...] = ()
    """Sentences, ready to print."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"phase": self.phase.value, "words": list(self.words)}
