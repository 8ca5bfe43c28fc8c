"""Trains a script with changes: as a program of its own, once for each seed and arm of a trial."""

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from math import isfinite, nan
from pathlib import Path
from time import monotonic

import numpy as np

from isometry.adapters.script_trial import Result, ScriptTask
from isometry.errors import IsometryError, NotRecorded
from isometry.history.history import Floats
from isometry.history.recorder import fresh_folder
from isometry.history.run import Run
from isometry.history.store import open_run
from isometry.network.edits import Edit
from isometry.network.script import Metric, Script
from isometry.network.trial import LAST_WORDS, Course

__all__ = ["ScriptTrainer", "placed", "stop_all"]

GRACE = 30.0
"""How long after its time a script may go on that takes no step. [seconds]"""
MISUSED = 2
"""What argparse and its kin leave with when arguments are missing."""
INPUTS = "inputs.pt"
ROOM = 3
"""So much more time than the untreated training a treated one may take: layers that were put in cost some."""
PARTS = 100
"""Points of a script's loss curve."""
LAST = 0.1
"""Share of the steps, the last ones, whose mean loss is the score where no metric is named …"""
LEAST_LAST = 5
"""… but so many steps at least."""
MOST_FILES = 2_000
"""Python files below a script's folder that count as its code."""
LINES_TOLD = 2
"""Last lines of a script's output that a message repeats."""
EXIT_CODE = re.compile(r"exception: SystemExit: \d+")
UNCOMPILED = {"TORCHDYNAMO_DISABLE": "1"}
"""Lets ``torch.compile`` give back what it is given: compiled models can be neither followed nor changed."""
BEGIN = "import sys; from isometry.adapters.script_trial import main; sys.exit(main(sys.argv[1]))"
"""The program of one training. Not a module: that would be imported twice."""

_running: set[subprocess.Popen[bytes]] = set()
_lock = threading.Lock()


def placed(script: Script) -> Script:
    """The script with the folder where it is started, in full, and with its code.

    Raises:
        IsometryError: there is no such file.
    """
    folder = (script.folder or Path()).resolve()
    file = folder / script.target
    if not script.module and not file.is_file():
        raise IsometryError(
            f"There is no file {script.target} in {folder}. Name a training script, a module with -m, or an "
            "experiment as file.py:name."
        )
    return replace(script, folder=folder, code=_digest(folder if script.module else file.resolve().parent))


def stop_all() -> None:
    """End every training that this process has started, with all that it has started itself."""
    with _lock:
        for program in tuple(_running):
            _end(program)


