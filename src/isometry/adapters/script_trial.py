"""One training of a script, in a process of its own, whose only work it is.

What is to be done stands in a file, and so does afterwards what came of it, because all output belongs to the script.
"""

import json
import os
import pickle
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from isometry.adapters.framework import Framework, Treatment
from isometry.adapters.scratch import Scratch
from isometry.adapters.script import run_script
from isometry.adapters.seeds import seed_python
from isometry.errors import IsometryError
from isometry.network.script import Script

__all__ = ["Result", "ScriptTask", "main"]


@dataclass(frozen=True, slots=True)
class ScriptTask:
    """What one process is to do. All paths are absolute."""

    script: Script
    """With the changes that are to be made."""
    trial: int
    run: Path
    result: Path
    """File to write what came of it to."""
    inputs: Path
    """File with the inputs of the untreated training: written by it, read by treated ones."""
    steps: int | None
    seconds: float | None
    scratch: Path | None
    """Folder for what the script writes; None where it may write where it always does."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a training ended, as it is told to the process that started it."""

    exit_code: int
    ending: str
    trouble: str
    steps: int
    cut: bool
    uses_framework: bool
    value: float | None
    """The global variable that is the script's metric; None where there is none."""


def main(path: str) -> int:
    """Train as a file says; the exit code of the script."""
    task: ScriptTask = pickle.loads(Path(path).read_bytes())
    script = task.script
    os.chdir(script.folder or Path())
    seed_python(task.trial)

    def treat(framework: Framework) -> Treatment:
        return framework.treating(
            script.edits, trial=task.trial, steps=task.steps, seconds=task.seconds, inputs=task.inputs
        )

    try:
        outcome = run_script(_entered(task), script.arguments, run=lambda: task.run, module=script.module, treat=treat)
    except IsometryError as fault:  # there is no such script, or no place to write to
        _write(task.result, Result(2, "", str(fault), 0, False, False, None))
        return 2
    if outcome.forked:
        return outcome.exit_code
    treatment = outcome.treatment
    trouble = outcome.trouble or (treatment.trouble if treatment is not None else None)
    result = Result(
        exit_code=outcome.exit_code,
        ending=outcome.ending,
        trouble=trouble or "",
        steps=treatment.steps if treatment is not None else 0,
        cut=treatment.cut if treatment is not None else False,
        uses_framework=outcome.watch is not None,
        value=_value(script),
    )
    _write(task.result, result)
    if treatment is not None and treatment.is_reached:
        _leave_at_once(outcome.exit_code)
    return outcome.exit_code


def _leave_at_once(exit_code: int) -> None:
    """Without waiting for threads: those of a script that was left may wait for it for ever."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def _entered(task: ScriptTask) -> str:
    """Go where the script is to write, for good, because exit handlers write as well. What to run there."""
    script = task.script
    if task.scratch is None:
        return script.target
    scratch = Scratch(task.scratch, Path.cwd())
    scratch.enter()
    return script.target if script.module else str(scratch.mirrored(Path(script.target)))


def _value(script: Script) -> float | None:
    name = script.metric.name if script.metric is not None else ""
    value: Any = vars(sys.modules["__main__"]).get(name)
    try:
        return float(value) if value is not None and not callable(value) else None
    except (TypeError, ValueError, RuntimeError):  # no number: its name may stand in the output as well
        return None


def _write(path: Path, result: Result) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(asdict(result)), encoding="utf-8")
    draft.replace(path)
