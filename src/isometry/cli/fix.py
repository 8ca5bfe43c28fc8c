"""``isometry fix file.py:experiment``: treat a training, and prove the treatment."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from isometry import api
from isometry.adapters.target import load_experiment, names_experiment
from isometry.cli.streams import say, stdout_for_json
from isometry.cli.values import report_place
from isometry.cli.verdict import print_json, print_words
from isometry.errors import IsometryError

__all__ = ["fix"]

CURED = ("helped", "nothing to fix")


def fix(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="An experiment, as file.py:name or package.module:name.",
            show_default=False,
        ),
    ],
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

    Nothing of yours is changed. The exit code is 0 where a change helped or none was needed, else 1.
    """
    if not names_experiment(target):
        raise IsometryError(
            f"{target}: isometry fix needs an experiment that it can train again, as file.py:name or "
            "package.module:name; plain scripts cannot be treated yet. Put build, data, loss and optimiser of the "
            "script into an isometry.Experiment and name that."
        )
    output = stdout_for_json() if as_json else sys.stdout
    experiment = load_experiment(target)
    say(f"isometry  fixing {target}")
    outcome = api.fix(
        experiment,
        seeds=seeds,
        most=most,
        effects=[word.strip() for word in effects.split(",") if word.strip()],
        engine=engine,
        ray_address=ray_address,
        folder=out,
        say=lambda words: say(f"  {words}"),
    )
    if as_json:
        print_json(outcome.to_dict(), stream=output)
    else:
        print_words(str(outcome), stream=output)
    if report is not None:
        say(f"report  {api.report(outcome, report / 'fix.html' if report.is_dir() else report)}")
    raise typer.Exit(0 if outcome.verdict in CURED else 1)