@dataclass(frozen=True, slots=True)
class ScriptTrainer:
    """Starts a script again and again: the same program, other changes, other seeds."""

    script: Script
    folder: Path
    """Of the study, for output and recorded inputs. In full."""
    programs: int = 1
    """So many run at once, and share the cores."""
    steps: int | None = None
    """Steps of each training, where it does not end by itself in time."""
    full: int = 1
    """Steps after which a training is at its end where it leaves with an exit code of its own."""
    rehearsed: bool = False
    """The script has been trained without a change, and can be."""

    def train(self, edits: Sequence[Edit], *, seed: int, run: Path | None) -> Course:
        """One training. Whatever goes wrong with the script is the course's ``fault``.

        Raises:
            IsometryError: the script cannot be trained at all: no step, no metric. This is found out once, and not held
                against a treated training, nor against one from another seed.
        """
        place = fresh_folder(run if run is not None else self.folder / "runs" / f"seed-{seed}")
        log = self.folder / "output" / f"{place.name}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        began = monotonic()
        result, killed = self._started(tuple(edits), seed, place, log)
        seconds = monotonic() - began
        course = self._course(result, killed, seed, place, log, seconds)
        if not edits and not self.rehearsed:
            try:
                self._require_trained(course, result, log)
            except IsometryError:
                _remove_what_says_nothing(self.folder, log)
                raise
        return course

    def treated(self, edits: Sequence[Edit]) -> Script:
        """The script with the changes that are made to it while it runs."""
        return replace(self.script, edits=tuple(edits))

    def paced_by(self, course: Course) -> "ScriptTrainer":
        """Who gives every training as many steps as one had that was ended for time."""
        return replace(self, rehearsed=True, steps=course.steps if course.cut else None, full=max(course.steps, 1))

    # -------------------------------------------------------------------- program

    def _started(self, edits: tuple[Edit, ...], seed: int, run: Path, log: Path) -> tuple[Result | None, int]:
        """What the program tells of its end, None if nothing; and the signal or code that it ended with."""
        with tempfile.TemporaryDirectory(prefix="isometry-") as name:
            place = Path(name)
            seconds = self.script.limit * (ROOM if edits or self.steps else 1)
            task = ScriptTask(
                script=self.treated(edits),
                trial=seed,
                run=place / "run",
                result=place / "result.json",
                inputs=self._inputs_known() if edits else place / INPUTS,
                steps=self.steps,
                seconds=seconds,
                scratch=None if self.script.in_place else place / "scratch",
            )
            (place / "task").write_bytes(pickle.dumps(task))
            command = [sys.executable, "-c", BEGIN, str(place / "task")]
            with log.open("wb") as output:
                program = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=self.script.folder,
                    env=self._environment(),
                    start_new_session=True,
                )
            with _lock:
                _running.add(program)
            try:
                code = program.wait(seconds + GRACE)
            except subprocess.TimeoutExpired:
                _end(program)
                code = program.wait()
            finally:
                with _lock:
                    _running.discard(program)
            if task.run.is_dir():
                shutil.move(task.run, run)
            if not edits and task.inputs.is_file():
                shutil.move(task.inputs, self._inputs_known())
            if task.scratch is not None:
                for file in (log, task.result):
                    _as_the_user_knows_it(file, task.scratch)
            return _told(task.result), code

    def _inputs_known(self) -> Path:
        """File with the inputs of an untreated training."""
        return self.folder / INPUTS

    def _environment(self) -> dict[str, str]:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = {"OMP_NUM_THREADS": str(max(1, cores // self.programs))}
        return {**threads, "PYTHONHASHSEED": "0", **os.environ, "PYTHONUNBUFFERED": "1", **UNCOMPILED}

    # --------------------------------------------------------------------- course

    def _course(self, result: Result | None, code: int, seed: int, place: Path, log: Path, seconds: float) -> Course:
        run = _recorded(place)
        losses = _losses(run)
        steps = max(result.steps if result is not None else 0, len(losses))
        overdue = result is None and seconds > self.script.limit
        cut = bool(steps) and (overdue or (result is not None and result.cut and self.steps is None))
        score = self._score(result, losses, log)
        has_ended = cut or (isfinite(score) and self._left_at_its_end(result, code, steps, losses))
        fault = "" if has_ended else self._fault(result, code, log, overdue=overdue)
        score = nan if fault else score
        return Course(
            seed,
            _curve(losses),
            score,
            place if run is not None else None,
            seconds,
            fault,
            steps=steps,
            cut=cut,
            by_metric=self.script.metric is not None,
            died=result is None and not overdue and not has_ended,
        )

    def _left_at_its_end(self, result: Result | None, code: int, steps: int, losses: Floats) -> bool:
        """Whether it left with an exit code of its own after all its steps, or at once, with one that is no failure."""
        if not len(losses) or not isfinite(losses[-1]):
            return False
        if result is None:
            return code == 0
        return not result.trouble and EXIT_CODE.fullmatch(result.ending) is not None and steps >= self.full

    def _fault(self, result: Result | None, code: int, log: Path, *, overdue: bool) -> str:
        if overdue:
            return f"after {self.script.limit:g} s it had not taken a step{_last_words(log)}"
        if result is None:
            return f"its process ended with exit code {code}{_last_words(log)}"
        if result.trouble:
            return result.trouble.rstrip(".")
        if result.ending not in ("finished", "exception: SystemExit: 0"):
            fault = _fault_in_code(result.ending.removeprefix("exception: "), self.script.folder or Path())
            if fault.startswith("SystemExit: "):
                return f"it left with {fault.replace('SystemExit: ', 'exit code ')}{_last_words(log)}"
            asks = " (it asks for input, and a training has none)" if fault.startswith("EOFError") else ""
            return f"{fault.rstrip('.')}{asks}"
        return ""

    def _score(self, result: Result | None, losses: Floats, log: Path) -> float:
        metric = self.script.metric
        if metric is None:
            last = losses[-max(LEAST_LAST, round(LAST * len(losses))) :]
            score = -float(np.mean(last)) if len(last) else nan
        else:
            value = result.value if result is not None and result.value is not None else _printed(metric.name, log)
            score = nan if value is None else -value if metric.lower_is_better else value
        return score if isfinite(score) else nan

    def _require_trained(self, course: Course, result: Result | None, log: Path) -> None:
        """Whatever keeps the untreated script from being treated at all, said at once."""
        name = self.script.target
        where = f" What it printed is in {log}." if _says_more(log) else "" if _lines(log) else " It printed nothing."
        if course.run is None and result is None:
            raise IsometryError(f"{name}: {course.fault}.{where}")
        if result is None:
            return
        if course.run is None and result.trouble:
            raise IsometryError(f"{name} could not be followed: {result.trouble}.{where}")
        if course.run is None and course.fault:
            hint = " Arguments of the script stand behind its name." if result.exit_code == MISUSED else ""
            raise IsometryError(f"{name} ended before its first training step: {course.fault}.{hint}{where}")
        if course.run is None:
            how = "made no training step that could be seen" if result.uses_framework else "never used torch"
            raise IsometryError(
                f"{name} {how}. A step needs a forward pass with gradients, a backward pass and an "
                f"update of the weights, all in the process of the script itself.{where}"
            )
        metric = self.script.metric
        if metric is not None and not course.fault and not isfinite(course.score) and _is_unknown(metric, result, log):
            raise IsometryError(
                f"metric: {name} ends without a number called {metric.name!r}, neither as a global "
                f"variable nor printed behind that word. Name one that it has, or go by the loss without one.{where}"
            )


# ----------------------------------------------------------------------- what came of it


def _told(path: Path) -> Result | None:
    try:
        return Result(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):  # it was killed before it could tell
        return None


def _end(program: "subprocess.Popen[bytes]") -> None:
    """Kill a program with all that it has started."""
    try:
        os.killpg(program.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError, AttributeError):
        program.kill()


def _recorded(place: Path) -> Run | None:
    try:
        return open_run(place)
    except NotRecorded:
        shutil.rmtree(place, ignore_errors=True)  # nothing but the note of a training that never began
        return None


def _losses(run: Run | None) -> Floats:
    if run is None or "loss" not in run.history.scalars:
        return np.empty(0)
    return np.asarray(run.history.scalars["loss"].values, dtype=np.float64)


def _curve(losses: Floats) -> Floats:
    """Means over equal parts of the training."""
    if not len(losses):
        return losses
    return np.array([part.mean() for part in np.array_split(losses, min(PARTS, len(losses)))])


def _as_the_user_knows_it(file: Path, scratch: Path) -> None:
    """Paths in a text as they are outside the mirror in which a script was run."""
    if file.is_file() and (text := file.read_bytes()).find(mirror := os.fsencode(os.path.realpath(scratch))) >= 0:
        file.write_bytes(text.replace(mirror, b""))


def _fault_in_code(ending: str, folder: Path) -> str:
    """An exception in one line; what Python could not read, with its file, as named in a folder, and its line."""
    lines = ending.split("\n")
    place = re.match(r"\s*File \"(.+)\", line (\d+)", lines[0])
    if place is None:
        return " ".join(ending.split())
    path = Path(place[1])
    name = path.relative_to(folder) if path.is_relative_to(folder) else path
    return f"{lines[-1].strip()} ({name}, line {place[2]})"


def _remove_what_says_nothing(folder: Path, log: Path) -> None:
    """Folders of a study in which nothing was trained, and an output that holds only what has been told."""
    if not _says_more(log):
        log.unlink(missing_ok=True)
    for place in (*(entry for entry in folder.iterdir() if entry.is_dir()), folder):
        with suppress(OSError):  # something is in it
            place.rmdir()


def _is_unknown(metric: Metric, result: Result, log: Path) -> bool:
    return result.value is None and _printed(metric.name, log) is None


NUMBER = r"[-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf)"
"""With or without commas between thousands."""
AROUND = r"(?:np\.float(?:16|32|64)|tensor|array)?[\[(]*"
"""What libraries print round a number."""
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def _printed(name: str, log: Path) -> float | None:
    """The last number that stands behind a word in what was printed; none where the last one is not a whole number.

    Between both may stand a colon, a sign of equality, ``is``, or something in brackets.
    """
    between = r"[\"']?(?:\s*\([^()\n]*\))?\s*(?:[:=|]|\bis\b)?\s*"
    pattern = rf"(?<![\w.]){re.escape(name)}{between}{AROUND}({NUMBER})(?![\w,.]*[\w])"
    text = COLOUR.sub("", log.read_text(encoding="utf-8", errors="replace"))
    found = re.findall(pattern, text, flags=re.IGNORECASE)
    return float(found[-1].replace(",", "")) if found else None


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in _lines(log) if line.strip(" ^~\t")]
    return f"{LAST_WORDS}{' / '.join(lines[-LINES_TOLD:])}" if lines else ""


def _says_more(log: Path) -> bool:
    """Whether there is something that the exception does not say: printed words, or the way to it."""
    lines = _lines(log)
    return bool(lines) and not lines[0].startswith('  File "')


def _lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()


# -------------------------------------------------------------------------------- code


def _digest(root: Path) -> str:
    """Of all Python files below a folder, as far as they may belong to a script there."""
    digest = blake2b(digest_size=8)
    for path in _sources(root):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _sources(root: Path) -> Iterator[Path]:
    """Python files: not those of environments, hidden folders and runs."""
    left, waiting = MOST_FILES, [root]
    while waiting and left > 0:
        folder = waiting.pop(0)
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            continue
        for entry in entries:
            if entry.suffix == ".py" and entry.is_file() and left > 0:
                left -= 1
                yield entry
            elif entry.is_dir() and not entry.is_symlink() and _may_hold_code(entry):
                waiting.append(entry)


def _may_hold_code(folder: Path) -> bool:
    name = folder.name
    return not (name.startswith((".", "__")) or name in ("runs", "node_modules") or (folder / "pyvenv.cfg").exists())
