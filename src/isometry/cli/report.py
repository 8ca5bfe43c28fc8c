"""``isometry report RUN``."""

from pathlib import Path
from typing import Annotated

import typer

from isometry import api
from isometry.cli.target import RunArgument
from isometry.cli.verdict import print_json

__all__ = ["report"]


def report(
    run: RunArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="File to write: .html, .json, .md, .png or .pdf.",
            show_default="report.html in the run's folder",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the name of the file as JSON.")] = False,
) -> None:
    """Write a run's diagnosis and pictures to one file."""
    written = api.report(api.diagnose(run), output or run / "report.html")
    if as_json:
        print_json({"report": str(written)})
    else:
        print(written)
