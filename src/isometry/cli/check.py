"""``isometry check train.py``: before the first step, what should happen in a network, what does, what would help."""

import atexit
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from isometry import api
from isometry.adapters.framework import FRAMEWORKS
from isometry.adapters.script import CaptureOutcome, capture_script
from isometry.adapters.target import load_experiment, names_experiment
from isometry.cli.streams import at_work, say, stdout_for_json
from isometry.cli.values import FailOn, networks, report_place, seconds
from isometry.cli.verdict import FailOnOption, exit_code, print_json, print_words
from isometry.diagnosis.check import Check
from isometry.errors import IsometryError

__all__ = ["check"]

NOTHING_CHECKED = 2
ELSEWHERE = "Training in subprocesses is not followed: check the script that they run."
AT_WORK = "isometry  drawing networks …"


def check(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="The training script; or an experiment, as file.py:name or package.module:name.",
            show_default=False,
        ),
    ],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="ARGUMENTS", help="The script's own arguments.")
    ] = None,
    module: Annotated[bool, typer.Option("-m", help="TARGET is a module's name, as in python -m.")] = False,
    fail_on: FailOnOption = FailOn.HARMS,
    nets: Annotated[
        int | None,
        typer.Option(
            "--nets",
            parser=networks,
            metavar="N",
            help="How many networks to draw for the prediction.",
            show_default="as many as the time allows",
        ),
    ] = None,
    time: Annotated[
        float,
        typer.Option(
            "--seconds", parser=seconds, metavar="SECONDS", help="How long to draw networks and changed ones."
        ),
    ] = 4.0,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            parser=report_place,
            metavar="PATH",
            help="Write a report: a file, or a folder to put NAME-check.html in.",
            show_default="none",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the check as JSON; what the script prints goes to stderr.")
    ] = False,
) -> None:
    """Say before training whether a network will pass its signals on: predicted, measured, and what would help.

    A script is run until it is about to take its first training step, and left there by an exception.
    Everything after TARGET belongs to the script.
    """
    output = stdout_for_json() if as_json else sys.stdout
    options: dict[str, Any] = {"nets": nets, "seconds": time}

    def told(checked: Check) -> int:
        if as_json:
            print_json(checked.to_dict(), stream=output)
        else:
            print_words(str(checked), stream=output)
        if report is not None:
            say(f"report  {api.report(checked, _file_for(report, _name(target, module)))}")
        return exit_code(checked.diagnosis, fail_on)

    if not module and names_experiment(target):
        code = told(_experiment(target, arguments or (), options))
    else:
        code = told(_script(target, arguments or (), module, options, told))
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        _leave_at_once(code)
    raise typer.Exit(code)


def _leave_at_once(code: int) -> None:
    """A script that was left in its first step may have threads that wait for it, and the interpreter for them."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _experiment(target: str, arguments: Sequence[str], options: dict[str, Any]) -> Check:
    if arguments:
        raise IsometryError(
            f"{' '.join(arguments)}: {target} is an experiment, and takes no arguments. Options of `isometry check` "
            "stand before it."
        )
    experiment = load_experiment(target)
    say(f"isometry  checking {target}")
    with at_work(AT_WORK):
        return api.check(experiment, **options)


def _script(
    target: str, arguments: Sequence[str], module: bool, options: dict[str, Any], told: Callable[[Check], int]
) -> Check:
    """What the script was about to train, checked.

    Raises:
        typer.Exit: it came to no first step; why has been said.
    """

    def end_here(outcome: CaptureOutcome) -> None:
        """The script swallows whatever would end it, so it is checked where it stands."""
        code = NOTHING_CHECKED
        try:
            code = told(_checked(outcome, options))
        except typer.Exit as leaving:
            code = leaving.exit_code
        except IsometryError as fault:
            say(f"isometry: {fault}")
        except Exception:  # noqa: BLE001  the script would swallow it too
            traceback.print_exc()
        finally:
            _leave_at_once(code)

    outcome = capture_script(
        target,
        arguments,
        module=module,
        begin=lambda: say(f"isometry  checking {target}"),
        swallowed=end_here,
        warn=say,
    )
    if outcome.forked:
        raise typer.Exit(outcome.exit_code)
    return _checked(outcome, options)


def _checked(outcome: CaptureOutcome, options: dict[str, Any]) -> Check:
    if outcome.captured is None:
        say(f"isometry  nothing was checked: {_why_not(outcome)}")
        raise typer.Exit(outcome.exit_code or NOTHING_CHECKED)
    if outcome.captured.others:
        say(f"isometry  called too, and not checked: {', '.join(outcome.captured.others)}")
    with at_work(AT_WORK):
        return api.check_captured(outcome.captured, **options)


def _why_not(outcome: CaptureOutcome) -> str:
    if outcome.trouble:
        return outcome.trouble
    if outcome.exit_code:
        return "the script ended before its first training step."
    if not outcome.uses_framework:
        return f"the script never used {' or '.join(FRAMEWORKS)}. {ELSEWHERE}"
    return f"no training step was seen, for no backward pass through a model was made. {ELSEWHERE}"


def _file_for(place: Path, name: str) -> Path:
    return place / f"{name}-check.html" if place.is_dir() else place


def _name(target: str, module: bool) -> str:
    """What a report is named after."""
    if not module and names_experiment(target):
        return target.rpartition(":")[2]
    return target if module else Path(target).stem
