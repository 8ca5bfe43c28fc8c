"""The command line as a whole: which commands there are, and how it ends."""

import sys
from typing import Annotated

import typer

from isometry import __version__
from isometry.cli.arguments import OfATraining
from isometry.cli.check import check
from isometry.cli.classic import classic
from isometry.cli.diagnose import diagnose
from isometry.cli.fix import fix
from isometry.cli.remedies import remedies
from isometry.cli.report import report
from isometry.cli.rules import rules
from isometry.cli.run import run
from isometry.errors import IsometryError

__all__ = ["main"]

MISUSE = 2

application = typer.Typer(
    name="isometry",
    help="Find where the gradients of a deep network vanish or explode, and why.",
    epilog="Example:  isometry run train.py --epochs 3",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
application.command(
    epilog="Example:  isometry run train.py --epochs 3      or  isometry run -m package.train --epochs 3",
    # The first word that is no option of ours is the script, and everything after it is the script's.
    context_settings={"allow_interspersed_args": False},
)(run)
application.command(
    epilog="Example:  isometry check train.py --lr 0.1      or  isometry check experiments.py:deep --fail-on slows",
    cls=OfATraining,
)(check)
application.command(epilog="Example:  isometry diagnose runs/train-1 --json")(diagnose)
application.command(
    epilog="Example:  isometry fix --report fix.html train.py --lr 0.1      or  isometry fix experiments.py:deep",
    cls=OfATraining,
)(fix)
application.command(epilog="Example:  isometry report runs/train-1 -o gradients.pdf")(report)
application.command(epilog="Example:  isometry classic linear-depth      or  isometry classic --all")(classic)
application.command(epilog="Example:  isometry rules vanishing_gradient")(rules)
application.command(epilog="Example:  isometry remedies vanishing_gradient")(remedies)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"isometry {__version__}")
        raise typer.Exit


@application.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Options that stand before the command."""


def main() -> None:
    """Run the command that the arguments name. One message and no trace for what we raise on purpose."""
    # Calling the application itself would put typer's own exception hook in place of the watched script's.
    command = typer.main.get_command(application)
    try:
        command(prog_name="isometry")
    except IsometryError as error:
        print(f"isometry: {error}", file=sys.stderr)
        sys.exit(MISUSE)
