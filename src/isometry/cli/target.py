"""The run that a command is about: its folder, or what was named instead of it and what to name."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from isometry.errors import IsometryError

__all__ = ["RunArgument", "run_folder"]

DOCUMENT = "run.json"
"""What every run's folder holds."""
LISTED = 12
"""Runs that are listed; the newest first."""
USUAL = Path("runs")
"""Where ``isometry run`` keeps them."""


def run_folder(text: str) -> Path:
    """The folder of a run that stands at ``text``.

    Raises:
        IsometryError: there is something else, or nothing; the message says what, and which runs there are.
    """
    path = Path(text)
    if (path / DOCUMENT).is_file():
        return path
    if path.is_file():
        raise IsometryError(_words_on_file(path))
    if not path.exists():
        raise IsometryError(f"There is no folder {path}. {_which(USUAL)}")
    runs = _runs_in(path)
    if not runs:
        raise IsometryError(
            f"{path} is a folder without {DOCUMENT}, so it is no run, or one in which no training step began. "
            f"{_which(USUAL)}"
        )
    raise IsometryError(f"{path} holds {_counted(runs)}, and one is needed. {_listed(runs)}")


def _words_on_file(path: Path) -> str:
    if path.suffix == ".py":
        return (
            f"{path} is a script, and the folder of a run is needed. "
            f"Train under watch first: isometry run {shlex.quote(str(path))}"
        )
    if (path.parent / DOCUMENT).is_file():
        return f"{path} is a file of a run, and its folder is needed. Name {path.parent}."
    return f"{path} is a file, and the folder of a run is needed. {_which(USUAL)}"


def _which(folder: Path) -> str:
    runs = _runs_in(folder)
    return _listed(runs) if runs else "Name the folder that `isometry run` or `isometry.watch` wrote."


def _runs_in(folder: Path) -> list[Path]:
    """The folders of runs directly inside a folder, newest first."""
    found = [document.parent for document in folder.glob(f"*/{DOCUMENT}")]
    return sorted(found, key=lambda run: (-(run / DOCUMENT).stat().st_mtime, run.name))


def _counted(runs: list[Path]) -> str:
    return "a run" if len(runs) == 1 else f"{len(runs)} runs"


def _listed(runs: list[Path]) -> str:
    more = f" and {len(runs) - LISTED} more" if len(runs) > LISTED else ""
    newest = ", newest first" if len(runs) > 1 else ""
    return f"Name one of these{newest}: {', '.join(map(str, runs[:LISTED]))}{more}."


RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", parser=run_folder, help="Folder of a run.", show_default=False)
]
