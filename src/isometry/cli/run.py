"""``isometry run train.py``: watch an unmodified script, then say what was seen."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Annotated, TextIO

import typer

from isometry import api
from isometry.adapters.framework import FRAMEWORKS
from isometry.adapters.script import ScriptOutcome, run_script
from isometry.cli.verdict import FailOn, exit_code, print_json, print_verdict
from isometry.diagnosis.finding import Diagnosis
from isometry.errors import IsometryError

__all__ = ["run"]

NOTHING_SEEN = 2
ELSEWHERE = "Training in subprocesses is not watched: run the script that they run."


def run(
    script: Annotated[str, typer.Argument(metavar="SCRIPT", help="The training script.", show_default=False)],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARGUMENTS]...", help="The script's own arguments.")
    ] = None,
    module: Annotated[bool, typer.Option("-m", help="SCRIPT is a module's name, as in python -m.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder to keep the run in.", show_default="a fresh one in runs/, named after SCRIPT"
        ),
    ] = None,
    budget: Annotated[
        float, typer.Option("--budget", min=1e-4, max=1, help="Greatest share of step time that watching may cost.")
    ] = 0.01,
    every: Annotated[
        int | None,
        typer.Option("--every", min=1, help="Record each N-th step.", metavar="N", show_default="as the budget allows"),
    ] = None,
    fail_on: Annotated[
        FailOn, typer.Option("--fail-on", help="End with 1 if a finding is at least this bad.")
    ] = FailOn.HARMS,
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
    output = _stdout_for_json() if as_json else sys.stdout
    folder = _made(out) if out else _fresh(Path("runs"), Path(script).stem if not module else script)
    start = Path.cwd()
    absolute = folder.absolute()
    _say(f"isometry  watching {script}  ·  {folder}")
    try:
        outcome = run_script(
            script, arguments or (), run=absolute, module=module, budget=budget, every=every, warn=_say
        )
    except IsometryError:
        _remove_if_empty(absolute)
        raise
    if outcome.forked:
        raise typer.Exit(outcome.exit_code)
    if not _has_seen_something(outcome):
        _remove_if_empty(absolute)
        raise typer.Exit(outcome.exit_code or NOTHING_SEEN)
    try:
        told = _told(folder if Path.cwd() == start else absolute, output, write_report=write_report, as_json=as_json)
        code = exit_code(told, fail_on)
    except IsometryError as error:
        _say(f"isometry: {error}")
        code = NOTHING_SEEN
    raise typer.Exit(outcome.exit_code or code)


def _told(folder: Path, output: TextIO, *, write_report: bool, as_json: bool) -> Diagnosis:
    """Diagnose the run, write its report, say it."""
    with _at_work("isometry  diagnosing …"):
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
        _say(f"isometry: {error}")
        return None


def _stdout_for_json() -> TextIO:
    """Real standard output, for us alone: whatever else writes there, C code and children too, writes to stderr now."""
    sys.stdout.flush()
    ours = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(ours, "w", encoding="utf-8")


def _made(folder: Path) -> Path:
    """A folder that the user named; a run that is there already is never overwritten."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise IsometryError(
            f"{folder} exists and is not empty. Name another folder with --out, or leave it out for a fresh one."
        )
    _make(folder)
    return folder


def _fresh(parent: Path, name: str) -> Path:
    """The first ``name-<n>`` that is free. Making it is what claims it, so two runs never share one."""
    for number in count(1):
        folder = parent / f"{name}-{number}"
        if not folder.exists():
            try:
                _make(folder)
            except FileExistsError:
                continue
            return folder
    raise AssertionError("count() has no end")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=folder.is_dir())
    except FileExistsError:
        raise
    except OSError as error:
        raise IsometryError(
            f"The run's folder {folder} cannot be made: {error.strerror}. Name one that can be written to with --out."
        ) from None


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _has_seen_something(outcome: ScriptOutcome) -> bool:
    if outcome.trouble:
        return False
    if outcome.watch is None:
        _say(f"isometry  nothing to diagnose: the script never used {' or '.join(FRAMEWORKS)}. {ELSEWHERE}")
        return False
    if not outcome.watch.recorded_anything:
        _say(f"isometry  nothing to diagnose: no training step was seen, for no backward pass was made. {ELSEWHERE}")
        return False
    return True


def _closing(diagnosis: Diagnosis, folder: Path, report: Path | None) -> list[tuple[str, str]]:
    closing = [("report", str(report))] if report else []
    worst = next(iter(diagnosis.findings), None)
    closing.append(("next", f"isometry rules {worst.code}" if worst else f"isometry report {folder} -o gradients.pdf"))
    return closing


@contextmanager
def _at_work(words: str) -> Iterator[None]:
    """A line on the terminal for as long as it takes, then gone; nothing where stderr is a file or a pipe."""
    if not sys.stderr.isatty():
        yield
        return
    print(words, end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        print("\r" + " " * len(words) + "\r", end="", file=sys.stderr, flush=True)


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
