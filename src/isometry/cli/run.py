"""``isometry run train.py``: watch an unmodified script, then say what was seen."""

import sys
from itertools import count
from pathlib import Path
from typing import Annotated, TextIO

import typer

from isometry import api
from isometry.adapters.framework import FRAMEWORKS
from isometry.adapters.script import ScriptOutcome, run_script
from isometry.cli.streams import at_work, say, stdout_for_json
from isometry.cli.values import FailOn, share_of_time, step_distance
from isometry.cli.verdict import FailOnOption, exit_code, print_json, print_verdict
from isometry.diagnosis.finding import Diagnosis
from isometry.errors import IsometryError

__all__ = ["run"]

NOTHING_SEEN = 2
ELSEWHERE = "Training in subprocesses is not watched: run the script that they run."


def run(
    script: Annotated[str, typer.Argument(metavar="SCRIPT", help="The training script.", show_default=False)],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="ARGUMENTS", help="The script's own arguments.")
    ] = None,
    module: Annotated[bool, typer.Option("-m", help="SCRIPT is a module's name, as in python -m.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder to keep the run in.", show_default="a fresh one in runs/, named after SCRIPT"
        ),
    ] = None,
    budget: Annotated[
        float,
        typer.Option(
            "--budget",
            parser=share_of_time,
            metavar="SHARE",
            help="Greatest share of step time that watching may cost.",
        ),
    ] = 0.01,
    every: Annotated[
        int | None,
        typer.Option(
            "--every",
            parser=step_distance,
            metavar="N",
            help="Record each N-th step.",
            show_default="as the budget allows",
        ),
    ] = None,
    fail_on: FailOnOption = FailOn.HARMS,
    write_report: Annotated[
        bool, typer.Option("--report/--no-report", help="Write report.html into the run's folder.")
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the diagnosis as JSON; what the script prints goes to stderr.")
    ] = False,
) -> None:
    """Run a training script as python would, watch it, and say what was seen.

    The script is not changed, and neither are its output, its traceback and its exit code if it fails.
    Everything after SCRIPT belongs to the script.
    """
    output = stdout_for_json() if as_json else sys.stdout
    start = Path.cwd()
    place = _Place(out, Path(script).stem if not module else script)

    def begin() -> Path:
        place.take()
        say(f"isometry  watching {script}  ·  {place.folder}")
        return place.absolute

    try:
        outcome = run_script(script, arguments or (), run=begin, module=module, budget=budget, every=every, warn=say)
    except IsometryError:
        place.leave()
        raise
    if outcome.forked:
        raise typer.Exit(outcome.exit_code)
    if not _has_seen_something(outcome):
        place.leave()
        raise typer.Exit(outcome.exit_code or NOTHING_SEEN)
    folder = place.folder if Path.cwd() == start else place.absolute
    try:
        code = exit_code(_told(folder, output, write_report=write_report, as_json=as_json), fail_on)
    except IsometryError as error:
        say(f"isometry: {error}")
        code = NOTHING_SEEN
    raise typer.Exit(outcome.exit_code or code)


def _told(folder: Path, output: TextIO, *, write_report: bool, as_json: bool) -> Diagnosis:
    """Diagnose the run, write its report, say it."""
    with at_work("isometry  diagnosing …"):
        diagnosis = api.diagnose(folder)
        report = _written(diagnosis, folder / "report.html") if write_report else None
    if as_json:
        print_json(diagnosis.to_dict(), stream=output)
    else:
        print(file=output)
        print_verdict(diagnosis, closing=_closing(diagnosis, folder, report), stream=output)
    return diagnosis


def _written(diagnosis: Diagnosis, path: Path) -> Path | None:
    """The report; a full disk must not cost the verdict."""
    try:
        return api.report(diagnosis, path)
    except IsometryError as error:
        say(f"isometry: {error}")
        return None


class _Place:
    """The folder of a run: taken when the script has been found, left again if nothing was recorded.

    Args:
        wanted: the folder that the user named; a fresh one in ``runs/`` if None.
        name: what a fresh one is named after.
    """

    def __init__(self, wanted: Path | None, name: str) -> None:
        self._wanted = wanted
        self._name = name
        self._made: list[Path] = []
        if wanted is not None:
            _require_free(wanted)

    def take(self) -> None:
        """Make the folder. Making it is what claims a fresh one, so two runs never share one."""
        self.folder = self._make(self._wanted) if self._wanted is not None else self._fresh(Path("runs"))
        self.absolute = self.folder.absolute()

    def leave(self) -> None:
        """Take away what is empty but for the note of a training that never began; folders of the user's stay."""
        if self._made:
            (self._made[-1] / "events.jsonl").unlink(missing_ok=True)
        for folder in reversed(self._made):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def _fresh(self, parent: Path) -> Path:
        """The first ``name-<n>`` that is free."""
        for number in count(1):
            folder = parent / f"{self._name}-{number}"
            if not folder.exists():
                try:
                    return self._make(folder)
                except FileExistsError:
                    continue
        raise AssertionError("count() has no end")

    def _make(self, folder: Path) -> Path:
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=folder.is_dir())
        except FileExistsError:
            raise
        except OSError as error:
            raise IsometryError(
                f"The run's folder {folder} cannot be made: {error.strerror}. "
                "Name one that can be written to with --out."
            ) from None
        self._made = [place.absolute() for place in reversed(missing)]
        return folder


def _require_free(folder: Path) -> None:
    """A run that is there already is never overwritten."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise IsometryError(
            f"{folder} exists and is not empty. Name another folder with --out, or leave it out for a fresh one."
        )


def _has_seen_something(outcome: ScriptOutcome) -> bool:
    if outcome.watch is not None and outcome.watch.recorded_anything:
        return True
    if outcome.trouble:
        return False
    if outcome.exit_code:
        say("isometry  nothing was recorded: the script ended before its first training step.")
    elif outcome.watch is None:
        say(f"isometry  nothing was recorded: the script never used {' or '.join(FRAMEWORKS)}. {ELSEWHERE}")
    else:
        reason = outcome.watch.why_unrecorded or f"no backward pass was made. {ELSEWHERE}"
        say(f"isometry  nothing was recorded: no training step was seen, for {reason}")
    return False


def _closing(diagnosis: Diagnosis, folder: Path, report: Path | None) -> list[tuple[str, str]]:
    closing = [("report", str(report))] if report else []
    worst = next(iter(diagnosis.findings), None)
    closing.append(("next", f"isometry rules {worst.code}" if worst else f"isometry report {folder} -o gradients.pdf"))
    return closing
