"""A layer together with the norm and the φ that belong to it."""

from dataclasses import dataclass

from isometry.network.architecture import Architecture, Layer

__all__ = ["Block", "block"]

AVERAGES = ("batch", "layer")


@dataclass(frozen=True, slots=True)
class Block:
    """A layer that multiplies by a matrix, and what follows it."""

    layer: Layer
    activation: str | None
    """φ, whether a norm stands before it or not."""
    norm: Layer | None
    after: bool
    """Whether the norm stands behind φ."""

    @property
    def averages_over(self) -> str:
        """``batch`` or ``layer``, as theory knows norm layers; empty for the others, and where there is none."""
        type_name = self.norm.type.lower().replace("_", "") if self.norm is not None else ""
        return next((kind for kind in AVERAGES if f"{kind}norm" in type_name), "")


def block(architecture: Architecture, layer: Layer) -> Block:
    """The layer with the norm that its output enters, or that reads what its φ gives."""
    before = architecture[layer.norm] if layer.norm is not None and layer.norm in architecture else None
    if before is not None:
        return Block(layer, before.activation, before, after=False)
    behind = next((norm for norm in architecture if norm.kind == "norm" and norm.inputs == (layer.name,)), None)
    return Block(layer, layer.activation, behind, after=behind is not None)
