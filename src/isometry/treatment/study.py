"""Tries treatments on one experiment, most promising first, and says whether any of them helped.

Every course that has ended is kept in the study's folder before anything else happens. So an interrupted study goes on
where it was, as long as the experiment is the same; ``_Likeness`` is what tells one experiment from another.
"""

import enum
import functools
import inspect
import json
import os
import re
import sysconfig
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, is_dataclass
from hashlib import blake2b
from importlib.metadata import version
from math import isfinite, nan
from pathlib import Path, PurePath
from time import monotonic
from typing import Any

import numpy as np

from isometry.diagnosis.finding import Diagnosis
from isometry.errors import IsometryError, NotRecorded
from isometry.history.record import plain, restored
from isometry.history.recorder import fresh_folder
from isometry.history.run import Run
from isometry.history.store import open_run
from isometry.network.edits import Edit, edit_facts
from isometry.network.trial import Course, Trainer
from isometry.treatment.contrast import CONFIDENCE, contrast, far_behind, number
from isometry.treatment.engines import Engine
from isometry.treatment.outcome import Arm, Outcome, course_facts
from isometry.treatment.prescription import Prescription

__all__ = ["treat"]

COURSE_SCHEMA = "isometry/course/1"
UNTREATED = "untreated"


def treat(
    trainer: Trainer,
    *,
    seeds: Sequence[int],
    folder: Path,
    diagnose: Callable[[Run], Diagnosis],
    prescribe: Callable[[Diagnosis], Sequence[Prescription]],
    engine: Engine,
    most: int = 5,
    say: Callable[[str], None] = lambda words: None,
) -> Outcome:
    """Train without a change, find out what is wrong, and try what is prescribed against it.

    Each treatment is trained from the first seed, and from the others unless that one broke down or came out far
    behind. Trying ends with the first treatment that has helped and whose run is healthy, or when nothing is left to
    try, or nothing to train with: at most ``(1 + most) · seeds`` trainings are made. Of those that helped, the one with
    the best mean score is prescribed.

    Several treatments are several chances to be lucky. So the k-th that is compared needs an interval of confidence
    1 − 0.05 / k: of studies in which none of five makes a difference, and differences follow a normal law, at most one
    in 17 then tells that one helps.

    Args:
        trainer: trains the experiment.
        seeds: of each arm, so many trainings.
        folder: where courses and runs are kept. The same call goes on from what it finds there.
        diagnose: a run → what is wrong with it.
        prescribe: a diagnosis → what might help, most promising first.
        engine: where trainings run.
        most: treated arms that may be trained in full.
        say: gets a sentence whenever something has ended.

    Raises:
        IsometryError: no seed.
        NotRecorded: no training without a change left a run that can be read.
        KeyboardInterrupt: as it came; what had ended by then is kept.
    """
    seeds = tuple(dict.fromkeys(int(seed) for seed in seeds))
    if not seeds:
        raise IsometryError("seeds: none was given; at least one is needed, and three to tell a scatter.")
    study = _Study(trainer, seeds=seeds, folder=folder, diagnose=diagnose, engine=engine, say=say)
    try:
        return study.outcome(prescribe, most=most)
    except KeyboardInterrupt:
        say(f"Interrupted. What had ended is kept in {folder}; the same call goes on from there.")
        raise
    finally:
        engine.close()


