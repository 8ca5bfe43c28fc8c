"""One training of one arm of a trial, and who carries it out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from isometry.network.edits import Edit
from isometry.network.experiment import Experiment
from isometry.network.script import Script

__all__ = ["LAST_WORDS", "Course", "Trainer"]

LAST_WORDS = "; its last words: "
"""Stands in a fault before what the training printed last."""


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """One training that has ended."""

    seed: int
    losses: NDArray[np.float64]
    """Mean over the batches of each epoch; of a script, whose epochs nobody knows, over each of up to 100 equal parts.
    shape (epochs,) or (parts,)"""
    score: float
    """Higher is better: the experiment's metric; else minus the loss over its validation data, or over its training
    data if it has none, after the last step. NaN where that is no finite number, or the training failed."""
    run: Path | None = None
    """Folder of the watched run."""
    seconds: float = 0.0
    fault: str = ""
    """Why it ended early, in one line; empty if it did not."""
    steps: int = 0
    """Steps of the optimiser; 0 where nobody counted."""
    cut: bool = False
    """It was ended after so many steps because its time was over."""
    by_metric: bool = False
    """The score is a metric, and not minus a loss."""
    died: bool = False
    """Its process was killed or crashed, which says nothing of the training. Nothing is kept of it."""


class Trainer(Protocol):
    """Trains one experiment, or script, with some changes."""

    def train(self, edits: Sequence[Edit], *, seed: int, run: Path | None) -> Course:
        """One training: same seed, same initial weights before the changes, same order of the data."""

    def treated(self, edits: Sequence[Edit]) -> Experiment | Script:
        """The experiment with the changes made."""

    def paced_by(self, course: Course) -> "Trainer":
        """Who trains as long as the untreated course from the first seed went on."""
