"""``isometry fix train.py``: treat a training, and prove the treatment."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from isometry import api
from isometry.adapters.target import load_experiment, names_experiment
from isometry.cli.streams import say, stdout_for_json
from isometry.cli.values import limit as time_limit
from isometry.cli.values import report_place
from isometry.cli.verdict import print_json, print_words
from isometry.errors import IsometryError
from isometry.network.experiment import Experiment
from isometry.network.script import Metric, Script

__all__ = ["fix"]

CURED = ("helped", "nothing to fix")


def fix(
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
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            metavar="NAME",
            help="What a script is judged by: a global variable of it, or a word that it prints a number behind.",
            show_default="the loss over the last steps",
        ),
    ] = None,
    lower: Annotated[bool, typer.Option("--lower-is-better", help="The metric is an error, not a quality.")] = False,
    limit: Annotated[
        float,
        typer.Option(
            "--limit",
            parser=time_limit,
            metavar="SECONDS",
            help="A script that takes longer is ended, and all its trainings have as many steps.",
        ),
    ] = 600.0,
    seeds: Annotated[int, typer.Option(help="Trainings of each arm; three are needed for an interval.", min=1)] = 3,
    most: Annotated[int, typer.Option(help="Changes that are tried at most.", min=1)] = 5,
    effects: Annotated[
        str,
        typer.Option(
            help="Kinds of change that may be tried, joined by commas: retunes (rate, clipping, inputs), reinitialises "
            "(weights), restructures (activations, norms, skips).",
        ),
    ] = "retunes,reinitialises,restructures",
    engine: Annotated[
        str, typer.Option(help="Where trainings run: local (several processes), serial or ray (a Ray cluster).")
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(
            "--ray-address",
            metavar="ADDRESS",
            help="The cluster, for --engine ray.",
            show_default="one that runs here, or started",
        ),
    ] = None,
    in_place: Annotated[
        bool,
        typer.Option("--in-place", help="Let a script write where it always does, over what is there, in every run."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the runs; what is done in it is not done again.", show_default="fresh"),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            parser=report_place,
            metavar="PATH",
            help="Write a report: a file, or a folder to put fix.html in.",
            show_default="none",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Train as it is, find what is wrong, change it, train again with the same seeds, and say whether it helped.

    A script is run as it is, several times, and changed while it runs. Nothing of yours is changed on disk.
    Everything after TARGET belongs to the script. The exit code is 0 where a change helped or none was needed, else 1.
    """
    output = stdout_for_json() if as_json else sys.stdout
    training: Experiment | Script
    if not module and names_experiment(target):
        _require_none_of_a_script(target, arguments, metric, lower)
        training = load_experiment(target)
    else:
        training = Script(target, tuple(arguments or ()), module, _metric(metric, lower), limit, in_place)
    say(f"isometry  fixing {target}")
    signal.signal(signal.SIGTERM, _terminated)
    try:
        outcome = api.fix(
            training,
            seeds=seeds,
            most=most,
            effects=[word.strip() for word in effects.split(",") if word.strip()],
            engine=engine,
            ray_address=ray_address,
            folder=out,
            say=lambda words: say(f"  {words}"),
        )
    except KeyboardInterrupt as end:  # what had ended is kept, and that has been said
        raise typer.Exit(128 + (signal.SIGTERM if isinstance(end, _Terminated) else signal.SIGINT)) from None
    if as_json:
        print_json(outcome.to_dict(), stream=output)
    else:
        print_words(str(outcome), stream=output)
    if report is not None:
        say(f"report  {api.report(outcome, report / 'fix.html' if report.is_dir() else report)}")
    raise typer.Exit(0 if outcome.verdict in CURED else 1)


class _Terminated(KeyboardInterrupt):
    """Somebody asked the process to end; it leaves as after Ctrl-C, so that no training goes on behind our back."""


def _terminated(number: int, frame: object) -> None:
    raise _Terminated


def _metric(name: str | None, lower_is_better: bool) -> Metric | None:
    if name is None and lower_is_better:
        raise IsometryError("--lower-is-better is said of a metric. Name it with --metric, or go by the loss.")
    if name is not None and not name.strip():
        raise IsometryError("--metric: an empty name was given. Name a global variable or a word that is printed.")
    return Metric(name, lower_is_better) if name is not None else None


def _require_none_of_a_script(
    target: str, arguments: Sequence[str] | None, metric: str | None, lower_is_better: bool
) -> None:
    given = [*(arguments or ()), *(["--metric"] if metric else []), *(["--lower-is-better"] if lower_is_better else [])]
    if given:
        raise IsometryError(
            f"{' '.join(given)}: {target} is an experiment, which takes no arguments and brings its own metric."
        )
