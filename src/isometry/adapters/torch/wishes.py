"""What is to become of one layer's φ, as edits ask for it one after another."""

from dataclasses import dataclass, replace

from torch import nn

from isometry.adapters.torch.gated import Gated
from isometry.network.edits import AddSkip, InsertNorm, ReplaceActivation

__all__ = ["NORMS", "Structural", "Wish"]

Structural = ReplaceActivation | InsertNorm | AddSkip
NORMS = ("layer", "rms", "group", "batch")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to become of one layer's φ."""

    activation: str | None = None
    before: str | None = None
    after: str | None = None
    skip: bool = False
    gated: frozenset[str] = frozenset()
    """Which of ``before``, ``after`` and ``skip`` begin with α = 0."""

    def with_edit(self, edit: Structural, *, keep: bool) -> "Wish":
        """The same, and what an edit asks for; with ``keep``, what is there already stays as it begins."""
        if isinstance(edit, ReplaceActivation):
            return replace(self, activation=edit.activation)
        if isinstance(edit, AddSkip):
            return self if keep and self.skip else replace(self, skip=True, gated=self._gating("skip", keep))
        side = "after" if edit.after else "before"
        is_there = getattr(self, side) is not None
        return self._with_norm(side, edit.norm, gated=side in self.gated if keep and is_there else keep)

    def beside(self, before: nn.Module | None, after: nn.Module | None, *, keep: bool) -> "Wish":
        """The same, with norms of an earlier edit where none are wished for."""
        wish = self
        for side, norm in (("before", before), ("after", after)):
            wished = getattr(self, side)
            if norm is not None and (wished is None or keep):
                wish = wish._with_norm(side, wished or _kind_of_norm(norm), gated=isinstance(norm, Gated))
        return wish

    def _with_norm(self, side: str, norm: str, *, gated: bool) -> "Wish":
        now = self._gating(side, gated)
        return replace(self, after=norm, gated=now) if side == "after" else replace(self, before=norm, gated=now)

    def _gating(self, part: str, gated: bool) -> frozenset[str]:
        return self.gated | {part} if gated else self.gated - {part}

    @property
    def is_activation_only(self) -> bool:
        return self == Wish(activation=self.activation)


def _kind_of_norm(norm: nn.Module) -> str:
    match norm:
        case nn.RMSNorm():
            return "rms"
        case nn.GroupNorm() if norm.num_groups > 1:
            return "group"
        case nn.LayerNorm() | nn.GroupNorm():
            return "layer"
        case _:
            return "batch"
