"""Trainings of a study: made once, kept as files, and read again when the study goes on."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from math import nan
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from isometry.errors import IsometryError
from isometry.history.record import plain, restored
from isometry.history.recorder import fresh_folder
from isometry.network.edits import Edit, edit_facts
from isometry.network.trial import Course, Trainer
from isometry.treatment.outcome import course_facts

__all__ = ["UNTREATED", "Kept", "Task", "Training"]

COURSE_SCHEMA = "isometry/course/3"
UNTREATED = "untreated"


@dataclass(frozen=True, slots=True)
class Task:
    edits: tuple[Edit, ...]
    seed: int
    name: str


@dataclass(frozen=True, slots=True)
class Kept:
    """The courses in a study's folder: one JSON file each, and the folders of their runs."""

    folder: Path
    likeness: str

    def path(self, edits: Sequence[Edit], seed: int) -> Path:
        return self.folder / "courses" / f"{self.likeness}-{_digest(edits)}-seed-{seed}.json"

    def of_others(self) -> int:
        """How many courses of other experiments are here as well."""
        files = (self.folder / "courses").glob("*.json")
        return sum(not path.name.startswith(f"{self.likeness}-") for path in files)

    def course(self, edits: Sequence[Edit], seed: int) -> tuple[Course | None, str]:
        """What is kept of one training, if anything; and why it cannot be used, if it cannot."""
        path = self.path(edits, seed)
        try:
            facts = restored(json.loads(path.read_bytes()))
            return self._course(facts, _facts(edits), seed), ""
        except FileNotFoundError:
            return None, ""
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as fault:
            return None, f"{path.name}: no course that can be used ({fault}), so it is trained again."

    def _course(self, facts: Any, edits: list[Any], seed: int) -> Course:
        if (facts["schema"], facts["likeness"], facts["edits"], facts["seed"]) != (
            COURSE_SCHEMA,
            self.likeness,
            edits,
            seed,
        ):
            raise ValueError("it is of another training")
        losses = np.array([float(loss) for loss in facts["losses"]], dtype=np.float64)
        run = self.folder / facts["run"] if facts["run"] is not None else None
        if run is not None and not run.is_dir():
            raise ValueError(f"its run {facts['run']} is gone")
        return Course(
            seed,
            losses,
            float(facts["score"]),
            run,
            float(facts["seconds"]),
            str(facts["fault"]),
            steps=int(facts["steps"]),
            cut=bool(facts["cut"]),
            by_metric=bool(facts["by_metric"]),
        )

    def _beside(self, run: Path | None) -> str | None:
        """Where a run is, seen from the study's folder, so that both may be moved; in full where it is elsewhere."""
        if run is None:
            return None
        run = run.resolve()
        return (run.relative_to(self.folder) if run.is_relative_to(self.folder) else run).as_posix()

    def keep(self, edits: Sequence[Edit], course: Course) -> None:
        """Write it down whole or not at all."""
        path = self.path(edits, course.seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {"schema": COURSE_SCHEMA, "likeness": self.likeness, "edits": _facts(edits)}
        document |= course_facts(course) | {"run": self._beside(course.run)}
        draft = path.with_name(f"{path.name}.{os.getpid()}.new")
        with draft.open("w", encoding="ascii") as stream:
            stream.write(json.dumps(plain(document), allow_nan=False))
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)


@dataclass(frozen=True, slots=True)
class Training:
    """Trains once and keeps the course, in whichever process."""

    trainer: Trainer
    kept: Kept

    def __call__(self, task: Task) -> Course:
        began = monotonic()
        name = f"{slug(task.name)}-{_digest(task.edits)[:6]}" if task.edits else UNTREATED
        run = fresh_folder(self.kept.folder / "runs" / f"{name}-seed-{task.seed}")
        try:
            course = self.trainer.train(task.edits, seed=task.seed, run=run)
        except IsometryError as fault:  # the change fits nowhere, or leaves a model that cannot be followed
            if not task.edits:
                raise
            words = " ".join(str(fault).split())
            course = Course(
                task.seed, np.empty(0), nan, seconds=monotonic() - began, fault=f"{type(fault).__name__}: {words}"
            )
        if course.run is not None and not course.run.is_dir():
            course = replace(course, run=None)
        if not course.died:  # a study that goes on tries it again
            self.kept.keep(task.edits, course)
        return course


def _facts(edits: Sequence[Edit]) -> list[Any]:
    """As JSON gives them back."""
    facts: list[Any] = restored(json.loads(json.dumps(plain([edit_facts(edit) for edit in edits]), sort_keys=True)))
    return facts


def _digest(edits: Sequence[Edit]) -> str:
    return blake2b(json.dumps(plain(_facts(edits)), sort_keys=True).encode(), digest_size=6).hexdigest()


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60]