class _Study:
    """What all arms have in common."""

    def __init__(
        self,
        trainer: Trainer,
        *,
        seeds: tuple[int, ...],
        folder: Path,
        diagnose: Callable[[Run], Diagnosis],
        engine: Engine,
        say: Callable[[str], None],
    ) -> None:
        self.trainer = trainer
        self.seeds = seeds
        self.diagnose = diagnose
        self.engine = engine
        self.say = say
        self.untouched = trainer.treated(())
        self.kept = _Kept(Path(folder).resolve(), likeness(self.untouched))  # user's code may change directory
        others = self.kept.of_others()
        if others:
            say(f"{folder}: {others} courses are of another experiment, by code or data, and are left aside.")

    def outcome(self, prescribe: Callable[[Diagnosis], Sequence[Prescription]], *, most: int) -> Outcome:
        untreated = Arm(None, self.trained(None, self.seeds))
        before = self.diagnosis(untreated)
        if before is None:
            raise NotRecorded(
                f"No training without a change left a run that can be read ({'; '.join(untreated.faults) or 'no fault'}"
                f"). At least one training step has to end before anything can be said."
            )
        if before.healthy:
            return self.concluded(untreated, before)
        plans = tuple(prescribe(before))
        tried: list[Arm] = []
        found: dict[int, Diagnosis | None] = {}
        for plan in plans:
            if sum(len(arm.courses) for arm in tried) > (most - 1) * len(self.seeds):
                break
            arm = self.tried(plan, untreated, place=1 + sum(not earlier.stopped for earlier in tried))
            tried.append(arm)
            self.say(f"{plan.remedy}: {_words(arm)}.")
            if _helped(arm):
                after = found[len(tried) - 1] = self.diagnosis(arm)
                if after is not None and after.healthy:
                    break
        return self.concluded(untreated, before, tried, found, left=len(plans) - len(tried))

    # Trainings --------------------------------------------------------------------------------------------------------

    def tried(self, plan: Prescription, untreated: Arm, *, place: int) -> Arm:
        """One treated arm; ``place``: how many will have been compared in full once it is."""
        courses = self.trained(plan, self.seeds[:1])
        if courses[0].fault:
            return Arm(plan, courses, stopped=f"could not be trained: {courses[0].fault}")
        confidence = 1 - (1 - CONFIDENCE.value) / place
        reason = far_behind(courses[0], untreated.courses)
        if not reason:
            courses += self.trained(plan, self.seeds[1:])
        stopped = f"stopped after the first seed: {reason}" if reason else ""
        return Arm(plan, courses, stopped, contrast(courses, untreated.courses, confidence=confidence))

    def trained(self, plan: Prescription | None, seeds: Sequence[int]) -> tuple[Course, ...]:
        """The courses of one arm, in the order of the seeds; those that are kept are not trained again."""
        edits, name = (plan.edits, plan.remedy) if plan is not None else ((), UNTREATED)
        done: dict[int, Course] = {}
        for seed in seeds:
            course, trouble = self.kept.course(edits, seed)
            if trouble:
                self.say(trouble)
            if course is not None:
                done[seed] = course
        tasks = [_Task(tuple(edits), seed, name) for seed in seeds if seed not in done]
        if done:
            self.say(f"{name}: {len(done)} of {len(seeds)} trainings were made before.")
        with closing(self.engine.map(_Training(self.trainer, self.kept), tasks)) as results:
            for place, course in results:
                done[tasks[place].seed] = course
                how = course.fault or f"score {number(course.score)}"
                self.say(f"{name}, seed {tasks[place].seed}: {how}, {course.seconds:.3g} s.")
        return tuple(done[seed] for seed in seeds)

    # Diagnoses --------------------------------------------------------------------------------------------------------

    def diagnosis(self, arm: Arm) -> Diagnosis | None:
        """Of the run from the first seed; if nothing is wrong with it, of the one that came out worst.

        A run that cannot be read makes room for the next. None if none can.
        """
        healthy = None
        worst = min(arm.courses, key=lambda course: (isfinite(course.score), course.score))
        for course in dict.fromkeys((arm.courses[0], worst, *arm.courses)):
            if healthy is not None and course is not worst:
                break
            read = self.read(course)
            if read is not None and not read.healthy:
                return read
            healthy = healthy or read
        return healthy

    def read(self, course: Course) -> Diagnosis | None:
        if course.run is None:
            return None
        try:
            run = open_run(course.run)
        except NotRecorded as reason:
            self.say(f"seed {course.seed}: {reason}")
            return None
        return self.diagnose(run)

    # The end ----------------------------------------------------------------------------------------------------------

    def concluded(
        self,
        untreated: Arm,
        before: Diagnosis,
        tried: Sequence[Arm] = (),
        found: Mapping[int, Diagnosis | None] | None = None,
        *,
        left: int = 0,
    ) -> Outcome:
        """The outcome. ``found``: diagnoses that were made already, by place among the tried."""
        notes = [*_notes(untreated, self.seeds, left)]
        trials = (untreated, *tried)
        if before.healthy:
            words = "Nothing was found that slows, harms or stops the training, so nothing was changed."
            return Outcome(
                "nothing to fix", words, trials, None, None, before, None, self.untouched, notes=tuple(notes)
            )
        best = _best(tried)
        if best is None or best.prescription is None:
            words = "No treatment could be trained." if tried else "Nothing is known that could be tried."
            return Outcome("no difference", words, trials, None, None, before, None, self.untouched, notes=tuple(notes))
        place = next(place for place, arm in enumerate(tried) if arm is best)
        after = found[place] if found and place in found else self.diagnosis(best)
        plan = best.prescription
        said = f"{plan.remedy}: {_words(best)}."
        if _helped(best):
            if after is not None and not after.healthy:
                notes.append("The treated run is not healthy yet.")
            return Outcome(
                verdict="helped",
                words=said,
                trials=trials,
                contrast=best.contrast,
                prescription=plan,
                before=before,
                after=after,
                experiment=self.trainer.treated(plan.edits),
                patch=plan.patch,
                notes=tuple(notes),
            )
        harmed = all(_worse(arm) for arm in tried if _compared(arm))
        opening = "All that was tried did worse" if harmed else "Nothing that was tried helped"
        return Outcome(
            verdict="harmed" if harmed else "no difference",
            words=f"{opening}; the best was {said}",
            trials=trials,
            contrast=best.contrast,
            prescription=plan if not harmed and any(isfinite(course.score) for course in best.courses) else None,
            before=before,
            after=after,
            experiment=self.untouched,
            notes=tuple(notes),
        )


