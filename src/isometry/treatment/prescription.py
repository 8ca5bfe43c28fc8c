"""What is advised: edits, what they cost, what theory foretells of them, and the change to make by hand."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from isometry.network.edits import Edit, edit_facts
from isometry.shown import Shown

__all__ = ["Effect", "Prescription"]


class Effect(StrEnum):
    """What a change costs, the gentlest first."""

    RETUNES = "retunes"
    """The optimiser or the scale of the data alone; a trained model can go on."""
    REINITIALISES = "reinitialises"
    """Weights are lost."""
    RESTRUCTURES = "restructures"
    """The network becomes another function of its weights."""


@dataclass(frozen=True, slots=True)
class Prescription(Shown):
    """One way to treat a training."""

    remedy: str
    """Name of the remedy; of two together ``critical-initialisation + lower-rate``."""
    edits: tuple[Edit, ...]
    effect: Effect
    """That of the hardest of its edits."""
    expected: float | None
    """log10 of ‖δ‖ at the first layer over that at the last, foretold with the change; None where theory has no say.
    [decades]"""
    answers: tuple[str, ...]
    """Codes of the findings that it treats."""
    words: str
    """What it does and why, for the reader."""
    patch: str
    """The change to make by hand, as code where there is some."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "remedy": self.remedy,
            "edits": [edit_facts(edit) for edit in self.edits],
            "effect": self.effect.value,
            "expected": self.expected,
            "answers": list(self.answers),
            "words": self.words,
            "patch": self.patch,
        }
