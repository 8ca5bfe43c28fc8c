"""``isometry diagnose RUN``."""

from typing import Annotated

import typer

from isometry import api
from isometry.cli.target import RunArgument
from isometry.cli.values import FailOn
from isometry.cli.verdict import FailOnOption, exit_code, print_json, print_verdict

__all__ = ["diagnose"]


def diagnose(
    run: RunArgument,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="PROBLEM", help="Look for this problem or rule alone; may be repeated."),
    ] = None,
    fail_on: FailOnOption = FailOn.HARMS,
    as_json: Annotated[bool, typer.Option("--json", help="Print the diagnosis as JSON.")] = False,
) -> None:
    """Say what is wrong with a recorded run, where, since when and why.

    The run may still be going on. No framework is needed.
    """
    diagnosis = api.diagnose(run, only=only)
    if as_json:
        print_json(diagnosis.to_dict())
    else:
        print_verdict(diagnosis, closing=[("next", f"isometry report {run}")])
    raise typer.Exit(exit_code(diagnosis, fail_on))
