"""A training script, as somebody would start it."""

from dataclasses import dataclass
from pathlib import Path

from isometry.network.edits import Edit

__all__ = ["Metric", "Script"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that a script ends with."""

    name: str
    """Of a global variable of the script; else of what stands before the number in its output: ``accuracy 0.93``."""
    lower_is_better: bool = False


@dataclass(frozen=True, slots=True)
class Script:
    """A training that can be repeated by starting a program again."""

    target: str
    """Path of a Python file; or with ``module`` the name after ``python -m``."""
    arguments: tuple[str, ...] = ()
    module: bool = False
    metric: Metric | None = None
    """Without one the score is minus the loss over the last steps."""
    limit: float = 600.0
    """A training that takes longer is ended after the step that it is at, and all others after as many. [seconds]"""
    in_place: bool = False
    """Let it write where it always does, and its trainings overwrite each other's files and those of before."""
    folder: Path | None = None
    """Where it is started; the present one if None."""
    code: str = ""
    """Digest of the Python files that it may consist of, as it was found: another code is another training."""
    edits: tuple[Edit, ...] = ()
    """Changes that are made while it runs."""