def _helped(arm: Arm) -> bool:
    return not arm.stopped and arm.contrast is not None and arm.contrast.verdict == "helped"


def _compared(arm: Arm) -> bool:
    """Whether it tells anything at all; what could not be trained does not."""
    return arm.contrast is not None


def _worse(arm: Arm) -> bool:
    """Beyond its interval; or beyond that of the untreated scores, for which it was stopped."""
    behind = bool(arm.stopped) and isfinite(arm.courses[0].score)
    return behind or (arm.contrast is not None and arm.contrast.verdict == "harmed")


def _best(tried: Sequence[Arm]) -> Arm | None:
    """The one that helped and has the best mean score; if none helped, of those trained in full, or else of all."""
    candidates = (
        [arm for arm in tried if _helped(arm)]
        or [arm for arm in tried if _compared(arm) and not arm.stopped]
        or [arm for arm in tried if _compared(arm)]
    )
    return max(candidates, key=_rank, default=None)


def _rank(arm: Arm) -> tuple[bool, int, float]:
    """Better is greater: it does no harm, fewer breakdowns, mean of the scores that are numbers."""
    scores = [course.score for course in arm.courses if isfinite(course.score)]
    return not _worse(arm), len(scores), float(np.mean(scores)) if scores else nan


def _words(arm: Arm) -> str:
    return arm.stopped or (arm.contrast.words if arm.contrast is not None else "not compared")


def _notes(untreated: Arm, seeds: tuple[int, ...], left: int) -> list[str]:
    notes = []
    fallen = sum(not isfinite(course.score) for course in untreated.courses)
    if fallen:
        notes.append(f"Without a change training breaks down from {fallen} of {len(seeds)} seeds.")
    if len(seeds) == 1:
        notes.append("One seed tells no scatter, so only a breakdown could be told from luck. Take three or more.")
    if len(seeds) == 2:
        notes.append("Two seeds tell little of the scatter. Take three or more.")
    if left:
        notes.append(f"{left} more treatments were not tried.")
    return notes


# Courses that are kept ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Task:
    edits: tuple[Edit, ...]
    seed: int
    name: str


@dataclass(frozen=True, slots=True)
class _Kept:
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
        return Course(seed, losses, float(facts["score"]), run, float(facts["seconds"]), str(facts["fault"]))

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
class _Training:
    """Trains once and keeps the course, in whichever process."""

    trainer: Trainer
    kept: _Kept

    def __call__(self, task: _Task) -> Course:
        began = monotonic()
        name = f"{_slug(task.name)}-{_digest(task.edits)[:6]}" if task.edits else UNTREATED
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
            course = Course(task.seed, course.losses, course.score, None, course.seconds, course.fault)
        self.kept.keep(task.edits, course)
        return course


def _facts(edits: Sequence[Edit]) -> list[Any]:
    """As JSON gives them back."""
    facts: list[Any] = restored(json.loads(json.dumps(plain([edit_facts(edit) for edit in edits]), sort_keys=True)))
    return facts


def _digest(edits: Sequence[Edit]) -> str:
    return blake2b(json.dumps(plain(_facts(edits)), sort_keys=True).encode(), digest_size=6).hexdigest()


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60]


# One experiment and another -------------------------------------------------------------------------------------------


def likeness(experiment: Any) -> str:
    """A short text that stays the same while an experiment trains the same way, as far as its objects show.

    It is made of the code of its functions and classes and of whatever these mention, their closures and defaults, of
    numbers, texts and arrays among the data, and of the version of isometry. Other packages count by name. Not seen:
    files that are read while training, and data that do not show their numbers.
    """
    seen = _Likeness()
    seen.add(version("isometry"))
    seen.add(experiment)
    return seen.hexdigest()


_PLAIN = (type(None), bool, int, float, complex, str, bytes, PurePath, enum.Enum, np.generic, range, slice)
_LIBRARIES = (
    *{
        str(Path(sysconfig.get_path(name)).resolve()) + os.sep
        for name in ("stdlib", "platstdlib", "purelib", "platlib")
    },
    str(Path(__file__).resolve().parents[1]) + os.sep,
    "<frozen",
)
LARGEST_WALK = 100_000
"""So many objects are looked at; what is more than that is kept in arrays, of which each is one."""
DEEPEST_WALK = 100
"""So far one inside the other; each takes up to five frames of Python's stack."""


