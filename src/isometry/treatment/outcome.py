"""What a study found: every arm as it was trained, and what follows."""

from dataclasses import dataclass
from math import nan
from statistics import fmean
from typing import Any, Literal

from isometry.diagnosis.finding import Diagnosis
from isometry.network.experiment import Experiment
from isometry.network.script import Script
from isometry.network.trial import Course
from isometry.shown import Shown
from isometry.treatment.contrast import BEYOND, Contrast, Judged
from isometry.treatment.prescription import Prescription

__all__ = ["Arm", "Outcome", "Verdict", "course_facts"]

Verdict = Judged | Literal["nothing to fix"]


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of training the network, and how it went from each seed."""

    prescription: Prescription | None
    """None for the arm without a change."""
    courses: tuple[Course, ...]
    """One a seed, in the order of the seeds."""
    stopped: str = ""
    """Why it was not trained from all seeds, in one sentence; empty where it was."""
    contrast: Contrast | None = None
    """Against the arm without a change, over the seeds that it has; None for that arm itself."""
    left_out: tuple[int, ...] = ()
    """Seeds that tell nothing of the treatment: a process died, or with it and without the same fault ended them."""

    @property
    def score(self) -> float:
        """Mean over the seeds that tell something; NaN where a training broke down."""
        scores = [course.score for course in self.courses if course.seed not in self.left_out]
        return fmean(scores) if scores and all(abs(score) < BEYOND.value for score in scores) else nan

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of its courses."""
        return tuple(course.seed for course in self.courses)

    @property
    def faults(self) -> tuple[str, ...]:
        """Why trainings ended early, each reason once."""
        return tuple(dict.fromkeys(course.fault for course in self.courses if course.fault))

    def to_dict(self) -> dict[str, Any]:
        return {
            "prescription": self.prescription.to_dict() if self.prescription is not None else None,
            "score": self.score,
            "courses": [course_facts(course) for course in self.courses],
            "stopped": self.stopped,
            "contrast": self.contrast.to_dict() if self.contrast is not None else None,
            "left_out": list(self.left_out),
        }


@dataclass(frozen=True, slots=True)
class Outcome(Shown):
    """Whether a treatment helped, and all that was trained to find out."""

    verdict: Verdict
    words: str
    """Why, in one sentence."""
    trials: tuple[Arm, ...]
    """The arm without a change first, then the treated ones as they were tried."""
    contrast: Contrast | None
    """The best arm against the one without a change; None where nothing was tried."""
    prescription: Prescription | None
    """What the best arm changed. None where nothing was tried, or where all that was tried did worse."""
    before: Diagnosis
    after: Diagnosis | None
    """Of the best arm; None where nothing was tried, or its run cannot be read."""
    experiment: Experiment | Script
    """As prescribed where that helped; otherwise without a change, because a cure is proved or withdrawn."""
    patch: str = ""
    """The change to make by hand where it helped; otherwise empty."""
    notes: tuple[str, ...] = ()
    """What else one should know before relying on it, one sentence each."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": "isometry/outcome/1",
            "verdict": self.verdict,
            "words": self.words,
            "prescription": self.prescription.to_dict() if self.prescription is not None else None,
            "patch": self.patch,
            "contrast": self.contrast.to_dict() if self.contrast is not None else None,
            "trials": [arm.to_dict() for arm in self.trials],
            "before": self.before.to_dict(),
            "after": self.after.to_dict() if self.after is not None else None,
            "notes": list(self.notes),
        }


def course_facts(course: Course) -> dict[str, Any]:
    """A course as plain data; of its run the name of the folder."""
    return {
        "seed": course.seed,
        "score": course.score,
        "losses": course.losses.tolist(),
        "run": course.run.name if course.run is not None else None,
        "seconds": course.seconds,
        "fault": course.fault,
        "steps": course.steps,
        "cut": course.cut,
        "by_metric": course.by_metric,
    }
