"""Changes to a network, in words that no framework owns; adapters carry them out."""

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["AddSkip", "Edit", "InsertNorm", "Reinitialise", "ReplaceActivation", "edit_facts"]


@dataclass(frozen=True, slots=True)
class Reinitialise:
    """Draw the weights of these layers anew, independent and normal or orthogonal."""

    layers: tuple[str, ...]
    gain: float
    """σ_w: weights have the standard deviation σ_w / √fan_in."""
    orthogonal: bool = False


@dataclass(frozen=True, slots=True)
class ReplaceActivation:
    """Apply another φ to the output of these layers."""

    layers: tuple[str, ...]
    activation: str
    """A name of ``network.nonlinearity.FUNCTIONS``."""


@dataclass(frozen=True, slots=True)
class InsertNorm:
    """Normalise the output of these layers, before φ or after it."""

    layers: tuple[str, ...]
    norm: str
    """``layer``: over the units of each sample; ``batch``: over the samples, unit by unit."""
    after: bool = False


@dataclass(frozen=True, slots=True)
class AddSkip:
    """h = φ(z) + x, wherever x, which the layer reads, has the shape of h."""

    layers: tuple[str, ...]


Edit = Reinitialise | ReplaceActivation | InsertNorm | AddSkip


def edit_facts(edit: Edit) -> dict[str, Any]:
    """An edit as plain data, with its kind."""
    return {"edit": type(edit).__name__} | asdict(edit)