class _Likeness:
    """Walks through an experiment and takes in what it finds, in an order that is always the same."""

    def __init__(self) -> None:
        self._digest = blake2b(digest_size=5)
        self._seen: dict[int, Any] = {}
        self._depth = 0

    def hexdigest(self) -> str:
        return self._digest.hexdigest()

    def add(self, value: Any) -> None:
        if isinstance(value, _PLAIN):
            self._take(type(value).__qualname__, repr(value))
        elif id(value) in self._seen or len(self._seen) > LARGEST_WALK or self._depth > DEEPEST_WALK:
            self._take("no further")
        else:
            self._seen[id(value)] = value  # held, so that no other object gets its id meanwhile
            self._depth += 1
            self._enter(value)
            self._depth -= 1

    def _take(self, *words: str) -> None:
        for word in words:
            self._digest.update(word.encode("utf-8", "backslashreplace") + b"\0")

    def _enter(self, value: Any) -> None:
        self._take(type(value).__qualname__)
        if isinstance(value, types.CodeType):
            self._take(value.co_code.hex(), *value.co_names)
            self._add_all(value.co_consts)
        elif isinstance(value, types.FunctionType):
            self._enter_function(value)
        elif isinstance(value, types.MethodType):
            self._add_all((value.__func__, value.__self__))
        elif isinstance(value, functools.partial):
            self._add_all((value.func, value.args, value.keywords))
        elif isinstance(value, type):
            self._enter_class(value)
        elif isinstance(value, Mapping):
            self._add_all(part for pair in value.items() for part in pair)
        elif isinstance(value, list | tuple):
            self._add_all(value)
        elif isinstance(value, set | frozenset):
            self._take(*sorted(map(repr, value)))
        elif hasattr(value, "shape") and hasattr(value, "dtype"):
            self._enter_array(value)
        elif isinstance(value, types.ModuleType) or (callable(value) and not hasattr(value, "__dict__")):
            self._take(getattr(value, "__qualname__", getattr(value, "__name__", "")))
        else:
            self._enter_object(value)

    def _add_all(self, values: Any) -> None:
        for value in values:
            self.add(value)

    def _enter_function(self, function: types.FunctionType) -> None:
        self._take(function.__qualname__)
        self._add_all((function.__defaults__, function.__kwdefaults__))
        for cell in function.__closure__ or ():
            try:
                self.add(cell.cell_contents)
            except ValueError:  # a name that nothing was assigned to yet
                self._take("empty")
        if not _of_a_library(function.__code__.co_filename):
            self.add(function.__code__)
            self._add_mentioned(function.__code__, function.__globals__)

    def _add_mentioned(self, code: types.CodeType, known: Mapping[str, Any]) -> None:
        """What a function's names stand for: numbers and texts at the top of its module, functions and classes."""
        for name in code.co_names:
            if name in known:
                self._add_named(known[name], code.co_names)
        for inner in code.co_consts:
            if isinstance(inner, types.CodeType):
                self._add_mentioned(inner, known)

    def _add_named(self, value: Any, names: Sequence[str]) -> None:
        if isinstance(value, types.ModuleType):
            if not _of_a_library(getattr(value, "__file__", None) or "<frozen"):
                for name in names:
                    self._add_named(vars(value).get(name), ())
        elif isinstance(value, (*_PLAIN, types.FunctionType, type, tuple)) or hasattr(value, "dtype"):
            self.add(value)

    def _enter_class(self, kind: type) -> None:
        self._take(kind.__qualname__)
        if kind.__module__ == "builtins" or _of_a_library(_file_of(kind)):
            return
        self._add_all(kind.__bases__)
        for name, value in vars(kind).items():
            inner = getattr(value, "__func__", getattr(value, "fget", value))
            if isinstance(inner, types.FunctionType) or (isinstance(inner, _PLAIN) and not name.startswith("__")):
                self._take(name)
                self.add(inner)

    def _enter_array(self, array: Any) -> None:
        self._take(str(tuple(array.shape)), str(array.dtype))
        try:
            values = np.ascontiguousarray(array)
        except (TypeError, ValueError, RuntimeError):
            return  # on another device, or in a format that NumPy lacks: its shape has to do
        if values.dtype.hasobject:
            self._add_all(values.ravel().tolist())
        else:
            self._digest.update(values.data.cast("B") if values.size else b"")

    def _enter_object(self, value: Any) -> None:
        self.add(type(value))
        names = [field.name for field in fields(value)] if is_dataclass(value) else [*getattr(value, "__dict__", ())]
        for name in names:
            self._take(name)
            self.add(getattr(value, name, None))


def _file_of(kind: type) -> str:
    try:
        return inspect.getfile(kind)
    except (TypeError, OSError):  # made in a notebook or at a prompt
        return ""


def _of_a_library(file: str) -> bool:
    return file.startswith(_LIBRARIES) or str(Path(file).resolve()).startswith(_LIBRARIES)
